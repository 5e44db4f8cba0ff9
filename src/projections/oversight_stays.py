"""One stay of an appeal with a body, as :mod:`projections.oversight` counts it. Pure.

Whatever the log holds leaves stays that add up; what happened to a stream before it began is passed over, and
of two beginnings the first one stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from datetime import date, datetime
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from ledger import events
from ledger.domain.appeal import LEAVING
from projections.appeal_case import BEGINNINGS, Origin, almaty_day, moment
from projections.base import utc
from projections.batch import LoggedEvent
from projections.petitions import UNKNOWN

Dimension = Literal["kind", "category", "region", "channel", "origin"]
Status = Literal["open", "returned", "withdrawn", "lapsed", "closed", "answered", "forwarded"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
VALUES: Mapping[Dimension, tuple[str, ...]] = {
    "kind": get_args(events.AppealKind),
    "category": get_args(events.Category),
    "region": (*get_args(events.Region), UNKNOWN),
    "channel": get_args(events.Channel),
    "origin": get_args(Origin),
}
OFTEN = 3
"""An appeal that was forwarded so many times was forwarded more than twice."""


class Stay(msgspec.Struct, gc=False):
    """A row of table ``oversight_appeals``, field by field; the meaning of each stands in the migration."""

    stream: str
    stay: int
    body: str
    registered_on: date
    month: str
    kind: str
    category: str
    region: str
    channel: str
    origin: Origin
    position: int
    status: Status = "open"
    forwards: int = 0
    returns: int = 0
    over_twice: bool = False
    forwarded_late: bool = False
    extended: bool = False
    deemed: bool = False
    reopened: bool = False
    due: datetime | None = None
    was_late: bool = False
    answered_on: date | None = None
    days: int | None = None
    timing: Literal["in-time", "late", "unknown"] | None = None
    outcome: str | None = None
    hearings: int = 0
    hearings_unattended: int = 0
    complaints: int = 0
    complaints_about_silence: int = 0
    complaints_pending: int = 0
    complaints_satisfied: int = 0
    cancelled: int = 0
    cancelled_anew: int = 0
    obliged: int = 0
    dismissed: int = 0
    left_unconsidered: int = 0
    remitted: int = 0
    upheld: int = 0
    complaints_unknown: int = 0
    complaints_overdue: int = 0

    def turn(self, status: Status) -> None:
        """Into a status other than answered: an answer that stood does not stand any more."""
        self.status = status
        self.answered_on = self.days = self.timing = self.outcome = None

    def answer(self, on: date, outcome: str | None, late: bool | None) -> None:
        """``late`` is None where nobody knows the term; once late is late."""
        self.status = "answered"
        self.answered_on = on
        self.days = max(0, (on - self.registered_on).days)
        self.outcome = outcome or "unknown"
        self.was_late = self.was_late or late is True
        self.timing = "late" if self.was_late else "unknown" if late is None else "in-time"

    def register(self, on: date) -> None:
        """With this body, on that day."""
        self.registered_on, self.month = on, f"{on.year:04}-{on.month:02}"

    def send_back(self) -> None:
        """To the applicant, to be mended."""
        self.turn("returned")
        self.returns += 1

    def settle_complaint(self, outcome: str) -> None:
        """One complaint has an end; a decision about a complaint that nobody made counts as both."""
        if self.complaints_pending:
            self.complaints_pending -= 1
        else:
            self.complaints += 1
        setattr(self, outcome, getattr(self, outcome) + 1)

    def complain(self, silence: bool) -> None:
        """One more complaint."""
        self.complaints += 1
        self.complaints_about_silence += silence
        self.complaints_pending += 1


class Measure(NamedTuple):
    """How a number of the figures follows from a row: it counts rows of some values, or adds a column up."""

    column: str
    values: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        """The same as an aggregate over rows of ``oversight_appeals``."""
        if not self.values:
            return f"sum({self.column}::int)"
        chosen = ", ".join(f"'{value}'" for value in self.values)
        return f"count(*) FILTER (WHERE {self.column} IN ({chosen}))"


_UNANSWERED = ("open", "returned", "withdrawn", "lapsed", "closed")
MEASURES: dict[str, Measure] = {
    "received": Measure("status", get_args(Status)),
    "forwarded_away": Measure("status", ("forwarded",)),
    "forwarded_late": Measure("forwarded_late"),
    "appeals": Measure("status", (*_UNANSWERED, "answered")),
    "unanswered": Measure("status", _UNANSWERED),
    **{status: Measure("status", (status,)) for status in (*_UNANSWERED, "answered")},
    "in_time": Measure("timing", ("in-time",)),
    "late": Measure("timing", ("late",)),
    "term_unknown": Measure("timing", ("unknown",)),
    **{outcome: Measure("outcome", (outcome,)) for outcome in get_args(events.AppealOutcome)},
    "outcome_unknown": Measure("outcome", ("unknown",)),
    "returns": Measure("returns"),
    "extended": Measure("extended"),
    "deemed_refusals": Measure("deemed"),
    "forwarded_over_twice": Measure("over_twice"),
    "reopened": Measure("reopened"),
    **{
        name: Measure(name)
        for name in (
            "hearings", "hearings_unattended", "complaints", "complaints_about_silence",
            "complaints_pending", "complaints_satisfied", "cancelled", "cancelled_anew", "obliged",
            "dismissed", "left_unconsidered", "remitted", "upheld", "complaints_unknown",
            "complaints_overdue",
        )
    },
}  # fmt: skip
"""The numbers of every cell, in the order in which they are shown."""
NAMES = tuple(MEASURES)
COMPLAINT_OUTCOMES: dict[events.ComplaintOutcome, str] = {
    "cancel": "cancelled",
    "cancel-and-decide-anew": "cancelled_anew",
    "oblige": "obliged",
    "dismiss": "dismissed",
    "leave-unconsidered": "left_unconsidered",
    "remit": "remitted",
    "satisfy": "upheld",
}


# --- what happened to it --------------------------------------------------------------------------


def fold(stay: Stay | None, event: LoggedEvent) -> tuple[Stay, ...]:
    """The stays that an event changes or begins, the current one last."""
    facts = event.facts
    if stay is None:
        return (_begin(event, facts),) if isinstance(facts, BEGINNINGS) else ()
    if isinstance(facts, BEGINNINGS):
        return ()
    if isinstance(facts, events.AppealForwarded):
        return stay, _forward(stay, event, facts)
    old = copy(stay)
    _apply(stay, event)
    if stay == old:
        return ()
    stay.position = event.position
    return (stay,)


def _begin(event: LoggedEvent, facts: Any) -> Stay:  # noqa: ANN401 - one of the beginnings
    stay = Stay(
        event.stream, 1, facts.body, facts.registered_on, "", facts.kind, facts.category,
        facts.region or UNKNOWN, facts.channel, "filed", event.position,
    )  # fmt: skip
    stay.register(facts.registered_on)
    if isinstance(facts, events.AppealImported):
        stay.origin = "imported"
        stay.due = None if facts.due is None else utc(facts.due)
        _import(stay, event, facts.step, None)
    elif isinstance(facts, events.AppealSplitOff):
        stay.origin = "split"
    return stay


def _forward(stay: Stay, event: LoggedEvent, facts: events.AppealForwarded) -> Stay:
    """What the body did with it stays with that body; a new stay begins with another one."""
    stay.turn("forwarded")
    stay.forwarded_late = facts.late
    stay.over_twice = False
    stay.position = event.position
    new = Stay(
        stay.stream, stay.stay + 1, facts.to, facts.registered_on, "", stay.kind, stay.category, stay.region,
        stay.channel, stay.origin, event.position, forwards=stay.forwards + 1,
        over_twice=stay.forwards + 1 >= OFTEN,
    )  # fmt: skip
    new.register(facts.registered_on)
    return new


def _apply(stay: Stay, event: LoggedEvent) -> None:
    match event.facts:
        case events.AppealReturned():
            stay.send_back()
        case events.AppealFixed() as facts:
            stay.turn("open")
            stay.register(facts.registered_on)
        case events.AppealLapsed():
            stay.turn("lapsed")
        case events.AppealExtended():
            stay.extended = True
        case events.AppealHearingHeld() as facts:
            stay.hearings += 1
            stay.hearings_unattended += not facts.attended
        case events.AppealDecided() as facts:
            stay.answer(_day(event), facts.outcome, facts.late)
        case events.AppealOverdue() as facts:
            if facts.term == "consideration":
                stay.deemed = True
            else:
                stay.complaints_overdue += 1
        case events.AppealWithdrawalAccepted():
            stay.turn("withdrawn")
        case events.AppealComplained() as facts:
            stay.complain(facts.about == "silence")
        case events.AppealComplaintSatisfied():
            stay.settle_complaint("complaints_satisfied")
            _close(stay)
        case events.AppealComplaintDecided() as facts:
            stay.settle_complaint(COMPLAINT_OUTCOMES[facts.outcome])
            if facts.due is not None:
                stay.turn("open")
                stay.reopened = True
            elif facts.outcome not in LEAVING:
                _close(stay)
        case events.AppealStepImported() as facts:
            stay.due = stay.due if facts.due is None else utc(facts.due)
            _import(stay, event, facts.step, facts.outcome)
        case _:
            pass


def _import(stay: Stay, event: LoggedEvent, step: events.ImportedStep, outcome: str | None) -> None:
    """A row of an old register, which says less than an event of ours."""
    match step:
        case "registered" | "taken" | "fixed":
            stay.turn("open")
        case "forwarded":
            # To whom it does not say: the case still lies with the body whose register it is.
            stay.forwards += 1
            stay.over_twice = stay.forwards >= OFTEN
            stay.turn("open")
        case "returned":
            stay.send_back()
        case "extended":
            stay.extended = True
        case "hearing-held":
            stay.hearings += 1
        case "decided":
            late = None if stay.due is None else moment(event) >= stay.due
            stay.answer(_day(event), outcome, late)
        case "withdrawn":
            stay.turn("withdrawn")
        case "complained":
            stay.complain(stay.status != "answered")
        case "complaint-decided":
            stay.settle_complaint("complaints_unknown")
            _close(stay)
        case "finished":
            _close(stay)
        case _:
            pass


def _close(stay: Stay) -> None:
    """Nothing more happens here: what waits for an answer ends without one."""
    if stay.status in {"open", "returned"}:
        stay.turn("closed")


def _day(event: LoggedEvent) -> date:
    return almaty_day(moment(event))


COUNTED = (
    *BEGINNINGS, events.AppealForwarded, events.AppealReturned, events.AppealFixed, events.AppealLapsed,
    events.AppealExtended, events.AppealHearingHeld, events.AppealDecided, events.AppealOverdue,
    events.AppealWithdrawalAccepted, events.AppealComplained, events.AppealComplaintSatisfied,
    events.AppealComplaintDecided, events.AppealStepImported,
)  # fmt: skip
"""What can change a stay; for anything else none is looked up."""
