"""Appeals: the public register, and the events that concern an organisation, read from the projection.

Everything here is public: what an applicant wrote, and who they are, stands in no entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row, tuple_row

from ledger.domain.appeal import talon_number
from projections.appeal_case import Origin, Procedures, State
from projections.appeal_fold import Appeals
from projections.base import MAX_BIGINT
from projections.batch import read_event
from projections.petitions import UNKNOWN, Step

__all__ = [
    "UNKNOWN", "AppealDocument", "AppealPage", "AppealSummary", "Appeals", "BodyEvent", "BodyFeed", "State",
    "feed", "get", "list_page",
]  # fmt: skip


class AppealSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list shows of an appeal."""

    number: str
    """As on the talon."""
    stream: str
    version: int
    state: State
    kind: str
    category: str
    region: str
    """Two digits of ISO 3166-2:KZ, or ``unknown``."""
    channel: str
    applicant: str
    body: str
    """That it lies with now."""
    registered_on: date
    term: str | None
    """That runs and binds a body: ``consideration``, ``passing-up`` or ``complaint``."""
    due: datetime | None
    missed: bool
    """Whether the log says that this term has passed."""
    outcome: str | None
    submitted: Step
    """When it came; for an imported case, when the old register says that it did."""
    position: int
    """Of its last event."""


class AppealPage(msgspec.Struct, frozen=True):
    """Some appeals, the newest first."""

    items: tuple[AppealSummary, ...]
    next: int | None
    """The ``cursor`` of the next page; none on the last one."""
    as_of: int


class AppealDocument(AppealSummary, frozen=True, kw_only=True):
    """Everything public about one appeal. What has not happened is None."""

    origin: Origin
    parent: str | None
    """Number of the appeal that this one is a part of."""
    lang: str
    first_body: str
    """That it was addressed to."""
    higher: str | None
    """That the last complaint was passed up to."""
    procedures: Procedures
    missed_position: int | None
    """Of the event that says so."""
    deemed_refusal: int | None
    """Position of the last event that said the answer was not given in time, whatever came later."""
    forward_until: datetime | None
    fix_until: datetime | None
    hearing_at: datetime | None
    """Of the last hearing that was noticed."""
    object_until: datetime | None
    complain_until: datetime | None
    forwards: int
    parts: int
    """Its parts are numbered 1 and on, behind its own number."""
    extensions: int
    assignments: int
    open_assignments: int
    objections: int
    readings: int
    """How many times an official read what is personal in it."""
    remittals: int
    """How many times a higher body opened it again."""
    forwarded_late: bool | None
    decided_late: bool | None
    complained_late: bool | None
    """Whether the last complaint came too late; it was taken all the same."""
    complaint_decided_late: bool | None
    ground: str | None
    decided: Step | None
    finished: Step | None
    withdrawn: Step | None
    complained: Step | None
    """The last complaint."""
    complaint_about: Literal["decision", "silence"] | None
    complaint_decided: Step | None
    complaint_outcome: str | None
    last_type: str
    last_time: datetime
    as_of: int


_STEPS = {
    "submitted": "submitted", "decided": "decided", "finished": "finished", "withdrawn": "withdrawn",
    "complained": "complained", "complaint_decided": "complaint",
}  # fmt: skip
"""Field → how its two columns begin."""
_MADE = {"number", "version", "region", "procedures", *_STEPS}


