"""The queue of a body, and its open obligations, page by page.

A cursor says where the last page ended in the order asked for: by the due date and the position at which the
appeal came to the body (or the term began), or by that position alone. Positions never change, so who reads
page after page by arrival misses nothing and is shown nothing twice; by due date that holds for everything
whose term did not change meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

from ledger.domain.appeal import talon_number
from projections.appeal_case import Procedures, State
from projections.base import MAX_BIGINT, CursorInvalidError
from projections.terms import Role, Term

Order = Literal["due", "newest"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NEVER = "never"
"""In a cursor: the place of what has no due date, behind everything else."""


class QueueItem(msgspec.Struct, frozen=True, kw_only=True):
    """An appeal in a body's queue."""

    number: str
    """As on the talon."""
    stream: str
    version: int
    """Of the stream: what ``If-Match`` names."""
    role: Role
    state: State
    procedures: Procedures
    kind: str
    category: str
    region: str
    channel: str
    registered_on: date
    term: Term | None
    """The nearest of this body's own terms; none where nothing is due."""
    due: datetime | None
    overdue: bool
    """Whether that term has passed by now."""
    missed: bool
    """Whether the log says that the term which runs has passed."""
    last_type: str
    last_time: datetime
    arrived: int
    """Position of the event that brought it here."""
    position: int
    """Of its last event."""


class QueuePage(msgspec.Struct, frozen=True):
    """Some appeals of a queue, in the order asked for."""

    items: tuple[QueueItem, ...]
    next: str | None
    """The ``cursor`` of the next page; none on the last one."""
    as_of: int


class TermItem(msgspec.Struct, frozen=True, kw_only=True):
    """One open obligation of a body."""

    number: str
    """Of the appeal, as on the talon."""
    stream: str
    version: int
    """Of the stream: what ``If-Match`` names."""
    state: State
    term: Term
    of: int | None
    """Number of the assignment, or of the event that the applicant must be told of."""
    due: datetime
    overdue: bool
    """Whether it has passed by now."""
    missed: bool
    """Whether the log says so."""
    since: int
    """Position of the event that set it."""


class TermPage(msgspec.Struct, frozen=True):
    """Some open obligations of a body, by their due date."""

    items: tuple[TermItem, ...]
    next: str | None
    """The ``cursor`` of the next page; none on the last one."""
    as_of: int


_QUEUE = """
    SELECT p.position AS as_of, q.role, q.arrived, q.term, q.due, c.stream, c.n, c.state, c.extension,
           c.hearing, c.decision, c.withdrawal, c.kind, c.category, coalesce(c.region, 'unknown') AS region,
           c.channel, c.registered_on, c.missed, c.last_type, c.last_time, c.position
    FROM projections.positions p
    LEFT JOIN LATERAL (
        SELECT * FROM projections.queue q WHERE body = %(body)s {wanted} ORDER BY {order} LIMIT %(limit)s
    ) q ON true
    LEFT JOIN projections.cases c ON c.stream = q.stream
    WHERE p.name = 'terms' ORDER BY {order}"""
_BY_DUE = "coalesce(q.due, 'infinity'), q.arrived"


async def page(
    conn: AsyncConnection[Any],
    body: str,
    now: datetime,
    *,
    states: Sequence[State] | None = None,
    kind: str | None = None,
    role: Role | None = None,
    overdue: bool | None = None,
    due_before: datetime | None = None,
    order: Order = "due",
    cursor: str | None = None,
    limit: int = 50,
) -> QueuePage:
    """What ``body`` has to work on. Raises :class:`CursorInvalidError`."""
    values: dict[str, Any] = {"body": body, "limit": limit + 1}
    wanted = []

    def want(condition: str, **more: Any) -> None:  # noqa: ANN401 - parameters of a query
        wanted.append(f"AND {condition}")
        values.update(more)

    if states is not None:
        want("state = ANY(%(states)s)", states=list(states))
    if kind is not None:
        want("kind = %(kind)s", kind=kind)
    if role is not None:
        want("role = %(role)s", role=role)
    if overdue is not None:
        want("due <= %(now)s" if overdue else "(due > %(now)s OR due IS NULL)", now=now)
    if due_before is not None:
        want("coalesce(due, 'infinity') < %(due_before)s", due_before=due_before)
    if cursor is not None and order == "due":
        due, arrived = _parse(cursor, 2)
        want(f"({_BY_DUE}) > (%(after)s::timestamptz, %(arrived)s)", after=due, arrived=arrived)
    elif cursor is not None:
        (arrived,) = _parse(cursor, 1)
        want("arrived < %(arrived)s", arrived=arrived)
    query = _QUEUE.format(wanted=" ".join(wanted), order=_BY_DUE if order == "due" else "q.arrived DESC")
    rows, as_of = await _read(conn, query, values, "arrived")
    items = tuple(_item(row, now) for row in rows[:limit])
    following = None
    if len(rows) > limit:
        last = items[-1]
        following = f"{_micros(last.due)}.{last.arrived}" if order == "due" else str(last.arrived)
    return QueuePage(items, following, as_of)


