"""How a story is told: each step goes through the real command line and HTTP, and holds or ends the story."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from rich.console import Console
from rich.padding import Padding

from audit import auditor
from audit.report import Report
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
        self._tokens: dict[str, str] = {}
        """Of organisations."""

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

    def _bearer(self, organisation: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens[organisation]}"}

    def _post_event(
        self,
        organisation: str,
        stream: str,
        type_: str,
        data: Mapping[str, Any] | None = None,
        disclosures: Mapping[str, str] | None = None,
        *,
        expect: int = 201,
    ) -> httpx.Response:
        """An organisation says what happened, under its token."""
        return self._call(
            "POST", "/v1/events", expect=expect,
            headers={**self._bearer(organisation), "Idempotency-Key": str(uuid.uuid4())},
            json={"stream": stream, "type": type_, "data": data or {}, "disclosures": disclosures or {}},
        )  # fmt: skip

    def _audit(self) -> Report:
        """Read the whole log from outside; what is found ends the story."""
        key = self._call("GET", "/v1/log").json()["vkey"]
        report = auditor.run(self._url, log_key=key)
        for finding in report.findings:
            self._console.print(f"   [red]{finding}[/]")
        self._require(report.exit_code == 0, report.stopped or "the audit found nothing")
        return report

    def _look_around(self, addresses: Mapping[str, str]) -> None:
        """What is to be seen → its path."""
        self._console.print("Look around:")
        for what, path in addresses.items():
            self._console.print(f"  {what:<28}{self._url}{path}", soft_wrap=True)

    @staticmethod
    def _signed(identity: Identity, statement: bytes) -> str:
        return base64.b64encode(identity.sign(statement)).decode("ascii")
