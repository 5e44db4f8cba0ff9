"""A tlog-proof is one file that shows, offline, that an entry is in a log."""

from __future__ import annotations

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.tlog.checkpoint import Checkpoint, CheckpointError, cosign_checkpoint, sign_checkpoint
from ledger.tlog.errors import TlogError
from ledger.tlog.merkle import ProofError
from ledger.tlog.note import COSIGNATURE, SignedNote, SignerKey, UnverifiedNoteError
from ledger.tlog.proof import MAX_PROOF_BYTES, TlogProof
from tests.ledger.tlog.support import entry, mth, mutations, needs_vectors, path, vectors

LOG = SignerKey.from_seed("log.example/petitions", bytes(range(32)))
W1 = SignerKey.from_seed("witness.example/w1", bytes(range(1, 33)), COSIGNATURE)
W2 = SignerKey.from_seed("witness.example/w2", bytes(range(2, 34)), COSIGNATURE)
W1_AGAIN = SignerKey.from_seed("witness.example/w1-again", bytes(range(1, 33)), COSIGNATURE)
H = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple)
proofs = st.builds(
    TlogProof,
    st.integers(0, 2**63 - 1),
    hashes,
    st.binary(min_size=1),
    st.one_of(st.none(), st.binary(min_size=1)),
)


def make_proof(index=3, size=11, witnesses=(), signer=LOG):
    checkpoint = Checkpoint(signer.name, size, mth(0, size))
    note = SignedNote.parse(sign_checkpoint(checkpoint, signer))
    note = note.with_signatures(*(cosign_checkpoint(checkpoint, w, 1_700_000_000) for w in witnesses))
    return TlogProof(index, path(index, 0, size), note.to_bytes())


@given(proofs)
def test_a_proof_is_read_back_as_it_was_written(proof):
    assert TlogProof.parse(proof.to_bytes()) == proof


def test_the_text_is_that_of_the_specification():
    proof = TlogProof(7, (b64decode(H),), b"log\n", b"more")
    assert proof.to_bytes() == f"c2sp.org/tlog-proof@v1\nextra bW9yZQ==\nindex 7\n{H}\n\nlog\n".encode()


@given(st.integers(1, 600), st.data())
def test_an_entry_of_the_log_is_proved(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = TlogProof.parse(make_proof(index, size).to_bytes())
    assert proof.verify(entry(index), LOG.verifier) == Checkpoint(LOG.name, size, mth(0, size))
    with pytest.raises(ProofError):
        proof.verify(entry(index) + b"!", LOG.verifier)


@given(st.integers(2, 600), st.data())
def test_a_changed_proof_fails(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = make_proof(index, size)
    mutated = data.draw(mutations(proof.hashes))
    other = data.draw(st.integers(0, 700).filter(lambda i: i != index))
    for arguments in ((index, mutated), (other, proof.hashes)):
        with pytest.raises(ProofError):
            TlogProof(*arguments, proof.checkpoint).verify(entry(index), LOG.verifier)


def test_every_flipped_bit_of_a_proof_without_extra_data_is_found():
    data = make_proof().to_bytes()
    for at in range(len(data)):
        for bit in range(8):
            broken = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            with pytest.raises(TlogError):
                TlogProof.parse(broken).verify(entry(3), LOG.verifier)


def test_the_checkpoint_must_be_the_logs_own():
    stranger = SignerKey.generate("stranger.example")
    with pytest.raises(UnverifiedNoteError):
        make_proof(signer=stranger).verify(entry(3), LOG.verifier)
    with pytest.raises(CheckpointError):
        make_proof().verify(entry(3), LOG.verifier, origin="log.example/other")


def test_a_quorum_of_witnesses_is_counted_by_their_keys():
    known = [W1.verifier, W2.verifier, W1_AGAIN.verifier]
    assert make_proof(witnesses=(W1, W2)).verify(entry(3), LOG.verifier, known, quorum=2).size == 11
    for witnesses in ((), (W1,), (W1, W1_AGAIN)):
        with pytest.raises(ProofError, match="2 are required"):
            make_proof(witnesses=witnesses).verify(entry(3), LOG.verifier, known, quorum=2)
    with pytest.raises(ProofError, match="0 known witnesses"):
        make_proof(witnesses=(W1,)).verify(entry(3), LOG.verifier, quorum=1)


HEAD = "c2sp.org/tlog-proof@v1\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        HEAD,
        f"{HEAD}index 0\n",
        f"{HEAD}index 0\n\n",
        f"{HEAD}index 0\ncheckpoint\n",
        f"{HEAD}\nindex 0\n\ncheckpoint\n",
        f"{HEAD}index 00\n\ncheckpoint\n",
        f"{HEAD}index +1\n\ncheckpoint\n",
        f"{HEAD}index  1\n\ncheckpoint\n",
        f"{HEAD}index\n\ncheckpoint\n",
        f"{HEAD}Index 0\n\ncheckpoint\n",
        f"{HEAD}index 9223372036854775808\n\ncheckpoint\n",
        f"{HEAD}index 0\nextra AAAA\n\ncheckpoint\n",
        f"{HEAD}extra \nindex 0\n\ncheckpoint\n",
        f"{HEAD}extra AAAA\nextra AAAA\nindex 0\n\ncheckpoint\n",
        f"{HEAD}extra AAB=\nindex 0\n\ncheckpoint\n",
        f"{HEAD}index 0\n{H[:-2]}9=\n\ncheckpoint\n",
        f"{HEAD}index 0\n{H} \n\ncheckpoint\n",
        f"{HEAD}index 0\r\n\ncheckpoint\n",
        f"c2sp.org/tlog-proof@v2\nindex 0\n{H}\n\ncheckpoint\n",
        f"\ufeff{HEAD}index 0\n\ncheckpoint\n",
        f"{HEAD}index 0\n" + f"{H}\n" * 64 + "\ncheckpoint\n",
        f"{HEAD}index 0\n\n" + "c" * MAX_PROOF_BYTES,
    ],
)
def test_a_malformed_proof_is_refused(text):
    with pytest.raises(ProofError):
        TlogProof.parse(text.encode())


@pytest.mark.parametrize(
    ("index", "hashes", "checkpoint", "extra"),
    [
        (-1, (), b"c", None),
        (2**63, (), b"c", None),
        (0, (bytes(31),), b"c", None),
        (0, (bytes(32),) * 64, b"c", None),
        (0, (), b"", None),
        (0, (), b"c", b""),
    ],
)
def test_a_proof_that_could_not_be_read_is_not_made(index, hashes, checkpoint, extra):
    with pytest.raises(ProofError):
        TlogProof(index, hashes, checkpoint, extra)


@needs_vectors
def test_proof_vectors():
    cases = vectors("c2sp/tlog-proof.json")
    assert (len(cases["marshal"]), len(cases["unmarshal_errors"])) == (3, 8)
    for case in cases["marshal"]:
        extra = b64decode(case["extra"]) if "extra" in case else None
        proof = TlogProof(
            case["index"], tuple(b64decode(h) for h in case["hashes"]), case["checkpoint"].encode(), extra
        )
        assert proof.to_bytes() == case["want"].encode()
        assert TlogProof.parse(case["want"].encode()) == proof
    for case in cases["unmarshal_errors"]:
        with pytest.raises(ProofError):
            TlogProof.parse(case["proof"].encode())
