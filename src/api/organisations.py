"""Queries about organisations: who takes part, with which keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from api import examples
from api.codec import answer
from api.openapi import describe
from api.problems import RequestError
from api.service import service_of
from api.shapes import OrganisationDocument, OrganisationList
from ledger.application import NotFoundError
from projections import organisations

router = APIRouter(tags=["organisations"])


@router.get(
    "/v1/organisations",
    **describe(
        "List organisations",
        "Every institution that takes part, with all keys it ever had.",
        gives=OrganisationList,
        example=examples.ORGANISATIONS,
    ),
)
async def list_organisations(request: Request) -> Response:
    """All of them; there are thousands at most."""
    async with service_of(request).pool.connection() as connection:
        return answer(request, await organisations.list_all(connection))


@router.get(
    "/v1/organisations/{slug}",
    **describe(
        "Read an organisation",
        "Its kind, names and keys: who may say what in its name, and since when.",
        gives=OrganisationDocument,
        example=examples.ORGANISATION,
        errors=[NotFoundError, RequestError],
    ),
)
async def read_organisation(
    request: Request,
    slug: Annotated[
        str,
        Path(pattern=r"^[A-Za-z0-9_-]{1,100}$", description="Behind `organisation/`.", examples=["village"]),
    ],
) -> Response:
    """One organisation."""
    async with service_of(request).pool.connection() as connection:
        found = await organisations.get(connection, f"organisation/{slug}")
    if found is None:
        raise NotFoundError(f"There is no organisation {slug!r}.")
    return answer(request, found)
