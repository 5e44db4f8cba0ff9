"""Appeals told once more, as plainly as possible: what the state machine compares the service with.

Nothing here comes from the service: the table of steps and what each of them changes are written down anew,
after the events' own descriptions and the АППК. Days and terms are reckoned in ``appeal_days``.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.ledger.appeal_days import (
    UNHEARD,
    after,
    answer_due,
    complain_until,
    end_of,
    extension_limit,
    is_worked,
    local,
    may_be_extended,
    registered_on,
    registration,
    working_days_after,
)

# --- steps ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """Who takes a step, and when."""

    roles: frozenset
    states: frozenset
    who: str = "handler"
    standing: dict = field(default_factory=dict)
    """How procedures beside the state must stand."""


def _step(roles: str, states: str, who: str = "handler", **standing: str) -> Step:
    return Step(frozenset(roles.split()), frozenset(states.split()), who, standing)


_ANYWHERE = "registered returned in-work"
STEPS = {
    "taken": _step("registrar executor", "registered"),
    "returned": _step("registrar executor", "registered in-work", withdrawal="none"),
    "fixed": _step("gateway front-office", "returned", "applicant"),
    "lapsed": _step("clock", "returned", "clock"),
    "forwarded": _step("registrar", "registered", withdrawal="none"),
    "forwarded_in_part": _step("registrar executor", "registered in-work"),
    "assigned": _step("executor head", "in-work"),
    "assignment_answered": _step("executor head", "in-work", "asked"),
    "extension_drafted": _step("executor", "in-work"),
    "extension_approved": _step("controller", "in-work", extension="drafted"),
    "extended": _step("head", "in-work", extension="approved"),
    "applicant_told": _step(
        "registrar executor", f"{_ANYWHERE} decided finished complained complaint-passed-up", "teller"
    ),
    "hearing_noticed": _step("executor", "in-work"),
    "objected": _step("gateway front-office", "in-work", "applicant", hearing="noticed"),
    "hearing_held": _step("executor", "in-work", hearing="noticed"),
    "decision_drafted": _step("executor", "in-work"),
    "decision_approved": _step("controller", "in-work", decision="drafted"),
    "decided": _step("head", "in-work", decision="approved", withdrawal="none"),
    "finished": _step("registrar", "decided"),
    "overdue": _step("clock", "registered in-work complained complaint-passed-up", "clock", missed="no"),
    "withdrawal_asked": _step("gateway front-office", _ANYWHERE, "applicant", withdrawal="none"),
    "withdrawal_accepted": _step("head", _ANYWHERE, withdrawal="asked"),
    "withdrawal_declined": _step("head", _ANYWHERE, withdrawal="asked"),
    "complained": _step(
        "gateway front-office", "registered in-work decided finished", "applicant", withdrawal="none"
    ),
    "complaint_satisfied": _step("head", "complained"),
    "complaint_passed_up": _step("registrar head", "complained"),
    "complaint_decided": _step("head", "complaint-passed-up", "higher"),
    "step_imported": _step(
        "registrar",
        f"{_ANYWHERE} decided finished withdrawn complained complaint-passed-up complaint-decided",
        origin="imported",
    ),
}
ACTS = {"fix": "fixed", "object": "objected", "withdraw": "withdrawal_asked", "complain": "complained"}
OPENING = frozenset({"remit", "oblige"})
CANCELLING = frozenset({"cancel", "cancel-and-decide-anew"})
LEAVING = frozenset({"dismiss", "leave-unconsidered"})
TERMS = frozenset(
    {"fix_until", "tell_until", "forward_until", "due", "object_until", "complain_until", "pass_up_until",
     "decide_until"}
)  # fmt: skip
"""Fields that the law reckons; a wrong one has a problem of its own."""
AFTER_IMPORT = {
    "registered": "registered", "taken": "in-work", "forwarded": "registered", "returned": "returned",
    "fixed": "registered", "decided": "decided", "finished": "finished", "withdrawn": "withdrawn",
    "complained": "complained", "complaint-passed-up": "complaint-passed-up",
    "complaint-decided": "complaint-decided",
}  # fmt: skip
"""The state behind a row of an old register, where it brings one."""


@dataclass
class Case:
    """One appeal."""

    stream: str
    kind: str
    channel: str
    body: str
    person: int | None
    """Whose it is; None for somebody without a number."""
    code: str | None = None
    origin: str = "filed"
    version: int = 1
    at: datetime | None = None
    """Of the last event."""
    state: str = "registered"
    term: str | None = None
    due: datetime | None = None
    first_due: datetime | None = None
    missed: str = "no"
    forward_until: datetime | None = None
    fix_until: datetime | None = None
    extension: str = "none"
    hearing: str = "none"
    decision: str = "none"
    withdrawal: str = "none"
    extend_until: datetime | None = None
    hearing_at: datetime | None = None
    object_until: datetime | None = None
    draft: tuple | None = None
    outcome: str | None = None
    complain_until: datetime | None = None
    complaint: str | None = None
    before: tuple = ("registered", None)
    """State and term when it was complained about."""
    higher: str | None = None
    parts: int = 0
    questions: int = 0
    open_questions: dict = field(default_factory=dict)
    untold: dict = field(default_factory=dict)
    happened: datetime | None = None
    """Of an imported appeal: when the old register's last row was."""
    not_ours: int = 0
    """Of an imported appeal: events that are rows of the old register, or that the clock said."""
    journal: tuple | None = None
    """Of an imported appeal: whose register it is from, and its number there."""

    def may(self, name: str) -> bool:
        """Whether state and procedures let a step happen."""
        step = STEPS[name]
        standing = all(getattr(self, what) == value for what, value in step.standing.items())
        return self.state in step.states and standing

    def allowed(self) -> set[str]:
        """Types of event that may come next."""
        return {f"appeal.{name}" for name in STEPS if self.may(name)}

    def readers(self) -> set[str]:
        """Who may read what is personal: who has it, who was asked while it is worked on, who judges it."""
        asked = set(self.open_questions.values()) if self.state == "in-work" else set()
        higher = {self.higher} if self.state == "complaint-passed-up" else set()
        return {self.body} | asked | higher

    def actor(self, name: str, facts: dict) -> str | None:
        """The organisation that takes a step; None where it is nobody's."""
        match STEPS[name].who:
            case "handler":
                return self.body
            case "asked":
                return self.open_questions.get(facts.get("assignment"))
            case "teller":
                return self.untold.get(facts.get("of"))
            case "higher":
                return self.higher
            case _:
                return None

    # --- what the law says of a step's fields --------------------------------------------------------

    def lawful(self, name: str, facts: dict, at: datetime) -> dict:
        """The fields that are not for anybody to choose."""
        late = {"late": self.forward_until is not None and at >= self.forward_until}
        tell = {"tell_until": after(at, 3)}
        match name:
            case "returned":
                return {"fix_until": after(at, 5)}
            case "fixed":
                return registration(self.kind, at)
            case "forwarded":
                return late | tell | registration(self.kind, at)
            case "forwarded_in_part":
                return {"number": self.parts + 1} | late | tell
            case "assigned":
                return {"assignment": self.questions + 1}
            case "extended":
                return {"until": self.extend_until or at} | tell
            case "hearing_noticed":
                return {"object_until": after(at, 2)} | tell
            case "decided":
                outcome, ground = self.draft or ("explained", None)
                late = self.due is not None and at >= self.due
                return {
                    "outcome": outcome, "ground": ground, "late": late, "complain_until": complain_until(at),
                }  # fmt: skip
            case "complained":
                about = "silence" if self.state in {"registered", "in-work"} else "decision"
                late = self.complain_until is not None and at >= self.complain_until
                return {"about": about, "late": late, "pass_up_until": after(at, 3)}
            case "complaint_passed_up":
                return {"decide_until": working_days_after(registered_on(at), 20)}
            case "complaint_decided":
                opened = answer_due(self.kind, registered_on(at)) if facts.get("outcome") in OPENING else None
                return {"late": self.due is not None and at >= self.due, "due": opened}
            case "overdue":
                return {"term": self.term, "due": self.due}
            case "lapsed":
                return {"fix_until": self.fix_until}
            case _:
                return {}

    def faults(self, name: str, facts: dict, at: datetime, bodies: set[str]) -> set[str]:
        """Codes of everything that is wrong with a step, whoever takes it; facts are complete."""
        found = set()
        if not self.may(name):
            found.add("not-allowed")
        if at < self.at:
            found.add("not-allowed")
        for field_, value in self.lawful(name, facts, at).items():
            given = facts.get(field_)
            if given != value:
                reckoned = field_ in TERMS and value is not None and given is not None
                found.add("term-wrong" if reckoned and name not in {"overdue", "lapsed"} else "not-allowed")
        if "to" in facts and facts["to"] not in bodies:
            found.add("body-unknown")
        if facts.get("to") == self.body:
            found.add("not-allowed")
        return found | self._faults(name, facts, at)

    def _faults(self, name: str, facts: dict, at: datetime) -> set[str]:
        match name:
            case "returned" if self.due is not None and at >= self.due:
                return {"term-passed"}
            case "fixed" if self.fix_until is None or at >= self.fix_until:
                return {"term-passed"}
            case "objected" if self.object_until is None or at >= self.object_until:
                return {"term-passed"}
            case "lapsed" if self.fix_until is None or at < self.fix_until:
                return {"not-allowed"}
            case "overdue" if self.term is None or self.due is None or at < self.due:
                return {"not-allowed"}
            case "assigned":
                until = facts["answer_until"]
                return set() if at < until and (self.due is None or until <= self.due) else {"not-allowed"}
            case "assignment_answered" if facts["assignment"] not in self.open_questions:
                return {"not-allowed"}
            case "applicant_told" if facts["of"] not in self.untold:
                return {"not-allowed"}
            case "extension_drafted" | "extended":
                return self._extension_faults(facts["until"], at)
            case "hearing_noticed" if facts["at"] < after(at, 3):
                return {"not-allowed"}
            case "hearing_held" if self.hearing_at is None or at < self.hearing_at:
                return {"not-allowed"}
            case "decision_drafted":
                grounded = (facts["outcome"] == "terminated") == (facts.get("ground") is not None)
                return self._unheard(facts["outcome"]) | (set() if grounded else {"not-allowed"})
            case "decided":
                return self._unheard(facts["outcome"])
            case "complained" if self.state in {"registered", "in-work"} and self.missed == "no":
                return {"not-allowed"}
            case "complaint_decided" if self.complaint == "silence" and facts["outcome"] in CANCELLING:
                return {"not-allowed"}
            case "step_imported":
                backwards = facts["happened"] < self.happened or facts["happened"] > at
                backwards |= self.version != self.not_ours  # steps were taken here since
                misplaced = facts.get("outcome") is not None and facts["step"] != "decided"
                return {"not-allowed"} if backwards or misplaced else set()
            case _:
                return set()

    def _extension_faults(self, until: datetime, at: datetime) -> set[str]:
        if not may_be_extended(self.kind, at):
            return {"not-allowed"}
        if self.due is None or at >= self.due:
            return {"term-passed"}
        last = local(until - timedelta(seconds=1)).date()
        fits = self.due < until <= extension_limit(self.first_due, at)
        return set() if fits and until == end_of(last) and is_worked(last) else {"not-allowed"}

    def _unheard(self, outcome: str) -> set[str]:
        heard = self.hearing == "held" or self.kind in UNHEARD
        return set() if heard or outcome != "refused" else {"hearing-missing"}

    # --- what a step changes -------------------------------------------------------------------------

    def happen(self, name: str, facts: dict, at: datetime) -> None:
        """Let a lawful step change the case."""
        self.version += 1
        self.at = at
        if name in {"returned", "forwarded", "forwarded_in_part", "extended", "hearing_noticed"}:
            self._must_be_told()
        match name:
            case "taken":
                self.state = "in-work"
            case "returned":
                self.state, self.fix_until = "returned", facts["fix_until"]
                self._stop()
                self._end_procedures()
            case "fixed":
                self.register(facts)
            case "lapsed":
                self.state, self.withdrawal = "lapsed", "none"
            case "forwarded":
                self.body = facts["to"]
                self.register(facts)
            case "forwarded_in_part":
                self.parts += 1
            case "assigned":
                self.questions += 1
                self.open_questions[self.questions] = facts["to"]
            case "assignment_answered":
                del self.open_questions[facts["assignment"]]
            case "extension_drafted":
                self.extension, self.extend_until = "drafted", facts["until"]
            case "extension_approved":
                self.extension = "approved"
            case "extended":
                self.extension, self.due = "none", facts["until"]
            case "applicant_told":
                del self.untold[facts["of"]]
            case "hearing_noticed":
                self.hearing, self.hearing_at = "noticed", facts["at"]
                self.object_until = facts["object_until"]
            case "hearing_held":
                self.hearing = "held"
            case "decision_drafted":
                self.decision, self.draft = "drafted", (facts["outcome"], facts.get("ground"))
            case "decision_approved":
                self.decision = "approved"
            case "decided":
                self.state, self.outcome = "decided", facts["outcome"]
                self.complain_until = facts["complain_until"]
                self.open_questions = {}
                self._stop()
                self._end_procedures()
            case "finished":
                self.state = "finished"
            case "overdue":
                self.missed = "yes"
                self.not_ours += 1
                if facts["term"] == "consideration":
                    self.complain_until = complain_until(at)
            case "withdrawal_asked":
                self.withdrawal = "asked"
            case "withdrawal_accepted":
                self.state = "withdrawn"
                self._stop()
                self._end_procedures()
            case "withdrawal_declined":
                self.withdrawal = "none"
            case "complained":
                self.before = self.state, self.due
                self.state, self.complaint = "complained", facts["about"]
                self._start("passing-up", facts["pass_up_until"])
            case "complaint_satisfied":
                self.state = "complaint-satisfied"
                self._stop()
            case "complaint_passed_up":
                self.state, self.higher = "complaint-passed-up", facts["to"]
                self._start("complaint", facts["decide_until"])
            case "complaint_decided":
                self._decide_complaint(facts)
            case "step_imported":
                self.take_over(facts, at)

    def register(self, facts: dict) -> None:
        """At a body, with terms that begin anew."""
        self.state = "registered"
        self.forward_until, self.first_due, self.fix_until = facts["forward_until"], facts["due"], None
        self._end_procedures()
        self._start("consideration", facts["due"])

    def take_over(self, facts: dict, at: datetime) -> None:
        """A row of an old register."""
        self.happened = facts["happened"]
        self.not_ours += 1
        self.state = AFTER_IMPORT.get(facts["step"], self.state)
        self.due = facts.get("due") or self.due
        self.outcome = facts.get("outcome") or self.outcome
        if facts["step"] == "decided":
            self.complain_until = complain_until(facts["happened"])
        if self.state == "returned" and self.fix_until is None:
            self.fix_until = after(at, 5)
        self.term = None
        if self.state in {"registered", "in-work"} and self.due is not None:
            self.term, self.first_due = "consideration", self.first_due or self.due
        if self.state in {"complained", "complaint-passed-up"}:
            self.complaint, self.higher = self.complaint or "decision", self.higher or self.body

    def _decide_complaint(self, facts: dict) -> None:
        state, due = self.before
        silence, self.complaint = self.complaint == "silence", None
        self._stop()
        if facts["outcome"] in OPENING:
            self.state, self.outcome, self.first_due = "in-work", None, facts["due"]
            self._end_procedures()
            self._start("consideration", facts["due"])
        elif silence and facts["outcome"] in LEAVING:
            self.state = state
            if due is not None:
                self._start("consideration", due)
                self.missed = "yes"
        else:
            self.state = "complaint-decided"

    def _must_be_told(self) -> None:
        if self.channel != "electronic":
            self.untold[self.version] = self.body

    def _start(self, term: str, due: datetime) -> None:
        self.term, self.due, self.missed = term, due, "no"

    def _stop(self) -> None:
        self.term = self.due = None
        self.missed = "no"

    def _end_procedures(self) -> None:
        self.extension = self.hearing = self.decision = self.withdrawal = "none"
        self.draft = None


