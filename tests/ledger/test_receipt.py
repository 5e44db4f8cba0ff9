"""A receipt verifies as it was given, and not if anything in it was changed."""

from __future__ import annotations

import json
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import AiqynError
from ledger.receipt import (
    FORMAT,
    MAX_DISCLOSURES,
    MAX_RECEIPT_BYTES,
    PERSONAL_FORMAT,
    Receipt,
    ReceiptError,
)
from ledger.statement import Disclosure, DisclosureMismatchError
from ledger.tlog.checkpoint import cosign_checkpoint, open_checkpoint
from ledger.tlog.errors import TlogError
from ledger.tlog.note import SignedNote, SignerKey
from ledger.tlog.policy import Policy
from ledger.tlog.proof import TlogProof
from tests.audit.log_builder import ORIGIN, LogBuilder

POSITION = 9
"""A signature in the usual history."""


@cache
def log() -> LogBuilder:
    return LogBuilder().usual()


@cache
def receipt(position: int = POSITION) -> Receipt:
    proof = TlogProof(position, log().tree().inclusion_proof(position), log().checkpoint())
    shown = tuple(d for d in log().disclosed[position] if d.name in ("name", "title", "text", "author"))
    return Receipt(log().entries[position], shown, proof)


def document() -> dict:
    return json.loads(receipt().to_bytes())


def test_a_receipt_proves_event_position_and_disclosures():
    verified = Receipt.parse(receipt().to_bytes()).verify(log().log_key.verifier)
    assert verified.event.entry == log().entries[POSITION]
    assert verified.position == POSITION
    assert (verified.checkpoint.size, verified.checkpoint.origin) == (log().size, ORIGIN)
    assert [(d.name, d.value) for d in verified.disclosures] == [("name", "invented name")]


def test_every_entry_of_a_log_can_have_a_receipt():
    for position in range(log().size):
        data = receipt(position).to_bytes()
        assert Receipt.parse(data) == receipt(position)
        assert Receipt.parse(data).verify(log().log_key.verifier).position == position


def test_a_receipt_says_what_it_does_not_show():
    assert "authorised" in receipt().verify(log().log_key.verifier).unchecked


def test_a_receipt_without_disclosures_verifies():
    bare = Receipt(receipt().entry, (), receipt().proof)
    assert bare.verify(log().log_key.verifier).disclosures == ()


@pytest.mark.parametrize("name", ["iin", "full_name", "cms"])
def test_a_receipt_never_carries_what_is_restricted(name):
    (secret,) = (d for d in log().disclosed[POSITION] if d.name == name)
    with pytest.raises(ReceiptError, match="not public"):
        Receipt(receipt().entry, (secret,), receipt().proof).verify(log().log_key.verifier)


def test_a_disclosure_of_another_event_is_refused():
    foreign = Receipt(receipt().entry, receipt(POSITION + 1).disclosures, receipt().proof)
    with pytest.raises(DisclosureMismatchError):
        foreign.verify(log().log_key.verifier)


def test_a_disclosure_that_comes_twice_is_refused():
    twice = Receipt(receipt().entry, receipt().disclosures * 2, receipt().proof)
    with pytest.raises(DisclosureMismatchError):
        twice.verify(log().log_key.verifier)


def test_a_disclosure_with_another_value_is_refused():
    (shown,) = receipt().disclosures
    other = Receipt(receipt().entry, (Disclosure.make(shown.name, "somebody else"),), receipt().proof)
    with pytest.raises(DisclosureMismatchError):
        other.verify(log().log_key.verifier)


def test_another_event_at_the_same_position_is_refused():
    swapped = Receipt(log().entries[POSITION + 1], (), receipt().proof)
    with pytest.raises(TlogError):
        swapped.verify(log().log_key.verifier)


def test_another_logs_key_is_refused():
    with pytest.raises(TlogError):
        receipt().verify(SignerKey.generate(ORIGIN).verifier)
    with pytest.raises(TlogError):
        receipt().verify(SignerKey.generate("other.example/log").verifier)


@pytest.mark.parametrize(
    "change",
    [
        {"receipt": "aiqyn/v2"},
        {"receipt": "aiqyn/v3"},
        {"event": None},
        {"event": "ы"},
        {"disclosures": None},
        {"disclosures": [1]},
        {"disclosures": ["!"]},
        {"disclosures": ["ы"]},
        {"proof": "\ud800"},
        {"proof": ""},
        {"extra": 1},
    ],
)
def test_a_file_of_another_form_is_refused(change):
    data = json.dumps(document() | change).encode()
    with pytest.raises(AiqynError):
        Receipt.parse(data)


