"""Seal and open one event: an issuer-signed SD-JWT (RFC 9901) in compact form. Pure.

An entry of the ledger is the exact bytes ``header.payload.signature~``: the SD-JWT without its
disclosures. What may be taken away or must stay secret is disclosed beside it, each disclosure bound
by its SHA-256 digest in ``_sd``. Nothing is ever re-serialised: what was received is what is hashed.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ledger.encoding import b64url, b64url_decode
from ledger.errors import AiqynError
from ledger.events import (
    HASH_PATTERN,
    MAX_INTEGER,
    Fact,
    KeyId,
    MalformedEventError,
    Number,
    Stream,
    UnknownEventTypeError,
    catalogue,
    dated,
    decode,
)
from ledger.keys import SigningKey, VerifyingKey

MAX_ENTRY_BYTES = 65_535
"""The length prefix of an entry bundle has 16 bits (C2SP tlog-tiles)."""
TYP = "aiqyn-event+sd-jwt"
ALGORITHMS = frozenset({"Ed25519", "EdDSA"})
"""RFC 9864's name is what we write; its older name is read too."""


class SignatureInvalidError(AiqynError):
    """The event's signature is not the key's."""

    code = "event-signature-invalid"
    title = "The event's signature does not verify"


class DisclosureMismatchError(AiqynError):
    """A disclosure is not one that the event commits to, or one is missing."""

    code = "disclosure-mismatch"
    title = "The disclosures do not belong to this event"


_LATEST = 2**33
"""Some time in 2242: ``iat`` is below, so that every term reckoned from it is a date as well."""
_MAX_DIGESTS = 100
_Digest = Annotated[str, Meta(min_length=43, max_length=43, pattern=rf"^{HASH_PATTERN}\Z")]
_EventId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    alg: str
    typ: str
    kid: KeyId


