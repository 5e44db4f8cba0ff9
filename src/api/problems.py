"""Errors as RFC 9457 problem documents: one table says which status each code has.

``type`` is ``/problems/<code>``, relative to the service, which answers there what the code means.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ledger.errors import AiqynError, FatalError
from ledger.store.append import StoreUnavailableError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2

STATUSES: dict[str, int] = {
    # What was asked for is not there.
    "not-found": 404,
    "not-in-log": 404,
    "projection-unknown": 404,
    "erased": 410,
    # The request cannot be read.
    "request-invalid": 422,
    "breakdown-unknown": 422,
    "cursor-invalid": 422,
    "json-invalid": 400,
    "idempotency-key-invalid": 400,
    "precondition-invalid": 400,
    "body-too-large": 413,
    "media-type-unsupported": 415,
    "method-not-allowed": 405,
    "http": 400,
    # Who asks may not.
    "token-missing": 401,
    "token-invalid": 401,
    "issuer-not-authorised": 403,
    "petition-of-another-body": 403,
    "not-the-signer": 403,
    "not-the-author": 403,
    "signer-too-young": 403,
    "appeal-of-another-body": 403,
    "feed-of-another": 403,
    "code-wrong": 403,
    "not-the-applicant": 403,
    "not-a-reader": 403,
    "councils-only": 403,
    "cabinet-stale": 403,
    "read-only-copy": 403,
    # The rules, or somebody faster, are against it.
    "not-allowed": 409,
    "petition-closed": 409,
    "hearing-missing": 409,
    "matter-not-over": 409,
    "look-undrawn": 409,
    "not-in-sample": 409,
    "body-unknown": 409,
    "term-passed": 409,
    "term-wrong": 422,
    "already-signed": 409,
    "stream-conflict": 409,
    "import-conflict": 409,
    "idempotency-key-reused": 422,
    "webhook-limit": 409,
    "webhook-state": 409,
    "webhook-target-refused": 422,
    # A command's or an event's content.
    "command-invalid": 422,
    "text-invalid": 422,
    "event-malformed": 422,
    "event-type-unknown": 422,
    "event-signature-invalid": 422,
    "disclosure-mismatch": 422,
    "key-malformed": 422,
    "clock-skew": 422,
    "attachment-refused": 422,
    "attachment-unknown": 422,
    "no-term": 422,
    # A citizen's electronic signature.
    "signature-refused": 422,
    "cms-malformed": 422,
    "cms-too-large": 413,
    "signer-count": 422,
    "statement-mismatch": 422,
    "signed-attributes": 422,
    "digest-mismatch": 422,
    "signing-time": 422,
    "signature-invalid": 422,
    "algorithm-not-supported": 422,
    "certificate-missing": 422,
    "certificate-untrusted": 422,
    "certificate-expired": 422,
    "certificate-not-yet-valid": 422,
    "certificate-usage": 422,
    "certificate-authentication-only": 422,
    "certificate-not-a-person": 422,
    "certificate-of-system": 422,
    "person-unreadable": 422,
    "iin-invalid": 422,
    # Not now: repeat later.
    "store-unavailable": 503,
    "database-unavailable": 503,
    "feed-full": 503,
    "imports-full": 503,
    "exports-full": 503,
    "bulk-full": 503,
    "uploads-full": 503,
    "not-ready": 503,
    # A person must look before the service goes on.
    "fatal": 503,
    "log-rolled-back": 503,
    "log-halted": 503,
    "log-contradicted": 503,
    "migrations-pending": 503,
    # Ours to repair.
    "internal": 500,
    "error": 500,
    "vault": 500,
    "entries-missing": 500,
    "entry-unreadable": 500,
    "projection": 500,
    "projection-standstill": 500,
    "rebuild-running": 500,
    "swap-timeout": 500,
    "tlog-invalid": 500,
    "proof-invalid": 500,
    "tile-invalid": 500,
    "note-invalid": 500,
    "note-signature-invalid": 500,
    "note-unverified": 500,
    "checkpoint-invalid": 500,
    "policy-invalid": 500,
    "quorum-missing": 500,
    "algorithm-unavailable": 500,
    "witness-request-invalid": 500,
    # Said at the command line, to an operator or an auditor.
    "receipt-invalid": 500,
    "mirror": 500,
    "mirror-contradiction": 500,
    "mirror-not-a-copy": 500,
    "mirror-of-another": 500,
    "mirror-running": 500,
    "mirror-unverified": 500,
    "disclosures-malformed": 500,
    "witness-folder": 500,
    "witness-log": 500,
    "witness-state-lost": 503,
    "witness-rolled-back": 503,
    "log-key-missing": 500,
    "published-malformed": 500,
    "audit-state-unusable": 500,
    "source-not-served": 500,
    "source-oversized": 500,
    "source-unreadable": 500,
    "evidence-refused": 500,
    "sample-disputed": 500,
    "register-unreadable": 500,
    "mapping-invalid": 500,
    "import-stopped": 500,
    "export-failed": 500,
    "local-service": 500,
    "config": 500,
    "operator-keys": 500,
    "trust": 500,
    "not-initialised": 500,
    "service-failed": 500,
    "embedded-server": 500,
    "embedded-server-user": 500,
    "migration-failed": 500,
}
"""HTTP status by the code of the error."""


_PRIVATE = frozenset({"database-unavailable", "migrations-pending"})
"""Besides faults of the service: their text names machines and files."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Problem details (RFC 9457). Some problems carry further members, such as ``allowed``."""

    type: str
    """Names the kind of problem; stable, and readable at this address."""
    title: str
    """The kind in a few words, the same for every occurrence."""
    status: int
    detail: str
    """This occurrence in one sentence: what is wrong and what to do."""


