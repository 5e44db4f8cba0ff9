"""Moving in: a body hands in the cases of its old register."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from api.citizens import READING_ERRORS
from api.codec import decode, media_type
from api.middleware import BODY_LIMITS
from api.ndjson import MAX_LINES, NDJSON, answers
from api.openapi import IDEMPOTENCY_KEY, describe
from api.problems import MediaTypeError
from api.service import authenticated
from api.streaming import Slots
from ledger.errors import AiqynError
from ledger.imports import ImportConflictError, ImportDesk, ImportedCase, Result

router = APIRouter(tags=["appeals"])

PATH = "/v1/appeals/imports"
MAX_REQUESTS = 4
"""At once in one process: each holds its body in memory."""


class ImportsFullError(AiqynError):
    """This process takes over as many registers as it can at once; a later try has room."""

    code = "imports-full"
    title = "The service takes over other registers now"


class ImportAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one line."""

    line: Annotated[int, Meta(description="Its number in the request, from 1.")]
    status: Annotated[int, Meta(description="200 unchanged, 201 recorded, otherwise that of the problem.")]
    stream: Annotated[str | None, Meta(description="The appeal.")] = None
    position: Annotated[int | None, Meta(description="Of its newest imported event in the log.")] = None
    result: Result | None = None
    problem: Annotated[dict[str, Any] | None, Meta(description="Why the line was refused.")] = None


_ROWS = [
    {"activity": "Тіркелді", "step": "registered", "happened": "2019-03-04T05:00:00Z"},
    {"activity": "Жауап берілді", "step": "decided", "happened": "2019-03-13T05:00:00Z",
     "outcome": "explained"},
]  # fmt: skip
REQUEST = {
    "register": "journal-2019", "case": "17/2019", "kind": "application", "applicant": "person",
    "channel": "paper", "category": "housing", "lang": "kk", "region": "71", "rows": _ROWS,
}  # fmt: skip
ANSWERS = (
    {"line": 1, "status": 201, "stream": "appeal/IM-Zb0cT0m3cK2eXyqYH8b1oQ", "position": 1043,
     "result": "imported"},
    {"line": 2, "status": 409,
     "problem": {"type": "/problems/import-conflict", "title": ImportConflictError.title, "status": 409,
                 "detail": "Of this case 3 rows were taken over, and the register has only 2 now.",
                 "row": 3}},
)  # fmt: skip


def _ndjson(*documents: dict[str, Any]) -> str:
    return "".join(f"{msgspec.json.encode(document).decode()}\n" for document in documents)


_DESCRIBED = describe(
    "Take over an old register",
    f"""Up to {MAX_LINES:,} cases, each a JSON object in one line with all rows of the case in the order of
    time; each row becomes one event, and a case is recorded whole or not at all. The answer has one line for
    each case, in order, as soon as it is known; a line that is refused has its problem, and the others go on.
    A case is known by its register and number: sent again it is `unchanged`, with further rows it is
    `extended`, and with other rows it is refused. So a request whose answer was lost is simply sent again.
    The body has at most {BODY_LIMITS[PATH] // 2**20} MiB.""",
    gives=ImportAnswer,
    example=_ndjson(*ANSWERS),
    media_type=NDJSON,
    takes={NDJSON: (ImportedCase, _ndjson(REQUEST))},
    errors=[*READING_ERRORS, ImportConflictError, ImportsFullError],
    secured=True,
)
_DESCRIBED["openapi_extra"]["parameters"] = [
    {**IDEMPOTENCY_KEY, "description": "Not needed, and not looked at: a case is known by its number."}
]
_slots = Slots(
    MAX_REQUESTS,
    lambda: ImportsFullError("Other registers are being taken over here: repeat the request a little later."),
)


@router.post(PATH, **_DESCRIBED)
async def import_cases(request: Request) -> Response:
    """Take cases over in the name of the body whose token it is."""
    if media_type(request) != NDJSON:
        raise MediaTypeError(f"Send the cases as {NDJSON}: one JSON object in each line.")
    service, organisation = await authenticated(request)
    with _slots.taken():
        body = await request.body()
        await service.ledger.refresh()
    desk = ImportDesk(service.ledger)

    async def take(line: bytes) -> dict[str, Any]:
        taken = await desk.take(organisation, decode(line, ImportedCase))
        status = 200 if taken.result == "unchanged" else 201
        return {
            "status": status, "stream": taken.stream, "position": taken.position, "result": taken.result,
        }  # fmt: skip

    return answers(body, take, _slots.give_back)
