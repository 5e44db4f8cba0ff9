"""How far cosignatures reach, what each witness answered last, and what halts the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row, tuple_row

AlarmKind = Literal["rolled-back", "forked"]


class WitnessState(msgspec.Struct, frozen=True):
    """What a witness answered last."""

    url: str
    size: int
    """Of the last checkpoint that it cosigned, as far as the log knows."""
    cosigned_at: datetime | None
    """By its own clock."""
    failures: int
    """In a row."""
    error: str | None
    """What it did instead of cosigning."""


class Witnessing(msgspec.Struct, frozen=True):
    """How far the cosignatures of a quorum reach."""

    cosigned_size: int | None
    cosigned_at: datetime | None
    behind_since: datetime | None
    """Since when entries wait for a quorum; null while none does."""
    halted: str | None
    """Why nothing is appended any more."""
    witnesses: list[WitnessState]


async def read_state(connection: AsyncConnection[Any]) -> Witnessing:
    """As the collector left it."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(
        """
        SELECT c.size, c.at, w.behind_since, h.halted
        FROM ledger.head h CROSS JOIN service.witnessing w
        LEFT JOIN LATERAL (SELECT size, at FROM service.cosigned ORDER BY size DESC LIMIT 1) c ON true
        """
    )
    size, at, behind_since, halted = await cursor.fetchone() or (None, None, None, None)
    states = connection.cursor(row_factory=class_row(WitnessState))
    await states.execute("SELECT url, size, cosigned_at, failures, error FROM service.witnesses ORDER BY url")
    return Witnessing(size, at, behind_since, halted, await states.fetchall())


class Alarm(msgspec.Struct, frozen=True):
    """What a witness proved against this log."""

    id: int
    at: datetime
    kind: AlarmKind
    said: str
    evidence: list[str]
    """Signed notes."""


async def read_alarms(connection: AsyncConnection[Any]) -> list[Alarm]:
    """All of them, the newest first."""
    cursor = connection.cursor(row_factory=tuple_row, binary=True)
    await cursor.execute("SELECT id, at, kind, said, evidence FROM service.alarms ORDER BY id DESC")
    return [
        Alarm(id_, at, kind, said, [bytes(note).decode("utf-8", "replace") for note in notes])
        for id_, at, kind, said, notes in await cursor.fetchall()
    ]


async def halt(
    connection: AsyncConnection[Any], now: datetime, kind: AlarmKind, said: str, evidence: Sequence[bytes]
) -> None:
    """Keep the alarm, and let nobody sign anything more, in one transaction."""
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO service.alarms (at, kind, said, evidence)"
            " SELECT %(at)s, %(kind)s, %(said)s, %(notes)s"
            " WHERE NOT EXISTS (SELECT FROM service.alarms WHERE evidence = %(notes)s::bytea[])",
            {"at": now, "kind": kind, "said": said, "notes": list(evidence)},
        )
        await connection.execute("UPDATE ledger.head SET halted = %s WHERE halted IS NULL", [said[:500]])
