"""Queries about appeals, for everybody: the register, and one appeal with everything public about it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api import case_examples as examples
from api.codec import answer
from api.openapi import describe
from api.parameters import AppealStream, Below, Day, Limit, organisation
from api.problems import RequestError
from api.queues import States
from api.service import service_of
from ledger.application import NotFoundError
from ledger.domain.appeal import talon_number
from ledger.events import AppealKind, Category, Channel, Region
from projections import appeals

router = APIRouter(tags=["appeals"])


From = Annotated[Day | None, Query(description="Registered on this day or later: `2026-03-02`.")]
To = Annotated[Day | None, Query(description="Registered on this day or earlier.")]


@router.get(
    "/v1/appeals",
    **describe(
        "List appeals",
        """What is public of every appeal, the newest first, page by page: `next` is the `cursor` of the page
        behind this one. Nothing here says who turned to the body, or what about in words.""",
        gives=appeals.AppealPage,
        example=examples.APPEALS,
        errors=[RequestError],
    ),
)
async def list_appeals(
    request: Request,
    body: Annotated[str | None, organisation("Only appeals that lie with this organisation.")] = None,
    kind: Annotated[list[AppealKind] | None, Query(description="Only of one of these kinds.")] = None,
    category: Annotated[list[Category] | None, Query(description="Only about one of these.")] = None,
    region: Annotated[Region | Literal["unknown"] | None, Query(description="Only of this region.")] = None,
    channel: Annotated[Channel | None, Query(description="Only what came this way.")] = None,
    state: States = None,
    registered_from: From = None,
    registered_to: To = None,
    cursor: Below = None,
    limit: Limit = 50,
) -> Response:
    """The register."""
    async with service_of(request).pool.connection() as connection:
        page = await appeals.list_page(
            connection,
            body=body,
            kinds=kind,
            categories=category,
            region=region,
            channel=channel,
            states=state,
            registered_from=registered_from,
            registered_to=registered_to,
            cursor=cursor,
            limit=limit,
        )
    return answer(request, page)


@router.get(
    "/v1/appeals/{number}",
    **describe(
        "Read what is public of an appeal",
        """Where it stands, with whom, what is due and what was late. What has not happened is null. The steps
        themselves are under `/v1/streams/` and `stream`; what is personal in them is for the applicant and
        the bodies concerned.""",
        gives=appeals.AppealDocument,
        example=examples.APPEAL,
        errors=[NotFoundError],
    ),
)
async def read_appeal(request: Request, number: AppealStream) -> Response:
    """One appeal; ``number`` has become its stream."""
    async with service_of(request).pool.connection() as connection:
        found = await appeals.get(connection, number)
    if found is None:
        raise NotFoundError(f"There is no appeal {talon_number(number)} (a new one is shown within seconds).")
    return answer(request, found)
