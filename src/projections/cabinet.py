"""The cabinet: a person's own cases, by the pseudonym that the ledger keeps beside their events.

Private: a row says whose a stream is. It is joined from ``ledger.persons``, which is written in the
transaction that appends the entry, so it does not follow from entries alone. What was erased leaves it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Literal

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import dict_row

from ledger.domain.appeal import talon_number
from ledger.events import DisclosureErased
from projections.appeal_case import BEGINNINGS, Procedures, State
from projections.base import Column, Projection, Table, plain
from projections.batch import Batch
from projections.petitions import UNKNOWN
from projections.terms import Term

Role = Literal["applicant"]
ROLES: dict[str, Role] = {kind.type: "applicant" for kind in BEGINNINGS}
"""What an event of a person makes them in its stream. The fold's version grows with every type added here."""


class Cabinet(Projection):
    """Whose case each stream is."""

    name = "cabinet"
    version = 2
    private = True
    tables = (
        Table(
            "cabinet",
            key=("person", "stream", "role"),
            columns=(Column("person", "encode(person, 'hex')"), *plain("stream", "role", "position")),
        ),
    )

    def project(self, cursor: Cursor[Any], batch: Batch) -> None:
        """Add the streams that an event of a person begins; the first event that says so stands."""
        own = [
            (event.position, event.stream, role)
            for event in batch.events
            if (role := ROLES.get(event.facts.type)) is not None
        ]
        if own:
            self._add(cursor, own)
        erased = [
            event.facts.of
            for event in batch.events
            if isinstance(event.facts, DisclosureErased) and event.facts.data_key
        ]
        if erased:
            # A case begins with the event that makes it somebody's: no erasure comes before it.
            cursor.execute("DELETE FROM cabinet WHERE stream = ANY(%s)", [erased])

    @staticmethod
    def _add(cursor: Cursor[Any], own: list[tuple[int, str, Role]]) -> None:
        positions, streams, roles = map(list, zip(*own, strict=True))
        cursor.execute(
            """
            INSERT INTO cabinet (person, stream, role, position)
            SELECT DISTINCT ON (p.person, e.stream, e.role) p.person, e.stream, e.role, e.position
            FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS e (position, stream, role)
            JOIN ledger.persons p ON p.position = e.position
            ORDER BY p.person, e.stream, e.role, e.position
            ON CONFLICT DO NOTHING
            """,
            [positions, streams, roles],
        )


class CaseTerm(msgspec.Struct, frozen=True):
    """A date in a person's case: what a body owes them, or what they may do."""

    term: Term
    body: str | None
    """Who owes it; None where it is the person's own."""
    due: datetime
    missed: bool
    """Whether the log says that it passed."""


class CabinetCase(msgspec.Struct, frozen=True, kw_only=True):
    """One of a person's cases."""

    number: str
    """As on the talon."""
    stream: str
    role: Role
    version: int
    state: State
    procedures: Procedures
    kind: str
    category: str
    region: str
    channel: str
    body: str
    """That it lies with now."""
    higher: str | None
    registered_on: date
    terms: tuple[CaseTerm, ...]
    """Everything that is open, by date."""
    next: CaseTerm | None
    """The nearest of them that is still to come."""
    last_type: str
    last_time: datetime
    since: int
    """Position of the event that made it theirs."""
    position: int
    """Of its last event."""


class Cases(msgspec.Struct, frozen=True):
    """A person's cases, the newest first, as of the position that all of it stands at."""

    items: tuple[CabinetCase, ...]
    as_of: int


_SHOWN: tuple[Term, ...] = (
    "consideration", "mending", "objection", "hearing", "passing-up", "complaint", "complaining",
)  # fmt: skip
"""What concerns the person; when a body asks another one, or hands it over, is theirs to settle."""

_CASES = """
    SELECT least(p.position, q.position) AS as_of, o.stream, o.role, o.position AS since, c.n, c.state,
           c.extension, c.hearing, c.decision, c.withdrawal, c.kind, c.category, c.region, c.channel, c.body,
           c.higher, c.registered_on, c.last_type, c.last_time, c.position,
           (SELECT json_agg(
                json_build_object('term', t.term, 'body', t.body, 'due', t.due, 'missed', t.missed)
                ORDER BY t.due, t.since, t.term)::text
            FROM projections.terms t WHERE t.stream = o.stream AND t.term = ANY(%(shown)s)) AS terms
    FROM projections.positions p JOIN projections.positions q ON q.name = 'terms'
    LEFT JOIN (projections.cabinet o JOIN projections.cases c ON c.stream = o.stream) ON o.person = %(person)s
    WHERE p.name = 'cabinet' ORDER BY o.position DESC"""


async def of(conn: AsyncConnection[Any], person: bytes, now: datetime | None = None) -> Cases:
    """The cases of the person with that pseudonym (32 bytes); ``now`` decides which term comes next."""
    now = now or datetime.now(UTC)
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_CASES, {"person": person, "shown": list(_SHOWN)}, prepare=True)
        rows = await cursor.fetchall()
    items = tuple(_case(row, now) for row in rows if row["stream"] is not None)
    return Cases(items, rows[0]["as_of"] if rows else -1)


async def owns(conn: AsyncConnection[Any], person: bytes, stream: str) -> bool:
    """Whether a stream is that person's own, as far as the projection has come."""
    found = await conn.execute(
        "SELECT FROM projections.cabinet WHERE person = %s AND stream = %s LIMIT 1",
        [person, stream],
        prepare=True,
    )
    return await found.fetchone() is not None


def _case(row: dict[str, Any], now: datetime) -> CabinetCase:
    terms = () if row["terms"] is None else _terms(row["terms"])
    taken = {name: row[name] for name in _TAKEN}
    return CabinetCase(
        number=talon_number(row["stream"]),
        version=row["n"],
        procedures=Procedures.of(row),
        region=row["region"] or UNKNOWN,
        terms=terms,
        next=next((term for term in terms if term.due > now), None),
        **taken,
    )


_terms = msgspec.json.Decoder(tuple[CaseTerm, ...]).decode
_TAKEN = frozenset(CabinetCase.__struct_fields__) - {
    "number", "version", "procedures", "region", "terms", "next",
}  # fmt: skip
