"""The catalogue: every type of event, its public facts and the names of its disclosures.

One struct is one fact that can happen to one stream. The fields of a struct are the ``data`` of the
event's payload: public for ever, so they hold no free text and nothing about a person. What must be
removable (a masked name, a petition's text) or secret (an IIN, the CMS) is a *disclosure*: the
event holds only its digest, and the struct declares its name as ``public`` or ``restricted``.

A type's ``version`` grows when its fields change; :func:`decode` upcasts what was written earlier,
so that the rest of the house knows the newest form only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from ledger.errors import AiqynError

# --- vocabulary ------------------------------------------------------------------------------

catalogue: dict[str, type[Fact]] = {}
"""Every type of event by its name. Filled as the structs below are defined."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

Role = Literal["operator", "gateway", "clock", "moderator", "body"]
"""What a key may be used for. ``operator`` registers organisations and keys; ``gateway`` says that a
citizen did something after checking the citizen's own signature; ``clock`` says what time brought
about; ``moderator`` is the authorised body; ``body`` answers petitions addressed to it."""

OrganisationKind = Literal["operator", "authorised-body", "central", "akimat", "maslikhat", "council"]
Level = Literal["republic", "oblast", "district"]
Language = Literal["kk", "ru"]
Region = Literal[
    "10", "11", "15", "19", "23", "27", "31", "33", "35", "39",
    "43", "47", "55", "59", "61", "62", "63", "71", "75", "79",
]  # fmt: skip
"""The two digits of ISO 3166-2:KZ."""

RejectionGround = Literal[
    "forbidden-subject", "not-a-petition", "duplicate", "unclear", "wrong-addressee", "unlawful-content"
]
VoidingReason = Literal["forged", "under-age", "duplicate-person", "court-decision", "certificate-revoked"]
RevocationReason = Literal["superseded", "compromised", "retired"]
Outcome = Literal["satisfied", "partly-satisfied", "refused"]

