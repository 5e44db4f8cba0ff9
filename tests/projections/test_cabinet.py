"""A person's own cases, and nobody else's."""

from __future__ import annotations

import pytest

from ledger import events
from ledger.store.database import connect
from projections import ALL, cabinet
from projections.cabinet import Cabinet
from projections.digest import digest, published
from projections.rebuild import rebuild, verify
from projections.runner import Runner
from tests.projections.appeals_written import OPERATOR, ROADS, WATER, Written, hearing
from tests.projections.written import ask

AIGERIM, ERLAN = b"\x01" * 32, b"\x02" * 32


@pytest.fixture
def written(ledger):
    return Written(ledger)


def of_person(written, person, position=None):
    """As the append transaction does: whose the event at a position is."""
    position = written.ledger.head if position is None else position
    written.ledger.execute("INSERT INTO ledger.persons VALUES (%s, %s)", position, person)


def test_a_person_sees_their_own_cases_newest_first(written):
    mine = written.file()
    of_person(written, AIGERIM)
    written.file()
    of_person(written, ERLAN)
    later = written.file(body=ROADS)
    of_person(written, AIGERIM)
    found = ask(written.ledger, cabinet.of, AIGERIM, written.clock)
    assert [(item.stream, item.role, item.since) for item in found.items] == [
        (later, "applicant", 2), (mine, "applicant", 0)
    ]  # fmt: skip
    assert found.as_of == 2
    assert ask(written.ledger, cabinet.owns, AIGERIM, mine)
    assert not ask(written.ledger, cabinet.owns, ERLAN, mine)
    nobody = ask(written.ledger, cabinet.of, b"\x03" * 32)
    assert (nobody.items, nobody.as_of) == ((), 2)


def test_a_case_says_what_comes_next(written):
    stream = written.take()
    of_person(written, AIGERIM, 0)
    written.say(stream, events.AppealHearingNoticed, **hearing(written.appeals[stream], written.clock))
    appeal = written.appeals[stream]
    (case,) = ask(written.ledger, cabinet.of, AIGERIM, written.clock).items
    assert (case.number, case.state, case.body, case.version) == ("ЖТ-2026-00000001", "in-work", WATER, 3)
    assert [(term.term, term.body) for term in case.terms] == [
        ("objection", None), ("hearing", WATER), ("consideration", WATER)
    ]  # fmt: skip
    assert (case.next.term, case.next.due) == ("objection", appeal.object_until)
    assert (case.last_type, case.last_time) == ("appeal.hearing_noticed", written.clock)
    (case,) = ask(written.ledger, cabinet.of, AIGERIM, appeal.object_until).items
    assert (case.next.term, case.next.due) == ("hearing", appeal.hearing_at)
    (case,) = ask(written.ledger, cabinet.of, AIGERIM, appeal.due).items
    assert case.next is None
    assert len(case.terms) == 3


def test_a_part_of_a_persons_appeal_is_theirs_too(written):
    stream = written.take()
    of_person(written, AIGERIM, 0)
    part = written.split(stream, ROADS)
    of_person(written, AIGERIM)
    found = ask(written.ledger, cabinet.of, AIGERIM)
    assert [item.stream for item in found.items] == [part, stream]


def test_further_steps_of_a_person_add_no_case(written):
    stream = written.take()
    of_person(written, AIGERIM, 0)
    written.say(stream, events.AppealWithdrawalAsked, OPERATOR)
    of_person(written, AIGERIM)
    (case,) = ask(written.ledger, cabinet.of, AIGERIM).items
    assert (case.since, case.procedures.withdrawal) == (0, "asked")


def test_a_cabinet_is_rebuilt_and_verified_like_any_other_projection(written):
    for person in (AIGERIM, ERLAN, AIGERIM):
        written.file()
        of_person(written, person)
    Runner(written.ledger.url, batch=2).catch_up()
    with connect(written.ledger.url, application_name="tests", autocommit=True) as connection:
        before = digest(connection, Cabinet())
        rebuild(written.ledger.url, (Cabinet(),))
        assert digest(connection, Cabinet()) == before
    written.ledger.execute("DELETE FROM projections.cabinet WHERE position = 1")
    (result,) = verify(written.ledger.url, (Cabinet(),))
    assert result.comparison.difference.live is None
    assert result.comparison.difference.rebuilt.split("\t")[0] == ERLAN.hex()


def test_what_a_cabinet_holds_is_in_no_published_digest():
    assert {projection.name for projection in ALL} - {p.name for p in published(ALL)} == {"cabinet"}


def test_nobody_but_the_service_reads_a_cabinet(written):
    query = (
        "SELECT grantee FROM information_schema.table_privileges"
        " WHERE table_schema = 'projections' AND table_name = 'cabinet' AND privilege_type = 'SELECT'"
    )
    assert written.ledger.execute(query) == [("aiqyn_service",)]
