"""The register of webhooks: who is told where, with which secret, and how it stands.

``organisation`` in these functions is whose webhooks are seen; None, for the operator's commands, sees all.
Each change is one transaction; the dispatcher is told of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import class_row

from api.problems import RequestError
from api.webhooks import signing
from api.webhooks.deliveries import CHANNEL, reckon, wants
from api.webhooks.network import Target
from api.webhooks.shapes import DeliveryDocument, DeliveryPage, WebhookDocument, WebhookSecret
from ledger import events
from ledger.application import NotFoundError
from ledger.errors import AiqynError
from ledger.store.vault import Vault

MAX_WEBHOOKS = 20
"""Of one organisation."""
MAX_SECRETS = 4
"""Valid at once; each is a signature in every message."""
OLD_SECRET_VALID = timedelta(hours=24)
_PURPOSE = "webhook-secret"


class WebhookLimitError(AiqynError):
    """There are as many webhooks, or valid secrets of one, as there may be: remove one, or wait."""

    code = "webhook-limit"
    title = "There are too many of these"


class WebhookStateError(AiqynError):
    """The webhook, or the message, is not in a state that allows this now."""

    code = "webhook-state"
    title = "The webhook's state does not allow this now"


def wrap_secret(vault: Vault, webhook: UUID, secret: bytes) -> bytes:
    """As it is stored."""
    return vault.wrap(_PURPOSE, str(webhook), secret)


def unwrap_secret(vault: Vault, webhook: UUID, wrapped: bytes) -> bytes:
    """The secret again. Raises ``VaultError``."""
    return vault.unwrap(_PURPOSE, str(webhook), wrapped)


def check_types(types: Sequence[str]) -> None:
    """Raises :class:`RequestError` for one that no event has: most likely a slip of the pen."""
    for wanted in types:
        if not any(wants([wanted], known) for known in events.catalogue):
            raise RequestError(
                f"types: {wanted!r} is no type of event, and no prefix of some with .* behind it."
            )


# --- reading ------------------------------------------------------------------------------------

_WEBHOOK = """
    SELECT w.id::text AS id, w.organisation, w.url, w.types, w.state, w.reason, w.created_at, w.position,
           (SELECT count(*) FROM service.deliveries d
            WHERE d.webhook = w.id AND d.state = 'waiting') AS waiting,
           w.delivered, w.failed, w.failures, w.failing_since, w.last_success_at, w.last_failure_at,
           w.last_status, w.last_error, CASE WHEN w.state = 'active' THEN w.due_at END AS next_try_at
    FROM service.webhooks w
    WHERE (%(organisation)s::text IS NULL OR w.organisation = %(organisation)s COLLATE "C")"""


async def list_all(connection: AsyncConnection[Any], organisation: str | None) -> tuple[WebhookDocument, ...]:
    """Oldest first."""
    async with connection.cursor(row_factory=class_row(WebhookDocument)) as cursor:
        await cursor.execute(
            f"{_WEBHOOK} AND w.state <> 'deleted' ORDER BY w.created_at, w.id", {"organisation": organisation}
        )
        return tuple(await cursor.fetchall())


async def get(connection: AsyncConnection[Any], organisation: str | None, webhook: UUID) -> WebhookDocument:
    """Raises ``NotFoundError``."""
    found = await _read(connection, organisation, webhook)
    if found is None or found.state == "deleted":
        raise _not_found()
    return found


async def _read(
    connection: AsyncConnection[Any], organisation: str | None, webhook: UUID
) -> WebhookDocument | None:
    async with connection.cursor(row_factory=class_row(WebhookDocument)) as cursor:
        await cursor.execute(f"{_WEBHOOK} AND w.id = %(id)s", {"organisation": organisation, "id": webhook})
        return await cursor.fetchone()


async def _again(connection: AsyncConnection[Any], webhook: UUID) -> WebhookDocument:
    found = await _read(connection, None, webhook)
    if found is None:
        raise _not_found()
    return found


async def secrets(
    connection: AsyncConnection[Any], vault: Vault, webhook: UUID, now: datetime
) -> list[bytes]:
    """Those that are valid, the current one first."""
    rows = await connection.execute(
        "SELECT wrapped FROM service.webhook_secrets"
        " WHERE webhook = %s AND (expires_at IS NULL OR expires_at > %s) ORDER BY number DESC",
        [webhook, now],
    )
    return [unwrap_secret(vault, webhook, bytes(row[0])) for row in await rows.fetchall()]


async def deliveries(
    connection: AsyncConnection[Any],
    organisation: str | None,
    webhook: UUID,
    *,
    state: str | None = None,
    below: int | None = None,
    limit: int = 100,
) -> DeliveryPage:
    """The latest positions first. Raises ``NotFoundError``."""
    await get(connection, organisation, webhook)
    values = {"webhook": webhook, "state": state, "below": below, "limit": limit}
    async with connection.cursor(row_factory=class_row(DeliveryDocument)) as cursor:
        await cursor.execute(_DELIVERIES, values)
        items = tuple(await cursor.fetchall())
    return DeliveryPage(items, items[-1].position if len(items) == limit else None)


_DELIVERIES = """
    SELECT webhook || '_' || position AS message, position, stream, type, state, attempts, status, error,
           created_at, tried_at, next_at AS next_try_at, finished_at
    FROM service.deliveries
    WHERE webhook = %(webhook)s AND (%(below)s::bigint IS NULL OR position < %(below)s)
      AND (%(state)s::text IS NULL OR state = %(state)s COLLATE "C")
    ORDER BY position DESC LIMIT %(limit)s"""


# --- changing -----------------------------------------------------------------------------------


async def create(
    connection: AsyncConnection[Any],
    vault: Vault,
    organisation: str,
    target: Target,
    types: Sequence[str],
    now: datetime,
) -> WebhookSecret:
    """A new webhook, told what happens from now on. Raises :class:`WebhookLimitError` or ``RequestError``."""
    check_types(types)
    webhook, secret = uuid.uuid4(), signing.new_secret()
    async with connection.transaction():
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"webhooks of {organisation}"]
        )
        rows = await connection.execute(
            "SELECT count(*) FROM service.webhooks WHERE organisation = %s AND state <> 'deleted'",
            [organisation],
        )
        row = await rows.fetchone()
        if row is not None and row[0] >= MAX_WEBHOOKS:
            raise WebhookLimitError(f"An organisation has up to {MAX_WEBHOOKS} webhooks: remove one first.")
        await connection.execute(
            "INSERT INTO service.webhooks (id, organisation, url, host, types, state, created_at, position)"
            " SELECT %s, %s, %s, %s, %s, 'active', %s, coalesce(max(position), -1)"
            ' FROM projections.concerns WHERE body = %s COLLATE "C"',
            [webhook, organisation, target.text, target.key, list(dict.fromkeys(types)), now, organisation],
        )
        await connection.execute(
            "INSERT INTO service.webhook_secrets (webhook, number, wrapped) VALUES (%s, 1, %s)",
            [webhook, wrap_secret(vault, webhook, secret)],
        )
        return WebhookSecret(await _again(connection, webhook), signing.secret_text(secret))


async def change(
    connection: AsyncConnection[Any],
    organisation: str | None,
    webhook: UUID,
    state: Literal["active", "paused"],
    now: datetime,
) -> WebhookDocument:
    """Pause it, or let it go on: then everything that waits for its next try is tried now."""
    async with connection.transaction(), connection.cursor() as cursor:
        await _hold(cursor, organisation, webhook)
        await cursor.execute(
            "UPDATE service.webhooks SET state = %s, reason = NULL WHERE id = %s", [state, webhook]
        )
        if state == "active":
            await cursor.execute(
                "UPDATE service.webhooks SET failures = 0, failing_since = NULL, rest_until = NULL"
                " WHERE id = %s",
                [webhook],
            )
            await cursor.execute(
                "UPDATE service.deliveries SET next_at = %s"
                " WHERE webhook = %s AND next_at > %s AND lease IS NULL",
                [now, webhook, now],
            )
        await _tell(cursor, webhook)
        return await _again(connection, webhook)


async def remove(
    connection: AsyncConnection[Any], organisation: str | None, webhook: UUID
) -> WebhookDocument:
    """Forget its secrets now, and the rest of it bit by bit; nothing new is sent."""
    async with connection.transaction(), connection.cursor() as cursor:
        await _hold(cursor, organisation, webhook)
        await cursor.execute("DELETE FROM service.webhook_secrets WHERE webhook = %s", [webhook])
        await cursor.execute(
            "UPDATE service.webhooks SET state = 'deleted', reason = NULL WHERE id = %s", [webhook]
        )
        await _tell(cursor, webhook)
        return await _again(connection, webhook)


async def rotate(
    connection: AsyncConnection[Any], vault: Vault, organisation: str | None, webhook: UUID, now: datetime
) -> WebhookSecret:
    """A new secret; the ones before stay valid for 24 hours. Raises :class:`WebhookLimitError`."""
    secret = signing.new_secret()
    async with connection.transaction(), connection.cursor() as cursor:
        await _hold(cursor, organisation, webhook)
        await cursor.execute(
            "SELECT count(*) FILTER (WHERE expires_at IS NULL OR expires_at > %s), max(number)"
            " FROM service.webhook_secrets WHERE webhook = %s",
            [now, webhook],
        )
        valid, newest = await cursor.fetchone() or (0, 0)
        if valid >= MAX_SECRETS:
            raise WebhookLimitError(
                f"{valid} secrets of this webhook are valid: an old one stays so for 24 hours. Wait for that."
            )
        await cursor.execute(
            "UPDATE service.webhook_secrets SET expires_at = %s WHERE webhook = %s AND expires_at IS NULL",
            [now + OLD_SECRET_VALID, webhook],
        )
        await cursor.execute(
            "INSERT INTO service.webhook_secrets (webhook, number, wrapped) VALUES (%s, %s, %s)",
            [webhook, newest + 1, wrap_secret(vault, webhook, secret)],
        )
        return WebhookSecret(await _again(connection, webhook), signing.secret_text(secret))


async def retry(
    connection: AsyncConnection[Any], organisation: str | None, webhook: UUID, position: int, now: datetime
) -> DeliveryDocument:
    """Send one message again, now; what waits behind it in its stream goes on waiting.

    Raises ``NotFoundError``, or :class:`WebhookStateError` while it is on its way or another must go first.
    """
    async with connection.transaction(), connection.cursor() as cursor:
        standing = await _hold(cursor, organisation, webhook)
        await cursor.execute(
            "SELECT d.stream, d.next_at, d.lease, EXISTS (SELECT FROM service.deliveries o WHERE"
            " o.webhook = d.webhook AND o.stream = d.stream AND o.state = 'waiting'"
            " AND o.position < d.position) FROM service.deliveries d"
            " WHERE d.webhook = %s AND d.position = %s",
            [webhook, position],
        )
        row = await cursor.fetchone()
        if row is None:
            raise NotFoundError(
                f"This webhook has no message about position {position}; finished ones are kept for 30 days."
            )
        stream, next_at, lease, preceded = row
        if lease is not None and next_at > now:
            raise WebhookStateError("This message is on its way: look again in a minute.")
        if preceded:
            raise WebhookStateError("An earlier message of the same stream goes first: retry that one.")
        if position > standing:
            raise WebhookStateError("This message is to be sent again already, in its turn.")
        await cursor.execute(
            "UPDATE service.deliveries SET next_at = NULL, lease = NULL"
            " WHERE webhook = %s AND stream = %s AND next_at IS NOT NULL",
            [webhook, stream],
        )
        await cursor.execute(
            "UPDATE service.deliveries SET state = 'waiting', finished_at = NULL, next_at = %s,"
            " attempts = CASE WHEN state = 'waiting' THEN attempts ELSE 0 END"
            " WHERE webhook = %s AND position = %s",
            [now, webhook, position],
        )
        await cursor.execute("UPDATE service.webhooks SET rest_until = NULL WHERE id = %s", [webhook])
        await _tell(cursor, webhook)
    page = await deliveries(connection, None, webhook, below=position + 1, limit=1)
    return page.items[0]


async def redeliver(
    connection: AsyncConnection[Any], organisation: str | None, webhook: UUID, position: int, now: datetime
) -> WebhookDocument:
    """Send everything from ``position`` on again, in order.

    Raises ``NotFoundError``, or :class:`WebhookStateError` for a position that it did not reach yet.
    """
    async with connection.transaction(), connection.cursor() as cursor:
        standing = await _hold(cursor, organisation, webhook)
        if position > standing:
            raise WebhookStateError(f"This webhook stands at {standing}: what comes behind is sent anyway.")
        # What waits is taken in again behind what it follows; what is finished is when its turn comes.
        await cursor.execute(
            "DELETE FROM service.deliveries WHERE webhook = %s AND position >= %s AND state = 'waiting'",
            [webhook, position],
        )
        await cursor.execute(
            "UPDATE service.webhooks SET position = %s WHERE id = %s", [position - 1, webhook]
        )
        await _tell(cursor, webhook)
        return await _again(connection, webhook)


async def _hold(cursor: AsyncCursor[Any], organisation: str | None, webhook: UUID) -> int:
    """Hold its row; where it stands. Raises ``NotFoundError``."""
    await cursor.execute(
        "SELECT position FROM service.webhooks WHERE id = %s AND state <> 'deleted'"
        ' AND (%s::text IS NULL OR organisation = %s COLLATE "C") FOR UPDATE',
        [webhook, organisation, organisation],
    )
    row = await cursor.fetchone()
    if row is None:
        raise _not_found()
    return int(row[0])


async def _tell(cursor: AsyncCursor[Any], webhook: UUID) -> None:
    await reckon(cursor, [webhook])
    await cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])


def _not_found() -> NotFoundError:
    return NotFoundError("You have no such webhook: see GET /v1/webhooks.")
