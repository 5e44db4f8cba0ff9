"""The calls about webhooks: an organisation registers targets under its token, and sees its own alone."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import msgspec
from fastapi import APIRouter, Path, Query, Request
from psycopg import AsyncConnection
from pydantic import BeforeValidator
from starlette.responses import Response

from api.citizens import READING_ERRORS
from api.codec import JSON, NEVER, T, answer, decode, require_json
from api.idempotency import IdempotencyKeyError, command_id
from api.openapi import IDEMPOTENCY_KEY, describe
from api.parameters import Below, Limit, Position
from api.problems import RequestError
from api.service import authenticated, service_of
from api.webhooks import answers, registry, shapes, signing
from api.webhooks.answers import Kept
from api.webhooks.network import Client, Target, WebhookTargetError, checked_addresses
from api.webhooks.registry import WebhookLimitError, WebhookStateError
from ledger.application import NotFoundError
from ledger.errors import AiqynError
from ledger.store.append import CommandReusedError

router = APIRouter(tags=["webhooks"])

_KEY_ERRORS: tuple[type[AiqynError], ...] = (IdempotencyKeyError, CommandReusedError)


def _webhook_id(value: object) -> object:
    if (
        not isinstance(value, str)
        or re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value) is None
    ):
        raise NotFoundError("There is no such webhook: its id is a lower-case UUID.")
    return value


WebhookId = Annotated[
    UUID,
    BeforeValidator(_webhook_id),
    Path(description="Lower-case UUID of the webhook.", examples=[shapes.WEBHOOK["id"]]),
]
DeliveryState = Annotated[
    Literal["waiting", "delivered", "failed"] | None, Query(description="Only messages in this state.")
]


@router.post(
    "/v1/webhooks",
    **describe(
        "Register a webhook",
        """From now on, each event of an appeal that concerns your organisation is sent to `url` by POST,
        signed after the Standard Webhooks convention (https://www.standardwebhooks.com) with the `secret` of
        the answer, which is shown this once. The body is `{type, timestamp, data}`; `data` has `position`,
        `stream`, `n`, `iss`, `kid`, `time`, the event's public `facts`, and `entry`, the sealed event.

        Of one stream, messages come in order: the next only after you answered 2xx to the one before. They
        may come more than once, with the same `webhook-id`. The URL is https on port 443 or 8443, its name
        leads to public addresses alone, and redirects are not followed.""",
        status=201,
        gives=shapes.WebhookSecret,
        example=shapes.WEBHOOK_SECRET,
        secured=True,
        takes={JSON: (shapes.WebhookRequest, shapes.WEBHOOK_REQUEST)},
        errors=[*READING_ERRORS, WebhookTargetError, WebhookLimitError],
    ),
)
async def create_webhook(request: Request) -> Response:
    """Check the target, and register it."""
    service, organisation = await authenticated(request)
    asked, body = await _body(request, shapes.WebhookRequest)

    async def check() -> Target:
        private = service.settings.webhooks_allow_private
        registry.check_types(asked.types)
        target = Target.parse(asked.url, allow_private=private)
        await checked_addresses(target.host, target.port, allow_private=private)
        return target

    async def work(connection: AsyncConnection[Any], target: Target) -> tuple[str | None, Any]:
        ledger = service.ledger
        made = await registry.create(
            connection, ledger.vault, organisation, target, asked.types, ledger.now()
        )
        return f"/v1/webhooks/{made.webhook.id}", made

    return await _once(request, organisation, body, work, status=201, check=check)


@router.get(
    "/v1/webhooks",
    **describe(
        "List your webhooks",
        "All of your organisation, oldest first. Their secrets are not shown again.",
        gives=shapes.WebhookList,
        example=shapes.WEBHOOKS,
        secured=True,
    ),
)
async def list_webhooks(request: Request) -> Response:
    """Of the token's organisation."""
    service, organisation = await authenticated(request)
    async with service.pool.connection() as connection:
        items = await registry.list_all(connection, organisation)
    return answer(request, shapes.WebhookList(items), cache=NEVER)


@router.get(
    "/v1/webhooks/{id}",
    **describe(
        "Read a webhook",
        """Its state, the position that it stands at, how many messages wait, its last success and failure,
        and when it is tried next.""",
        gives=shapes.WebhookDocument,
        example=shapes.WEBHOOK,
        secured=True,
        errors=[NotFoundError],
    ),
)
async def read_webhook(request: Request, id: WebhookId) -> Response:
    """One of the token's organisation."""
    service, organisation = await authenticated(request)
    async with service.pool.connection() as connection:
        return answer(request, await registry.get(connection, organisation, id), cache=NEVER)


@router.patch(
    "/v1/webhooks/{id}",
    **describe(
        "Pause a webhook, or let it go on",
        """While it is `paused`, nothing is sent and nothing is lost. `active` lets it go on, also one
        that we disabled; everything that waits for its next try is tried at once.""",
        gives=shapes.WebhookDocument,
        example=shapes.PAUSED_WEBHOOK,
        secured=True,
        takes={JSON: (shapes.WebhookChange, shapes.WEBHOOK_CHANGE)},
        errors=[*READING_ERRORS, NotFoundError],
    ),
)
async def change_webhook(request: Request, id: WebhookId) -> Response:
    """Set its state."""
    service, organisation = await authenticated(request)
    asked, body = await _body(request, shapes.WebhookChange)

    async def work(connection: AsyncConnection[Any], _: object) -> tuple[str | None, Any]:
        now = service.ledger.now()
        return None, await registry.change(connection, organisation, id, asked.state, now)

    return await _once(request, organisation, body, work)


@router.delete(
    "/v1/webhooks/{id}",
    **describe(
        "Remove a webhook",
        "Nothing more is sent, but for a message that is on its way; its secrets are destroyed at once.",
        gives=shapes.WebhookDocument,
        example=shapes.DELETED_WEBHOOK,
        secured=True,
        errors=[NotFoundError],
    ),
)
async def delete_webhook(request: Request, id: WebhookId) -> Response:
    """For good."""
    service, organisation = await authenticated(request)
    async with service.writing() as connection:
        return answer(request, await registry.remove(connection, organisation, id), cache=NEVER)


@router.post(
    "/v1/webhooks/{id}/secret",
    **describe(
        "Rotate a webhook's secret",
        """The new secret is shown this once. The old one stays valid for 24 hours: until then each message
        has a signature for both in `webhook-signature`, separated by a space.""",
        status=201,
        gives=shapes.WebhookSecret,
        example=shapes.WEBHOOK_SECRET,
        secured=True,
        parameters=[IDEMPOTENCY_KEY],
        errors=[*_KEY_ERRORS, NotFoundError, WebhookLimitError],
    ),
)
async def rotate_secret(request: Request, id: WebhookId) -> Response:
    """A second secret, and an end for the first."""
    service, organisation = await authenticated(request)

    async def work(connection: AsyncConnection[Any], _: object) -> tuple[str | None, Any]:
        ledger = service.ledger
        made = await registry.rotate(connection, ledger.vault, organisation, id, ledger.now())
        return f"/v1/webhooks/{id}", made

    return await _once(request, organisation, b"", work, status=201)


_trials: set[UUID] = set()
"""Webhooks to which a test message is on its way from this process."""


@router.post(
    "/v1/webhooks/{id}/test",
    **describe(
        "Send a test message",
        """One message of type `webhook.test`, sent now whatever the webhook's state is, signed as any
        other. The answer says what came back; it changes nothing in how the webhook stands.""",
        gives=shapes.WebhookTrial,
        example=shapes.WEBHOOK_TRIAL,
        secured=True,
        errors=[NotFoundError, WebhookStateError],
    ),
)
async def test_webhook(request: Request, id: WebhookId) -> Response:
    """Send, wait, and tell."""
    service, organisation = await authenticated(request)
    now = service.ledger.now()
    async with service.pool.connection() as connection:
        webhook = await registry.get(connection, organisation, id)
        secrets = await registry.secrets(connection, service.ledger.vault, id, now)
    if id in _trials:
        raise WebhookStateError("A test message to this webhook is on its way: wait for its answer.")
    body = signing.trial(id, now)
    message = signing.message_id(id, f"test-{uuid4().hex[:8]}")
    headers = signing.headers(message, now, body, secrets)
    _trials.add(id)
    started = time.perf_counter()
    try:
        async with Client(allow_private=service.settings.webhooks_allow_private) as client:
            got = await client.post(webhook.url, headers, body)
    finally:
        _trials.discard(id)
    seconds = round(time.perf_counter() - started, 3)
    found = shapes.WebhookTrial(got.ok, got.status, got.error, seconds, message)
    return answer(request, found, cache=NEVER)


@router.get(
    "/v1/webhooks/{id}/deliveries",
    **describe(
        "List a webhook's messages",
        """The latest positions first: what waits, what was delivered, what failed and why. Finished ones are
        kept for 30 days.""",
        gives=shapes.DeliveryPage,
        example=shapes.DELIVERIES,
        secured=True,
        errors=[NotFoundError, RequestError],
    ),
)
async def list_deliveries(
    request: Request,
    id: WebhookId,
    state: DeliveryState = None,
    below: Below = None,
    limit: Limit = 50,
) -> Response:
    """A page."""
    service, organisation = await authenticated(request)
    async with service.pool.connection() as connection:
        page = await registry.deliveries(connection, organisation, id, state=state, below=below, limit=limit)
    return answer(request, page, cache=NEVER)


@router.post(
    "/v1/webhooks/{id}/deliveries/{position}/retry",
    **describe(
        "Send a message again",
        """Now, whether it waits for its next try, failed, or was delivered. What comes behind it in its
        stream waits until it is through, or has failed again.""",
        gives=shapes.DeliveryDocument,
        example=shapes.DELIVERY,
        secured=True,
        parameters=[IDEMPOTENCY_KEY],
        errors=[*_KEY_ERRORS, NotFoundError, RequestError, WebhookStateError],
    ),
)
async def retry_delivery(request: Request, id: WebhookId, position: Position) -> Response:
    """Let it be due."""
    service, organisation = await authenticated(request)

    async def work(connection: AsyncConnection[Any], _: object) -> tuple[str | None, Any]:
        now = service.ledger.now()
        return None, await registry.retry(connection, organisation, id, position, now)

    return await _once(request, organisation, b"", work)


@router.post(
    "/v1/webhooks/{id}/redelivery",
    **describe(
        "Send everything again from a position on",
        """For a receiver that lost what it had: every message from `position` on is sent again, in order,
        under the same `webhook-id` as before.""",
        gives=shapes.WebhookDocument,
        example=shapes.REDELIVERED_WEBHOOK,
        secured=True,
        takes={JSON: (shapes.RedeliveryRequest, shapes.REDELIVERY_REQUEST)},
        errors=[*READING_ERRORS, NotFoundError, WebhookStateError],
    ),
)
async def redeliver(request: Request, id: WebhookId) -> Response:
    """Set it back."""
    service, organisation = await authenticated(request)
    asked, body = await _body(request, shapes.RedeliveryRequest)

    async def work(connection: AsyncConnection[Any], _: object) -> tuple[str | None, Any]:
        now = service.ledger.now()
        return None, await registry.redeliver(connection, organisation, id, asked.position, now)

    return await _once(request, organisation, body, work)


# --- what the calls share ------------------------------------------------------------------------

_Work = Callable[[AsyncConnection[Any], Any], Awaitable[tuple[str | None, Any]]]
"""Takes what was checked, gives the new thing's address and the document of the answer."""


async def _body(request: Request, kind: type[T]) -> tuple[T, bytes]:
    require_json(request)
    body = await request.body()
    return decode(body, kind), body


async def _once(
    request: Request,
    organisation: str,
    body: bytes,
    work: _Work,
    *,
    status: int = 200,
    check: Callable[[], Awaitable[Any]] | None = None,
) -> Response:
    """Do the work, or give again what it was answered under the same Idempotency-Key.

    ``check`` may take its time: no transaction and no connection is held meanwhile.
    """
    service = service_of(request)
    vault, now = service.ledger.vault, service.ledger.now()
    command = command_id(request, body, organisation)
    if command is not None:
        async with service.pool.connection() as connection:
            kept = await answers.find(connection, vault, command)
        if kept is not None:
            return _respond(kept, replayed=True)
    checked = None if check is None else await check()

    async def do(connection: AsyncConnection[Any]) -> Kept:
        location, document = await work(connection, checked)
        return Kept(status, location, msgspec.json.encode(document))

    async with service.writing() as connection:
        kept, replayed = await answers.once(connection, vault, command, now, do)
    return _respond(kept, replayed=replayed)


def _respond(kept: Kept, *, replayed: bool) -> Response:
    headers = {"cache-control": NEVER}
    if kept.location is not None:
        headers["location"] = kept.location
    if replayed:
        headers["idempotency-replayed"] = "true"
    return Response(kept.body, kept.status, headers=headers, media_type=JSON)