_TERMS = """
    SELECT p.position AS as_of, t.*, c.n, c.state
    FROM projections.positions p
    LEFT JOIN LATERAL (
        SELECT * FROM projections.terms
        WHERE body = %(body)s {wanted} ORDER BY due, since, term LIMIT %(limit)s
    ) t ON true
    LEFT JOIN projections.cases c ON c.stream = t.stream
    WHERE p.name = 'terms' ORDER BY t.due, t.since, t.term"""


async def terms(
    conn: AsyncConnection[Any],
    body: str,
    now: datetime,
    *,
    only: Sequence[Term] | None = None,
    due_before: datetime | None = None,
    overdue: bool | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> TermPage:
    """What ``body`` must do by when, ``only`` these terms. Raises :class:`CursorInvalidError`."""
    values: dict[str, Any] = {"body": body, "limit": limit + 1}
    wanted = []
    if only is not None:
        wanted.append("AND term = ANY(%(only)s)")
        values["only"] = list(only)
    if overdue is not None:
        wanted.append("AND due <= %(now)s" if overdue else "AND due > %(now)s")
        values["now"] = now
    if due_before is not None:
        wanted.append("AND due < %(due_before)s")
        values["due_before"] = due_before
    if cursor is not None:
        due, since, term = _parse(cursor, 3)
        wanted.append("AND (due, since, term) > (%(after)s::timestamptz, %(since)s, %(term)s)")
        values |= {"after": due, "since": since, "term": term}
    rows, as_of = await _read(conn, _TERMS.format(wanted=" ".join(wanted)), values, "since")
    items = tuple(
        TermItem(
            number=talon_number(row["stream"]), stream=row["stream"], version=row["n"], state=row["state"],
            term=row["term"], of=row["number"] or None, due=row["due"], overdue=row["due"] <= now,
            missed=row["missed"], since=row["since"],
        )
        for row in rows[:limit]
    )  # fmt: skip
    following = None
    if len(rows) > limit:
        last = items[-1]
        following = f"{_micros(last.due)}.{last.since}.{last.term}"
    return TermPage(items, following, as_of)


async def _read(
    conn: AsyncConnection[Any], query: str, values: dict[str, Any], present: str
) -> tuple[list[dict[str, Any]], int]:
    """The rows in which ``present`` is, and the position they stand at: one statement is one snapshot."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql.SQL(query), values)  # made of our own words
        rows = await cursor.fetchall()
    return [row for row in rows if row[present] is not None], rows[0]["as_of"] if rows else -1


def _item(row: dict[str, Any], now: datetime) -> QueueItem:
    facts = {name: row[name] for name in _TAKEN}
    return QueueItem(
        number=talon_number(row["stream"]),
        version=row["n"],
        procedures=Procedures.of(row),
        overdue=row["due"] is not None and row["due"] <= now,
        **facts,
    )


_TAKEN = frozenset(QueueItem.__struct_fields__) - {"number", "version", "procedures", "overdue"}
_PARTS = (r"(-?[0-9]{1,18}|never)", r"([0-9]{1,19})", r"([a-z-]{1,20})")


def _micros(due: datetime | None) -> str:
    return _NEVER if due is None else str((due - _EPOCH) // _MICROSECOND)


def _parse(cursor: str, parts: int) -> tuple[Any, ...]:
    """Where a page ended: a due date as PostgreSQL reads it and what follows it, or a position alone."""
    wanted = _PARTS[1:2] if parts == 1 else _PARTS[:parts]
    found = re.fullmatch(r"\.".join(wanted), cursor, re.ASCII)
    try:
        if found is None or int(found[1 if parts == 1 else 2]) > MAX_BIGINT:
            raise ValueError
        if parts == 1:
            return (int(found[1]),)
        due = "infinity" if found[1] == _NEVER else (_EPOCH + int(found[1]) * _MICROSECOND).isoformat()
    except (ValueError, OverflowError):
        raise CursorInvalidError from None
    return (due, int(found[2]), *found.groups()[2:])