async def get(conn: AsyncConnection[Any], stream: str) -> AppealDocument | None:
    """One appeal in whatever state, or None where there is none."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT t.*, p.position AS as_of FROM projections.appeals t, projections.positions p"
            " WHERE p.name = 'appeals' AND t.stream = %s",
            [stream],
            prepare=True,
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    row["parent"] = row["parent"] and talon_number(row["parent"])
    return AppealDocument(procedures=Procedures.of(row), **_facts(row, AppealDocument))


async def list_page(
    conn: AsyncConnection[Any],
    *,
    body: str | None = None,
    kinds: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
    region: str | None = None,
    channel: str | None = None,
    states: Sequence[State] | None = None,
    registered_from: date | None = None,
    registered_to: date | None = None,
    cursor: int | None = None,
    limit: int = 50,
) -> AppealPage:
    """Appeals, the newest first, below ``cursor`` (the ``next`` of the page before); both days included."""
    values: dict[str, Any] = {"below": MAX_BIGINT if cursor is None else cursor, "limit": limit + 1}
    wanted = ["submitted_position < %(below)s"]

    def want(condition: str, value: Any) -> None:  # noqa: ANN401 - a parameter of a query
        if value is not None:
            name = f"value{len(values)}"
            wanted.append(condition.format(f"%({name})s"))
            values[name] = value

    want("body = {}", body)
    if region == UNKNOWN:
        wanted.append("region IS NULL")
    else:
        want("region = {}", region)
    want("channel = {}", channel)
    by_days = registered_to is not None and body is None
    if not by_days:
        want("registered_on >= {}", registered_from)
        want("registered_on <= {}", registered_to)
    several = {"state": states, "kind": kinds, "category": categories}
    for column, chosen in several.items():
        want(f"{column} = {{}}", chosen[0] if chosen is not None and len(chosen) == 1 else None)
        want(f"{column} = ANY({{}})", list(chosen) if chosen is not None and len(chosen) != 1 else None)
    values |= {"first": registered_from or date.min, "last": registered_to}
    query = (_LIST_BY_DAYS if by_days else _LIST).format(wanted=" AND ".join(wanted))
    async with conn.cursor(row_factory=dict_row) as rows:
        # Not prepared: a plan for any value would not know how rare this one is.
        await rows.execute(sql.SQL(query), values, prepare=False)  # made of our own words
        found = await rows.fetchall()
    listed = [row for row in found if row["stream"] is not None]
    items = tuple(AppealSummary(**_facts(row, AppealSummary)) for row in listed[:limit])
    following = items[-1].submitted.position if len(listed) > limit else None
    return AppealPage(items, following, found[0]["as_of"] if found else -1)


_LIST = """
    SELECT p.position AS as_of, t.*
    FROM projections.positions p
    LEFT JOIN LATERAL (
        SELECT * FROM projections.appeals WHERE {wanted} ORDER BY submitted_position DESC LIMIT %(limit)s
    ) t ON true
    WHERE p.name = 'appeals' ORDER BY t.submitted_position DESC"""
# Positions follow days only roughly: a walk down the positions would pass all that came after the last day.
# So each day gives its newest, and the newest of these are listed.
_LIST_BY_DAYS = """
    WITH RECURSIVE days AS (
        SELECT max(registered_on) AS day FROM projections.appeals
        WHERE registered_on BETWEEN %(first)s AND %(last)s
        UNION ALL
        SELECT (SELECT max(registered_on) FROM projections.appeals
                WHERE registered_on >= %(first)s AND registered_on < days.day)
        FROM days WHERE days.day IS NOT NULL
    ), listed AS (
        SELECT found.submitted_position FROM days CROSS JOIN LATERAL (
            SELECT submitted_position FROM projections.appeals
            WHERE registered_on = days.day AND {wanted} ORDER BY submitted_position DESC LIMIT %(limit)s
        ) found
        ORDER BY found.submitted_position DESC LIMIT %(limit)s
    )
    SELECT p.position AS as_of, t.*
    FROM projections.positions p
    LEFT JOIN (listed JOIN projections.appeals t USING (submitted_position)) ON true
    WHERE p.name = 'appeals' ORDER BY t.submitted_position DESC"""


class BodyEvent(msgspec.Struct, frozen=True):
    """One event that concerns an organisation."""

    position: int
    stream: str
    number: str
    """Of the appeal, as on the talon."""
    n: int
    """The stream's version behind this event."""
    type: str
    iss: str
    time: datetime
    facts: dict[str, Any]
    """What it says in public."""


class BodyFeed(msgspec.Struct, frozen=True):
    """Events that concern an organisation, in the order of the log."""

    items: tuple[BodyEvent, ...]
    next: int
    """Ask for what comes ``after`` this position: nothing up to it is missing here."""
    as_of: int


async def feed(conn: AsyncConnection[Any], body: str, after: int, limit: int = 100) -> BodyFeed:
    """The events behind position ``after`` that concern ``body``, at most ``limit``."""
    async with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(
            """
            SELECT p.position, c.position, e.entry
            FROM projections.positions p
            LEFT JOIN LATERAL (
                SELECT position FROM projections.concerns
                WHERE body = %s AND position > %s ORDER BY position LIMIT %s
            ) c ON true
            LEFT JOIN ledger.entries e ON e.position = c.position
            WHERE p.name = 'appeals' ORDER BY c.position
            """,
            [body, after, limit],
            prepare=True,
        )
        rows = await cursor.fetchall()
    as_of = rows[0][0] if rows else -1
    items = tuple(_event(position, entry) for _, position, entry in rows if position is not None)
    # A full page ends at its last event; behind any other there is nothing up to where the projection stands.
    return BodyFeed(items, items[-1].position if len(items) == limit else max(after, as_of), as_of)


def _event(position: int, entry: bytes) -> BodyEvent:
    event = read_event(position, entry)
    return BodyEvent(
        position, event.stream, talon_number(event.stream), event.n, event.facts.type, event.iss,
        datetime.fromtimestamp(event.iat, UTC), msgspec.to_builtins(event.facts),
    )  # fmt: skip


def _facts(row: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields of ``kind``, but for its procedures."""
    found: dict[str, Any] = {name: row[name] for name in kind.__struct_fields__ if name not in _MADE}
    found |= {"number": talon_number(row["stream"]), "version": row["n"], "region": row["region"] or UNKNOWN}
    for name, prefix in _STEPS.items():
        if name in kind.__struct_fields__:
            position = row[f"{prefix}_position"]
            found[name] = None if position is None else Step(position, row[f"{prefix}_time"])
    return found
