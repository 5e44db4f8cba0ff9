"""Repeating a command safely: ``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header), ``If-Match``.

A key is remembered in the transaction that records the command, for ever: who repeats a request gets what
it brought about the first time, however often and whenever. A refused request leaves no trace of its key.
"""

from __future__ import annotations

import hashlib
import re

from starlette.requests import Request

from api.problems import RequestError
from ledger.store.append import CommandId

HEADER = "idempotency-key"
_BARE = re.compile(r"[A-Za-z0-9_:.\-]{1,255}")
_QUOTED = re.compile(r'"([A-Za-z0-9_:.\-]{1,253})"')


class IdempotencyKeyError(RequestError):
    """The ``Idempotency-Key`` is not 1 to 255 letters, digits or ``_ : . -``, in quotes or without."""

    code = "idempotency-key-invalid"
    title = "The Idempotency-Key does not have the required form"


class PreconditionError(RequestError):
    """``If-Match`` is not one version of a stream in quotes, such as ``"3"``."""

    code = "precondition-invalid"
    title = "If-Match does not have the required form"


def command_id(request: Request, body: bytes, scope: str) -> CommandId | None:
    """The command's identity, if the client gave it one. ``scope``: whose keys these are."""
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    match = (_QUOTED.fullmatch(values[0]) or _BARE.fullmatch(values[0])) if len(values) == 1 else None
    if match is None:
        raise IdempotencyKeyError(
            "Send one Idempotency-Key: 1 to 255 letters, digits or _ : . -, such as a UUID."
        )
    key = match[1] if match.re is _QUOTED else match[0]
    asked = hashlib.sha256()
    headers = (request.headers.get("content-type", ""), request.headers.get("if-match", ""))
    query = request.scope["query_string"].decode("latin-1")
    for part in (request.method, request.scope["path"], query, *headers):
        asked.update(f"{len(part)}:{part}\n".encode())
    asked.update(body)
    return CommandId(scope, key, request.app.state.service.ledger.vault.request(asked.digest()))


def expected_version(request: Request) -> int | None:
    """The stream version in ``If-Match``; ``*`` and no header ask for none."""
    value = request.headers.get("if-match")
    if value is None or value.strip() == "*":
        return None
    match = re.fullmatch(r'"(0|[1-9][0-9]{0,17})"', value.strip(), re.ASCII)
    if match is None:
        raise PreconditionError('If-Match takes one version of a stream in quotes, such as "3".')
    return int(match[1])
