"""Queries about any stream: its trail, with the position of each event and its version for ``If-Match``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from api import examples
from api.codec import FRESH, answer
from api.openapi import describe
from api.service import service_of
from api.shapes import TrailDocument, TrailStep
from ledger.application import NotFoundError
from projections import trails

router = APIRouter(tags=["log"])


@router.get(
    "/v1/streams/{stream:path}",
    **describe(
        "Follow any stream",
        """The events of one thing: `petition/<id>`, `signature/<petition>/<nullifier>` or
        `organisation/<slug>`. `ETag` is its version, for `If-Match`.""",
        gives=TrailDocument,
        example=examples.TRAIL,
        errors=[NotFoundError],
    ),
)
async def read_stream(
    request: Request,
    stream: Annotated[
        str, Path(max_length=200, description="The stream's name.", examples=[examples.STREAM])
    ],
) -> Response:
    """The trail of a stream."""
    return await trail_of(request, stream)


async def trail_of(request: Request, stream: str) -> Response:
    """A stream's trail, or :class:`NotFoundError` where nothing happened to it."""
    if "\x00" in stream:
        raise NotFoundError("There is no such stream.")
    async with service_of(request).pool.connection() as connection:
        trail = await trails.of(connection, stream)
    if not trail.steps:
        raise NotFoundError("There is no such stream (a new one is shown within seconds).")
    items = tuple(
        TrailStep(
            step.position, step.n, step.type, step.iss, step.kid, step.time,
            f"/v1/entries/{step.position}", f"/v1/entries/{step.position}/receipt",
        )
        for step in trail.steps
    )  # fmt: skip
    version = items[-1].n
    document = TrailDocument(trail.stream, version, items, trail.as_of)
    return answer(request, document, cache=FRESH, etag=str(version))
