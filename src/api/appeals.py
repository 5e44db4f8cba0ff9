"""The one window: turning to a body, following the appeal, and taking the steps that are the applicant's.

Numbers stand in addresses as on the talon (``ЖТ-2026-00000001``) or in Latin letters (``JT-2026-00000001``);
a part's stroke is written as a dash. The code never stands in an address: addresses are logged.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import uuid
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from api import appeal_examples as examples
from api.appeal_shapes import (
    ActRequest,
    ActStatementRequest,
    AppealRequest,
    AppealStatementRequest,
    AttachmentDocument,
    CabinetCase,
    CabinetDocument,
    CabinetRequest,
    CabinetStatementDocument,
    CaseDocument,
    CodeRequest,
    FormStatementDocument,
    LanguageRequest,
    ReadingDocument,
    ReadingRequest,
    TakenDownRequest,
    TalonDocument,
    VisitorActRequest,
)
from api.citizens import READING_ERRORS, SIGNATURE_ERRORS, record
from api.codec import JSON, NEVER, answer, created, decode, media_type, require_json
from api.commands import explained
from api.examples import DISCLOSURE, RECEIPT
from api.idempotency import command_id
from api.openapi import describe
from api.parameters import AppealStream, Number
from api.problems import RequestError
from api.service import Service, authenticated, service_of
from api.shapes import ReceiptDocument, RecordedDocument
from api.streaming import Slots
from ledger.appeals import (
    CabinetStaleError,
    Case,
    CodeWrongError,
    Filing,
    NotAReaderError,
    NotTheApplicantError,
    Talon,
    Visitor,
)
from ledger.application import ErasedError, InvalidCommandError, NotFoundError
from ledger.attachments import MEDIA_TYPES, Attachment, AttachmentRefusedError, AttachmentUnknownError
from ledger.context import UnknownBodyError
from ledger.domain import appeal_wording, wording
from ledger.domain.aggregate import NotAllowedError
from ledger.domain.appeal import TermPassedError, talon_number
from ledger.domain.terms import NoTermError
from ledger.eds.errors import IinInvalidError
from ledger.errors import AiqynError
from ledger.keys import UnauthorisedIssuerError
from ledger.store.append import StreamConflictError
from projections import cabinet

MAX_UPLOADS = 8
"""Of one process at a time: each holds a whole file in memory, and a connection of its own to store it."""
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 10 * 2**30
"""Files that no step has taken up yet, of all processes together: anybody may send them."""

router = APIRouter(tags=["appeals"])

_FILING_ERRORS = (
    *READING_ERRORS, wording.UnreadableTextError, UnknownBodyError, NotAllowedError, NoTermError,
    InvalidCommandError, AttachmentRefusedError, AttachmentUnknownError,
)  # fmt: skip
_ACT_ERRORS = (
    *READING_ERRORS, NotFoundError, NotAllowedError, TermPassedError, StreamConflictError,
    wording.UnreadableTextError, InvalidCommandError, AttachmentRefusedError, AttachmentUnknownError,
)  # fmt: skip


class UploadsFullError(AiqynError):
    """This process takes as many uploads as it can; a later try may have room."""

    code = "uploads-full"
    title = "There is no room for another upload now"


_slots = Slots(
    MAX_UPLOADS, lambda: UploadsFullError("Too many files come at once: send it again a little later.")
)


FileHash = Annotated[
    str,
    Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file, hex.", examples=[examples.FILE_HASH]),
]
StepNumber = Annotated[
    Number, Path(alias="n", ge=1, le=10_000, description="Of the event in the appeal.", examples=[1])
]
ReadingId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{16}$", examples=["b3Rl2Q0m1xXyZ_4a"])]


# --- files -----------------------------------------------------------------------------------------


@router.post(
    "/v1/attachments",
    **describe(
        "Upload a file",
        """Takes the file itself and returns what names it in the step that follows: an appeal, a complaint, a
        decision. Kept encrypted; a file that no step takes up within a day is removed.""",
        status=201,
        gives=AttachmentDocument,
        example=examples.ATTACHMENT,
        takes={kind: ({"type": "string", "format": "binary"}, "the file") for kind in MEDIA_TYPES},
        errors=[AttachmentRefusedError, UploadsFullError, *READING_ERRORS],
    ),
)
async def upload(request: Request) -> Response:
    """Seal a file and store it."""
    service = service_of(request)
    _slots.take()
    try:
        await _require_room(service)
        content = await request.body()
        file, sealed = await asyncio.to_thread(service.appeals.upload, content, media_type(request))
        async with service.writing() as connection:
            await connection.execute(
                "INSERT INTO ledger.attachments (id, sealed, uploaded_at) VALUES (%s, %s, %s)",
                [file.id, sealed, service.ledger.now()],
            )
    finally:
        _slots.give_back()
    return created(file, f"/v1/attachments/{file.id}")


async def _require_room(service: Service) -> None:
    """Raises :class:`UploadsFullError`, or whoever likes could fill the ledger's disk."""
    async with service.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*), coalesce(sum(octet_length(sealed)), 0) FROM"
            " (SELECT sealed FROM ledger.attachments WHERE position IS NULL LIMIT %s) waiting",
            [MAX_WAITING],
        )
        files, size = await cursor.fetchone() or (0, 0)
    if files >= MAX_WAITING or size >= MAX_WAITING_BYTES:
        raise UploadsFullError("Too many files wait for a step to take them up: send it again in some hours.")


