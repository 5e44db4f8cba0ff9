"""Invented lives of appeals, lawful from the talon to the answer: a year of a country's bodies.

Everything follows from a seed. What happens is let happen to the aggregate, so that no life breaks a rule;
how often it happens is a guess at a real year: nine of ten are answered in time, one in twelve is forwarded,
one in twenty complained about.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, get_args

from ledger import events
from ledger.domain import appeal_terms
from ledger.domain.aggregate import Issuance, happen
from ledger.domain.appeal import Appeal, filing_terms, numbered
from ledger.domain.calendar import ALMATY

OPERATOR = "organisation/operator"
OFFICE = "organisation/office"
KID = "A" * 43
"""Whose key it is: lives are led before they are sealed."""
KINDS = {
    "application": 69, "request": 14, "complaint": 6, "proposal": 3, "notice": 2, "response": 2,
    "information-request": 2, "lawyer-request": 1, "media-request": 1,
}  # fmt: skip
CHANNELS = {"electronic": 76, "paper": 13, "reception": 5, "oral": 3, "post": 3}
OUTCOMES = {"explained": 52, "satisfied": 33, "noted": 7, "refused": 6, "terminated": 2}
CATEGORIES = get_args(events.Category)
REGIONS = get_args(events.Region)


class Happening(NamedTuple):
    """One event that is still to be sealed."""

    at: datetime
    stream: str
    n: int
    iss: str
    facts: events.Fact


class _EndError(Exception):
    """The year is over before the life is."""


class Life:
    """One appeal, step by step."""

    def __init__(self, chance: random.Random, stream: str, start: datetime, end: datetime) -> None:
        self.told: list[Happening] = []
        self._chance = chance
        self._stream = stream
        self._at = start.replace(microsecond=0)  # of a day's last second nothing is left over
        self._end = end
        self._appeal: Any = None

    def lead(self, kind: str, channel: str, body: str, others: list[str]) -> list[Happening]:
        """Everything that happens to it until the year ends."""
        try:
            self._begin(kind, channel, body)
            self._find_its_body(others)
            if self._happens(0.03):
                self._be_mended()
            self._work()
            self._decide()
            if self._happens(0.05):
                self._complain(others)
        except _EndError:
            pass
        return self.told

    def _begin(self, kind: str, channel: str, body: str) -> None:
        chance = self._chance
        said = {
            "kind": kind, "applicant": "person", "body": body, "channel": channel,
            "category": chance.choice(CATEGORIES), "lang": chance.choice(("kk", "ru")),
            "region": None if self._happens(0.1) else chance.choice(REGIONS),
            "algorithm": "RSA-SHA256" if channel == "electronic" else None,
        } | filing_terms(kind, self._at)  # type: ignore[arg-type]  # fmt: skip
        self._tell(events.AppealSubmitted(**said), OPERATOR if channel == "electronic" else OFFICE)

    def _find_its_body(self, others: list[str]) -> None:
        likely = 0.08
        while self._happens(likely):
            self._pass(days=4 if self._happens(0.1) else 1)
            to = self._chance.choice([other for other in others if other != self._appeal.body])
            self._say(events.AppealForwarded, to=to)
            likely = 0.2

    def _be_mended(self) -> None:
        self._pass(days=1)
        self._say(events.AppealReturned, ground="missing-documents")
        if self._happens(0.3):
            self._pass_until(self._appeal.fix_until)
            self._say(events.AppealLapsed, OPERATOR, fix_until=self._appeal.fix_until)
            raise _EndError
        self._pass(days=1)
        algorithm = "RSA-SHA256" if self._appeal.channel == "electronic" else None
        self._say(events.AppealFixed, self._window, algorithm=algorithm)

    def _work(self) -> None:
        self._pass(hours=20)
        self._say(events.AppealTaken)
        if self._happens(0.02):
            self._pass(days=1)
            self._say(events.AppealWithdrawalAsked, self._window)
            self._pass(days=1)
            self._say(events.AppealWithdrawalAccepted)
            raise _EndError
        if self._happens(0.1) and self._appeal.kind == "application":
            self._pass(days=6)
            until = appeal_terms.end_of_day((self._appeal.due + timedelta(days=14)).astimezone(ALMATY).date())
            self._say(events.AppealExtensionDrafted, ground="facts-to-establish", until=until)
            self._say(events.AppealExtensionApproved)
            self._say(events.AppealExtended)

    def _decide(self) -> None:
        appeal = self._appeal
        outcome = self._one_of(OUTCOMES)
        must_be_heard = outcome in appeal_terms.appeal_rules(self._at).burdensome
        if self._happens(0.07):
            self._pass_until(appeal.due)
            self._say(events.AppealOverdue, OPERATOR, term="consideration", due=appeal.due)
            self._pass(days=self._chance.randint(0, 12))
        elif not must_be_heard:
            left = appeal.due - self._at
            self._at += left * min(0.95, self._chance.betavariate(3, 2))
            self._at = self._at.replace(microsecond=0)
        if must_be_heard:
            self._say(
                events.AppealHearingNoticed, at=appeal_terms.earliest_hearing(self._at) + timedelta(hours=5)
            )
            self._pass_until(appeal.hearing_at)
            self._say(events.AppealHearingHeld, attended=self._happens(0.8))
        ground = {"ground": "answered-before"} if outcome == "terminated" else {}
        self._say(events.AppealDecisionDrafted, outcome=outcome, **ground)
        self._say(events.AppealDecisionApproved)
        self._say(events.AppealDecided)
        self._pass(hours=2)
        self._say(events.AppealFinished, delivery="electronic" if appeal.channel == "electronic" else "post")

    def _complain(self, others: list[str]) -> None:
        self._pass(days=self._chance.randint(1, 20))
        self._say(events.AppealComplained, self._window)
        self._pass(hours=30)
        if self._happens(0.2):
            self._say(events.AppealComplaintSatisfied)
            return
        higher = self._chance.choice([other for other in others if other != self._appeal.body])
        self._say(events.AppealComplaintPassedUp, to=higher)
        self._pass(days=self._chance.randint(2, 15))
        outcome = self._chance.choice(("dismiss", "dismiss", "remit", "cancel", "satisfy"))
        due = {}
        if outcome == "remit":
            day = appeal_terms.registered_on(self._at)
            due = {"due": appeal_terms.consider_until(self._appeal.kind, day)}
        self._say(events.AppealComplaintDecided, higher, outcome=outcome, **due)
        if outcome == "remit":
            if self._appeal.state == "registered":
                self._say(events.AppealTaken)
            self._decide()

    # --- how ----------------------------------------------------------------------------------------

    @property
    def _window(self) -> str:
        return OPERATOR if self._appeal.channel == "electronic" else OFFICE

    def _happens(self, part: float) -> bool:
        return self._chance.random() < part

    def _one_of(self, weights: dict[str, int]) -> str:
        return self._chance.choices(list(weights), list(weights.values()))[0]

    def _pass(self, **spans: float) -> None:
        self._at += timedelta(minutes=self._chance.randint(1, 300), **spans)

    def _pass_until(self, moment: datetime) -> None:
        self._at = max(self._at, moment) + timedelta(minutes=self._chance.randint(0, 10))

    def _say(self, kind: type[events.Fact], iss: str | None = None, **said: Any) -> None:
        appeal = self._appeal
        fields = appeal.lawful(kind, self._at, said) | said
        self._tell(
            kind(**{name: value for name, value in fields.items() if value is not None}), iss or appeal.body
        )
        for of, body in appeal.untold.items():
            self._pass(hours=3)
            self._tell(events.AppealApplicantTold(of=of, way="post"), body)

    def _tell(self, facts: events.Fact, iss: str) -> None:
        at = self._at.replace(microsecond=0)
        if at >= self._end:
            raise _EndError
        self._appeal = happen(Appeal, self._stream, self._appeal, facts, Issuance(iss, KID, at))
        self.told.append(Happening(at, self._stream, self._appeal.version, iss, facts))


def bodies(count: int) -> list[str]:
    """Their streams; the first ones are the busiest."""
    return [f"organisation/body-{number:04}" for number in range(1, count + 1)]


def lives(appeals: int, of: list[str], year: int, *, seed: int = 1) -> Iterator[list[Happening]]:
    """So many lives that began in a year, in the order of their beginnings; led until the year's end."""
    chance = random.Random(seed)  # noqa: S311
    weights = [1 / (rank + 20) for rank in range(len(of))]
    start = datetime(year, 1, 3, 4, tzinfo=UTC)
    end = datetime(year, 12, 31, 12, tzinfo=UTC)
    beginnings = sorted(start + (end - start) * chance.random() for _ in range(appeals))
    for number, began in enumerate(beginnings, 1):
        kind, channel = (chance.choices(list(w), list(w.values()))[0] for w in (KINDS, CHANNELS))
        stream = numbered("person", appeal_terms.registered_on(began).year, number)
        life = Life(chance, stream, began, end)
        yield life.lead(kind, channel, chance.choices(of, weights)[0], of)


def in_order(all_lives: Iterable[list[Happening]]) -> Iterator[Happening]:
    """What happens in all of them, in the order of time; ``all_lives`` in the order of their beginnings."""
    waiting: list[tuple[datetime, int, Happening]] = []
    count = 0
    for life in all_lives:
        while waiting and waiting[0][0] < life[0].at:
            yield heapq.heappop(waiting)[2]
        for happening in life:
            count += 1
            heapq.heappush(waiting, (happening.at, count, happening))
    while waiting:
        yield heapq.heappop(waiting)[2]
