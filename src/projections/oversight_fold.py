"""The fold behind :mod:`projections.oversight`, which says what counts where.

Each appeal has a row for each stay with a body, and what a stay adds to the figures follows from its row
alone. So the figures are always the sum of the rows: a batch adds the difference between what its rows were
and what they are now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from copy import copy
from typing import Any, LiteralString

from psycopg import Cursor, sql

from projections.appeal_case import is_appeal
from projections.base import Projection, Table, plain
from projections.batch import Batch
from projections.oversight_stays import COUNTED, DIMENSIONS, MEASURES, NAMES, Stay, fold
from projections.rows import as_json, columns, load, upsert

ALL = ""
"""In a cell: all bodies, or no dimension."""
Cell = tuple[str, str, str, str]
"""Period, dimension, value, body."""
_CELL = ("period", "dimension", "value", "body")


class Oversight(Projection):
    """Every stay of an appeal with a body, and the council's figures over them."""

    name = "oversight"
    version = 2
    tables = (
        Table("oversight_appeals", key=("stream", "stay"), columns=columns(Stay)),
        Table(
            "oversight_cells",
            key=_CELL,
            columns=plain(*_CELL, *NAMES, "median_days", "p90_days"),
        ),
        Table("oversight_days", key=(*_CELL, "days"), columns=plain(*_CELL, "days", "count")),
    )

    def project(self, cursor: Cursor[Any], batch: Batch) -> None:
        """Fold appeals' events in the order of the log, then add what they change to the figures."""
        own = [e for e in batch.events if isinstance(e.facts, COUNTED) and is_appeal(e.stream)]
        if not own:
            return
        current: dict[str, Stay] = {}
        streams = {event.stream for event in own}
        for stay in load(cursor, Stay, "oversight_appeals", "stream", streams):
            known = current.get(stay.stream)
            if known is None or known.stay < stay.stay:
                current[stay.stream] = stay
        before = {(stay.stream, stay.stay): copy(stay) for stay in current.values()}
        after: dict[tuple[str, int], Stay] = {}
        for event in own:
            for stay in fold(current.get(event.stream), event):
                current[event.stream] = after[stay.stream, stay.stay] = stay
        figures = _Figures()
        for key, stay in after.items():
            figures.change(before.get(key), stay)
        upsert(cursor, "oversight_appeals", ("stream", "stay"), after.values())
        figures.write(cursor)


class _Figures:
    """The changes of one batch, cell by cell."""

    def __init__(self) -> None:
        self._cells: dict[Cell, list[int]] = {}
        self._days: Counter[tuple[Cell, int]] = Counter()

    def change(self, before: Stay | None, after: Stay) -> None:
        """A row was this, and is that."""
        new = _numbers(after)
        if before is not None and (before.body, before.month) != (after.body, after.month):
            self._add(before, [-number for number in _numbers(before)])
        elif before is not None:
            new = [b - a for a, b in zip(_numbers(before), new, strict=True)]
        self._add(after, new)
        if before is not None:
            self._add_days(before, -1)
        self._add_days(after, 1)

    def _add(self, stay: Stay, numbers: list[int]) -> None:
        changed = [(index, number) for index, number in enumerate(numbers) if number]
        if not changed:
            return
        for cell in _cells_of(stay):
            sums = self._cells.get(cell)
            if sums is None:
                sums = self._cells[cell] = [0] * len(NAMES)
            for index, number in changed:
                sums[index] += number

    def _add_days(self, stay: Stay, number: int) -> None:
        if stay.days is not None:
            for cell in _cells_of(stay):
                if _has_histogram(cell):
                    self._days[cell, stay.days] += number

    def write(self, cursor: Cursor[Any]) -> None:
        """Add them to the tables; what is left without an appeal goes."""
        cells = [
            dict(zip(_CELL, cell, strict=True)) | {n: d for n, d in zip(NAMES, sums, strict=True) if d}
            for cell, sums in self._cells.items()
            if any(sums)
        ]
        if cells:
            cursor.execute(_MERGE_CELLS, [as_json(cells)])
        days = [
            dict(zip(_CELL, cell, strict=True)) | {"days": days, "count": count}
            for (cell, days), count in self._days.items()
            if count
        ]
        if days:
            cursor.execute(_MERGE_DAYS, [as_json(days)])
            touched = {cell for (cell, _), count in self._days.items() if count}
            cursor.execute(_PERCENTILES, [as_json([dict(zip(_CELL, cell, strict=True)) for cell in touched])])