# --- turning to a body -------------------------------------------------------------------------------


@router.post(
    "/v1/appeals/statement",
    **describe(
        "Prepare an appeal",
        """Checks everything that can be checked and returns what the applicant signs. Nothing is recorded;
        without `form` a new one is made.""",
        gives=FormStatementDocument,
        example=examples.FILING_STATEMENT,
        takes={JSON: (AppealStatementRequest, examples.STATEMENT_REQUEST)},
        errors=_FILING_ERRORS,
    ),
)
async def prepare(request: Request) -> Response:
    """The filing statement."""
    require_json(request)
    service = service_of(request)
    asked = decode(await request.body(), AppealStatementRequest)
    await service.ledger.refresh()
    filing = _filing(asked)
    service.appeals.check(filing)
    form = asked.form or str(uuid.uuid4())
    return answer(request, _statement(form, filing.statement(form)), cache=NEVER)


@router.post(
    "/v1/appeals",
    **describe(
        "Turn to a body",
        """Takes the applicant's CMS over the statement of `POST /v1/appeals/statement`. The answer is the
        talon: the number, the time, the receiver, the term, a receipt, and the code with which the appeal is
        followed. The same signed form sent again gets the same talon.""",
        status=201,
        gives=TalonDocument,
        example=examples.TALON,
        takes={JSON: (AppealRequest, examples.APPEAL_REQUEST)},
        errors=[*_FILING_ERRORS, *SIGNATURE_ERRORS],
    ),
)
async def submit(request: Request) -> Response:
    """Register an appeal."""
    require_json(request)
    service = service_of(request)
    body = await request.body()
    asked = decode(body, AppealRequest)
    command = command_id(request, body, "citizen /v1/appeals")
    talon = await service.appeals.submit(asked.form, _filing(asked), asked.cms, command=command)
    return await _talon(service, talon)


@router.post(
    "/v1/front-office/appeals",
    **describe(
        "Take an appeal down",
        """For a front office (role `front-office`): what came on paper, by word of mouth, at a reception or
        by post. The answer is the talon, to be printed and handed over.""",
        status=201,
        gives=TalonDocument,
        example=examples.TALON,
        takes={JSON: (TakenDownRequest, examples.TAKEN_DOWN)},
        errors=[*_FILING_ERRORS, UnauthorisedIssuerError, IinInvalidError],
        secured=True,
    ),
)
async def take_down(request: Request) -> Response:
    """Register an appeal for somebody who came in person."""
    require_json(request)
    service, office = await authenticated(request)
    body = await request.body()
    asked = decode(body, TakenDownRequest)
    command = command_id(request, body, office)
    visitor = Visitor(asked.applicant, asked.full_name, asked.iin)
    filing = _filing(asked)
    talon = await service.appeals.take_down(office, filing, visitor, asked.channel, command=command)
    return await _talon(service, talon)


