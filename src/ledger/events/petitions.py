"""Petitions, and the signatures under them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from ledger.events.base import (
    LETTERS,
    Algorithm,
    Count,
    Fact,
    Instant,
    Language,
    Nullifier,
    Number,
    Region,
    Role,
    Sha256,
    Stream,
)

RejectionGround = Literal[
    "forbidden-subject", "not-a-petition", "duplicate", "unclear", "wrong-addressee", "unlawful-content"
]
VoidingReason = Literal["forged", "under-age", "duplicate-person", "court-decision", "certificate-revoked"]
Outcome = Literal["satisfied", "partly-satisfied", "refused"]


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

    number: Annotated[str, Meta(pattern=rf"^[{LETTERS}0-9][{LETTERS}0-9_№./-]{{0,63}}\Z")]
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
