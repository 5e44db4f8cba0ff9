"""Checkpoints (C2SP tlog-checkpoint): origin, size and root of a log's tree, as a signed note."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ledger.tlog.encoding import MAX_SIZE, from_base64, from_decimal, to_base64
from ledger.tlog.errors import TlogError
from ledger.tlog.merkle import EMPTY_ROOT, HASH_SIZE
from ledger.tlog.note import (
    COSIGNATURE,
    Signature,
    SignedNote,
    SignerKey,
    UnverifiedNoteError,
    VerifierKey,
    open_note,
)

_LINE = re.compile(r"[^\x00-\x1f]+")


class CheckpointError(TlogError):
    """A checkpoint's text is malformed, or it is the checkpoint of another log."""

    code = "checkpoint-invalid"
    title = "The checkpoint is malformed"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Root of the log ``origin`` at ``size`` entries.

    The root is always a SHA-256 hash; a size is at most 2**63 - 1; the root of size 0 is ``EMPTY_ROOT``.
    Extensions are opaque lines, which nobody audits: Aiqyn's own log writes none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be read back."""
        for line in (self.origin, *self.extensions):
            if not _LINE.fullmatch(line):
                raise CheckpointError("lines of a checkpoint are not empty and have no control characters")
        if not 0 <= self.size <= MAX_SIZE:
            raise CheckpointError(f"tree size {self.size} is not between 0 and {MAX_SIZE}")
        if len(self.root) != HASH_SIZE:
            raise CheckpointError(f"a root hash has {HASH_SIZE} bytes, not {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise CheckpointError(f"{self.root.hex()} is not the root of the empty tree")

    def to_text(self) -> str:
        """The note's text: what is signed."""
        lines = (self.origin, str(self.size), to_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note's text; ``parse(text).to_text() == text``."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() != "":
            raise CheckpointError(
                "a checkpoint has an origin, a size and a root, each line ending in a newline"
            )
        origin, size, root, *extensions = lines
        try:
            return cls(origin, from_decimal(size), from_base64(root), tuple(extensions))
        except ValueError as error:
            raise CheckpointError(
                f"the checkpoint of {origin[:100]!r} has a malformed size or root: {error}"
            ) from error


class Cosignature(NamedTuple):
    """A witness's verified statement that the checkpoint was the largest it had seen at ``timestamp``."""

    witness: VerifierKey
    timestamp: int


class OpenedCheckpoint(NamedTuple):
    """A checkpoint signed by its log, and the known witnesses that cosigned it."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]


def sign_checkpoint(checkpoint: Checkpoint, signer: SignerKey) -> bytes:
    """The checkpoint as a note signed by its log, whose key must bear the origin as its name."""
    if signer.name != checkpoint.origin:
        raise CheckpointError(f"the key of {signer.name} does not sign for the log {checkpoint.origin}")
    text = checkpoint.to_text()
    return SignedNote(text, (signer.sign(text),)).to_bytes()


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
        if witness.algorithm != COSIGNATURE:
            raise CheckpointError(f"the key of witness {witness.name} is not a cosignature key (type 0x04)")
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