class RequestError(AiqynError):
    """A parameter, a header or the body does not have the form that the OpenAPI description gives."""

    code = "request-invalid"
    title = "The request does not have the required form"


class JsonInvalidError(RequestError):
    """The body is not JSON, or a name stands twice in an object."""

    code = "json-invalid"
    title = "The body is not valid JSON"


class BodyTooLargeError(RequestError):
    """The body is longer than this service reads; it was not read to its end."""

    code = "body-too-large"
    title = "The request body is too large"


class MediaTypeError(RequestError):
    """The body has a ``Content-Type`` that this call does not take."""

    code = "media-type-unsupported"
    title = "This media type is not taken here"


class MethodNotAllowedError(RequestError):
    """The address exists; this method does not."""

    code = "method-not-allowed"
    title = "This method is not allowed here"


class HttpError(RequestError):
    """The request breaks a rule of HTTP itself."""

    code = "http"
    title = "The request cannot be served"


class InternalError(AiqynError):
    """A fault of the service; what was acknowledged before is not touched by it."""

    code = "internal"
    title = "The service failed"


def known_errors() -> Iterator[type[AiqynError]]:
    """Every kind of error that the loaded modules can raise."""
    found = [AiqynError]
    while found:
        kind = found.pop()
        yield kind
        found += kind.__subclasses__()


def kind_of(code: str) -> type[AiqynError] | None:
    """The first kind of error with that code."""
    return next((kind for kind in known_errors() if kind.code == code), None)


def meaning(kind: type[AiqynError]) -> str:
    """What the code means, as its class says it."""
    return " ".join((kind.__doc__ or kind.title).split("\n\n")[0].split())


def status_of(error: AiqynError) -> int:
    """HTTP status of an error; a fatal one is always 503."""
    return STATUSES.get(error.code, 503 if isinstance(error, FatalError) else 500)


def problem(error: AiqynError, status: int | None = None) -> dict[str, Any]:
    """The document for an error, its machine-readable details as further members."""
    status = status or status_of(error)
    document = msgspec.structs.asdict(
        Problem(type=f"/problems/{error.code}", title=error.title, status=status, detail=str(error))
    )
    if error.code in _PRIVATE or isinstance(error, FatalError) or status == HTTPStatus.INTERNAL_SERVER_ERROR:
        # What went wrong inside is for the operator's log, not for strangers.
        document["detail"] = "The service cannot do this now. Repeat it later; its operator can see why."
        return document
    return document | {name: value for name, value in error.details.items() if name not in document}


def respond(
    error: AiqynError, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer for an error."""
    document = problem(error, status)
    extra = {"cache-control": "no-store", **(headers or {})}
    if document["status"] == HTTPStatus.SERVICE_UNAVAILABLE:
        extra["retry-after"] = str(RETRY_AFTER_SECONDS)
    if document["status"] == HTTPStatus.UNAUTHORIZED:
        extra["www-authenticate"] = 'Bearer realm="aiqyn"'
    body = msgspec.json.encode(document, enc_hook=str)
    return Response(body, document["status"], headers=extra, media_type=MEDIA_TYPE)


async def on_error(request: Request, error: Exception) -> Response:
    """Answers errors of our own tree."""
    if not isinstance(error, AiqynError):
        raise error
    if status_of(error) == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s failed: %s", _route(request), error.code, exc_info=error)
    if error.code == "stream-conflict" and "if-match" in request.headers:
        return respond(error, status=HTTPStatus.PRECONDITION_FAILED)
    return respond(error)


async def on_database_error(request: Request, error: Exception) -> Response:
    """Answers a read for which the database was not there."""
    log.warning("%s: the database does not answer (%s)", _route(request), type(error).__name__)
    return respond(StoreUnavailableError("The ledger's database does not answer: repeat the request."))


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Answers parameters that FastAPI refused; their values are not repeated, they may be personal."""
    if not isinstance(error, RequestValidationError):
        raise error
    wrong = [
        {"in": str(item["loc"][0]), "name": ".".join(map(str, item["loc"][1:])), "reason": item["msg"]}
        for item in error.errors()
    ]
    names = ", ".join(f"{item['in']} {item['name']}" for item in wrong)
    return respond(RequestError(f"Not in the required form: {names}.", errors=wrong))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answers what the router and the protocol refuse."""
    if not isinstance(error, HTTPException):
        raise error
    from ledger.application import NotFoundError

    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            return respond(NotFoundError("There is nothing at this address: see /openapi.json."))
        case 405:
            allowed = headers.get("Allow", "")
            return respond(MethodNotAllowedError(f"This address takes: {allowed}."), headers=headers)
        case status:
            return respond(HttpError(str(error.detail)), status=status, headers=headers)


def _route(request: Request) -> str:
    return getattr(request.scope.get("route"), "path", "a request")
