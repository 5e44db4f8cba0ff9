"""The JSON of the calls about appeals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from api.shapes import Cms, ReceiptDocument, RecordedDocument, Uuid
from ledger.appeals import Case
from ledger.attachments import Attachment
from ledger.domain.appeal import Appeal, talon_number
from ledger.domain.appeal_wording import Act
from ledger.events import (
    AppealKind,
    Applicant,
    Category,
    DisclosureRead,
    Instant,
    Language,
    ReadingPurpose,
    Region,
    Stream,
)
from ledger.statement import Event, disclosed

TakenDownChannel = Literal["paper", "oral", "reception", "post"]
Code = Annotated[str, Meta(min_length=1, max_length=40, description="The code on the talon.")]


class AttachmentDocument(Attachment, frozen=True):
    """An uploaded file: put this whole object into `attachments` of the step that follows; add a `name`."""


class AppealStatementRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An appeal that is to be signed."""

    body: Stream
    """The organisation that it is addressed to."""
    kind: AppealKind
    category: Category
    lang: Language
    text: str
    contacts: str = ""
    """Where an answer reaches the applicant: one line."""
    region: Region | None = None
    attachments: tuple[Attachment, ...] = ()
    form: Uuid | None = None
    """The form's id; made here when it is left out."""


class AppealRequest(AppealStatementRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An appeal with its applicant's signature over the filing statement."""

    form: Uuid
    cms: Cms


class TakenDownRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody brought to a front office."""

    body: Stream
    kind: AppealKind
    category: Category
    lang: Language
    text: str
    channel: TakenDownChannel
    applicant: Applicant
    full_name: str
    """Of the person, or the company's name."""
    iin: str | None = None
    """12 digits: the person's IIN or the company's BIN, where it is at hand."""
    contacts: str = ""
    region: Region | None = None
    attachments: tuple[Attachment, ...] = ()


class FormStatementDocument(msgspec.Struct, frozen=True):
    """What an applicant signs: exactly these bytes."""

    form: str
    """Names this form: one signed form brings about one thing."""
    statement: str
    statement_base64: str
    """The bytes of ``statement`` in UTF-8, as signing programs take them."""


class TalonDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What an applicant gets at once: acceptance is never refused."""

    number: str
    stream: str
    code: str
    """With the number, whoever has it follows the appeal: keep it, and give it to nobody."""
    time: datetime
    registered_on: date
    """After 18:30 and on a day off, the next working day."""
    body: str
    names: dict[str, str]
    """The body's official names by language."""
    received_by: str
    """Who took it: the operator's gateway, or a front office."""
    due: datetime
    """Until then the body must have answered."""
    position: int
    receipt: ReceiptDocument


class CodeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code from the talon."""

    code: Code


class ActStatementRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step of the applicant that is to be signed."""

    act: Act
    lang: Language
    text: str
    """What is mended, objected to or complained about, or why it is taken back."""
    attachments: tuple[Attachment, ...] = ()
    form: Uuid | None = None


class ActRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A step of the applicant with the signature over its statement."""

    act: Act
    form: Uuid
    text: str
    attachments: tuple[Attachment, ...] = ()
    cms: Cms


class VisitorActRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A step of an applicant who came to a front office with the talon."""

    act: Act
    code: Code
    text: str
    attachments: tuple[Attachment, ...] = ()


class LanguageRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In which language a statement is to be."""

    lang: Language = "kk"


class CabinetStatementDocument(msgspec.Struct, frozen=True):
    """What a person signs to see their own cases."""

    form: str
    statement: str
    statement_base64: str
    at: datetime
    """Send it back with the signature."""


class CabinetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person's signature over the statement that opens the cabinet."""

    form: Uuid
    at: Instant
    cms: Cms


class ReadingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an official reads."""

    purpose: ReadingPurpose


class CaseFile(msgspec.Struct, frozen=True):
    """A file of an appeal."""

    name: str
    sha256: str
    size: int
    media_type: str


class CaseStep(msgspec.Struct, frozen=True):
    """One step of an appeal as its reader sees it."""

    n: int
    position: int
    type: str
    iss: str
    time: datetime
    facts: dict[str, Any]
    texts: dict[str, Any]
    """What was said, by name; what there is none of is left out."""
    files: tuple[CaseFile, ...]
    disclosures: tuple[str, ...]
    """The same texts as they are bound to the entry: base64url of ``[salt, name, value]``."""
    receipt: str
    """Where the proof is that the log holds this step."""


class CaseTerm(msgspec.Struct, frozen=True):
    """The term that runs."""

    term: str
    due: datetime
    missed: bool
    """Whether the log says that it passed."""


class CaseReading(msgspec.Struct, frozen=True):
    """Somebody read what is personal in the appeal."""

    position: int
    iss: str
    kid: str
    time: datetime
    purpose: str


class CaseDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An appeal as its applicant, or an official who recorded the reading, sees it."""

    number: str
    stream: str
    version: int
    state: str
    body: str
    """That it lies with now."""
    procedures: dict[str, str]
    """Where extension, hearing, decision and withdrawal stand."""
    term: CaseTerm | None
    hearing_at: datetime | None
    object_until: datetime | None
    fix_until: datetime | None
    complain_until: datetime | None
    outcome: str | None
    allowed: tuple[str, ...]
    """Types of event that can happen next."""
    steps: tuple[CaseStep, ...]
    readings: tuple[CaseReading, ...]

    @classmethod
    def of(cls, case: Case, readings: Sequence[tuple[int, Event]]) -> CaseDocument:
        """The document of a case, with who read it."""
        appeal = case.appeal
        return cls(
            number=talon_number(case.stream),
            stream=case.stream,
            version=appeal.version,
            state=appeal.state,
            body=appeal.body,
            procedures=procedures(appeal),
            term=CaseTerm(appeal.term, appeal.due, appeal.missed == "yes")
            if appeal.term is not None and appeal.due is not None
            else None,
            hearing_at=appeal.hearing_at if appeal.hearing == "noticed" else None,
            object_until=appeal.object_until if appeal.hearing == "noticed" else None,
            fix_until=appeal.fix_until,
            complain_until=appeal.complain_until,
            outcome=appeal.outcome,
            allowed=tuple(appeal.allowed()),
            steps=tuple(_step(step) for step in case.steps),
            readings=tuple(_reading(position, event) for position, event in readings),
        )


class ReadingDocument(msgspec.Struct, frozen=True):
    """A recorded reading, and what was read."""

    reading: str
    """Names the reading: with it the appeal's files can be opened for an hour."""
    recorded: RecordedDocument
    case: CaseDocument


class CabinetCase(msgspec.Struct, frozen=True):
    """One of a person's own cases."""

    role: str
    case: CaseDocument


class CabinetDocument(msgspec.Struct, frozen=True):
    """A person's own cases, the newest first."""

    items: tuple[CabinetCase, ...]
    as_of: int


def procedures(appeal: Appeal) -> dict[str, str]:
    """What runs beside the state."""
    return {
        "extension": appeal.extension,
        "hearing": appeal.hearing,
        "decision": appeal.decision,
        "withdrawal": appeal.withdrawal,
    }


def _step(step: Any) -> CaseStep:  # noqa: ANN401 - ledger.appeals.Step
    said = dict(disclosed(step.shown))
    files = said.pop("attachments", None) or ()
    return CaseStep(
        step.n,
        step.position,
        step.facts.type,
        step.iss,
        step.at,
        msgspec.to_builtins(step.facts),
        {name: value for name, value in said.items() if value is not None},
        tuple(CaseFile(f["name"], f["sha256"], f["size"], f["media_type"]) for f in files),
        tuple(d.encoded for d in step.shown if d.name != "attachments"),
        f"/v1/entries/{step.position}/receipt",
    )


def _reading(position: int, event: Event) -> CaseReading:
    purpose = event.facts.purpose if isinstance(event.facts, DisclosureRead) else ""
    return CaseReading(position, event.iss, event.kid, event.at, purpose)
