"""Appeals as their aggregate lets them happen, written entry by entry."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from ledger import events
from ledger.domain import appeal_terms
from ledger.domain.aggregate import Issuance, NotAllowedError, happen
from ledger.domain.appeal import Appeal, filing_terms, numbered
from ledger.domain.reading import Reading
from ledger.domain.terms import NoTermError
from ledger.statement import Disclosure, seal
from tests.projections.written import KEY, OPERATOR, WrittenLedger

BEGAN = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
"""A Monday, nine in the morning."""
WATER, ROADS, LIGHT, OBLAST = (f"organisation/{name}" for name in ("water", "roads", "light", "oblast"))
LONG_AGO = datetime(2025, 2, 3, 5, 0, tzinfo=UTC)


SELDOM = (
    events.AppealReturned, events.AppealForwarded, events.AppealForwardedInPart, events.AppealWithdrawalAsked,
    events.AppealWithdrawalAccepted, events.AppealStepImported, events.AppealHearingNoticed,
    events.AppealOverdue,
)  # fmt: skip
"""Detours, and ends before the end: less likely than the straight way."""


def write(
    ledger: WrittenLedger, stream: str, facts: events.Fact, *, n: int, at: datetime, iss: str = OPERATOR
) -> int:
    """One sealed entry, whatever it says; returns its position."""
    names = sorted(facts.public | facts.restricted)
    disclosures = [Disclosure.make(name, f"some {name}") for name in names]
    event = seal(facts, iss=iss, stream=stream, n=n, at=at, key=KEY, disclosures=disclosures)
    position = ledger.add_entry(event.entry, stream, n, facts.type)
    ledger.events[-1] = event
    return position


def hearing(appeal: Appeal, at: datetime) -> dict[str, Any]:
    """The fields of an invitation to the first hearing that the law allows."""
    return {"at": appeal_terms.earliest_hearing(at) + timedelta(hours=5)}


def longer(appeal: Appeal, days: int = 3) -> dict[str, Any]:
    """The fields of a draft for a term that is longer by some days."""
    if appeal.due is None:
        raise NotAllowedError("No term runs.")
    until = appeal_terms.end_of_day((appeal.due + timedelta(days=days)).date())
    return {"ground": "complexity", "until": until}


@dataclass
class Written:
    """A ledger and the appeals in it, each as its aggregate has it."""

    ledger: WrittenLedger
    appeals: dict[str, Appeal] = field(default_factory=dict)
    clock: datetime = BEGAN
    filed: int = 0
    readings: int = 0

    def pass_time(self, **spans: float) -> None:
        """What is written next happens later."""
        self.clock += timedelta(**spans)

    def pass_until(self, moment: datetime | None) -> None:
        """What is written next happens then, or later."""
        assert moment is not None
        self.clock = max(self.clock, moment)

    def file(
        self,
        *,
        channel: events.Channel = "electronic",
        kind: events.AppealKind = "application",
        **more: Any,
    ) -> str:
        """Somebody turns to a body; returns the stream."""
        self.filed += 1
        terms = filing_terms(kind, self.clock)
        facts = {
            "applicant": "person", "body": WATER, "category": "utilities", "lang": "kk", "region": "71",
            "algorithm": "RSA-SHA256" if channel == "electronic" else None,
        } | terms | more  # fmt: skip
        stream = numbered(facts["applicant"], terms["registered_on"].year, self.filed)
        self.tell(stream, events.AppealSubmitted(kind=kind, channel=channel, **facts))
        return stream

    def import_case(self, step: events.ImportedStep = "registered", **more: Any) -> str:
        """A case of an old register, and its first row."""
        self.filed += 1
        stream = f"appeal/IM-{self.filed:022d}"
        facts: dict[str, Any] = {
            "register": "old", "kind": "application", "applicant": "person", "body": WATER,
            "channel": "paper", "category": "utilities", "lang": "ru", "registered_on": date(2025, 2, 3),
            "activity": "Қадам", "happened": LONG_AGO,
        } | more  # fmt: skip
        self.tell(stream, events.AppealImported(step=step, **facts), iss=facts["body"])
        return stream

    def say(self, stream: str, kind: type[events.Fact], iss: str | None = None, **fields: Any) -> int:
        """An event, with the other fields as the law gives them, by the body that the appeal lies with."""
        appeal = self.appeals[stream]
        lawful = appeal.lawful(kind, self.clock, fields) | fields
        said = {name: value for name, value in lawful.items() if value is not None}
        return self.tell(stream, kind(**said), iss=iss or appeal.body)

    def tell(self, stream: str, facts: events.Fact, iss: str = OPERATOR) -> int:
        """Any lawful event; returns its position."""
        by = Issuance(iss, KEY.kid, self.clock)
        self.appeals[stream] = happen(Appeal, stream, self.appeals.get(stream), facts, by)
        n = self.appeals[stream].version
        return write(self.ledger, stream, facts, n=n, at=self.clock, iss=iss)

    def read_by(self, stream: str, iss: str) -> int:
        """An official reads what is personal in an appeal."""
        self.readings += 1
        of = self.appeals[stream].version
        facts = events.DisclosureRead(of=stream, events=of, purpose="consideration")
        name = f"reading/{stream}/{self.readings:016d}"
        happen(Reading, name, None, facts, Issuance(iss, KEY.kid, self.clock))
        return write(self.ledger, name, facts, n=1, at=self.clock, iss=iss)

    # --- ways -------------------------------------------------------------------------------------

    def take(self, **more: Any) -> str:
        """An appeal in work."""
        stream = self.file(**more)
        self.say(stream, events.AppealTaken)
        return stream

    def hear(self, stream: str) -> None:
        """Notice a hearing and hold it."""
        appeal = self.appeals[stream]
        self.say(stream, events.AppealHearingNoticed, **hearing(appeal, self.clock))
        self.pass_until(appeal.hearing_at)
        self.say(stream, events.AppealHearingHeld, attended=True)

    def decide(self, stream: str, outcome: events.AppealOutcome = "explained", **more: Any) -> int:
        """Draft, approve, decide."""
        self.say(stream, events.AppealDecisionDrafted, outcome=outcome, **more)
        self.say(stream, events.AppealDecisionApproved)
        return self.say(stream, events.AppealDecided)

    def miss(self, stream: str) -> int:
        """Let the term that runs pass, and the clock say so."""
        appeal = self.appeals[stream]
        self.pass_until(appeal.due)
        return self.say(stream, events.AppealOverdue, OPERATOR, term=appeal.term, due=appeal.due)

    def extend(self, stream: str) -> int:
        """Draft, approve, sign."""
        self.say(stream, events.AppealExtensionDrafted, **longer(self.appeals[stream]))
        self.say(stream, events.AppealExtensionApproved)
        return self.say(stream, events.AppealExtended)

    def split(self, stream: str, to: str) -> str:
        """Forward a part, which becomes an appeal of its own; returns its stream."""
        whole = self.appeals[stream]
        self.say(stream, events.AppealForwardedInPart, to=to)
        part = f"{stream}-{whole.parts}"
        facts = events.AppealSplitOff(
            kind=whole.kind, applicant=whole.applicant, body=to, channel=whole.channel,
            category="roads-transport", lang="kk", parent=stream, **filing_terms(whole.kind, self.clock),
        )  # fmt: skip
        self.tell(part, facts)
        return part


class Wanderer:
    """Lets lawful things happen to appeals, one after the other, by chance."""

    def __init__(self, written: Written, seed: int) -> None:
        self.written = written
        self.chance = random.Random(seed)  # noqa: S311

    def wander(self, steps: int) -> Written:
        """So many times something happens."""
        for _ in range(steps):
            self._step()
        return self.written

    def _step(self) -> None:
        written, chance = self.written, self.chance
        written.pass_time(minutes=chance.choice([1, 30, 60, 60 * 5, 60 * 24, 60 * 24 * 3]))
        if len(written.appeals) < 2 or chance.random() < 0.06:
            self._begin()
            return
        stream = chance.choice(list(written.appeals))
        appeal = written.appeals[stream]
        if chance.random() < 0.05:
            written.read_by(stream, appeal.body)
            return
        allowed = [events.catalogue[type_] for type_ in appeal.allowed()]
        allowed.sort(key=lambda kind: chance.random() + 0.35 * (kind in SELDOM))
        for kind in allowed:
            try:
                if kind is events.AppealForwardedInPart:
                    written.split(stream, self._other(appeal))
                else:
                    fields, iss = self._choose(appeal, kind)
                    written.say(stream, kind, iss, **fields)
            except (NotAllowedError, NoTermError):
                continue  # the law has more to say than state and procedures
            return

    def _begin(self) -> None:
        chance = self.chance
        if chance.random() < 0.3:
            due = chance.choice([None, LONG_AGO + timedelta(days=21), self.written.clock + timedelta(days=9)])
            steps = ["registered", "taken", "returned", "decided", "complained", "complaint-passed-up"]
            self.written.import_case(chance.choice(steps), due=due)
        else:
            self.written.file(
                channel=chance.choice(["electronic", "paper", "oral"]),
                body=chance.choice([WATER, ROADS, LIGHT]),
                kind=chance.choice(["application", "complaint", "media-request"]),
                region=chance.choice([None, "71", "75"]),
            )

    def _other(self, appeal: Appeal) -> str:
        return self.chance.choice([body for body in (WATER, ROADS, LIGHT, OBLAST) if body != appeal.body])

    def _choose(self, appeal: Appeal, kind: type[events.Fact]) -> tuple[dict[str, Any], str]:
        """The fields that the law leaves open, and who says so."""
        chance, now, body = self.chance, self.written.clock, appeal.body
        match kind:
            case events.AppealReturned:
                return {"ground": "unclear"}, body
            case events.AppealForwarded | events.AppealComplaintPassedUp:
                return {"to": self._other(appeal)}, body
            case events.AppealAssigned:
                until = appeal.due or now + timedelta(days=2)
                return {"to": self._other(appeal), "answer_until": until}, body
            case events.AppealLapsed:
                return {"fix_until": appeal.fix_until or now}, OPERATOR
            case events.AppealOverdue:
                return {"term": appeal.term or "complaint", "due": appeal.due or now}, OPERATOR
            case events.AppealAssignmentAnswered:
                number = chance.choice([*appeal.assignments, 1])
                return {"assignment": number}, appeal.assignments.get(number, body)
            case events.AppealApplicantTold:
                of = chance.choice([*appeal.untold, 1])
                return {"of": of, "way": "post"}, appeal.untold.get(of, body)
            case events.AppealHearingNoticed:
                return hearing(appeal, now), body
            case events.AppealHearingHeld:
                return {"attended": True}, body
            case events.AppealExtensionDrafted:
                return longer(appeal), body
            case events.AppealDecisionDrafted:
                outcome = chance.choice(["explained", "satisfied", "refused", "terminated"])
                return {"outcome": outcome} | (
                    {"ground": "subject-ceased"} if outcome == "terminated" else {}
                ), body
            case events.AppealFinished:
                return {"delivery": "post"}, body
            case events.AppealComplaintDecided:
                outcome = chance.choice(["remit", "oblige", "dismiss", "leave-unconsidered", "cancel"])
                return {"outcome": outcome}, appeal.higher or body
            case events.AppealStepImported:
                step = chance.choice(msgspec.inspect.type_info(events.ImportedStep).values)
                return {
                    "step": step, "activity": "Қадам", "due": chance.choice([None, now + timedelta(days=3)]),
                    "happened": max(appeal.happened or now, now - timedelta(days=1)),
                    "outcome": "satisfied" if step == "decided" else None,
                }, body  # fmt: skip
            case _:
                return {}, body
