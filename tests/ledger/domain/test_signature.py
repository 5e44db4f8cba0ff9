"""One person, one signature, one petition."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import events
from ledger.domain.aggregate import Issuance, NotAllowedError, happen
from ledger.domain.signature import Signature, nullifier, petition_stream, signature_stream
from ledger.encoding import b64url

IIN = "880101300017"
SECRET = bytes(range(32))
BY = Issuance("organisation/operator", "k" * 43, datetime(2026, 3, 2, tzinfo=UTC))
SIGNED = events.PetitionSigned(lang="kk", algorithm="RSA-SHA256")
WITHDRAWN = events.SignatureWithdrawn(algorithm="RSA-SHA256")
VOIDED = events.SignatureVoided(reason="forged")


def signature(*facts):
    stream = signature_stream("p", nullifier(SECRET, IIN))
    found = None
    for each in facts:
        found = happen(Signature, stream, found, each, BY)
    return found


def test_a_signature_counts_until_it_is_withdrawn_or_voided():
    assert signature(SIGNED).state == "counted"
    assert signature(SIGNED, WITHDRAWN).state == "withdrawn"
    assert signature(SIGNED, VOIDED).state == "voided"


@pytest.mark.parametrize("end", [WITHDRAWN, VOIDED], ids=["withdrawn", "voided"])
@pytest.mark.parametrize("again", [SIGNED, WITHDRAWN, VOIDED], ids=["signed", "withdrawn", "voided"])
def test_both_ends_are_final(end, again):
    with pytest.raises(NotAllowedError, match=r"Nothing more can happen|exists already"):
        signature(SIGNED, end, again)


@pytest.mark.parametrize("facts", [WITHDRAWN, VOIDED], ids=["withdrawn", "voided"])
def test_what_was_never_given_is_not_taken_back(facts):
    with pytest.raises(NotAllowedError, match="There is no"):
        signature(facts)


def test_nobody_signs_twice():
    with pytest.raises(NotAllowedError, match="exists already"):
        signature(SIGNED, SIGNED)


def test_a_nullifier_is_the_hmac_of_the_iin_under_the_petitions_secret():
    assert nullifier(SECRET, IIN) == b64url(hmac.new(SECRET, IIN.encode(), hashlib.sha256).digest())
    assert IIN not in nullifier(SECRET, IIN)


@given(st.binary(min_size=32, max_size=32), st.from_regex(r"[0-9]{12}", fullmatch=True))
def test_the_same_person_is_somebody_else_on_another_petition(secret, iin):
    if (secret, iin) != (SECRET, IIN):
        assert nullifier(secret, iin) != nullifier(SECRET, IIN)
    if secret != SECRET:
        assert nullifier(secret, IIN) != nullifier(SECRET, IIN)


def test_an_iin_in_other_digits_is_not_another_person():
    with pytest.raises(UnicodeEncodeError):
        nullifier(SECRET, "٨" * 12)


def test_streams_are_named_by_petition_and_nullifier():
    assert petition_stream("p") == "petition/p"
    assert signature_stream("p", "x") == "signature/p/x"
