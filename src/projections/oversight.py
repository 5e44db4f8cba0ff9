"""What an oversight council asks: how many appeals, where, how long, and with which end.

**What counts where.** Each time an appeal is registered with a body, a *stay* with that body begins: when it
is submitted, split off another one, imported, or forwarded whole. A stay belongs to its body and to the month
of its registration; an appeal that was mended is registered again, and its stay moves to the new month. Kind,
category, region, channel and origin are those of the appeal's beginning; no region is "unknown".

Every stay is ``received``. One that ended with a forwarding is ``forwarded_away`` and keeps what the body did
with it until then; the others are ``appeals``: each appeal is counted there once, with the body that it lies
with. So

- ``received = forwarded_away + appeals``,
- ``appeals = answered + unanswered``,
- ``unanswered = open + returned + withdrawn + lapsed + closed``,
- ``answered = in_time + late + term_unknown``, and ``answered`` is also the sum of the outcomes,
- ``complaints = complaints_pending`` + the complaints of each end,

and every breakdown adds up to its total, number by number. A part that was split off is an appeal of its own.

**Answered** is what has a decision that stands. When a higher body remits the case, or obliges the body to
decide, it is ``open`` again and ``reopened``; decided again, it is answered once, with the new outcome. Its
time to answer then runs from the registration to the decision that stands: so long the applicant waited. An
answer is ``late`` if any decision of its stay came after its term. ``deemed_refusals`` are stays in which the
term of consideration passed, answered later or not. ``forwarded_over_twice`` are appeals that were forwarded
three times or more, counted where they lie. Complaints count with the body complained about, whoever decides,
and so do terms of theirs that passed.

**Times** are calendar days in Almaty from the registration to the answer, 0 at least; of an imported case as
its register says they happened. ``median_days`` and ``p90_days`` are nearest-rank: the smallest number of
days within which at least half, or nine tenths, of the answers were given.

**Who sees what.** Councils see everything. Everybody else sees what :mod:`projections.suppression` lets
through of one-way tables (bodies, months, or values of one dimension, with all numbers) and of two-way
tables (any two of them, with the number of ``appeals`` alone).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from psycopg import AsyncConnection, sql

from projections.base import ProjectionError
from projections.oversight_public import KeptYears
from projections.oversight_stays import DIMENSIONS
from projections.oversight_tables import AXES, Line, Question, everything, months, select

__all__ = [
    "AXES", "BreakdownUnknownError", "CouncilsOnlyError", "Figures", "KeptYears", "Line", "Names", "Question",
    "Worse", "WorseBodies", "Worsening", "check", "figures", "months", "names", "of_body", "position",
    "worsening",
]  # fmt: skip

_YEAR = re.compile(r"[0-9]{4}")
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


class BreakdownUnknownError(ProjectionError):
    """The figures are not kept in this combination; the message says which ones are."""

    code = "breakdown-unknown"
    title = "The figures are not kept in this combination"


class CouncilsOnlyError(ProjectionError):
    """Figures in such detail are told to oversight councils alone, with their token."""

    code = "councils-only"
    title = "This is for oversight councils"


class Figures(msgspec.Struct, frozen=True):
    """A table of figures, by the keys of its lines."""

    lines: list[Line]
    total: Line
    as_of: int


def check(question: Question, *, council: bool) -> None:
    """Raises :class:`BreakdownUnknownError` or :class:`CouncilsOnlyError` for what is not answered."""
    if not (_YEAR.fullmatch(question.period) or _MONTH.fullmatch(question.period)):
        raise BreakdownUnknownError(
            f"A period is a year or a month: 2026 or 2026-03, not {question.period!r}."
        )
    names = [name for name, _ in question.fixed()]
    if question.by in names:
        raise BreakdownUnknownError(
            f"There would be one line only: leave {question.by} out, or ask by something else."
        )
    if not council and len(names) > 1:
        raise CouncilsOnlyError(
            "Without a council's token two of body, month and the dimensions go together, not more: here are "
            f"{', '.join([question.by, *names])}."
        )
    if question.body is not None:
        return  # counted from the body's own appeals
    if len(question.where) > 1 or (question.where and question.by in DIMENSIONS):
        raise BreakdownUnknownError("Several dimensions go together for one body only: name a body as well.")
    if question.where and not question.is_year:
        raise BreakdownUnknownError(
            "One value of a dimension is counted by year: ask for a year, or by month."
        )


async def figures(
    conn: AsyncConnection[Any], question: Question, *, council: bool, kept: KeptYears | None = None
) -> Figures:
    """The table, with everything for a council. Raises as :func:`check` does.

    ``conn`` is in a transaction of one snapshot. Who asks often brings what was ``kept`` of the last answers.
    """
    check(question, council=council)
    as_of = await position(conn)
    if council:
        lines, total = await everything(conn, question)
        return Figures(lines, total, as_of)
    year = await (kept or KeptYears()).year(conn, question.period[:4])
    return Figures(*await year.answer(conn, question), as_of)


async def position(conn: AsyncConnection[Any]) -> int:
    """Where the figures stand; -1 before the first entry."""
    found = await select(
        conn, sql.SQL("SELECT position FROM projections.positions WHERE name = 'oversight'"), {}
    )
    return found[0][0] if found else -1


async def of_body(
    conn: AsyncConnection[Any], body: str, year: str, *, council: bool, kept: KeptYears | None = None
) -> Figures:
    """One body's months and, as the total, its year."""
    kept = kept or KeptYears()
    by_month = await figures(conn, Question(year, "month", body), council=council, kept=kept)
    if council:
        return by_month
    bodies = await figures(conn, Question(year, "body"), council=False, kept=kept)
    line = next((line for line in bodies.lines if line.key == body), Line.nothing(body))
    return Figures(by_month.lines, line, by_month.as_of)