# --- following it -----------------------------------------------------------------------------------


@router.post(
    "/v1/appeals/{number}/case",
    **describe(
        "Follow an appeal",
        """With the code from the talon: every step with who, when and what was said to the applicant, the
        term that runs, what the applicant can do now, and who read what is personal in it.""",
        gives=CaseDocument,
        example=examples.CASE,
        takes={JSON: (CodeRequest, examples.CODE_REQUEST)},
        errors=[*READING_ERRORS, NotFoundError, CodeWrongError, ErasedError],
    ),
)
async def read_case(request: Request, stream: AppealStream) -> Response:
    """The applicant's view."""
    require_json(request)
    service = service_of(request)
    asked = decode(await request.body(), CodeRequest)
    case = await service.appeals.case(stream, asked.code)
    return answer(request, await _case(service, case, applicant=True), cache=NEVER)


@router.post(
    "/v1/appeals/{number}/case/attachments/{sha256}",
    **describe(
        "Open a file of one's appeal",
        "With the code from the talon: the bytes, as they were uploaded.",
        media_type="application/octet-stream",
        example="the file",
        takes={JSON: (CodeRequest, examples.CODE_REQUEST)},
        errors=[*READING_ERRORS, NotFoundError, CodeWrongError, ErasedError],
    ),
)
async def read_case_file(request: Request, stream: AppealStream, sha256: FileHash) -> Response:
    """A file, to the applicant."""
    require_json(request)
    service = service_of(request)
    asked = decode(await request.body(), CodeRequest)
    case = await service.appeals.case(stream, asked.code)
    return await _file(service, case.file(sha256))


@router.post(
    "/v1/appeals/{number}/case/receipts/{n}",
    **describe(
        "Get one's own receipt of a step",
        """With the code from the talon: the event, its proof, and what was disclosed to the applicant alone
        (the text, the decision). Keep the file for yourself; `aiqyn receipt verify` checks it offline.""",
        gives=ReceiptDocument,
        example=RECEIPT | {"receipt": "aiqyn/v2", "disclosures": [], "own": [DISCLOSURE]},
        takes={JSON: (CodeRequest, examples.CODE_REQUEST)},
        errors=[*READING_ERRORS, NotFoundError, CodeWrongError, ErasedError],
    ),
)
async def read_case_receipt(request: Request, stream: AppealStream, n: StepNumber) -> Response:
    """To the applicant."""
    require_json(request)
    service = service_of(request)
    asked = decode(await request.body(), CodeRequest)
    receipt = await service.appeals.receipt(stream, asked.code, n)
    return answer(request, ReceiptDocument.of(receipt), cache=NEVER)


@router.post(
    "/v1/appeals/{number}/acts/statement",
    **describe(
        "Prepare a step",
        """What the applicant signs to mend the appeal (`fix`), to object to a preliminary decision
        (`object`), to take the appeal back (`withdraw`) or to complain (`complain`).""",
        gives=FormStatementDocument,
        example=examples.ACT_STATEMENT,
        takes={JSON: (ActStatementRequest, examples.ACT_STATEMENT_REQUEST)},
        errors=_ACT_ERRORS,
    ),
)
async def prepare_act(request: Request, stream: AppealStream) -> Response:
    """The statement of a step."""
    require_json(request)
    service = service_of(request)
    asked = decode(await request.body(), ActStatementRequest)
    form = asked.form or str(uuid.uuid4())
    statement = service.appeals.statement(stream, asked.act, form, asked.text, asked.attachments, asked.lang)
    return answer(request, _statement(form, statement), cache=NEVER)


