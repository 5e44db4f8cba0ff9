"""Plain Starlette routes with their part of the OpenAPI description: the hot call, and the log's files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from api.openapi import operation


class NamedRoute(Route):
    """A route that tells the middleware its template, and the description what it does."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        method: str,
        *,
        tags: list[str],
        described: dict[str, Any],
        parameters: Sequence[dict[str, Any]] = (),
    ) -> None:
        """``described`` is what :func:`api.openapi.describe` gives."""
        super().__init__(path, endpoint, methods=[method])
        self.operation = operation(described, tags=tags, name=endpoint.__name__, parameters=parameters)
        self.method = method.lower()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As Starlette's, with the route in the scope, as FastAPI's routes do it."""
        match, child = super().matches(scope)
        if match is not Match.NONE:
            child["route"] = self
        return match, child
