"""Rebuild and verify: the same fold, from the first entry on, beside the live tables.

``verify`` compares and changes nothing. ``rebuild`` puts the new tables in the place of the old ones, in one
transaction, never at an older position than the one that was already published. An interrupted run leaves
at most a schema that nobody reads, and the next one removes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import Connection

from ledger.store.database import connect
from projections import positions
from projections.base import SCHEMA, Projection, ProjectionError
from projections.batch import read_batch
from projections.beside import REBUILD_BATCH, Beside, Progress, query
from projections.digest import Difference, Digest, digest_rows, first_difference

SWAP_LOCK_TIMEOUT = "2s"
"""How long a swap waits for readers before it lets those behind it pass and tries again."""
SWAP_TRIES = 30

log = logging.getLogger(__name__)


class SwapTimeoutError(ProjectionError):
    """Readers held the live tables all the time."""

    code = "swap-timeout"
    title = "The rebuilt tables could not be swapped in"


class Comparison(msgspec.Struct, frozen=True):
    """The live tables against those folded anew, at one position."""

    position: int
    live: str
    """SHA-256, see :mod:`projections.digest`."""
    rebuilt: str
    difference: Difference | None
    """The first row that differs; None where the digests are the same."""


class Result(msgspec.Struct, frozen=True):
    """What came of rebuilding or verifying one projection."""

    name: str
    version: int
    position: int
    """That the rebuilt tables stand at."""
    swapped: bool
    comparison: Comparison | None
    """None where it was not asked for, or the live tables are of another version of the fold."""


def verify(
    url: str,
    projections: Sequence[Projection],
    *,
    progress: Progress | None = None,
    batch: int = REBUILD_BATCH,
) -> list[Result]:
    """Fold all entries anew beside the live tables and compare digests; the live tables stay as they are.

    ``url`` connects as the service's role. Raises :class:`projections.beside.RebuildRunningError`, or
    :class:`projections.batch.UnreadableEntryError`.
    """
    results = []
    with Beside(url, projections, batch=batch) as beside:
        _ensure(beside)
        live = _live(beside.reader, projections)
        beside.fold_to(min(position for _, position in live.values()), progress)
        beside.make_indexes()
        # Each projection may stand elsewhere: the furthest behind is compared first.
        for projection in sorted(projections, key=lambda p: live[p.name][1]):
            comparison = _compare(url, beside, projection, progress)
            position = comparison.position if comparison else beside.position
            results.append(Result(projection.name, projection.version, position, False, comparison))
    return _in_order(results, projections)


def digests_at(
    url: str,
    wanted: Iterable[tuple[Projection, int]],
    *,
    progress: Progress | None = None,
    batch: int = REBUILD_BATCH,
) -> Iterator[Digest]:
    """Digests of projections at positions, in the order of the positions, folded anew beside the live tables.

    Raises as :func:`verify` does.
    """
    chosen = sorted(wanted, key=lambda one: one[1])
    projections = {projection.name: projection for projection, _ in chosen}
    with Beside(url, tuple(projections.values()), batch=batch) as beside:
        for projection, position in chosen:
            beside.fold_to(position, progress)
            worker = beside.worker(projection)
            with worker.in_schema():
                sha256 = digest_rows(worker.connection, projection, worker.schema)
            yield Digest(projection.name, projection.version, position, sha256)


def rebuild(
    url: str,
    projections: Sequence[Projection],
    *,
    progress: Progress | None = None,
    compare: bool = False,
    batch: int = REBUILD_BATCH,
) -> list[Result]:
    """Fold all entries anew beside the live tables, then swap; runners may go on meanwhile.

    ``compare`` also tells whether the old tables were right. Raises as :func:`verify` does, and
    :class:`SwapTimeoutError`; until its own swap each projection's live tables stay as they are.
    """
    comparisons: dict[str, Comparison | None] = {}
    results = []
    with Beside(url, projections, batch=batch) as beside:
        _ensure(beside)
        live = _live(beside.reader, projections)
        if compare:
            beside.fold_to(min(position for _, position in live.values()), progress)
            beside.make_indexes()
            for projection in sorted(projections, key=lambda p: live[p.name][1]):
                comparisons[projection.name] = _compare(url, beside, projection, progress)
        else:
            beside.fold_to(_head(beside.reader), progress)
            beside.make_indexes()
        while (head := _head(beside.reader)) - beside.position > batch:
            beside.fold_to(head, progress)
        for projection in projections:
            position = _swap(beside, projection, batch)
            comparison = comparisons.get(projection.name)
            results.append(Result(projection.name, projection.version, position, True, comparison))
    return results


def _compare(
    url: str, beside: Beside, projection: Projection, progress: Progress | None
) -> Comparison | None:
    with (
        connect(url, application_name="aiqyn rebuild compare", autocommit=True) as snapshot,
        snapshot.transaction(),
    ):
        # The live tables may move on: they are compared as they are at this moment, and at this position.
        snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        version, position = _live(snapshot, [projection])[projection.name]
        if version != projection.version or position < beside.position:
            return None
        beside.fold_to(position, progress)
        worker = beside.worker(projection)
        live = digest_rows(snapshot, projection, SCHEMA)
        with worker.in_schema():
            rebuilt = digest_rows(worker.connection, projection, worker.schema)
            difference = None
            if live != rebuilt:
                difference = first_difference(snapshot, worker.connection, projection, worker.schema)
        return Comparison(position, live, rebuilt, difference)


def _swap(beside: Beside, projection: Projection, batch: int) -> int:
    for _ in range(SWAP_TRIES):
        try:
            return _swap_once(beside, projection, batch)
        except psycopg.errors.LockNotAvailable:
            log.info("readers hold the tables of projection %s: trying again", projection.name)
            time.sleep(0.5)
    raise SwapTimeoutError(
        f"Projection {projection.name} was rebuilt, but readers held its live tables all the time: end long "
        "transactions (see pg_stat_activity) and rebuild again.",
        name=projection.name,
    )


def _swap_once(beside: Beside, projection: Projection, batch: int) -> int:
    worker = beside.worker(projection)
    retired = f"retired_{projection.name}"
    with worker.in_schema() as cursor:
        # No runner moves the live tables while we hold the row; so what is left to fold is final.
        live = positions.take(cursor, [projection.name], wait=True)[projection.name][1]
        position = beside.position
        while position < live:
            rest, unreadable = read_batch(cursor, position, until=live, limit=batch)
            if not rest:
                raise unreadable or ProjectionError(f"Entries behind {position} are missing.")
            projection.project(cursor, rest)
            position = rest.last
        cursor.execute(f"SET LOCAL lock_timeout = '{SWAP_LOCK_TIMEOUT}'")
        cursor.execute(query("CREATE SCHEMA {}", retired))
        for table in projection.tables:
            cursor.execute(query("ALTER TABLE {}.{} SET SCHEMA {}", SCHEMA, table.name, retired))
            cursor.execute(query("ALTER TABLE {}.{} SET SCHEMA {}", worker.schema, table.name, SCHEMA))
        cursor.execute(query("DROP SCHEMA {} CASCADE", retired))
        positions.move(cursor, [projection.name], position, version=projection.version)
    return position


def _ensure(beside: Beside) -> None:
    with beside.reader.cursor() as cursor:
        positions.ensure(cursor, beside.projections)


def _live(connection: Connection[Any], projections: Sequence[Projection]) -> dict[str, tuple[int, int]]:
    return {s.name: (s.version, s.position) for s in positions.status(connection, projections)}


def _head(connection: Connection[Any]) -> int:
    row = connection.execute("SELECT coalesce(max(position), -1) FROM ledger.entries").fetchone()
    return row[0] if row else -1


def _in_order(results: list[Result], projections: Sequence[Projection]) -> list[Result]:
    by_name = {result.name: result for result in results}
    return [by_name[projection.name] for projection in projections]
