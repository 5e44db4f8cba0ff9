"""Signatures: the public list of a petition, newest first.

A row says that somebody signed, when, and at which position; the masked name is joined when it is read, for
as long as it is disclosed; of a name that was erased, the list says so. A signature that was withdrawn or
voided stays in the list, with its state and without name and region: nobody disappears from history, and
nobody who left is shown.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import tuple_row

from ledger.statement import Disclosure
from projections.base import Projection, Table, plain
from projections.batch import Batch
from projections.rows import copy


class Signatures(Projection):
    """Who (as a nullifier) signed which petition, and whose signature was removed."""

    name = "signatures"
    version = 1
    tables = (
        Table(
            "signatures",
            key=("petition", "position"),
            columns=plain("petition", "position", "nullifier", "region", "iat"),
            added_to=True,
        ),
        Table(
            "removals",
            key=("petition", "signature"),
            columns=plain("petition", "signature", "position", "kind", "reason", "iat"),
            added_to=True,
        ),
    )

    def project(self, cursor: Cursor[Any], batch: Batch) -> None:
        """Add a row for each signature and for each removal; what was counted once is never changed."""
        ids = {petition: UUID(petition).bytes for petition in {c.petition for c in batch.changes}}
        signed = [c for c in batch.changes if c.kind == "signed"]
        if signed:
            rows = ((ids[c.petition], c.position, c.nullifier, c.region, c.iat) for c in signed)
            copy(cursor, "signatures", _SIGNATURES, rows)
        removed = [c for c in batch.changes if c.kind != "signed"]
        if removed:
            copy(
                cursor,
                "removals",
                _REMOVALS,
                ((ids[c.petition], c.signature, c.position, c.kind, c.reason, c.iat) for c in removed),
            )


_SIGNATURES: dict[LiteralString, str] = {
    "petition": "bytea",
    "position": "int8",
    "nullifier": "text",
    "region": "text",
    "iat": "int8",
}
_REMOVALS: dict[LiteralString, str] = {
    "petition": "bytea",
    "signature": "int8",
    "position": "int8",
    "kind": "text",
    "reason": "text",
    "iat": "int8",
}


class Signature(msgspec.Struct, frozen=True):
    """What the public may see of one signature."""

    position: int
    time: datetime
    state: Literal["counted", "withdrawn", "voided"]
    name: str | None = None
    """First name and first letter of the surname; none where it was removed, or is not shown any more."""
    region: str | None = None
    reason: str | None = None
    """Why it was voided."""
    erased: int | None = None
    """Position of the event that says that the name was erased; the signature counts as before."""


class Page(msgspec.Struct, frozen=True):
    """Some signatures of a petition, newest first."""

    items: tuple[Signature, ...]
    next: int | None
    """The ``before`` of the next page; none on the last one."""
    as_of: int


async def page(
    conn: AsyncConnection[Any], petition_id: str, *, before: int | None = None, limit: int = 50
) -> Page:
    """The newest ``limit`` signatures at positions below ``before``.

    Positions never change and are never reused, so that who reads page after page sees every signature
    exactly once, however many arrive meanwhile. ``petition_id`` must be a UUID.
    """
    async with conn.cursor(row_factory=tuple_row) as cursor:
        # One statement is one snapshot: the rows are those of the position that comes with them.
        await cursor.execute(
            """
            SELECT p.position, s.position, s.iat, s.region, r.kind, r.reason, d.disclosure, x.erased
            FROM projections.positions p
            LEFT JOIN LATERAL (
                SELECT * FROM projections.signatures
                WHERE petition = %(petition)s AND (%(before)s::bigint IS NULL OR position < %(before)s)
                ORDER BY position DESC LIMIT %(limit)s
            ) s ON true
            LEFT JOIN projections.removals r ON r.petition = s.petition AND r.signature = s.position
            LEFT JOIN ledger.disclosures d ON d.position = s.position AND d.name = 'name' AND r.kind IS NULL
            LEFT JOIN LATERAL (
                SELECT max(e.position) AS erased FROM ledger.entries e
                WHERE d.disclosure IS NULL AND r.kind IS NULL
                  AND e.stream > concat('erasure/signature/', s.petition, '/', s.nullifier, '/')
                  AND e.stream < concat('erasure/signature/', s.petition, '/', s.nullifier, '0')
                  AND ledger.erasure_said(e.entry) #> '{data,names}' ? 'name'
            ) x ON true
            WHERE p.name = 'signatures'
            ORDER BY s.position DESC
            """,
            {"petition": petition_id, "before": before, "limit": limit + 1},
        )
        rows = await cursor.fetchall()
    found = [_read(row) for row in rows if row[1] is not None]
    return Page(
        items=tuple(found[:limit]),
        next=found[limit - 1].position if len(found) > limit else None,
        as_of=rows[0][0] if rows else -1,
    )


def _read(row: tuple[Any, ...]) -> Signature:
    _, position, iat, region, kind, reason, disclosure, erased = row
    time = datetime.fromtimestamp(iat, UTC)
    if kind is not None:
        return Signature(position, time, kind, reason=reason)
    name = None if disclosure is None else Disclosure.parse(disclosure).value
    return Signature(position, time, "counted", name=name, region=region, erased=erased)
