"""How one appeal stands: the fold that terms, queues, the register and the trail share. Pure.

It says what :class:`ledger.domain.appeal.Appeal` says of every lawful history, and goes on where that
refuses: whatever else the log holds leaves a row too. What happened to a stream before it began, and any
stream whose name is no appeal's, is passed over; of two beginnings the first one stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Literal, ParamSpec, Self, TypeVar

import msgspec

from ledger import events
from ledger.domain import appeal_terms
from ledger.domain.appeal import AFTER_IMPORT, LEAVING, ROOM
from ledger.domain.calendar import ALMATY, end_of_months
from ledger.errors import AiqynError
from projections.base import utc
from projections.batch import LoggedEvent

State = Literal[
    "registered", "returned", "lapsed", "in-work", "decided", "finished", "withdrawn", "complained",
    "complaint-passed-up", "complaint-satisfied", "complaint-decided",
]  # fmt: skip
Origin = Literal["filed", "split", "imported"]
"""Submitted here, split off another appeal, or taken over from an old register."""
OPEN: frozenset[str] = frozenset({"registered", "in-work"})
BEGINNINGS = (events.AppealSubmitted, events.AppealSplitOff, events.AppealImported)
_NAME = re.compile(rf"{ROOM}/[A-Za-z0-9_-]{{1,190}}")

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound="Case")


class Procedures(msgspec.Struct, frozen=True):
    """How the procedures stand that run beside an appeal's state."""

    extension: Literal["none", "drafted", "approved"]
    hearing: Literal["none", "noticed", "held"]
    decision: Literal["none", "drafted", "approved"]
    withdrawal: Literal["none", "asked"]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Those of a row that was selected."""
        return cls(*(row[name] for name in cls.__struct_fields__))


class Owed(msgspec.Struct, array_like=True, gc=False):
    """An answer that a body was asked for, or news that it must tell the applicant."""

    number: int
    """Of the assignment; of the event to tell of."""
    body: str
    until: datetime
    since: int


class Case(msgspec.Struct, gc=False):
    """A row of table ``cases``, field by field; the meaning of each column stands in the migration."""

    stream: str
    n: int
    state: str
    body: str
    kind: str
    category: str
    region: str | None
    channel: str
    registered_on: date
    arrived: int
    submitted_position: int
    position: int
    last_type: str
    last_time: datetime
    extension: str = "none"
    hearing: str = "none"
    decision: str = "none"
    withdrawal: str = "none"
    term: str | None = None
    due: datetime | None = None
    due_since: int | None = None
    missed: bool = False
    missed_position: int | None = None
    deemed_refusal: int | None = None
    forward_until: datetime | None = None
    registered_since: int | None = None
    fix_until: datetime | None = None
    fix_since: int | None = None
    hearing_at: datetime | None = None
    object_until: datetime | None = None
    hearing_since: int | None = None
    complain_until: datetime | None = None
    complain_since: int | None = None
    complaint: str | None = None
    before_state: str = "registered"
    before_due: datetime | None = None
    higher: str | None = None
    higher_since: int | None = None
    assigned: str = "[]"
    untold: str = "[]"

    def asked(self) -> list[Owed]:
        """Those that wait for an answer, in the order in which they were made."""
        return _decode(self.assigned) if self.assigned != "[]" else []

    def news(self) -> list[Owed]:
        """What the applicant must still be told of, in the order of the events."""
        return _decode(self.untold) if self.untold != "[]" else []

    def parties(self) -> set[str]:
        """Organisations that have to do with it now."""
        found = {self.body, *(one.body for one in self.asked())}
        return found if self.higher is None else found | {self.higher}


def is_appeal(stream: str) -> bool:
    """Whether a stream's name is that of an appeal."""
    return _NAME.fullmatch(stream) is not None


def moment(event: LoggedEvent) -> datetime:
    """When it happened; for a row of an old register, when that says it did."""
    facts = event.facts
    if isinstance(facts, (events.AppealImported, events.AppealStepImported)):
        return utc(facts.happened)
    return datetime.fromtimestamp(event.iat, UTC)


