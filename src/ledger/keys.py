"""Signing keys, their ids, and who may issue what.

The ledger alone says who could say what when: keys become valid by ``organisation.key_registered``
and invalid by ``organisation.key_revoked``. :class:`Directory` folds these events in log order, so
that at every position it knows the keys of that moment. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger import ed25519, events
from ledger.encoding import b64url, b64url_decode
from ledger.errors import AiqynError

if TYPE_CHECKING:
    from ledger.statement import Event


class UnauthorisedIssuerError(AiqynError):
    """The key is unknown, revoked, or its role does not allow this type of event."""

    code = "issuer-not-authorised"
    title = "This key may not issue this event"


class MalformedKeyError(AiqynError):
    """Not the text form of a key."""

    code = "key-malformed"
    title = "This is not a key"


def key_id(public_key: str) -> str:
    """The ``kid`` of an Ed25519 key: its RFC 7638 thumbprint. ``public_key`` is the JWK's ``x``."""
    jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{public_key}"}}'
    return b64url(hashlib.sha256(jwk.encode("ascii")).digest())


class VerifyingKey:
    """The public half of an issuer's Ed25519 key."""

    __slots__ = ("_key", "kid", "public_key", "raw")

    def __init__(self, public_key: str) -> None:
        try:
            self.raw = b64url_decode(public_key)
            self._key = Ed25519PublicKey.from_public_bytes(self.raw)
        except ValueError as error:
            raise MalformedKeyError(
                "An Ed25519 public key is 32 bytes in base64url without padding."
            ) from error
        if not ed25519.is_key(self.raw):
            raise MalformedKeyError("Under this Ed25519 public key anybody could sign: make a new one.")
        self.public_key = public_key
        self.kid = key_id(public_key)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether ``signature`` (64 bytes, RFC 8032) is this key's over ``message``."""
        return ed25519.verifies(self.raw, signature, message)


class SigningKey:
    """An issuer's Ed25519 key. Its text form is the 32-byte seed in base64url; keep it secret."""

    __slots__ = ("_key", "kid", "public_key")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = b64url(key.public_key().public_bytes_raw())
        self.kid = key_id(self.public_key)

    @classmethod
    def generate(cls) -> Self:
        """A new key from the system's random source."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, text: str) -> Self:
        """Read the text form. Raises :class:`MalformedKeyError`."""
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(b64url_decode(text.strip())))
        except ValueError as error:
            raise MalformedKeyError("A signing key is 32 bytes in base64url without padding.") from error

    def seed(self) -> str:
        """The text form, secret."""
        return b64url(self._key.private_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """64 bytes, RFC 8032."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"


_BODY: frozenset[events.Role] = frozenset(
    {"body", "registrar", "head", "executor", "controller", "front-office"}
)
ROLES_OF_KIND: dict[events.OrganisationKind, frozenset[events.Role]] = {
    "operator": frozenset({"operator", "gateway", "clock"}),
    "authorised-body": _BODY | {"moderator"},
    "central": _BODY,
    "akimat": _BODY,
    "maslikhat": _BODY,
    "institution": _BODY - {"body"},
    "front-office": frozenset({"front-office"}),
    "council": frozenset({"auditor"}),
}
"""Which roles the keys of which organisations may have."""


@dataclass(slots=True)
class _Organisation:
    facts: events.OrganisationRegistered
    keys: dict[str, tuple[VerifyingKey, frozenset[events.Role]]] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)


