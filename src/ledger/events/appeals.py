"""Appeals: every step of an appeal to a body, and every reading of what is personal in it.

A body says what it decided for a stream of its own accord; terms stand in the facts as moments, so that
whoever reads the log need not reckon working days, and whoever checks it can.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ledger.events.base import LETTERS, Algorithm, Fact, Instant, Language, Number, Region, Role, Stream

# --- vocabulary -------------------------------------------------------------------------------

AppealKind = Literal[
    "application", "proposal", "response", "notice", "request",
    "complaint", "state-service-complaint", "tax-complaint", "tax-monitoring-complaint",
    "lawyer-request", "media-request", "bailiff-request", "notary-request",
    "information-request", "declassification-request", "rehabilitation-request",
]  # fmt: skip
"""What somebody asks for; the kind decides the term."""
Applicant = Literal["person", "company"]
Channel = Literal["electronic", "paper", "oral", "reception", "post"]
"""How it came: with an electronic signature, or taken down by a front office."""
Category = Literal[
    "housing", "land", "construction", "utilities", "roads-transport", "social-protection", "health",
    "education", "labour", "tax-finance", "police-order", "justice", "ecology", "agriculture",
    "digital-services", "culture-sport", "migration", "corruption", "business", "other",
]  # fmt: skip
"""What it is about."""
ReturnGround = Literal["unsigned", "unclear", "no-address", "missing-documents", "formal-defect"]
ExtensionGround = Literal["facts-to-establish", "other-body-asked", "expertise", "complexity"]
AppealOutcome = Literal["explained", "satisfied", "refused", "noted", "terminated"]
TerminationGround = Literal[
    "subject-ceased", "answered-before", "court-case", "applicant-died", "not-an-appeal", "anonymous"
]
ComplaintAbout = Literal["decision", "silence"]
ComplaintOutcome = Literal[
    "cancel", "cancel-and-decide-anew", "oblige", "dismiss", "leave-unconsidered", "remit", "satisfy"
]
AppealTerm = Literal["consideration", "passing-up", "complaint"]
"""Terms that bind a body: to answer, to satisfy a complaint or pass it up, to decide about one."""
Delivery = Literal["electronic", "post", "in-person", "phone"]
ReadingPurpose = Literal["consideration", "complaint", "assignment", "supervision", "correction"]
ImportedStep = Literal[
    "registered", "taken", "forwarded", "returned", "fixed", "assigned", "extended", "hearing-noticed",
    "hearing-held", "decided", "finished", "withdrawn", "complained", "complaint-passed-up",
    "complaint-decided", "note",
]  # fmt: skip
"""What a row of an old register means here; ``note`` changes nothing."""

_ACTIVITY = rf"^(?!.*[0-9]{{4}})[{LETTERS}0-9_][{LETTERS}0-9_ ().,:/'-]*\Z"
Activity = Annotated[str, Meta(max_length=100, pattern=_ACTIVITY)]
"""What an old register called a step: a word of its vocabulary, never of one case."""

_OFFICIALS: frozenset[Role] = frozenset({"registrar", "executor", "controller", "head"})
_EXECUTOR: frozenset[Role] = frozenset({"executor"})
_REGISTRAR: frozenset[Role] = frozenset({"registrar"})
_CONTROLLER: frozenset[Role] = frozenset({"controller"})
_HEAD: frozenset[Role] = frozenset({"head"})
_CLOCK: frozenset[Role] = frozenset({"clock"})
_GATEWAY: frozenset[Role] = frozenset({"gateway"})
_FOR_APPLICANT: frozenset[Role] = frozenset({"gateway", "front-office"})
"""Whoever says what the applicant did: the gateway after a check of the applicant's electronic signature, or
a front office where the applicant came in person."""

_FILED = frozenset({"text", "full_name", "iin", "contacts", "attachments", "cms", "code"})
"""``iin`` is a company's BIN where the applicant is one; what there is none of is ``null``. ``code``: with it
and the number, whoever holds the talon follows the appeal."""
_ACT = frozenset({"text", "attachments", "cms"})


class _Appeal(Fact, frozen=True):
    """What all facts about appeals share."""

    room: ClassVar[str] = "appeal"
    issuers: ClassVar[frozenset[Role]] = _OFFICIALS


# --- how an appeal begins ---------------------------------------------------------------------


class _Filed(_Appeal, frozen=True, kw_only=True):
    """An appeal that lies with a body, and the terms that run."""

    kind: AppealKind
    applicant: Applicant
    body: Stream
    """The organisation it is addressed to."""
    channel: Channel
    category: Category
    lang: Language
    region: Region | None = None
    """Declared by the applicant; absent is counted as "unknown"."""
    registered_on: date
    """After hours and on a day off, the next working day."""
    forward_until: Instant
    """Until then it can be sent on, in time, to the body that is competent."""
    due: Instant
    """Until then the body must have answered."""


class AppealSubmitted(_Filed, frozen=True, kw_only=True):
    """Somebody turned to a body. The stream's name is the number of the talon."""

    type: ClassVar[str] = "appeal.submitted"
    issuers: ClassVar[frozenset[Role]] = _FOR_APPLICANT
    restricted: ClassVar[frozenset[str]] = _FILED

    algorithm: Algorithm | None = None
    """Of the applicant's electronic signature; absent where a front office took it down."""


