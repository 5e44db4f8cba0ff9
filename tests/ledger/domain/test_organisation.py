"""Organisations and their keys: what a kind may do, and what a revoked key may not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ledger import events
from ledger.domain.aggregate import Issuance, NotAllowedError, happen
from ledger.domain.organisation import Organisation
from ledger.keys import ROLES_OF_KIND, MalformedKeyError, SigningKey
from tests.ledger.facts import NAMES

OPERATOR, BODY = "organisation/operator", "organisation/body"
ROOT, KEY, NEXT = (SigningKey.generate() for _ in range(3))
BY = Issuance(OPERATOR, ROOT.kid, datetime(2026, 3, 2, tzinfo=UTC))


def registered(stream=BODY, kind="central", root=None, by=BY):
    facts = events.OrganisationRegistered(kind=kind, level="republic", names=NAMES, root_key=root)
    return happen(Organisation, stream, None, facts, by)


def operator():
    return registered(OPERATOR, "operator", ROOT.public_key)


def add(organisation, key, *roles):
    facts = events.OrganisationKeyRegistered(key=key.public_key, roles=roles, custody="own")
    return happen(Organisation, organisation.id, organisation, facts, BY)


def revoke(organisation, key):
    facts = events.OrganisationKeyRevoked(kid=key.kid, reason="retired")
    return happen(Organisation, organisation.id, organisation, facts, BY)


def test_the_operator_and_nobody_else_brings_a_root_key():
    with pytest.raises(NotAllowedError, match="registers itself with a root key"):
        registered(OPERATOR, "operator")
    with pytest.raises(NotAllowedError, match="registers itself with a root key"):
        registered(root=ROOT.public_key)


def test_the_operator_registers_itself():
    with pytest.raises(NotAllowedError, match="registers itself"):
        registered("organisation/second", "operator", KEY.public_key)


@pytest.mark.parametrize("kind", ROLES_OF_KIND)
def test_the_keys_of_a_kind_have_the_roles_of_that_kind(kind):
    for role in ("operator", "gateway", "clock", "moderator", "body"):
        organisation = operator() if kind == "operator" else registered(kind=kind)
        if role in ROLES_OF_KIND[kind]:
            assert add(organisation, KEY, role).keys[KEY.kid] == {role}
        else:
            with pytest.raises(NotAllowedError, match=f"cannot have the role {role}") as error:
                add(organisation, KEY, role)
            assert error.value.details == {"allowed": sorted(ROLES_OF_KIND[kind])}


def test_a_key_is_registered_once_even_after_it_was_revoked():
    organisation = add(registered(), KEY, "body")
    with pytest.raises(NotAllowedError, match="make a new key"):
        add(organisation, KEY, "body")
    revoke(organisation, KEY)
    with pytest.raises(NotAllowedError, match="make a new key"):
        add(organisation, KEY, "body")


@pytest.mark.parametrize("text", ["A" * 42 + "B", "short", ""])
def test_what_is_no_key_never_gets_into_the_ledger(text):
    # 43 characters of the right alphabet, but not the canonical text of 32 bytes: nobody could read it again.
    facts = events.OrganisationKeyRegistered(key=text, roles=("body",), custody="own")
    with pytest.raises(MalformedKeyError):
        happen(Organisation, BODY, registered(), facts, BY)
    with pytest.raises(MalformedKeyError):
        registered(OPERATOR, "operator", text)


def test_only_a_key_that_is_there_is_revoked_and_only_once():
    organisation = registered()
    with pytest.raises(NotAllowedError, match="has no key"):
        revoke(organisation, KEY)
    revoke(add(organisation, KEY, "body"), KEY)
    with pytest.raises(NotAllowedError, match="revoked already"):
        revoke(organisation, KEY)


def test_the_last_key_that_registers_others_stays_until_its_successor_is_there():
    organisation = operator()
    add(organisation, KEY, "gateway")
    with pytest.raises(NotAllowedError, match="register its successor first"):
        revoke(organisation, ROOT)
    add(organisation, NEXT, "operator")
    revoke(organisation, ROOT)
    with pytest.raises(NotAllowedError, match="register its successor first"):
        revoke(organisation, NEXT)
    revoke(organisation, KEY)


def test_an_organisation_is_registered_once():
    with pytest.raises(NotAllowedError, match="exists already"):
        happen(Organisation, BODY, registered(), registered().collect_events()[0].facts, BY)
