"""The runner: folds what the ledger appends into the projections, for ever.

Woken by a notification and, because one may be missed, by its own clock. Any number of runners may run:
they take turns. What one cannot fold stops it where it is, with the reason in ``aiqyn projections status``:
numbers that stand at an older position are right, numbers that skipped an event never are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import Connection, Cursor

from ledger.errors import AiqynError
from ledger.store.database import DatabaseUnavailableError, connect
from projections import ALL, positions
from projections.base import SCHEMA, Projection, ProjectionError
from projections.batch import BATCH, Batch, EntriesMissingError, read_batch

LEDGER_CHANNEL = "ledger"
"""Notified once for each group of appended entries."""
POLL_SECONDS = 0.5
RETRY_SECONDS = 30.0
"""How long a projection that stands still is left alone."""
BACKOFF_SECONDS = (0.1, 10.0)

log = logging.getLogger(__name__)


class StandstillError(ProjectionError):
    """A projection cannot fold the next entry."""

    code = "projection-standstill"
    title = "A projection stands still"


class _FaultError(Exception):
    """Rolls a batch back: these projections stand still, for this reason."""

    def __init__(self, names: list[str], reason: AiqynError, position: int | None = None) -> None:
        super().__init__()
        self.names, self.reason, self.position = names, reason, position


class Runner:
    """Folds all ``projections`` behind one decoding of the entries.

    Everything that a batch changes, the position included, is one transaction; whatever interrupts it
    leaves no trace. Not to be shared between threads.
    """

    def __init__(
        self,
        url: str,
        projections: Sequence[Projection] = ALL,
        *,
        batch: int = BATCH,
        poll: float = POLL_SECONDS,
    ) -> None:
        """``url`` connects as the service's role; ``batch`` is the most entries in a transaction.

        ``poll`` is how many seconds pass before it looks without having been notified.
        """
        self._url = url
        self._projections = {projection.name: projection for projection in projections}
        self._batch = batch
        self._poll = poll
        self._standing: dict[str, tuple[str, float]] = {}
        """Projections left alone, by name: why, and until when (monotonic seconds)."""

    def catch_up(self, until: int | None = None) -> int:
        """Fold up to position ``until``, by default the ledger's head; returns how many entries were folded.

        Raises :class:`StandstillError` where a projection cannot go on; the others are there then.
        """
        self._standing.clear()
        with self._connect() as connection:
            folded = self._follow(connection, wait=True, until=until)
        if self._standing:
            raise StandstillError(
                " ".join(
                    f"Projection {name} stands still: {why}" for name, (why, _) in self._standing.items()
                ),
                projections=sorted(self._standing),
            )
        return folded

    def run(self, stop: threading.Event) -> None:
        """Follow the ledger until ``stop`` is set; outlives the database's restarts."""
        shortest, longest = BACKOFF_SECONDS
        pause = shortest
        while not stop.is_set():
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {LEDGER_CHANNEL}")
                    while not stop.is_set():
                        self._follow(connection, stop)
                        pause = shortest
                        # Whichever comes first: a notification, or the time to look without one.
                        for _ in connection.notifies(timeout=self._poll, stop_after=1):
                            pass
            except (psycopg.OperationalError, psycopg.InterfaceError, DatabaseUnavailableError) as error:
                log.warning("projections wait %.1f s for the database: %s", pause, str(error).split("\n")[0])
                stop.wait(pause)
                pause = min(pause * 2, longest)

    def _connect(self) -> Connection[tuple[Any, ...]]:
        connection = connect(self._url, application_name="aiqyn projections", autocommit=True)
        # Losing the last batches in a crash of the server costs nothing: they are folded again.
        connection.execute("SET synchronous_commit = off")
        positions.ensure(connection.cursor(), self._projections.values())
        return connection

    def _follow(
        self,
        connection: Connection[Any],
        stop: threading.Event | None = None,
        *,
        wait: bool = False,
        until: int | None = None,
    ) -> int:
        """Fold batch after batch until nothing is left to do."""
        folded = 0
        while stop is None or not stop.is_set():
            now = time.monotonic()
            names = [n for n in self._projections if n not in self._standing or self._standing[n][1] <= now]
            if not names:
                break
            try:
                with connection.transaction(), connection.cursor() as cursor:
                    count = self._fold(cursor, names, wait=wait, end=until)
            except _FaultError as fault:
                self._stand_still(connection, fault)
                continue
            if count == 0:
                break
            folded += count
        return folded

    def _fold(self, cursor: Cursor[Any], names: list[str], *, wait: bool, end: int | None) -> int:
        """One batch for the projections that are furthest behind; they fold it in one transaction."""
        current = {}
        for name, (version, position) in positions.take(cursor, names, wait=wait).items():
            if version != self._projections[name].version:
                raise _FaultError([name], _outdated(name, version, self._projections[name].version))
            current[name] = position
        if not current:
            return 0  # another runner's turn
        after = min(current.values())
        if end is not None and after >= end:
            return 0
        behind = [name for name, position in current.items() if position == after]
        ends = [position for position in current.values() if position > after]
        until = min(ends if end is None else [*ends, end], default=None)
        try:
            batch, unreadable = read_batch(cursor, after, until=until, limit=self._batch)
        except EntriesMissingError as error:
            raise _FaultError(behind, error) from error
        if not batch:
            if unreadable is not None:
                raise _FaultError(behind, unreadable, unreadable.position)
            return 0
        cursor.execute(f"SET LOCAL search_path TO {SCHEMA}")
        for name in behind:
            self._project(cursor, name, batch)
        positions.move(cursor, behind, batch.last)
        for name in behind:
            self._standing.pop(name, None)
        return len(batch)

    def _project(self, cursor: Cursor[Any], name: str, batch: Batch) -> None:
        try:
            self._projections[name].project(cursor, batch)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise  # the connection's trouble, not the projection's
        except Exception as error:
            # A fault in one fold must not hold up the others. The error's text stays in the log of the
            # server's operator: it may quote values.
            log.exception("projection %s failed on entries %d to %d", name, batch.first, batch.last)
            reason = ProjectionError(
                f"{type(error).__name__} while folding entries {batch.first} to {batch.last}; see the log."
            )
            raise _FaultError([name], reason, batch.first) from error

    def _stand_still(self, connection: Connection[Any], fault: _FaultError) -> None:
        why = str(fault.reason)
        for name in fault.names:
            if self._standing.get(name, ("", 0.0))[0] != why:
                log.error("projection %s stands still: %s", name, why)
            self._standing[name] = (why, time.monotonic() + RETRY_SECONDS)
        positions.stop(connection.cursor(), fault.names, why, fault.position)


def _outdated(name: str, found: int, known: int) -> ProjectionError:
    what = "upgrade the program" if found > known else f"run aiqyn projections rebuild {name}"
    return ProjectionError(
        f"Its tables were filled by version {found} of its fold, this program has {known}: {what}."
    )