class AppealSplitOff(_Filed, frozen=True, kw_only=True):
    """A part of another appeal, forwarded, became an appeal of its own."""

    type: ClassVar[str] = "appeal.split_off"
    issuers: ClassVar[frozenset[Role]] = _GATEWAY
    restricted: ClassVar[frozenset[str]] = _FILED

    parent: Stream


class AppealImported(_Appeal, frozen=True, kw_only=True):
    """The first row of a case in a body's old register, taken over."""

    type: ClassVar[str] = "appeal.imported"
    issuers: ClassVar[frozenset[Role]] = _REGISTRAR
    restricted: ClassVar[frozenset[str]] = frozenset({"case", "full_name", "iin", "text"})
    """``case``: its number in the old register; what there is none of is ``null``."""

    register: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]
    """Names the old register."""
    kind: AppealKind
    applicant: Applicant
    body: Stream
    channel: Channel
    category: Category
    lang: Language
    region: Region | None = None
    registered_on: date
    due: Instant | None = None
    step: ImportedStep
    activity: Activity
    happened: Instant


class AppealStepImported(_Appeal, frozen=True):
    """A further row of a case in the old register."""

    type: ClassVar[str] = "appeal.step_imported"
    issuers: ClassVar[frozenset[Role]] = _REGISTRAR

    step: ImportedStep
    activity: Activity
    happened: Instant
    outcome: AppealOutcome | None = None
    """Where the step is ``decided``."""
    due: Instant | None = None
    """A new term, where the step brought one."""


# --- on its way to the right body --------------------------------------------------------------


class AppealReturned(_Appeal, frozen=True):
    """The applicant is asked to mend it (АППК, articles 63 and 93); the term of the body stands still."""

    type: ClassVar[str] = "appeal.returned"
    issuers: ClassVar[frozenset[Role]] = frozenset({"registrar", "executor"})
    restricted: ClassVar[frozenset[str]] = frozenset({"reason"})

    ground: ReturnGround
    fix_until: Instant


class AppealFixed(_Appeal, frozen=True):
    """The applicant mended it: it is registered again, and the terms begin anew."""

    type: ClassVar[str] = "appeal.fixed"
    issuers: ClassVar[frozenset[Role]] = _FOR_APPLICANT
    restricted: ClassVar[frozenset[str]] = _ACT

    registered_on: date
    forward_until: Instant
    due: Instant
    algorithm: Algorithm | None = None


class AppealLapsed(_Appeal, frozen=True):
    """It was not mended in time and went back to the applicant."""

    type: ClassVar[str] = "appeal.lapsed"
    issuers: ClassVar[frozenset[Role]] = _CLOCK

    fix_until: Instant


class AppealForwarded(_Appeal, frozen=True):
    """The body is not competent and sent it on, whole; the terms begin anew there."""

    type: ClassVar[str] = "appeal.forwarded"
    issuers: ClassVar[frozenset[Role]] = _REGISTRAR
    restricted: ClassVar[frozenset[str]] = frozenset({"reason"})

    to: Stream
    late: bool
    """Whether the three working days for it were over."""
    registered_on: date
    forward_until: Instant
    due: Instant
    tell_until: Instant
    """Until then the applicant is told."""


class AppealForwardedInPart(_Appeal, frozen=True):
    """A part of it goes to another body as an appeal of its own; the rest stays."""

    type: ClassVar[str] = "appeal.forwarded_in_part"
    issuers: ClassVar[frozenset[Role]] = frozenset({"registrar", "executor"})
    restricted: ClassVar[frozenset[str]] = frozenset({"part"})
    """``part``: the questions that go."""

    to: Stream
    number: Number
    """1 for the first part: the new appeal's number is this one's, a dash and it."""
    late: bool
    tell_until: Instant


