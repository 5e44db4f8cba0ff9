"""The service's side of an import: batches of cases over HTTP, repeated until each is answered.

Nothing is remembered here of what was sent. A case's stream follows from its register and number, so the
service itself knows what it has; a file of our own would be wrong just when it is needed: a power cut loses
either its last lines or the answers that they were to note.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from cli.register.cases import Case
from ledger.errors import AiqynError

PATH = "/v1/appeals/imports"
BATCH_CASES = 500
BATCH_BYTES = 4 * 2**20
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds between tries while the service does not answer."""
MAX_PAUSE = 60.0
"""Seconds that a service may ask to wait."""


class ImportStoppedError(AiqynError):
    """The import could not be finished. Run it again: what was recorded is found, the rest is sent."""

    code = "import-stopped"
    title = "The import could not be finished"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the service said to one case."""

    line: int
    status: int
    result: str | None = None
    problem: dict[str, Any] | None = None

    @property
    def is_final(self) -> bool:
        """Whether sending it again would bring the same."""
        return self.status < httpx.codes.INTERNAL_SERVER_ERROR

    @property
    def code(self) -> str:
        """Of the problem."""
        return str((self.problem or {}).get("type", "")).rpartition("/")[2]

    @property
    def reason(self) -> str:
        """Why the case was refused."""
        return str((self.problem or {}).get("detail", "The service did not say why."))


class ImportClient:
    """Sends in the name of the body whose token it has."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.Client(
            base_url=url,
            headers={"authorization": f"Bearer {token}", "content-type": "application/x-ndjson"},
            timeout=httpx.Timeout(30.0, read=120.0),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def send(self, cases: Iterable[Case], tell: Callable[[Case, Answer], None]) -> None:
        """Send a batch, and tell the final answer of each case, until all have one.

        Raises :class:`ImportStoppedError` where the service refuses the request, or does not answer for long.
        """
        left = dict(enumerate(cases))
        for pause in (*PAUSES, None):
            reason, asked = self._try(left, tell)
            if not left:
                return
            if pause is None:
                raise ImportStoppedError(f"{reason} Run the import again later: nothing is taken over twice.")
            time.sleep(max(pause, asked))
        raise AssertionError("unreachable")

    def _try(self, left: dict[int, Case], tell: Callable[[Case, Answer], None]) -> tuple[str, float]:
        """Send what is left, and take out what was answered.

        Returns why something may be left, and how many seconds the service asks to wait.
        """
        keys = list(left)
        reason = "The service did not answer every case."
        body = b"\n".join(left[key].content for key in keys)
        try:
            with self._client.stream("POST", PATH, content=body) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    return self._refused(response)
                for line in _lines(response):
                    answer = msgspec.json.decode(line, type=Answer)
                    if answer.is_final:
                        tell(left.pop(keys[answer.line - 1]), answer)
                    else:
                        reason = answer.reason
        except httpx.InvalidURL as error:
            raise ImportStoppedError(f"{error}: say where the service is as https://….") from error
        except httpx.TransportError as error:
            reason = f"{self._client.base_url} does not answer ({type(error).__name__})."
        except (msgspec.MsgspecError, LookupError) as error:
            raise ImportStoppedError(
                f"{self._client.base_url} does not answer as this program expects: is it an Aiqyn service of "
                "this version?"
            ) from error
        return reason, 0.0

    def _refused(self, response: httpx.Response) -> tuple[str, float]:
        detail = detail_of(response) or f"{self._client.base_url} answers {response.status_code}."
        if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
            raise ImportStoppedError(f"The service refuses the import: {detail}")
        asked = response.headers.get("retry-after", "")
        return detail, min(float(asked), MAX_PAUSE) if asked.isdecimal() else 0.0


def detail_of(response: httpx.Response) -> str | None:
    """What the problem document of an answer says; None where it has none."""
    try:
        return str(msgspec.json.decode(response.content, type=dict[str, Any])["detail"])
    except (msgspec.MsgspecError, LookupError):
        return None


def _lines(response: httpx.Response) -> Iterator[bytes]:
    rest = b""
    for piece in response.iter_bytes():
        *whole, rest = (rest + piece).split(b"\n")
        yield from filter(None, whole)


def batches(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """As many at a time as one request takes well."""
    batch: list[Case] = []
    size = 0
    for case in cases:
        if batch and (len(batch) == BATCH_CASES or size + len(case.content) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(case)
        size += len(case.content)
    if batch:
        yield batch
