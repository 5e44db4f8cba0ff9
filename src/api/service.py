"""What one process of the service holds open: the ledger, a pool for reading, the follower of the log."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from psycopg import AsyncConnection, IsolationLevel
from psycopg_pool import AsyncConnectionPool
from starlette.requests import Request

from api.clock import Steward
from api.committing import Committer
from api.follower import Follower
from api.metrics import Metrics
from api.tokens import organisation_of
from api.trust import load_trust
from api.waiting import Waiting
from api.webhooks.dispatcher import Dispatcher
from api.witnessing import Collector, load_policy
from ledger.appeals import AppealsDesk
from ledger.application import Ledger
from ledger.citizens import CitizensDesk
from ledger.config import Settings
from ledger.eds.certificates import TrustStore
from ledger.eds.verifier import Verifier
from ledger.evidence import EvidenceDesk
from ledger.operator import OperatorKeys
from ledger.store.database import connect_async, conninfo
from ledger.store.high_water import HighWater
from ledger.store.vault import Vault
from ledger.tlog.policy import Policy
from projections.oversight import KeptYears
from projections.runner import Runner

log = logging.getLogger(__name__)

HIGH_WATER = "high-water"
"""Name of the high-water mark's file in the home folder."""


@dataclass(frozen=True)
class Parts:
    """What a service is made of; :meth:`load` takes it from the settings."""

    settings: Settings
    url: str
    """Connects as the service's role."""
    keys: OperatorKeys
    trust: TrustStore
    policy: Policy | None = None
    """Who has to cosign checkpoints."""
    clock: Callable[[], float] = time.time
    """Seconds since 1970."""
    background: bool = False
    """Fold the projections and run the clock in this process too, for tests and the smallest installation."""
    steward_seconds: float = 5.0

    @classmethod
    def load(cls, settings: Settings, url: str, *, background: bool = False) -> Self:
        """Keys, trusted roots and the witnesses' policy from the home folder.

        Raises ``KeysError``, ``TrustError`` or ``PolicyError``.
        """
        keys = OperatorKeys.load(settings)
        policy = load_policy(settings.witness_policy, keys.log.verifier)
        return cls(settings, url, keys, load_trust(settings.trust_dir), policy, background=background)

    @property
    def high_water(self) -> HighWater:
        """The mark that all processes of this installation share."""
        return HighWater(Path(self.settings.home) / HIGH_WATER, self.keys.log.verifier)

    def ledger(self) -> Ledger:
        """A ledger that was not started yet."""
        return Ledger(
            self.url,
            self.keys,
            high_water=self.high_water,
            group_max=self.settings.group_max,
            skew=self.settings.clock_skew_seconds,
            clock=self.clock,
        )

    def collector(self, ledger: Ledger) -> AbstractAsyncContextManager[None]:
        """Collects cosignatures beside a block; does nothing where there is no policy."""
        if self.policy is None:
            return nullcontext()
        return Collector(
            self.url,
            self.keys.log_keys,
            self.policy,
            countersign=ledger.countersigned,
            interval=self.settings.witness_seconds,
            late=self.settings.witness_late_seconds,
            clock=self.clock,
        ).running()

    def committer(self, ledger: Ledger) -> Committer:
        """What commits the digests of the published tables."""
        return Committer(ledger, self.url, hours=self.settings.commit_digests_hours)

    def steward(self, ledger: Ledger) -> Steward:
        """What declares that time passed, in a started ledger."""
        return Steward(
            ledger,
            self.url,
            interval=self.steward_seconds,
            erase_expired=self.settings.erase_expired,
        )

    def dispatcher(self) -> Dispatcher:
        """What sends the messages of webhooks."""
        return Dispatcher(
            self.url,
            Vault(self.keys.vault),
            allow_private=self.settings.webhooks_allow_private,
            clock=self.clock,
        )


@dataclass
class Service:
    """The open parts of a running process."""

    settings: Settings
    ledger: Ledger
    desk: CitizensDesk
    appeals: AppealsDesk
    evidence: EvidenceDesk
    pool: AsyncConnectionPool[AsyncConnection[Any]]
    follower: Follower
    metrics: Metrics
    ledger_url: str
    policy: Policy | None = None
    steward: Steward | None = None
    mirror_of: str | None = None
    """Where the original is, if this is a read-only copy."""
    waiting: Waiting = field(init=False)
    figures: KeptYears = field(init=False, default_factory=KeptYears)

    def __post_init__(self) -> None:
        """Nobody waits yet."""
        self.waiting = Waiting(self.follower, self.pool)

    @classmethod
    @asynccontextmanager
    async def open(cls, parts: Parts, metrics: Metrics) -> AsyncIterator[Self]:
        """Start everything; on leaving, finish what is under way and close it."""
        async with AsyncExitStack() as stack:
            ledger = parts.ledger()
            stack.push_async_callback(ledger.stop)
            ledger.sequencer.on_group = metrics.groups.observe
            await ledger.start()
            pool = await stack.enter_async_context(reading_pool(parts.settings, parts.url))
            follower = Follower(parts.url, pool)
            await stack.enter_async_context(follower.running())
            steward = None
            if parts.background:
                steward = parts.steward(ledger)
                await stack.enter_async_context(folding(parts.url))
                await stack.enter_async_context(steward.running())
                await stack.enter_async_context(parts.dispatcher().running())
                await stack.enter_async_context(parts.collector(ledger))
                await stack.enter_async_context(parts.committer(ledger).running())
            verifier = Verifier(parts.trust)
            desk = CitizensDesk(ledger, verifier)
            follower.on_erased = desk.forget
            yield cls(
                parts.settings,
                ledger,
                desk,
                AppealsDesk(ledger, verifier),
                EvidenceDesk(ledger),
                pool,
                follower,
                metrics,
                parts.url,
                parts.policy,
                steward,
            )

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection of its own for what is not the ledger's: the pool's connections can only read."""
        connection = await connect_async(self.ledger_url, application_name="aiqyn writes", autocommit=True)
        async with connection:
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection on which several queries see the same moment, so that their numbers add up."""
        async with self.pool.connection() as connection, connection.transaction():
            yield connection


def reading_pool(settings: Settings, url: str) -> AsyncConnectionPool[AsyncConnection[Any]]:
    """Connections that can only read."""

    async def configure(connection: AsyncConnection[Any]) -> None:
        await connection.set_read_only(True)
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)

    return AsyncConnectionPool(
        conninfo(url, application_name="aiqyn queries"),
        min_size=settings.pool_min,
        max_size=settings.pool_max,
        timeout=5.0,
        kwargs={"autocommit": True},
        configure=configure,
        check=AsyncConnectionPool.check_connection if settings.database_url else None,
        open=False,
    )


@asynccontextmanager
async def folding(url: str) -> AsyncIterator[None]:
    """The projections' runner in a thread of this process."""
    stop = threading.Event()
    thread = threading.Thread(target=Runner(url).run, args=(stop,), name="projections", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)


def service_of(request: Request) -> Service:
    """The service that answers this request."""
    service: Service = request.app.state.service
    return service


async def authenticated(request: Request) -> tuple[Service, str]:
    """The service, and the organisation whose token this is. Raises what ``organisation_of`` raises."""
    service = service_of(request)
    async with service.pool.connection() as connection:
        return service, await organisation_of(connection, request)
