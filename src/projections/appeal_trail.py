"""The trail of one case: who did what, when, in which role, and which term ran from then on.

Nothing is here but what stands in the entries, which are for everybody.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from projections.appeal_case import Case, advance, almaty_day, begin, moment
from projections.batch import LoggedEvent, read_event


class CaseStep(msgspec.Struct, frozen=True):
    """One event of an appeal."""

    n: int
    position: int
    time: datetime
    """When it happened; of an imported step, as the old register says."""
    recorded: datetime
    """When it was sealed."""
    days: int | None
    """Calendar days in Almaty since the step before; None for the first one."""
    issuer: str
    role: str | None
    """Of the issuer's key in this step; None where it has several that may take it, or none that is known."""
    type: str
    facts: dict[str, Any]
    """What it says in public."""
    state: str | None
    """Of the appeal, behind this step."""
    term: str | None
    """That runs behind this step: a body's, or ``mending`` for the applicant's."""
    due: datetime | None
    """When it ends."""


class CaseTrail(msgspec.Struct, frozen=True):
    """All steps of an appeal in the order of the log."""

    stream: str
    items: tuple[CaseStep, ...]
    as_of: int


async def of(conn: AsyncConnection[Any], stream: str) -> CaseTrail:
    """The trail of an appeal; without steps where nothing happened to it."""
    async with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(
            """
            SELECT least(p.position, q.position), e.position, e.entry, k.roles
            FROM projections.positions p JOIN projections.positions q ON q.name = 'organisations'
            LEFT JOIN projections.trails t ON t.stream = %s
            LEFT JOIN ledger.entries e ON e.position = t.position
            LEFT JOIN projections.organisation_keys k ON k.stream = t.iss AND k.kid = t.kid
            WHERE p.name = 'trails' ORDER BY e.position
            """,
            [stream],
        )
        rows = await cursor.fetchall()
    steps: list[CaseStep] = []
    case: Case | None = None
    for _, position, entry, roles in rows:
        if position is not None:
            event = read_event(position, entry)
            if case is None:
                case = begin(Case, event)
            else:
                advance(case, event)
            steps.append(_step(event, case, roles, steps[-1].time if steps else None))
    return CaseTrail(stream, tuple(steps), as_of=rows[0][0] if rows else -1)


def _step(event: LoggedEvent, case: Case | None, roles: str | None, before: datetime | None) -> CaseStep:
    time = moment(event)
    term = due = None
    if case is not None and case.state == "returned":
        term, due = "mending", case.fix_until
    elif case is not None:
        term, due = case.term, case.due if case.term is not None else None
    able = [role for role in (roles or "").split(",") if role in event.facts.issuers]
    return CaseStep(
        event.n, event.position, time, datetime.fromtimestamp(event.iat, UTC),
        None if before is None else (almaty_day(time) - almaty_day(before)).days,
        event.iss, able[0] if len(able) == 1 else None, event.facts.type,
        msgspec.to_builtins(event.facts), None if case is None else case.state, term, due,
    )  # fmt: skip
