"""Who takes part, and with which keys."""

from __future__ import annotations

from datetime import date

from ledger import events
from ledger.keys import SigningKey
from projections import organisations
from tests.projections.written import KEY, MINISTRY, OPERATOR, ask

OTHER = SigningKey.generate()
NAMES = events.Names("Министрлік", "Министерство")


def register_operator(ledger):
    facts = events.OrganisationRegistered(
        kind="operator", level="republic", names=NAMES, root_key=KEY.public_key
    )
    return ledger.add(OPERATOR, facts)


def test_the_operator_comes_with_the_key_that_it_registered_itself_with(ledger):
    register_operator(ledger)
    found = ask(ledger, organisations.get, OPERATOR)
    (key,) = found.keys
    assert (key.kid, key.roles, key.custody, key.registered_position) == (KEY.kid, ("operator",), "own", 0)
    assert (found.names, found.as_of) == (NAMES, 0)


def test_a_revoked_key_stays_with_its_history(ledger):
    register_operator(ledger)
    ledger.add(MINISTRY, events.OrganisationRegistered(kind="central", level="republic", names=NAMES))
    registered = ledger.add(
        MINISTRY,
        events.OrganisationKeyRegistered(
            key=OTHER.public_key, roles=("moderator", "body"), custody="gateway"
        ),
    )
    revoked = ledger.add(MINISTRY, events.OrganisationKeyRevoked(kid=OTHER.kid, reason="compromised"))
    (key,) = ask(ledger, organisations.get, MINISTRY).keys
    assert key.roles == ("moderator", "body")
    assert (key.registered_position, key.revoked_position) == (registered, revoked)
    assert key.revoked_reason == "compromised"


def test_a_newer_population_replaces_the_registered_one(ledger):
    facts = events.OrganisationRegistered(
        kind="akimat", level="oblast", names=NAMES, region="71", population=1_000_000
    )
    ledger.add("organisation/akimat-71", facts)
    day = date(2026, 1, 1)
    ledger.add(
        "organisation/akimat-71", events.OrganisationPopulationRecorded(population=1_500_000, counted_on=day)
    )
    found = ask(ledger, organisations.list_all)
    assert [(o.stream, o.region, o.population, o.counted_on) for o in found.items] == [
        ("organisation/akimat-71", "71", 1_500_000, day)
    ]
    assert found.as_of == ledger.head


def test_an_organisation_that_never_registered_is_in_no_list(ledger):
    ledger.add(MINISTRY, events.OrganisationKeyRevoked(kid=OTHER.kid, reason="retired"))
    assert ask(ledger, organisations.get, MINISTRY) is None
    assert ask(ledger, organisations.list_all).items == ()
