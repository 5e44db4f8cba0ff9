"""What is due when, for whom; and in whose queue an appeal stands."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ledger import events
from ledger.domain.aggregate import Issuance, happen
from ledger.domain.appeal import Appeal
from projections import queues, terms
from projections.base import CursorInvalidError
from tests.projections.appeals_written import LIGHT, OBLAST, OPERATOR, ROADS, WATER, Written, hearing
from tests.projections.written import KEY, ask


@pytest.fixture
def written(ledger):
    return Written(ledger)


def owed(written, body):
    """(term, due) of a body's obligations, by due date."""
    page = ask(written.ledger, queues.terms, body, written.clock)
    return [(item.term, item.due) for item in page.items]


def of_applicants(written):
    ask(written.ledger, terms.due_for_clock, written.clock)
    return written.ledger.execute("SELECT term, due FROM projections.terms WHERE body IS NULL ORDER BY due")


def queue(written, body, **wanted):
    return ask(written.ledger, queues.page, body, written.clock, **wanted)


def test_a_fresh_appeal_must_be_answered_and_may_be_forwarded_in_time(written):
    stream = written.file()
    appeal = written.appeals[stream]
    assert owed(written, WATER) == [("forwarding", appeal.forward_until), ("consideration", appeal.due)]
    written.say(stream, events.AppealTaken)
    assert owed(written, WATER) == [("consideration", appeal.due)]


def test_obligations_go_with_the_appeal_and_who_forwarded_it_tells_the_applicant(written):
    stream = written.file(channel="paper")
    written.say(stream, events.AppealForwarded, to=ROADS)
    told = (await_tell := ask(written.ledger, queues.terms, WATER, written.clock)).items
    assert [(item.term, item.of) for item in told] == [("telling", 2)]
    assert await_tell.next is None
    assert [term for term, _ in owed(written, ROADS)] == ["forwarding", "consideration"]
    written.say(stream, events.AppealApplicantTold, WATER, of=2, way="post")
    assert owed(written, WATER) == []


def test_whoever_came_electronically_need_not_be_told(written):
    stream = written.file()
    written.say(stream, events.AppealForwarded, to=ROADS)
    assert owed(written, WATER) == []


def test_the_applicant_is_to_mend_and_the_body_owes_nothing_meanwhile(written):
    stream = written.take()
    written.say(stream, events.AppealReturned, ground="unclear")
    fix_until = written.appeals[stream].fix_until
    assert of_applicants(written) == [("mending", fix_until)]
    assert owed(written, WATER) == []
    assert [item.term for item in queue(written, WATER).items] == [None]
    written.say(stream, events.AppealFixed, OPERATOR)
    assert of_applicants(written) == []
    assert [term for term, _ in owed(written, WATER)] == ["forwarding", "consideration"]


def test_a_return_is_told_before_the_time_to_mend_is_over(written):
    stream = written.file(channel="oral")
    written.say(stream, events.AppealReturned, ground="unclear")
    assert owed(written, WATER) == [("telling", written.appeals[stream].fix_until)]
    written.pass_until(written.appeals[stream].fix_until)
    written.say(stream, events.AppealLapsed, OPERATOR, fix_until=written.appeals[stream].fix_until)
    assert owed(written, WATER) == []  # nothing can be told of any more


def test_a_hearing_is_an_appointment_of_the_body_and_a_term_of_the_applicant(written):
    stream = written.take()
    written.say(stream, events.AppealHearingNoticed, **hearing(written.appeals[stream], written.clock))
    appeal = written.appeals[stream]
    assert ("hearing", appeal.hearing_at) in owed(written, WATER)
    assert of_applicants(written) == [("objection", appeal.object_until)]
    written.pass_until(appeal.hearing_at)
    written.say(stream, events.AppealHearingHeld, attended=False)
    assert [term for term, _ in owed(written, WATER)] == ["consideration"]
    assert of_applicants(written) == []


def test_each_body_that_was_asked_owes_its_own_answer(written):
    stream = written.take()
    first = written.clock + timedelta(days=2)
    written.say(stream, events.AppealAssigned, to=ROADS, answer_until=first)
    written.say(stream, events.AppealAssigned, to=LIGHT)
    assert owed(written, ROADS) == [("assignment", first)]
    assert owed(written, LIGHT) == [("assignment", written.appeals[stream].due)]
    (item,) = queue(written, ROADS).items
    assert (item.role, item.term, item.due, item.stream) == ("assigned", "assignment", first, stream)
    written.say(stream, events.AppealAssignmentAnswered, ROADS, assignment=1)
    assert (owed(written, ROADS), queue(written, ROADS).items) == ([], ())