# --- in work ------------------------------------------------------------------------------------


class AppealTaken(_Appeal, frozen=True):
    """The body took it into work."""

    type: ClassVar[str] = "appeal.taken"
    issuers: ClassVar[frozenset[Role]] = frozenset({"registrar", "executor"})
    restricted: ClassVar[frozenset[str]] = frozenset({"executor"})
    """``executor``: the unit or the official who works on it, and those who help."""


class AppealAssigned(_Appeal, frozen=True):
    """Another body is asked for its part of the answer."""

    type: ClassVar[str] = "appeal.assigned"
    issuers: ClassVar[frozenset[Role]] = frozenset({"executor", "head"})
    restricted: ClassVar[frozenset[str]] = frozenset({"question"})

    to: Stream
    assignment: Number
    """1 for the first of this appeal."""
    answer_until: Instant


class AppealAssignmentAnswered(_Appeal, frozen=True):
    """The body that was asked gave its answer."""

    type: ClassVar[str] = "appeal.assignment_answered"
    issuers: ClassVar[frozenset[Role]] = frozenset({"executor", "head"})
    restricted: ClassVar[frozenset[str]] = frozenset({"answer"})

    assignment: Number


class AppealExtensionDrafted(_Appeal, frozen=True):
    """The executor asks for more time; at most two months in all (АППК, article 76)."""

    type: ClassVar[str] = "appeal.extension_drafted"
    issuers: ClassVar[frozenset[Role]] = _EXECUTOR
    restricted: ClassVar[frozenset[str]] = frozenset({"reason"})

    ground: ExtensionGround
    until: Instant


class AppealExtensionApproved(_Appeal, frozen=True):
    """The controller agrees."""

    type: ClassVar[str] = "appeal.extension_approved"
    issuers: ClassVar[frozenset[Role]] = _CONTROLLER


class AppealExtended(_Appeal, frozen=True):
    """The head signed it: the term is longer, and the applicant is told within three working days."""

    type: ClassVar[str] = "appeal.extended"
    issuers: ClassVar[frozenset[Role]] = _HEAD

    until: Instant
    tell_until: Instant


class AppealApplicantTold(_Appeal, frozen=True):
    """The body told an applicant who does not follow the appeal electronically."""

    type: ClassVar[str] = "appeal.applicant_told"
    issuers: ClassVar[frozenset[Role]] = frozenset({"registrar", "executor"})

    of: Number
    """The event of this stream that the applicant was told of, by its number."""
    way: Delivery


class AppealHearingNoticed(_Appeal, frozen=True):
    """The applicant is invited to be heard, with the preliminary decision (АППК, article 73)."""

    type: ClassVar[str] = "appeal.hearing_noticed"
    issuers: ClassVar[frozenset[Role]] = _EXECUTOR
    restricted: ClassVar[frozenset[str]] = frozenset({"preliminary", "place"})

    at: Instant
    object_until: Instant
    tell_until: Instant


class AppealObjected(_Appeal, frozen=True):
    """The applicant objects to the preliminary decision."""

    type: ClassVar[str] = "appeal.objected"
    issuers: ClassVar[frozenset[Role]] = _FOR_APPLICANT
    restricted: ClassVar[frozenset[str]] = _ACT

    algorithm: Algorithm | None = None


class AppealHearingHeld(_Appeal, frozen=True):
    """The applicant was heard, or did not come; there is a protocol."""

    type: ClassVar[str] = "appeal.hearing_held"
    issuers: ClassVar[frozenset[Role]] = _EXECUTOR
    restricted: ClassVar[frozenset[str]] = frozenset({"protocol"})

    attended: bool


class AppealDecisionDrafted(_Appeal, frozen=True):
    """The executor drafted the answer."""

    type: ClassVar[str] = "appeal.decision_drafted"
    issuers: ClassVar[frozenset[Role]] = _EXECUTOR
    restricted: ClassVar[frozenset[str]] = frozenset({"draft"})

    outcome: AppealOutcome
    ground: TerminationGround | None = None
    """Why it is terminated; absent for other outcomes."""


