"""Rows between structs and tables, a set at a time.

A struct has the fields of its table's columns, in any order. Upserts travel as one JSON document, which
PostgreSQL turns into rows; rows that are only added travel by COPY in its text format: joining text took a
third of the time of the driver's own binary rows, and Python's time is what limits a rebuild.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, LiteralString, TypeVar

import msgspec
from psycopg import Cursor, sql
from psycopg.rows import tuple_row

R = TypeVar("R", bound=msgspec.Struct)


def load(
    cursor: Cursor[Any], kind: type[R], table: LiteralString, column: LiteralString, keys: Collection[Any]
) -> list[R]:
    """The rows of ``table`` whose ``column`` is one of ``keys``."""
    query = sql.SQL("SELECT {} FROM {} WHERE {} = ANY(%s)").format(
        _columns(kind), sql.Identifier(table), sql.Identifier(column)
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


def copy(cursor: Cursor[Any], table: LiteralString, columns: LiteralString, lines: Sequence[str]) -> None:
    """Add rows by ``COPY``; each line has tabs between its values and a line feed at its end.

    :data:`NULL` stands for an absent value. Values must need no escaping: all that is copied are numbers,
    words of the catalogue, and names whose form was checked when they were appended. Raises
    :class:`ValueError` where one was not.
    """
    if not lines:
        return
    text = "".join(lines)
    tabs = columns.count(",") * len(lines)
    if (text.count("\n"), text.count("\t"), text.count("\\")) != (len(lines), tabs, text.count(NULL)):
        raise ValueError(f"A value for {table} has a tab, a line feed or a backslash.")
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), sql.SQL(columns))
    with cursor.copy(statement) as out:
        out.write(text)


NULL = "\\N"


def as_json(rows: Collection[Any]) -> str:
    """The parameter for ``json_populate_recordset``."""
    return msgspec.json.encode(list(rows)).decode()


def _columns(kind: type[msgspec.Struct]) -> sql.Composed:
    return _names(kind.__struct_fields__)


def _names(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
