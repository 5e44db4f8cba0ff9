"""What every request passes: measuring, a bound on bodies, HEAD, CORS and the last resort for faults.

Plain ASGI, because each of these stands in the way of every signature. The access log tells method, route
template, status and duration; never an address, a query, a body or who asked.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.problems import BodyTooLargeError, InternalError, respond

log = logging.getLogger(__name__)
access = logging.getLogger("api.access")

UNKNOWN_ROUTE = "(none)"
STREAMS = frozenset({"/v1/feed", "/v1/exports/appeals.xes", "/v1/exports/appeals.jsonocel"})
"""Answers without an end, or with a far one: not measured, not asked by HEAD."""
BODY_LIMITS = {
    "/v1/appeals/imports": 32 * 2**20,
    "/v1/events/bulk": 32 * 2**20,
    "/v1/attachments": 11 * 2**20,
}
"""Bytes that some calls take, where that is more than the setting: they read many commands at once."""
_READS = ("GET", "HEAD", "OPTIONS")
_EXPOSED = b"ETag, Location, Retry-After, Link, Aiqyn-As-Of"
_ALLOWED = b"If-None-Match, Last-Event-ID, Accept, Cache-Control"


class Observed:
    """Measures each request, writes the access log, and turns a fault into a problem document."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        started = time.perf_counter()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception:
            log.exception("%s failed", _route(scope))
            if status:
                raise  # half an answer is out: the connection breaks, so that nobody takes it for whole
            await respond(InternalError("unexpected"))(scope, receive, note)
        finally:
            self._tell(scope, status, time.perf_counter() - started)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = _route(scope), scope["method"]
        if method not in _KNOWN_METHODS:
            method = "other"
        if route not in STREAMS:
            self._metrics.seen(route, method, status, seconds)
        if access.isEnabledFor(logging.INFO):
            line = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)}
            access.info("%s", json.dumps(line))


_KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class BodyLimit:
    """Refuses a body above the limit as soon as it is known, by its declared or by its received length.

    Starlette's own middleware for this answers a declared length with plain text, not with a problem.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting its body."""
        if scope["type"] != "http" or scope["method"] in _READS:
            await self._app(scope, receive, send)
            return
        limit = max(self._limit, BODY_LIMITS.get(scope["path"], 0))
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
            await self._refuse(limit, scope, receive, send)
            return
        received = 0
        answered = False

        async def count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLongError
            return message

        async def note(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, count, note)
        except _TooLongError:
            if answered:
                raise
            await self._refuse(limit, scope, receive, send)

    @staticmethod
    async def _refuse(limit: int, scope: Scope, receive: Receive, send: Send) -> None:
        error = BodyTooLargeError(
            f"At most {limit} bytes are read here; a signature has a few thousand.", limit=limit
        )
        # The rest of the body is not read: the connection cannot be used again.
        await respond(error, headers={"connection": "close"})(scope, receive, send)


class _TooLongError(BaseException):
    """Passes through handlers that catch Exception."""


class Head:
    """Answers HEAD as GET without the body (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"] in STREAMS:
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # In a copy: the measuring outside is to see HEAD.
        inner = {**scope, "method": "GET"}
        try:
            await self._app(inner, receive, without_body)
        finally:
            if "route" in inner:
                scope["route"] = inner["route"]


class Cors:
    """Lets pages of other sites read, never write; the log is for everybody."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.encode("latin-1") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer with the headers of the Fetch standard."""
        if scope["type"] != "http" or scope["method"] not in _READS:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        allowed = self._allowed(scope["path"], headers.get(b"origin"))
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            extra = [(b"access-control-allow-methods", b"GET, HEAD"), (b"access-control-max-age", b"86400")]
            extra += [(b"access-control-allow-headers", _ALLOWED), *allowed]
            await send({"type": "http.response.start", "status": 204, "headers": extra})
            await send({"type": "http.response.body", "body": b""})
            return

        async def permit(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *allowed]
            await send(message)

        await self._app(scope, receive, permit)

    def _allowed(self, path: str, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        if b"*" in self._origins or path.startswith("/log/"):
            answer = [(b"access-control-allow-origin", b"*")]
        elif origin in self._origins and origin is not None:
            answer = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        else:
            return [(b"vary", b"Origin")]
        return [*answer, (b"access-control-expose-headers", _EXPOSED)]


def _route(scope: Scope) -> str:
    """The template of the route that answers, so that an address's parts are in no log."""
    return getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
