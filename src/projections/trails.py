"""Trails: one row for every event, so that a stream's history is one look-up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import tuple_row

from projections.base import Projection, Table, plain
from projections.batch import Batch
from projections.rows import copy


class Trails(Projection):
    """Who said what about which stream, when, at which position."""

    name = "trails"
    version = 1
    tables = (
        Table(
            "trails",
            key=("position",),
            columns=plain("position", "stream", "n", "type", "iss", "kid", "iat"),
            added_to=True,
        ),
    )

    def project(self, cursor: Cursor[Any], batch: Batch) -> None:
        """Add a row for each event."""
        copy(
            cursor,
            "trails",
            _COLUMNS,
            ((e.position, e.stream, e.n, e.facts.type, e.iss, e.kid, e.iat) for e in batch.events),
        )


_COLUMNS: dict[LiteralString, str] = {
    "position": "int8",
    "stream": "text",
    "n": "int8",
    "type": "text",
    "iss": "text",
    "kid": "text",
    "iat": "int8",
}


class Step(msgspec.Struct, frozen=True):
    """One event of a stream."""

    position: int
    n: int
    type: str
    iss: str
    kid: str
    time: datetime


class Trail(msgspec.Struct, frozen=True):
    """A stream's events in the order of the log."""

    stream: str
    steps: tuple[Step, ...]
    as_of: int


async def of(conn: AsyncConnection[Any], stream: str) -> Trail:
    """The trail of a stream; without steps where nothing happened to it."""
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "SELECT p.position, t.position, t.n, t.type, t.iss, t.kid, t.iat"
            " FROM projections.positions p LEFT JOIN projections.trails t ON t.stream = %s"
            " WHERE p.name = 'trails' ORDER BY t.position",
            [stream],
        )
        rows = await cursor.fetchall()
    steps = tuple(
        Step(position, n, type_, iss, kid, datetime.fromtimestamp(iat, UTC))
        for _, position, n, type_, iss, kid, iat in rows
        if position is not None
    )
    return Trail(stream, steps, as_of=rows[0][0] if rows else -1)