def almaty_day(moment: datetime) -> date:
    """The day of a moment in Almaty; the calendar's last one where Python has none."""
    try:
        return moment.astimezone(ALMATY).date()
    except OverflowError:
        return date.max


def begin(kind: type[C], event: LoggedEvent) -> C | None:
    """The case that an event begins; None for any other event."""
    facts = event.facts
    if not isinstance(facts, BEGINNINGS) or not is_appeal(event.stream):
        return None
    position = event.position
    case = kind(
        event.stream,
        event.n,
        "registered",
        facts.body,
        facts.kind,
        facts.category,
        facts.region,
        facts.channel,
        facts.registered_on,
        arrived=position,
        submitted_position=position,
        position=position,
        last_type=facts.type,
        last_time=moment(event),
    )
    if isinstance(facts, events.AppealImported):
        if facts.due is not None:
            case.due, case.due_since = utc(facts.due), position
        _import(case, facts.step, event)
    else:
        _register(case, facts, position)
    return case


def advance(case: Case, event: LoggedEvent) -> None:
    """Let what happened to a case behind its beginning change it."""
    position, facts = event.position, event.facts
    at = datetime.fromtimestamp(event.iat, UTC)
    case.n, case.position = event.n, position
    case.last_type, case.last_time = facts.type, moment(event)
    match facts:
        case events.AppealTaken():
            case.state = "in-work"
        case events.AppealReturned():
            case.state = "returned"
            case.fix_until, case.fix_since = utc(facts.fix_until), position
            _stop_term(case)
            _reset_procedures(case)
            # No term of its own: the applicant must have heard of it before it can no longer be mended.
            _must_tell(case, event, facts.fix_until)
        case events.AppealFixed():
            _register(case, facts, position)
        case events.AppealLapsed():
            case.state = "lapsed"
            case.withdrawal = "none"
        case events.AppealForwarded():
            _must_tell(case, event, facts.tell_until)  # by who forwards it, not by who gets it
            case.body, case.arrived = facts.to, position
            _register(case, facts, position)
        case events.AppealForwardedInPart():
            _must_tell(case, event, facts.tell_until)
        case events.AppealAssigned():
            owed = Owed(facts.assignment, facts.to, utc(facts.answer_until), position)
            case.assigned = _with(case.asked(), owed)
        case events.AppealAssignmentAnswered():
            case.assigned = _without(case.asked(), facts.assignment)
        case events.AppealExtensionDrafted():
            case.extension = "drafted"
        case events.AppealExtensionApproved():
            case.extension = "approved"
        case events.AppealExtended():
            case.extension = "none"
            case.due, case.due_since = utc(facts.until), position
            _must_tell(case, event, facts.tell_until)
        case events.AppealApplicantTold():
            case.untold = _without(case.news(), facts.of)
        case events.AppealHearingNoticed():
            case.hearing, case.hearing_since = "noticed", position
            case.hearing_at, case.object_until = utc(facts.at), utc(facts.object_until)
            _must_tell(case, event, facts.tell_until)
        case events.AppealHearingHeld():
            case.hearing = "held"
        case events.AppealDecisionDrafted():
            case.decision = "drafted"
        case events.AppealDecisionApproved():
            case.decision = "approved"
        case events.AppealDecided():
            case.state = "decided"
            case.complain_until, case.complain_since = utc(facts.complain_until), position
            case.assigned = "[]"
            _stop_term(case)
            _reset_procedures(case)
        case events.AppealFinished():
            case.state = "finished"
        case events.AppealOverdue():
            _miss(case, facts, position, at)
        case events.AppealWithdrawalAsked():
            case.withdrawal = "asked"
        case events.AppealWithdrawalAccepted():
            case.state = "withdrawn"
            _stop_term(case)
            _reset_procedures(case)
        case events.AppealWithdrawalDeclined():
            case.withdrawal = "none"
        case events.AppealComplained():
            case.before_state, case.before_due = case.state, case.due
            case.state, case.complaint = "complained", facts.about
            _start_term(case, "passing-up", facts.pass_up_until, position)
        case events.AppealComplaintSatisfied():
            case.state = "complaint-satisfied"
            _stop_term(case)
        case events.AppealComplaintPassedUp():
            case.state = "complaint-passed-up"
            case.higher, case.higher_since = facts.to, position
            _start_term(case, "complaint", facts.decide_until, position)
        case events.AppealComplaintDecided():
            _decide_complaint(case, facts, position)
        case events.AppealStepImported():
            if facts.due is not None:
                case.due, case.due_since = utc(facts.due), position
            _import(case, facts.step, event)
        case _:
            pass


