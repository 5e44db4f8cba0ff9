"""The log's own endpoints (C2SP tlog-tiles), for any client of that specification."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from api import examples
from api.openapi import describe
from api.routes import NamedRoute
from api.service import service_of
from ledger.store.reader import NotInLogError
from ledger.tlog.tiles import TileError, parse_tile_path

CHECKPOINT_TYPE = "text/plain; charset=utf-8"
TILE_TYPE = "application/octet-stream"
IMMUTABLE = "public, max-age=604800, immutable"


async def checkpoint(request: Request) -> Response:
    """The newest checkpoint with a quorum of cosignatures; without a policy the newest one."""
    service = service_of(request)
    return await newest(request) if service.policy is None else await _note(service.ledger.reader.cosigned)


async def newest(request: Request) -> Response:
    """The newest signed checkpoint, whether it was cosigned or not."""
    ledger = service_of(request).ledger
    return await _note(lambda: ledger.countersigned(ledger.reader.checkpoint()))


async def _note(read: Callable[[], bytes]) -> Response:
    try:
        note = await asyncio.to_thread(read)
    except NotInLogError:
        return _not_found()
    return Response(note, headers={"content-type": CHECKPOINT_TYPE, "cache-control": "no-store"})


async def tile(request: Request) -> Response:
    """A hash tile or an entry bundle, whole or partial; 404 for any other name or what is not there yet."""
    # As it was sent: an encoded slash is not a slash.
    raw = request.scope.get("raw_path", b"").partition(b"?")[0]
    reader = service_of(request).ledger.reader
    try:
        wanted = parse_tile_path(raw.decode("ascii").partition("/log/")[2])
        if wanted.level is None:
            data = await asyncio.to_thread(reader.entry_bundle, wanted.index, wanted.width)
        else:
            data = await asyncio.to_thread(reader.tile, wanted.level, wanted.index, wanted.width)
    except (TileError, NotInLogError, UnicodeDecodeError):
        return _not_found()
    return Response(data, headers={"content-type": TILE_TYPE, "cache-control": IMMUTABLE})


def _not_found() -> Response:
    return PlainTextResponse("The log has no such file.\n", 404)


_MISSING = {404: {"description": "The log has no such file (yet).", "content": {
    "text/plain": {"schema": {"type": "string"}, "example": "The log has no such file.\n"}}}}  # fmt: skip


def _described(summary: str, text: str, media_type: str, example: str) -> dict[str, object]:
    found = describe(summary, text, media_type=media_type, example=example)
    found["responses"] = {**found["responses"], **_MISSING}
    del found["responses"][304]
    return found


ROUTES = [
    NamedRoute(
        "/log/checkpoint",
        checkpoint,
        "GET",
        tags=["log"],
        described=_described(
            "Read the newest checkpoint",
            """A signed note (C2SP tlog-checkpoint): origin, size and root of the tree. Where the operator has
            witnesses, the newest one that a quorum of them cosigned.""",
            "text/plain",
            examples.CHECKPOINT,
        ),
    ),
    NamedRoute(
        "/v1/log/checkpoint",
        newest,
        "GET",
        tags=["log"],
        described=_described(
            "Read the newest checkpoint before it is cosigned",
            "A signed note (C2SP tlog-checkpoint) over every entry that was acknowledged to anybody.",
            "text/plain",
            examples.CHECKPOINT,
        ),
    ),
    NamedRoute(
        "/log/tile/{tile:path}",
        tile,
        "GET",
        tags=["log"],
        described=_described(
            "Read a tile or an entry bundle",
            """C2SP tlog-tiles: `0/x001/234`, `1/000.p/7`, `entries/000` and so on. A tile never changes.""",
            TILE_TYPE,
            "32 bytes for each hash",
        ),
        parameters=[
            {
                "name": "tile",
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
                "example": "0/000.p/7",
            }
        ],
    ),
]