@pytest.mark.parametrize("name", ["receipt", "event", "disclosures", "proof"])
def test_a_missing_field_is_refused(name):
    fields = document()
    del fields[name]
    with pytest.raises(ReceiptError):
        Receipt.parse(json.dumps(fields).encode())


def test_a_name_that_stands_twice_is_refused():
    data = receipt().to_bytes().replace(b"{", f'{{"receipt":"{FORMAT}",'.encode(), 1)
    with pytest.raises(ReceiptError, match="twice"):
        Receipt.parse(data)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(ReceiptError):
        Receipt.parse(data)


def test_lengths_are_bounded():
    with pytest.raises(ReceiptError, match="at most"):
        Receipt.parse(b" " * (MAX_RECEIPT_BYTES + 1))
    many = document() | {"disclosures": ["x"] * (MAX_DISCLOSURES + 1)}
    with pytest.raises(ReceiptError, match="at most"):
        Receipt.parse(json.dumps(many).encode())


def test_a_receipt_that_could_not_be_read_again_is_not_written():
    with pytest.raises(AiqynError):
        Receipt("ы~".encode(), (), receipt().proof).to_bytes()


_EVENT, _PROOF = (document()[name] for name in ("event", "proof"))
_DISCLOSURE = document()["disclosures"][0]


def flipped(text: str) -> st.SearchStrategy[str]:
    """``text`` with one character replaced by another."""
    return (
        st.tuples(st.integers(0, len(text) - 1), st.characters(max_codepoint=127))
        .map(lambda change: text[: change[0]] + change[1] + text[change[0] + 1 :])
        .filter(lambda changed: changed != text)
    )


@given(
    st.one_of(
        flipped(_EVENT).map(lambda text: {"event": text}),
        flipped(_DISCLOSURE).map(lambda text: {"disclosures": [text]}),
        flipped(_PROOF).map(lambda text: {"proof": text}),
    )
)
def test_one_changed_character_makes_a_receipt_fail(change):
    data = json.dumps(document() | change).encode()
    with pytest.raises(AiqynError):
        Receipt.parse(data).verify(log().log_key.verifier)


class TestPersonalReceipts:
    """With what was disclosed to their holder alone."""

    def own(self) -> Receipt:
        secret = tuple(d for d in log().disclosed[POSITION] if d.name in ("full_name", "iin"))
        return Receipt(receipt().entry, receipt().disclosures, receipt().proof, secret)

    def test_they_say_what_they_are_and_verify(self):
        data = self.own().to_bytes()
        assert json.loads(data)["receipt"] == PERSONAL_FORMAT
        verified = Receipt.parse(data).verify(log().log_key.verifier)
        assert {d.name for d in verified.own} == {"full_name", "iin"}
        assert {d.name for d in verified.disclosures} == {"name"}

    def test_what_is_public_is_not_the_persons_alone(self):
        mixed = Receipt(receipt().entry, (), receipt().proof, receipt().disclosures)
        with pytest.raises(ReceiptError, match="alone"):
            mixed.verify(log().log_key.verifier)

    @pytest.mark.parametrize("change", [{"receipt": FORMAT}, {"own": []}, {"own": ["!"]}, {"own": None}])
    def test_form_and_content_belong_together(self, change):
        with pytest.raises(AiqynError):
            Receipt.parse(json.dumps(json.loads(self.own().to_bytes()) | change).encode())


def test_with_a_policy_a_quorum_must_have_cosigned():
    witnesses = [SignerKey.generate(f"witness.example/w{n}", kind) for n, kind in ((1, 0x04), (2, 0x06))]
    lines = "".join(f"witness w{n} {key.verifier}\n" for n, key in enumerate(witnesses, 1))
    policy = Policy.parse(f"{lines}group q all w1 w2\nquorum q\n".encode())
    with pytest.raises(TlogError):
        receipt().verify(log().log_key.verifier, policy)
    note = log().checkpoint()
    checkpoint = open_checkpoint(note, log().log_key.verifier).checkpoint
    cosigned = SignedNote.parse(note).with_signatures(
        *(cosign_checkpoint(checkpoint, key, 1_800_000_000) for key in witnesses)
    )
    proof = TlogProof(POSITION, receipt().proof.hashes, cosigned.to_bytes())
    held = Receipt(receipt().entry, receipt().disclosures, proof)
    verified = Receipt.parse(held.to_bytes()).verify(log().log_key.verifier, policy)
    assert [one.timestamp for one in verified.cosignatures] == [1_800_000_000] * 2
