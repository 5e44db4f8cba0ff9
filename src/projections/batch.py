"""Entries read for folding: decoded once, for all projections.

How an entry is spelled and who signed it was checked when it was appended, and is checked again by whoever
audits. Here it is not, because a rebuild reads a hundred thousand entries a second; that the facts are those
of the catalogue is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from psycopg import Cursor

from ledger.encoding import b64url_decode
from ledger.errors import AiqynError, FatalError
from ledger.events import MAX_INTEGER, Fact, MalformedEventError, decode
from ledger.statement import remembered_facts
from projections.counting import Change, Counting

BATCH = 5_000
"""Entries in a batch unless told otherwise: some megabytes, some tens of milliseconds."""

LATEST = 253_402_300_800
"""The year 10000 in seconds since 1970: no date of ours."""


class EntriesMissingError(FatalError):
    """The ledger's positions have a gap, or it is shorter than what was folded."""

    code = "entries-missing"
    title = "Entries of the ledger are missing"


class UnreadableEntryError(AiqynError):
    """An entry that this program cannot fold; whatever stands behind it must wait."""

    code = "entry-unreadable"
    title = "An entry of the ledger cannot be folded"

    def __init__(self, position: int, reason: AiqynError) -> None:
        super().__init__(f"Entry {position}: {reason}", position=position, reason=reason.code)
        self.position = position


class LoggedEvent(msgspec.Struct, gc=False):
    """One event and the position that the ledger gave it."""

    position: int
    iss: str
    kid: str
    iat: int
    """Seconds since 1970, UTC."""
    stream: str
    n: int
    facts: Fact


class Batch:
    """Consecutive events, and what they change in the counts of signatures."""

    __slots__ = ("changes", "events")

    def __init__(self, events: Sequence[LoggedEvent], changes: Sequence[Change]) -> None:
        self.events = events
        self.changes = changes

    @property
    def first(self) -> int:
        """Position of its first event."""
        return self.events[0].position

    @property
    def last(self) -> int:
        """Position of its last event."""
        return self.events[-1].position

    def __len__(self) -> int:
        return len(self.events)


class _Payload(msgspec.Struct, gc=False):
    """What folding needs of an event's payload; the rest is passed over."""

    iss: str
    iat: Annotated[int, Meta(ge=0, lt=LATEST)]
    stream: str
    n: Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
    type: str
    v: int
    data: msgspec.Raw


class _Header(msgspec.Struct):
    kid: str


_payload = msgspec.json.Decoder(_Payload).decode
_header = msgspec.json.Decoder(_Header).decode
_REMEMBERED = 10_000
_kids: dict[bytes, str] = {}


def read_event(position: int, entry: bytes) -> LoggedEvent:
    """The event in an entry. Raises :class:`UnreadableEntryError`."""
    try:
        head, body, _ = entry.split(b".", 2)
        payload = _payload(b64url_decode(body))
        data = bytes(payload.data)
        facts = remembered_facts(payload.type, payload.v, data) or decode(payload.type, payload.v, data)
        stream = payload.stream
        if not stream.startswith(facts.room + "/"):
            raise MalformedEventError(f"{payload.type!r} does not belong to stream {stream!r}.")
        return LoggedEvent(
            position, payload.iss, _kids.get(head) or _kid(head), payload.iat, stream, payload.n, facts
        )
    except AiqynError as error:
        raise UnreadableEntryError(position, error) from error
    except (ValueError, msgspec.MsgspecError) as error:
        raise UnreadableEntryError(position, MalformedEventError(f"It is not an event: {error}.")) from error


def _kid(head: bytes) -> str:
    kid = _header(b64url_decode(head)).kid
    if len(_kids) >= _REMEMBERED:
        _kids.clear()
    _kids[head] = kid
    return kid


Rows = list[tuple[int, bytes]]
"""Positions and entries."""


def read_batch(
    cursor: Cursor[Any], after: int, *, until: int | None = None, limit: int = BATCH
) -> tuple[Batch, UnreadableEntryError | None]:
    """The events behind position ``after``, up to ``until`` (inclusive) and at most ``limit``.

    See :func:`fetch` and :func:`decode_batch`.
    """
    return decode_batch(cursor, after, fetch(cursor, after, until=until, limit=limit))


def fetch(cursor: Cursor[Any], after: int, *, until: int | None = None, limit: int = BATCH) -> Rows:
    """The entries behind ``after``. Raises :class:`EntriesMissingError` where the ledger has a gap."""
    last = after + limit if until is None else min(until, after + limit)
    rows = cursor.execute(
        "SELECT position, entry FROM ledger.entries WHERE position > %s AND position <= %s ORDER BY position",
        [after, last],
        binary=True,
    ).fetchall()
    if rows and rows[-1][0] != after + len(rows):
        raise EntriesMissingError(
            f"Of the entries {after + 1} to {rows[-1][0]} the ledger holds only {len(rows)}: "
            "restore it before anything is folded."
        )
    if not rows and after >= 0:
        found = cursor.execute("SELECT FROM ledger.entries WHERE position = %s", [after]).fetchone()
        if found is None:
            raise EntriesMissingError(
                f"Entry {after} was folded and is not in the ledger any more: restore the ledger, or rebuild."
            )
    return rows


def decode_batch(cursor: Cursor[Any], after: int, rows: Rows) -> tuple[Batch, UnreadableEntryError | None]:
    """The events in ``rows``, which follow position ``after``.

    The batch ends before the first entry that cannot be read; that entry's error comes with it. ``cursor``
    looks up what streams that are continued here held before.
    """
    events: list[LoggedEvent] = []
    stopped = None
    try:
        for position, entry in rows:
            events.append(read_event(position, entry))
    except UnreadableEntryError as error:
        stopped = error
    return Batch(events, _count(cursor, after, events)), stopped


def _count(cursor: Cursor[Any], after: int, events: Sequence[LoggedEvent]) -> list[Change]:
    counting = Counting()
    if streams := counting.continued(events):
        earlier = cursor.execute(
            "SELECT position, entry FROM ledger.entries"
            " WHERE stream = ANY(%s) AND position <= %s ORDER BY position",
            [streams, after],
            binary=True,
        ).fetchall()
        counting.changes([read_event(position, entry) for position, entry in earlier])
    return counting.changes(events)
