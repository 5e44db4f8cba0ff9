"""The steward of time and numbers: what they bring about becomes an event, said by the operator's clock key.

It reads the projections of petitions and of the terms of appeals, declares what is due, and remembers nothing
that matters: whoever starts it again, or runs several of it, gets each event once, because the rules of the
aggregates and the versions of the streams refuse a second one. An end for want of signatures is only recorded
if nobody signed since they were counted. Once an hour it removes uploaded files that no event took up and,
where the operator wants that, erases what is personal and over its term.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row

from ledger import events
from ledger.application import Ledger, NotFoundError
from ledger.attachments import KEPT_SECONDS
from ledger.context import require_body
from ledger.domain import terms
from ledger.domain.aggregate import NotAllowedError
from ledger.domain.signature import petition_stream
from ledger.domain.terms import NoTermError
from ledger.erasure import Eraser
from ledger.errors import AiqynError, FatalError
from ledger.events import Fact
from ledger.store.append import Quiet, StreamConflictError
from ledger.store.database import DatabaseUnavailableError, connect_async
from projections.expired import expired
from projections.positions import CHANNEL
from projections.terms import Due, due_for_clock

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.1
"""Between two looks, however often the projections move."""
BACKOFF_SECONDS = 2.0
AT_ONCE = 64
"""Declarations under way together: at midnight many terms end, and they share the groups of the sequencer."""
TIDY_SECONDS = 3600
ERASED_AT_ONCE = 500
"""Erasures of one look; while there are more, the next look goes on."""


_What = tuple[Fact, Quiet | None]
"""What is due, and what must not have happened since it was counted."""


class _Due(msgspec.Struct, frozen=True):
    """A petition for which something may be due, as of one position."""

    id: str
    state: str
    body: str
    count: int
    as_of: int
    moderate_until: datetime
    moderation_overdue: int | None
    limited_until: datetime | None
    needed_at: int | None
    required: int | None
    collect_until: datetime | None
    reached_at: int | None
    consider_until: datetime | None
    consideration_overdue: int | None

    @property
    def stream(self) -> str:
        return petition_stream(self.id)


_DUE = """
    SELECT t.id::text AS id, t.state, t.body, t.count, p.position AS as_of, t.moderate_until,
           t.moderation_overdue, t.limited_until, t.needed_at, t.required, t.collect_until, t.reached_at,
           t.consider_until, t.consideration_overdue
    FROM projections.petitions t, projections.positions p
    WHERE p.name = 'petitions' AND t.submitted_position IS NOT NULL AND (
        t.state = 'submitted' AND t.moderate_until <= %(now)s AND t.moderation_overdue IS NULL
        OR t.state = 'limited' AND (t.needed_at IS NOT NULL OR t.limited_until <= %(now)s)
        OR t.state = 'collecting' AND (t.reached_at IS NOT NULL OR t.collect_until <= %(now)s)
        OR t.state = 'considered' AND t.consider_until <= %(now)s AND t.consideration_overdue IS NULL)
    ORDER BY t.position
    LIMIT 1000"""


class Steward:
    """Declares what is due. Belongs to the event loop of its ledger."""

    def __init__(
        self, ledger: Ledger, url: str, *, interval: float = 5.0, erase_expired: bool = False
    ) -> None:
        """``interval``: seconds between looks without a notification."""
        self._ledger = ledger
        self._url = url
        self._interval = interval
        self._declared: dict[str, int] = {}
        """Stream → position of our last event, which the projection may not know yet."""
        self._tidied: datetime | None = None
        self._erases = erase_expired
        self._erased: datetime | None = None
        """When nothing was due last; None: there may be more."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run beside the block."""
        task = asyncio.create_task(self.run(), name="clock")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, FatalError):
                await task

    async def run(self) -> None:
        """For ever; outlives the database's restarts. Raises only :class:`FatalError`."""
        while True:
            try:
                connection = await connect_async(self._url, application_name="aiqyn clock", autocommit=True)
                async with connection:
                    # Whatever was restored from before an erasure, the log is obeyed again.
                    await Eraser(self._ledger, connection).again()
                    await connection.execute(f"LISTEN {CHANNEL}")
                    while True:
                        await self.catch_up(connection)
                        await asyncio.sleep(PAUSE_SECONDS)
                        async for _ in connection.notifies(timeout=self._interval, stop_after=1):
                            pass
            except (psycopg.Error, DatabaseUnavailableError, OSError) as error:
                log.warning("the clock waits for the database: %s", type(error).__name__)
                await asyncio.sleep(BACKOFF_SECONDS)

    async def catch_up(self, connection: AsyncConnection[Any]) -> int:
        """Declare everything that is due now; returns how many events that were."""
        now = self._ledger.now()
        async with connection.cursor(row_factory=class_row(_Due)) as cursor:
            await cursor.execute(_DUE, {"now": now}, prepare=True)
            petitions = await cursor.fetchall()
        appeals = await due_for_clock(connection, now)
        if petitions or appeals:
            await self._ledger.refresh()
        due: list[tuple[str, int, Callable[[], _What | None]]] = [
            *((p.stream, p.as_of, partial(self._due, p, now)) for p in petitions),
            *((a.stream, a.as_of, partial(_passed, a)) for a in appeals),
        ]
        at_once = asyncio.Semaphore(AT_ONCE)

        async def declare(stream: str, as_of: int, what: Callable[[], _What | None]) -> bool:
            if self._declared.get(stream, -1) > as_of:
                return False
            self._declared.pop(stream, None)
            async with at_once:
                return await self._declare(stream, what)

        declared = sum(await asyncio.gather(*(declare(*one) for one in due)))
        await self._tidy(connection, now)
        if self._erases and (self._erased is None or now - self._erased >= timedelta(seconds=TIDY_SECONDS)):
            await self._erase(connection, now)
        return declared

    async def _erase(self, connection: AsyncConnection[Any], now: datetime) -> None:
        """What is over its term, and what waits to be erased among it."""
        eraser = Eraser(self._ledger, connection)
        wishes = [*await expired(connection, now, limit=ERASED_AT_ONCE), *await eraser.waiting()]
        try:
            plan = await eraser.plan(wishes)
            done = await eraser.erase(plan)
        except FatalError:
            raise
        except AiqynError as error:
            log.warning("not erased, to be tried again: %s", error.code)
            done = 0
        if done:
            log.info("%d erasures of what is over its term, or was asked for", done)
        else:
            self._erased = now

    async def _tidy(self, connection: AsyncConnection[Any], now: datetime) -> None:
        if self._tidied is None or now - self._tidied >= timedelta(seconds=TIDY_SECONDS):
            query = "DELETE FROM ledger.attachments WHERE position IS NULL AND uploaded_at < %s"
            await connection.execute(query, [now - timedelta(seconds=KEPT_SECONDS)])
            self._tidied = now

    async def _declare(self, stream: str, what: Callable[[], _What | None]) -> bool:
        try:
            found = what()
            if found is None:
                return False
            facts, quiet = found
            recorded = await self._ledger.declare(stream, facts, quiet=quiet)
        except FatalError:
            raise
        except (StreamConflictError, NotAllowedError, NotFoundError) as lost:
            # Somebody was faster, or signed meanwhile: the projection will show what is due then.
            log.debug("not declared for %s: %s", stream, lost.code)
            return False
        except NoTermError as missing:
            log.error("%s waits: %s", stream, missing)
            return False
        except AiqynError as error:
            log.warning("not declared for %s, to be tried again: %s", stream, error.code)
            return False
        self._declared[stream] = recorded.position
        log.info("%s: %s at position %d", stream, facts.type, recorded.position)
        return True

    def _due(self, petition: _Due, now: datetime) -> _What | None:
        unsigned_since = Quiet(f"signature/{petition.id}/", petition.as_of)
        match petition.state:
            case "submitted":
                return events.PetitionOverdue(step="moderation", due=petition.moderate_until), None
            case "considered" if petition.consider_until is not None:
                return events.PetitionOverdue(step="consideration", due=petition.consider_until), None
            case "limited" if petition.needed_at is not None:
                return self._publication(petition, now), None
            case "limited":
                return events.PetitionLapsed(count=petition.count, as_of=petition.as_of), unsigned_since
            case "collecting" if petition.required is not None:
                required = petition.required
                if petition.reached_at is not None:
                    return events.PetitionSupported(required=required, reached_at=petition.reached_at), None
                count, as_of = petition.count, petition.as_of
                return events.PetitionNotSupported(
                    count=count, required=required, as_of=as_of
                ), unsigned_since
            case _:
                return None

    def _publication(self, petition: _Due, now: datetime) -> Fact:
        body = require_body(self._ledger.directory, petition.body, "petition")
        required, population = terms.threshold(body, now)
        return events.PetitionPublished(
            required=required, population=population, collect_until=terms.collect_until(now)
        )


def _passed(term: Due) -> _What:
    return term.facts(), None