class Directory:
    """Who may issue what, at the position up to which it was folded."""

    def __init__(self, operator: str | None = None) -> None:
        """``operator`` pins the stream of the operator; without it the first entry names it."""
        self.operator = operator
        self._organisations: dict[str, _Organisation] = {}
        self._by_kid: dict[str, VerifyingKey] = {}

    def organisation(self, stream: str) -> events.OrganisationRegistered | None:
        """What is registered under that stream's name."""
        found = self._organisations.get(stream)
        return found.facts if found else None

    def key(self, kid: str) -> VerifyingKey | None:
        """The key of that id, revoked or not: to check signatures, not to authorise."""
        return self._by_kid.get(kid)

    def roles(self, organisation: str, kid: str) -> frozenset[events.Role]:
        """What that key may do in that organisation's name now; empty for unknown and revoked keys."""
        found = self._organisations.get(organisation)
        if found is None or kid in found.revoked or kid not in found.keys:
            return frozenset()
        return found.keys[kid][1]

    def authorise(self, event: Event) -> VerifyingKey:
        """The key that may have issued ``event`` now; its signature is still to be checked.

        Raises :class:`UnauthorisedIssuerError`.
        """
        if not self._organisations:
            return self._authorise_first(event)
        facts = event.facts
        if not self.roles(event.iss, event.kid) & facts.issuers:
            needed = " or ".join(sorted(facts.issuers))
            raise UnauthorisedIssuerError(
                f"Key {event.kid} of {event.iss} may not issue {facts.type!r}: that takes a key with the "
                f"role {needed}, registered for that organisation and not revoked.",
                issuer=event.iss,
                kid=event.kid,
                event_type=facts.type,
            )
        return self._by_kid[event.kid]

    def _authorise_first(self, event: Event) -> VerifyingKey:
        facts = event.facts
        if (
            not isinstance(facts, events.OrganisationRegistered)
            or facts.kind != "operator"
            or facts.root_key is None
            or event.iss != event.stream
            or (self.operator is not None and event.stream != self.operator)
            or key_id(facts.root_key) != event.kid
        ):
            raise UnauthorisedIssuerError(
                "A ledger begins with its operator, registering itself under the key that signs the entry.",
                issuer=event.iss,
                kid=event.kid,
            )
        return VerifyingKey(facts.root_key)

    def apply(self, event: Event) -> None:
        """Fold one event, in log order.

        Other rooms than ``organisation`` are passed over, and so is what a log that breaks the rules says
        about an organisation that it did not register.
        """
        facts = event.facts
        if isinstance(facts, events.OrganisationRegistered):
            first = not self._organisations
            organisation = self._organisations.setdefault(event.stream, _Organisation(facts))
            if first and facts.root_key is not None:
                self.operator = event.stream
                self._add_key(organisation, facts.root_key, ("operator",))
            return
        known = self._organisations.get(event.stream)
        if known is None:
            return
        match facts:
            case events.OrganisationPopulationRecorded():
                known.facts = msgspec.structs.replace(known.facts, population=facts.population)
            case events.OrganisationKeyRegistered():
                self._add_key(known, facts.key, facts.roles)
            case events.OrganisationKeyRevoked():
                known.revoked.add(facts.kid)
            case _:
                pass

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data: :meth:`load` makes the same directory of it."""
        return {
            "operator": self.operator,
            "organisations": [
                [
                    stream,
                    msgspec.json.encode(found.facts),
                    [[key.public_key, sorted(roles)] for key, roles in found.keys.values()],
                    sorted(found.revoked),
                ]
                for stream, found in self._organisations.items()
            ],
        }

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> Self:
        """What :meth:`dump` gave. Raises ``msgspec.MsgspecError`` or :class:`MalformedKeyError`."""
        directory = cls(dumped["operator"])
        for stream, facts, keys, revoked in dumped["organisations"]:
            found = _Organisation(msgspec.json.decode(facts, type=events.OrganisationRegistered))
            directory._organisations[stream] = found
            for public_key, roles in keys:
                directory._add_key(found, public_key, roles)
            found.revoked.update(revoked)
        return directory

    def _add_key(self, organisation: _Organisation, public_key: str, roles: Iterable[events.Role]) -> None:
        key = VerifyingKey(public_key)
        self._by_kid.setdefault(key.kid, key)
        organisation.keys[key.kid] = (key, frozenset(roles))
