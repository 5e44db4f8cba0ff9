"""What a reader of petitions gets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ledger import events
from projections import petitions
from tests.projections.written import MINISTRY, START, VOIDED, admitted, ask, petition, published, submitted


def test_a_petition_is_read_with_its_count_and_the_position_it_stands_at(ledger):
    ledger.collecting(petition(1))
    ledger.sign(petition(1), 1, "75")
    ledger.sign(petition(1), 2)
    ledger.remove(petition(1), 1)
    found = ask(ledger, petitions.get, petition(1))
    assert (found.state, found.count, found.signed, found.withdrawn) == ("collecting", 1, 2, 1)
    assert (found.title, found.text, found.author) == ("some title", "some text", "some author")
    assert found.body == MINISTRY
    assert found.submitted == petitions.Step(0, START)
    assert found.as_of == ledger.head == found.position


def test_a_petition_that_nobody_submitted_does_not_exist(ledger):
    ledger.sign(petition(1), 1)
    assert ask(ledger, petitions.get, petition(1)) is None
    ledger.add(f"petition/{petition(1)}", submitted())
    assert ask(ledger, petitions.get, petition(1)).count == 1


def test_a_text_that_was_taken_down_is_absent_and_the_rest_stays(ledger):
    ledger.collecting(petition(1))
    ledger.forget(0)
    found = ask(ledger, petitions.get, petition(1))
    assert (found.title, found.text, found.author) == (None, None, None)
    assert found.state == "collecting"


def test_a_whole_life_is_told(ledger):
    stream = f"petition/{petition(1)}"
    ledger.collecting(petition(1), required=1)
    reached = ledger.sign(petition(1), 1)
    ledger.add(stream, events.PetitionSupported(required=1, reached_at=reached))
    ledger.add(stream, events.PetitionRouted(body="organisation/akimat"))
    until = START + timedelta(days=60)
    ledger.add(stream, events.PetitionRegistered(number="ПЕТ-1", consider_until=until))
    ledger.add(stream, events.PetitionWorkingGroupFormed(members=7, author_invited=True))
    ledger.add(stream, events.PetitionDraftPublished(outcome="refused", discuss_until=until))
    ledger.add(stream, events.PetitionOverdue(step="consideration", due=until))
    file = events.File(sha256="a" * 64, size=10, media_type="application/pdf")
    ledger.add(stream, events.PetitionDecided(outcome="satisfied", files=(file,)), message_kk="Иә.")
    found = ask(ledger, petitions.get, petition(1))
    assert (found.state, found.outcome, found.draft_outcome) == ("decided", "satisfied", "refused")
    assert (found.number, found.consider_until, found.routed_to) == ("ПЕТ-1", until, "organisation/akimat")
    assert (found.message_kk, found.message_ru, found.draft_kk) == ("Иә.", "some message_ru", "some draft_kk")
    assert found.files == (file,)
    assert found.reached_at == reached
    assert found.consideration_overdue == ledger.head - 1
    assert found.group_members == 7


def test_a_threshold_is_reached_at_the_exact_signature_and_stays_reached(ledger):
    stream = f"petition/{petition(1)}"
    ledger.add(stream, submitted())
    ledger.add(stream, admitted(needed=2))
    ledger.sign(petition(1), 1)
    needed_at = ledger.sign(petition(1), 2)
    ledger.remove(petition(1), 2)
    ledger.sign(petition(1), 3)
    ledger.add(stream, published(required=3))
    reached_at = ledger.sign(petition(1), 4)
    ledger.remove(petition(1), 1, VOIDED)
    ledger.sign(petition(1), 5)
    found = ask(ledger, petitions.get, petition(1))
    assert (found.needed_at, found.reached_at) == (needed_at, reached_at)


def test_a_threshold_that_is_met_when_it_is_set_is_reached_there(ledger):
    stream = f"petition/{petition(1)}"
    ledger.add(stream, submitted())
    ledger.add(stream, admitted(needed=1))
    ledger.sign(petition(1), 1)
    publication = ledger.add(stream, published(required=1))
    assert ask(ledger, petitions.get, petition(1)).reached_at == publication


def test_signatures_without_a_region_are_counted_as_unknown(ledger):
    ledger.collecting(petition(1))
    ledger.sign(petition(1), 1, "75")
    ledger.sign(petition(1), 2)
    ledger.sign(petition(1), 3, "75")
    ledger.remove(petition(1), 1)
    found = ask(ledger, petitions.by_region, petition(1))
    assert {item.region: item.count for item in found.items} == {"75": 1, "unknown": 1}
    assert (found.count, found.as_of) == (2, ledger.head)


def test_growth_is_told_by_the_hour_and_by_the_day_of_the_country(ledger):
    ledger.collecting(petition(1))
    ledger.sign(petition(1), 1, at=datetime(2026, 3, 2, 18, 59, tzinfo=UTC))
    ledger.sign(petition(1), 2, at=datetime(2026, 3, 2, 19, 0, tzinfo=UTC))  # midnight in Almaty
    ledger.sign(petition(1), 3, at=datetime(2026, 3, 2, 19, 30, tzinfo=UTC))
    hours = ask(ledger, petitions.by_hour, petition(1))
    assert [(h.start.hour, h.signed, h.count) for h in hours.items] == [(18, 1, 1), (19, 2, 3)]
    days = ask(ledger, petitions.by_hour, petition(1), step="day")
    assert [(d.start.isoformat(), d.count) for d in days.items] == [
        ("2026-03-02T00:00:00+05:00", 1),
        ("2026-03-03T00:00:00+05:00", 3),
    ]
    assert days.count == 3


def test_a_list_shows_what_was_published_newest_first_page_by_page(ledger):
    for number in range(5):
        ledger.collecting(petition(number))
    ledger.add(f"petition/{petition(9)}", submitted())
    ledger.add(f"petition/{petition(9)}", admitted())
    ledger.add(f"petition/{petition(1)}", events.PetitionWithdrawn(algorithm="RSA-SHA256"))
    first = ask(ledger, petitions.list_page, limit=3)
    second = ask(ledger, petitions.list_page, limit=3, cursor=first.next)
    assert [p.id for p in first.items + second.items] == [petition(n) for n in (4, 3, 2, 1, 0)]
    assert (second.next, second.as_of) == (None, ledger.head)
    assert first.items[0].title == "some title"
    withdrawn = ask(ledger, petitions.list_page, state="withdrawn")
    assert [p.id for p in withdrawn.items] == [petition(1)]
    everything = ask(ledger, petitions.list_page, include_limited=True, body=MINISTRY)
    assert everything.items[0].id == petition(9)


@pytest.mark.parametrize("query", [petitions.by_region, petitions.by_hour])
def test_an_unknown_petition_has_empty_breakdowns(ledger, query):
    ledger.collecting(petition(1))
    found = ask(ledger, query, petition(2))
    assert (found.items, found.count, found.as_of) == ((), 0, ledger.head)


def test_a_withdrawal_that_comes_in_a_later_batch_is_counted(ledger):
    ledger.collecting(petition(1))
    ledger.sign(petition(1), 1, "75")
    assert ask(ledger, petitions.get, petition(1)).count == 1
    ledger.remove(petition(1), 1)
    found = ask(ledger, petitions.get, petition(1))
    assert (found.count, found.signed, found.withdrawn) == (0, 1, 1)
    (region,) = ask(ledger, petitions.by_region, petition(1)).items
    assert (region.region, region.count) == ("75", 0)
