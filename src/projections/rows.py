"""Rows between structs and tables, a set at a time.

A struct has the fields of its table's columns. Upserts travel as one JSON document, which
PostgreSQL turns into rows; rows that are only added travel by binary COPY, which costs the least on both
sides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, LiteralString, TypeVar, get_type_hints

import msgspec
from psycopg import Cursor, sql
from psycopg.rows import tuple_row

from projections.base import Column, day, instant, plain

R = TypeVar("R", bound=msgspec.Struct)


def columns(kind: type[msgspec.Struct]) -> tuple[Column, ...]:
    """The columns of a table whose rows are these structs, in the order of their fields."""
    hints = get_type_hints(kind)
    found: tuple[Column, ...] = ()
    for name in kind.__struct_fields__:
        hint = hints[name]
        canonical = day if hint in _DAYS else instant if hint in _INSTANTS else plain
        found += canonical(name)
    return found


_DAYS, _INSTANTS = (date, date | None), (datetime, datetime | None)


def load(
    cursor: Cursor[Any], kind: type[R], table: LiteralString, column: LiteralString, keys: Collection[Any]
) -> list[R]:
    """The rows of ``table`` whose ``column`` is one of ``keys``."""
    query = sql.SQL("SELECT {} FROM {} WHERE {} = ANY(%s)").format(
        _names(kind.__struct_fields__), sql.Identifier(table), sql.Identifier(column)
    )
    with cursor.connection.cursor(row_factory=tuple_row) as found:
        return [kind(*row) for row in found.execute(query, [list(keys)])]


def upsert(
    cursor: Cursor[Any],
    table: LiteralString,
    key: Sequence[LiteralString],
    rows: Collection[msgspec.Struct],
) -> None:
    """Insert ``rows``, or replace those of the same ``key``."""
    if not rows:
        return
    fields = type(next(iter(rows))).__struct_fields__
    query = sql.SQL(
        "INSERT INTO {table} ({columns})"
        " SELECT {columns} FROM json_populate_recordset(NULL::{table}, %s::json)"
        " ON CONFLICT ({key}) DO UPDATE SET ({columns}) = ROW({new})"
    ).format(
        table=sql.Identifier(table),
        columns=_names(fields),
        key=_names(key),
        new=sql.SQL(", ").join(sql.Identifier("excluded", field) for field in fields),
    )
    cursor.execute(query, [as_json(rows)])


def copy(
    cursor: Cursor[Any],
    table: LiteralString,
    types: Mapping[LiteralString, str],
    rows: Iterable[tuple[Any, ...]],
) -> None:
    """Add rows by binary ``COPY``.

    ``types``: column → the type whose binary form its values have. A UUID is given as its 16
    bytes, as ``bytea``: what COPY sends for both is the same, and the driver is quicker with bytes.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)")
    with cursor.copy(statement.format(sql.Identifier(table), _names(list(types)))) as copying:
        copying.set_types(list(types.values()))
        write = copying.write_row
        for row in rows:
            write(row)


def as_json(rows: Collection[Any]) -> str:
    """The parameter for ``json_populate_recordset``."""
    return msgspec.json.encode(list(rows)).decode()


def _names(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
