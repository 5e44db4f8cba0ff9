"""Repeating a command that appends nothing to the ledger: its first answer is kept and given again.

As ``api.idempotency`` promises for every command. The answer may hold a webhook's secret, which is why a lost
one must be had again, and why it is kept encrypted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from ledger.store.append import CommandId, CommandReusedError
from ledger.store.vault import Vault

_PURPOSE = "webhook-answer"


class Kept(NamedTuple):
    """An answer."""

    status: int
    location: str | None
    body: bytes


async def find(connection: AsyncConnection[Any], vault: Vault, command: CommandId) -> Kept | None:
    """What the command was answered before. Raises ``CommandReusedError``."""
    rows = await connection.execute(
        "SELECT request, status, location, wrapped FROM service.answers WHERE scope = %s AND key = %s",
        [command.scope, command.key],
    )
    row = await rows.fetchone()
    if row is None:
        return None
    request, status, location, wrapped = row
    if bytes(request) != command.request:
        raise CommandReusedError(command.key)
    return Kept(status, location, vault.unwrap(_PURPOSE, _owner(command), bytes(wrapped)))


async def once(
    connection: AsyncConnection[Any],
    vault: Vault,
    command: CommandId | None,
    now: datetime,
    work: Callable[[AsyncConnection[Any]], Awaitable[Kept]],
) -> tuple[Kept, bool]:
    """In one transaction, do the work and keep its answer; or give the one that is kept, and True."""
    async with connection.transaction():
        if command is None:
            return await work(connection), False
        owner = _owner(command)
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [owner])
        kept = await find(connection, vault, command)
        if kept is not None:
            return kept, True
        kept = await work(connection)
        await connection.execute(
            "INSERT INTO service.answers (scope, key, request, status, location, wrapped, at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [command.scope, command.key, command.request, kept.status, kept.location,
             vault.wrap(_PURPOSE, owner, kept.body), now],
        )  # fmt: skip
        return kept, False


def _owner(command: CommandId) -> str:
    return f"{command.scope} {command.key}"