@router.post(
    "/v1/appeals/{number}/acts",
    **describe(
        "Take a step",
        "Takes the applicant's CMS over the statement of `POST /v1/appeals/{number}/acts/statement`.",
        status=201,
        gives=RecordedDocument,
        example=examples.WITHDRAWAL_ASKED,
        takes={JSON: (ActRequest, examples.ACT_REQUEST)},
        errors=[*_ACT_ERRORS, *SIGNATURE_ERRORS, NotTheApplicantError, ErasedError],
    ),
)
async def act(request: Request, stream: AppealStream) -> Response:
    """Record an applicant's step."""
    require_json(request)
    service = service_of(request)
    body = await request.body()
    asked = decode(body, ActRequest)
    command = command_id(request, body, f"citizen {stream}")
    work = service.appeals.act(
        stream, asked.act, asked.form, asked.text, asked.attachments, asked.cms, command=command
    )
    return await record(service, command, explained(service, stream, work))


@router.post(
    "/v1/front-office/appeals/{number}/acts",
    **describe(
        "Take a step down",
        "For a front office: a step of an applicant who came in person and showed the talon with its code.",
        status=201,
        gives=RecordedDocument,
        example=examples.WITHDRAWAL_ASKED,
        takes={JSON: (VisitorActRequest, examples.VISITOR_ACT)},
        errors=[*_ACT_ERRORS, UnauthorisedIssuerError, CodeWrongError, ErasedError],
        secured=True,
    ),
)
async def act_for(request: Request, stream: AppealStream) -> Response:
    """Record a visitor's step."""
    require_json(request)
    service, office = await authenticated(request)
    body = await request.body()
    asked = decode(body, VisitorActRequest)
    command = command_id(request, body, office)
    work = service.appeals.act_for(
        office, stream, asked.code, asked.act, asked.text, asked.attachments, command=command
    )
    return await record(service, command, explained(service, stream, work))


# --- one's own cases ----------------------------------------------------------------------------------


@router.post(
    "/v1/cabinet/statement",
    **describe(
        "Prepare to open the cabinet",
        "What a person signs to see their own cases. It is good for some minutes.",
        gives=CabinetStatementDocument,
        example=examples.CABINET_STATEMENT,
        takes={JSON: (LanguageRequest, {"lang": "kk"})},
        errors=READING_ERRORS,
    ),
)
async def prepare_cabinet(request: Request) -> Response:
    """The statement that opens the cabinet."""
    require_json(request)
    asked = decode(await request.body(), LanguageRequest)
    at, form = service_of(request).ledger.now(), str(uuid.uuid4())
    statement = _statement(form, appeal_wording.cabinet(form, at, asked.lang))
    document = CabinetStatementDocument(form, statement.statement, statement.statement_base64, at)
    return answer(request, document, cache=NEVER)


@router.post(
    "/v1/cabinet",
    **describe(
        "See one's own cases",
        "Takes a person's CMS over the statement of `POST /v1/cabinet/statement`: all that person's appeals.",
        gives=CabinetDocument,
        example=examples.CABINET,
        takes={JSON: (CabinetRequest, examples.CABINET_REQUEST)},
        errors=[*READING_ERRORS, *SIGNATURE_ERRORS, CabinetStaleError],
    ),
)
async def open_cabinet(request: Request) -> Response:
    """A person's cases, each as its applicant sees it."""
    require_json(request)
    service = service_of(request)
    asked = decode(await request.body(), CabinetRequest)
    person = await service.appeals.person(asked.form, asked.at, asked.cms)
    async with service.snapshot() as connection:
        found = await cabinet.of(connection, person)
    cases = []
    for item in found.items:
        if not item.stream.startswith("appeal/"):
            continue
        with contextlib.suppress(NotTheApplicantError, ErasedError):  # what was erased is nobody's
            case = await service.appeals.cabinet_case(item.stream, person)
            cases.append(CabinetCase(item.role, await _case(service, case, applicant=True)))
    return answer(request, CabinetDocument(tuple(cases), found.as_of), cache=NEVER)