def test_a_decision_ends_what_was_due_and_opens_the_time_to_complain(written):
    stream = written.take()
    written.say(stream, events.AppealAssigned, to=ROADS)
    written.decide(stream)
    assert (owed(written, WATER), owed(written, ROADS)) == ([], [])
    assert of_applicants(written) == [("complaining", written.appeals[stream].complain_until)]
    assert [item.state for item in queue(written, WATER).items] == ["decided"]
    written.say(stream, events.AppealFinished, delivery="electronic")
    assert queue(written, WATER).items == ()
    assert [term for term, _ in of_applicants(written)] == ["complaining"]


def test_a_finished_appeal_stays_in_the_queue_while_there_is_news_to_tell(written):
    stream = written.file(channel="post")
    written.say(stream, events.AppealTaken)
    written.extend(stream)
    written.decide(stream)
    written.say(stream, events.AppealFinished, delivery="post")
    assert [(item.state, item.term) for item in queue(written, WATER).items] == [("finished", "telling")]
    written.say(stream, events.AppealApplicantTold, of=5, way="post")
    assert queue(written, WATER).items == ()


def test_a_complaint_binds_the_body_and_then_the_one_above(written):
    stream = written.take()
    written.decide(stream)
    written.say(stream, events.AppealComplained, OPERATOR)
    assert owed(written, WATER) == [("passing-up", written.appeals[stream].due)]
    assert of_applicants(written) == []
    written.say(stream, events.AppealComplaintPassedUp, to=OBLAST)
    assert owed(written, WATER) == []
    assert owed(written, OBLAST) == [("complaint", written.appeals[stream].due)]
    assert [(item.role, item.term) for item in queue(written, OBLAST).items] == [("higher", "complaint")]
    assert [(item.role, item.term) for item in queue(written, WATER).items] == [("handler", None)]
    written.say(stream, events.AppealComplaintDecided, OBLAST, outcome="oblige")
    assert owed(written, WATER) == [("consideration", written.appeals[stream].due)]
    assert queue(written, OBLAST).items == ()


def test_silence_lets_the_applicant_complain_and_stays_due(written):
    stream = written.take()
    written.miss(stream)
    (item,) = ask(written.ledger, queues.terms, WATER, written.clock).items
    assert (item.term, item.missed, item.overdue) == ("consideration", True, True)
    assert of_applicants(written) == [("complaining", written.appeals[stream].complain_until)]


# --- the clock ------------------------------------------------------------------------------------


def due_now(written):
    return ask(written.ledger, terms.due_for_clock, written.clock)


def test_the_clock_declares_what_the_aggregate_accepts_each_once(written):
    """Whatever is listed for the clock happens, and then it is listed no more."""
    missed = written.take()
    returned = written.take()
    written.say(returned, events.AppealReturned, ground="unclear")
    silent = written.take()
    passed = written.take()
    for stream in (silent, passed):
        written.decide(stream)
        written.say(stream, events.AppealComplained, OPERATOR)
    written.say(passed, events.AppealComplaintPassedUp, to=OBLAST)
    assert due_now(written) == []
    written.pass_time(days=90)
    listed = due_now(written)
    assert {one.stream: one.term for one in listed} == {
        missed: "consideration", returned: "mending", silent: "passing-up", passed: "complaint"
    }  # fmt: skip
    assert [one.due for one in listed] == sorted(one.due for one in listed)
    for one in listed:
        assert one.version == written.appeals[one.stream].version
        assert one.as_of == written.ledger.head - listed.index(one)
        assert one.facts().type == one.clock
        written.tell(one.stream, one.facts())
    assert due_now(written) == []
    assert written.appeals[returned].state == "lapsed"
    assert {written.appeals[stream].missed for stream in (missed, silent, passed)} == {"yes"}


def test_the_clock_is_told_of_a_moment_that_has_come_and_not_of_one_that_comes(written):
    stream = written.take()
    due = written.appeals[stream].due
    asked = {
        moment: ask(written.ledger, terms.due_for_clock, moment)
        for moment in (due, due - timedelta(microseconds=1))
    }
    assert [one.stream for one in asked[due]] == [stream]
    assert asked[due - timedelta(microseconds=1)] == []
    written.file()
    assert len(ask(written.ledger, terms.due_for_clock, due + timedelta(days=9), 1)) == 1


def test_what_is_listed_for_the_clock_is_what_the_law_says_to_the_microsecond(written):
    stream = written.file()
    (one,) = ask(written.ledger, terms.due_for_clock, written.appeals[stream].due)
    by = Issuance(OPERATOR, KEY.kid, one.due)
    happen(Appeal, stream, written.appeals[stream], one.facts(), by)


