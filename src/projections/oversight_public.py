"""The figures as everybody may see them: what :mod:`projections.suppression` lets through.

All tables of a year hold back the same bodies, months and values: those of the lines of that year.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection, sql

from projections.oversight_fold import ALL
from projections.oversight_stays import COMPLAINT_OUTCOMES, DIMENSIONS, NAMES, VALUES
from projections.oversight_tables import AXES, INDEX, Line, Question, everything, months, select
from projections.suppression import hide_line, hide_parts, hide_table, is_small

SINGLES = (
    "forwarded_away", "forwarded_late", "returns", "extended", "deemed_refusals", "forwarded_over_twice",
    "reopened", "hearings", "hearings_unattended", "complaints", "complaints_about_silence",
    "complaints_overdue",
)  # fmt: skip
"""Numbers that add up with those of other lines only."""
PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("appeals", ("answered", "unanswered")),
    ("unanswered", ("open", "returned", "withdrawn", "lapsed", "closed")),
    ("answered", ("in_time", "late", "term_unknown")),
    ("answered", ("explained", "satisfied", "refused", "noted", "terminated", "outcome_unknown")),
    (
        "complaints",
        ("complaints_pending", "complaints_satisfied", *COMPLAINT_OUTCOMES.values(), "complaints_unknown"),
    ),
)
"""Numbers that are parts of another one, the larger ones first."""


class Roots:
    """Of a year: the appeals of each body, month and value, and which of these are held back everywhere."""

    def __init__(self, year: str, counts: Mapping[str, dict[str, int]], total: int) -> None:
        self.year = year
        self.counts = counts
        self.total = total
        self.hidden: dict[str, set[str]] = {}
        self.withheld = is_small(total)
        """Whether not even the sum of all can be shown."""
        for axis, line in counts.items():
            self.hidden[axis], enough = hide_line(line)
            self.withheld = self.withheld or not enough

    @classmethod
    async def read(cls, conn: AsyncConnection[Any], year: str) -> Roots:
        """From the kept figures."""
        query = sql.SQL(
            """
            SELECT 'body', body, appeals FROM projections.oversight_cells
            WHERE period = %(year)s AND dimension = '' AND value = '' AND body <> ''
            UNION ALL
            SELECT CASE WHEN dimension <> '' THEN dimension WHEN period = %(year)s THEN '' ELSE 'month' END,
                   CASE WHEN dimension <> '' THEN value ELSE period END, appeals
            FROM projections.oversight_cells
            WHERE body = '' AND (period = %(year)s OR (dimension = '' AND period = ANY(%(months)s)))
            """
        )
        counts: dict[str, dict[str, int]] = {axis: {} for axis in (*AXES, ALL)}
        counts["month"] = dict.fromkeys(months(year), 0)
        for dimension, values in VALUES.items():
            counts[dimension] = dict.fromkeys(values, 0)
        for axis, key, appeals in await select(conn, query, {"year": year, "months": months(year)}):
            counts[axis][key] = appeals
        total = sum(counts.pop(ALL).values())
        return cls(year, counts, total)

    def of(self, axis: str, key: str) -> int | None:
        """The appeals of one body, month or value, where they may be shown."""
        shown = not self.withheld and key not in self.hidden[axis]
        return self.counts[axis].get(key, 0) if shown else None


def let_through(
    lines: Sequence[Line], total: Line, hidden: Collection[str], withheld: bool
) -> tuple[list[Line], Line]:
    """A one-way table as everybody may see it. ``hidden`` are lines that are held back altogether."""
    if withheld:
        return [Line.hidden(line.key) for line in lines], Line.hidden(total.key)
    keys = [line.key for line in lines]
    # Thousands of lines with dozens of numbers: column by column, and never a number at a time.
    columns = dict(zip(NAMES, zip(*(line.numbers for line in lines), strict=True), strict=False))
    of: dict[str, set[str]] = dict.fromkeys(NAMES, set(hidden) & set(keys))
    """Number → the lines that it is held back in."""
    of_total: set[str] = set()
    for name in SINGLES if lines else ():
        of[name] = hide_line(dict(zip(keys, columns[name], strict=True)), of[name])[0]
        if is_small(total.count(name)):
            of_total.add(name)
    for whole, parts in PARTS if lines else ():
        rows = dict(zip(keys, zip(*(columns[part] for part in parts), strict=True), strict=True))
        totals = [total.count(part) for part in parts]
        for part in parts:
            of[part] = set()
        for key, found in hide_table(rows, totals, of[whole]).items():
            for index in found:
                of[parts[index]].add(key)
        held = range(len(parts)) if whole in of_total else hide_parts(totals)
        of_total.update(parts[index] for index in held)
    of["received"] = of["appeals"] | of["forwarded_away"]
    if "forwarded_away" in of_total:
        of_total.add("received")
    return _without(lines, of), _without([total], {name: {total.key} for name in of_total})[0]


def _without(lines: Sequence[Line], of: Mapping[str, Collection[str]]) -> list[Line]:
    """The lines, and nothing of what is held back in them."""
    found = {line.key: Line(line.key, list(line.numbers), line.median_days, line.p90_days) for line in lines}
    for name, keys in of.items():
        index = INDEX[name]
        for key in keys:
            line = found[key]
            line.numbers[index] = None
            line.suppressed = True
            if name == "answered":
                line.median_days = line.p90_days = None
    return list(found.values())


class TwoWay:
    """The appeals of each row (body or month) and column (month or value), as everybody may see them."""

    def __init__(self, roots: Roots, across: str, down: str, cells: Iterable[tuple[str, str, int]]) -> None:
        """``cells``: row, column and number; what is left out is 0."""
        columns = sorted(roots.counts[down])
        self._roots = roots
        self._at = {column: index for index, column in enumerate(columns)}
        self._rows = {row: [0] * len(columns) for row in roots.counts[across]}
        for row, column, appeals in cells:
            self._rows[row][self._at[column]] = appeals
        totals = [roots.counts[down][column] for column in columns]
        self._hidden = hide_table(self._rows, totals, roots.hidden[across])

    def shown(self, row: str, column: str) -> int | None:
        """A cell; None where it is held back."""
        if self._roots.withheld:
            return None
        if row not in self._rows or column not in self._at:
            return 0
        index = self._at[column]
        return None if index in self._hidden.get(row, ()) else self._rows[row][index]


class Year:
    """The public tables of a year, each made when it is first wanted."""

    def __init__(self, roots: Roots) -> None:
        self.roots = roots
        self._one_way: dict[str, tuple[list[Line], Line]] = {}
        self._two_way: dict[tuple[str, str], TwoWay] = {}

    async def answer(self, conn: AsyncConnection[Any], question: Question) -> tuple[list[Line], Line]:
        """Lines and total of a one-way table, or of a row or column of a two-way table."""
        if not question.fixed():
            return await self._lines(conn, question.by)
        ((axis, key),) = question.fixed()
        # Rows are bodies, or else months.
        across = "body" if "body" in (question.by, axis) else "month"
        down = axis if across == question.by else question.by
        table = await self._table(conn, across, down)
        counts = self.roots.counts[question.by]
        if across == question.by:
            lines = [Line.hidden(row, table.shown(row, key)) for row in counts]
        else:
            lines = [Line.hidden(column, table.shown(key, column)) for column in sorted(counts)]
        return lines, Line.hidden("", self.roots.of(axis, key))

    async def _lines(self, conn: AsyncConnection[Any], by: str) -> tuple[list[Line], Line]:
        if by not in self._one_way:
            lines, total = await everything(conn, Question(self.roots.year, by))
            self._one_way[by] = let_through(lines, total, self.roots.hidden[by], self.roots.withheld)
        return self._one_way[by]

    async def _table(self, conn: AsyncConnection[Any], across: str, down: str) -> TwoWay:
        if (across, down) not in self._two_way:
            cells = await _cells(conn, self.roots.year, across, down)
            self._two_way[across, down] = TwoWay(self.roots, across, down, cells)
        return self._two_way[across, down]


class KeptYears:
    """The last years that were asked for, until an appeal changes: to hold back numbers takes all of them."""

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._years: dict[tuple[Any, ...], Year] = {}

    async def year(self, conn: AsyncConnection[Any], year: str) -> Year:
        """As the tables stand in this connection's snapshot."""
        query = sql.SQL(
            "SELECT 'projections.oversight_cells'::regclass::oid::bigint, max(position)"
            " FROM projections.oversight_appeals"
        )
        # A rebuild puts another table in the place of the old one.
        key = (year, *(await select(conn, query, {}))[0])
        found = self._years.get(key)
        if found is None:
            while len(self._years) >= self._most:
                del self._years[next(iter(self._years))]
            found = self._years[key] = Year(await Roots.read(conn, year))
        return found


async def _cells(
    conn: AsyncConnection[Any], year: str, across: str, down: str
) -> Iterable[tuple[str, str, int]]:
    """The appeals of each pair of a row and a column."""
    cells = sql.SQL("SELECT {}, {}, appeals FROM projections.oversight_cells WHERE {}")
    parameters = {"year": year, "months": months(year), "dimension": down if down in DIMENSIONS else ALL}
    if down == "month":
        where = "period = ANY(%(months)s) AND dimension = '' AND value = '' AND body <> ''"
        query = cells.format(sql.SQL("body"), sql.SQL("period"), sql.SQL(where))
    elif across == "body":
        where = "period = %(year)s AND dimension = %(dimension)s AND body <> ''"
        query = cells.format(sql.SQL("body"), sql.SQL("value"), sql.SQL(where))
    else:
        where = "period = ANY(%(months)s) AND dimension = %(dimension)s AND body = ''"
        query = cells.format(sql.SQL("period"), sql.SQL("value"), sql.SQL(where))
    return await select(conn, query, parameters)
