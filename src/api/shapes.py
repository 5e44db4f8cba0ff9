"""The JSON that the interface takes and gives, where it is not a projection's own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.cosigned import Witnessing
from ledger.application import Recorded
from ledger.events import Language, Region, Stream
from ledger.receipt import Receipt
from ledger.statement import Event
from projections import organisations, petitions, signatures

Cms = Annotated[
    str,
    Meta(min_length=1, description="CMS SignedData as base64 of its DER, or as PEM; attached or detached."),
]
Uuid = Annotated[str, Meta(min_length=36, max_length=36, description="Lower-case UUID.")]


class PetitionPage(petitions.Page, frozen=True):
    """Some petitions, the newest published first."""


class PetitionDocument(petitions.Petition, frozen=True, kw_only=True):
    """Everything public about one petition, its count by region included; all as of one position."""

    by_region: dict[str, int]
    """Counted signatures by region (two digits of ISO 3166-2:KZ, or ``unknown``): together ``count``."""


class Growth(petitions.Hours, frozen=True):
    """How the count of a petition grew; steps in which nothing happened are left out."""


class SignaturePage(signatures.Page, frozen=True):
    """Some signatures of a petition, newest first."""


class OrganisationList(organisations.Listing, frozen=True):
    """All registered organisations."""


class OrganisationDocument(organisations.Organisation, frozen=True):
    """A registered organisation with its keys."""


class TrailStep(msgspec.Struct, frozen=True):
    """One event of a stream; its text and proof are under ``entry`` and ``receipt``."""

    position: int
    n: int
    type: str
    iss: str
    kid: str
    time: datetime
    entry: str
    receipt: str


class TrailDocument(msgspec.Struct, frozen=True):
    """The events of one stream in the order of the log."""

    stream: str
    version: int
    """Number of events: what ``If-Match`` names."""
    items: tuple[TrailStep, ...]
    as_of: int


class OpenedEvent(msgspec.Struct, frozen=True):
    """What a sealed event says, read from its text."""

    iss: str
    kid: str
    time: datetime
    jti: str
    stream: str
    n: int
    type: str
    v: int
    data: dict[str, Any]


class EntryDocument(msgspec.Struct, frozen=True):
    """One entry of the log: its exact text, and what is public about it."""

    position: int
    entry: str
    """The exact text of the leaf; everything else here follows from it and from ``disclosures``."""
    disclosures: tuple[str, ...]
    disclosed: dict[str, Any]
    event: OpenedEvent
    receipt: str
    """Where the proof is."""


class LogDocument(msgspec.Struct, frozen=True):
    """What one needs to verify this log; do not take the key from here alone."""

    origin: str
    vkey: str
    """The log's verifier key (C2SP signed-note)."""
    operator: str
    size: int
    root: str
    """Base64, as in the checkpoint."""
    more_keys: tuple[str, ...] = ()
    """Further keys that sign each checkpoint as well (ML-DSA-44)."""
    witnessing: Witnessing | None = None
    """How far cosignatures reach; null where the operator has no witnesses."""
    mirror_of: str | None = None
    """Of what this is a read-only copy; null at the original."""


class ReceiptDocument(msgspec.Struct, frozen=True):
    """A receipt file: keep it, and check it offline by ``aiqyn receipt verify``."""

    receipt: str
    event: str
    disclosures: tuple[str, ...]
    proof: str
    """A C2SP tlog-proof."""
    own: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """In a personal receipt: what was disclosed to the person alone. Do not pass it on."""

    @classmethod
    def of(cls, receipt: Receipt) -> ReceiptDocument:
        """The same as the file that :meth:`Receipt.to_bytes` writes."""
        return cls(
            receipt.format,
            receipt.entry.decode("ascii"),
            tuple(disclosure.encoded for disclosure in receipt.disclosures),
            receipt.proof.to_bytes().decode(),
            tuple(disclosure.encoded for disclosure in receipt.own) or msgspec.UNSET,
        )


class RecordedDocument(msgspec.Struct, frozen=True):
    """What a command brought about: in the log, under a signed checkpoint, provable."""

    position: int
    stream: str
    version: int
    """Of the stream, after this event."""
    type: str
    time: datetime
    receipt: ReceiptDocument

    @classmethod
    def of(cls, recorded: Recorded, receipt: Receipt) -> RecordedDocument:
        """The answer to a command."""
        event = recorded.event
        return cls(
            recorded.position, event.stream, event.n, event.facts.type, event.at, ReceiptDocument.of(receipt)
        )


class StatementRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A petition that is to be filed: what its author will sign is made of it."""

    body: Stream
    title: str
    text: str
    lang: Language
    petition: Uuid | None = None
    """The petition's id; made here when it is left out."""


class StatementDocument(msgspec.Struct, frozen=True):
    """What the author of a petition signs: exactly these bytes."""

    petition: str
    statement: str
    statement_base64: str
    """The bytes of ``statement`` in UTF-8, as signing programs take them."""


class FilingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A petition with its author's signature over the filing statement."""

    petition: Uuid
    body: Stream
    title: str
    text: str
    lang: Language
    cms: Cms


class SigningRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signature over the petition's statement."""

    cms: Cms
    region: Region | None = None
    """The signer's own declaration; without it the signature is counted under ``unknown``."""


class WithdrawalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signature over the statement that takes something back."""

    cms: Cms


class EventRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event in plain JSON; the gateway seals it in the organisation's name."""

    stream: Stream
    type: str
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    """The event's public facts. Terms that the law computes may be left out."""
    disclosures: dict[str, Any] = msgspec.field(default_factory=dict)
    """Texts by name; their digests stand in the event, they themselves beside it."""


def opened(event: Event) -> OpenedEvent:
    """What an event says."""
    data = msgspec.to_builtins(event.facts)
    return OpenedEvent(
        event.iss, event.kid, event.at, event.jti, event.stream, event.n, event.facts.type,
        event.facts.version, data,
    )  # fmt: skip