# --- the queue ------------------------------------------------------------------------------------


def test_a_queue_shows_what_is_due_first(written):
    slow = written.take(kind="complaint")
    quick = written.take(kind="media-request")
    done = written.take()
    written.decide(done)
    page = queue(written, WATER)
    assert [item.stream for item in page.items] == [quick, slow, done]
    assert [item.due for item in page.items] == [
        written.appeals[quick].due, written.appeals[slow].due, None
    ]  # fmt: skip
    assert page.as_of == written.ledger.head
    first = page.items[0]
    assert (first.number, first.version, first.role, first.state) == (
        "ЖТ-2026-00000002", 2, "handler", "in-work"
    )  # fmt: skip
    assert (first.arrived, first.position, first.last_type) == (2, 3, "appeal.taken")


def test_a_queue_shows_what_came_last_when_asked_so_also_what_was_forwarded(written):
    old = written.file(body=ROADS)
    mine = written.file()
    written.say(old, events.AppealForwarded, to=WATER)
    assert [item.stream for item in queue(written, WATER, order="newest").items] == [old, mine]


def test_a_queue_is_filtered(written):
    complaint = written.take(kind="complaint")
    fresh = written.file()
    asked = written.take(body=ROADS)
    written.say(asked, events.AppealAssigned, to=WATER)

    def shown(**wanted):
        return {item.stream for item in queue(written, WATER, **wanted).items}

    assert shown() == {complaint, fresh, asked}
    assert shown(states=["registered"]) == {fresh}
    assert shown(states=["registered", "in-work"]) == {complaint, fresh, asked}
    assert shown(kind="complaint") == {complaint}
    assert shown(role="assigned") == {asked}
    assert shown(overdue=True) == set()
    assert shown(due_before=written.appeals[fresh].due) == {fresh}
    written.pass_until(written.appeals[fresh].due)
    assert shown(overdue=True) == {fresh, asked}
    assert shown(overdue=False) == {complaint}


@pytest.mark.parametrize("order", ["due", "newest"])
def test_pages_of_a_queue_show_everything_once_while_more_arrives(written, order):
    streams = [written.file() for _ in range(7)]
    for stream in streams[:2]:
        written.say(stream, events.AppealTaken)
        written.decide(stream)
    seen, cursor = [], None
    while True:
        page = queue(written, WATER, order=order, cursor=cursor, limit=2)
        seen += [item.stream for item in page.items]
        written.file(body=WATER)
        if (cursor := page.next) is None or len(seen) > 30:
            break
        if len(seen) == 4:
            written.say(streams[-1], events.AppealWithdrawalAsked, OPERATOR)
    assert len(seen) == len(set(seen))
    assert set(streams) <= set(seen)


def test_pages_of_terms_show_everything_once(written):
    for _ in range(4):
        written.file()
    seen, cursor = [], None
    while True:
        page = ask(written.ledger, queues.terms, WATER, written.clock, cursor=cursor, limit=3)
        seen += [(item.stream, item.term) for item in page.items]
        if (cursor := page.next) is None:
            break
    assert len(seen) == len(set(seen)) == 8
    only = ask(written.ledger, queues.terms, WATER, written.clock, only=["forwarding"])
    assert {item.term for item in only.items} == {"forwarding"}
    until = written.appeals[seen[0][0]].due
    assert len(ask(written.ledger, queues.terms, WATER, written.clock, due_before=until).items) == 4
    assert len(ask(written.ledger, queues.terms, WATER, until, overdue=True).items) == 8
    assert ask(written.ledger, queues.terms, WATER, written.clock, overdue=True).items == ()


@pytest.mark.parametrize(
    "cursor",
    ["", "1", "x.1", "1.", "1.9223372036854775808", "999999999999999999.1", "٣.1", "never.1.2", "1.1\n"],
)
def test_a_cursor_of_no_page_is_refused(written, cursor):
    with pytest.raises(CursorInvalidError, match="take `next` of the page before"):
        queue(written, WATER, cursor=cursor)


def test_a_body_that_handles_an_appeal_and_was_asked_about_it_sees_it_once(written):
    stream = written.take()
    written.say(stream, events.AppealAssigned, to=ROADS)
    written.say(stream, events.AppealReturned, ground="unclear")
    written.say(stream, events.AppealFixed, OPERATOR)
    written.say(stream, events.AppealForwarded, to=ROADS)
    written.say(stream, events.AppealTaken)
    (item,) = queue(written, ROADS).items
    assert item.role == "handler"
    assert [term for term, _ in owed(written, ROADS)] == ["assignment", "consideration"]
