"""Terms: what is due when, for whom; and the queue of each body, with the nearest of its own terms.

Both follow from how an appeal stands (see :mod:`projections.appeal_case`), so each event changes the rows of
its own appeal only. A row goes when the obligation is met, or can no longer be met.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, LiteralString, TypeVar

import msgspec
from psycopg import AsyncConnection, Cursor, sql
from psycopg.rows import class_row

from ledger import events
from ledger.domain.appeal import Appeal
from ledger.events import Fact
from projections.appeal_case import OPEN, Case, advance, begin, is_appeal
from projections.base import Projection, Table
from projections.batch import Batch
from projections.rows import as_json, columns, load, upsert

Term = Literal[
    "consideration", "forwarding", "mending", "telling", "objection", "hearing", "assignment",
    "passing-up", "complaint", "complaining",
]  # fmt: skip
Role = Literal["handler", "higher", "assigned"]
"""What a body has to do with an appeal in its queue; who is several of them is the first of them."""
OVERDUE, LAPSED = events.AppealOverdue.type, events.AppealLapsed.type

_TELLING = Appeal.transitions[events.AppealApplicantTold.type]
_WITH_HANDLER = OPEN | {"returned", "decided", "complained", "complaint-passed-up"}
"""States in which the body that an appeal lies with is not done with it."""


class Obligation(msgspec.Struct, gc=False, frozen=True):
    """A row of table ``terms``; the meaning of each column stands in the migration."""

    stream: str
    term: str
    number: int
    body: str | None
    due: datetime
    since: int
    missed: bool = False
    clock: str | None = None


class Place(msgspec.Struct, gc=False, frozen=True):
    """A row of table ``queue``."""

    body: str
    stream: str
    role: str
    arrived: int
    state: str
    kind: str
    due: datetime | None
    term: str | None


def obligations(case: Case) -> dict[tuple[str, int], Obligation]:
    """What is due in a case, by term and number."""
    found: dict[tuple[str, int], Obligation] = {}
    working = case.state == "in-work"

    def owe(term: Term, body: str | None, due: datetime | None, since: int | None, **more: Any) -> None:  # noqa: ANN401
        if due is not None:
            one = Obligation(case.stream, term, more.pop("number", 0), body, due, since or 0, **more)
            found[one.term, one.number] = one

    match case.term:
        case "consideration" | "passing-up":
            owe(case.term, case.body, case.due, case.due_since, missed=case.missed, clock=OVERDUE)
        case "complaint":
            owe("complaint", case.higher, case.due, case.due_since, missed=case.missed, clock=OVERDUE)
    if case.state == "registered":
        owe("forwarding", case.body, case.forward_until, case.registered_since)
    if case.state == "returned":
        owe("mending", None, case.fix_until, case.fix_since, clock=LAPSED)
    if case.state in _TELLING:
        for news in case.news():
            owe("telling", news.body, news.until, news.since, number=news.number)
    if working and case.hearing == "noticed":
        owe("objection", None, case.object_until, case.hearing_since)
        owe("hearing", case.body, case.hearing_at, case.hearing_since)
    if working:
        for asked in case.asked():
            owe("assignment", asked.body, asked.until, asked.since, number=asked.number)
    silent = case.state in OPEN and case.missed and case.withdrawal == "none"
    if silent or case.state in {"decided", "finished"}:
        owe("complaining", None, case.complain_until, case.complain_since)
    return found


def places(case: Case, owed: Iterable[Obligation]) -> dict[str, Place]:
    """In whose queue a case stands, by body."""
    nearest: dict[str | None, Obligation] = {}
    for one in owed:
        if one.body not in nearest or _order(one) < _order(nearest[one.body]):
            nearest[one.body] = one
    found: dict[str, Place] = {}

    def stand(body: str, role: Role, arrived: int) -> None:
        if body not in found:
            one = nearest.get(body)
            due, term = (None, None) if one is None else (one.due, one.term)
            found[body] = Place(body, case.stream, role, arrived, case.state, case.kind, due, term)

    if case.state in _WITH_HANDLER or case.body in nearest:
        stand(case.body, "handler", case.arrived)
    if case.state == "complaint-passed-up" and case.higher is not None:
        stand(case.higher, "higher", case.higher_since or 0)
    if case.state == "in-work":
        for asked in case.asked():
            stand(asked.body, "assigned", asked.since)
    return found


def _order(one: Obligation) -> tuple[datetime, int]:
    return one.due, one.since


class Terms(Projection):
    """What is due in every appeal, and in whose queue it stands."""

    name = "terms"
    version = 1
    tables = (
        Table("cases", key=("stream",), columns=columns(Case)),
        Table("terms", key=("stream", "term", "number"), columns=columns(Obligation)),
        Table("queue", key=("body", "stream"), columns=columns(Place)),
    )

    def project(self, cursor: Cursor[Any], batch: Batch) -> None:
        """Fold the events of appeals, and write what they changed."""
        own = [event for event in batch.events if is_appeal(event.stream)]
        if not own:
            return
        cases = {case.stream: case for case in load(cursor, Case, "cases", "stream", {e.stream for e in own})}
        before = [_rows(case) for case in cases.values()]
        for event in own:
            if (case := cases.get(event.stream)) is not None:
                advance(case, event)
            elif (case := begin(Case, event)) is not None:
                cases[event.stream] = case
        behind = [_rows(case) for case in cases.values()]
        upsert(cursor, "cases", ("stream",), cases.values())
        _change(
            cursor, "terms", ("stream", "term", "number"),
            [one for owed, _ in before for one in owed], [one for owed, _ in behind for one in owed],
        )  # fmt: skip
        _change(
            cursor, "queue", ("body", "stream"),
            [one for _, stood in before for one in stood], [one for _, stood in behind for one in stood],
        )  # fmt: skip


def _rows(case: Case) -> tuple[Collection[Obligation], Collection[Place]]:
    owed = obligations(case).values()
    return owed, places(case, owed).values()


R = TypeVar("R", bound=msgspec.Struct)


def _change(
    cursor: Cursor[Any],
    table: LiteralString,
    key: Sequence[LiteralString],
    before: Iterable[R],
    behind: Iterable[R],
) -> None:
    """Remove the rows that are there no more, and write those that are new or another."""
    old = {_key(row, key): row for row in before}
    new = {_key(row, key): row for row in behind}
    if gone := [row for name, row in old.items() if name not in new]:
        same = sql.SQL(" AND ").join(
            sql.SQL("t.{0} = d.{0}").format(sql.Identifier(column)) for column in key
        )
        query = sql.SQL("DELETE FROM {0} t USING json_populate_recordset(NULL::{0}, %s::json) d WHERE {1}")
        cursor.execute(query.format(sql.Identifier(table), same), [as_json(gone)])
    upsert(cursor, table, key, [row for name, row in new.items() if old.get(name) != row])


def _key(row: msgspec.Struct, key: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(row, column) for column in key)


class Due(msgspec.Struct, frozen=True):
    """A term that passed, and that the clock has not declared yet."""

    stream: str
    term: Term
    due: datetime
    clock: str
    """The type of the event that says so."""
    version: int
    """Of the stream, as of that position."""
    as_of: int

    def facts(self) -> Fact:
        """The event that says so."""
        match self.term:
            case "mending":
                return events.AppealLapsed(fix_until=self.due)
            case "consideration" | "passing-up" | "complaint":
                return events.AppealOverdue(term=self.term, due=self.due)
            case _:
                raise ValueError(f"the clock says nothing of {self.term}")


async def due_for_clock(conn: AsyncConnection[Any], now: datetime, limit: int = 1000) -> list[Due]:
    """What the clock must declare at ``now``, the longest passed first, at most ``limit``."""
    async with conn.cursor(row_factory=class_row(Due)) as cursor:
        await cursor.execute(
            """
            SELECT t.stream, t.term, t.due, t.clock, c.n AS version, p.position AS as_of
            FROM projections.positions p, projections.terms t JOIN projections.cases c ON c.stream = t.stream
            WHERE p.name = 'terms' AND t.clock IS NOT NULL AND NOT t.missed AND t.due <= %s
            ORDER BY t.due, t.since LIMIT %s
            """,
            [now, limit],
            prepare=True,
        )
        return await cursor.fetchall()