Text = Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z")]
"""One line of plain text: the official name of an institution."""
Stream = Annotated[str, Meta(min_length=3, max_length=200, pattern=r"^[a-z]+(/[A-Za-z0-9_-]+)+\Z")]
KeyId = Annotated[str, Meta(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]{43}\Z")]
"""RFC 7638 thumbprint of an Ed25519 public key, base64url."""
PublicKey = Annotated[str, Meta(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]{43}\Z")]
"""The 32 bytes of an Ed25519 public key (the ``x`` of RFC 8037), base64url."""
Nullifier = Annotated[str, Meta(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]{43}\Z")]
"""HMAC-SHA-256 over the IIN under the petition's own secret, base64url."""
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Algorithm = Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z0-9-]{0,39}\Z")]
"""Of a citizen's electronic signature, such as ``RSA-SHA256``."""
MAX_INTEGER = 2**53 - 1
"""Larger integers lose digits in many JSON readers (RFC 7493, section 2.2)."""
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Number = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
Instant = Annotated[datetime, Meta(tz=True)]


class UnknownEventTypeError(AiqynError):
    """The type or its version is not in the catalogue of this release."""

    code = "event-type-unknown"
    title = "This type of event is not known"


class MalformedEventError(AiqynError):
    """The event's bytes or its facts do not have the form that the specification gives."""

    code = "event-malformed"
    title = "The event does not have the required form"


# --- how a fact is declared -------------------------------------------------------------------


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every event's facts; a subclass names its type, its room and its disclosures."""

    type: ClassVar[str]
    version: ClassVar[int] = 1
    room: ClassVar[str]
    """First part of the stream's name: ``organisation``, ``petition`` or ``signature``."""
    issuers: ClassVar[frozenset[Role]]
    """Roles whose keys may issue it."""
    public: ClassVar[frozenset[str]] = frozenset()
    restricted: ClassVar[frozenset[str]] = frozenset()
    upcasters: ClassVar[Mapping[int, Upcaster]] = {}
    """From an old version to the next one: ``{1: one_to_two}``."""

    def __init_subclass__(cls) -> None:
        """Enter the struct in the catalogue."""
        super().__init_subclass__()
        if catalogue.setdefault(cls.type, cls) is not cls and catalogue[cls.type].__name__ != cls.__name__:
            raise ValueError(f"two facts are called {cls.type}")


# --- organisations ----------------------------------------------------------------------------


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The official names of an institution."""

    kk: Text
    ru: Text
    en: Text | None = None


class OrganisationRegistered(Fact, frozen=True):
    """An organisation takes part. The first entry of a ledger is the operator, registering itself."""

    type: ClassVar[str] = "organisation.registered"
    room: ClassVar[str] = "organisation"
    issuers: ClassVar[frozenset[Role]] = frozenset({"operator"})

    kind: OrganisationKind
    level: Level
    names: Names
    region: Region | None = None
    population: Count | None = None
    """People living in its territory: some thresholds are a share of them."""
    root_key: PublicKey | None = None
    """In the ledger's first entry alone: the key that signed it."""


class OrganisationPopulationRecorded(Fact, frozen=True):
    """A newer population figure; petitions published later use it, earlier ones keep theirs."""

    type: ClassVar[str] = "organisation.population_recorded"
    room: ClassVar[str] = "organisation"
    issuers: ClassVar[frozenset[Role]] = frozenset({"operator"})

    population: Count
    counted_on: date


class OrganisationKeyRegistered(Fact, frozen=True):
    """From here on the key may issue, in the organisation's name, what its roles allow."""

    type: ClassVar[str] = "organisation.key_registered"
    room: ClassVar[str] = "organisation"
    issuers: ClassVar[frozenset[Role]] = frozenset({"operator"})

    key: PublicKey
    roles: Annotated[tuple[Role, ...], Meta(min_length=1)]
    custody: Literal["own", "gateway"]
    """``own``: the organisation holds it. ``gateway``: the operator seals with it in their name."""


class OrganisationKeyRevoked(Fact, frozen=True):
    """From here on the key issues nothing in this organisation's name; what it issued stays."""

    type: ClassVar[str] = "organisation.key_revoked"
    room: ClassVar[str] = "organisation"
    issuers: ClassVar[frozenset[Role]] = frozenset({"operator"})

    kid: KeyId
    reason: RevocationReason


# --- petitions --------------------------------------------------------------------------------


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published file, named by its hash."""

    sha256: Sha256
    size: Number
    """In bytes."""
    media_type: Annotated[str, Meta(pattern=r"^[a-z]+/[a-z0-9.+-]+\Z", max_length=100)]


class PetitionSubmitted(Fact, frozen=True):
    """A citizen filed a petition and signed its text with their electronic signature."""

    type: ClassVar[str] = "petition.submitted"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"gateway"})
    public: ClassVar[frozenset[str]] = frozenset({"title", "text", "author"})
    restricted: ClassVar[frozenset[str]] = frozenset({"iin", "full_name", "cms"})

    body: Stream
    """The organisation it is addressed to."""
    lang: Language
    text_hash: Sha256
    """Over the title, a line feed and the text, in UTF-8."""
    author: Nullifier
    algorithm: Algorithm
    moderate_until: Instant


class PetitionRejected(Fact, frozen=True):
    """Moderation refused it, with a published reason."""

    type: ClassVar[str] = "petition.rejected"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"moderator"})
    public: ClassVar[frozenset[str]] = frozenset({"reason"})

    ground: RejectionGround


class PetitionAdmitted(Fact, frozen=True):
    """Moderation let it through: reachable by its link only, until enough people sign."""

    type: ClassVar[str] = "petition.admitted"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"moderator"})

    needed: Count
    """Signatures that make it public."""
    limited_until: Instant


class PetitionLapsed(Fact, frozen=True):
    """The limited stage ended with too few signatures."""

    type: ClassVar[str] = "petition.lapsed"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"clock"})

    count: Count
    as_of: Count
    """Position up to which the signatures were counted."""


class PetitionPublished(Fact, frozen=True):
    """It is public and collects signatures; the threshold is a number from here on."""

    type: ClassVar[str] = "petition.published"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"clock"})

    required: Number
    collect_until: Instant
    population: Count | None = None
    """The figure that a share was taken of; absent where the threshold is a fixed number."""


class PetitionSupported(Fact, frozen=True):
    """The threshold was reached; it stays reached, whatever is withdrawn later."""

    type: ClassVar[str] = "petition.supported"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"clock"})

    required: Number
    reached_at: Count
    """The first position from the publication on at which the count is at least ``required``: that of the
    exact signature, or of the publication where enough people had signed before."""


class PetitionNotSupported(Fact, frozen=True):
    """The time of collection ended below the threshold."""

    type: ClassVar[str] = "petition.not_supported"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"clock"})

    count: Count
    required: Number
    as_of: Count


class PetitionWithdrawn(Fact, frozen=True):
    """The author took it back, before the threshold."""

    type: ClassVar[str] = "petition.withdrawn"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"gateway"})
    restricted: ClassVar[frozenset[str]] = frozenset({"cms"})

    algorithm: Algorithm


class PetitionRouted(Fact, frozen=True):
    """The authorised body sent the supported petition to the body that is competent."""

    type: ClassVar[str] = "petition.routed"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"moderator"})

    body: Stream


class PetitionRegistered(Fact, frozen=True):
    """The competent body took it into consideration; its term runs."""

    type: ClassVar[str] = "petition.registered"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"body"})

    number: Annotated[str, Meta(pattern=r"^[^\W_][\w№./-]{0,63}\Z")]
    """The body's own registration number."""
    consider_until: Instant


class PetitionWorkingGroupFormed(Fact, frozen=True):
    """The body called a working group of interested parties and invited the author."""

    type: ClassVar[str] = "petition.working_group_formed"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"body"})

    members: Number
    author_invited: bool


