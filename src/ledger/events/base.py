"""What every fact is made of: the vocabulary, the base of all facts, and the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import cache
from inspect import isclass
from typing import Annotated, Any, ClassVar, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from ledger.errors import AiqynError

catalogue: dict[str, type[Fact]] = {}
"""Every type of event by its name. Filled as the structs below are defined."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

Role = Literal[
    "operator", "gateway", "clock", "moderator", "body",
    "registrar", "head", "executor", "controller", "front-office", "auditor",
]  # fmt: skip
"""What a key may be used for. ``operator`` registers organisations and keys; ``gateway`` says that a
citizen did something after checking the citizen's own signature; ``clock`` says what time brought
about; ``moderator`` is the authorised body; ``body`` answers petitions addressed to it. Appeals are
worked on by a body's ``registrar``, ``executor``, ``controller`` and ``head``; ``front-office`` takes
down what people bring on paper or by word of mouth. A council's ``auditor`` looks at the evidence of a
sample of signatures."""

Language = Literal["kk", "ru"]
Region = Literal[
    "10", "11", "15", "19", "23", "27", "31", "33", "35", "39",
    "43", "47", "55", "59", "61", "62", "63", "71", "75", "79",
]  # fmt: skip
"""The two digits of ISO 3166-2:KZ."""


Text = Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z")]
"""One line of plain text: the official name of an institution."""
Stream = Annotated[str, Meta(min_length=3, max_length=200, pattern=r"^[a-z]+(/[A-Za-z0-9_-]+)+\Z")]
HASH_PATTERN = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"
"""32 bytes in base64url: the bits that no byte needs are zero."""
_Hash = Annotated[str, Meta(min_length=43, max_length=43, pattern=rf"^{HASH_PATTERN}\Z")]
KeyId = _Hash
"""RFC 7638 thumbprint of an Ed25519 public key, base64url."""
PublicKey = _Hash
"""The 32 bytes of an Ed25519 public key (the ``x`` of RFC 8037), base64url."""
Nullifier = _Hash
"""HMAC-SHA-256 over the IIN under the petition's own secret, base64url."""
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Algorithm = Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z0-9-]{0,39}\Z")]
"""Of a citizen's electronic signature, such as ``RSA-SHA256``."""
MAX_INTEGER = 2**53 - 1
"""Larger integers lose digits in many JSON readers (RFC 7493, section 2.2)."""
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Number = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
LETTERS = "A-Za-zÀ-ÖØ-öø-ɏЀ-ԯ"
"""Inside a class of a pattern: Latin and Cyrillic, in which both official languages are written."""
Instant = Annotated[datetime, Meta(tz=True)]


class UnknownEventTypeError(AiqynError):
    """The type or its version is not in the catalogue of this release."""

    code = "event-type-unknown"
    title = "This type of event is not known"


class MalformedEventError(AiqynError):
    """The event's bytes or its facts do not have the form that the specification gives."""

    code = "event-malformed"
    title = "The event does not have the required form"


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every event's facts; a subclass names its type, its room and its disclosures.

    What several share may stand in a base class between, whose name begins with an underscore.
    """

    type: ClassVar[str]
    version: ClassVar[int] = 1
    room: ClassVar[str]
    """First part of the stream's name: such as ``petition``."""
    issuers: ClassVar[frozenset[Role]]
    """Roles whose keys may issue it."""
    public: ClassVar[frozenset[str]] = frozenset()
    restricted: ClassVar[frozenset[str]] = frozenset()
    upcasters: ClassVar[Mapping[int, Upcaster]] = {}
    """From an old version to the next one: ``{1: one_to_two}``."""

    def __init_subclass__(cls) -> None:
        """Enter the struct in the catalogue."""
        super().__init_subclass__()
        if cls.__name__.startswith("_"):
            return
        if catalogue.setdefault(cls.type, cls) is not cls and catalogue[cls.type].__name__ != cls.__name__:
            raise ValueError(f"two facts are called {cls.type}")


@cache
def dated(kind: type[Fact]) -> tuple[str, ...]:
    """Fields that hold a date or a time, or None."""
    return tuple(
        name
        for name, hint in get_type_hints(kind).items()
        if any(isclass(part) and issubclass(part, date) for part in get_args(hint) or (hint,))
    )
