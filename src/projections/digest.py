"""The digest of a projection: what two people compare who folded the same entries.

It is the SHA-256 over this text in UTF-8, for the projection's tables in the order of ``Projection.tables``:

- a line for the table: its name, then the names of its columns, separated by a tab;
- a line for each row, in the order of the table's primary key (numbers by value, UUIDs and texts by their
  bytes): the values of those columns, separated by a tab. An integer is decimal, a boolean ``t`` or ``f``,
  a UUID in lower case with hyphens, an instant the integer of microseconds since 1970-01-01T00:00:00Z, a
  day ``YYYY-MM-DD``, a text itself with backslash, tab, line feed, carriage return, backspace, form feed
  and vertical tab written ``\\\\``, ``\\t``, ``\\n``, ``\\r``, ``\\b``, ``\\f``, ``\\v``; an absent value
  is ``\\N``;
- each line ends with a line feed.

The rows follow from entries alone: no disclosed text is in them, and nothing about the machine that folded.
The exception are private projections, whose digests compare tables of one installation and are never
published: see :func:`published`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import msgspec
from psycopg import Connection, sql
from psycopg.rows import tuple_row

from projections.base import SCHEMA, Projection, Table


class Digest(msgspec.Struct, frozen=True):
    """The digest of a projection's rows at a position."""

    name: str
    version: int
    position: int
    sha256: str
    """64 hexadecimal digits."""


class Difference(msgspec.Struct, frozen=True):
    """The first row at which the live tables are not what the entries give."""

    table: str
    live: str | None
    """The row as it is digested; None where the live table has no more rows."""
    rebuilt: str | None


def published(projections: Iterable[Projection]) -> tuple[Projection, ...]:
    """Those whose digest anybody who has the entries can compare."""
    return tuple(projection for projection in projections if not projection.private)


def digest(connection: Connection[Any], projection: Projection) -> Digest:
    """Of the live tables, with the position they stand at, from one snapshot.

    The connection must not be in a transaction.
    """
    return digests(connection, [projection])[0]


def digests(connection: Connection[Any], projections: Sequence[Projection]) -> list[Digest]:
    """The same of several projections, all from one snapshot."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        rows = connection.execute("SELECT name, version, position FROM projections.positions").fetchall()
        stand = {name: (version, position) for name, version, position in rows}
        return [
            Digest(p.name, *stand.get(p.name, (p.version, -1)), digest_rows(connection, p, SCHEMA))
            for p in projections
        ]


def digest_rows(connection: Connection[Any], projection: Projection, schema: str) -> str:
    """Over the projection's tables in ``schema`` as the current transaction sees them, in hexadecimal."""
    running = hashlib.sha256()
    for part in _text(connection, projection, schema):
        running.update(part)
    return running.hexdigest()


def first_difference(
    live: Connection[Any], rebuilt: Connection[Any], projection: Projection, schema: str
) -> Difference | None:
    """Where the live tables differ from those in ``schema``, table by table, row by row.

    Two connections, each in a transaction: the snapshot of the live tables is older than the rebuilt ones.
    """
    for table in projection.tables:
        pairs = zip_longest(_rows(live, table, SCHEMA), _rows(rebuilt, table, schema))
        for ours, theirs in pairs:
            if ours != theirs:
                return Difference(table.name, _shown(ours), _shown(theirs))
    return None


def _text(connection: Connection[Any], projection: Projection, schema: str) -> Iterator[bytes]:
    for table in projection.tables:
        yield "\t".join((table.name, *(column.name for column in table.columns))).encode() + b"\n"
        query = sql.SQL("COPY ({}) TO STDOUT (FORMAT text, ENCODING 'UTF8')").format(table.canonical(schema))
        with connection.cursor() as cursor, cursor.copy(query) as rows:
            yield from (bytes(part) for part in rows)


def _rows(connection: Connection[Any], table: Table, schema: str) -> Iterator[tuple[Any, ...]]:
    # A cursor on the server: neither side is ever held in memory.
    with connection.cursor(name=f"rows of {table.name}", row_factory=tuple_row) as cursor:
        cursor.itersize = 10_000
        yield from cursor.execute(table.canonical(schema))


def _shown(row: tuple[Any, ...] | None) -> str | None:
    return None if row is None else "\t".join("\\N" if value is None else str(value) for value in row)
