"""Signed checkpoints (C2SP tlog-checkpoint): a log's tree as a note, signed by the log and cosigned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ledger.tlog.head import Checkpoint, CheckpointError
from ledger.tlog.note import (
    COSIGNATURES,
    ML_DSA_44,
    Signature,
    SignedNote,
    SignerKey,
    UnverifiedNoteError,
    VerifierKey,
    open_note,
)

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Cosignature",
    "OpenedCheckpoint",
    "cosign_checkpoint",
    "open_checkpoint",
    "sign_checkpoint",
]


class Cosignature(NamedTuple):
    """A witness's verified statement that the checkpoint was the largest it had seen at ``timestamp``."""

    witness: VerifierKey
    timestamp: int


class OpenedCheckpoint(NamedTuple):
    """A checkpoint signed by its log, and the known witnesses that cosigned it."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]


def sign_checkpoint(checkpoint: Checkpoint, signer: SignerKey, *more: SignerKey, timestamp: int = 0) -> bytes:
    """The checkpoint as a note signed by its log, whose keys must bear the origin as their name.

    Keys are of type 0x01 (Ed25519) or 0x06 (ML-DSA-44). ``timestamp`` (POSIX seconds) goes into signatures
    of type 0x06 and says that this was the largest tree then; 0 states no time.
    """
    text = checkpoint.to_text()
    signatures = []
    for key in (signer, *more):
        if key.name != checkpoint.origin:
            raise CheckpointError(f"the key of {key.name} does not sign for the log {checkpoint.origin}")
        mldsa = key.verifier.algorithm == ML_DSA_44
        signatures.append(key.cosign(text, timestamp) if mldsa else key.sign(text))
    return SignedNote(text, tuple(signatures)).to_bytes()


def cosign_checkpoint(checkpoint: Checkpoint, witness: SignerKey, timestamp: int) -> Signature:
    """A witness's signature line, as of ``timestamp`` (POSIX seconds).

    Before calling, the witness must have verified that the log only grew since the last one it cosigned.
    """
    return witness.cosign(checkpoint.to_text(), timestamp)


def open_checkpoint(
    data: bytes,
    log_vkey: VerifierKey,
    witness_vkeys: Sequence[VerifierKey] = (),
    *,
    origin: str | None = None,
) -> OpenedCheckpoint:
    """Verify a signed checkpoint: the log's signature is required, known witnesses are reported.

    ``origin`` is the log's origin line where it differs from the name of its key. Raises ``NoteError``
    (malformed, or a known key's signature is wrong), ``UnverifiedNoteError`` (not signed by the log) or
    ``CheckpointError`` (malformed text, or another origin).
    """
    for witness in witness_vkeys:
        if witness.algorithm not in COSIGNATURES:
            raise CheckpointError(
                f"the key of witness {witness.name} is not a cosignature key (type 0x04 or 0x06)"
            )
    text, verified = open_note(data, (log_vkey, *witness_vkeys))
    keys = {signature.key: signature.timestamp for signature in verified}
    if log_vkey not in keys:
        raise UnverifiedNoteError(f"the checkpoint is not signed by its log's key {log_vkey}")
    checkpoint = Checkpoint.parse(text)
    expected = log_vkey.name if origin is None else origin
    # A key may sign for several logs: without this check one log's tree could be passed off as another's.
    if checkpoint.origin != expected:
        raise CheckpointError(f"the checkpoint is of log {checkpoint.origin[:100]!r}, not of {expected!r}")
    cosigned = tuple(
        Cosignature(key, time) for key, time in keys.items() if key in witness_vkeys and time is not None
    )
    return OpenedCheckpoint(checkpoint, cosigned)
