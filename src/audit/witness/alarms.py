"""What a witness saw of a log, or of itself, that must not be: kept with the signed proof of it."""

from __future__ import annotations

import logging
import sqlite3
from typing import Final, NamedTuple

from audit.witness.state import AlarmKind
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.merkle import EMPTY_ROOT
from ledger.tlog.witness import AddCheckpoint, Refusal, Submission, proves_fork

log = logging.getLogger(__name__)

MOST: Final = 1_000
"""Alarms of one log and kind that are kept: the first ones, of the unproven the last."""
LARGEST_UNPROVEN: Final = 50_000
"""Bytes of a request that is kept although it proves nothing: anybody can send many."""


class Alarm(NamedTuple):
    """What was seen, and the proof of it."""

    id: int
    origin: str
    kind: AlarmKind
    size: int
    root: bytes
    seen: int
    """When it was seen first, in POSIX seconds."""
    request: bytes
    """The request, with the signatures that were verified and no others."""
    remembered: bytes | None
    """The checkpoint of the log, signed by it, that the request contradicts."""


class Known(NamedTuple):
    """A checkpoint that was cosigned, as its log signed it."""

    checkpoint: Checkpoint
    note: bytes | None
    """None for the empty tree, which needs no signature."""


def read_alarms(connection: sqlite3.Connection) -> list[Alarm]:
    """All of them, in the order in which they were seen."""
    rows = connection.execute(
        "SELECT id, origin, kind, size, root, seen, request, remembered FROM alarms ORDER BY id"
    )
    return [Alarm(*row) for row in rows]


def known_at(connection: sqlite3.Connection, origin: str, size: int) -> Known | None:
    """What was cosigned of a log at that size, if that is remembered."""
    row = connection.execute(
        "SELECT root, note FROM cosigned WHERE origin = ? AND size = ?", [origin, size]
    ).fetchone()
    if row is None:
        return Known(Checkpoint(origin, 0, EMPTY_ROOT), None) if size == 0 else None
    return Known(Checkpoint(origin, size, row[0]), row[1])


def examine(
    connection: sqlite3.Connection, submission: Submission, latest: Checkpoint | None, now: int
) -> bool:
    """Remember what a request proves against its log or against this witness; whether it proves a fork."""
    known = known_at(connection, submission.origin, submission.size)
    if submission.own:
        # The only way in which a witness learns that its memory was replaced by an older one.
        if latest is None or submission.size > latest.size:
            _remember(connection, "forgotten", submission, None, now)
        elif known is not None and known.checkpoint.root != submission.root:
            _remember(connection, "two-faced", submission, known, now)
    for one in (known, known_at(connection, submission.origin, submission.old)):
        if one is not None and proves_fork(submission, one.checkpoint):
            _remember(connection, "fork", submission, one, now)
            return True
    return False


def remember_unproven(
    connection: sqlite3.Connection, submission: Submission, latest: Checkpoint, now: int
) -> None:
    """Remember a checkpoint that a log signed and for which a wrong proof was sent."""
    _remember(connection, "unproven", submission, known_at(connection, latest.origin, latest.size), now)


def forget_unproven(connection: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    """The checkpoint was proved after all."""
    connection.execute(
        "DELETE FROM alarms WHERE origin = ? AND kind = 'unproven' AND size = ? AND root = ?",
        [checkpoint.origin, checkpoint.size, checkpoint.root],
    )


def amnesia(connection: sqlite3.Connection, origin: str, latest: Checkpoint | None) -> Refusal | None:
    """Why this witness must cosign nothing of a log, if it must not."""
    rows = connection.execute(
        "SELECT kind, size, root FROM alarms WHERE origin = ? AND kind IN ('forgotten', 'two-faced')",
        [origin],
    )
    for kind, size, root in rows:
        if kind == "two-faced":
            return Refusal(503, "this witness cosigned two histories of this log: it is out of service")
        if latest is None or size > latest.size or (size == latest.size and root != latest.root):
            return Refusal(
                503, f"this witness cosigned size {size} and has forgotten it: its owner must look"
            )
    return None


def _remember(
    connection: sqlite3.Connection, kind: AlarmKind, submission: Submission, known: Known | None, now: int
) -> None:
    note = submission.note.with_signatures(*submission.own).to_bytes()
    request = AddCheckpoint(submission.old, submission.proof, note).to_bytes()
    if kind == "unproven" and len(request) > LARGEST_UNPROVEN:
        return
    origin, size, root = submission.origin, submission.size, submission.root
    (count,) = connection.execute(
        "SELECT count(*) FROM alarms WHERE origin = ? AND kind = ?", [origin, kind]
    ).fetchone()
    if count >= MOST:
        if kind != "unproven":
            return
        connection.execute(
            "DELETE FROM alarms WHERE id = (SELECT min(id) FROM alarms WHERE origin = ? AND kind = ?)",
            [origin, kind],
        )
    fresh = connection.execute(
        "INSERT INTO alarms (origin, kind, size, root, seen, request, remembered)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [origin, kind, size, root, now, request, None if known is None else known.note],
    ).rowcount
    if fresh:
        level = logging.ERROR if kind == "unproven" else logging.CRITICAL
        log.log(
            level,
            "ALARM %s: %s, size %d, root %s. See `aiqyn witness status`.",
            kind,
            origin,
            size,
            root.hex(),
        )
