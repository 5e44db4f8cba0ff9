"""How a story is told: each step goes through the real command line and HTTP, and holds or ends the story."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from rich.console import Console
from rich.padding import Padding

from cli.local import LocalService
from ledger.eds.authority import Identity


class StoryError(Exception):
    """A step did not hold."""


class Story:
    """Tells and acts over one service."""

    def __init__(self, console: Console, service: LocalService) -> None:
        self._console = console
        self._service = service
        self._url = service.url
        self._http = httpx.Client(base_url=service.url, timeout=30)

    @contextmanager
    def _step(self, text: str) -> Iterator[None]:
        started = time.monotonic()
        with self._console.status(text):
            yield
        self._console.print(f"[green]✓[/] {text} [dim]({time.monotonic() - started:.1f} s)[/]")

    def _note(self, text: str) -> None:
        self._console.print(Padding(text, (0, 0, 0, 3)))

    @staticmethod
    def _require(held: bool, what: str) -> None:
        if not held:
            raise StoryError(f"it should be that {what}.")

    def _call(self, method: str, path: str, *, expect: int = 200, **options: Any) -> httpx.Response:  # noqa: ANN401
        answer = self._http.request(method, path, **options)
        if answer.status_code != expect:
            raise StoryError(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer

    @staticmethod
    def _signed(identity: Identity, statement: bytes) -> str:
        return base64.b64encode(identity.sign(statement)).decode("ascii")
