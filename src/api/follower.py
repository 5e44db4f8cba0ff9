"""Follows the log for everybody in this process who waits for its next entry.

One connection listens for the ledger's notifications; because one may be missed, the head is also looked at
by the clock. The newest entries are kept in memory, so that a thousand clients at the tip cost one query.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from ledger.errors import AiqynError
from ledger.store.database import connect_async
from ledger.store.transaction import CHANNEL

log = logging.getLogger(__name__)

PAGE = 256
"""Entries read by one query."""
KEPT = 4096
"""Newest entries in memory, about 1 KB each."""
POLL_SECONDS = 1.0
PAUSE_SECONDS = 0.05
"""Between two looks at the log, however often it is told to have grown."""


class Entry(msgspec.Struct, frozen=True):
    """One entry with what is public about it: the data of one event of the feed."""

    position: int
    entry: str
    """The exact text of the sealed event."""
    disclosures: tuple[str, ...]
    """Public disclosures, each base64url of ``[salt, name, value]``."""


_ENTRIES = """
    SELECT e.position, e.entry,
           array(SELECT d.disclosure FROM ledger.disclosures d WHERE d.position = e.position ORDER BY d.name)
    FROM ledger.entries e WHERE e.position >= %s AND e.position < %s ORDER BY e.position"""
_ERASURES = """
    SELECT stream FROM ledger.entries
    WHERE type = 'disclosure.erased' AND position >= %s AND position <= %s"""


async def read_entries(connection: AsyncConnection[Any], start: int, limit: int = PAGE) -> list[Entry]:
    """Up to ``limit`` entries from position ``start`` on."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(_ENTRIES, (start, start + limit), prepare=True)
        return [
            Entry(position, bytes(entry).decode("ascii"), tuple(disclosures))
            for position, entry, disclosures in await cursor.fetchall()
        ]


class Follower:
    """Knows the tip of the log and wakes who waits for it."""

    def __init__(self, url: str, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        """``url`` is listened on; ``pool`` is read from."""
        self._url = url
        self._pool = pool
        self._kept: deque[Entry] = deque(maxlen=KEPT)
        self._next = 0
        self._grown = asyncio.Condition()
        self._stopped = False
        self.clients = 0
        self.on_erased: Callable[[str], None] = lambda stream: None
        """Told each stream of which something was erased, so that nothing here remembers it."""

    @contextlib.contextmanager
    def client(self) -> Iterator[None]:
        """Count one client while the block runs."""
        self.clients += 1
        try:
            yield
        finally:
            self.clients -= 1

    def has(self, position: int) -> bool:
        """Whether that entry is known here."""
        return position < self._next

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow while the block runs."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute("SELECT size FROM ledger.head")).fetchall()
            self._next = int(rows[0][0])
        task = asyncio.create_task(self._run(), name="follower")
        try:
            yield
        finally:
            await self.stop()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def stop(self) -> None:
        """Let everybody who waits go, because the service stops."""
        self._stopped = True
        async with self._grown:
            self._grown.notify_all()

    async def page(self, start: int) -> list[Entry]:
        """Entries from ``start`` on: from memory near the tip, else by a query; none beyond the tip."""
        if start >= self._next:
            return []
        oldest = self._next - len(self._kept)
        if start >= oldest:
            return list(islice(self._kept, start - oldest, start - oldest + PAGE))
        async with self._pool.connection() as connection:
            return await read_entries(connection, start)

    async def wait(self, start: int, seconds: float) -> bool:
        """Until there is an entry at ``start``, or ``seconds`` are over; False once the service stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._grown:
                await self._grown.wait_for(lambda: self._next > start or self._stopped)
        return not self._stopped

    async def _run(self) -> None:
        while True:
            try:
                connection = await connect_async(
                    self._url, application_name="aiqyn follower", autocommit=True
                )
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    while True:
                        await self._catch_up()
                        await asyncio.sleep(PAUSE_SECONDS)
                        async for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
                            pass
            except (psycopg.Error, OSError, AiqynError) as error:
                log.warning("the feed waits for the database: %s", type(error).__name__)
                await asyncio.sleep(POLL_SECONDS)

    async def _catch_up(self) -> None:
        while True:
            async with self._pool.connection() as connection:
                fresh = await read_entries(connection, self._next)
                if not fresh:
                    return
                rows = await connection.execute(_ERASURES, [self._next, fresh[-1].position], prepare=True)
                erasures = [stream for (stream,) in await rows.fetchall()]
            for erasure in erasures:
                self.on_erased(erasure.removeprefix("erasure/").rpartition("/")[0])
            async with self._grown:
                if erasures:
                    self._kept.clear()  # its disclosures are those of before; older pages are read anew
                self._kept.extend(fresh)
                self._next = fresh[-1].position + 1
                self._grown.notify_all()
            if len(fresh) < PAGE:
                return
