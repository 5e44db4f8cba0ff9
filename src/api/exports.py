"""Event logs for process mining, written while they are read: XES and OCEL 2.0. For everybody."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.codec import NEVER
from api.openapi import describe
from api.parameters import Flag, Moment, organisation
from api.problems import RequestError
from api.service import service_of
from api.streaming import Held, Slots
from ledger.errors import AiqynError
from projections.mining import ocel, xes
from projections.mining.cases import Selection, Snapshot

router = APIRouter(tags=["appeals"])

MAX_EXPORTS = 2
"""At once in one process: each holds a connection and keeps a processor busy."""


class ExportsFullError(AiqynError):
    """This process writes as many event logs as it can at once; a later try has room."""

    code = "exports-full"
    title = "The service writes other event logs now"


Body = Annotated[str | None, organisation("Only appeals that lay with this organisation at some time.")]
Since = Annotated[
    Moment | None, Query(description="Only appeals that began at this moment or later; with a zone.")
]
Until = Annotated[
    Moment | None, Query(description="Only appeals that began before this moment; with a zone.")
]
Imported = Annotated[Flag, Query(description="Only appeals taken over from old registers.")]

_ABOUT = """Whole appeals with all their events, as of one position, which stands in the log's own
    attributes with the root of the tree there. {}.
    Public facts only. An answer that breaks off is not whole: ask again."""
_XES = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<log xes.version="1849.2016" xes.features="" '
    'xmlns="http://www.xes-standard.org/">\n…</log>\n'
)
_OCEL = '{"log":{"as_of":1043,…},\n"events":[…],\n"objects":[…],\n"objectTypes":[…],\n"eventTypes":[…]}\n'
_slots = Slots(
    MAX_EXPORTS,
    lambda: ExportsFullError("Other event logs are being written here: repeat the request a little later."),
)


@router.get(
    "/v1/exports/appeals.xes",
    **describe(
        "Export appeals as XES",
        _ABOUT.format("A trace is an appeal, an event an entry of the ledger (IEEE 1849)"),
        media_type=xes.MEDIA_TYPE,
        example=_XES,
        errors=[RequestError, ExportsFullError],
    ),
)
async def export_xes(
    request: Request, body: Body = None, since: Since = None, until: Until = None, imported: Imported = False
) -> Response:
    """For tools that follow one case at a time."""
    return await _export(request, Selection(body, since, until, imported), xes.write, xes.MEDIA_TYPE)


@router.get(
    "/v1/exports/appeals.jsonocel",
    **describe(
        "Export appeals as OCEL 2.0",
        _ABOUT.format("Appeals, organisations and keys are objects; an event names all that it is about"),
        media_type=ocel.MEDIA_TYPE,
        example=_OCEL,
        errors=[RequestError, ExportsFullError],
    ),
)
async def export_ocel(
    request: Request, body: Body = None, since: Since = None, until: Until = None, imported: Imported = False
) -> Response:
    """For tools that follow several objects at a time."""
    return await _export(request, Selection(body, since, until, imported), ocel.write, ocel.MEDIA_TYPE)


async def _export(
    request: Request, selection: Selection, write: Callable[[Snapshot], Iterator[bytes]], media_type: str
) -> Response:
    service = service_of(request)
    with _slots.taken():
        snapshot = await to_thread.run_sync(Snapshot.open, service.ledger_url, selection)

    def done() -> None:
        snapshot.close()
        _slots.give_back()

    headers = {"cache-control": NEVER, "vary": "Accept-Encoding"}
    chunks = write(snapshot)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        chunks = _compressed(chunks)
    return Held(_in_threads(chunks), done, headers=headers, media_type=media_type)


async def _in_threads(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Made in threads, one piece after the other, so that others are served meanwhile."""
    while (chunk := await to_thread.run_sync(next, chunks, None)) is not None:
        yield chunk


def _compressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(level=5, wbits=31)
    for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()
