"""The operator binds itself to its tables: their digests become events, said by the clock key.

On a schedule, and whenever `aiqyn projections commit` asks for it, the digest of each published projection
is recorded as ``projection.committed`` in the stream ``projection/<name>/<as_of>``: whoever rebuilds the
tables up to that position must get the same. All digests of one time are of one snapshot. Whether a time has
come is read from the ledger, under a lock of the database: any number of processes may ask, one of them
commits, and one that dies in the middle leaves what is missing to the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import Connection

from ledger.application import Ledger
from ledger.domain.aggregate import NotAllowedError
from ledger.errors import AiqynError, FatalError
from ledger.events import ProjectionCommitted
from ledger.statement import Event, open_event
from ledger.store.append import StreamConflictError
from ledger.store.database import DatabaseUnavailableError, connect
from projections import ALL
from projections.base import Projection
from projections.digest import Digest, digests, published
from projections.positions import status

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""Between two looks at whether a time has come."""
LOCK = 731_006
"""Key of the advisory lock under which digests are committed."""


class Committed(msgspec.Struct, frozen=True):
    """A digest that stands in the ledger."""

    name: str
    fold: int
    as_of: int
    digest: str
    position: int
    """Of the event that says so."""


class Committer:
    """Commits what is due. Belongs to the event loop of its ledger."""

    def __init__(
        self,
        ledger: Ledger,
        url: str,
        *,
        hours: int,
        projections: Iterable[Projection] = ALL,
        look: float = LOOK_SECONDS,
    ) -> None:
        """``hours`` between two digests of a projection, 0 for never; ``url`` is read from."""
        self._ledger = ledger
        self._url = url
        self._every = timedelta(hours=hours)
        self._projections = published(projections)
        self._look = look
        self._looked: dict[str, datetime] = {}
        """When a projection was last found not to have moved."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run beside the block."""
        task = asyncio.create_task(self.run(), name="committing")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, FatalError):
                await task

    async def run(self) -> None:
        """For ever; outlives the database's restarts. Raises only :class:`FatalError`."""
        while self._every:
            try:
                await self.commit_due()
            except FatalError:
                raise
            except (psycopg.Error, DatabaseUnavailableError, OSError) as error:
                log.warning("digests wait for the database: %s", type(error).__name__)
            except AiqynError as error:
                log.warning("digests are not committed, to be tried again: %s", error.code)
            await asyncio.sleep(self._look)

    async def commit_due(self) -> list[Committed]:
        """Commit what the schedule asks for now."""
        return await self._commit(self._projections, due_only=True)

    async def commit(self, names: Sequence[str] = ()) -> list[Committed]:
        """Commit now the digest of every projection that moved, or of those of the given names."""
        chosen = [p for p in self._projections if not names or p.name in names]
        return await self._commit(chosen, due_only=False)

    async def _commit(self, chosen: Sequence[Projection], *, due_only: bool) -> list[Committed]:
        connection = await asyncio.to_thread(_connect, self._url)
        try:
            # Held to the end: the next one sees what was committed here.
            if not await asyncio.to_thread(_lock, connection, wait=not due_only):
                return []
            before = await asyncio.to_thread(_Before.read, connection, chosen)
            wanted = [p for p in chosen if before.may_have_moved(p)]
            if due_only:
                wanted = [p for p in wanted if self._is_due(p.name, before)]
            found = await asyncio.to_thread(digests, connection, wanted) if wanted else []
            moved = [one for one in found if before.moved(one)]
            now = self._ledger.now()
            self._looked |= {one.name: now for one in found if one not in moved}
            return [done for one in moved if (done := await self._declare(one)) is not None]
        finally:
            await asyncio.to_thread(_give_back, connection)

    def _is_due(self, name: str, before: _Before) -> bool:
        last = before.last.get(name)
        since = max(filter(None, (before.began, last and last.at, self._looked.get(name))), default=None)
        return since is not None and self._ledger.now() - since >= self._every

    async def _declare(self, found: Digest) -> Committed | None:
        facts = ProjectionCommitted(fold=found.version, as_of=found.position, digest=found.sha256)
        try:
            stream = f"projection/{found.name}/{found.position}"
            recorded = await self._ledger.declare(stream, facts, expected=0)
        except (StreamConflictError, NotAllowedError):
            return None  # it stands there already
        log.info("digest of %s as of %d committed at %d", found.name, found.position, recorded.position)
        return Committed(found.name, facts.fold, facts.as_of, facts.digest, recorded.position)


class _Last(NamedTuple):
    """The last digest of a projection."""

    facts: ProjectionCommitted
    at: datetime


class _Before(NamedTuple):
    """What was committed before, and where the projections stand."""

    last: dict[str, _Last]
    """By projection."""
    began: datetime | None
    """Time of the ledger's first entry."""
    news: dict[str, bool]
    """Whether anything but digests was folded since."""

    @classmethod
    def read(cls, connection: Connection[Any], projections: Sequence[Projection]) -> _Before:
        first = _entry(connection, _FIRST, [])
        last, news = {}, {}
        for one in status(connection, projections):
            name = f"projection/{one.name}"
            event = _entry(connection, _LAST, [f"{name}/", f"{name}0"])  # a zero follows the stroke
            since = -1
            if event is not None and isinstance(event.facts, ProjectionCommitted):
                last[one.name] = _Last(event.facts, event.at)
                since = event.facts.as_of
            row = connection.execute(_NEWS, [since, one.position]).fetchone()
            news[one.name] = row is not None and row[0]
        return cls(last, None if first is None else first.at, news)

    def may_have_moved(self, projection: Projection) -> bool:
        """Cheaper than a digest: a ledger where nothing happens does not grow by digests of itself."""
        return self.news[projection.name]

    def moved(self, found: Digest) -> bool:
        """Whether the digest says anything new."""
        last = self.last.get(found.name)
        if found.position < 0:
            return False
        return last is None or (found.version, found.sha256) != (last.facts.fold, last.facts.digest)


_FIRST = "SELECT entry FROM ledger.entries WHERE position = 0"
# Materialised, or the planner might walk the whole log backwards in search of the newest one.
_LAST = """
    WITH committed AS MATERIALIZED (SELECT position FROM ledger.entries WHERE stream > %s AND stream < %s)
    SELECT entry FROM ledger.entries WHERE position = (SELECT max(position) FROM committed)"""
_NEWS = """
    SELECT EXISTS (SELECT FROM ledger.entries
                   WHERE position > %s AND position <= %s AND type <> 'projection.committed')"""


def _connect(url: str) -> Connection[Any]:
    return connect(url, application_name="aiqyn committing", autocommit=True)


def _lock(connection: Connection[Any], *, wait: bool) -> bool:
    if wait:
        connection.execute("SELECT pg_advisory_lock(%s, 0)", [LOCK])
        return True
    row = connection.execute("SELECT pg_try_advisory_lock(%s, 0)", [LOCK]).fetchone()
    return row is not None and bool(row[0])


def _give_back(connection: Connection[Any]) -> None:
    """At once: after a mere close, the server lets go of the lock a moment later."""
    with connection, contextlib.suppress(psycopg.Error):
        connection.execute("SELECT pg_advisory_unlock_all()")


def _entry(connection: Connection[Any], query: str, parameters: list[Any]) -> Event | None:
    row = connection.execute(query.encode(), parameters).fetchone()
    return None if row is None else open_event(bytes(row[0]))
