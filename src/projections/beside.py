"""Tables of projections built anew beside the live ones, each projection in a schema of its own.

One thread reads and decodes entries once for all; each projection folds them on a thread and a connection
of its own, so that decoding, folding and PostgreSQL's work overlap. Tables that are only added to get their
indexes when the long part of history is in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

from psycopg import Connection, Cursor, sql

from ledger.store.database import connect
from projections.base import SCHEMA, Projection, ProjectionError, Table
from projections.batch import Batch, Rows, decode_batch, fetch

Progress = Callable[[int, int], None]
"""Called with the position reached (-1 before the first entry) and the position aimed at."""

REBUILD_BATCH = 10_000
AHEAD = 3
"""Batches that may wait for the slowest projection: bounds memory to some tens of megabytes."""
LOCK_CLASS = 731_004
"""First key of the advisory locks; the second is made of the projection's name."""


class RebuildRunningError(ProjectionError):
    """Two rebuilds of one projection at a time would destroy each other's tables."""

    code = "rebuild-running"
    title = "This projection is being rebuilt already"


class Beside:
    """Rebuilt tables of some projections, at one position; leaving the ``with`` block removes them."""

    def __init__(self, url: str, projections: Sequence[Projection], *, batch: int = REBUILD_BATCH) -> None:
        self.position = -1
        self.projections = projections
        self._url = url
        self._batch = batch
        self._stack = ExitStack()
        self._workers: dict[str, _Worker] = {}

    def __enter__(self) -> Self:
        """Take the rebuild's locks and make empty tables. Raises :class:`RebuildRunningError`."""
        with ExitStack() as stack:
            self.reader = stack.enter_context(
                connect(self._url, application_name="aiqyn rebuild", autocommit=True)
            )
            lookups = connect(self._url, application_name="aiqyn rebuild", autocommit=True)
            self._lookups = stack.enter_context(lookups).cursor()
            self._reading = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="rebuild_reader"))
            for projection in self.projections:
                self._lock(projection.name)
            for projection in self.projections:
                worker = _Worker(self._url, projection)
                stack.callback(worker.close)
                self._workers[projection.name] = worker
                worker.make_tables()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not swapped in."""
        self._stack.close()

    def worker(self, projection: Projection) -> _Worker:
        """The connection and thread of one projection."""
        return self._workers[projection.name]

    def fold_to(self, target: int, progress: Progress | None = None) -> None:
        """Fold every entry up to position ``target``. Raises what reading or folding raises."""
        running: deque[tuple[int, list[Future[None]]]] = deque()
        after = self.position
        reading = self._read(after, target)
        while after < target or running:
            if running and (after >= target or len(running) >= AHEAD):
                position, folds = running.popleft()
                for fold in folds:
                    fold.result()
                self.position = position
                if progress is not None:
                    progress(position, target)
                continue
            rows = reading.result()
            reading = self._read(after + len(rows), target)
            batch, unreadable = decode_batch(self._lookups, after, rows)
            if not batch:
                if unreadable is not None:
                    raise unreadable
                break
            after = batch.last
            running.append((after, [worker.fold(batch) for worker in self._workers.values()]))

    def _read(self, after: int, target: int) -> Future[Rows]:
        """The next entries, read while those before them are decoded."""
        return self._reading.submit(
            lambda: fetch(self.reader.cursor(), after, until=target, limit=self._batch)
        )

    def make_indexes(self) -> None:
        """Index the tables that were filled without."""
        for future in [worker.submit(worker.make_late_indexes) for worker in self._workers.values()]:
            future.result()

    def _lock(self, name: str) -> None:
        row = self.reader.execute(
            "SELECT pg_try_advisory_lock(%s, hashtext(%s))", [LOCK_CLASS, name]
        ).fetchone()
        if row is None or not row[0]:
            raise RebuildRunningError(
                f"Projection {name} is being rebuilt or verified by somebody else: wait for the end of that.",
                name=name,
            )


class _Worker:
    """One projection's schema, connection and thread."""

    def __init__(self, url: str, projection: Projection) -> None:
        self.projection = projection
        self.schema = f"rebuild_{projection.name}"
        self.connection: Connection[tuple[Any, ...]] = connect(
            url, application_name=f"aiqyn rebuild {projection.name}", autocommit=True
        )
        self.connection.execute("SET synchronous_commit = off")
        self.connection.execute("SET maintenance_work_mem = '256MB'")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.schema)

    def close(self) -> None:
        """Let the running batch end, then remove the tables."""
        self._thread.shutdown(cancel_futures=True)
        with self.connection:
            self.connection.execute(query("DROP SCHEMA IF EXISTS {} CASCADE", self.schema))

    def submit(self, job: Callable[[], None]) -> Future[None]:
        """Run on this projection's thread, after what was submitted before."""
        return self._thread.submit(job)

    def fold(self, batch: Batch) -> Future[None]:
        """Fold one batch in a transaction of its own."""
        return self.submit(lambda: self._fold(batch))

    def _fold(self, batch: Batch) -> None:
        with self.in_schema() as cursor:
            self.projection.project(cursor, batch)

    @contextmanager
    def in_schema(self) -> Iterator[Cursor[tuple[Any, ...]]]:
        """A transaction in which the projection's tables are the rebuilt ones."""
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.execute(query("SET LOCAL search_path TO {}", self.schema))
            yield cursor

    def make_tables(self) -> None:
        """Empty tables like the live ones; what an interrupted rebuild left is removed."""
        with self.connection.transaction():
            self.connection.execute(query("DROP SCHEMA IF EXISTS {} CASCADE", self.schema))
            self.connection.execute(query("CREATE SCHEMA {}", self.schema))
            for table in self.projection.tables:
                self.connection.execute(
                    query(
                        "CREATE TABLE {}.{} (LIKE {}.{} INCLUDING ALL EXCLUDING INDEXES)",
                        self.schema,
                        table.name,
                        SCHEMA,
                        table.name,
                    )
                )
                self._grant(table)
                if not table.added_to:
                    self._index(table)

    def make_late_indexes(self) -> None:
        """Index the tables that are only added to, and tell the planner about all of them."""
        for table in self.projection.tables:
            if table.added_to:
                with self.connection.transaction():
                    self._index(table)
            self.connection.execute(query("ANALYZE {}.{}", self.schema, table.name))

    def _index(self, table: Table) -> None:
        # Under the names that the live ones have: index names belong to a schema, and move with their table.
        rows = self.connection.execute(
            """
            SELECT 'ADD CONSTRAINT ' || quote_ident(c.conname) || ' ' || pg_get_constraintdef(c.oid),
                   pg_get_indexdef(i.indexrelid)
            FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid
            WHERE i.indrelid = %s::regclass ORDER BY i.indexrelid
            """,
            [f"{SCHEMA}.{table.name}"],
        ).fetchall()
        for constraint, index in rows:
            statement: sql.Composable
            if constraint is not None:
                statement = query("ALTER TABLE {}.{} ", self.schema, table.name) + sql.SQL(constraint)
            else:
                statement = sql.SQL(index.replace(f" ON {SCHEMA}.", f" ON {self.schema}.", 1))
            self.connection.execute(statement)

    def _grant(self, table: Table) -> None:
        # LIKE does not copy them: whom the operator let read the live table reads the rebuilt one too.
        rows = self.connection.execute(
            """
            SELECT a.privilege_type, CASE WHEN a.grantee = 0 THEN NULL ELSE a.grantee::regrole::text END
            FROM pg_class c, aclexplode(c.relacl) a
            WHERE c.oid = %s::regclass AND a.grantee <> c.relowner
            """,
            [f"{SCHEMA}.{table.name}"],
        ).fetchall()
        for privilege, grantee in rows:
            statement = (
                f"GRANT {privilege} ON {{}}.{{}} TO {grantee or 'PUBLIC'}"  # already quoted by regrole
            )
            self.connection.execute(query(statement, self.schema, table.name))


def query(template: str, *names: str) -> sql.Composed:
    """SQL with the names of schemas, tables and so on in the place of its ``{}``."""
    return sql.SQL(template).format(*map(sql.Identifier, names))  # built of our own words