class PetitionDraftPublished(Fact, frozen=True):
    """The draft decision is open to public discussion."""

    type: ClassVar[str] = "petition.draft_published"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"body"})
    public: ClassVar[frozenset[str]] = frozenset({"draft_kk", "draft_ru"})

    outcome: Outcome
    discuss_until: Instant


class PetitionDecided(Fact, frozen=True):
    """The body's first head decided, with reasons in Kazakh and Russian."""

    type: ClassVar[str] = "petition.decided"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"body"})
    public: ClassVar[frozenset[str]] = frozenset({"message_kk", "message_ru"})

    outcome: Outcome
    files: tuple[File, ...] = ()


class PetitionOverdue(Fact, frozen=True):
    """A term that binds a body passed without the step it is for."""

    type: ClassVar[str] = "petition.overdue"
    room: ClassVar[str] = "petition"
    issuers: ClassVar[frozenset[Role]] = frozenset({"clock"})

    step: Literal["moderation", "consideration"]
    due: Instant


# --- signatures -------------------------------------------------------------------------------


class PetitionSigned(Fact, frozen=True):
    """One person signed one petition. The stream's name holds the petition and the nullifier."""

    type: ClassVar[str] = "petition.signed"
    room: ClassVar[str] = "signature"
    issuers: ClassVar[frozenset[Role]] = frozenset({"gateway"})
    public: ClassVar[frozenset[str]] = frozenset({"name"})
    restricted: ClassVar[frozenset[str]] = frozenset({"iin", "full_name", "cms"})

    lang: Language
    """Of the statement that was signed."""
    algorithm: Algorithm
    region: Region | None = None
    """Declared by the person; absent is counted as "unknown"."""


class SignatureWithdrawn(Fact, frozen=True):
    """The signer took the signature back."""

    type: ClassVar[str] = "signature.withdrawn"
    room: ClassVar[str] = "signature"
    issuers: ClassVar[frozenset[Role]] = frozenset({"gateway"})
    restricted: ClassVar[frozenset[str]] = frozenset({"cms"})

    algorithm: Algorithm


class SignatureVoided(Fact, frozen=True):
    """The authorised body removed the signature from the count, with a reason."""

    type: ClassVar[str] = "signature.voided"
    room: ClassVar[str] = "signature"
    issuers: ClassVar[frozenset[Role]] = frozenset({"moderator"})

    reason: VoidingReason


# --- reading what was written ------------------------------------------------------------------

_decoders: dict[type[Fact], msgspec.json.Decoder[Fact]] = {}


def decode(type_: str, version: int, data: bytes | msgspec.Raw) -> Fact:
    """The facts in an event's ``data``, upcast to the newest version.

    Raises :class:`UnknownEventTypeError` for a type or a version that this release does not know, and
    :class:`MalformedEventError` where a field is missing, of the wrong form or not in the catalogue.
    """
    cls = catalogue.get(type_)
    if cls is None or not 1 <= version <= cls.version:
        raise UnknownEventTypeError(
            f"No event {type_!r} of version {version} is known here; a newer release may know it.",
            event_type=type_,
            version=version,
        )
    try:
        if version == cls.version:
            decoder = _decoders.get(cls)
            if decoder is None:
                decoder = _decoders[cls] = msgspec.json.Decoder(cls)
            return decoder.decode(data)
        fields = msgspec.json.decode(data, type=dict[str, Any])
        for step in range(version, cls.version):
            fields = cls.upcasters[step](fields)
        return msgspec.convert(fields, cls)
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError) as error:
        raise MalformedEventError(f"The data of {type_!r} is not as the catalogue says: {error}.") from error
