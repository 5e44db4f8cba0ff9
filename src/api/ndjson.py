"""Many commands in one request: a JSON object in each line, answered line by line (``application/x-ndjson``).

A line that cannot be read or is refused gets a problem of its own; the others go on. Several lines are at
work at once, so that they share the groups of the sequencer; answers keep the order of the lines.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Any

import msgspec

from api.codec import NEVER
from api.problems import InternalError, RequestError, problem, status_of
from api.streaming import Held
from ledger.errors import AiqynError

log = logging.getLogger(__name__)

NDJSON = "application/x-ndjson"
MAX_LINES = 10_000
MAX_LINE_BYTES = 1_048_576
AT_ONCE = 64
"""Lines of one request at work at the same time."""
_LINE = re.compile(rb"[ \t\r\n]*+([^\n]+)")
"""Blank lines are passed over in one go: a body of nothing else would hold the event loop up for seconds."""

Work = Callable[[bytes], Awaitable[dict[str, Any]]]
"""What one line brings about: the members of its answer beside ``line``."""

_encoder = msgspec.json.Encoder(enc_hook=str)


def answers(body: bytes, work: Work, done: Callable[[], None]) -> Held:
    """The answer to a body of lines."""
    headers = {"cache-control": NEVER, "x-accel-buffering": "no"}
    return Held(_in_order(body, work), done, headers=headers, media_type=NDJSON)


def lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and content of each line that is not blank."""
    start, number = 0, 1
    while (found := _LINE.match(body, start)) is not None:
        number += body.count(b"\n", start, found.start(1))
        yield number, found[1].rstrip(b" \t\r")
        start = found.end()


async def _in_order(body: bytes, work: Work) -> AsyncIterator[bytes]:
    running: deque[asyncio.Task[bytes]] = deque()
    try:
        for count, (number, line) in enumerate(lines(body)):
            if count == MAX_LINES:
                refusal = RequestError(
                    f"At most {MAX_LINES} lines are read in one request: send this one and the rest again."
                )
                running.append(asyncio.create_task(_refuse(number, refusal)))
                break
            running.append(asyncio.create_task(_answer(number, line, work)))
            if len(running) >= AT_ONCE:
                yield await _next_answers(running)
        while running:
            yield await _next_answers(running)
    finally:
        # Nobody listens any more; what was appended already stays, and a repeat finds it.
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _next_answers(running: deque[asyncio.Task[bytes]]) -> bytes:
    known = [await running.popleft()]
    while running and running[0].done():
        known.append(running.popleft().result())
    return b"".join(known)


async def _answer(number: int, line: bytes, work: Work) -> bytes:
    try:
        if len(line) > MAX_LINE_BYTES:
            raise RequestError(f"A line has at most {MAX_LINE_BYTES} bytes; this one has {len(line)}.")
        return _encoder.encode({"line": number, **await work(line)}) + b"\n"
    except AiqynError as error:
        if status_of(error) == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("a line of a request failed: %s", error.code, exc_info=error)
        return await _refuse(number, error)
    except Exception:
        log.exception("a line of a request failed")
        return await _refuse(number, InternalError("unexpected"))


async def _refuse(number: int, error: AiqynError) -> bytes:
    document = problem(error)
    return _encoder.encode({"line": number, "status": document["status"], "problem": document}) + b"\n"