# Every text is bound to a form: what stands in an entry stands there for ever, and may hold no free text.
class _Payload(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    iss: Stream
    iat: Annotated[int, Meta(ge=0, lt=_LATEST)]
    jti: _EventId
    stream: Stream
    n: Number
    type: str
    v: Number
    data: msgspec.Raw
    sd: Annotated[list[_Digest], Meta(min_length=1, max_length=_MAX_DIGESTS)] | UnsetType = msgspec.field(
        name="_sd", default=UNSET
    )
    sd_alg: Literal["sha-256"] | UnsetType = msgspec.field(name="_sd_alg", default=UNSET)


class _Written(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A payload as this library writes it; its fields are checked by :func:`_usual`."""

    iss: str
    iat: int
    jti: str
    stream: str
    n: int
    type: str
    v: int
    data: msgspec.Raw
    sd: list[str] | UnsetType = msgspec.field(name="_sd", default=UNSET)
    sd_alg: str | UnsetType = msgspec.field(name="_sd_alg", default=UNSET)


_header_decoder = msgspec.json.Decoder(_Header)
_payload_decoder = msgspec.json.Decoder(_Payload)
_written_decoder = msgspec.json.Decoder(_Written)
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Disclosure:
    """Salt, name and value behind one digest of an event (RFC 9901, section 4.2)."""

    encoded: str
    name: str
    value: Any
    digest: str
    """What stands in ``_sd``: SHA-256 over the text form, base64url."""

    @classmethod
    def make(cls, name: str, value: Any) -> Disclosure:  # noqa: ANN401 - any JSON value
        """With a fresh salt of 128 bits."""
        salt = b64url(secrets.token_bytes(16))
        return cls._of(b64url(_encoder.encode([salt, name, value])), name, value)

    @classmethod
    def parse(cls, encoded: str) -> Disclosure:
        """Read the text form. Raises :class:`MalformedEventError`."""
        try:
            salt, name, value = msgspec.json.decode(b64url_decode(encoded), type=tuple[str, str, Any])
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise MalformedEventError(
                "A disclosure is base64url of a JSON array: salt, name, value."
            ) from error
        if len(salt) < 22:
            raise MalformedEventError(f"The salt of disclosure {name!r} has less than 128 bits.")
        return cls._of(encoded, name, value)

    @classmethod
    def _of(cls, encoded: str, name: str, value: Any) -> Disclosure:  # noqa: ANN401 - any JSON value
        return cls(encoded, name, value, b64url(hashlib.sha256(encoded.encode("ascii")).digest()))

    def __repr__(self) -> str:
        return f"Disclosure({self.name!r})"  # values are personal: they never reach a log line


class Event(msgspec.Struct, frozen=True, gc=False):
    """One opened event. Its signature is checked by :meth:`verify`, not by opening it."""

    iss: str
    kid: str
    iat: int
    """Seconds since 1970, UTC (RFC 7519 NumericDate)."""
    jti: str
    stream: str
    n: int
    facts: Fact
    digests: frozenset[str]
    entry: bytes

    @property
    def at(self) -> datetime:
        """``iat`` as a time in UTC."""
        return datetime.fromtimestamp(self.iat, UTC)

    def verify(self, key: VerifyingKey) -> None:
        """Raises :class:`SignatureInvalidError` unless ``key`` signed exactly these bytes."""
        signed, _, tail = self.entry.rpartition(b".")
        if key.kid != self.kid or not key.verifies(b64url_decode(tail[:-1]), signed):
            raise SignatureInvalidError(
                f"Event {self.n} of {self.stream} is not signed by key {self.kid}.",
                stream=self.stream,
                n=self.n,
            )

    def check_disclosures(self, disclosures: Iterable[Disclosure], *, complete: bool) -> None:
        """Raises :class:`DisclosureMismatchError` unless each belongs to this event and to its type.

        ``complete`` asks for all of them: what an issuer must hand over with a new event.
        """
        given = tuple(disclosures)
        for disclosure in given:
            if disclosure.digest not in self.digests:
                raise DisclosureMismatchError(
                    f"No digest in the event stands for the disclosure {disclosure.name!r}.",
                    disclosure=disclosure.name,
                )
        _check_names(self.facts, given, complete=complete)


def _check_names(facts: Fact, disclosures: Iterable[Disclosure], *, complete: bool) -> None:
    declared, names = facts.public | facts.restricted, set[str]()
    for name in (disclosure.name for disclosure in disclosures):
        if name not in declared or name in names:
            raise DisclosureMismatchError(
                f"{facts.type!r} has no disclosure {name!r}, or it came twice.", disclosure=name
            )
        names.add(name)
    if complete and (missing := declared - names):
        raise DisclosureMismatchError(
            f"{facts.type!r} needs the disclosures {', '.join(sorted(missing))}.", missing=sorted(missing)
        )


_header_segments: dict[str, bytes] = {}


def seal(
    facts: Fact,
    *,
    iss: str,
    stream: str,
    n: int,
    at: datetime,
    key: SigningKey,
    jti: str | None = None,
    disclosures: Iterable[Disclosure] = (),
) -> Event:
    """Sign ``facts`` as event ``n`` of ``stream`` in the name of ``iss``.

    ``disclosures`` must be exactly those that the type declares. Raises :class:`DisclosureMismatchError`,
    or :class:`MalformedEventError` for what could not be opened again: facts or a stream of the wrong form,
    more than :data:`MAX_ENTRY_BYTES`.
    """
    given = tuple(disclosures)
    _check_names(facts, given, complete=True)
    digests = sorted(d.digest for d in given)  # sorted: their order says nothing about what they hide
    jti = jti or b64url(secrets.token_bytes(16))
    iat = int(at.timestamp())
    payload = _Payload(
        iss, iat, jti, stream, n, facts.type, facts.version, msgspec.Raw(_encoder.encode(facts)),
        digests or UNSET, "sha-256" if digests else UNSET,
    )  # fmt: skip
    header = _header_segments.get(key.kid)
    if header is None:
        encoded = _encoder.encode(_Header("Ed25519", TYP, key.kid))
        header = _header_segments[key.kid] = b64url(encoded).encode("ascii")
    signed = header + b"." + b64url(_encoder.encode(payload)).encode("ascii")
    entry = signed + b"." + b64url(key.sign(signed)).encode("ascii") + b"~"
    return open_event(entry)  # structs do not check their fields: what cannot be read is never appended


def open_event(entry: bytes) -> Event:
    """Read an entry strictly; signature and authority are checked by the caller, who knows the keys.

    Raises :class:`MalformedEventError` or :class:`ledger.events.UnknownEventTypeError`.
    """
    return open_signed(entry)[0]


def open_signed(entry: bytes) -> tuple[Event, bytes, bytes]:
    """As :func:`open_event`; also the signature (64 bytes), and what it is over."""
    if len(entry) > MAX_ENTRY_BYTES:
        raise MalformedEventError(f"An event has at most {MAX_ENTRY_BYTES} bytes; this one has {len(entry)}.")
    parts = entry.split(b".")
    if len(parts) != 3 or entry[-1:] != b"~":  # another ~ would be no base64url
        raise MalformedEventError("An event is header.payload.signature~ and nothing after it.")
    head, body, tail = parts
    try:
        kid = _known_headers.get(head) or _read_header(head)
        raw = b64url_decode(body)
        signature = b64url_decode(tail[:-1])
        if len(signature) != 64:
            raise MalformedEventError("The signature of an event has 64 bytes.")
        payload, facts = _usual(raw) or _unusual(raw)
    except (MalformedEventError, UnknownEventTypeError):
        raise
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise MalformedEventError(f"The event cannot be read: {error}.") from error
    if (payload.sd_alg == "sha-256") != bool(payload.sd):
        raise MalformedEventError("_sd_alg says sha-256 where there is a _sd, and nowhere else.")
    if not payload.stream.startswith(_rooms[type(facts)]):
        raise MalformedEventError(f"{payload.type!r} does not belong to stream {payload.stream!r}.")
    listed = payload.sd or []
    digests = frozenset(listed)
    if len(digests) != len(listed) or listed != sorted(listed):
        raise MalformedEventError("The digests in _sd are sorted, and none stands there twice.")
    if len(digests) != _disclosures[type(facts)]:
        raise MalformedEventError(
            f"{payload.type!r} has {_disclosures[type(facts)]} disclosures, not {len(digests)}."
        )
    event = Event(
        payload.iss, kid, payload.iat, payload.jti, payload.stream, payload.n, facts, digests, entry
    )
    return event, signature, entry[: -len(tail) - 1]


_rooms = {cls: f"{cls.room}/" for cls in catalogue.values()}
_disclosures = {cls: len(cls.public | cls.restricted) for cls in catalogue.values()}


def _pattern(form: Any) -> Callable[[str], object]:  # noqa: ANN401 - an annotated type
    (meta,) = (meta for meta in get_args(form) if isinstance(meta, Meta) and meta.pattern)
    return re.compile(str(meta.pattern)).match


_is_stream, _is_event_id = _pattern(Stream), _pattern(_EventId)
_are_digests = re.compile(rf"(?:{HASH_PATTERN},)+\Z").match
_is_time = re.compile(r"[0-9-]{10}(T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2}))?").fullmatch
_known_issuers: set[str] = set()
_known_facts: dict[tuple[str, int, bytes], Fact] = {}
_REMEMBERED = 10_000


def _usual(raw: bytes) -> tuple[_Written, Fact] | None:
    """The payload, if every byte of it is as this library writes it: then no name stands twice.

    Asks for the same as :class:`_Payload` in a third of the time. None: to be read the long way, which says
    what is wrong, if anything is.
    """
    payload = _written_decoder.decode(raw)
    sd, iss = payload.sd or [], payload.iss
    if (
        _encoder.encode(payload) != raw
        or not 0 <= payload.iat < _LATEST
        or not 1 <= payload.n <= MAX_INTEGER
        or len(sd) > _MAX_DIGESTS
        or (sd and not _are_digests(",".join(sd) + ","))
        or not 3 <= len(payload.stream) <= 200
        or not _is_stream(payload.stream)
        or not _is_event_id(payload.jti)
    ):
        return None
    if iss not in _known_issuers:
        if not 3 <= len(iss) <= 200 or not _is_stream(iss):
            return None
        if len(_known_issuers) < _REMEMBERED:  # bounded: strangers choose these bytes
            _known_issuers.add(iss)
    facts = remembered_facts(payload.type, payload.v, bytes(payload.data))
    return None if facts is None else (payload, facts)


def remembered_facts(type_: str, version: int, data: bytes) -> Fact | None:
    """:func:`ledger.events.decode`, once for equal bytes: most events say one of few things.

    None where the bytes are not as this library writes those facts. Raises as ``decode`` does.
    """
    said = (type_, version, data)
    facts = _known_facts.get(said)
    if facts is None:
        facts = decode(*said)
        if _encoder.encode(facts) != data:
            return None
        if len(data) <= 512:
            if len(_known_facts) >= _REMEMBERED:
                _known_facts.clear()
            _known_facts[said] = facts
    return facts


def _unusual(raw: bytes) -> tuple[_Payload, Fact]:
    """A payload written by another library, or one that is wrong: slower, equally strict."""
    payload = _payload_decoder.decode(raw)
    facts = decode(payload.type, payload.v, payload.data)
    said = _refuse_duplicate_names(raw)["data"]
    for name in dated(type(facts)):
        if (time := said.get(name)) is not None and not _is_time(time):
            raise MalformedEventError(f"{name} is a time like 2026-01-31T23:59:59+05:00, not {time!r}.")
    return payload, facts


def split_presentation(text: str) -> tuple[bytes, tuple[Disclosure, ...]]:
    """An SD-JWT with disclosures, ``jwt~d1~d2~``, as the entry's bytes and its disclosures."""
    jwt, *rest = text.strip().split("~")
    if not rest or rest[-1] != "":
        raise MalformedEventError("An event with disclosures is jwt~disclosure~…~ and ends with ~.")
    try:
        return (jwt + "~").encode("ascii"), tuple(Disclosure.parse(part) for part in rest[:-1])
    except UnicodeEncodeError as error:
        raise MalformedEventError("An event is ASCII text.") from error


def disclosed(disclosures: Iterable[Disclosure]) -> Mapping[str, Any]:
    """Name → value."""
    return {d.name: d.value for d in disclosures}


_known_headers: dict[bytes, str] = {}


def _read_header(segment: bytes) -> str:
    raw = b64url_decode(segment)
    header = _header_decoder.decode(raw)
    _refuse_duplicate_names(raw)
    if header.alg not in ALGORITHMS:
        raise MalformedEventError(f"Events are signed with Ed25519, not with {header.alg!r}.")
    if header.typ != TYP:
        raise MalformedEventError(f"The typ of an event is {TYP!r}, not {header.typ!r}.")
    if len(_known_headers) < 10_000 and len(segment) <= 200:  # bounded: strangers choose these bytes
        _known_headers[segment] = header.kid
    return header.kid


def _refuse_duplicate_names(raw: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = dict(pairs)
        if len(names) != len(pairs):
            raise MalformedEventError("A JSON object in the event has the same name twice.")
        return names

    parsed: dict[str, Any] = json.loads(raw, object_pairs_hook=unique)
    return parsed
