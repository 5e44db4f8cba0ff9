"""Whether the process lives, whether it can do its work, and what it counts."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import psycopg
from fastapi import APIRouter, Request
from msgspec.structs import asdict
from starlette.responses import Response

from api import examples
from api.codec import JSON, NEVER
from api.cosigned import read_state
from api.metrics import CONTENT_TYPE
from api.openapi import describe
from api.service import Service, service_of
from api.webhooks.deliveries import totals
from ledger.errors import AiqynError
from ledger.store import migrate
from ledger.store.append import LogHaltedError
from projections import ALL
from projections.digest import published
from projections.positions import Status, status_async

router = APIRouter(tags=["operation"])

MAX_LAG = 50_000
"""Entries that projections may be behind before a balancer should ask another process."""


class NotReadyError(AiqynError):
    """The process lives, but some part that it needs does not work."""

    code = "not-ready"
    title = "The service is not ready"


_ANY = {"type": "object"}


def _uncached(described: dict[str, Any]) -> dict[str, Any]:
    del described["responses"][304]
    return described


@router.get(
    "/healthz",
    **_uncached(
        describe("Ask whether the process lives", "Says nothing about the database.", gives=_ANY,
                 example=examples.HEALTHY)
    ),
)  # fmt: skip
async def healthz() -> Response:
    """Alive."""
    return _answer({"status": "ok"})


@router.get(
    "/readyz",
    **_uncached(
        describe(
            "Ask whether the service can work",
            "The database answers and fits this version, appends are not stopped, projections keep up.",
            gives=_ANY,
            example=examples.READY,
            errors=[NotReadyError],
        )
    ),
)
async def readyz(request: Request) -> Response:
    """Ready, or 503 with what is wrong."""
    service = service_of(request)
    fatal = service.ledger.sequencer.fatal
    document: dict[str, Any] = {"status": "ok", "appends": "ok" if fatal is None else fatal.code}
    wrong = [] if fatal is None else [f"appends are stopped ({fatal.code})"]
    witnessing = None
    try:
        found = await asyncio.to_thread(migrate.status, service.ledger_url)
        if found.pending or found.unknown:
            wrong.append("the database is of another version")
        statuses = await _positions(service)
        async with service.pool.connection() as connection:
            witnessing = await read_state(connection)
    except (psycopg.Error, AiqynError):
        document |= {"database": "unavailable"}
        wrong.append("the database does not answer")
    else:
        document |= {"database": "ok", "size": statuses[0].head + 1, "projections": {}}
        for one in statuses:
            shown = {"position": one.position, "lag": one.lag, "error": one.error}
            document["projections"][one.name] = shown
            if one.error is not None:
                wrong.append(f"projection {one.name} stands still")
            elif one.lag > MAX_LAG:
                wrong.append(f"projection {one.name} is {one.lag} entries behind")
        # A copy is always halted: nobody appends to it.
        if witnessing.halted is not None and fatal is None and service.mirror_of is None:
            document["appends"] = LogHaltedError.code
            wrong.append(f"appends are stopped ({LogHaltedError.code})")
        if service.policy is not None:
            # Late cosignatures keep nobody from signing: a balancer must not turn away from this process.
            document["witnesses"] = "ok" if witnessing.behind_since is None else "waiting"
    if wrong:
        raise NotReadyError(f"Not ready: {'; '.join(wrong)}.", **(document | {"status": 503}))
    return _answer(document)


@router.get(
    "/metrics",
    **_uncached(
        describe(
            "Read the metrics",
            "Prometheus text format. Nothing in it is about a person.",
            media_type="text/plain",
            example="aiqyn_log_size 1044.0\n",
        )
    ),
)
async def metrics(request: Request) -> Response:
    """Counters, and gauges as of now."""
    service = service_of(request)
    counted = service.metrics
    counted.waiting.set(service.ledger.sequencer.waiting)
    counted.feeds.set(service.follower.clients)
    counted.fatal.set(service.ledger.sequencer.fatal is not None)
    async with service.pool.connection() as connection:
        for outcome, count in asdict(await totals(connection)).items():
            counted.webhooks.labels(outcome).set(count)
        witnessing = await read_state(connection)
    counted.cosigned.set(witnessing.cosigned_size or 0)
    since = witnessing.behind_since
    counted.behind.set(0 if since is None else max(0.0, service.ledger.clock() - since.timestamp()))
    for one in await _positions(service):
        counted.size.set(one.head + 1)
        counted.lag.labels(one.name).set(one.lag)
    return Response(counted.render(), headers={"cache-control": NEVER, "content-type": CONTENT_TYPE})


async def _positions(service: Service) -> list[Status]:
    # A copy lacks what private projections are folded from.
    folded = ALL if service.mirror_of is None else published(ALL)
    async with service.pool.connection() as connection:
        return await status_async(connection, folded)


def _answer(document: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(document), headers={"cache-control": NEVER}, media_type=JSON)
