"""Who may issue what is what the ledger says, in its order."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import events
from ledger.encoding import b64url
from ledger.keys import (
    Directory,
    MalformedKeyError,
    SigningKey,
    UnauthorisedIssuerError,
    VerifyingKey,
    key_id,
)
from ledger.statement import Disclosure, seal
from tests.ledger.facts import NAMES

OPERATOR, BODY, OTHER = "organisation/operator", "organisation/body", "organisation/other"
ROOT, KEY, STRANGER = (SigningKey.generate() for _ in range(3))
AT = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)


def event(facts, stream, n=1, iss=OPERATOR, key=ROOT):
    made = [Disclosure.make(name, "x") for name in facts.public | facts.restricted]
    return seal(facts, iss=iss, stream=stream, n=n, at=AT, key=key, disclosures=made)


def operator(stream=OPERATOR, iss=OPERATOR, root=ROOT, key=ROOT, kind="operator"):
    facts = events.OrganisationRegistered(
        kind=kind, level="republic", names=NAMES, root_key=root.public_key if root else None
    )
    return event(facts, stream, iss=iss, key=key)


def organisation(stream, kind="central"):
    return event(events.OrganisationRegistered(kind=kind, level="republic", names=NAMES), stream)


def key_registered(stream, key, *roles, n=2):
    facts = events.OrganisationKeyRegistered(key=key.public_key, roles=roles, custody="own")
    return event(facts, stream, n)


def key_revoked(stream, key, n=3):
    return event(events.OrganisationKeyRevoked(kid=key.kid, reason="compromised"), stream, n)


def group_formed(iss=BODY, key=KEY):
    facts = events.PetitionWorkingGroupFormed(members=3, author_invited=True)
    return event(facts, "petition/p", iss=iss, key=key)


def directory(*more):
    found = Directory()
    for happened in (operator(), organisation(BODY), *more):
        found.authorise(happened)
        found.apply(happened)
    return found


def test_a_key_id_is_the_thumbprint_of_rfc_8037():
    # RFC 8037, appendix A.2 and A.3.
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert key_id(x) == VerifyingKey(x).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_signing_key_is_read_again_from_its_text_and_its_repr_hides_it():
    again = SigningKey.from_seed(KEY.seed() + "\n")
    assert (again.kid, again.public_key) == (KEY.kid, KEY.public_key)
    assert KEY.seed() not in repr(KEY)


@pytest.mark.parametrize("text", ["", "AAAA", "A" * 43 + "=", "ә" * 43, b64url(b"x" * 33)])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(MalformedKeyError):
        VerifyingKey(text)
    with pytest.raises(MalformedKeyError):
        SigningKey.from_seed(text)


@pytest.mark.parametrize(
    "first",
    [
        organisation(BODY),
        operator(key=STRANGER),
        operator(iss=BODY),
        group_formed(),
    ],
    ids=["no root key", "signed by another key", "in another's name", "not a registration"],
)
def test_a_ledger_begins_with_its_operator_registering_itself(first):
    with pytest.raises(UnauthorisedIssuerError, match="begins with its operator"):
        Directory().authorise(first)


def test_the_operator_can_be_pinned():
    assert Directory(OPERATOR).authorise(operator()).kid == ROOT.kid
    with pytest.raises(UnauthorisedIssuerError):
        Directory(OTHER).authorise(operator())


def test_a_key_may_do_what_its_roles_say_and_nothing_else():
    found = directory(key_registered(BODY, KEY, "body"))
    assert found.authorise(group_formed()).kid == KEY.kid
    with pytest.raises(UnauthorisedIssuerError, match="role moderator"):
        found.authorise(event(events.PetitionRouted(body=BODY), "petition/p", iss=BODY, key=KEY))


def test_a_key_speaks_for_its_own_organisation_only():
    found = directory(key_registered(BODY, KEY, "body"), organisation(OTHER))
    with pytest.raises(UnauthorisedIssuerError):
        found.authorise(group_formed(iss=OTHER))
    with pytest.raises(UnauthorisedIssuerError):
        found.authorise(group_formed(iss="organisation/nobody"))


def test_an_unknown_key_and_one_that_is_not_registered_yet_may_say_nothing():
    found = directory()
    for _ in range(2):
        with pytest.raises(UnauthorisedIssuerError):
            found.authorise(group_formed())
        assert found.key(KEY.kid) is None
    found.apply(key_registered(BODY, KEY, "body"))
    found.authorise(group_formed())


def test_a_revoked_key_still_verifies_what_it_said():
    found = directory(key_registered(BODY, KEY, "body"), key_revoked(BODY, KEY))
    with pytest.raises(UnauthorisedIssuerError):
        found.authorise(group_formed())
    group_formed().verify(found.key(KEY.kid))


def test_no_second_operator_can_take_over():
    found = directory()
    usurper = operator(OTHER, iss=OPERATOR, root=STRANGER)
    found.authorise(usurper)  # the operator's own key signs it: the rules of the aggregate refuse it
    found.apply(usurper)
    assert found.operator == OPERATOR
    assert not found.roles(OTHER, STRANGER.kid)


def test_a_population_figure_replaces_the_older_one():
    counted = events.OrganisationPopulationRecorded(population=5, counted_on=AT.date())
    assert directory(event(counted, BODY, 2)).organisation(BODY).population == 5


def test_what_was_never_registered_is_passed_over():
    found = directory()
    for lost in (key_registered(OTHER, KEY, "body"), key_revoked(OTHER, KEY)):
        found.apply(lost)
    assert found.organisation(OTHER) is None
    assert not found.roles(OTHER, KEY.kid)


STEPS = st.lists(
    st.tuples(st.sampled_from(["register", "revoke"]), st.sampled_from([BODY, OTHER])), max_size=12
)


@given(STEPS)
def test_nothing_is_accepted_from_a_key_after_its_revocation(steps):
    found = directory(organisation(OTHER))
    registered, revoked = set(), set()
    for n, (step, stream) in enumerate(steps, 2):
        if step == "register":
            found.apply(key_registered(stream, KEY, "body", n=n))
            registered.add(stream)
        elif stream in registered:
            found.apply(key_revoked(stream, KEY, n))
            revoked.add(stream)
        for name in (BODY, OTHER):
            allowed = name in registered and name not in revoked
            assert bool(found.roles(name, KEY.kid)) == allowed
            if not allowed:
                with pytest.raises(UnauthorisedIssuerError):
                    found.authorise(group_formed(iss=name))
