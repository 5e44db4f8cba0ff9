"""What the processes of the service share: a worker that serves, and how each of them ends.

A process ends on SIGTERM or SIGINT, and when its parent is gone, however that went: nobody keeps a port
that nobody watches.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ledger.config import Settings
from ledger.errors import AiqynError

log = logging.getLogger(__name__)

GRACE_SECONDS = 10
MAX_HEAD_BYTES = 32_768
"""Of a request's line and headers together."""
REQUEST_SECONDS = 60
"""From a connection's, or a request's, first byte to the request's last."""
"""How long requests under way may take once the service stops."""


class _Lines(logging.Formatter):
    """One JSON object a line; only what our own code says, without arguments of exceptions' frames."""

    def format(self, record: logging.LogRecord) -> str:
        """As JSON."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.name == "api.access":
            line |= json.loads(record.getMessage())
        else:
            line["message"] = record.getMessage()
        if record.exc_info:
            line["trace"] = _trace(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def _trace(error: BaseException | None) -> list[str]:
    """Where each error of a chain came from; what it says only if it is ours, for a driver quotes values."""
    lines: list[str] = []
    while error is not None:
        said = f": {error}" if isinstance(error, AiqynError) else ""
        lines.append(f"{type(error).__name__}{said}")
        frames = traceback.extract_tb(error.__traceback__)
        lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        error = error.__cause__ or error.__context__
    return lines


def set_up_logging(settings: Settings) -> None:
    """To standard error, from ``log_level`` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # Its lines would hold addresses and URLs.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def stop_signal() -> asyncio.Event:
    """Set by SIGTERM and SIGINT; for the main thread's event loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def watch_parent() -> None:
    """Stop this process as soon as its parent is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


class Server(uvicorn.Server):
    """Ends the feeds before it waits for requests to end, because a feed never does."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop taking connections, finish the requests under way, stop."""
        app: Any = self.config.app
        service = getattr(app.state, "service", None)
        if service is not None:
            await service.follower.stop()
        await super().shutdown(sockets=sockets)


class BoundedProtocol(HttpToolsProtocol):
    """Bounds what a stranger may send before a request is whole, which uvicorn leaves to a proxy."""

    _head = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A request must follow."""
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing follows any more."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first bytes of a request."""
        self._head = 0
        self._expect_request()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._count(name + value)
        super().on_header(name, value)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._stop_timer()
        super().on_message_complete()

    def _count(self, part: bytes) -> None:
        self._head += len(part)
        if self._head > MAX_HEAD_BYTES:
            raise ValueError("the request's head is too long")  # uvicorn answers 400 and closes

    def _expect_request(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def make_server(app: Any) -> Server:  # noqa: ANN401 - an ASGI application
    """A server without lines of its own in the log."""
    return Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            loop="uvloop",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


def serve(settings: Settings, url: str, listening: socket.socket) -> None:
    """A worker's life."""
    watch_parent()
    set_up_logging(settings)
    from api.app import create_app
    from api.service import Parts

    server = make_server(create_app(Parts.load(settings, url)))
    spare_the_collector()
    server.run(sockets=[listening])
    # uvicorn answers a failed start by returning.
    sys.exit(0 if server.started else 3)


def spare_the_collector() -> None:
    """Let the garbage collector look at requests alone, and seldom.

    What start-up made stays for ever: it need not be walked through again and again under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def work_in_background(settings: Settings, url: str) -> None:
    """The life of the process that folds and keeps time."""
    watch_parent()
    set_up_logging(settings)
    from api import background
    from api.service import Parts

    asyncio.run(background.run(Parts.load(settings, url)))
