"""ML-DSA-44 cosignatures are those of C2SP tlog-cosignature, byte by byte."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from hypothesis import given
from hypothesis import strategies as st

from ledger.tlog import note as notes
from ledger.tlog.checkpoint import (
    Checkpoint,
    CheckpointError,
    Cosignature,
    cosign_checkpoint,
    open_checkpoint,
    sign_checkpoint,
)
from ledger.tlog.cosignature import cosigned_message
from ledger.tlog.note import (
    COSIGNATURE,
    ML_DSA_44,
    AlgorithmUnavailableError,
    InvalidSignatureError,
    NoteError,
    SignedNote,
    SignerKey,
    UnverifiedNoteError,
    VerifierKey,
)
from tests.ledger.tlog.support import mth

LOG = SignerKey.from_seed("log.example/petitions", bytes(range(32)))
LOG_PQ = SignerKey.from_seed("log.example/petitions", bytes(range(3, 35)), ML_DSA_44)
W1 = SignerKey.from_seed("witness.example/w1", bytes(range(1, 33)), COSIGNATURE)
W1_PQ = SignerKey.from_seed("witness.example/w1", bytes(range(2, 34)), ML_DSA_44)
CHECKPOINT = Checkpoint(LOG.name, 5, mth(0, 5))
TEXT = CHECKPOINT.to_text()
NOW = 1_700_000_000


def test_the_signed_message_is_the_structure_of_the_specification():
    name, origin = b"witness.example/w1", b"log.example/petitions"
    assert cosigned_message("witness.example/w1", TEXT, NOW) == (
        b"subtree/v1\n\0"
        + bytes([len(name)]) + name
        + NOW.to_bytes(8, "big")
        + bytes([len(origin)]) + origin
        + bytes(8)
        + (5).to_bytes(8, "big")
        + mth(0, 5)
    )  # fmt: skip


def test_key_id_vkey_and_signature_have_the_forms_of_the_specification():
    private = MLDSA44PrivateKey.from_seed_bytes(bytes(range(2, 34)))
    public = private.public_key().public_bytes_raw()
    assert len(public) == 1312
    line = W1_PQ.cosign(TEXT, NOW)
    assert line.key_id == sha256(b"witness.example/w1\n\x06" + public).digest()[:4]
    assert len(line.signature) == 8 + 2420
    assert int.from_bytes(line.signature[:8], "big") == NOW
    message = cosigned_message(W1_PQ.name, TEXT, NOW)
    MLDSA44PublicKey.from_public_bytes(public).verify(line.signature[8:], message)
    vkey = str(W1_PQ.verifier)
    assert VerifierKey.parse(vkey) == VerifierKey("witness.example/w1", 0x06, public)
    assert SignerKey.parse(W1_PQ.to_skey()).to_skey() == W1_PQ.to_skey()


def test_the_key_follows_from_the_seed_as_in_fips_204():
    """The seed of the ML-DSA-44 vector in C2SP httpsig-pq, and the SHA-256 of its public key."""
    seed = bytes.fromhex("c80d699b2daa47d54b8697f5a917c696400d7063b30a234d18ad672250ae42d9")
    key = SignerKey.from_seed("k", seed, ML_DSA_44).verifier.public_key
    assert sha256(key).hexdigest() == "275ee838486da500342c040ef9f0cdf1e69957248e3b4d1bf05d3b1fea2a1c3c"


def test_a_log_signs_with_both_of_its_keys_and_witnesses_of_both_types_cosign():
    note = SignedNote.parse(sign_checkpoint(CHECKPOINT, LOG, LOG_PQ, timestamp=NOW))
    assert [(line.name, line.key_id) for line in note.signatures] == [
        (LOG.name, LOG.verifier.key_id),
        (LOG.name, LOG_PQ.verifier.key_id),
    ]
    data = note.with_signatures(
        cosign_checkpoint(CHECKPOINT, W1, NOW + 1), cosign_checkpoint(CHECKPOINT, W1_PQ, NOW + 2)
    ).to_bytes()
    for log in (LOG.verifier, LOG_PQ.verifier):
        opened = open_checkpoint(data, log, [W1.verifier, W1_PQ.verifier])
        assert opened.checkpoint == CHECKPOINT
        assert opened.cosignatures == (
            Cosignature(W1.verifier, NOW + 1),
            Cosignature(W1_PQ.verifier, NOW + 2),
        )


def test_without_a_time_the_logs_own_signature_states_none():
    data = sign_checkpoint(CHECKPOINT, LOG_PQ)
    assert SignedNote.parse(data).signatures[0].signature[:8] == bytes(8)
    assert open_checkpoint(data, LOG_PQ.verifier).checkpoint == CHECKPOINT


def test_a_key_of_another_name_or_of_a_witness_does_not_sign_for_the_log():
    with pytest.raises(CheckpointError, match="does not sign for the log"):
        sign_checkpoint(CHECKPOINT, LOG, W1_PQ)
    with pytest.raises(NoteError, match="0x04"):
        sign_checkpoint(CHECKPOINT, SignerKey.generate(LOG.name, COSIGNATURE))
    with pytest.raises(CheckpointError, match="not a cosignature key"):
        open_checkpoint(sign_checkpoint(CHECKPOINT, LOG), LOG.verifier, [LOG.verifier])


@pytest.mark.parametrize(
    "other",
    [
        Checkpoint(LOG.name, 6, mth(0, 5)),
        Checkpoint(LOG.name, 5, mth(0, 6)),
        Checkpoint("log.example/petitionS", 5, mth(0, 5)),
    ],
)
def test_an_ml_dsa_cosignature_covers_origin_size_and_root(other):
    line = W1_PQ.cosign(TEXT, NOW)
    assert W1_PQ.verifier.verify(TEXT, line.signature) == NOW
    with pytest.raises(InvalidSignatureError):
        W1_PQ.verifier.verify(other.to_text(), line.signature)


def test_an_ml_dsa_cosignature_covers_the_name_and_not_the_extensions():
    line = W1_PQ.cosign(TEXT, NOW)
    renamed = VerifierKey("witness.example/w2", ML_DSA_44, W1_PQ.verifier.public_key)
    with pytest.raises(InvalidSignatureError):
        renamed.verify(TEXT, line.signature)
    assert W1_PQ.verifier.verify(TEXT + "an extension\n", line.signature) == NOW


@given(st.integers(0, 8 + 2420 - 1), st.integers(0, 7))
def test_every_flipped_bit_of_an_ml_dsa_cosignature_is_found(at, bit):
    signature = W1_PQ.cosign(TEXT, NOW).signature
    changed = signature[:at] + bytes([signature[at] ^ 1 << bit]) + signature[at + 1 :]
    with pytest.raises(InvalidSignatureError):
        W1_PQ.verifier.verify(TEXT, changed)


@pytest.mark.parametrize("length", [0, 8, 72, 2420, 2427, 2429])
def test_an_ml_dsa_cosignature_of_another_length_is_wrong(length):
    with pytest.raises(InvalidSignatureError):
        W1_PQ.verifier.verify(TEXT, bytes(length))


def test_ml_dsa_signs_checkpoints_alone():
    with pytest.raises(CheckpointError):
        W1_PQ.cosign("no checkpoint\n", NOW)
    with pytest.raises(InvalidSignatureError):
        W1_PQ.verifier.verify("no checkpoint\n", W1_PQ.cosign(TEXT, NOW).signature)
    with pytest.raises(NoteError, match="0x06"):
        W1_PQ.sign(TEXT)
    for timestamp in (-1, 2**63):
        with pytest.raises(NoteError, match="timestamp"):
            W1_PQ.cosign(TEXT, timestamp)


def test_names_and_origins_that_the_structure_cannot_hold_are_refused():
    with pytest.raises(NoteError, match="255"):
        SignerKey.generate("ә" * 128, ML_DSA_44)
    with pytest.raises(NoteError, match="255"):
        W1_PQ.cosign(f"{'o' * 256}\n1\n{TEXT.split()[2]}\n", NOW)
    assert SignerKey.generate("n" * 255, ML_DSA_44).cosign(f"{'o' * 255}\n1\n{TEXT.split()[2]}\n", NOW)


def test_an_ml_dsa_key_alone_is_no_known_key_of_a_note_it_did_not_sign():
    with pytest.raises(UnverifiedNoteError):
        open_checkpoint(sign_checkpoint(CHECKPOINT, LOG), LOG_PQ.verifier)


class _NoMlDsa:
    """A backend as it was before ML-DSA: what ``cryptography`` does there."""

    @staticmethod
    def refuse(data):
        raise UnsupportedAlgorithm("ML-DSA-44 is not supported by this backend.")

    from_public_bytes = from_seed_bytes = refuse


def test_where_ml_dsa_is_missing_only_its_keys_fail_and_say_so(monkeypatch):
    both = SignedNote.parse(sign_checkpoint(CHECKPOINT, LOG, LOG_PQ)).to_bytes()
    monkeypatch.setattr(notes, "MLDSA44PublicKey", _NoMlDsa)
    monkeypatch.setattr(notes, "MLDSA44PrivateKey", _NoMlDsa)
    assert open_checkpoint(both, LOG.verifier).checkpoint == CHECKPOINT
    assert open_checkpoint(both, LOG.verifier, [W1_PQ.verifier]).cosignatures == ()
    with pytest.raises(AlgorithmUnavailableError, match="ML-DSA-44"):
        open_checkpoint(both, LOG_PQ.verifier)
    with pytest.raises(AlgorithmUnavailableError):
        SignerKey.generate("witness.example/w1", ML_DSA_44)