class Names(msgspec.Struct, frozen=True):
    """Of an organisation; None where it is not registered."""

    name_kk: str | None = None
    name_ru: str | None = None


async def names(conn: AsyncConnection[Any], bodies: Iterable[str]) -> dict[str, Names]:
    """Of the organisations that are registered."""
    query = sql.SQL(
        "SELECT stream, name_kk, name_ru FROM projections.organisations WHERE stream = ANY(%(bodies)s)"
    )
    found = await select(conn, query, {"bodies": list(bodies)})
    return {stream: Names(kk, ru) for stream, kk, ru in found}


Worsening = Literal["late_share", "median_days"]


class Worse(msgspec.Struct, frozen=True):
    """A body in two periods, the one asked for and the one before it."""

    body: str
    change: float
    """Of what was asked for: in days, or as a part of one."""
    answered: int
    answered_before: int
    late_share: float | None
    late_share_before: float | None
    median_days: int | None
    median_days_before: int | None


class WorseBodies(msgspec.Struct, frozen=True):
    """The worst first."""

    items: list[Worse]
    before: str
    """The period compared with."""
    as_of: int


async def worsening(
    conn: AsyncConnection[Any],
    period: str,
    measure: Worsening,
    least: int,
    *,
    council: bool,
    kept: KeptYears | None = None,
) -> WorseBodies:
    """Bodies whose ``measure`` grew, by how much it did.

    Only those that answered ``least`` appeals or more in both periods. Raises as :func:`check` does.
    """
    question = Question(period, "body")
    check(question, council=council)
    if not council and not question.is_year:
        raise CouncilsOnlyError("Without a council's token bodies are compared by year.")
    before = _before(period)
    earlier = await figures(conn, Question(before, "body"), council=council, kept=kept)
    now = await figures(conn, question, council=council, kept=kept)
    then = {line.key: line for line in earlier.lines}
    found = []
    for line in now.lines:
        old = then.get(line.key)
        if old is None or min(line.count("answered"), old.count("answered")) < least:
            continue
        a, b = getattr(old, measure), getattr(line, measure)
        if a is not None and b is not None and b > a:
            found.append(
                Worse(
                    line.key, round(b - a, 4), line.count("answered"), old.count("answered"),
                    line.late_share, old.late_share, line.median_days, old.median_days,
                )
            )  # fmt: skip
    found.sort(key=lambda worse: (-worse.change, worse.body))
    return WorseBodies(found, before, now.as_of)


def _before(period: str) -> str:
    year, _, month = period.partition("-")
    if not month:
        return f"{max(int(year) - 1, 0):04}"
    return f"{int(year):04}-{int(month) - 1:02}" if month != "01" else f"{max(int(year) - 1, 0):04}-12"
