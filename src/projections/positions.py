"""Where each projection stands: table ``projections.positions``, and who may move it.

Whoever folds or swaps a projection holds its row ``FOR UPDATE`` to the end of the transaction. A second
runner skips rows that are held, so that any number of runners take turns and one that dies frees its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection, Connection, Cursor
from psycopg.rows import tuple_row

from projections.base import Projection

CHANNEL = "projections"
"""Notified with the new position whenever projections moved; listeners read after the commit."""


class Status(msgspec.Struct, frozen=True):
    """One projection's place behind the ledger."""

    name: str
    version: int
    """Of the fold that filled the tables."""
    program: int
    """Of the fold in this program; where they differ, the projection waits for a rebuild."""
    position: int
    """Of the last folded entry; -1 before the first."""
    head: int
    """Of the ledger's last entry; -1 for none."""
    moved_at: datetime | None
    error: str | None
    """Why it stands still."""
    error_position: int | None

    @property
    def lag(self) -> int:
        """Entries not folded yet."""
        return self.head - self.position


_STATUS = """
    SELECT p.name, p.version, p.position, p.moved_at, p.error, p.error_position, h.head
    FROM (SELECT coalesce(max(position), -1) AS head FROM ledger.entries) h
    LEFT JOIN projections.positions p ON true
"""


def status(connection: Connection[Any], projections: Iterable[Projection]) -> list[Status]:
    """Of each projection, in the given order."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        return _statuses(cursor.execute(_STATUS).fetchall(), projections)


async def status_async(connection: AsyncConnection[Any], projections: Iterable[Projection]) -> list[Status]:
    """The same, for a server's health page and metrics."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_STATUS)
        return _statuses(await cursor.fetchall(), projections)


def _statuses(rows: list[tuple[Any, ...]], projections: Iterable[Projection]) -> list[Status]:
    head = rows[0][6]
    found = {row[0]: row for row in rows}
    return [
        Status(p.name, row[1], p.version, row[2], head, row[3], row[4], row[5])
        if (row := found.get(p.name))
        else Status(p.name, p.version, p.version, -1, head, None, None, None)
        for p in projections
    ]


def ensure(cursor: Cursor[Any], projections: Iterable[Projection]) -> None:
    """Give each projection its row; a new one stands before the first entry."""
    cursor.executemany(
        "INSERT INTO projections.positions (name, version, position) VALUES (%s, %s, -1)"
        " ON CONFLICT (name) DO NOTHING",
        [(projection.name, projection.version) for projection in projections],
    )


_TAKE_WAITING = """
    SELECT name, version, position FROM projections.positions WHERE name = ANY(%s) ORDER BY name FOR UPDATE
"""
_TAKE = f"{_TAKE_WAITING} SKIP LOCKED"


def take(cursor: Cursor[Any], names: list[str], *, wait: bool) -> dict[str, tuple[int, int]]:
    """Hold the rows: name → (version, position). Rows held by others are waited for, or left out."""
    rows = cursor.execute(_TAKE_WAITING if wait else _TAKE, [names]).fetchall()
    return {name: (version, position) for name, version, position in rows}


def move(cursor: Cursor[Any], names: list[str], position: int, *, version: int | None = None) -> None:
    """Let them stand at ``position``, without an error; tell it when the transaction commits.

    ``version`` is given by a rebuild: that of the fold which filled the tables.
    """
    cursor.execute(
        "UPDATE projections.positions SET position = %s, version = coalesce(%s, version), moved_at = now(),"
        " error = NULL, error_position = NULL, error_at = NULL WHERE name = ANY(%s)",
        [position, version, names],
    )
    cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(position)])


def stop(cursor: Cursor[Any], names: list[str], error: str, position: int | None) -> None:
    """Write down why they stand still."""
    cursor.execute(
        "UPDATE projections.positions SET error = %s, error_position = %s, error_at = now()"
        " WHERE name = ANY(%s) AND (error, error_position) IS DISTINCT FROM (%s, %s)",
        [error, position, names, error, position],
    )
