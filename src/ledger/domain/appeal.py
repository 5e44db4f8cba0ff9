"""The life of an appeal, from the talon to the answer, and through a complaint about it.

The articles are those of the Administrative Procedural and Process-Related Code (АППК). Beside its state
an appeal has four procedures that run at their own pace: an extension, a hearing, a decision, a withdrawal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

from eventsourcing.domain import event

from ledger.domain import appeal_terms
from ledger.domain.aggregate import Issuance, LedgerAggregate, NotAllowedError, require
from ledger.domain.calendar import ALMATY, end_of_months
from ledger.events import (
    AppealApplicantTold,
    AppealAssigned,
    AppealAssignmentAnswered,
    AppealComplained,
    AppealComplaintDecided,
    AppealComplaintPassedUp,
    AppealComplaintSatisfied,
    AppealDecided,
    AppealDecisionApproved,
    AppealDecisionDrafted,
    AppealExtended,
    AppealExtensionApproved,
    AppealExtensionDrafted,
    AppealFinished,
    AppealFixed,
    AppealForwarded,
    AppealForwardedInPart,
    AppealHearingHeld,
    AppealHearingNoticed,
    AppealImported,
    AppealKind,
    AppealLapsed,
    AppealObjected,
    AppealOutcome,
    AppealOverdue,
    AppealReturned,
    AppealSplitOff,
    AppealStepImported,
    AppealSubmitted,
    AppealTaken,
    AppealTerm,
    AppealWithdrawalAccepted,
    AppealWithdrawalAsked,
    AppealWithdrawalDeclined,
    Applicant,
    Channel,
    ComplaintAbout,
    ComplaintOutcome,
    Fact,
    ImportedStep,
    TerminationGround,
)

ROOM = "appeal"
PREFIXES: dict[Applicant, tuple[str, str]] = {"person": ("JT", "ЖТ"), "company": ("ZT", "ЗТ")}
"""How an appeal's number begins, in its stream's name and on the talon."""
IMPORTED = "IM"
MAX_DEPTH = 10
"""Of parts of parts: the name of a stream, and of each of its readings, has room for so many."""
MAX_REPEATED = 200
"""Steps that a body may take again and again, of one appeal: every command reads all that happened before."""
MAX_OBJECTIONS = 50
_PARTS = re.compile(
    rf"{ROOM}/(?:[A-Z]{{2}}-[0-9]{{4}}-[0-9]{{8}}|{IMPORTED}-[A-Za-z0-9_-]{{22}})((?:-[1-9][0-9]{{0,8}})*)"
)
_NUMBER = re.compile(r"([A-Z]{2})-([0-9]{4})-([0-9]{8})((?:-[1-9][0-9]{0,8})*)")
_TALON = re.compile(r"(ЖТ|ЗТ|JT|ZT)-([0-9]{4})-([0-9]{8})((?:[/-][1-9][0-9]{0,8})*)")

REOPENING: frozenset[ComplaintOutcome] = frozenset({"remit", "oblige"})
"""Decisions about a complaint that open the appeal again."""
LEAVING: frozenset[ComplaintOutcome] = frozenset({"dismiss", "leave-unconsidered"})
"""Decisions that leave everything as it was: after a complaint about silence the work goes on."""
CANCELLING: frozenset[ComplaintOutcome] = frozenset({"cancel", "cancel-and-decide-anew"})
"""Decisions that take a decision to be cancelled."""
AFTER_IMPORT: dict[ImportedStep, str | None] = {
    "registered": "registered",
    "taken": "in-work",
    "forwarded": "registered",
    "returned": "returned",
    "fixed": "registered",
    "assigned": None,
    "extended": None,
    "hearing-noticed": None,
    "hearing-held": None,
    "decided": "decided",
    "finished": "finished",
    "withdrawn": "withdrawn",
    "complained": "complained",
    "complaint-passed-up": "complaint-passed-up",
    "complaint-decided": "complaint-decided",
    "note": None,
}
"""The state of an imported appeal after a step of the old register; None where it stays as it is."""


class AnotherBodysAppealError(NotAllowedError):
    """Only the body that an appeal lies with, or one that was asked, acts on it."""

    code = "appeal-of-another-body"
    title = "This appeal lies with another body"


class HearingMissingError(NotAllowedError):
    """A decision that burdens the applicant takes a hearing first (АППК, article 73)."""

    code = "hearing-missing"
    title = "The applicant must be heard first"


class TermPassedError(NotAllowedError):
    """The term for this step is over."""

    code = "term-passed"
    title = "The term for this is over"


class WrongTermError(NotAllowedError):
    """A term in the command is not the one that the law gives; ``lawful`` says which one is."""

    code = "term-wrong"
    title = "The law gives another term"


_OPEN = frozenset({"registered", "in-work"})
_WORK = frozenset({"in-work"})
_NONE = frozenset({"none"})


class Appeal(LedgerAggregate):
    """States: registered, returned, lapsed, in-work, decided, finished, withdrawn, complained,
    complaint-passed-up, complaint-satisfied, complaint-decided."""

    transitions: ClassVar[dict[str, frozenset[str]]] = {
        AppealTaken.type: frozenset({"registered"}),
        AppealReturned.type: _OPEN,
        AppealFixed.type: frozenset({"returned"}),
        AppealLapsed.type: frozenset({"returned"}),
        AppealForwarded.type: frozenset({"registered"}),
        AppealForwardedInPart.type: _OPEN,
        AppealAssigned.type: _WORK,
        AppealAssignmentAnswered.type: _WORK,
        AppealExtensionDrafted.type: _WORK,
        AppealExtensionApproved.type: _WORK,
        AppealExtended.type: _WORK,
        AppealApplicantTold.type: frozenset(
            {"registered", "returned", "in-work", "decided", "finished", "complained", "complaint-passed-up"}
        ),
        AppealHearingNoticed.type: _WORK,
        AppealObjected.type: _WORK,
        AppealHearingHeld.type: _WORK,
        AppealDecisionDrafted.type: _WORK,
        AppealDecisionApproved.type: _WORK,
        AppealDecided.type: _WORK,
        AppealFinished.type: frozenset({"decided"}),
        AppealOverdue.type: frozenset({"registered", "in-work", "complained", "complaint-passed-up"}),
        AppealWithdrawalAsked.type: frozenset({"registered", "returned", "in-work"}),
        AppealWithdrawalAccepted.type: frozenset({"registered", "returned", "in-work"}),
        AppealWithdrawalDeclined.type: frozenset({"registered", "returned", "in-work"}),
        AppealComplained.type: frozenset({"registered", "in-work", "decided", "finished"}),
        AppealComplaintSatisfied.type: frozenset({"complained"}),
        AppealComplaintPassedUp.type: frozenset({"complained"}),
        AppealComplaintDecided.type: frozenset({"complaint-passed-up"}),
        AppealStepImported.type: frozenset(
            {
                "registered", "returned", "in-work", "decided", "finished", "withdrawn", "complained",
                "complaint-passed-up", "complaint-decided",
            }
        ),
    }  # fmt: skip
    conditions: ClassVar[dict[str, dict[str, frozenset[str]]]] = {
        AppealReturned.type: {"withdrawal": _NONE},
        AppealForwarded.type: {"withdrawal": _NONE},
        AppealExtensionApproved.type: {"extension": frozenset({"drafted"})},
        AppealExtended.type: {"extension": frozenset({"approved"})},
        AppealObjected.type: {"hearing": frozenset({"noticed"})},
        AppealHearingHeld.type: {"hearing": frozenset({"noticed"})},
        AppealDecisionApproved.type: {"decision": frozenset({"drafted"})},
        AppealDecided.type: {"decision": frozenset({"approved"}), "withdrawal": _NONE},
        AppealWithdrawalAsked.type: {"withdrawal": _NONE},
        AppealWithdrawalAccepted.type: {"withdrawal": frozenset({"asked"})},
        AppealWithdrawalDeclined.type: {"withdrawal": frozenset({"asked"})},
        AppealComplained.type: {"withdrawal": _NONE},
        AppealOverdue.type: {"missed": frozenset({"no"})},
        AppealStepImported.type: {"origin": frozenset({"imported"})},
    }

    # --- how it begins -------------------------------------------------------------------------

    @event("Begun")
    def __init__(self, facts: AppealSubmitted | AppealSplitOff | AppealImported, by: Issuance) -> None:
        self.origin = "filed"
        self.kind: AppealKind = facts.kind
        self.applicant: Applicant = facts.applicant
        self.channel: Channel = facts.channel
        self.body: str = facts.body
        self.state = "registered"
        self.term: AppealTerm | None = None
        self.due: datetime | None = None
        self.first_due: datetime | None = None
        self.missed = "no"
        self.forward_until: datetime | None = None
        self.fix_until: datetime | None = None
        self.forwards = self.parts = self.asked = self.extensions = self.objections = 0
        self.repeated = self.rows = self.passed = 0
        """Steps that can be repeated at will, rows of the old register, events of the clock."""
        self.assignments: dict[int, str] = {}
        self.untold: dict[int, str] = {}
        """Events that the applicant must still be told of, and by whom."""
        self.extend_until: datetime | None = None
        self.hearing_at: datetime | None = None
        self.object_until: datetime | None = None
        self.draft: tuple[AppealOutcome, TerminationGround | None] | None = None
        self.outcome: AppealOutcome | None = None
        self.complain_until: datetime | None = None
        self.complaint: ComplaintAbout | None = None
        self.before_complaint: tuple[str, datetime | None] = ("registered", None)
        self.higher: str | None = None
        self.happened: datetime | None = None
        """Of an imported appeal: when the old register's last step was."""
        self._reset_procedures()
        match facts:
            case AppealSubmitted():
                self._submit(facts, by)
            case AppealSplitOff():
                self._split_off(facts, by)
            case AppealImported():
                self._import_case(facts, by)

    def _submit(self, facts: AppealSubmitted, by: Issuance) -> None:
        found = _NUMBER.fullmatch(self.id.removeprefix(f"{ROOM}/"))
        wanted = (PREFIXES[facts.applicant][0], str(facts.registered_on.year), "")
        require(
            found is not None and (found[1], found[2], found[4]) == wanted,
            f"The number of this appeal begins with {wanted[0]}-{wanted[1]}-.",
        )
        require(
            (facts.channel == "electronic") == (facts.algorithm is not None),
            "What came electronically was signed electronically, and nothing else was.",
        )
        self._register(facts, by.at)

    def _split_off(self, facts: AppealSplitOff, by: Issuance) -> None:
        parent, _, number = self.id.rpartition("-")
        require(
            parent == facts.parent and number.isdecimal(), f"A part of {facts.parent} is numbered after it."
        )
        self._register(facts, by.at)

    def _import_case(self, facts: AppealImported, by: Issuance) -> None:
        require(self.id.startswith(f"{ROOM}/{IMPORTED}-"), f"An imported appeal's number begins {IMPORTED}-.")
        self._require_handler(by)
        latest = appeal_terms.registered_on(by.at)
        require(facts.registered_on <= latest, f"What is imported was registered, {latest} at the latest.")
        self.origin = "imported"
        self.due = facts.due
        self.happened = facts.happened
        self._import(facts.step, facts.happened, by.at)

    @event("StepImported")
    def import_step(self, facts: AppealStepImported, by: Issuance) -> None:
        """A further row of the old register, in the order of time."""
        self.require_state(facts)
        self._require_handler(by)
        require(
            self.version == self.rows + self.passed,
            f"Steps were taken on {self.id} here: what the old register says behind them is not taken over.",
        )
        require(
            self.happened is not None and facts.happened >= self.happened,
            f"The old register's last step was at {self.happened}: steps are imported in their order.",
        )
        self.happened = facts.happened
        if facts.due is not None:
            self.due = facts.due
        if facts.outcome is not None:
            require(facts.step == "decided", "Only a decision has an outcome.")
            self.outcome = facts.outcome
        self._import(facts.step, facts.happened, by.at)

    # --- on its way to the right body ------------------------------------------------------------

    @event("Returned")
    def return_for_fixing(self, facts: AppealReturned, by: Issuance) -> None:
        """The applicant is to mend it (articles 63 and 93), as long as the body may still answer."""
        self._may(facts, by)
        if self.due is not None and by.at >= self.due:
            raise TermPassedError(f"The term ended at {self.due}: it cannot begin anew by a return.")
        _require_term("mending", facts.fix_until, appeal_terms.fix_until(by.at))
        self.state = "returned"
        self.fix_until = facts.fix_until
        self._stop_term()
        self._reset_procedures()
        self._must_tell()

    @event("Fixed")
    def fix(self, facts: AppealFixed, by: Issuance) -> None:
        """The applicant mended it in time."""
        self.require_state(facts)
        if self.fix_until is None or by.at >= self.fix_until:
            raise TermPassedError(f"It could be mended until {self.fix_until}.")
        self._register(facts, by.at)

    @event("Lapsed")
    def lapse(self, facts: AppealLapsed, by: Issuance) -> None:
        """It was not mended in time."""
        self.require_state(facts)
        require(
            facts.fix_until == self.fix_until and by.at >= facts.fix_until,
            f"It can be mended until {self.fix_until}.",
        )
        self.state = "lapsed"
        self.withdrawal = "none"

    @event("Forwarded")
    def forward(self, facts: AppealForwarded, by: Issuance) -> None:
        """Sent on, whole, to the body that is competent (article 65)."""
        self._may(facts, by)
        self._require_other(facts.to)
        self._require_late(facts.late, by.at, self.forward_until)
        _require_term("telling", facts.tell_until, appeal_terms.tell_until(by.at))
        self._must_tell()  # by who forwards it, not by who gets it
        self.body = facts.to
        self.forwards += 1
        self._register(facts, by.at)

    @event("ForwardedInPart")
    def forward_in_part(self, facts: AppealForwardedInPart, by: Issuance) -> None:
        """A part becomes an appeal of its own, to another body; the rest stays."""
        self._may(facts, by)
        self._require_other(facts.to)
        self._repeat()
        found = _PARTS.fullmatch(self.id)
        require(
            found is None or found[1].count("-") < MAX_DEPTH,
            f"A part of a part is divided {MAX_DEPTH} times at most: forward it whole.",
        )
        require(facts.number == self.parts + 1, f"The next part of this appeal is number {self.parts + 1}.")
        self._require_late(facts.late, by.at, self.forward_until)
        _require_term("telling", facts.tell_until, appeal_terms.tell_until(by.at))
        self.parts = facts.number
        self._must_tell()

    # --- in work ---------------------------------------------------------------------------------

    @event("Taken")
    def take(self, facts: AppealTaken, by: Issuance) -> None:
        """Into work."""
        self._may(facts, by)
        self.state = "in-work"

    @event("Assigned")
    def assign(self, facts: AppealAssigned, by: Issuance) -> None:
        """Another body is asked for its part of the answer."""
        self._may(facts, by)
        self._require_other(facts.to)
        self._repeat()
        number = self.asked + 1
        require(facts.assignment == number, f"The next assignment of this appeal is number {number}.")
        require(
            by.at < facts.answer_until and (self.due is None or facts.answer_until <= self.due),
            f"An assignment is answered between now and the end of the term, {self.due}.",
        )
        self.asked = number
        self.assignments = {**self.assignments, number: facts.to}

    @event("AssignmentAnswered")
    def answer_assignment(self, facts: AppealAssignmentAnswered, by: Issuance) -> None:
        """The body that was asked gives its answer."""
        self.require_state(facts)
        require(
            facts.assignment in self.assignments, f"No assignment {facts.assignment} waits for an answer."
        )
        self._require_body(by, self.assignments[facts.assignment])
        self.assignments = {n: to for n, to in self.assignments.items() if n != facts.assignment}

    @event("ExtensionDrafted")
    def draft_extension(self, facts: AppealExtensionDrafted, by: Issuance) -> None:
        """The executor asks for more time, before the term is over (article 76)."""
        self._may(facts, by)
        self._require_extendable(facts.until, by.at)
        self._repeat()
        self.extension = "drafted"
        self.extend_until = facts.until

    @event("ExtensionApproved")
    def approve_extension(self, facts: AppealExtensionApproved, by: Issuance) -> None:
        """The controller agrees."""
        self._may(facts, by)
        self.extension = "approved"

    @event("Extended")
    def extend(self, facts: AppealExtended, by: Issuance) -> None:
        """The head signs, before the term is over."""
        self._may(facts, by)
        require(
            facts.until == self.extend_until, f"The extension that was approved ends {self.extend_until}."
        )
        self._require_extendable(facts.until, by.at)
        _require_term("telling", facts.tell_until, appeal_terms.tell_until(by.at))
        self.extension = "none"
        self.due = facts.until
        self.extensions += 1
        self._must_tell()

    @event("ApplicantTold")
    def tell_applicant(self, facts: AppealApplicantTold, by: Issuance) -> None:
        """The body told an applicant who does not follow the appeal electronically."""
        self.require_state(facts)
        require(
            facts.of in self.untold,
            f"Of event {facts.of} the applicant need not be told"
            + (f"; of {', '.join(map(str, self.untold))} they are waiting to hear." if self.untold else "."),
        )
        self._require_body(by, self.untold[facts.of])
        self.untold = {n: who for n, who in self.untold.items() if n != facts.of}

    @event("HearingNoticed")
    def notice_hearing(self, facts: AppealHearingNoticed, by: Issuance) -> None:
        """The applicant is invited, at least three working days before (article 73)."""
        self._may(facts, by)
        self._repeat()
        earliest = appeal_terms.earliest_hearing(by.at)
        require(
            facts.at >= earliest,
            f"Between notice and hearing lie three working days: not before {earliest.isoformat()}.",
            lawful=earliest.isoformat(),
        )
        _require_term("objection", facts.object_until, appeal_terms.object_until(by.at))
        _require_term("telling", facts.tell_until, appeal_terms.tell_until(by.at))
        self.hearing = "noticed"
        self.hearing_at = facts.at
        self.object_until = facts.object_until
        self._must_tell()

    @event("Objected")
    def object(self, facts: AppealObjected, by: Issuance) -> None:
        """The applicant objects to the preliminary decision, within two working days."""
        self.require_state(facts)
        if self.object_until is None or by.at >= self.object_until:
            raise TermPassedError(f"Objections were taken until {self.object_until}.")
        require(self.objections < MAX_OBJECTIONS, f"Of one appeal {MAX_OBJECTIONS} objections are taken.")
        self.objections += 1

    @event("HearingHeld")
    def hold_hearing(self, facts: AppealHearingHeld, by: Issuance) -> None:
        """The applicant was heard, or did not come."""
        self._may(facts, by)
        require(
            self.hearing_at is not None and by.at >= self.hearing_at,
            f"The hearing is at {self.hearing_at}: its protocol cannot be older.",
        )
        self.hearing = "held"

    @event("DecisionDrafted")
    def draft_decision(self, facts: AppealDecisionDrafted, by: Issuance) -> None:
        """The executor drafts the answer; a new draft takes the place of the last one."""
        self._may(facts, by)
        self._require_ground(facts)
        self._require_heard(facts.outcome, by.at)
        self._repeat()
        self.decision = "drafted"
        self.draft = (facts.outcome, facts.ground)

    @event("DecisionApproved")
    def approve_decision(self, facts: AppealDecisionApproved, by: Issuance) -> None:
        """The controller agrees."""
        self._may(facts, by)
        self.decision = "approved"

    @event("Decided")
    def decide(self, facts: AppealDecided, by: Issuance) -> None:
        """The head signs the answer as it was approved."""
        self._may(facts, by)
        require(
            (facts.outcome, facts.ground) == self.draft,
            f"The answer that was approved is {_said(self.draft)}.",
        )
        self._require_heard(facts.outcome, by.at)
        self._require_late(facts.late, by.at, self.due)
        _require_term("complaint", facts.complain_until, appeal_terms.complain_until(by.at))
        self.state = "decided"
        self.outcome = facts.outcome
        self.complain_until = facts.complain_until
        self.assignments = {}
        self._stop_term()
        self._reset_procedures()

    @event("Finished")
    def finish(self, facts: AppealFinished, by: Issuance) -> None:
        """The answer was handed over, the case filed."""
        self._may(facts, by)
        self.state = "finished"

    @event("Overdue")
    def miss_term(self, facts: AppealOverdue, by: Issuance) -> None:
        """A term that binds a body is over; said once for each term."""
        self.require_state(facts)
        require(facts.term == self.term, f"The term that runs is that of {self.term}.")
        require(facts.due == self.due and by.at >= facts.due, f"The term ends at {self.due}.")
        self.missed = "yes"
        self.passed += 1
        if facts.term == "consideration":
            self.complain_until = appeal_terms.complain_until(by.at)

    # --- taken back --------------------------------------------------------------------------------

    @event("WithdrawalAsked")
    def ask_withdrawal(self, facts: AppealWithdrawalAsked, by: Issuance) -> None:
        """The applicant wants to take it back."""
        self.require_state(facts)
        self.withdrawal = "asked"

    @event("WithdrawalAccepted")
    def accept_withdrawal(self, facts: AppealWithdrawalAccepted, by: Issuance) -> None:
        """It ends here."""
        self._may(facts, by)
        self.state = "withdrawn"
        self._stop_term()
        self._reset_procedures()

    @event("WithdrawalDeclined")
    def decline_withdrawal(self, facts: AppealWithdrawalDeclined, by: Issuance) -> None:
        """The work goes on."""
        self._may(facts, by)
        self.withdrawal = "none"

    # --- complained about ----------------------------------------------------------------------------

    @event("Complained")
    def complain(self, facts: AppealComplained, by: Issuance) -> None:
        """About the decision, or about silence once the term is over; within three months (article 92)."""
        self.require_state(facts)
        silence = self.state in _OPEN
        require(
            facts.about == ("silence" if silence else "decision"),
            "There is no decision yet: the complaint is about silence."
            if silence
            else "There is a decision: the complaint is about it.",
        )
        require(
            not silence or self.missed == "yes",
            f"The body may still answer until {self.due}: silence is complained about afterwards.",
        )
        # A late complaint is not refused for being late: the higher body judges that (article 92(3)).
        self._require_late(facts.late, by.at, self.complain_until)
        _require_term("passing up", facts.pass_up_until, appeal_terms.pass_up_until(by.at))
        self.before_complaint = (self.state, self.due)
        self.state = "complained"
        self.complaint = facts.about
        self._start_term("passing-up", facts.pass_up_until)

    @event("ComplaintSatisfied")
    def satisfy_complaint(self, facts: AppealComplaintSatisfied, by: Issuance) -> None:
        """The body itself, in full."""
        self._may(facts, by)
        self.state = "complaint-satisfied"
        self._stop_term()

    @event("ComplaintPassedUp")
    def pass_complaint_up(self, facts: AppealComplaintPassedUp, by: Issuance) -> None:
        """To the higher body, with the case."""
        self._may(facts, by)
        self._require_other(facts.to)
        _require_term("the complaint", facts.decide_until, appeal_terms.decide_complaint_until(by.at))
        self.state = "complaint-passed-up"
        self.higher = facts.to
        self._start_term("complaint", facts.decide_until)

    @event("ComplaintDecided")
    def decide_complaint(self, facts: AppealComplaintDecided, by: Issuance) -> None:
        """The higher body; what comes after it is the court."""
        self.require_state(facts)
        self._require_body(by, self.higher)
        require(
            self.complaint == "decision" or facts.outcome not in CANCELLING,
            "The complaint is about silence: there is no decision to be cancelled.",
        )
        self._require_late(facts.late, by.at, self.due)
        opens = facts.outcome in REOPENING
        require((facts.due is not None) == opens, "A new term begins where the appeal is opened again.")
        before, due = self.before_complaint
        self._stop_term()
        if facts.due is not None:
            _require_term("the opened appeal", facts.due, self._opened_again(by.at))
            self.state = "in-work"
            self.outcome = None
            self.first_due = facts.due
            self._reset_procedures()
            self._start_term("consideration", facts.due)
        elif facts.outcome in LEAVING and self.complaint == "silence":
            self.state = before
            if due is not None:
                self._start_term("consideration", due)
                self.missed = "yes"
        else:
            self.state = "complaint-decided"
        self.complaint = None

    # --- what follows from it ------------------------------------------------------------------------

    def lawful(self, facts: type[Fact], at: datetime, said: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of ``facts`` that the law and this appeal decide, where they may happen now."""
        self.require_state(facts)
        if facts is AppealReturned:
            return {"fix_until": appeal_terms.fix_until(at)}
        if facts is AppealFixed:
            return filing_terms(self.kind, at)
        if facts is AppealForwarded:
            late = self._is_late(at, self.forward_until)
            return {"late": late, "tell_until": appeal_terms.tell_until(at)} | filing_terms(self.kind, at)
        if facts is AppealForwardedInPart:
            late = self._is_late(at, self.forward_until)
            return {"number": self.parts + 1, "late": late, "tell_until": appeal_terms.tell_until(at)}
        if facts is AppealAssigned:
            return {"assignment": self.asked + 1} | ({"answer_until": self.due} if self.due else {})
        if facts is AppealExtended:
            return {"until": self.extend_until, "tell_until": appeal_terms.tell_until(at)}
        if facts is AppealHearingNoticed:
            object_until, tell_until = appeal_terms.object_until(at), appeal_terms.tell_until(at)
            return {"object_until": object_until, "tell_until": tell_until}
        if facts is AppealDecided:
            outcome, ground = self.draft or (None, None)
            said = {"outcome": outcome} | ({"ground": ground} if ground else {})
            return said | {
                "late": self._is_late(at, self.due),
                "complain_until": appeal_terms.complain_until(at),
            }
        if facts is AppealComplained:
            about = "silence" if self.state in _OPEN else "decision"
            late = self._is_late(at, self.complain_until)
            return {"about": about, "late": late, "pass_up_until": appeal_terms.pass_up_until(at)}
        if facts is AppealComplaintPassedUp:
            return {"decide_until": appeal_terms.decide_complaint_until(at)}
        if facts is AppealComplaintDecided:
            opens = said.get("outcome") in tuple(REOPENING)  # nobody has checked yet what it is
            again = {"due": self._opened_again(at)} if opens else {}
            return {"late": self._is_late(at, self.due)} | again
        return {}

    def readers(self) -> frozenset[str]:
        """The organisations that may read what is personal in it now."""
        higher = {self.higher} if self.state == "complaint-passed-up" and self.higher else set()
        asked = self.assignments.values() if self.state in _WORK else ()
        return frozenset({self.body, *asked, *higher})

    def _opened_again(self, at: datetime) -> datetime:
        return appeal_terms.consider_until(self.kind, appeal_terms.registered_on(at))

    # --- rules that several steps share ----------------------------------------------------------------

    def _register(
        self, facts: AppealSubmitted | AppealSplitOff | AppealFixed | AppealForwarded, at: datetime
    ) -> None:
        lawful = filing_terms(self.kind, at)
        day = lawful["registered_on"]
        require(
            facts.registered_on == day,
            f"It is registered on {day}, not on {facts.registered_on}.",
            lawful=day,
        )
        _require_term("forwarding", facts.forward_until, lawful["forward_until"])
        _require_term("consideration", facts.due, lawful["due"])
        self.state = "registered"
        self.forward_until = facts.forward_until
        self.first_due = facts.due
        self.fix_until = None
        self._reset_procedures()
        self._start_term("consideration", facts.due)

    def _import(self, step: ImportedStep, happened: datetime, at: datetime) -> None:
        require(happened <= at, "What is imported has happened already.")
        self.rows += 1
        state = AFTER_IMPORT[step]
        if state is not None:
            self.state = state
        if step == "extended":
            self.extensions += 1
        if step == "forwarded":
            self.forwards += 1
        if step == "decided":
            self.complain_until = end_of_months(happened, appeal_terms.appeal_rules(at).complaint_months)
        if self.state == "returned" and self.fix_until is None:
            self.fix_until = appeal_terms.fix_until(at)
        if self.state in _OPEN and self.due is not None:
            self.first_due = self.first_due or self.due
            self.term = "consideration"
        elif self.state in {"complained", "complaint-passed-up"}:
            self.complaint = self.complaint or "decision"
            self.higher = self.higher or self.body
            self.term = None
        else:
            self.term = None

    def _may(self, facts: Fact, by: Issuance) -> None:
        self._require_handler(by)
        self.require_state(facts)

    def _repeat(self) -> None:
        require(
            self.repeated < MAX_REPEATED,
            f"Drafts, notices, assignments and parts of one appeal: {MAX_REPEATED} at most.",
        )
        self.repeated += 1

    def _require_handler(self, by: Issuance) -> None:
        self._require_body(by, self.body)

    def _require_body(self, by: Issuance, body: str | None) -> None:
        if by.iss != body:
            raise AnotherBodysAppealError(
                f"This is for {body} to do; {by.iss} cannot act on {self.id} here.",
                body=body,
                state=self.state,
                allowed=self.allowed(),
            )

    def _require_other(self, to: str) -> None:
        require(to != self.body, f"{to} has this appeal already.")

    def _require_extendable(self, until: datetime, at: datetime) -> None:
        require(
            self.kind not in appeal_terms.appeal_rules(at).unextendable,
            f"The term of a {self.kind} cannot be extended.",
        )
        if self.due is None or self.first_due is None or at >= self.due:
            raise TermPassedError(f"The term ended at {self.due}: it can no longer be extended.")
        limit = appeal_terms.extension_limit(self.first_due, at)
        require(
            self.due < until <= limit and until == appeal_terms.end_of_day(last_day(until)),
            f"A longer term ends with a working day, after {self.due.isoformat()} and not after "
            f"{limit.isoformat()}: at most two months are added in all.",
            limit=limit.isoformat(),
        )

    def _require_ground(self, facts: AppealDecisionDrafted) -> None:
        require(
            (facts.ground is not None) == (facts.outcome == "terminated"),
            "A termination has a ground, and nothing else has one.",
        )

    def _require_heard(self, outcome: AppealOutcome, at: datetime) -> None:
        rules = appeal_terms.appeal_rules(at)
        if outcome in rules.burdensome and self.kind not in rules.simplified and self.hearing != "held":
            raise HearingMissingError(
                f"{outcome!r} burdens the applicant, who must be heard first: notice a hearing and hold it. "
                f"Its hearing is {self.hearing}.",
                state=self.state,
                allowed=[type_ for type_ in self.allowed() if type_ != AppealDecided.type],
            )

    @staticmethod
    def _is_late(at: datetime, until: datetime | None) -> bool:
        return until is not None and at >= until

    def _require_late(self, late: bool, at: datetime, until: datetime | None) -> None:
        require(late == self._is_late(at, until), f"The term ended at {until}: late is {not late}.")

    def _must_tell(self) -> None:
        """Of the event that is happening; who came electronically follows the appeal."""
        if self.channel != "electronic":
            self.untold = {**self.untold, self.version + 1: self.body}

    def _start_term(self, term: AppealTerm, due: datetime) -> None:
        self.term = term
        self.due = due
        self.missed = "no"

    def _stop_term(self) -> None:
        self.term = None
        self.due = None
        self.missed = "no"

    def _reset_procedures(self) -> None:
        self.extension = "none"
        self.hearing = "none"
        self.decision = "none"
        self.withdrawal = "none"
        self.draft = None


def filing_terms(kind: AppealKind, at: datetime) -> dict[str, Any]:
    """``registered_on``, ``forward_until`` and ``due`` of an appeal that reaches a body at a moment."""
    day = appeal_terms.registered_on(at)
    return {
        "registered_on": day,
        "forward_until": appeal_terms.forward_until(day),
        "due": appeal_terms.consider_until(kind, day),
    }


def appeal_stream(number: str) -> str | None:
    """The stream of a number as on a talon (``ЖТ-2026-00000001``) or in an address; None: no number."""
    found = _TALON.fullmatch(number)
    if found is not None:
        latin = {shown: name for name, shown in PREFIXES.values()}.get(found[1], found[1])
        return f"{ROOM}/{latin}-{found[2]}-{found[3]}{found[4].replace('/', '-')}"
    if re.fullmatch(rf"{IMPORTED}-[A-Za-z0-9_-]{{22}}(-[1-9][0-9]{{0,8}})*", number):
        return f"{ROOM}/{number}"
    return None


def talon_number(stream: str) -> str:
    """The number as people read it; that of a part ends with a stroke and the part's own number."""
    name = stream.removeprefix(f"{ROOM}/")
    found = _NUMBER.fullmatch(name)
    if found is None:
        return name
    shown = dict(PREFIXES.values()).get(found[1], found[1])
    return f"{shown}-{found[2]}-{found[3]}{found[4].replace('-', '/')}"


def numbered(applicant: Applicant, year: int, number: int) -> str:
    """The stream of the ``number``-th appeal of a year."""
    return f"{ROOM}/{PREFIXES[applicant][0]}-{year:04}-{number:08}"


def _require_term(what: str, given: datetime, lawful: datetime) -> None:
    if given != lawful:
        raise WrongTermError(
            f"The term of {what} ends at {lawful.isoformat()}, not at {given.isoformat()}.",
            lawful=lawful.isoformat(),
        )


def last_day(until: datetime) -> date:
    """The last day of a term that ends at a moment, exclusive."""
    return (until - timedelta(microseconds=1)).astimezone(ALMATY).date()


def _said(draft: tuple[str, str | None] | None) -> str:
    return "none" if draft is None else " ".join(part for part in draft if part)
