"""The dispatcher: takes in what happened, sends what is due, and writes down what came of it.

It remembers nothing that matters. Several of them, on several hosts, share the work by the locks and leases
of the outbox; whoever is cut off anywhere leaves a lease that runs out. It waits for the network and the
database without holding its event loop, on which the clock runs too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from api.webhooks import deliveries, signing
from api.webhooks.deliveries import Due
from api.webhooks.network import MAX_CONNECTIONS, Client
from api.webhooks.registry import unwrap_secret
from ledger.errors import AiqynError
from ledger.store.database import DatabaseUnavailableError, connect_async, conninfo
from ledger.store.vault import Vault
from projections.positions import CHANNEL as PROJECTIONS

log = logging.getLogger(__name__)

PER_HOST = 4
"""Messages on their way to one target at once."""
POLL_SECONDS = 5.0
PAUSE_SECONDS = 0.05
"""Between two looks, however much happens."""
BACKOFF_SECONDS = 2.0
GRACE_SECONDS = 5.0
"""How long messages on their way may take once the dispatcher stops."""
_PRUNE_SECONDS = 600.0
_STALE_SECONDS = deliveries.LEASE.total_seconds() / 2
"""A message that was not begun this long after its lease was taken is left to the next lease."""


class Dispatcher:
    """Sends the messages of all webhooks. Belongs to one event loop."""

    def __init__(
        self,
        url: str,
        vault: Vault,
        *,
        allow_private: bool = False,
        clock: Callable[[], float] = time.time,
        client: Client | None = None,
        jitter: Callable[[], float] = random.random,
        poll: float = POLL_SECONDS,
    ) -> None:
        """``url`` connects as the service's role; ``clock`` tells the seconds since 1970.

        ``client``: another than the one that ``allow_private`` gives. ``jitter`` gives 0 to 1; ``poll`` is
        how many seconds pass before it looks without having been notified.
        """
        self._url = url
        self._vault = vault
        self._clock = clock
        self._client = client or Client(allow_private=allow_private)
        self._allow_private = allow_private
        self._jitter = jitter
        self._poll = poll
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._busy: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._looked = 0.0
        self._news = True
        """Whether something may have happened that is not in the outbox yet."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run beside the block."""
        task = asyncio.create_task(self.run(), name="webhooks")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def run(self) -> None:
        """For ever; outlives the database's restarts, and any fault of its own."""
        if self._allow_private:
            log.warning("webhooks_allow_private is on: messages go inside the network too, and without TLS")
        while True:
            try:
                connection = await connect_async(
                    self._url, application_name="aiqyn webhooks", autocommit=True
                )
                async with connection, self.open():
                    await self._follow(connection)
            except (psycopg.Error, DatabaseUnavailableError, OSError) as error:
                log.warning("webhooks wait for the database: %s", type(error).__name__)
            except Exception:
                log.exception("webhooks stopped; they start again")
            await asyncio.sleep(BACKOFF_SECONDS)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold connections while the block runs; behind it, wait a little for what is on its way."""
        pool = AsyncConnectionPool(
            conninfo(self._url, application_name="aiqyn webhooks"),
            min_size=1,
            max_size=4,
            kwargs={"autocommit": True},
            open=False,
        )
        async with pool, self._client:
            self._pool = pool
            try:
                yield
            finally:
                await self._settle()
                self._pool = None

    async def catch_up(self) -> int:
        """Take in everything new and send everything that is due now; returns how many attempts that were."""
        tried = 0
        while True:
            # What is written down while we look may let the next one of its stream go.
            quiet = not self._sending
            while await self._take_in():
                quiet = False
            started = await self._start()
            tried += started
            if quiet and not started:
                return tried
            if self._sending:
                await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)

    # --- the loop -----------------------------------------------------------------------------------

    async def _follow(self, connection: AsyncConnection[Any]) -> None:
        for channel in (PROJECTIONS, deliveries.CHANNEL):
            await connection.execute(f"LISTEN {channel}")
        listening = asyncio.create_task(self._listen(connection), name="webhooks listen")
        listening.add_done_callback(lambda _: self._wake.set())
        pruned = float("-inf")
        try:
            self._news = True
            while not listening.done():
                self._wake.clear()
                # A notification may have been missed, and what waits may have become few enough.
                if self._news or time.monotonic() - self._looked >= self._poll:
                    self._news = False
                    self._looked = time.monotonic()
                    self._news |= await self._take_in()
                await self._start()
                if time.monotonic() - pruned > _PRUNE_SECONDS and not await self._prune():
                    pruned = time.monotonic()
                await self._rest()
            await listening
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self, connection: AsyncConnection[Any]) -> None:
        async for _ in connection.notifies():
            self._news = True
            self._wake.set()

    async def _rest(self) -> None:
        """Until something happened, something is due, or it is time to look anyway."""
        await asyncio.sleep(PAUSE_SECONDS)
        if self._news:
            return
        async with self._connection() as connection:
            due = await deliveries.next_due(connection, self._full())
        seconds = self._poll
        if due is not None and len(self._sending) < MAX_CONNECTIONS:
            seconds = min(seconds, max(0.0, (due - self._now()).total_seconds()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _take_in(self) -> bool:
        """One page for each webhook; whether there may be more."""
        more = False
        async with self._connection() as connection:
            for webhook in await deliveries.behind(connection):
                more |= await deliveries.take_in(connection, webhook, self._now()) > 0
        return more

    async def _start(self) -> int:
        """Begin to send what is due, as far as there is room."""
        room = MAX_CONNECTIONS - len(self._sending)
        if room <= 0:
            return 0
        async with self._connection() as connection:
            due = await deliveries.claim(
                connection, self._now(), room=room, per_host=PER_HOST, busy=self._busy
            )
        leased = time.monotonic()
        for one in due:
            self._busy[one.host] += 1
            task = asyncio.create_task(self._send(one, leased), name="webhook")
            self._sending.add(task)
            task.add_done_callback(lambda task, host=one.host: self._sent(task, host))  # type: ignore[misc]
        return len(due)

    def _sent(self, task: asyncio.Task[None], host: str) -> None:
        self._sending.discard(task)
        self._busy[host] -= 1
        if not self._busy[host]:
            del self._busy[host]
        self._wake.set()

    async def _settle(self) -> None:
        if self._sending:
            await asyncio.wait(self._sending, timeout=GRACE_SECONDS)
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _prune(self) -> bool:
        async with self._connection() as connection:
            return await deliveries.prune(connection, self._now()) > 0

    # --- one message --------------------------------------------------------------------------------

    async def _send(self, due: Due, leased: float) -> None:
        try:
            body, secrets = self._prepare(due)
        except AiqynError as error:
            log.error("webhook %s, position %d cannot be sent: %s", due.webhook, due.position, error.code)
            await self._write(due, lambda c: deliveries.postpone(c, due, _OURS, self._now()))
            return
        if time.monotonic() - leased > _STALE_SECONDS:
            return
        id_ = signing.message_id(due.webhook, due.position)
        headers = signing.headers(id_, self._now(), body, secrets)
        try:
            answer = await self._client.post(due.url, headers, body)
        except Exception:
            log.exception("webhook %s, position %d: the attempt failed here", due.webhook, due.position)
            await self._write(due, lambda c: deliveries.postpone(c, due, _OURS, self._now()))
            return
        reason = await self._write(
            due, lambda c: deliveries.record(c, due, answer, self._now(), self._jitter)
        )
        if reason is not None:
            log.warning("webhook %s is disabled: %s", due.webhook, reason)

    def _prepare(self, due: Due) -> tuple[bytes, list[bytes]]:
        secrets = [unwrap_secret(self._vault, due.webhook, wrapped) for wrapped in due.secrets]
        return signing.message(due.position, due.entry), secrets

    async def _write(self, due: Due, work: Callable[[AsyncConnection[Any]], Any]) -> Any:  # noqa: ANN401
        try:
            async with self._connection() as connection:
                return await work(connection)
        except psycopg.Error as error:
            # The lease runs out, and the message is sent again.
            log.warning(
                "webhook %s, position %d: not written down (%s)",
                due.webhook,
                due.position,
                type(error).__name__,
            )
            return None

    # --- small --------------------------------------------------------------------------------------

    def _connection(self) -> contextlib.AbstractAsyncContextManager[AsyncConnection[Any]]:
        if self._pool is None:
            raise RuntimeError("the dispatcher is not open")
        return self._pool.connection()

    def _full(self) -> list[str]:
        return [host for host, count in self._busy.items() if count >= PER_HOST]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


_OURS = "The message could not be made or sent for a reason of the service's own; it is tried again."
