"""What the operator binds itself by, and answers for: digests, looks at the evidence, erasures."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ledger.events.base import Count, Fact, Number, Role, Sha256, Stream

MAX_SAMPLE = 1000
"""Signatures that one check of the evidence may open."""

ErasureGround = Literal["demand", "retention", "court"]
"""The person demanded it, the term for keeping the data is over, or a court ordered it."""
DisclosureName = Annotated[str, Meta(pattern=r"^[a-z][a-z_]{0,39}\Z")]


class ProjectionCommitted(Fact, frozen=True):
    """The published tables of a projection, as they stood at a position: whoever rebuilds them can compare.

    Each is a stream of its own, ``projection/<name>/<as_of>``.
    """

    type: ClassVar[str] = "projection.committed"
    room: ClassVar[str] = "projection"
    issuers: ClassVar[frozenset[Role]] = frozenset({"clock"})

    fold: Number
    """Version of the projection's fold."""
    as_of: Count
    """Position of the last entry that was folded."""
    digest: Sha256
    """As :mod:`projections.digest` says."""


class DisclosureErased(Fact, frozen=True):
    """What was disclosed in a stream about a person was destroyed; the entries and their digests stay.

    Each erasure is a stream of its own, ``erasure/<of>/<id>``. Whoever holds a copy of a named public
    disclosure, of any of the stream's first ``events`` events, has to remove it.
    """

    type: ClassVar[str] = "disclosure.erased"
    room: ClassVar[str] = "erasure"
    issuers: ClassVar[frozenset[Role]] = frozenset({"operator", "clock"})

    of: Stream
    events: Number
    """How many events the stream had."""
    ground: ErasureGround
    names: tuple[DisclosureName, ...] = ()
    """Of the public disclosures that were removed, sorted."""
    data_key: bool = False
    """Whether the stream's data key was destroyed, and with it everything restricted."""


class EvidenceAsked(Fact, frozen=True):
    """Somebody entitled wants to see the evidence of a random sample of a petition's signatures.

    Its stream is ``evidence/<uuid>``. Whoever asks commits to a secret; the sample follows from that secret
    and the root of the tree that ends with this entry, so that neither side could choose it.
    """

    type: ClassVar[str] = "evidence.asked"
    room: ClassVar[str] = "evidence"
    issuers: ClassVar[frozenset[Role]] = frozenset({"auditor"})

    of: Stream
    """The petition."""
    sample: Annotated[int, Meta(ge=1, le=MAX_SAMPLE)]
    commitment: Sha256
    """SHA-256 over the 32 bytes of the secret, hex."""


class EvidenceDrawn(Fact, frozen=True):
    """The secret is shown, and with it which signatures are looked at."""

    type: ClassVar[str] = "evidence.drawn"
    room: ClassVar[str] = "evidence"
    issuers: ClassVar[frozenset[Role]] = frozenset({"auditor"})

    secret: Sha256
    """The 32 bytes, hex."""
    asked_at: Count
    """Position of the ``evidence.asked``."""
    root: Sha256
    """Root of the tree of ``asked_at + 1`` entries, hex."""
    signatures: Count
    """How many ``petition.signed`` of the petition that tree has, without those whose data key a
    ``disclosure.erased`` of that tree destroyed: the sample is drawn from these."""


class EvidenceOpened(Fact, frozen=True):
    """What is restricted about one signature of the sample was shown to who asked."""

    type: ClassVar[str] = "evidence.opened"
    room: ClassVar[str] = "evidence"
    issuers: ClassVar[frozenset[Role]] = frozenset({"gateway"})

    position: Count
    """Of the ``petition.signed``."""