# --- all appeals, and who may act ------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What the model says of a command."""

    codes: frozenset
    """Of everything that is wrong with it: the service names one of them; none where it is accepted."""
    facts: dict = field(default_factory=dict)


@dataclass
class Ledger:
    """Every appeal, and what every key may do."""

    kinds: dict[str, str] = field(default_factory=dict)
    """Organisation → kind."""
    keys: dict[tuple[str, str], frozenset] = field(default_factory=dict)
    """(organisation, name of a key) → roles; ``gateway`` is the key that speaks for tokens."""
    cases: dict[str, Case] = field(default_factory=dict)
    numbers: Counter = field(default_factory=Counter)
    size: int = 0

    def bodies(self) -> set[str]:
        """Whom appeals are addressed to."""
        addressed = {"authorised-body", "central", "akimat", "maslikhat", "institution"}
        return {name for name, kind in self.kinds.items() if kind in addressed}

    def roles(self, organisation: str, key: str = "gateway") -> frozenset:
        """What a key may do; nothing where it is unknown or revoked."""
        return self.keys.get((organisation, key), frozenset())

    def moment(self, stream: str, now: datetime) -> datetime:
        """When something that is said now happens: never before what happened last."""
        case = self.cases.get(stream)
        return now if case is None else max(now, case.at)

    def judge(
        self, iss: str, key: str, stream: str, name: str, said: dict, at: datetime, *,
        seen: int | None = None, sealed: bool = False, wrong: frozenset = frozenset(),
        skewed: bool = False,
    ) -> Verdict:  # fmt: skip
        """What becomes of an organisation's command; ``wrong`` are faults of form that its maker knows of."""
        codes = set(wrong)
        step, case = STEPS.get(name), self.cases.get(stream)
        if step is None:
            return Verdict(frozenset(codes | {"event-type-unknown" if sealed else "command-invalid"}))
        if not self.roles(iss, key) & step.roles:
            codes.add("issuer-not-authorised")
        if step.who in {"applicant", "clock"}:
            return Verdict(frozenset(codes | {"issuer-not-authorised" if sealed else "command-invalid"}))
        if name == "step_imported":
            return Verdict(frozenset(codes | {"command-invalid"}))
        if seen is not None and seen != (case.version if case else 0):
            codes.add("stream-conflict")
        if case is None:
            codes.add("not-found")
        elif not case.may(name):
            codes.add("not-allowed")
        if wrong or case is None:
            return Verdict(frozenset(codes))
        facts = case.lawful(name, said, at) | said
        if name == "assigned" and "answer_until" not in facts:
            facts["answer_until"] = case.due
            if case.due is None:
                return Verdict(frozenset(codes | {"command-invalid", "not-allowed"}))
        codes |= case.faults(name, facts, at, self.bodies())
        if iss != case.actor(name, facts):
            codes.add("appeal-of-another-body")
        if skewed:
            codes.add("clock-skew")
        return Verdict(frozenset(codes), facts)

    def judge_act(self, stream: str, act: str, at: datetime) -> Verdict:
        """The same of an applicant's step."""
        case, name = self.cases[stream], ACTS[act]
        facts = case.lawful(name, {}, at)
        return Verdict(frozenset(case.faults(name, facts, at, self.bodies())), facts)

    def happen(self, stream: str, name: str, facts: dict, at: datetime) -> None:
        """Let an accepted step happen."""
        case = self.cases[stream]
        case.happen(name, facts, at)
        self.size += 1
        if name == "forwarded_in_part":
            part = f"{stream}-{case.parts}"
            self.begin(part, case.kind, case.channel, facts["to"], case.person, case.code, at)

    def begin(
        self, stream: str, kind: str, channel: str, body: str, person: int | None, code: str | None,
        at: datetime,
    ) -> Case:  # fmt: skip
        """A new appeal."""
        case = Case(stream, kind, channel, body, person, code, at=at)
        case.register(registration(kind, at))
        self.cases[stream] = case
        self.size += 1
        return case

    def judge_import(
        self, stream: str, body: str, number: int, kind: str, channel: str, rows: list, known: int,
        now: datetime,
    ) -> tuple[Case, bool]:  # fmt: skip
        """What the rows behind the ``known`` ones make of an imported case; whether one is unlawful."""
        at = self.moment(stream, now)
        unlawful = False
        if known:
            case = copy.deepcopy(self.cases[stream])
        else:
            case = Case(
                stream, kind, channel, body, number, origin="imported", at=at, happened=rows[0]["happened"]
            )
            case.journal = body, number
            unlawful = rows[0].get("outcome") is not None or rows[0]["happened"] > at
            case.take_over(rows[0], at)
        for row in rows[known or 1 :]:
            unlawful |= bool(case.faults("step_imported", row, at, set()))
            case.happen("step_imported", row, at)
        return case, unlawful

    def next_number(self, applicant: str, at: datetime) -> str:
        """The stream of the next appeal: a year's numbers have no gaps."""
        prefix, year = ("JT" if applicant == "person" else "ZT"), registered_on(at).year
        self.numbers[prefix, year] += 1
        return f"appeal/{prefix}-{year}-{self.numbers[prefix, year]:08}"

    def due(self, now: datetime) -> list[tuple[str, str]]:
        """What time has brought about and nobody has said yet."""
        found = []
        for stream, case in self.cases.items():
            at = self.moment(stream, now)
            found += [
                (stream, name)
                for name in ("overdue", "lapsed")
                if not case.faults(name, case.lawful(name, {}, at), at, self.bodies())
            ]
        return found
