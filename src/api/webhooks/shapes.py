"""The JSON of the calls about webhooks, and their examples."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from api import examples

State = Literal["active", "paused", "disabled", "deleted"]
EventPattern = Annotated[
    str, Meta(max_length=100, pattern=r"^[a-z][a-z_]*(\.[a-z_]+)*(\.\*)?\Z", examples=["appeal.*"])
]
"""A type of event, or the beginning of some with ``.*``."""
Position = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class WebhookRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A target for messages."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    types: Annotated[tuple[EventPattern, ...], Meta(max_length=50)] = ()
    """Types of events, or prefixes such as ``appeal.*``; without any: every event that concerns you."""


class WebhookDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook, and how it stands."""

    id: str
    organisation: str
    url: str
    types: tuple[str, ...]
    state: State
    """``paused`` by you, ``disabled`` by us for a ``reason``; what happens meanwhile is sent afterwards."""
    reason: str | None
    created_at: datetime
    position: int
    """Everything up to it has been looked at; -1 before the first. What still waits is in ``waiting``."""
    waiting: int
    delivered: int
    failed: int
    """Given up after the last try."""
    failures: int
    """Failed tries since the last success."""
    failing_since: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_status: int | None
    last_error: str | None
    next_try_at: datetime | None


class WebhookList(msgspec.Struct, frozen=True):
    """Your webhooks, oldest first."""

    items: tuple[WebhookDocument, ...]


class WebhookSecret(msgspec.Struct, frozen=True):
    """A webhook with its new secret, which is shown this once."""

    webhook: WebhookDocument
    secret: str
    """``whsec_`` and base64 of 32 bytes: the key of the signatures."""


class WebhookChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pause a webhook, or let it go on."""

    state: Literal["active", "paused"]


class RedeliveryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to begin anew."""

    position: Position
    """The first that is sent again; at most where the webhook stands."""


class WebhookTrial(msgspec.Struct, frozen=True):
    """What a test message brought back."""

    delivered: bool
    """Whether the status was 2xx."""
    status: int | None
    error: str | None
    seconds: float
    message: str
    """Its ``webhook-id``."""


class DeliveryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One message, and what became of it. What the receiver answered is not kept, but for its status."""

    message: str
    """Its ``webhook-id``, the same for every try."""
    position: int
    stream: str
    type: str
    state: Literal["waiting", "delivered", "failed"]
    attempts: int
    status: int | None
    error: str | None
    created_at: datetime
    tried_at: datetime | None
    next_try_at: datetime | None
    """None while it waits for an earlier one of its stream."""
    finished_at: datetime | None


class DeliveryPage(msgspec.Struct, frozen=True):
    """Some messages of a webhook, the latest positions first; finished ones are kept for 30 days."""

    items: tuple[DeliveryDocument, ...]
    next: int | None
    """Give it as ``below`` for the next page."""


_ID = "0b6e5f0e-7a4b-4f0e-9d5c-3f6a1c2b7d11"
_APPEAL = "appeal/JT-2026-00000017"
_URL = "https://village.example/aiqyn"
WEBHOOK: dict[str, Any] = {
    "id": _ID, "organisation": examples.BODY, "url": _URL, "types": ["appeal.*"], "state": "active",
    "reason": None, "created_at": examples.TIME, "position": 1043, "waiting": 1, "delivered": 17, "failed": 0,
    "failures": 1, "failing_since": examples.TIME, "last_success_at": examples.TIME,
    "last_failure_at": examples.TIME, "last_status": 503, "last_error": None, "next_try_at": examples.TIME,
}  # fmt: skip
NEW_WEBHOOK = WEBHOOK | {
    "waiting": 0, "delivered": 0, "failures": 0, "failing_since": None, "last_success_at": None,
    "last_failure_at": None, "last_status": None, "next_try_at": None,
}  # fmt: skip
WEBHOOKS = {"items": [WEBHOOK]}
WEBHOOK_REQUEST = {"url": _URL, "types": ["appeal.*"]}
WEBHOOK_SECRET = {
    "webhook": NEW_WEBHOOK,
    "secret": "whsec_c2VjcmV0IG9mIGFuIGV4YW1wbGUsIDMyIGJ5dGVzISE=",
}
WEBHOOK_CHANGE = {"state": "paused"}
PAUSED_WEBHOOK = NEW_WEBHOOK | {"state": "paused"}
DELETED_WEBHOOK = NEW_WEBHOOK | {"state": "deleted"}
REDELIVERY_REQUEST = {"position": 1000}
REDELIVERED_WEBHOOK = NEW_WEBHOOK | {"position": 999}
WEBHOOK_TRIAL = {
    "delivered": False, "status": 404, "error": None, "seconds": 0.21, "message": f"{_ID}_test-9f86d081",
}  # fmt: skip
DELIVERY = {
    "message": f"{_ID}_1042", "position": 1042, "stream": _APPEAL, "type": "appeal.taken",
    "state": "waiting", "attempts": 1, "status": 503, "error": None, "created_at": examples.TIME,
    "tried_at": examples.TIME, "next_try_at": examples.TIME, "finished_at": None,
}  # fmt: skip
DELIVERIES = {"items": [DELIVERY], "next": None}
