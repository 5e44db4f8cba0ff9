"""What a projection is: named tables, and a fold that writes them batch by batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any, ClassVar, LiteralString, NamedTuple

from psycopg import Cursor, sql

from ledger.errors import AiqynError
from projections.batch import Batch

SCHEMA = "projections"
"""Where the live tables are; a rebuild fills tables of the same names in another schema."""

MAX_BIGINT = 2**63 - 1


class ProjectionError(AiqynError):
    """Base of what can go wrong with a projection."""

    code = "projection"
    title = "A projection cannot go on"


class UnknownProjectionError(ProjectionError):
    """No projection has that name."""

    code = "projection-unknown"
    title = "There is no such projection"


class CursorInvalidError(ProjectionError):
    """The cursor is none that a page of this order gave."""

    code = "cursor-invalid"
    title = "The cursor is not valid here"

    def __init__(self) -> None:
        super().__init__(
            "This is no cursor of a page in this order: take `next` of the page before as it is."
        )


class Column(NamedTuple):
    """One column of a table as a digest reads it."""

    name: str
    expression: LiteralString
    """Its canonical form in SQL: an integer, a boolean or a text, whatever the server's settings."""


def plain(*names: LiteralString) -> tuple[Column, ...]:
    """Columns whose value is canonical as it is: integer, boolean, text, uuid."""
    return tuple(Column(name, name) for name in names)


def instant(*names: LiteralString) -> tuple[Column, ...]:
    """Columns of type ``timestamptz``: as microseconds since 1970-01-01T00:00:00Z."""
    return tuple(Column(name, f"(extract(epoch FROM {name}) * 1000000)::bigint") for name in names)


def day(*names: LiteralString) -> tuple[Column, ...]:
    """Columns of type ``date``: as ``YYYY-MM-DD``."""
    return tuple(Column(name, f"to_char({name}, 'YYYY-MM-DD')") for name in names)


class Table(NamedTuple):
    """A table of a projection: what its digest covers, and in which order."""

    name: LiteralString
    key: tuple[LiteralString, ...]
    """Its primary key: rows are digested in its order, texts compared byte by byte."""
    columns: tuple[Column, ...]
    """All columns, in the order in which they are digested."""
    added_to: bool = False
    """Rows are only ever inserted, so that a rebuild fills it without indexes and makes them at the end."""

    def canonical(self, schema: str) -> sql.Composed:
        """The query that gives the rows in canonical form and order."""
        columns = sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(sql.SQL(column.expression), sql.Identifier(column.name))
            for column in self.columns
        )
        # The columns of a key that are text were declared COLLATE "C", as were their indexes.
        order = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in self.key)
        table = sql.Identifier(schema, self.name)
        return sql.SQL("SELECT {} FROM {} AS t ORDER BY {}").format(columns, table, order)


class Projection(ABC):
    """A fold of the ledger into tables. It has no state of its own: all of it is in the tables.

    :meth:`project` must be total: whatever order of events the log holds, it leaves rows that depend
    on the events alone, not on where one batch ended and the next began.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    """Grows when the same events give other rows: the tables must then be rebuilt."""
    tables: ClassVar[tuple[Table, ...]]
    private: ClassVar[bool] = False
    """Its rows do not follow from entries alone: it is rebuilt and verified like any other, where the rest is
    that it is folded from, and its digest is never published."""

    @abstractmethod
    def project(self, cursor: Cursor[Any], batch: Batch) -> None:
        """Fold one batch, in the transaction that moves the position.

        The tables are named without a schema: the caller has set ``search_path`` to the live or to a
        rebuilt one.
        """


def select(projections: tuple[Projection, ...], names: list[str]) -> tuple[Projection, ...]:
    """Those of the given names, all for none. Raises :class:`UnknownProjectionError`."""
    known = {projection.name: projection for projection in projections}
    for name in names:
        if name not in known:
            raise UnknownProjectionError(
                f"There is no projection {name!r}: choose from {', '.join(known)}.", name=name
            )
    return tuple(known[name] for name in dict.fromkeys(names)) if names else projections


EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


def utc(value: datetime) -> datetime:
    """In UTC; where that is a year outside Python's calendar, the calendar's first or last moment.

    No lawful event is so, but a fold must not stop at what is in the log for ever.
    """
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return EARLIEST if value.year == 1 else LATEST
