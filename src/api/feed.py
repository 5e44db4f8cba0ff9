"""The feed: every entry by its position, as server-sent events (WHATWG HTML, section 9.2), resumable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response, StreamingResponse

from api import examples
from api.follower import Follower
from api.openapi import describe
from api.parameters import MAX_POSITION, decimal
from api.problems import RequestError
from api.service import service_of
from ledger.errors import AiqynError

router = APIRouter(tags=["log"])

HEARTBEAT_SECONDS = 15.0
MAX_CLIENTS = 2000
"""Of one process. Each holds a connection, no query and no buffer while it waits."""


class FeedFullError(AiqynError):
    """This process has as many followers as it takes; another one, or a later try, may have room."""

    code = "feed-full"
    title = "The feed has no room now"


After = Annotated[
    int | None,
    BeforeValidator(decimal),
    Query(ge=0, le=MAX_POSITION, description="Begin behind this position; without it: at the first entry."),
]


@router.get(
    "/v1/feed",
    **describe(
        "Follow all events by position",
        """Server-sent events: `id` is the position, `data` a JSON object with the entry and its public
        disclosures. A reconnecting client sends `Last-Event-ID` (browsers do so by themselves) and misses
        nothing; without it, `after` says where to begin. Comments keep a quiet connection open.""",
        media_type="text/event-stream",
        example=examples.FEED,
        errors=[RequestError, FeedFullError],
        parameters=[
            {
                "name": "Last-Event-ID",
                "in": "header",
                "schema": {"type": "integer", "minimum": 0},
                "description": "Position of the last event that was received.",
            }
        ],
    ),
)
async def feed(request: Request, after: After = None) -> Response:
    """Stream from the position behind the last one that the client knows."""
    service = service_of(request)
    start = _start(request, after)
    if service.follower.clients >= MAX_CLIENTS:
        raise FeedFullError("Too many clients follow the feed here: try again later, or read /log/ instead.")
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    events = _events(service.follower, start, HEARTBEAT_SECONDS)
    return StreamingResponse(events, headers=headers, media_type="text/event-stream")


def _start(request: Request, after: int | None) -> int:
    last = request.headers.get("last-event-id")
    if last is None or last == "":
        return 0 if after is None else after + 1
    try:
        known = int(str(decimal(last)))
    except ValueError:
        raise RequestError("Last-Event-ID is the position of an event: decimal digits.") from None
    return min(known, MAX_POSITION) + 1


async def _events(follower: Follower, start: int, heartbeat: float) -> AsyncIterator[bytes]:
    encoder = msgspec.json.Encoder()
    with follower.client():
        yield b": the entries of this log, by position\nretry: 2000\n\n"
        while True:
            # Page by page, each sent before the next is read: a slow client costs one page of memory.
            for entry in await follower.page(start):
                yield b"id: %d\ndata: %b\n\n" % (entry.position, encoder.encode(entry))
                start = entry.position + 1
            if not await follower.wait(start, heartbeat):
                return
            if not follower.has(start):
                yield b": nothing new\n\n"