def _register(
    case: Case,
    facts: events.AppealSubmitted | events.AppealSplitOff | events.AppealFixed | events.AppealForwarded,
    position: int,
) -> None:
    case.state = "registered"
    case.registered_on, case.registered_since = facts.registered_on, position
    case.forward_until = utc(facts.forward_until)
    case.fix_until = None
    _reset_procedures(case)
    _start_term(case, "consideration", facts.due, position)


def _import(case: Case, step: events.ImportedStep, event: LoggedEvent) -> None:
    position, at = event.position, datetime.fromtimestamp(event.iat, UTC)
    case.state = AFTER_IMPORT[step] or case.state
    if step == "decided":
        case.complain_until, case.complain_since = _reckoned(_complain_until, moment(event), at), position
    if case.state == "returned" and case.fix_until is None:
        case.fix_until, case.fix_since = _reckoned(appeal_terms.fix_until, at), position
    case.term = "consideration" if case.state in OPEN and case.due is not None else None
    if case.state in {"complained", "complaint-passed-up"}:
        case.complaint = case.complaint or "decision"
        if case.higher is None:
            case.higher, case.higher_since = case.body, position


def _complain_until(happened: datetime, at: datetime) -> datetime:
    return end_of_months(happened, appeal_terms.appeal_rules(at).complaint_months)


def _miss(case: Case, facts: events.AppealOverdue, position: int, at: datetime) -> None:
    if facts.term == case.term:
        case.missed, case.missed_position = True, position
    if facts.term == "consideration":
        case.deemed_refusal = position
        case.complain_until, case.complain_since = _reckoned(appeal_terms.complain_until, at), position


def _decide_complaint(case: Case, facts: events.AppealComplaintDecided, position: int) -> None:
    _stop_term(case)
    if facts.due is not None:
        case.state = "in-work"
        _reset_procedures(case)
        _start_term(case, "consideration", facts.due, position)
    elif facts.outcome in LEAVING and case.complaint == "silence":
        case.state = case.before_state
        if case.before_due is not None:
            _start_term(case, "consideration", case.before_due, position)
            case.missed, case.missed_position = True, case.deemed_refusal
    else:
        case.state = "complaint-decided"
    case.complaint = None


def _start_term(case: Case, term: str, due: datetime, position: int) -> None:
    case.term, case.due, case.due_since = term, utc(due), position
    case.missed, case.missed_position = False, None


def _stop_term(case: Case) -> None:
    case.term = case.due = case.due_since = None
    case.missed, case.missed_position = False, None


def _reset_procedures(case: Case) -> None:
    case.extension = case.hearing = case.decision = case.withdrawal = "none"


def _must_tell(case: Case, event: LoggedEvent, until: datetime) -> None:
    """Of the event that is happening; who came electronically follows the appeal."""
    if case.channel != "electronic":
        case.untold = _with(case.news(), Owed(event.n, case.body, utc(until), event.position))


_decode = msgspec.json.Decoder(list[Owed]).decode


def _with(found: Iterable[Owed], one: Owed) -> str:
    # A number stands for one thing, also where a log that nobody checked gives it twice.
    kept = [other for other in found if other.number != one.number]
    return msgspec.json.encode([*kept, one]).decode()


def _without(found: Iterable[Owed], number: int) -> str:
    return msgspec.json.encode([one for one in found if one.number != number]).decode()


def _reckoned(term: Callable[P, datetime], *args: P.args, **kwargs: P.kwargs) -> datetime | None:
    """A term that stands in no facts, as the law gives it; None where the law gives none for that day."""
    try:
        return utc(term(*args, **kwargs))
    except (AiqynError, OverflowError, ValueError):
        return None
