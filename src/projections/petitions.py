"""Petitions: their state, their count and what it is made of, read from the projection.

Titles, texts, the author's masked name and the messages of decisions are joined from the ledger's public
disclosures when they are read; where one was taken down, ``erased`` says so and everything else stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row, tuple_row

from ledger.events import File
from ledger.statement import Disclosure
from projections.base import MAX_BIGINT
from projections.petition_fold import FIELDS, UNKNOWN, Petitions, State

__all__ = [
    "UNKNOWN", "Hour", "Hours", "Page", "Petition", "Petitions", "Region", "Regions", "State", "Step",
    "Summary", "by_hour", "by_region", "get", "list_page",
]  # fmt: skip

ALMATY = ZoneInfo("Asia/Almaty")
"""The country's time: its days begin five hours (before March 2024: six) ahead of UTC's."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list shows of a petition."""

    id: str
    state: State
    body: str
    lang: str
    title: str | None
    erased: int | None
    """Position of the event that says that its title was erased."""
    count: int
    needed: int | None
    required: int | None
    submitted_time: datetime
    limited_until: datetime | None
    published_time: datetime | None
    collect_until: datetime | None
    number: str | None
    outcome: str | None
    position: int
    """Of the last event that changed it: its version for caches."""


class Page(msgspec.Struct, frozen=True):
    """Some petitions, the newest published first."""

    items: tuple[Summary, ...]
    next: int | None
    """The ``cursor`` of the next page; none on the last one."""
    as_of: int


class Step(msgspec.Struct, frozen=True):
    """That something happened to a petition: the event's position and time."""

    position: int
    time: datetime


class Petition(msgspec.Struct, frozen=True, kw_only=True):
    """Everything public about one petition. What has not happened, or is not disclosed any more, is None."""

    id: str
    state: State
    body: str
    """The organisation it is addressed to."""
    lang: str
    text_hash: str
    title: str | None
    text: str | None
    author: str | None
    """Masked name."""
    submitted: Step
    moderate_until: datetime
    moderation_overdue: int | None
    """Position of the event that says so."""
    rejected: Step | None
    ground: str | None
    reason: str | None
    """Why moderation refused it, in words."""
    admitted: Step | None
    needed: int | None
    """Signatures that make it public."""
    limited_until: datetime | None
    needed_at: int | None
    """Position of the signature that made the count equal to ``needed``."""
    published: Step | None
    required: int | None
    """Signatures that make it supported."""
    population: int | None
    collect_until: datetime | None
    reached_at: int | None
    """Position of the signature that made the count equal to ``required``."""
    ended: Step | None
    """It lapsed, was not supported, or was withdrawn: see ``state``."""
    supported: Step | None
    routed: Step | None
    routed_to: str | None
    registered: Step | None
    number: str | None
    consider_until: datetime | None
    consideration_overdue: int | None
    group: Step | None
    """The working group was formed."""
    group_members: int | None
    author_invited: bool | None
    draft: Step | None
    draft_outcome: str | None
    draft_kk: str | None
    draft_ru: str | None
    discuss_until: datetime | None
    decided: Step | None
    outcome: str | None
    message_kk: str | None
    message_ru: str | None
    files: tuple[File, ...]
    erased: dict[str, int]
    """What was disclosed once and is not any more: its name → position of the last event that says so."""
    count: int
    """``signed - withdrawn - voided``."""
    signed: int
    withdrawn: int
    voided: int
    position: int
    """Of the last event that changed it: its version for caches."""
    as_of: int


class Region(msgspec.Struct, frozen=True):
    """Signatures of one region; ``count = signed - withdrawn - voided``, all three by the signer's region."""

    region: str
    """Two digits of ISO 3166-2:KZ, or ``unknown``."""
    count: int
    signed: int
    withdrawn: int
    voided: int


class Regions(msgspec.Struct, frozen=True):
    """The count of a petition by region; the items' counts add up to ``count``."""

    items: tuple[Region, ...]
    count: int
    as_of: int


class Hour(msgspec.Struct, frozen=True):
    """What happened in one hour, or one day, from ``start`` on."""

    start: datetime
    signed: int
    withdrawn: int
    voided: int
    count: int
    """At its end: the growth curve."""


class Hours(msgspec.Struct, frozen=True):
    """The growth of a petition; hours or days in which nothing happened are left out."""

    items: tuple[Hour, ...]
    step: Literal["hour", "day"]
    count: int
    as_of: int


