"""Many events of an organisation in one request, each judged by itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from api import ndjson
from api.appeal_examples import BULK_ANSWER, BULK_REQUEST
from api.citizens import READING_ERRORS
from api.codec import decode, media_type
from api.commands import explain, explained, named_stream
from api.openapi import IDEMPOTENCY_KEY, describe
from api.problems import MediaTypeError, RequestError
from api.service import Service, authenticated
from api.streaming import Slots
from ledger.application import Recorded
from ledger.errors import AiqynError
from ledger.events import Stream
from ledger.statement import open_event, split_presentation
from ledger.store.append import CommandId

PATH = "/v1/events/bulk"
MAX_REQUESTS = 4
"""Of one process, each with up to :data:`~api.ndjson.MAX_LINES` lines in memory."""

router = APIRouter(tags=["organisations"])


class BulkFullError(AiqynError):
    """This process is at work on as many bulk requests as it takes; a later try may have room."""

    code = "bulk-full"
    title = "There is no room for another bulk request now"


class BulkLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One event: in plain JSON, or sealed with a key of the organisation's own."""

    stream: Stream | None = None
    type: str | None = None
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    disclosures: dict[str, Any] = msgspec.field(default_factory=dict)
    event: str | None = None
    """Instead of the four above: ``jwt~disclosure~…~``."""
    expected: Annotated[int, Meta(ge=0)] | None = None
    """The version of the stream that the decision was taken on, as ``If-Match`` says it."""
    key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_:.\-]{1,255}\Z")] | None = None
    """The line's idempotency key."""


_slots = Slots(MAX_REQUESTS, lambda: BulkFullError("Too many bulk requests at once: repeat it later."))


_DESCRIBED = describe(
    "Post many events",
    f"""Up to {ndjson.MAX_LINES} lines, each a JSON object as `POST /v1/events` takes it, with the version
    `expected` and an idempotency `key` of its own; or with `event`, an event sealed with the
    organisation's own key. Lines about the same stream are taken in order, others side by side. Each line
    has its answer, in order: `201` with what was recorded, or its own problem, which names what is
    allowed next. A line that is refused changes nothing, and the others go on.""",
    gives={"type": "string"},
    media_type=ndjson.NDJSON,
    example=BULK_ANSWER,
    takes={ndjson.NDJSON: (BulkLine, BULK_REQUEST)},
    errors=[*READING_ERRORS, BulkFullError],
    secured=True,
)
_DESCRIBED["openapi_extra"]["parameters"] = [
    {**IDEMPOTENCY_KEY, "description": "Not looked at: each line has a `key` of its own."}
]


@router.post(PATH, **_DESCRIBED)
async def post_bulk(request: Request) -> Response:
    """Record line by line."""
    if media_type(request) != ndjson.NDJSON:
        raise MediaTypeError(f"Send the lines as {ndjson.NDJSON}.")
    service, organisation = await authenticated(request)
    with _slots.taken():
        body = await request.body()
    return ndjson.answers(body, _Lines(service, organisation).record, _slots.give_back)


class _Lines:
    """The lines of one request."""

    def __init__(self, service: Service, organisation: str) -> None:
        self._service = service
        self._organisation = organisation
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def record(self, line: bytes) -> dict[str, Any]:
        """What one line brought about."""
        try:
            stream, command, work = self._read(line)
        except AiqynError as error:
            await explain(self._service, named_stream(line), error)
            raise
        async with self._turns[stream]:
            recorded = await explained(self._service, stream, self._service.ledger.once(command, work()))
        event = recorded.event
        return {
            "status": 201,
            "position": recorded.position,
            "stream": event.stream,
            "version": event.n,
            "type": event.facts.type,
            "time": event.at,
            "replayed": recorded.appended.repeated,
        }

    def _read(self, line: bytes) -> tuple[str, CommandId | None, Callable[[], Awaitable[Recorded]]]:
        """What a line is about, its identity, and what is to be done."""
        asked = decode(line, BulkLine)
        ledger = self._service.ledger
        command = None
        if asked.key is not None:
            digest = ledger.vault.request(hashlib.sha256(line).digest())
            command = CommandId(self._organisation, asked.key, digest)
        if asked.event is not None:
            if asked.stream is not None or asked.type is not None or asked.data or asked.disclosures:
                raise RequestError("A line has an event that is sealed, or a stream with a type; not both.")
            sealed = open_event(split_presentation(asked.event)[0])
            if sealed.iss != self._organisation:
                raise RequestError(f"The token is that of {self._organisation}; the event is {sealed.iss}'s.")
            post = partial(ledger.post, asked.event, expected=asked.expected, command=command)
            return sealed.stream, command, post
        if asked.stream is None or asked.type is None:
            raise RequestError("A line has a stream and a type, or an event that is sealed.")
        tell = partial(
            ledger.tell, self._organisation, asked.stream, asked.type, asked.data, asked.disclosures,
            expected=asked.expected, command=command,
        )  # fmt: skip
        return asked.stream, command, tell
