"""The application: every route, what stands before them, and what is open while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

import psycopg
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api import (
    appeals,
    bulk,
    citizens,
    commands,
    disclosures,
    entries,
    evidence,
    exports,
    feed,
    health,
    imports,
    log,
    meanings,
    organisations,
    oversight,
    petitions,
    queues,
    register,
    signing,
    streams,
)
from api.copies import CopyParts, refusal
from api.metrics import Metrics
from api.middleware import BodyLimit, Cors, Head, Observed
from api.openapi import complete
from api.problems import on_database_error, on_error, on_http_error, on_validation_error
from api.service import Parts, Service
from api.webhooks import routes as webhooks
from ledger.errors import AiqynError

TAGS = [
    {"name": "petitions", "description": "Petitions, their numbers and their signatures, for everybody."},
    {"name": "citizens", "description": "Filing, signing and taking back, by electronic signature alone."},
    {"name": "appeals", "description": "The one window: turning to a body, and following what it does."},
    {"name": "oversight", "description": "Figures over appeals: what councils and everybody may ask."},
    {"name": "organisations", "description": "Institutions: who they are, and the events that they post."},
    {"name": "webhooks", "description": "Messages to the systems of organisations, signed and retried."},
    {"name": "log", "description": "The ledger itself: entries, proofs, tiles, and a feed of events."},
    {"name": "operation", "description": "For those who run the service."},
]
ROUTERS = (
    petitions.router, citizens.router, commands.router, organisations.router, streams.router,
    appeals.router, queues.router, register.router, bulk.router, imports.router, exports.router,
    evidence.router, entries.router, feed.router, health.router, meanings.router, webhooks.router,
    oversight.router, disclosures.router,
)  # fmt: skip
READING = (
    petitions.router, organisations.router, streams.router, register.router, exports.router, entries.router,
    feed.router, health.router, meanings.router, oversight.router, disclosures.router,
)  # fmt: skip
"""What a copy has: nothing of it asks for a key or a token."""
PLAIN = (signing.ROUTE, *log.ROUTES)


class _App(FastAPI):
    """FastAPI, with the plain routes and the shapes in its description."""

    def openapi(self) -> dict[str, object]:
        """The OpenAPI document, made once."""
        if not self.openapi_schema:
            plain: dict[str, dict[str, object]] = {}
            for route in PLAIN:
                plain.setdefault(route.path_format, {})[route.method] = route.operation
            self.openapi_schema = complete(self, plain)
        return self.openapi_schema


def create_app(parts: Parts | CopyParts) -> FastAPI:
    """The application over these parts; they are opened when it starts and closed when it stops."""
    metrics = Metrics()
    is_copy = isinstance(parts, CopyParts)
    opened = parts.open if isinstance(parts, CopyParts) else partial(Service.open, parts)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with opened(metrics) as service:
            app.state.service = service
            yield

    app = _App(
        title="Aiqyn",
        summary="A publicly verifiable ledger of petitions",
        description="Every signature and every step is a sealed event in an append-only log. What is read "
        "here follows from that log and can be recounted from it: see `/log/` and `aiqyn audit`.",
        version=version("aiqyn"),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=TAGS,
        openapi_url=None,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    for route in log.ROUTES if is_copy else PLAIN:
        app.router.routes.append(route)
    for router in READING if is_copy else ROUTERS:
        app.include_router(router)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(_: Request) -> Response:
        return JSONResponse(app.openapi(), headers={"cache-control": "public, max-age=300"})

    if is_copy:
        # Behind what is read there: an address may be read by one method and written by another.
        written = [route for router in ROUTERS if router not in READING for route in router.routes]
        for path in dict.fromkeys(
            route.path for route in (signing.ROUTE, *written) if isinstance(route, Route)
        ):
            app.router.routes.append(refusal(path))
    app.add_exception_handler(AiqynError, on_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(psycopg.OperationalError, on_database_error)
    # The last one added stands outermost.
    app.add_middleware(BodyLimit, limit=parts.settings.body_limit_bytes)
    app.add_middleware(Cors, origins=parts.settings.cors_origins)
    app.add_middleware(Head)
    app.add_middleware(Observed, metrics=metrics)
    return app
