"""What citizens do, without logging in: each act is a CMS over a statement that the service gives out."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Awaitable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api import examples
from api.codec import NEVER, answer, created, decode, require_json, respond
from api.idempotency import IdempotencyKeyError, command_id
from api.openapi import describe
from api.parameters import PetitionId
from api.problems import BodyTooLargeError, JsonInvalidError, MediaTypeError, RequestError
from api.service import Service, service_of
from api.shapes import (
    FilingRequest,
    RecordedDocument,
    StatementDocument,
    StatementRequest,
    WithdrawalRequest,
)
from ledger.application import NotFoundError, Recorded
from ledger.citizens import NotTheAuthorError, NotTheSignerError, SignerTooYoungError
from ledger.context import require_body
from ledger.domain import wording
from ledger.domain.aggregate import NotAllowedError
from ledger.domain.petition import PetitionClosedError
from ledger.eds import errors as eds
from ledger.errors import AiqynError
from ledger.events import Language
from ledger.store.append import CommandId, CommandReusedError, StreamConflictError

router = APIRouter(tags=["citizens"])

READING_ERRORS: tuple[type[AiqynError], ...] = (
    JsonInvalidError, RequestError, MediaTypeError, BodyTooLargeError, IdempotencyKeyError,
    CommandReusedError,
)  # fmt: skip
SIGNATURE_ERRORS: tuple[type[AiqynError], ...] = (
    eds.CmsMalformedError, eds.CmsTooLargeError, eds.SignerCountError, eds.StatementMismatchError,
    eds.DigestMismatchError, eds.SignedAttributesError, eds.SigningTimeError, eds.SignatureInvalidError,
    eds.AlgorithmNotSupportedError, eds.CertificateMissingError, eds.CertificateUntrustedError,
    eds.CertificateExpiredError, eds.CertificateNotYetValidError, eds.CertificateUsageError,
    eds.CertificateAuthenticationOnlyError, eds.CertificateNotAPersonError, eds.CertificateOfSystemError,
    eds.PersonUnreadableError,
)  # fmt: skip

Lang = Annotated[Language, Query(description="Language of the statement.")]
Act = Annotated[wording.Act, Query(description="What is signed.")]


@router.get(
    "/v1/petitions/{id}/statement",
    **describe(
        "Get the statement to sign",
        """The exact bytes to sign, in plain words: what is done, the petition's id, title, text hash and
        language. Sign them as they are, without a change of line ends; the CMS may carry them or not.""",
        media_type="text/plain",
        example=examples.STATEMENT,
        errors=[NotFoundError, PetitionClosedError, RequestError],
    ),
)
async def read_statement(
    request: Request,
    id: PetitionId,
    lang: Lang = "kk",
    act: Act = "sign",
) -> Response:
    """The statement of an act."""
    view = await service_of(request).desk.petition(id)
    # Whoever signs reads what is served now: a cache may not change a byte of it.
    cache = "public, max-age=60, no-transform"
    return respond(request, view.statement(act, lang), "text/plain; charset=utf-8", cache=cache)


@router.post(
    "/v1/petitions/statement",
    **describe(
        "Prepare a petition",
        """Checks the texts and the body addressed, and returns what the author signs to file it. Nothing is
        recorded; without `petition` a new id is made.""",
        gives=StatementDocument,
        example=examples.STATEMENT_DOCUMENT,
        takes={"application/json": (StatementRequest, examples.STATEMENT_REQUEST)},
        errors=[*READING_ERRORS, wording.UnreadableTextError, NotAllowedError],
    ),
)
async def prepare_petition(request: Request) -> Response:
    """The filing statement."""
    require_json(request)
    asked = decode(await request.body(), StatementRequest)
    petition = asked.petition or str(uuid.uuid4())
    wording.check_text(asked.title, asked.text)
    ledger = service_of(request).ledger
    await ledger.refresh()
    require_body(ledger.directory, asked.body, "petition")
    if not wording.is_petition_id(petition):
        raise RequestError("The petition's id is a lower-case UUID.")
    statement = wording.filing(petition, asked.body, asked.title, asked.text, asked.lang)
    encoded = base64.b64encode(statement).decode("ascii")
    return answer(request, StatementDocument(petition, statement.decode(), encoded), cache=NEVER)


@router.post(
    "/v1/petitions",
    **describe(
        "File a petition",
        """Takes the author's CMS over the filing statement of `POST /v1/petitions/statement`. The petition
        goes to moderation; the answer is its receipt.""",
        status=201,
        gives=RecordedDocument,
        example=examples.SUBMITTED,
        takes={"application/json": (FilingRequest, examples.FILING_REQUEST)},
        errors=[*READING_ERRORS, *SIGNATURE_ERRORS, wording.UnreadableTextError, NotAllowedError],
    ),
)
async def file_petition(request: Request) -> Response:
    """Record a submission."""
    service, body = await _read(request)
    asked = decode(body, FilingRequest)
    command = _command(request, body)
    await service.ledger.refresh()
    work = service.desk.submit(
        asked.petition, asked.body, asked.title, asked.text, asked.lang, asked.cms, command=command
    )
    return await record(service, command, work, f"/v1/petitions/{asked.petition}")


_WITHDRAWAL = {"application/json": (WithdrawalRequest, examples.WITHDRAWAL_REQUEST)}
_WITHDRAWAL_ERRORS = [
    *READING_ERRORS,
    *SIGNATURE_ERRORS,
    NotFoundError,
    SignerTooYoungError,
    StreamConflictError,
]


@router.post(
    "/v1/petitions/{id}/signatures/withdrawal",
    **describe(
        "Take a signature back",
        """Takes the signer's CMS over the statement of the act `withdraw-signature`, as long as the petition
        takes signatures. The history of the count stays; the person cannot sign this petition again.""",
        status=201,
        gives=RecordedDocument,
        example=examples.SIGNATURE_WITHDRAWN,
        takes=_WITHDRAWAL,
        errors=[*_WITHDRAWAL_ERRORS, NotTheSignerError, PetitionClosedError, NotAllowedError],
    ),
)
async def withdraw_signature(request: Request, id: PetitionId) -> Response:
    """Record that a signer took the signature back."""
    service, body = await _read(request)
    asked = decode(body, WithdrawalRequest)
    command = _command(request, body)
    return await record(service, command, service.desk.withdraw_signature(id, asked.cms, command=command))


@router.post(
    "/v1/petitions/{id}/withdrawal",
    **describe(
        "Take a petition back",
        """Takes the author's CMS over the statement of the act `withdraw-petition`, until the petition is
        supported.""",
        status=201,
        gives=RecordedDocument,
        example=examples.PETITION_WITHDRAWN,
        takes=_WITHDRAWAL,
        errors=[*_WITHDRAWAL_ERRORS, NotTheAuthorError, PetitionClosedError, NotAllowedError],
    ),
)
async def withdraw_petition(request: Request, id: PetitionId) -> Response:
    """Record that the author took the petition back."""
    service, body = await _read(request)
    asked = decode(body, WithdrawalRequest)
    command = _command(request, body)
    return await record(service, command, service.desk.withdraw_petition(id, asked.cms, command=command))


async def record(
    service: Service, command: CommandId | None, work: Awaitable[Recorded], location: str | None = None
) -> Response:
    """The answer to a command: what it brought about, with its receipt."""
    recorded = await service.ledger.once(command, work)
    document = RecordedDocument.of(recorded, await service.ledger.receipt(recorded))
    return created(
        document,
        location or f"/v1/entries/{recorded.position}",
        version=recorded.event.n,
        replayed=recorded.appended.repeated,
    )


async def _read(request: Request) -> tuple[Service, bytes]:
    require_json(request)
    return service_of(request), await request.body()


def _command(request: Request, body: bytes) -> CommandId | None:
    return command_id(request, body, f"citizen {request.scope['path']}")
