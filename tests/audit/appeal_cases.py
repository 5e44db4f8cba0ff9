"""Histories of appeals that no honest service would write, each with the position that breaks the law."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

import msgspec

from ledger import events
from ledger.domain import appeal_terms
from ledger.domain.appeal import Appeal, filing_terms
from ledger.keys import SigningKey
from ledger.statement import open_event
from ledger.store.mapper import domain_event
from tests.audit.log_builder import BODY, NAMES, OPERATOR, LogBuilder

OTHER = "organisation/other"
OFFICIALS = ("registrar", "executor", "controller", "head")
ONE = "appeal/JT-2026-00000001"
CASES: list[tuple[str, Callable[[], tuple[LogBuilder, int]]]] = []


def breaks(case):
    CASES.append(("appeal-law", case))
    return case


def misreads(case):
    CASES.append(("reading", case))
    return case


class AppealLog(LogBuilder):
    """A log with two bodies that answer appeals."""

    def open(self) -> AppealLog:
        self.begin()
        self.keys = {BODY: SigningKey.generate(), OTHER: SigningKey.generate()}
        self.add(OTHER, events.OrganisationRegistered(kind="institution", level="district", names=NAMES))
        for stream, key in self.keys.items():
            self.register_key(stream, key, *OFFICIALS)
        return self

    def file(self, stream: str = ONE, **changed) -> int:
        fields = {
            "kind": "application", "applicant": "person", "body": BODY, "channel": "electronic",
            "category": "land", "lang": "kk", "algorithm": "RSA-SHA256",
        } | filing_terms("application", self.now + timedelta(seconds=1))  # fmt: skip
        facts = events.AppealSubmitted(**fields | changed)
        return self.add(stream, facts, iss=OPERATOR, key=self.gateway)

    def appeal(self, stream: str = ONE) -> Appeal:
        found = None
        for entry in self.entries:
            event = open_event(entry)
            if event.stream == stream:
                found = domain_event(event).mutate(found)
        return found

    def say(self, type_: str, *, stream: str = ONE, by: str = BODY, **data) -> int:
        """What a body says, its terms lawful unless they are given."""
        cls = events.catalogue[f"appeal.{type_}"]
        lawful = self.appeal(stream).lawful(cls, self.now + timedelta(seconds=1), data)
        facts = msgspec.convert({**lawful, **data}, cls)
        if cls.issuers == {"clock"}:
            return self.add(stream, facts, iss=OPERATOR, key=self.clock)
        return self.add(stream, facts, iss=by, key=self.keys[by])

    def issuer(self, facts):
        return OPERATOR, self.gateway if "gateway" in facts.issuers else self.root


def filed() -> AppealLog:
    log = AppealLog().open()
    log.file()
    return log


def taken() -> AppealLog:
    log = filed()
    log.say("taken")
    return log


@breaks
def a_number_that_leaves_one_out():
    log = filed()
    return log, log.file("appeal/JT-2026-00000003")


@breaks
def a_term_a_day_too_long():
    log = AppealLog().open()
    lawful = filing_terms("application", log.now + timedelta(seconds=1))
    return log, log.file(due=lawful["due"] + timedelta(days=1))


@breaks
def a_body_that_does_not_have_the_appeal():
    log = filed()
    return log, log.add(ONE, events.AppealTaken(), iss=OTHER, key=log.keys[OTHER])


@breaks
def a_decision_that_nobody_approved():
    log = taken()
    log.say("decision_drafted", outcome="explained")
    complain_until = appeal_terms.complain_until(log.now + timedelta(seconds=1))
    facts = events.AppealDecided(outcome="explained", late=False, complain_until=complain_until)
    return log, log.add(ONE, facts, iss=BODY, key=log.keys[BODY])


@breaks
def a_refusal_without_a_hearing():
    log = taken()
    return log, log.say("decision_drafted", outcome="refused")


@breaks
def a_term_said_to_be_over_before_it_is():
    log = filed()
    return log, log.say("overdue", term="consideration", due=log.appeal().due)


@breaks
def a_late_answer_said_to_be_in_time():
    log = taken()
    log.say("decision_drafted", outcome="explained")
    log.say("decision_approved")
    log.now += timedelta(days=60)
    return log, log.say("decided", late=False)


@breaks
def a_part_that_begins_without_being_forwarded():
    log = filed()
    facts = events.AppealSplitOff(
        kind="application", applicant="person", body=OTHER, channel="electronic", category="land", lang="kk",
        parent=ONE, **filing_terms("application", log.now + timedelta(seconds=1)),
    )  # fmt: skip
    return log, log.add(f"{ONE}-1", facts, iss=OPERATOR, key=log.gateway)


@misreads
def an_official_who_reads_what_lies_with_another_body():
    log = filed()
    facts = events.DisclosureRead(of=ONE, events=1, purpose="consideration")
    return log, log.add(f"reading/{ONE}/abc", facts, iss=OTHER, key=log.keys[OTHER])


@misreads
def a_reading_of_an_appeal_that_nobody_filed():
    log = filed()
    none = "appeal/JT-2026-00000009"
    facts = events.DisclosureRead(of=none, events=1, purpose="consideration")
    return log, log.add(f"reading/{none}/abc", facts, iss=BODY, key=log.keys[BODY])


def part(log: AppealLog, **changed) -> int:
    """The beginning of the part that was just forwarded to the other body."""
    log.now -= timedelta(seconds=1)  # in one transaction: the same second
    fields = {
        "kind": "application", "applicant": "person", "body": OTHER, "channel": "electronic",
        "category": "land", "lang": "kk", "parent": ONE,
    } | changed  # fmt: skip
    terms = filing_terms(fields["kind"], log.now + timedelta(seconds=1))
    return log.add(f"{ONE}-1", events.AppealSplitOff(**fields | terms), iss=OPERATOR, key=log.gateway)


@breaks
def a_part_that_never_begins():
    log = taken()
    log.say("forwarded_in_part", to=OTHER)
    return log, log.say("decision_drafted", outcome="explained")


@breaks
def a_part_that_gets_a_longer_term_as_another_kind():
    log = taken()
    log.say("forwarded_in_part", to=OTHER)
    return log, part(log, kind="rehabilitation-request")


@breaks
def an_appeal_to_a_body_that_nobody_registered():
    log = AppealLog().open()
    return log, log.file(body="organisation/nobody")


@breaks
def an_appeal_that_is_sent_on_to_the_operator():
    log = filed()
    return log, log.say("forwarded", to=OPERATOR)


@breaks
def a_front_office_that_says_what_was_signed_electronically():
    log = AppealLog().open()
    office, key = "organisation/office", SigningKey.generate()
    log.add(office, events.OrganisationRegistered(kind="front-office", level="district", names=NAMES))
    log.register_key(office, key, "front-office")
    facts = events.AppealSubmitted(
        kind="application", applicant="person", body=BODY, channel="electronic", category="land", lang="kk",
        algorithm="RSA-SHA256", **filing_terms("application", log.now + timedelta(seconds=1)),
    )  # fmt: skip
    return log, log.add(ONE, facts, iss=office, key=key)


@misreads
def a_reading_that_hides_behind_an_earlier_one():
    log = filed()
    for _ in range(2):
        facts = events.DisclosureRead(of=ONE, events=1, purpose="consideration")
        position = log.add(f"reading/{ONE}/abc", facts, iss=BODY, key=log.keys[BODY])
    return log, position


IMPORTED = "appeal/IM-AAAAAAAAAAAAAAAAAAAAAA"


def taken_over(log: AppealLog, **changed) -> int:
    fields = {
        "register": "journal", "kind": "application", "applicant": "person", "body": BODY, "channel": "paper",
        "category": "land", "lang": "kk", "registered_on": date(2026, 1, 5), "step": "taken",
        "activity": "Taken", "happened": datetime(2026, 1, 5, 5, tzinfo=UTC),
    } | changed  # fmt: skip
    return log.add(IMPORTED, events.AppealImported(**fields), iss=BODY, key=log.keys[BODY])


@breaks
def an_answer_that_is_put_back_into_the_old_register():
    log = AppealLog().open()
    taken_over(log)
    log.say("decision_drafted", stream=IMPORTED, outcome="explained")
    facts = events.AppealStepImported(
        step="decided", activity="Decided", happened=datetime(2026, 1, 9, 5, tzinfo=UTC), outcome="refused"
    )
    return log, log.add(IMPORTED, facts, iss=BODY, key=log.keys[BODY])


@breaks
def an_old_case_that_was_registered_in_the_future():
    log = AppealLog().open()
    return log, taken_over(log, registered_on=date(2099, 1, 1))


@breaks
def a_moment_that_no_calendar_has():
    log = AppealLog().open()
    first = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    return log, taken_over(log, happened=first)


def a_lawful_life() -> AppealLog:
    """Filed, read, forwarded in part, answered, complained about, opened again and answered once more."""
    log = taken()
    facts = events.DisclosureRead(of=ONE, events=2, purpose="consideration")
    log.add(f"reading/{ONE}/abc", facts, iss=BODY, key=log.keys[BODY])
    log.say("forwarded_in_part", to=OTHER)
    log.now -= timedelta(seconds=1)  # in one transaction: the same second
    begun = events.AppealSplitOff(
        kind="application", applicant="person", body=OTHER, channel="electronic", category="land", lang="kk",
        parent=ONE, **filing_terms("application", log.now + timedelta(seconds=1)),
    )  # fmt: skip
    log.add(f"{ONE}-1", begun, iss=OPERATOR, key=log.gateway)
    for outcome in ("explained", "satisfied"):
        log.say("decision_drafted", outcome=outcome)
        log.say("decision_approved")
        log.say("decided")
        if outcome == "explained":
            complained = log.appeal().lawful(events.AppealComplained, log.now + timedelta(seconds=1), {})
            log.add(ONE, events.AppealComplained(**complained), iss=OPERATOR, key=log.gateway)
            log.say("complaint_passed_up", to=OTHER)
            log.say("complaint_decided", by=OTHER, outcome="remit")
    log.say("finished", delivery="electronic")
    return log
