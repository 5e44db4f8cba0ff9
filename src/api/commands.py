"""What organisations do: post an event, sealed with their own key or as plain JSON under a token."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import examples
from api.citizens import READING_ERRORS, record
from api.codec import JSON, decode, media_type
from api.idempotency import PreconditionError, command_id, expected_version
from api.openapi import describe
from api.problems import MediaTypeError, RequestError, status_of
from api.service import Service, authenticated, service_of
from api.shapes import EventRequest, RecordedDocument
from ledger.application import InvalidCommandError, NotFoundError, Recorded
from ledger.attachments import AttachmentRefusedError, AttachmentUnknownError
from ledger.context import UnknownBodyError
from ledger.domain.aggregate import NotAllowedError
from ledger.domain.appeal import AnotherBodysAppealError, HearingMissingError, TermPassedError, WrongTermError
from ledger.domain.petition import AnotherBodyError
from ledger.domain.terms import NoTermError
from ledger.domain.wording import UnreadableTextError
from ledger.errors import AiqynError, FatalError
from ledger.events import MalformedEventError, UnknownEventTypeError
from ledger.keys import UnauthorisedIssuerError
from ledger.statement import DisclosureMismatchError, SignatureInvalidError, open_event, split_presentation
from ledger.store.append import ClockSkewError, StreamConflictError

router = APIRouter(tags=["organisations"])

SD_JWT = "application/sd-jwt"
_STREAM = re.compile(rb'"stream"\s{0,9}:\s{0,9}"([a-z]{1,20}(?:/[A-Za-z0-9_-]{1,200}){1,5})"')
_DESCRIBED = describe(
    "Post an event",
    """Either plain JSON under a token (`Authorization: Bearer …`), which the gateway's key seals in the
    organisation's name; or `application/sd-jwt`: an event sealed with a key that the organisation registered,
    followed by its disclosures, `jwt~disclosure~…~`, without a token. `If-Match` names the version of the
    stream that the decision was taken on; the answer's `ETag` is the version behind it.""",
    status=201,
    gives=RecordedDocument,
    example=examples.REJECTED,
    takes={
        JSON: (EventRequest, examples.EVENT_REQUEST),
        SD_JWT: ({"type": "string"}, examples.SD_JWT),
    },
    conflict=True,
    secured=True,
    open_too=True,
    errors=[
        *READING_ERRORS, PreconditionError, UnauthorisedIssuerError,
        AnotherBodyError, AnotherBodysAppealError, NotAllowedError, HearingMissingError, TermPassedError,
        WrongTermError, StreamConflictError, AttachmentRefusedError, AttachmentUnknownError,
        InvalidCommandError, NoTermError, NotFoundError, UnknownBodyError, UnreadableTextError,
        MalformedEventError, UnknownEventTypeError, SignatureInvalidError, DisclosureMismatchError,
        ClockSkewError,
    ],
)  # fmt: skip


@router.post("/v1/events", **_DESCRIBED)
async def post_event(request: Request) -> Response:
    """Record what an organisation says."""
    match media_type(request):
        case "application/json":
            return await _tell(request)
        case "application/sd-jwt":
            return await _post(request)
        case _:
            raise MediaTypeError(f"Send the event as {JSON} or as {SD_JWT}.")


async def _tell(request: Request) -> Response:
    service, organisation = await authenticated(request)
    body = await request.body()
    try:
        asked = decode(body, EventRequest)
    except RequestError as error:
        await explain(service, named_stream(body), error)
        raise
    command = command_id(request, body, organisation)
    work = service.ledger.tell(
        organisation,
        asked.stream,
        asked.type,
        asked.data,
        asked.disclosures,
        expected=expected_version(request),
        command=command,
    )
    return await record(service, command, explained(service, asked.stream, work))


async def _post(request: Request) -> Response:
    service = service_of(request)
    body = await request.body()
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        raise MalformedEventError("An event is ASCII text: jwt~disclosure~…~.") from None
    # Whose key it is stands in the event; that the event is theirs is checked before anything is recorded.
    sealed = open_event(split_presentation(text)[0])
    command = command_id(request, body, f"sealed {sealed.iss}"[:255])
    work = service.ledger.post(text, expected=expected_version(request), command=command)
    return await record(service, command, explained(service, sealed.stream, work))


async def explained(service: Service, stream: str, work: Awaitable[Recorded]) -> Recorded:
    """What ``work`` records; a refusal also tells where the stream stands and what can happen to it next."""
    try:
        return await work
    except AiqynError as error:
        await explain(service, stream, error)
        raise


async def explain(service: Service, stream: str | None, error: AiqynError) -> None:
    """Let a refusal say where ``stream`` stands and what can happen to it next."""
    if (
        stream is None
        or isinstance(error, FatalError)
        or status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        return
    with contextlib.suppress(AiqynError):
        aggregate = await service.ledger.load(stream)
        error.details.setdefault("state", aggregate.state)
        error.details.setdefault("version", aggregate.version)
        error.details.setdefault("allowed", aggregate.allowed())


def named_stream(body: bytes) -> str | None:
    """The stream that a command names which cannot be read as one, if it names one."""
    found = _STREAM.search(body)
    return found[1].decode("ascii") if found else None