class AppealDecisionApproved(_Appeal, frozen=True):
    """The controller agrees with the draft."""

    type: ClassVar[str] = "appeal.decision_approved"
    issuers: ClassVar[frozenset[Role]] = _CONTROLLER


class AppealDecided(_Appeal, frozen=True, kw_only=True):
    """The head signed the answer."""

    type: ClassVar[str] = "appeal.decided"
    issuers: ClassVar[frozenset[Role]] = _HEAD
    restricted: ClassVar[frozenset[str]] = frozenset({"decision", "attachments"})

    outcome: AppealOutcome
    ground: TerminationGround | None = None
    late: bool
    """Whether the term was over."""
    complain_until: Instant


class AppealFinished(_Appeal, frozen=True):
    """The answer was handed over and the case filed."""

    type: ClassVar[str] = "appeal.finished"
    issuers: ClassVar[frozenset[Role]] = _REGISTRAR

    delivery: Delivery


class AppealOverdue(_Appeal, frozen=True):
    """A term that binds a body passed. For the answer it is a deemed refusal: the applicant may complain."""

    type: ClassVar[str] = "appeal.overdue"
    issuers: ClassVar[frozenset[Role]] = _CLOCK

    term: AppealTerm
    due: Instant


# --- taken back ----------------------------------------------------------------------------------


class AppealWithdrawalAsked(_Appeal, frozen=True):
    """The applicant wants to take it back."""

    type: ClassVar[str] = "appeal.withdrawal_asked"
    issuers: ClassVar[frozenset[Role]] = _FOR_APPLICANT
    restricted: ClassVar[frozenset[str]] = _ACT

    algorithm: Algorithm | None = None


class AppealWithdrawalAccepted(_Appeal, frozen=True):
    """It is taken back and ends here."""

    type: ClassVar[str] = "appeal.withdrawal_accepted"
    issuers: ClassVar[frozenset[Role]] = _HEAD


class AppealWithdrawalDeclined(_Appeal, frozen=True):
    """The body goes on with it, for a reason."""

    type: ClassVar[str] = "appeal.withdrawal_declined"
    issuers: ClassVar[frozenset[Role]] = _HEAD
    restricted: ClassVar[frozenset[str]] = frozenset({"reason"})


# --- complained about ----------------------------------------------------------------------------


class AppealComplained(_Appeal, frozen=True):
    """The applicant complains about the decision, or about silence, to the body itself."""

    type: ClassVar[str] = "appeal.complained"
    issuers: ClassVar[frozenset[Role]] = _FOR_APPLICANT
    restricted: ClassVar[frozenset[str]] = _ACT

    about: ComplaintAbout
    late: bool
    """Whether the three months for it were over: the higher body decides what follows from that."""
    pass_up_until: Instant
    """Until then the body satisfies it in full itself, or passes it up."""
    algorithm: Algorithm | None = None


class AppealComplaintSatisfied(_Appeal, frozen=True):
    """The body itself satisfied the complaint in full."""

    type: ClassVar[str] = "appeal.complaint_satisfied"
    issuers: ClassVar[frozenset[Role]] = _HEAD
    restricted: ClassVar[frozenset[str]] = frozenset({"decision", "attachments"})


class AppealComplaintPassedUp(_Appeal, frozen=True):
    """The complaint went to the higher body, with the case."""

    type: ClassVar[str] = "appeal.complaint_passed_up"
    issuers: ClassVar[frozenset[Role]] = frozenset({"registrar", "head"})
    restricted: ClassVar[frozenset[str]] = frozenset({"opinion"})

    to: Stream
    decide_until: Instant


class AppealComplaintDecided(_Appeal, frozen=True):
    """The higher body decided. ``remit`` and ``oblige`` open the appeal again, with a new term."""

    type: ClassVar[str] = "appeal.complaint_decided"
    issuers: ClassVar[frozenset[Role]] = _HEAD
    restricted: ClassVar[frozenset[str]] = frozenset({"decision", "attachments"})

    outcome: ComplaintOutcome
    late: bool
    due: Instant | None = None
    """The new term, where the appeal is open again."""


# --- read ----------------------------------------------------------------------------------------


class DisclosureRead(Fact, frozen=True):
    """An official read what is personal in a stream; each reading is a stream of its own."""

    type: ClassVar[str] = "disclosure.read"
    room: ClassVar[str] = "reading"
    issuers: ClassVar[frozenset[Role]] = _OFFICIALS

    of: Stream
    events: Number
    """How many events the stream had."""
    purpose: ReadingPurpose
