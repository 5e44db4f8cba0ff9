"""A service on this machine with a folder of its own: for the demo, journeys and measurements."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from api.app import create_app
from api.process import make_server
from api.service import Parts
from ledger.config import load
from ledger.eds.authority import Authority
from ledger.errors import AiqynError
from ledger.store.database import open_database

ORIGIN = "demo.aiqyn.localhost/log"


class LocalServiceError(AiqynError):
    """A command or the service itself did not do what it should."""

    code = "local-service"
    title = "The local service failed"


class LocalService:
    """A ledger below ``home``, made by `aiqyn init` and served by `aiqyn serve`, as a user would."""

    def __init__(
        self, home: Path, authority: Authority, *, port: int = 0, settings: Mapping[str, str] | None = None
    ) -> None:
        """``settings``: further ``AIQYN_…`` variables. ``port`` 0 takes a free one."""
        self.home = home
        self.port = port if port and _is_free(port) else _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "service.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIQYN_")},
            "AIQYN_HOME": str(home),
            "AIQYN_ORIGIN": ORIGIN,
            "AIQYN_PORT": str(self.port),
            "AIQYN_LOG_LEVEL": "warning",
            **(settings or {}),
        }
        authority.write_trust(home / "trust")

    def run(self, *arguments: str) -> str:
        """`aiqyn …`; what it printed. Raises :class:`LocalServiceError`."""
        done = subprocess.run(  # noqa: S603 - our own command
            [*_COMMAND, *arguments], env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise LocalServiceError(f"{' '.join(arguments[:2])}: {said.removeprefix('aiqyn: ')}")
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """The variables that its commands see."""
        return dict(self._environment)

    def init(self) -> None:
        """Make the operator and its keys."""
        self.run("init", "--name-kk", "Ашық тізілім", "--name-ru", "Открытый реестр")

    def start(self) -> None:
        """Start the service and wait until it is ready."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [*_COMMAND, "serve"], env=self._environment, stdout=output, stderr=output
            )
        for _ in range(600):
            if self.process.poll() is not None:
                said = self.log.read_text("utf-8", "replace")[-2000:]
                raise LocalServiceError(f"The service ended: {said}")
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise LocalServiceError(f"The service is not ready after 30 seconds; its log is {self.log}.")

    def stop(self) -> None:
        """End it as a system would: what is under way is finished."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """As a power cut would end it: at once (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        self.init()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class HurriedService(LocalService):
    """The same service in a thread of this process, so that its clock can be put forward: for stories.

    Nothing else differs: a month passes in seconds, and what time brings about comes by itself.
    """

    def __init__(self, home: Path, authority: Authority, *, port: int = 0) -> None:
        super().__init__(home, authority, port=port)
        self._ahead = 0.0
        self._stack = ExitStack()

    def now(self) -> datetime:
        """What the service's clock shows."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def put_forward(self, moment: datetime) -> None:
        """To a moment that lies ahead; an earlier one changes nothing."""
        self._ahead = max(self._ahead, moment.timestamp() - time.time())

    def _clock(self) -> float:
        return time.time() + self._ahead

    def start(self) -> None:
        """Start the service and wait until it is ready."""
        settings = load(self.environment).settings
        urls = self._stack.enter_context(closing(open_database(settings)))
        parts = replace(
            Parts.load(settings, urls.url, background=True), clock=self._clock, steward_seconds=0.2
        )
        server = make_server(create_app(parts))
        listening = self._stack.enter_context(socket.create_server(("127.0.0.1", self.port)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(setattr, server, "should_exit", True)
        for _ in range(600):
            if server.started:
                return
            if not thread.is_alive():
                break
            time.sleep(0.05)
        raise LocalServiceError("The service did not start.")

    def stop(self) -> None:
        """End it as a system would."""
        self._stack.close()


_COMMAND = [sys.executable, "-m", "cli.main"]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
