"""Queries about petitions: their state, their numbers, who signed them. For everybody, without login."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from psycopg import AsyncConnection
from starlette.responses import Response

from api import examples
from api.codec import answer
from api.openapi import describe
from api.parameters import Below, Limit, PetitionId, organisation
from api.problems import RequestError
from api.service import service_of
from api.shapes import Growth, PetitionDocument, PetitionPage, SignaturePage, TrailDocument
from api.streams import trail_of
from ledger.application import NotFoundError
from ledger.domain.signature import petition_stream
from projections import petitions, signatures

router = APIRouter(tags=["petitions"])

States = Annotated[list[petitions.State] | None, Query(description="Only petitions in one of these states.")]
Body = Annotated[str | None, organisation("Only petitions addressed to this organisation.")]


@router.get(
    "/v1/petitions",
    **describe(
        "List published petitions",
        """Newest first, page by page: `next` is the `cursor` of the page behind this one. Petitions in the
        limited stage are reached by their link only and stand in no list.""",
        gives=PetitionPage,
        example=examples.PETITIONS,
        errors=[RequestError],
    ),
)
async def list_petitions(
    request: Request, state: States = None, body: Body = None, cursor: Below = None, limit: Limit = 50
) -> Response:
    """Petitions that were published."""
    async with service_of(request).pool.connection() as connection:
        page = await petitions.list_page(connection, state=state, body=body, cursor=cursor, limit=limit)
    return answer(request, page)


@router.get(
    "/v1/petitions/{id}",
    **describe(
        "Read a petition",
        """Everything public about it. All numbers stand at the position `as_of`, `by_region` adds up to
        `count`, and what has not happened is null. A text that was taken down is null too.""",
        gives=PetitionDocument,
        example=examples.PETITION_DOCUMENT,
        errors=[NotFoundError],
    ),
)
async def read_petition(request: Request, id: PetitionId) -> Response:
    """One petition and its count by region, as of one position."""
    async with service_of(request).snapshot() as connection:
        found = await petitions.get(connection, id)
        if found is None:
            raise _missing(id)
        regions = await petitions.by_region(connection, id)
    counts = {item.region: item.count for item in regions.items}
    return answer(request, {**_fields(found), "by_region": counts})


@router.get(
    "/v1/petitions/{id}/growth",
    **describe(
        "See how a petition grew",
        """By hour (of UTC) or by day (of the country's time). `count` is the total at the end of each step;
        steps in which nothing happened are left out.""",
        gives=Growth,
        example=examples.GROWTH,
        errors=[NotFoundError, RequestError],
    ),
)
async def read_growth(
    request: Request,
    id: PetitionId,
    step: Annotated[Literal["hour", "day"], Query(description="Length of a step.")] = "hour",
) -> Response:
    """The growth curve."""
    async with service_of(request).snapshot() as connection:
        await _require(connection, id)
        return answer(request, await petitions.by_hour(connection, id, step=step))


@router.get(
    "/v1/petitions/{id}/signatures",
    **describe(
        "List who signed",
        """First name and first letter of the surname, newest first. `next` is the `before` of the page behind
        this one; positions never change, so that paging misses nobody and shows nobody twice. A signature
        that was withdrawn or voided stays, without its name; where a name was erased, `erased` is the
        position of the event that says so, and the signature counts as before.""",
        gives=SignaturePage,
        example=examples.SIGNATURES,
        errors=[NotFoundError, RequestError],
    ),
)
async def list_signatures(
    request: Request,
    id: PetitionId,
    before: Below = None,
    limit: Limit = 50,
) -> Response:
    """Masked names."""
    async with service_of(request).snapshot() as connection:
        await _require(connection, id)
        return answer(request, await signatures.page(connection, id, before=before, limit=limit))


@router.get(
    "/v1/petitions/{id}/trail",
    **describe(
        "Follow a petition's steps",
        """Every event of the petition itself: who said what, when, at which position. `ETag` is its version,
        for `If-Match`.""",
        gives=TrailDocument,
        example=examples.TRAIL,
        errors=[NotFoundError],
    ),
)
async def read_trail(request: Request, id: PetitionId) -> Response:
    """The trail of the petition's stream."""
    return await trail_of(request, petition_stream(id))


async def _require(connection: AsyncConnection[Any], petition: str) -> None:
    if await petitions.get(connection, petition) is None:
        raise _missing(petition)


def _missing(petition: str) -> NotFoundError:
    return NotFoundError(f"There is no petition {petition} (a new one is shown within seconds).")


def _fields(found: petitions.Petition) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__struct_fields__}
