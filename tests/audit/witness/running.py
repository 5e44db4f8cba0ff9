"""Witnesses that really run: the command in processes of their own, spoken to over HTTP."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from typer.testing import CliRunner

from cli.witness import witness
from ledger.errors import AiqynError

SRC = Path(__file__).resolve().parents[3] / "src"
NAME = "council.example/w1"


def aiqyn(*args: object, status: int = 0) -> str:
    """Run ``aiqyn witness …`` in this process, which is quicker; what it printed."""
    done = CliRunner().invoke(witness, [str(arg) for arg in args])
    said = done.output
    if isinstance(done.exception, AiqynError):
        said += str(done.exception)
    elif done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, said
    return said


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("AIQYN_")} | {"PYTHONPATH": str(SRC)}


class Running:
    """One ``aiqyn witness serve``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "witness", "serve", str(folder), "--port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        line = self.process.stdout.readline()
        found = re.search(r"serves at (http://\S+)", line)
        assert found, line + self.process.stderr.read()
        self.url = found[1]
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def add(self, body: bytes) -> httpx.Response:
        return self.http.post("/add-checkpoint", content=body)

    def checkpoint(self, origin_hash: str) -> httpx.Response:
        return self.http.get(f"/{origin_hash}/checkpoint")

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.http.base_url.port), timeout=30)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End it; what it said on standard error."""
        self.http.close()
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=30)
        return said


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    witness = Running(folder)
    try:
        yield witness
    finally:
        if witness.process.poll() is None:
            witness.stop()
