"""Group commit: what arrives while one append transaction runs forms the next group.

Several processes and hosts run a sequencer each; the lock on the head row makes them take turns.
Nobody is told anything before the commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from typing import Any

import psycopg

from ledger.errors import AiqynError, FatalError
from ledger.store.append import Append, Appended, StoreUnavailableError
from ledger.store.database import DatabaseUnavailableError, connect_async
from ledger.store.high_water import HighWater
from ledger.store.reader import LogReader
from ledger.store.transaction import AppendTransaction, Outcome
from ledger.tlog.note import SignerKey

logger = logging.getLogger(__name__)

_RETRY_PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0, 2.0, 2.0)
"""Seconds between tries when the database does not answer; afterwards the callers are told."""
_SERVER_LIMITS = "SET idle_in_transaction_session_timeout = '30s'; SET statement_timeout = '30s'"
"""A host that froze while it held the head must not hold up all others for ever."""
_LINE_SECONDS = 60
"""After which a silent connection counts as broken."""


class Sequencer:
    """Appends requests in groups; belongs to the event loop that started it."""

    def __init__(
        self,
        url: str,
        origin: str,
        signer: SignerKey,
        *,
        high_water: HighWater | None = None,
        group_max: int = 1000,
        skew: int = 120,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``url`` connects as the service role; ``group_max`` bounds the events of one transaction."""
        self._url = url
        self._transaction = AppendTransaction(origin, signer, clock=clock, skew=skew)
        self._high_water = high_water
        self._group_max = group_max
        self._waiting: deque[tuple[Append, asyncio.Future[Appended]]] = deque()
        self._arrived = asyncio.Event()
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._runner: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fatal: FatalError | None = None
        self._newest: tuple[int, bytes] | None = None
        self.groups = 0
        self.events = 0
        self.on_group: Callable[[int], None] = lambda events: None
        """Told the number of events of each group that was committed, for metrics."""

    @property
    def fatal(self) -> FatalError | None:
        """Why nothing is appended any more, if so."""
        return self._fatal

    @property
    def waiting(self) -> int:
        """Commands that wait for the next group."""
        return len(self._waiting)

    async def start(self) -> None:
        """Check the high-water mark and begin. Raises :class:`ledger.store.append.LogRolledBackError`."""
        self._loop = asyncio.get_running_loop()
        if self._high_water is not None:
            await asyncio.to_thread(self._check_high_water, self._high_water)
            self._keeper = asyncio.create_task(self._keep_high_water(), name="high-water")
        self._runner = asyncio.create_task(self._run(), name="sequencer")

    async def close(self) -> None:
        """Finish the group under way, answer who still waits, and stop."""
        self._stopping = True
        self._arrived.set()
        if self._keeper is not None:
            self._keeper.cancel()
        for task in (self._runner, self._keeper):
            if task is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(StoreUnavailableError("The service is stopping; nothing was recorded."))
        await self._disconnect()
        try:
            self._advance_high_water()
        except (OSError, AiqynError) as error:
            logger.error("the high-water mark cannot be written: %s", error)

    async def append(self, request: Append) -> Appended:
        """Append the events of one command, durably, and say where they stand.

        Raises the errors of :mod:`ledger.store.append`; then nothing of the request is recorded. Only after
        ``StoreUnavailableError`` it is not known: a repeated request finds what was recorded.
        """
        if self._fatal is not None:
            raise self._fatal.with_traceback(None)  # or each caller's frames would hang on to it
        if self._stopping:
            raise StoreUnavailableError("The service is stopping; nothing was recorded.")
        if not request.events:
            raise ValueError("nothing to append")
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._arrived.set()
        return await future

    def append_from_thread(self, request: Append) -> ThreadFuture[Appended]:
        """The same for callers outside the event loop."""
        if self._loop is None:
            raise StoreUnavailableError("The sequencer was not started.")
        return asyncio.run_coroutine_threadsafe(self.append(request), self._loop)

    async def _run(self) -> None:
        while not self._stopping:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting and not self._stopping:
                await self._append_group(self._next_group())

    def _next_group(self) -> list[tuple[Append, asyncio.Future[Appended]]]:
        group: list[tuple[Append, asyncio.Future[Appended]]] = []
        events = 0
        while self._waiting and (not group or events + len(self._waiting[0][0].events) <= self._group_max):
            item = self._waiting.popleft()
            events += len(item[0].events)
            group.append(item)
        return group

    async def _append_group(self, group: list[tuple[Append, asyncio.Future[Appended]]]) -> None:
        requests = [request for request, _ in group]
        try:
            if self._fatal is not None:
                raise self._fatal  # who waited already when it happened: nothing more is signed
            outcomes = await self._try(requests)
        except Exception as error:
            outcomes = [error] * len(group)
            if isinstance(error, FatalError) and self._fatal is None:
                logger.critical("%s", error)
                self._fatal = error
            elif not isinstance(error, AiqynError):
                logger.exception("an append group failed")
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    async def _try(self, requests: list[Append]) -> list[Outcome]:
        for pause in (*_RETRY_PAUSES, None):
            try:
                connection = await self._connect()
                async with asyncio.timeout(_LINE_SECONDS):
                    outcomes = await self._transaction.run(connection, requests)
            except (
                DatabaseUnavailableError,
                psycopg.OperationalError,
                psycopg.InterfaceError,
                psycopg.InternalError,  # a read-only standby, a transaction that the server ended
                OSError,
            ) as error:
                logger.warning("the database does not answer: %s", type(error).__name__)
                await self._disconnect()
                for request in requests:
                    request.uncertain = True
                if pause is None:
                    raise StoreUnavailableError(
                        "The ledger's database does not answer. Repeat the request: what was recorded in "
                        "spite of this is found again, nothing happens twice."
                    ) from error
                await asyncio.sleep(pause)
            except FatalError:
                await self._disconnect()
                raise
            except Exception as error:
                await self._disconnect()
                if len(requests) == 1:
                    logger.exception("the database refused an event")
                    raise AiqynError("The database refused the event.") from error
                # One bad request must not take its neighbours with it.
                return [outcome for request in requests for outcome in await self._alone(request)]
            except BaseException:
                await self._disconnect()
                raise
            else:
                self._count(outcomes)
                return outcomes
        raise AssertionError("unreachable")

    async def _alone(self, request: Append) -> list[Outcome]:
        try:
            return await self._try([request])
        except FatalError:
            raise
        except Exception as error:
            return [error]  # its neighbours may be committed by now

    def _count(self, outcomes: list[Outcome]) -> None:
        fresh = [o for o in outcomes if isinstance(o, Appended) and not o.repeated]
        if fresh:
            events = sum(outcome.count for outcome in fresh)
            self.groups += 1
            self.events += events
            self.on_group(events)
            self._newest = fresh[-1].size, fresh[-1].checkpoint

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await connect_async(
                self._url, application_name="aiqyn sequencer", autocommit=True, connect_timeout=10
            )
            await self._connection.execute(_SERVER_LIMITS)
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await self._connection.close()
            self._connection = None

    def _check_high_water(self, high_water: HighWater) -> None:
        with LogReader(self._url) as reader:
            size = reader.size()
            high_water.check(size, reader.read_node(size))
            if size:  # after a kill the mark lags behind, on a new machine there is none
                high_water.advance(size, reader.checkpoint())

    async def _keep_high_water(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            try:
                await asyncio.to_thread(self._advance_high_water)
            except (OSError, AiqynError) as error:
                logger.error("the high-water mark cannot be written: %s", error)

    def _advance_high_water(self) -> None:
        newest = self._newest
        if newest is not None and self._high_water is not None:
            self._high_water.advance(*newest)
            if self._newest is newest:
                self._newest = None
