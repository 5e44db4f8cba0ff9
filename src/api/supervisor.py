"""The parent process of the service: opens the port, starts the others, starts again what dies.

It holds the share in the embedded database, so that this outlives every worker.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from types import FrameType

from api.process import GRACE_SECONDS, serve, work_in_background
from ledger.config import Settings
from ledger.errors import AiqynError

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_SETTLED_SECONDS = 30.0
"""A process that lived this long is not failing at its start."""
_BACKLOG = 2048


class ServiceFailedError(AiqynError):
    """The service could not start or had to stop."""

    code = "service-failed"
    title = "The service does not run"


@dataclass
class _Child:
    name: str
    start: Callable[[], SpawnProcess]
    process: SpawnProcess | None = None
    started: float = 0.0
    pause: float = _FIRST_PAUSE
    due: float = 0.0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises :class:`ServiceFailedError`."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ServiceFailedError(f"{host} port {port} cannot be listened on: {error.strerror}.") from error


class Supervisor:
    """Runs ``workers`` processes that serve one socket, and one that works in the background."""

    def __init__(self, settings: Settings, url: str, listening: socket.socket) -> None:
        context = multiprocessing.get_context("spawn")

        def worker() -> SpawnProcess:
            return context.Process(target=serve, args=(settings, url, listening), name="worker")

        def background() -> SpawnProcess:
            return context.Process(target=work_in_background, args=(settings, url), name="background")

        self._children = [_Child(f"worker {number + 1}", worker) for number in range(settings.workers)]
        self._children.append(_Child("background", background))
        self._stopping = False
        self._metrics = tempfile.mkdtemp(prefix="aiqyn-metrics-") if settings.workers > 1 else None

    def run(self) -> None:
        """Until SIGTERM or SIGINT; then everything under way is finished."""
        if self._metrics is not None:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = self._metrics
        before = {
            number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            while not self._stopping:
                self._start_due()
                self._wait()
                self._notice_ends()
            self._stop_all()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for child in self._children:
                if child.process is not None and child.process.is_alive():
                    child.process.kill()
            if self._metrics is not None:
                shutil.rmtree(self._metrics, ignore_errors=True)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is None and child.due <= now:
                child.process = child.start()
                child.process.start()
                child.started = now

    def _wait(self) -> None:
        sentinels = [child.process.sentinel for child in self._children if child.process is not None]
        if sentinels:
            multiprocessing.connection.wait(sentinels, timeout=0.5)
        else:
            time.sleep(0.1)

    def _notice_ends(self) -> None:
        for child in self._children:
            if child.process is None or child.process.is_alive():
                continue
            status = child.process.exitcode
            lived = time.monotonic() - child.started
            child.process = None
            if self._stopping:
                continue
            child.pause = _FIRST_PAUSE if lived > _SETTLED_SECONDS else min(child.pause * 2, _LONGEST_PAUSE)
            child.due = time.monotonic() + child.pause
            log.error("%s ended with status %s; it starts again in %.1f s", child.name, status, child.pause)

    def _stop_all(self) -> None:
        # The workers first, so that what they still append is folded.
        *workers, background = self._children
        for group in (workers, [background]):
            for child in group:
                if child.process is not None and child.process.is_alive():
                    child.process.terminate()
            deadline = time.monotonic() + GRACE_SECONDS + 5
            for child in group:
                if child.process is not None:
                    child.process.join(max(0.0, deadline - time.monotonic()))


def supervise(settings: Settings, url: str, *, ready: Callable[[int], None] = lambda port: None) -> None:
    """Serve until told to stop; ``ready`` is told the port as soon as connections are taken."""
    with closing(listen(settings.host, settings.port)) as listening:
        ready(listening.getsockname()[1])
        Supervisor(settings, url, listening).run()
