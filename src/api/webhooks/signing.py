"""What a receiver gets: the message of an event, and the headers that prove where it comes from.

After Standard Webhooks 1.0.0, symmetric: HMAC-SHA-256 over ``id.timestamp.body``. Signing is these few lines
instead of the convention's package: the package signs text and reads its time as UTC whatever zone it is in,
where here the very bytes that go out are signed. The tests verify with the package.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from ledger.statement import open_event

PREFIX = "whsec_"
SECRET_BYTES = 32
TEST_TYPE = "webhook.test"


class Data(msgspec.Struct, frozen=True):
    """One event: where it stands, who said so, and its public facts. No disclosure, not even a public one."""

    position: int
    stream: str
    n: int
    """Version of the stream with this event."""
    iss: str
    kid: str
    time: datetime
    facts: dict[str, Any]
    entry: str
    """The exact text of the sealed event, to verify; everything else here follows from it."""


class Message(msgspec.Struct, frozen=True):
    """The body of a message: the same bytes however often it is sent."""

    type: str
    timestamp: datetime
    """When the event happened."""
    data: Data


def message(position: int, entry: bytes) -> bytes:
    """The body for an entry. Raises ``MalformedEventError`` or ``UnknownEventTypeError``."""
    event = open_event(entry)
    facts = msgspec.to_builtins(event.facts)
    data = Data(position, event.stream, event.n, event.iss, event.kid, event.at, facts, entry.decode("ascii"))
    return msgspec.json.encode(Message(event.facts.type, event.at, data))


def trial(webhook: UUID, at: datetime) -> bytes:
    """A body that is about no event."""
    return msgspec.json.encode({"type": TEST_TYPE, "timestamp": at, "data": {"webhook": str(webhook)}})


def message_id(webhook: UUID, position: int | str) -> str:
    """``webhook-id``: the same however often the message is sent; without ``.``, as the convention asks."""
    return f"{webhook}_{position}"


def new_secret() -> bytes:
    """32 random bytes."""
    return os.urandom(SECRET_BYTES)


def secret_text(secret: bytes) -> str:
    """As a receiver is given it: ``whsec_`` and base64."""
    return PREFIX + base64.b64encode(secret).decode("ascii")


def headers(id_: str, at: datetime, body: bytes, secrets: Iterable[bytes]) -> dict[str, str]:
    """The convention's three headers; a signature for each secret, separated by spaces.

    ``at``: the time of this attempt; receivers refuse what is older than some minutes.
    """
    timestamp = str(int(at.timestamp()))
    signed = f"{id_}.{timestamp}.".encode("ascii") + body
    signatures = [base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)) for secret in secrets]
    return {
        "webhook-id": id_,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature.decode('ascii')}" for signature in signatures),
    }
