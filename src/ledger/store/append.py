"""What one command asks the ledger to append, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from eventsourcing.persistence import IntegrityError, StoredEvent

from ledger.errors import AiqynError, FatalError
from ledger.statement import Disclosure, Event
from ledger.tlog.merkle import GrowingTree
from ledger.tlog.proof import TlogProof


class StreamConflictError(AiqynError, IntegrityError):
    """Somebody else appended to the stream first, or it is not where the command believed it to be."""

    code = "stream-conflict"
    title = "The stream has changed in the meantime"


class CommandReusedError(AiqynError):
    """The idempotency key stands for another request."""

    code = "idempotency-key-reused"
    title = "This Idempotency-Key was used for another request"

    def __init__(self, key: str) -> None:
        super().__init__("This Idempotency-Key came before with another request: use a new one.", key=key)


class ClockSkewError(AiqynError):
    """The event's ``iat`` is too far from this clock."""

    code = "clock-skew"
    title = "The event's time is not now"


class StoreUnavailableError(AiqynError):
    """The database does not answer; nothing was acknowledged."""

    code = "store-unavailable"
    title = "The ledger's database does not answer"


class LogRolledBackError(FatalError):
    """The database holds less than this log has already signed: going on would sign a fork."""

    code = "log-rolled-back"
    title = "The database is older than the log"


class LogHaltedError(FatalError):
    """Somebody halted the log: a witness's proof, or the operator. Nothing is signed until it may go on."""

    code = "log-halted"
    title = "The log is halted"

    def __init__(self, why: str) -> None:
        super().__init__(f"The log is halted: {why} See `aiqyn log status`.", why=why)


@dataclass(frozen=True)
class SealedEvent(StoredEvent):
    """A sealed event on its way into the ledger, in the eventsourcing library's terms."""

    iat: int | None = None
    event: Event | None = None
    """The same event, opened."""
    public: tuple[Disclosure, ...] = ()
    sealed: bytes | None = None
    """The restricted disclosures, encrypted for the vault."""
    data_key: bytes | None = None
    """The stream's wrapped data key, where this event brings it."""
    under: bytes | None = None
    """The stream's wrapped data key, where it had one: it must still be there when the event is appended."""
    secret: bytes | None = None
    """The petition's wrapped secret, where this event creates the petition."""
    person: bytes | None = None
    """Whose event it is, for that person's own cabinet: 32 bytes that say nothing to others."""
    attachments: tuple[UUID, ...] = ()
    """Uploaded files that the event takes up."""


@dataclass(frozen=True, slots=True)
class CommandId:
    """Makes a repeated request find what it already brought about."""

    scope: str
    key: str
    request: bytes
    """32 bytes that stand for what was asked: an HMAC where that holds anything personal."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """Holds while no entry after position ``after`` belongs to a stream that begins with ``prefix``."""

    prefix: str
    after: int


@dataclass(slots=True)
class Append:
    """All events of one command: they are appended together or not at all."""

    events: Sequence[StoredEvent]
    guards: Mapping[str, int] = field(default_factory=dict)
    """Stream → the version it must still have; streams of ``events`` are guarded by their numbers."""
    quiet: Quiet | None = None
    command: CommandId | None = None
    statement: CommandId | None = None
    """What a person signed for it: one signed statement brings about one thing, whoever repeats it."""
    uncertain: bool = False
    """An earlier try may have been committed without our hearing of it."""

    @property
    def commands(self) -> tuple[CommandId, ...]:
        """Everything under which it is remembered."""
        return tuple(command for command in (self.command, self.statement) if command is not None)


@dataclass(frozen=True, slots=True)
class Appended:
    """Where the events stand. What is returned here is committed and in a signed checkpoint."""

    position: int
    """Of the first event; the others follow without gaps."""
    count: int
    size: int
    checkpoint: bytes
    """The signed note; empty for a repeated command, whose proof is read from the log."""
    tree: GrowingTree | None
    repeated: bool = False

    def proof(self, offset: int = 0) -> TlogProof | None:
        """Proof of the event at ``position + offset``; ``None`` where it must be read from the log."""
        if self.tree is None:
            return None
        index = self.position + offset
        return TlogProof(index, self.tree.inclusion_proof(index), self.checkpoint)


def conflict(stream: str, expected: int, actual: int | None) -> StreamConflictError:
    """The error for a lost race."""
    details: dict[str, Any] = {"stream": stream, "expected": expected, "actual": actual or 0}
    return StreamConflictError(
        f"{stream} has {actual or 0} events, not {expected}: read it again and repeat the command.", **details
    )
