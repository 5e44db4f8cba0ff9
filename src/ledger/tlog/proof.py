"""Proofs that an entry is in a log, in one text that verifies offline (C2SP tlog-proof)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.tlog.checkpoint import Checkpoint, OpenedCheckpoint, open_checkpoint
from ledger.tlog.encoding import MAX_SIZE, from_base64, from_decimal, to_base64
from ledger.tlog.merkle import HASH_SIZE, ProofError, leaf_hash, verify_inclusion
from ledger.tlog.note import VerifierKey
from ledger.tlog.policy import Policy

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = 2_000_000
MAX_HASHES = 63
"""No tree of at most 2**63 - 1 leaves is higher."""


@dataclass(frozen=True, slots=True)
class TlogProof:
    """Position of an entry, its inclusion proof (leaf side first) and the signed checkpoint it leads to.

    ``extra`` is opaque, not empty, and vouched for by nobody.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be read back."""
        if not 0 <= self.index <= MAX_SIZE:
            raise ProofError(f"index {self.index} is not between 0 and {MAX_SIZE}")
        if len(self.hashes) > MAX_HASHES or any(len(value) != HASH_SIZE for value in self.hashes):
            raise ProofError(f"an inclusion proof has at most {MAX_HASHES} hashes of {HASH_SIZE} bytes")
        if not self.checkpoint:
            raise ProofError("the proof carries no checkpoint")
        if self.extra == b"":
            raise ProofError("a proof without extra data has no extra line")

    def to_bytes(self) -> bytes:
        """The proof as a file (``.tlog-proof``); ``ProofError`` if it is too long to be read again."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {to_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines += map(to_base64, self.hashes)
        data = "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.checkpoint
        _check_length(data)
        return data

    @classmethod
    def parse(cls, data: bytes) -> TlogProof:
        """Read a proof without verifying anything; its checkpoint stays the bytes it is."""
        _check_length(data)
        head, blank, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise ProofError(f"the proof has a byte that is not ASCII at {error.start}") from error
        if not blank or lines.pop(0) != HEADER:
            raise ProofError(
                f"a proof starts with the line {HEADER} and has a blank line before its checkpoint"
            )
        try:
            extra = None
            if lines and lines[0].startswith("extra "):
                extra = from_base64(lines.pop(0).removeprefix("extra "))
            if not lines or not lines[0].startswith("index "):
                raise ProofError("the proof has no line with the entry's index")
            index = from_decimal(lines.pop(0).removeprefix("index "))
            if len(lines) > MAX_HASHES:
                raise ProofError(f"the proof has {len(lines)} hashes, more than {MAX_HASHES}")
            hashes = tuple(from_base64(line) for line in lines)
        except ValueError as error:
            raise ProofError(f"the proof has a malformed line: {error}") from error
        return cls(index, hashes, checkpoint, extra)

    def verify(
        self,
        entry: bytes,
        log_vkey: VerifierKey | None,
        witness_vkeys: Sequence[VerifierKey] = (),
        *,
        quorum: int = 0,
        origin: str | None = None,
        policy: Policy | None = None,
    ) -> Checkpoint:
        """The log's checkpoint, once it is shown to be signed and cosigned and to contain ``entry``.

        ``policy`` says which logs and which cosignatures count: ``log_vkey`` may be None where it lists the
        log. Without a policy, ``quorum`` is how many different keys of ``witness_vkeys`` must have cosigned.
        ``origin`` is the log's name where its key bears another. Raises ``ProofError``, ``NoteError``,
        ``CheckpointError``, or with a policy ``QuorumError``.
        """
        if policy is not None:
            if witness_vkeys or quorum:
                raise ValueError("a policy names the witnesses and the quorum itself")
            checkpoint = policy.verify(self.checkpoint, log=log_vkey, origin=origin).checkpoint
        elif log_vkey is None:
            raise ValueError("a proof is verified with a log's key or with a policy that lists logs")
        else:
            opened = open_checkpoint(self.checkpoint, log_vkey, witness_vkeys, origin=origin)
            _check_quorum(opened, quorum)
            checkpoint = opened.checkpoint
        verify_inclusion(leaf_hash(entry), self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint


def _check_quorum(opened: OpenedCheckpoint, quorum: int) -> None:
    # An Ed25519 cosignature does not cover the witness's name: one key under two names is one witness. And
    # one witness may have an Ed25519 and an ML-DSA-44 key.
    keys = {cosignature.witness.public_key for cosignature in opened.cosignatures}
    names = {cosignature.witness.name for cosignature in opened.cosignatures}
    seen = min(len(keys), len(names))
    if seen < quorum:
        raise ProofError(f"{seen} known witnesses cosigned the checkpoint, {quorum} are required")


def _check_length(data: bytes) -> None:
    if len(data) > MAX_PROOF_BYTES:
        raise ProofError(f"a proof has at most {MAX_PROOF_BYTES} bytes, not {len(data)}")