def _numbers(stay: Stay) -> list[int]:
    return [
        int(getattr(stay, column) in values if values else getattr(stay, column))
        for column, values in MEASURES.values()
    ]


def _cells_of(stay: Stay) -> Iterable[Cell]:
    """Every cell that a row is counted in."""
    body, month = stay.body, stay.month
    year = month[:4]
    yield month, ALL, ALL, body
    yield year, ALL, ALL, body
    yield month, ALL, ALL, ALL
    yield year, ALL, ALL, ALL
    for dimension in DIMENSIONS:
        value = getattr(stay, dimension)
        yield month, dimension, value, ALL
        yield year, dimension, value, ALL
        yield year, dimension, value, body


def _has_histogram(cell: Cell) -> bool:
    return not cell[1] or not cell[3]


def _same(left: str, right: str) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, name), sql.Identifier(right, name)) for name in _CELL
    )


def _each(template: LiteralString, names: Iterable[str]) -> sql.Composed:
    """The template once for each name in the place of its ``{0}``."""
    return sql.SQL(", ").join(sql.SQL(template).format(sql.Identifier(name)) for name in names)


# Not an upsert: that would try the bare difference against the table's constraints before it adds it.
_MERGE_CELLS = sql.SQL(
    """
    MERGE INTO oversight_cells t USING json_populate_recordset(NULL::oversight_cells, %s::json) d ON {same}
    WHEN MATCHED AND t.received + coalesce(d.received, 0) = 0 THEN DELETE
    WHEN MATCHED THEN UPDATE SET {sums}
    WHEN NOT MATCHED THEN INSERT ({key}, {names}) VALUES ({new_key}, {new})
    """
).format(
    same=_same("t", "d"),
    sums=_each("{0} = t.{0} + coalesce(d.{0}, 0)", NAMES),
    key=_each("{0}", _CELL),
    names=_each("{0}", NAMES),
    new_key=_each("d.{0}", _CELL),
    new=_each("coalesce(d.{0}, 0)", NAMES),
)
_MERGE_DAYS = sql.SQL(
    """
    MERGE INTO oversight_days t USING json_populate_recordset(NULL::oversight_days, %s::json) d
    ON {same} AND t.days = d.days
    WHEN MATCHED AND t.count + d.count = 0 THEN DELETE
    WHEN MATCHED THEN UPDATE SET count = t.count + d.count
    WHEN NOT MATCHED THEN INSERT ({key}, days, count) VALUES ({new_key}, d.days, d.count)
    """
).format(same=_same("t", "d"), key=_each("{0}", _CELL), new_key=_each("d.{0}", _CELL))
# Nearest-rank: the smallest number of days within which at least so large a part was answered.
_PERCENTILES = sql.SQL(
    """
    UPDATE oversight_cells t SET median_days = q.median_days, p90_days = q.p90_days
    FROM (
        SELECT {key}, min(days) FILTER (WHERE reached * 2 >= total) AS median_days,
               min(days) FILTER (WHERE reached * 10 >= total * 9) AS p90_days
        FROM (
            SELECT {k}, h.days, sum(h.count) OVER (PARTITION BY {k} ORDER BY h.days) AS reached,
                   sum(h.count) OVER (PARTITION BY {k}) AS total
            FROM json_populate_recordset(NULL::oversight_days, %s::json) k
            LEFT JOIN oversight_days h ON {held}
        ) w
        GROUP BY {key}
    ) q
    WHERE {same}
    """
).format(
    key=_each("{0}", _CELL),
    k=_each("k.{0}", _CELL),
    held=_same("h", "k"),
    same=_same("t", "q"),
)