# --- officials ----------------------------------------------------------------------------------------


@router.post(
    "/v1/appeals/{number}/readings",
    **describe(
        "Read what is personal in an appeal",
        """For the body that an appeal lies with, one that was asked for its part, or the higher body. That it
        was read, by whom and why, is an event of the log before anything is shown.""",
        status=201,
        gives=ReadingDocument,
        example=examples.READING,
        takes={JSON: (ReadingRequest, examples.READING_REQUEST)},
        errors=[
            *READING_ERRORS,
            UnauthorisedIssuerError,
            NotFoundError,
            NotAReaderError,
            ErasedError,
            StreamConflictError,
        ],
        secured=True,
    ),
)
async def read(request: Request, stream: AppealStream) -> Response:
    """Record a reading and show what was asked for."""
    require_json(request)
    service, office = await authenticated(request)
    body = await request.body()
    asked = decode(body, ReadingRequest)
    command = command_id(request, body, office)
    recorded, case = await service.appeals.read(office, stream, asked.purpose, command=command)
    receipt = await service.ledger.receipt(recorded)
    document = ReadingDocument(
        recorded.event.stream.rpartition("/")[2],
        RecordedDocument.of(recorded, receipt),
        await _case(service, case, applicant=False),
    )
    return created(document, f"/v1/entries/{recorded.position}", replayed=recorded.appended.repeated)


@router.get(
    "/v1/appeals/{number}/readings/{reading}/attachments/{sha256}",
    **describe(
        "Open a file that came with an appeal",
        "For whoever recorded the reading, within an hour of it: the bytes, as they were uploaded.",
        media_type="application/octet-stream",
        example="the file",
        errors=[RequestError, UnauthorisedIssuerError, NotFoundError, NotAReaderError, ErasedError],
        secured=True,
    ),
)
async def read_file(request: Request, stream: AppealStream, reading: ReadingId, sha256: FileHash) -> Response:
    """A file, to an official."""
    service, office = await authenticated(request)
    case = await service.appeals.reopen(office, stream, reading)
    return await _file(service, case.file(sha256))


# --- what they share -----------------------------------------------------------------------------------


def _filing(asked: AppealStatementRequest | TakenDownRequest) -> Filing:
    return Filing(
        asked.body, asked.kind, asked.category, asked.lang, asked.text, asked.contacts, asked.region,
        asked.attachments,
    )  # fmt: skip


def _statement(form: str, statement: bytes) -> FormStatementDocument:
    return FormStatementDocument(form, statement.decode(), base64.b64encode(statement).decode("ascii"))


async def _talon(service: Service, talon: Talon) -> Response:
    recorded = talon.recorded
    facts: Any = recorded.event.facts
    receiver = service.ledger.directory.organisation(facts.body)
    document = TalonDocument(
        number=talon_number(recorded.event.stream),
        stream=recorded.event.stream,
        code=talon.code,
        time=recorded.event.at,
        registered_on=facts.registered_on,
        body=facts.body,
        names=msgspec.to_builtins(receiver.names) if receiver else {},
        received_by=recorded.event.iss,
        due=facts.due,
        position=recorded.position,
        receipt=ReceiptDocument.of(await service.ledger.receipt(recorded)),
    )
    number = recorded.event.stream.partition("/")[2]
    return created(
        document, f"/v1/appeals/{number}", version=recorded.event.n, replayed=recorded.appended.repeated
    )


async def _case(service: Service, case: Case, *, applicant: bool) -> CaseDocument:
    readings = await asyncio.to_thread(service.ledger.reader.readings, case.stream) if applicant else []
    return CaseDocument.of(case, readings)


async def _file(service: Service, file: Attachment) -> Response:
    content = await service.appeals.content(file)
    headers = {
        "cache-control": NEVER,
        "content-disposition": "attachment",
        "x-content-type-options": "nosniff",
    }
    return Response(content, headers=headers, media_type=file.media_type)
