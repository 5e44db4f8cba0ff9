"""Bearer tokens of organisations (RFC 6750): made by the operator, kept as a hash, revoked for ever.

A token has 256 random bits, so that neither a slow hash nor a comparison in constant time adds anything:
whoever cannot guess the token cannot steer its SHA-256 either.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection, Connection
from starlette.requests import Request

from ledger.encoding import b64url
from ledger.errors import AiqynError

PREFIX = "aiqyn_"
"""Lets scanners for leaked secrets know one."""
_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")


class TokenMissingError(AiqynError):
    """This call takes an organisation's token, as ``Authorization: Bearer …``."""

    code = "token-missing"
    title = "A token is missing"


class TokenInvalidError(AiqynError):
    """The token is unknown or was revoked."""

    code = "token-invalid"
    title = "The token is not valid"


TOKEN_ERRORS: tuple[type[AiqynError], ...] = (TokenMissingError, TokenInvalidError)
"""What :func:`organisation_of` raises."""


class Token(msgspec.Struct, frozen=True):
    """What is known of a token; the token itself is not."""

    id: str
    """First 12 hexadecimal digits of its hash: names it in lists and to revoke it."""
    organisation: str
    label: str
    created_at: datetime
    revoked_at: datetime | None


async def organisation_of(connection: AsyncConnection[Any], request: Request) -> str:
    """In whose name the request speaks. Raises :class:`TokenMissingError` or :class:`TokenInvalidError`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenMissingError("Send the organisation's token: Authorization: Bearer …")
    if _TOKEN.fullmatch(token) is not None:
        query = "SELECT organisation FROM ledger.tokens WHERE hash = %s AND revoked_at IS NULL"
        row = await (await connection.execute(query, [_hash(token)])).fetchone()
        if row is not None:
            return str(row[0])
    raise TokenInvalidError("This token is unknown here or was revoked: ask the operator for a new one.")


def create(connection: Connection[Any], organisation: str, label: str) -> str:
    """A new token; it is shown this once."""
    token = PREFIX + b64url(secrets.token_bytes(32))
    connection.execute(
        "INSERT INTO ledger.tokens (hash, organisation, label) VALUES (%s, %s, %s)",
        [_hash(token), organisation, label],
    )
    return token


def list_all(connection: Connection[Any], organisation: str | None = None) -> list[Token]:
    """Every token ever made, oldest first."""
    rows = connection.execute(
        "SELECT left(encode(hash, 'hex'), 12), organisation, label, created_at, revoked_at FROM ledger.tokens"
        " WHERE %s::text IS NULL OR organisation = %s ORDER BY created_at, hash",
        [organisation, organisation],
    )
    return [Token(*row) for row in rows.fetchall()]


def revoke(connection: Connection[Any], id_: str) -> bool:
    """Whether there was such a token, still valid."""
    changed = connection.execute(
        "UPDATE ledger.tokens SET revoked_at = now()"
        " WHERE left(encode(hash, 'hex'), 12) = %s AND revoked_at IS NULL",
        [id_],
    )
    return changed.rowcount > 0


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()
