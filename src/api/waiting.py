"""Lets requests wait until something concerns their organisation.

However many wait, one task of this process looks: when the log has grown, and then until the projection has
followed it. It runs while anybody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from api.follower import Follower

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.1
"""Between two looks, however fast the log grows."""
POLL_SECONDS = 5.0

_NEWS = """
    SELECT p.position, c.body, c.last
    FROM projections.positions p
    LEFT JOIN (
        SELECT body, max(position) AS last FROM projections.concerns
        WHERE position > %s AND body = ANY(%s) GROUP BY body
    ) c ON true
    WHERE p.name = 'appeals'"""


class _Waiter:
    """Somebody who has been told all that concerns ``body`` up to position ``known``."""

    __slots__ = ("body", "known", "woken")

    def __init__(self, body: str, known: int) -> None:
        self.body, self.known = body, known
        self.woken = asyncio.Event()


class Waiting:
    """Who waits in this process, and for what."""

    def __init__(self, follower: Follower, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        """``follower`` knows when the log grows; ``pool`` is read from."""
        self._follower = follower
        self._pool = pool
        self._waiters: set[_Waiter] = set()
        self._seen = -1
        """Where the projection stood at the last look."""
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiters)

    async def wait(self, body: str, known: int, seconds: float) -> bool:
        """Until something behind position ``known`` may concern ``body``, or time is up.

        False once the service stops. It may return early: whoever waits looks again.
        """
        if known < self._seen and self._waiters:
            return not self._stopped  # what was read is older than the last look here
        waiter = _Waiter(body, known)
        self._waiters.add(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="concerns")
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter.woken.wait()
        finally:
            self._waiters.discard(waiter)
        return not self._stopped

    async def _run(self) -> None:
        while self._waiters:
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                await self._look()
            except (psycopg.Error, PoolTimeout, OSError) as error:
                log.warning("those who wait, wait for the database: %s", type(error).__name__)
                await asyncio.sleep(POLL_SECONDS)
            # At once where the projection is behind the log, or a waiter behind the projection.
            if not await self._follower.wait(self._seen + 1, POLL_SECONDS):
                self._stopped = True
                for waiter in self._waiters:
                    waiter.woken.set()
                return

    async def _look(self) -> None:
        looked_for = list(self._waiters)
        if not looked_for:
            return
        since = min(waiter.known for waiter in looked_for)
        bodies = sorted({waiter.body for waiter in looked_for})
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_NEWS, [since, bodies], prepare=True)).fetchall()
        last = {body: position for _, body, position in rows}
        if rows:
            self._seen = rows[0][0]
        for waiter in looked_for:
            if last.get(waiter.body, -1) > waiter.known:
                waiter.woken.set()
            waiter.known = max(waiter.known, self._seen)
