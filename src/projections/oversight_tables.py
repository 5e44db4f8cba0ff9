"""The figures themselves, as they are kept and as they are counted; what they mean stands in
:mod:`projections.oversight`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import tuple_row

from projections.oversight_fold import ALL
from projections.oversight_stays import DIMENSIONS, MEASURES, NAMES, VALUES, Dimension

AXES: tuple[str, ...] = ("body", "month", *DIMENSIONS)
"""What the lines of a table can be."""
INDEX = {name: index for index, name in enumerate(NAMES)}


class Question(msgspec.Struct, frozen=True):
    """Which table is wanted."""

    period: str
    """A year, ``2026``, or a month, ``2026-03``."""
    by: str
    """What its lines are."""
    body: str | None = None
    """Of one organisation alone."""
    where: tuple[tuple[Dimension, str], ...] = ()
    """Of one value of a dimension alone."""

    @property
    def is_year(self) -> bool:
        """Whether the period is a year."""
        return len(self.period) == 4

    def fixed(self) -> list[tuple[str, str]]:
        """What is the same in all lines, besides the year: axis and value."""
        months = [] if self.is_year else [("month", self.period)]
        bodies = [] if self.body is None else [("body", self.body)]
        return [*months, *bodies, *self.where]


class Line(msgspec.Struct):
    """The numbers of one cell, in the order of ``NAMES``; what is held back is None."""

    key: str
    numbers: list[int | None]
    median_days: int | None = None
    p90_days: int | None = None
    suppressed: bool = False

    @classmethod
    def of(cls, row: Sequence[Any]) -> Line:
        """As it is selected: key, numbers, median, ninetieth percentile."""
        return cls(row[0], list(row[1:-2]), row[-2], row[-1])

    @classmethod
    def nothing(cls, key: str) -> Line:
        """Of a cell without appeals."""
        return cls(key, [0] * len(NAMES))

    @classmethod
    def hidden(cls, key: str, appeals: int | None = None) -> Line:
        """With the number of appeals at most."""
        line = cls(key, [None] * len(NAMES), suppressed=True)
        line.numbers[INDEX["appeals"]] = appeals
        return line

    def __getitem__(self, name: str) -> int | None:
        return self.numbers[INDEX[name]]

    def count(self, name: str) -> int:
        """A number that is not held back."""
        return self.numbers[INDEX[name]] or 0

    @property
    def late_share(self) -> float | None:
        """Part of the answers that came late, of those whose term is known."""
        late, in_time = self["late"], self["in_time"]
        if late is None or in_time is None or late + in_time == 0:
            return None
        return round(late / (late + in_time), 4)


_KEPT = sql.SQL(
    """
    SELECT {key}, {numbers}, median_days, p90_days FROM projections.oversight_cells
    WHERE period = ANY(%(periods)s) AND dimension = %(dimension)s AND {values} AND {bodies}
    ORDER BY 1
    """
)
_COUNTED = sql.SQL(
    """
    SELECT {key}, {numbers}, percentile_disc(0.5) WITHIN GROUP (ORDER BY days),
           percentile_disc(0.9) WITHIN GROUP (ORDER BY days)
    FROM projections.oversight_appeals
    WHERE body = %(body)s AND month BETWEEN %(first)s AND %(last)s AND {where}
    GROUP BY GROUPING SETS (({key}), ())
    ORDER BY 1
    """
)
_NUMBERS = sql.SQL(", ").join(map(sql.Identifier, NAMES))
_SUMS = sql.SQL(", ".join(f"coalesce({measure.sql}, 0)" for measure in MEASURES.values()))


async def everything(conn: AsyncConnection[Any], question: Question) -> tuple[list[Line], Line]:
    """The lines of a table and their total."""
    by, body = question.by, question.body
    if body is not None and (question.where or by != "month"):
        lines, total = await _count(conn, question, body)
    else:
        dimension, value = question.where[0] if question.where else (ALL, ALL)
        periods = months(question.period) if by == "month" else [question.period]
        parameters: dict[str, Any] = {
            "dimension": by if by in DIMENSIONS else dimension, "value": value, "body": body,
        }  # fmt: skip
        one_body = sql.SQL("body = ''" if body is None else "body = %(body)s")
        query = _KEPT.format(
            key=sql.Identifier({"body": "body", "month": "period"}.get(by, "value")),
            numbers=_NUMBERS,
            values=sql.SQL("true") if by in DIMENSIONS else sql.SQL("value = %(value)s"),
            bodies=sql.SQL("body <> ''") if by == "body" else one_body,
        )
        lines = [Line.of(row) for row in await select(conn, query, parameters | {"periods": periods})]
        query = _KEPT.format(
            key=sql.SQL("''"), numbers=_NUMBERS, values=sql.SQL("value = %(value)s"), bodies=one_body
        )
        parameters |= {"dimension": dimension, "periods": [question.period]}
        totals = await select(conn, query, parameters)
        total = Line.of(totals[0]) if totals else Line.nothing("")
    if by != "body":
        found = {line.key: line for line in lines}
        known = months(question.period) if by == "month" else VALUES[cast(Dimension, by)]
        lines = [found.get(key) or Line.nothing(key) for key in sorted({*known, *found})]
    return lines, total


async def _count(conn: AsyncConnection[Any], question: Question, body: str) -> tuple[list[Line], Line]:
    """From the body's own appeals, whatever is asked of them."""
    query = _COUNTED.format(
        key=sql.Identifier(question.by),
        numbers=_SUMS,
        where=sql.SQL(" AND ").join(
            [sql.SQL("true")]
            + [sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in question.where]
        ),
    )
    first, last = months(question.period)[0], months(question.period)[-1]
    found = await select(conn, query, {"body": body, "first": first, "last": last})
    *lines, total = (Line.of(row) for row in found)  # of all together the key is NULL, which sorts last
    total.key = ""
    return lines, total


def months(period: str) -> list[str]:
    """Of a year; a month is itself."""
    return [f"{period}-{month:02}" for month in range(1, 13)] if len(period) == 4 else [period]


async def select(
    conn: AsyncConnection[Any], query: sql.SQL | sql.Composed, parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """What a query gives."""
    async with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()
