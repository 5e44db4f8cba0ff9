"""The OpenAPI description: complete for every call, with an example of each answer and each error.

Shapes are msgspec structs, which FastAPI does not know; so each route says here what it takes and gives, and
the document is completed with their JSON schemas.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from api.problems import MEDIA_TYPE, STATUSES, InternalError, JsonInvalidError, Problem, meaning
from api.tokens import TOKEN_ERRORS
from ledger.errors import AiqynError
from ledger.store.append import StoreUnavailableError

_REF = "#/components/schemas/{name}"
_ALWAYS: tuple[type[AiqynError], ...] = (StoreUnavailableError, InternalError)
_DESCRIPTIONS = {
    400: "The request cannot be read.",
    401: "A token is missing or not valid.",
    403: "Who asks may not.",
    404: "There is no such thing.",
    409: "The rules, or somebody faster, are against it.",
    410: "It was here, and was erased.",
    412: "The stream is not at the version in If-Match.",
    413: "The body is too large.",
    415: "The media type is not taken.",
    422: "The content is not right.",
    500: "The service failed.",
    503: "Not now: repeat later.",
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": 255, "pattern": '^"?[A-Za-z0-9_:.-]+"?$'},
    "description": "Any unique text, such as a UUID. A repeat with the same key and request gets the first "
    "answer, with `Idempotency-Replayed: true`; the same key with another request is refused.",
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "schema": {"type": "string"},
    "example": '"3"',
    "description": "The version of the stream that you saw, in quotes. If it has changed since: 412.",
}

_shapes: dict[str, type] = {}


def schema_of(shape: Any) -> dict[str, Any]:  # noqa: ANN401 - a struct, or a schema as it is
    """A reference to the schema of a struct; a schema is taken as it is."""
    if isinstance(shape, dict):
        return shape
    name = shape.__name__
    if _shapes.setdefault(name, shape) is not shape:
        raise ValueError(f"two shapes of the interface are called {name}")
    return {"$ref": _REF.format(name=name)}


def describe(
    summary: str,
    text: str,
    *,
    example: Any,  # noqa: ANN401 - any JSON value or text
    gives: Any = None,  # noqa: ANN401 - a struct or a schema
    status: int = 200,
    media_type: str = "application/json",
    takes: dict[str, tuple[Any, Any]] | None = None,
    errors: Iterable[type[AiqynError]] = (),
    conflict: bool = False,
    secured: bool = False,
    open_too: bool = False,
    parameters: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Arguments for a FastAPI route.

    ``takes``: media type → (shape, example) of the body. ``conflict``: If-Match is taken, 412 answered.
    ``secured``: it takes an organisation's token; ``open_too``: and is answered without one as well.
    """
    content = {"schema": schema_of({"type": "string"} if gives is None else gives), "example": example}
    answers: dict[int | str, dict[str, Any]] = {
        status: {"description": summary, "content": {media_type: content}},
        **problems([*errors, *(TOKEN_ERRORS if secured else ()), *_ALWAYS]),
    }
    if status == 200:
        answers[304] = {"description": "The client has this answer already (If-None-Match)."}
    extra: dict[str, Any] = {}
    parameters = list(parameters)
    if takes is not None:
        bodies = {
            kind: {"schema": schema_of(shape), "example": sample} for kind, (shape, sample) in takes.items()
        }
        extra["requestBody"] = {"required": True, "content": bodies}
        parameters.append(IDEMPOTENCY_KEY)
    if conflict:
        parameters.append(IF_MATCH)
        lost = _example("stream-conflict", 412)
        answers[412] = {"description": _DESCRIPTIONS[412], "content": {MEDIA_TYPE: _problems([lost])}}
    if secured:
        extra["security"] = [{"token": []}, {}] if open_too else [{"token": []}]
    if parameters:
        extra["parameters"] = parameters
    return {
        "summary": summary,
        "description": inspect.cleandoc(text),
        "responses": answers,
        "response_class": Response,
        "status_code": status,
        "openapi_extra": extra or None,
    }


def problems(errors: Iterable[type[AiqynError]]) -> dict[int | str, dict[str, Any]]:
    """The responses for kinds of errors, by status, with an example of each."""
    by_status: dict[int, dict[str, type[AiqynError]]] = {}
    for kind in errors:
        by_status.setdefault(STATUSES[kind.code], {})[kind.code] = kind
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: _problems([_sample(kind, status) for kind in kinds.values()])},
        }
        for status, kinds in sorted(by_status.items())
    }


def _problems(samples: list[dict[str, Any]]) -> dict[str, Any]:
    named = {
        str(sample["type"]).rpartition("/")[2]: {"summary": sample["title"], "value": sample}
        for sample in samples
    }
    return {"schema": schema_of(Problem), "examples": named}


def _sample(kind: type[AiqynError], status: int) -> dict[str, Any]:
    return {
        "type": f"/problems/{kind.code}", "title": kind.title, "status": status, "detail": meaning(kind),
    }  # fmt: skip


def _example(code: str, status: int) -> dict[str, Any]:
    from api.problems import kind_of

    return _sample(kind_of(code) or JsonInvalidError, status)


def complete(app: FastAPI, extra_paths: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The whole document: FastAPI's, the plain routes' and the shapes' schemas."""
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description,
        routes=app.routes, tags=app.openapi_tags, license_info=app.license_info,
    )  # fmt: skip
    for operations in document["paths"].values():
        for method, found in operations.items():
            if method != "get":
                found["responses"].pop("304", None)
            # Pydantic's form of a refused parameter is not what we answer.
            if MEDIA_TYPE not in found["responses"].get("422", {}).get("content", {MEDIA_TYPE: 0}):
                del found["responses"]["422"]
    for path, operations in extra_paths.items():
        document["paths"].setdefault(path, {}).update(operations)
    document["paths"] = dict(sorted(document["paths"].items()))
    _, components = msgspec.json.schema_components(list(_shapes.values()), ref_template=_REF)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas.update(components)
    document["components"]["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "An organisation's token, made by the operator: `aiqyn token create`.",
        }
    }
    return document


def operation(
    described: dict[str, Any], *, tags: list[str], name: str, parameters: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """What :func:`describe` gives, as an operation of the document, for a route that is not FastAPI's."""
    extra = dict(described["openapi_extra"] or {})
    extra["parameters"] = [*parameters, *extra.get("parameters", ())]
    return {
        "tags": tags,
        "summary": described["summary"],
        "description": described["description"],
        "operationId": name,
        **extra,
        "responses": {str(status): answer for status, answer in described["responses"].items()},
    }
