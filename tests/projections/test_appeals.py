"""What everybody can read of an appeal, and whom each event concerns."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from ledger import events
from projections import appeals
from projections.appeal_case import Procedures
from tests.projections.appeals_written import (
    LIGHT,
    LONG_AGO,
    OBLAST,
    OPERATOR,
    ROADS,
    WATER,
    Written,
    longer,
    write,
)
from tests.projections.written import ask


@pytest.fixture
def written(ledger):
    return Written(ledger)


def read(written, stream):
    return ask(written.ledger, appeals.get, stream)


def concerned(written, position):
    query = "SELECT body FROM projections.concerns WHERE position = %s ORDER BY body"
    return {body for (body,) in written.ledger.execute(query, position)}


def test_an_appeal_is_read_with_its_number_its_term_and_the_position_it_stands_at(written):
    stream = written.file(region="75", channel="paper")
    written.say(stream, events.AppealTaken)
    found = read(written, stream)
    assert (found.number, found.stream, found.version) == ("ЖТ-2026-00000001", stream, 2)
    assert (found.state, found.kind, found.category) == ("in-work", "application", "utilities")
    assert (found.region, found.channel, found.applicant, found.lang) == ("75", "paper", "person", "kk")
    assert (found.body, found.first_body, found.origin, found.parent) == (WATER, WATER, "filed", None)
    assert (found.term, found.missed, found.registered_on) == ("consideration", False, date(2026, 3, 2))
    assert found.due == written.appeals[stream].due
    assert found.submitted == appeals.Step(0, written.clock)
    assert (found.position, found.as_of, found.last_type) == (1, 1, "appeal.taken")
    assert read(written, "appeal/JT-2026-00000002") is None


def test_a_way_through_a_hearing_to_a_decision_leaves_its_dates_and_counts(written):
    stream = written.take()
    written.say(stream, events.AppealAssigned, to=ROADS)
    written.say(stream, events.AppealAssigned, to=LIGHT)
    written.say(stream, events.AppealAssignmentAnswered, ROADS, assignment=1)
    written.extend(stream)
    longer = written.appeals[stream].due
    assert read(written, stream).due == longer
    written.hear(stream)
    written.read_by(stream, WATER)
    decided = written.decide(stream, "refused")
    at = written.clock
    written.pass_time(hours=1)
    finished = written.say(stream, events.AppealFinished, delivery="post")
    found = read(written, stream)
    assert (found.state, found.outcome, found.decided_late) == ("finished", "refused", False)
    assert (found.decided, found.finished) == (
        appeals.Step(decided, at), appeals.Step(finished, written.clock)
    )  # fmt: skip
    assert (found.assignments, found.open_assignments, found.extensions, found.readings) == (2, 0, 1, 1)
    assert (found.term, found.due) == (None, None)
    assert found.hearing_at == written.appeals[stream].hearing_at
    assert found.complain_until == written.appeals[stream].complain_until
    assert found.procedures == Procedures("none", "none", "none", "none")


def test_a_termination_has_its_ground(written):
    stream = written.take()
    written.hear(stream)
    written.decide(stream, "terminated", ground="subject-ceased")
    found = read(written, stream)
    assert (found.outcome, found.ground) == ("terminated", "subject-ceased")


def test_what_was_forwarded_late_stays_marked_and_lies_with_the_other_body(written):
    stream = written.file()
    written.pass_until(written.appeals[stream].forward_until)
    written.say(stream, events.AppealForwarded, to=ROADS)
    written.say(stream, events.AppealForwarded, ROADS, to=LIGHT)
    found = read(written, stream)
    assert (found.body, found.first_body, found.forwards) == (LIGHT, WATER, 2)
    assert found.forwarded_late is True
    assert found.due == written.appeals[stream].due
    unmoved = written.file()
    assert read(written, unmoved).forwarded_late is None


def test_a_part_is_an_appeal_of_its_own_that_names_the_whole(written):
    stream = written.take()
    part = written.split(stream, ROADS)
    whole, half = read(written, stream), read(written, part)
    assert (whole.parts, whole.body, whole.parent) == (1, WATER, None)
    assert (half.number, half.parent) == ("ЖТ-2026-00000001/1", "ЖТ-2026-00000001")
    assert (half.origin, half.body, half.state) == ("split", ROADS, "registered")


def test_silence_stays_a_deemed_refusal_after_the_answer_came(written):
    stream = written.take()
    missed = written.miss(stream)
    found = read(written, stream)
    assert (found.missed, found.missed_position, found.deemed_refusal) == (True, missed, missed)
    assert found.complain_until == written.appeals[stream].complain_until
    written.decide(stream)
    found = read(written, stream)
    assert (found.state, found.missed, found.missed_position) == ("decided", False, None)
    assert (found.deemed_refusal, found.decided_late) == (missed, True)


def test_a_complaint_about_silence_that_is_left_unconsidered_leaves_the_missed_term(written):
    stream = written.take()
    missed = written.miss(stream)
    written.say(stream, events.AppealComplained, OPERATOR)
    written.say(stream, events.AppealComplaintPassedUp, to=OBLAST)
    between = read(written, stream)
    assert (between.state, between.term, between.missed) == ("complaint-passed-up", "complaint", False)
    assert (between.higher, between.complaint_about, between.complaint_outcome) == (OBLAST, "silence", None)
    decided = written.say(stream, events.AppealComplaintDecided, OBLAST, outcome="leave-unconsidered")
    found = read(written, stream)
    assert (found.state, found.term, found.missed) == ("in-work", "consideration", True)
    assert found.missed_position == missed
    assert (found.complaint_outcome, found.complaint_decided.position) == ("leave-unconsidered", decided)
    assert (found.complained_late, found.complaint_decided_late) == (False, False)


def test_a_remitted_appeal_is_in_work_again_without_the_decision(written):
    stream = written.take()
    written.decide(stream)
    written.say(stream, events.AppealFinished, delivery="electronic")
    written.say(stream, events.AppealComplained, OPERATOR)
    written.say(stream, events.AppealComplaintPassedUp, to=OBLAST)
    written.say(stream, events.AppealComplaintDecided, OBLAST, outcome="remit")
    found = read(written, stream)
    assert (found.state, found.remittals, found.complaint_outcome) == ("in-work", 1, "remit")
    assert (found.outcome, found.decided, found.finished, found.decided_late) == (None, None, None, None)
    assert found.due == written.appeals[stream].due
    written.decide(stream, "satisfied")
    assert read(written, stream).outcome == "satisfied"


def test_a_complaint_that_the_body_satisfies_itself_ends_there(written):
    stream = written.take()
    written.decide(stream)
    written.say(stream, events.AppealComplained, OPERATOR)
    written.say(stream, events.AppealComplaintSatisfied)
    found = read(written, stream)
    assert (found.state, found.complaint_outcome, found.higher) == ("complaint-satisfied", "satisfy", None)


def test_a_withdrawn_appeal_says_when(written):
    stream = written.take()
    written.say(stream, events.AppealWithdrawalAsked, OPERATOR)
    assert read(written, stream).procedures.withdrawal == "asked"
    position = written.say(stream, events.AppealWithdrawalAccepted)
    found = read(written, stream)
    assert (found.state, found.withdrawn, found.term) == (
        "withdrawn", appeals.Step(position, written.clock), None
    )  # fmt: skip


def test_a_case_of_an_old_register_stands_where_that_left_it_and_then(written):
    due = datetime(2025, 2, 24, 19, 0, tzinfo=UTC)
    stream = written.import_case(due=due)
    assert read(written, stream).number == stream.removeprefix("appeal/")
    late = due + timedelta(days=1)
    for step, happened in (
        ("taken", LONG_AGO + timedelta(days=1)),
        ("extended", LONG_AGO + timedelta(days=2)),
    ):
        written.say(stream, events.AppealStepImported, step=step, activity="Қадам", happened=happened)
    assert (read(written, stream).state, read(written, stream).term) == ("in-work", "consideration")
    written.say(
        stream,
        events.AppealStepImported,
        step="decided",
        activity="Жауап",
        happened=late,
        outcome="satisfied",
    )
    last = written.say(
        stream,
        events.AppealStepImported,
        step="finished",
        activity="Жабылды",
        happened=late + timedelta(days=1),
    )
    found = read(written, stream)
    assert (found.origin, found.state, found.outcome, found.extensions) == (
        "imported", "finished", "satisfied", 1
    )  # fmt: skip
    assert found.submitted == appeals.Step(0, LONG_AGO)
    assert (found.decided.time, found.decided_late) == (late, True)
    assert found.finished == appeals.Step(last, late + timedelta(days=1))
    assert found.last_time == late + timedelta(days=1)
    assert found.complain_until == written.appeals[stream].complain_until


def test_readings_of_what_is_no_appeal_yet_count_nothing(written):
    facts = events.DisclosureRead(of="appeal/JT-2026-00000001", events=1, purpose="supervision")
    write(written.ledger, f"reading/{facts.of}/x", facts, n=1, at=written.clock)
    stream = written.file()
    assert read(written, stream).readings == 0
    written.read_by(stream, WATER)
    written.read_by(stream, WATER)
    assert read(written, stream).readings == 2


def test_a_list_shows_the_newest_first_page_by_page(written):
    streams = [written.file() for _ in range(5)]
    first = ask(written.ledger, appeals.list_page, limit=3)
    second = ask(written.ledger, appeals.list_page, limit=3, cursor=first.next)
    assert [item.stream for item in first.items + second.items] == streams[::-1]
    assert (second.next, second.as_of) == (None, 4)


def test_a_list_is_filtered_by_what_is_public(written):
    one = written.file(region=None, category="health")
    two = written.take(kind="complaint", channel="oral", body=ROADS)
    written.pass_time(days=1)
    three = written.file(region="75")

    def listed(**wanted):
        return [item.stream for item in ask(written.ledger, appeals.list_page, **wanted).items]

    assert listed(body=ROADS) == [two]
    assert listed(states=["registered"]) == [three, one]
    assert listed(states=["registered", "in-work"]) == [three, two, one]
    assert listed(states=["finished"]) == []
    assert listed(kinds=["complaint"]) == [two]
    assert listed(kinds=["complaint", "application"], categories=["utilities"]) == [three, two]
    assert listed(region="unknown") == [one]
    assert listed(region="71") == [two]
    assert listed(channel="electronic") == [three, one]
    assert listed(registered_to=date(2026, 3, 2)) == [two, one]
    assert listed(registered_from=date(2026, 3, 3), registered_to=date(2026, 3, 3)) == [three]


def test_an_event_concerns_those_it_lies_with_those_asked_and_those_above(written):
    stream = written.file()
    assert concerned_by_last(written) == {WATER}
    written.say(stream, events.AppealForwarded, to=ROADS)
    assert concerned_by_last(written) == {WATER, ROADS}
    written.say(stream, events.AppealTaken)
    assert concerned_by_last(written) == {ROADS}
    written.say(stream, events.AppealAssigned, to=LIGHT)
    assert concerned_by_last(written) == {ROADS, LIGHT}
    written.say(stream, events.AppealExtensionDrafted, **longer(written.appeals[stream]))
    assert concerned_by_last(written) == {ROADS, LIGHT}
    written.say(stream, events.AppealAssignmentAnswered, LIGHT, assignment=1)
    assert concerned_by_last(written) == {ROADS, LIGHT}
    written.decide(stream)
    assert concerned_by_last(written) == {ROADS}
    written.say(stream, events.AppealComplained, OPERATOR)
    written.say(stream, events.AppealComplaintPassedUp, to=OBLAST)
    assert concerned_by_last(written) == {ROADS, OBLAST}
    written.read_by(stream, OBLAST)
    assert concerned_by_last(written) == set()


def concerned_by_last(written):
    ask(written.ledger, appeals.get, "appeal/x")
    return concerned(written, written.ledger.head)


def test_a_part_concerns_the_body_it_goes_to_from_the_event_that_sends_it(written):
    stream = written.take()
    part = written.split(stream, ROADS)
    ask(written.ledger, appeals.get, part)
    sent, begun = written.ledger.head - 1, written.ledger.head
    assert concerned(written, sent) == {WATER, ROADS}
    assert concerned(written, begun) == {ROADS}


def test_who_told_the_applicant_of_a_forwarding_is_concerned_by_that(written):
    stream = written.file(channel="paper")
    written.say(stream, events.AppealForwarded, to=ROADS)
    written.say(stream, events.AppealApplicantTold, WATER, of=2, way="phone")
    assert concerned_by_last(written) == {WATER, ROADS}


def test_a_feed_tells_everything_that_concerns_a_body_once_and_in_order(written):
    mine = written.file()
    written.file(body=ROADS)
    written.say(mine, events.AppealTaken)
    written.say(mine, events.AppealAssigned, to=LIGHT)
    first = ask(written.ledger, appeals.feed, WATER, -1, 2)
    assert [(item.position, item.type, item.n) for item in first.items] == [
        (0, "appeal.submitted", 1), (2, "appeal.taken", 2)
    ]  # fmt: skip
    assert (first.next, first.as_of) == (2, 3)
    rest = ask(written.ledger, appeals.feed, WATER, first.next, 2)
    assert [item.position for item in rest.items] == [3]
    assert rest.items[0].facts["to"] == LIGHT
    assert rest.items[0].iss == WATER
    assert rest.next == rest.as_of == 3
    assert ask(written.ledger, appeals.feed, WATER, rest.next, 2).items == ()
    assert [item.number for item in ask(written.ledger, appeals.feed, LIGHT, -1).items] == [
        "ЖТ-2026-00000001"
    ]


def test_a_feed_skips_what_concerns_others_without_missing_what_comes_next(written):
    for _ in range(3):
        written.file(body=ROADS)
    page = ask(written.ledger, appeals.feed, WATER, -1)
    assert (page.items, page.next) == ((), 2)
    mine = written.file()
    assert [item.stream for item in ask(written.ledger, appeals.feed, WATER, page.next).items] == [mine]
