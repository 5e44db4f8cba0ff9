"""What problem types mean: the addresses that problem documents name (RFC 9457, section 3.1.1)."""

from __future__ import annotations

import html
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import HTMLResponse, Response

from api import examples
from api.codec import STEADY, answer
from api.openapi import describe
from api.problems import STATUSES, RequestError, kind_of, known_errors, meaning
from ledger.application import NotFoundError
from ledger.errors import AiqynError

router = APIRouter(tags=["operation"])

_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>{title}</title>"
    "<body style='font:1.1rem/1.5 sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem'>"
    "<h1>{title}</h1><p>{meaning}<p>HTTP status {status}, problem type <code>{type}</code>."
    "<p><a href='/problems'>All problem types</a>"
)


@router.get(
    "/problems",
    **describe(
        "List problem types",
        "Every `type` that a problem document of this service can have.",
        gives={"type": "array", "items": {"type": "object"}},
        example=[examples.PROBLEM_PAGE],
    ),
)
async def list_problems(request: Request) -> Response:
    """All codes, in alphabetical order."""
    kinds = {kind.code: kind for kind in known_errors() if kind.code in STATUSES}
    return answer(request, [_document(kinds[code]) for code in sorted(kinds)], cache=STEADY)


@router.get(
    "/problems/{code}",
    **describe(
        "Read what a problem type means",
        "JSON, or a page for a browser.",
        gives={"type": "object"},
        example=examples.PROBLEM_PAGE,
        errors=[NotFoundError, RequestError],
    ),
)
async def read_problem(
    request: Request, code: Annotated[str, Path(max_length=100, examples=["already-signed"])]
) -> Response:
    """One code."""
    kind = kind_of(code)
    if kind is None or code not in STATUSES:
        raise NotFoundError("There is no such problem type: see /problems.")
    document = _document(kind)
    if "text/html" in request.headers.get("accept", ""):
        shown = {name: html.escape(str(value)) for name, value in document.items()}
        return HTMLResponse(_PAGE.format(**shown), headers={"cache-control": STEADY, "vary": "Accept"})
    return answer(request, document, cache=STEADY)


def _document(kind: type[AiqynError]) -> dict[str, Any]:
    return {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": STATUSES[kind.code],
        "meaning": meaning(kind),
    }
