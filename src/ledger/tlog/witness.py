"""What a witness does with a request (C2SP tlog-witness), without storage, clock or network.

A witness remembers, of each log, the largest checkpoint that it cosigned, and cosigns another only if that
one contains it. ``read`` and ``judge`` say what the specification says to each request; ``proves_fork``
tells what is more than a mistake: a log that signed two histories.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

from ledger.tlog.encoding import MAX_SIZE, from_base64, from_decimal, to_base64
from ledger.tlog.errors import TlogError
from ledger.tlog.head import Checkpoint, CheckpointError, read_head
from ledger.tlog.merkle import EMPTY_ROOT, HASH_SIZE, ProofError, implied_roots, verify_consistency
from ledger.tlog.note import InvalidSignatureError, NoteError, Signature, SignedNote, VerifierKey, open_note
from ledger.tlog.proof import MAX_HASHES

MAX_REQUEST_BYTES = 1_000_000
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"


class WitnessRequestError(TlogError):
    """The body of an ``add-checkpoint`` request is malformed."""

    code = "witness-request-invalid"
    title = "The request to the witness is malformed"


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """Body of ``POST /add-checkpoint``: the size that the witness remembers, the consistency proof from it,
    and the signed checkpoint to be cosigned, as it was published."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def __post_init__(self) -> None:
        """Refuse what could not be read back."""
        if not 0 <= self.old <= MAX_SIZE:
            raise WitnessRequestError(f"old size {self.old} is not between 0 and {MAX_SIZE}")
        if len(self.proof) > MAX_HASHES or any(len(value) != HASH_SIZE for value in self.proof):
            raise WitnessRequestError(
                f"a consistency proof has at most {MAX_HASHES} hashes of {HASH_SIZE} bytes"
            )
        if not self.checkpoint:
            raise WitnessRequestError("the request carries no checkpoint")

    def to_bytes(self) -> bytes:
        """The body; ``WitnessRequestError`` if no witness would read it."""
        lines = [f"old {self.old}", *map(to_base64, self.proof)]
        data = "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.checkpoint
        _check_length(data)
        return data

    @classmethod
    def parse(cls, data: bytes) -> AddCheckpoint:
        """Read a body without verifying anything; its checkpoint stays the bytes it is."""
        _check_length(data)
        head, blank, checkpoint = data.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
            if not blank or not first.startswith("old "):
                raise WitnessRequestError(
                    "a request is a line `old SIZE`, the lines of a proof, a blank line and a checkpoint"
                )
            old = from_decimal(first.removeprefix("old "))
            if len(lines) > MAX_HASHES:
                raise WitnessRequestError(f"the proof has {len(lines)} hashes, more than {MAX_HASHES}")
            return cls(old, tuple(from_base64(line) for line in lines), checkpoint)
        except ValueError as error:
            raise WitnessRequestError(f"the old size or a hash of the proof is malformed: {error}") from error


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no cosignature, and how the witness says so."""

    status: int
    reason: str
    size: int | None = None
    """What a 409 tells: the size that the witness remembers."""

    @property
    def body(self) -> bytes:
        """Body of the response."""
        return f"{self.reason if self.size is None else self.size}\n".encode()

    @property
    def content_type(self) -> str:
        """Content type of the response."""
        return TEXT_TYPE if self.size is None else SIZE_TYPE


@dataclass(frozen=True, slots=True)
class Submission:
    """A request whose checkpoint a known log signed. ``root`` may still be a wrong one of size 0."""

    old: int
    proof: tuple[bytes, ...]
    origin: str
    size: int
    root: bytes
    note: SignedNote
    """The checkpoint with the signatures of the log that were verified, and no others."""
    own: tuple[Signature, ...] = ()
    """Cosignatures of this witness that the checkpoint bore already."""


def read(
    body: bytes, keys_of: Callable[[str], Iterable[VerifierKey]], own: Iterable[VerifierKey] = ()
) -> Submission | Refusal:
    """What a request says, or why it is refused (400, 404, 403).

    ``keys_of`` gives the trusted keys of an origin, none for an unknown one; one of them must have signed.
    ``own`` are the keys of this witness.
    """
    try:
        request = AddCheckpoint.parse(body)
        text, blank, _ = request.checkpoint.rpartition(b"\n\n")
        head = read_head((text + blank[:1]).decode())
    except UnicodeDecodeError:
        return Refusal(400, "the checkpoint is not UTF-8")
    except TlogError as error:
        return Refusal(400, str(error))
    known = {(key.name, key.key_id): key for key in keys_of(head.origin)}
    if not known:
        return Refusal(404, "unknown log: this witness was not asked by its owner to cosign it")
    try:
        open_note(request.checkpoint, known.values())
        note = SignedNote.parse(request.checkpoint)
    except NoteError as error:
        return Refusal(403, f"invalid signature: {error}")
    signed = tuple(line for line in dict.fromkeys(note.signatures) if (line.name, line.key_id) in known)
    return Submission(
        request.old,
        request.proof,
        head.origin,
        head.size,
        head.root,
        SignedNote(note.text, signed),
        tuple(_signed(note, own)),
    )


def judge(submission: Submission, latest: Checkpoint | None) -> Checkpoint | Refusal:
    """What the witness remembers from now on, and cosigns; or why not (400, 409, 422).

    ``latest`` is what it remembers: the largest checkpoint of this log that it cosigned.
    """
    old_size, old_root = (0, EMPTY_ROOT) if latest is None else (latest.size, latest.root)
    if submission.old > submission.size:
        return Refusal(400, f"old size {submission.old} is above the checkpoint's, {submission.size}")
    if submission.old != old_size:
        return Refusal(409, f"this witness remembers size {old_size}", old_size)
    try:
        verify_consistency(old_size, old_root, submission.size, submission.root, submission.proof)
        return Checkpoint.parse(submission.note.text)
    except ProofError as error:
        return Refusal(422, f"the consistency proof does not verify: {error}")
    except CheckpointError as error:
        return Refusal(422, str(error))


def proves_fork(submission: Submission, remembered: Checkpoint) -> bool:
    """Whether the log signed two histories: the remembered one, and one that does not contain it.

    A proof that fails proves nothing by itself: anybody can send a wrong one with a checkpoint that the log
    signed. But one that leads to the signed root shows what that tree holds at the old size.
    """
    if submission.size == remembered.size:
        return submission.root != remembered.root
    if not 0 < remembered.size == submission.old < submission.size:
        return False
    try:
        old, new = implied_roots(submission.old, remembered.root, submission.size, submission.proof)
    except ProofError:
        return False
    return new == submission.root and old != remembered.root


def origin_hash(origin: str) -> str:
    """Under which a witness serves the checkpoint of a log: SHA-256 of the origin, in hex."""
    return sha256(origin.encode()).hexdigest()


def _signed(note: SignedNote, keys: Iterable[VerifierKey]) -> Iterable[Signature]:
    """The signatures of these keys that verify; others are ignored, for anybody may make them up."""
    known = {(key.name, key.key_id): key for key in keys}
    for line in dict.fromkeys(note.signatures):
        key = known.get((line.name, line.key_id))
        if key is not None:
            with contextlib.suppress(InvalidSignatureError):
                key.verify(note.text, line.signature)
                yield line


def _check_length(data: bytes) -> None:
    if len(data) > MAX_REQUEST_BYTES:
        raise WitnessRequestError(f"a request has at most {MAX_REQUEST_BYTES} bytes, not {len(data)}")
