"""Queries of a body about its own work, under its token: its queue, what is due when, what concerns it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from psycopg import AsyncConnection
from pydantic import BeforeValidator
from starlette.responses import Response

from api import case_examples as examples
from api.codec import PRIVATE, answer
from api.feed import FeedFullError
from api.openapi import describe
from api.parameters import MAX_POSITION, Cursor, Flag, Limit, Moment, Number, Slug, decimal
from api.problems import RequestError
from api.service import service_of
from api.tokens import organisation_of
from ledger.errors import AiqynError
from ledger.events import AppealKind
from projections import appeals, queues, terms
from projections.appeal_case import State
from projections.base import CursorInvalidError

router = APIRouter(tags=["appeals"])

MAX_FEED = 1000
"""Events on one page of an organisation's feed."""
MAX_WAIT_SECONDS = 25
MAX_WAITING = 1000
"""Requests of one process that wait for something to happen."""


class AnothersFeedError(AiqynError):
    """A token reads the feed of its own organisation."""

    code = "feed-of-another"
    title = "This feed is another organisation's"


def _behind(value: object) -> object:
    # -1 is what a feed says to go on from where nothing has happened at all.
    return -1 if value == "-1" else decimal(value)


States = Annotated[list[State] | None, Query(description="Only appeals in one of these states.")]
Kind = Annotated[AppealKind | None, Query(description="Only appeals of this kind.")]
Before = Annotated[
    Moment | None, Query(description="Only what is due before this moment, such as `2026-03-02T06:00:00Z`.")
]
Overdue = Annotated[
    Flag | None,
    Query(description="`true`: only what should have been done by now; `false`: only what is not yet due."),
]


@router.get(
    "/v1/queue",
    **describe(
        "List what a body has to work on",
        """The appeals that lie with the token's organisation and are not done with, those passed up to it and
        those that it was asked about; each with the nearest of the organisation's own terms. First comes what
        passed longest ago (`order=due`), or what arrived last (`order=newest`). `version` is what `If-Match`
        names. By arrival, page after page shows each appeal once, whatever happens meanwhile; by due date,
        each whose term does not change meanwhile.""",
        gives=queues.QueuePage,
        example=examples.QUEUE,
        errors=[RequestError, CursorInvalidError],
        secured=True,
    ),
)
async def read_queue(
    request: Request,
    state: States = None,
    kind: Kind = None,
    role: Annotated[terms.Role | None, Query(description="Only what the organisation is this for.")] = None,
    overdue: Overdue = None,
    due_before: Before = None,
    order: Annotated[queues.Order, Query(description="By due date, or by arrival.")] = "due",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """The queue of the token's organisation."""
    service = service_of(request)
    async with service.snapshot() as connection:
        page = await queues.page(
            connection,
            await organisation_of(connection, request),
            service.ledger.now(),
            states=state,
            kind=kind,
            role=role,
            overdue=overdue,
            due_before=due_before,
            order=order,
            cursor=cursor,
            limit=limit,
        )
    return _answer(request, page)


@router.get(
    "/v1/queue/terms",
    **describe(
        "List what a body owes by when",
        """Every open obligation of the token's organisation, what passed longest ago first: to answer, to
        forward in time, to tell an applicant, to hold a hearing, to answer what another body asked, to
        pass a complaint up, to decide about one.""",
        gives=queues.TermPage,
        example=examples.TERMS,
        errors=[RequestError, CursorInvalidError],
        secured=True,
    ),
)
async def read_terms(
    request: Request,
    term: Annotated[list[terms.Term] | None, Query(description="Only one of these terms.")] = None,
    overdue: Overdue = None,
    due_before: Before = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """The open obligations of the token's organisation."""
    service = service_of(request)
    async with service.snapshot() as connection:
        page = await queues.terms(
            connection,
            await organisation_of(connection, request),
            service.ledger.now(),
            only=term,
            overdue=overdue,
            due_before=due_before,
            cursor=cursor,
            limit=limit,
        )
    return _answer(request, page)


@router.get(
    "/v1/organisations/{slug}/feed",
    **describe(
        "Follow what concerns an organisation",
        """Every event of an appeal that lies, or lay until this event, with the token's organisation, that it
        was asked about or that was passed up to it; in the order of the log. Ask again with `after` set to
        `next`: nothing is missed, and nothing comes twice. With `wait`, an answer that would be empty is held
        back until something happens, or for that many seconds.""",
        gives=appeals.BodyFeed,
        example=examples.FEED,
        errors=[RequestError, AnothersFeedError, FeedFullError],
        secured=True,
    ),
)
async def read_feed(
    request: Request,
    slug: Slug,
    after: Annotated[
        int,
        BeforeValidator(_behind),
        Query(ge=-1, le=MAX_POSITION, description="Behind this position; without it: from the beginning."),
    ] = -1,
    limit: Annotated[Number, Query(ge=1, le=MAX_FEED, description="Length of the page.")] = 100,
    wait: Annotated[Number, Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds.")] = 0,
) -> Response:
    """Events behind a position that concern the token's organisation."""
    service = service_of(request)
    async with service.snapshot() as connection:
        body = await _own(connection, request, f"organisation/{slug}")
        page = await appeals.feed(connection, body, after, limit)
    waiting, clock = service.waiting, asyncio.get_running_loop().time
    end = clock() + wait
    while not page.items and (left := end - clock()) > 0:
        if len(waiting) >= MAX_WAITING:
            raise FeedFullError("Too many clients wait here: ask again later, or without wait.")
        going_on = await waiting.wait(body, page.next, left)
        # No connection is held while nothing happens.
        async with service.pool.connection() as connection:
            page = await appeals.feed(connection, body, after, limit)
        if not going_on:
            break
    return _answer(request, page)


async def _own(connection: AsyncConnection[Any], request: Request, organisation: str) -> str:
    asking = await organisation_of(connection, request)
    if asking != organisation:
        own = asking.partition("/")[2]
        raise AnothersFeedError(f"This token is that of {asking}: ask for /v1/organisations/{own}/feed.")
    return asking


def _answer(request: Request, page: Any) -> Response:  # noqa: ANN401 - what msgspec encodes
    # Its tag is a digest of what it says: an answer that is known is one that would be the same now.
    found = answer(request, page, cache=PRIVATE)
    found.headers["vary"] = "Authorization"
    return found