async def get(conn: AsyncConnection[Any], petition_id: str) -> Petition | None:
    """One petition in whatever state, or None where none was submitted. ``petition_id`` must be a UUID."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            """
            SELECT t.*, t.id::text AS id, p.position AS as_of,
                   (SELECT jsonb_object_agg(d.name, d.disclosure) FROM ledger.disclosures d
                    WHERE d.position IN (t.submitted_position, t.rejected_position,
                                         t.draft_position, t.decided_position)) AS disclosed,
                   (SELECT jsonb_object_agg(x.name, x.position) FROM (
                        SELECT name, max(e.position) AS position
                        FROM ledger.entries e, jsonb_array_elements_text(
                            ledger.erasure_said(e.entry) #> '{data,names}') AS n (name)
                        WHERE e.stream > concat('erasure/petition/', t.id, '/')
                          AND e.stream < concat('erasure/petition/', t.id, '0')
                        GROUP BY name) x) AS erased
            FROM projections.petitions t, projections.positions p
            WHERE p.name = 'petitions' AND t.id = %s AND t.submitted_position IS NOT NULL
            """,
            [petition_id],
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    disclosed = row["disclosed"] or {}
    row["erased"] = {name: at for name, at in (row["erased"] or {}).items() if name not in disclosed}
    for name, encoded in disclosed.items():
        row[name] = Disclosure.parse(encoded).value
    for name in _STEPS:
        position = row[f"{name}_position"]
        row[name] = None if position is None else Step(position, row[f"{name}_time"])
    row["files"] = msgspec.json.decode(row["files"], type=tuple[File, ...])
    facts: dict[str, Any] = {name: row.get(name) for name in Petition.__struct_fields__}
    return Petition(**facts)


async def list_page(
    conn: AsyncConnection[Any],
    *,
    state: State | Iterable[State] | None = None,
    body: str | None = None,
    cursor: int | None = None,
    limit: int = 50,
    include_limited: bool = False,
) -> Page:
    """Petitions that were published, newest first, below ``cursor`` (the ``next`` of the page before).

    ``include_limited`` adds those that were let through and are reachable by their link only; what is still
    in moderation or was rejected is in no list. ``body`` is the stream of the organisation addressed.
    """
    states = None if state is None else [state] if isinstance(state, str) else list(state)
    async with conn.cursor(row_factory=dict_row) as rows:
        await rows.execute(
            """
            SELECT p.position AS as_of, t.*, t.id::text AS id, d.disclosure AS title, x.erased
            FROM projections.positions p
            LEFT JOIN LATERAL (
                SELECT *, coalesce(published_position, admitted_position) AS listed
                FROM projections.petitions
                WHERE submitted_position IS NOT NULL
                  AND coalesce(published_position, admitted_position) IS NOT NULL
                  AND (published_position IS NOT NULL OR %(include_limited)s)
                  AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s::text[]))
                  AND (%(body)s::text IS NULL OR body = %(body)s)
                  AND coalesce(published_position, admitted_position) < %(below)s
                ORDER BY listed DESC LIMIT %(limit)s
            ) t ON true
            LEFT JOIN ledger.disclosures d ON d.position = t.submitted_position AND d.name = 'title'
            LEFT JOIN LATERAL (
                SELECT max(e.position) AS erased FROM ledger.entries e
                WHERE d.disclosure IS NULL AND e.stream > concat('erasure/petition/', t.id, '/')
                  AND e.stream < concat('erasure/petition/', t.id, '0')
                  AND ledger.erasure_said(e.entry) #> '{data,names}' ? 'title'
            ) x ON true
            WHERE p.name = 'petitions'
            ORDER BY t.listed DESC
            """,
            {
                "include_limited": include_limited,
                "states": states,
                "body": body,
                "below": MAX_BIGINT if cursor is None else cursor,
                "limit": limit + 1,
            },
        )
        found = await rows.fetchall()
    listed = [row for row in found if row["listed"] is not None]
    return Page(
        items=tuple(map(_summary, listed[:limit])),
        next=listed[limit - 1]["listed"] if len(listed) > limit else None,
        as_of=found[0]["as_of"] if found else -1,
    )


async def by_region(conn: AsyncConnection[Any], petition_id: str) -> Regions:
    """The count by region, in the order of the regions' numbers, ``unknown`` last."""
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT p.position, r.region, r.signed - r.withdrawn - r.voided, r.signed, r.withdrawn, r.voided
            FROM projections.positions p LEFT JOIN projections.petition_regions r ON r.petition = %s
            WHERE p.name = 'petitions' ORDER BY r.region
            """,
            [petition_id],
        )
        rows = await cursor.fetchall()
    items = tuple(Region(*row[1:]) for row in rows if row[1] is not None)
    return Regions(items, sum(item.count for item in items), as_of=rows[0][0] if rows else -1)


async def by_hour(
    conn: AsyncConnection[Any], petition_id: str, *, step: Literal["hour", "day"] = "hour"
) -> Hours:
    """How the count grew, by hour or by day of the country's time."""
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT p.position, h.hour, h.signed, h.withdrawn, h.voided
            FROM projections.positions p LEFT JOIN projections.petition_hours h ON h.petition = %s
            WHERE p.name = 'petitions' ORDER BY h.hour
            """,
            [petition_id],
        )
        rows = await cursor.fetchall()
    sums: dict[datetime, list[int]] = {}
    for _, hour, *numbers in rows:
        if hour is None:
            continue
        start = hour.astimezone(UTC) if step == "hour" else hour.astimezone(ALMATY).replace(hour=0)
        before = sums.get(start, (0, 0, 0))
        sums[start] = [a + b for a, b in zip(before, numbers, strict=True)]
    items = []
    count = 0
    for start, (signed, withdrawn, voided) in sums.items():
        count += signed - withdrawn - voided
        items.append(Hour(start, signed, withdrawn, voided, count))
    return Hours(tuple(items), step, count, as_of=rows[0][0] if rows else -1)


def _summary(row: dict[str, Any]) -> Summary:
    encoded = row["title"]
    row["title"] = None if encoded is None else Disclosure.parse(encoded).value
    return Summary(**{name: row[name] for name in Summary.__struct_fields__})


_STEPS = tuple(field.removesuffix("_position") for field in FIELDS if field.endswith("_position"))
