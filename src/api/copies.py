"""The same interface over a mirror's copy: what is read there is read here, and nothing can be written."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.follower import Follower
from api.metrics import Metrics
from api.problems import RequestError
from api.service import Service, reading_pool, service_of
from ledger.application import NotFoundError
from ledger.config import Settings
from ledger.errors import FatalError
from ledger.statement import open_event
from ledger.store.reader import LogReader
from ledger.tlog.note import VerifierKey
from ledger.tlog.proof import TlogProof

if TYPE_CHECKING:
    from ledger.application import Ledger


class ReadOnlyCopyError(RequestError):
    """This is a copy of a ledger: it can be read and not written. The original takes the request."""

    code = "read-only-copy"
    title = "This is a read-only copy"


@dataclass(frozen=True)
class CopyParts:
    """What the interface over a copy is made of: no key that signs anything."""

    settings: Settings
    url: str
    """Connects as the service's role."""
    original: str
    """Where the ledger is that this is a copy of."""
    log_key: VerifierKey
    more_keys: tuple[VerifierKey, ...] = ()

    @asynccontextmanager
    async def open(self, metrics: Metrics) -> AsyncIterator[Service]:
        """A service that reads."""
        async with AsyncExitStack() as stack:
            ledger = CopiedLedger(self)
            stack.push_async_callback(asyncio.to_thread, ledger.reader.close)
            pool = await stack.enter_async_context(reading_pool(self.settings, self.url))
            follower = Follower(self.url, pool)
            await stack.enter_async_context(follower.running())
            nobody: Any = None  # behind no route that a copy has
            yield Service(
                settings=self.settings,
                ledger=cast("Ledger", ledger),
                desk=nobody,
                appeals=nobody,
                evidence=nobody,
                pool=pool,
                follower=follower,
                metrics=metrics,
                ledger_url=self.url,
                mirror_of=self.original,
            )


class _Verifies(NamedTuple):
    verifier: VerifierKey


class _PublicKeys(NamedTuple):
    log: _Verifies
    more_log_keys: tuple[_Verifies, ...]


class _NoSequencer(NamedTuple):
    fatal: FatalError | None = None
    waiting: int = 0


class CopiedLedger:
    """What routes that read ask of a ledger."""

    def __init__(self, parts: CopyParts) -> None:
        self.reader = LogReader(parts.url, pool_size=4)
        self.keys = _PublicKeys(_Verifies(parts.log_key), tuple(map(_Verifies, parts.more_keys)))
        self.sequencer = _NoSequencer()
        self.clock: Callable[[], float] = time.time
        self._operator: str | None = None

    @property
    def operator(self) -> str:
        """The operator's stream: the first entry's. Raises :class:`NotFoundError` before there is one."""
        if self._operator is None:
            first = self.reader.entries(0, 1)
            if not first:
                raise NotFoundError("Nothing was copied yet.")
            self._operator = open_event(first[0][1]).stream
        return self._operator

    def countersigned(self, note: bytes) -> bytes:
        """A checkpoint as it was copied: with the signatures that it had."""
        return note

    async def proof(self, position: int) -> TlogProof:
        """That an entry is in the log."""
        return await asyncio.to_thread(self.reader.proof, position)

    def now(self) -> datetime:
        """To the second."""
        return datetime.fromtimestamp(int(self.clock()), UTC)


def refusal(path: str) -> Route:
    """A route of the original that a copy does not have."""
    return Route(path, _refuse, methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)


async def _refuse(request: Request) -> Response:
    original = service_of(request).mirror_of
    raise ReadOnlyCopyError(
        f"This is a read-only copy of {original}: send the request there.", original=original
    )


def serve(parts: CopyParts, listening: socket.socket) -> None:
    """The life of a process that serves a copy."""
    from api.app import create_app
    from api.process import make_server, set_up_logging, watch_parent

    watch_parent()
    set_up_logging(parts.settings)
    server = make_server(create_app(parts))
    server.run(sockets=[listening])
    sys.exit(0 if server.started else 3)


class Answers:
    """Asks the interface over a copy within this process, without a socket."""

    def __init__(self, parts: CopyParts) -> None:
        self._parts = parts
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="answers", daemon=True)
        self._stack = AsyncExitStack()
        self._client: httpx.AsyncClient

    def __enter__(self) -> Self:
        """Open the application."""
        self._thread.start()
        self._wait_for(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._wait_for(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __call__(self, path: str) -> bytes | None:
        """What is answered to a path; None where there is nothing."""
        answer: httpx.Response = self._wait_for(self._get(path))
        if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            return None
        answer.raise_for_status()
        return answer.content

    async def _open(self) -> None:
        from api.app import create_app

        app = create_app(self._parts)
        await self._stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app=app)
        self._client = await self._stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://copy.invalid", timeout=300)
        )

    async def _get(self, path: str) -> httpx.Response:
        return await self._client.get(f"/{path}")

    def _wait_for(self, work: Any) -> Any:  # noqa: ANN401 - what the coroutine gives
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
