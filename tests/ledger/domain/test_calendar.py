"""Working days and the moments at which terms end, in the country's one time zone."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain import calendar
from ledger.domain.calendar import ALMATY, Calendar, Transfer, end_of_months, midnight_after, official

DAYS = st.dates(date(2024, 4, 4), date(2045, 12, 31))


def almaty(*parts):
    return datetime(*parts, tzinfo=ALMATY)


def end_of(*parts):
    """The first moment after that day in Almaty."""
    return (almaty(*parts) + timedelta(days=1)).astimezone(UTC)


def test_a_day_ends_at_midnight_in_almaty():
    assert midnight_after(date(2026, 3, 2)) == datetime(2026, 3, 2, 19, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "days", "end"),
    [
        (almaty(2026, 3, 2, 12), 1, end_of(2026, 3, 3)),
        (almaty(2026, 3, 2, 0, 0), 1, end_of(2026, 3, 3)),
        (almaty(2026, 3, 1, 23, 59, 59), 1, end_of(2026, 3, 2)),
        (almaty(2026, 2, 27, 23, 59, 59), 1, end_of(2026, 3, 2)),  # over a weekend
        (almaty(2026, 3, 6, 12), 1, end_of(2026, 3, 10)),  # 8 March is a Sunday: Monday is free
        (almaty(2025, 12, 30, 12), 3, end_of(2026, 1, 6)),  # 31, then 1 and 2 January are free: 5, 6
        (almaty(2026, 3, 20, 12), 1, end_of(2026, 3, 26)),  # Nauryz on a weekend moves two days
        (almaty(2027, 3, 19, 12), 1, end_of(2027, 3, 25)),
        (almaty(2026, 3, 2, 12), 0, end_of(2026, 3, 2)),
    ],
)
def test_the_term_ends_with_the_last_working_day(start, days, end):
    assert official().end_of_working_days(start, days) == end


def test_the_day_is_that_of_almaty_not_of_utc():
    before = datetime(2026, 3, 2, 18, 59, 59, tzinfo=UTC)
    after = before + timedelta(seconds=1)
    assert official().end_of_working_days(before, 1) == end_of(2026, 3, 3)
    assert official().end_of_working_days(after, 1) == end_of(2026, 3, 4)
    assert end_of_months(before, 1) == end_of(2026, 4, 2)
    assert end_of_months(after, 1) == end_of(2026, 4, 3)


DAYS_OFF = {
    2024: "0101 0102 0107 0308 0321 0322 0323 0325 0501 0507 0508 0509 0616 0706 0708 0830 1025 1216",
    2025: "0101 0102 0103 0107 0308 0310 0321 0322 0323 0324 0325 0501 0507 0509 0606 0706 0707 0830 0901 "
    "1025 1027 1216",
    2026: "0101 0102 0107 0308 0309 0321 0322 0323 0324 0325 0501 0507 0509 0511 0527 0706 1025 1026 1216",
}


@pytest.mark.parametrize("year", DAYS_OFF)
def test_an_upgrade_of_the_holidays_package_does_not_move_terms_of_the_past(year):
    """Terms in the ledger were reckoned from these days; replay reckons them again."""
    found = sorted(day.strftime("%m%d") for day in calendar._public_holidays(year))
    assert found == DAYS_OFF[year].split()


def test_a_transfer_moves_a_day_off_and_makes_a_saturday_work():
    moved = Calendar(
        [Transfer(date(2025, 11, 20), frozenset({date(2026, 1, 5)}), frozenset({date(2026, 1, 10)}))]
    )
    known = date(2025, 12, 1)
    assert not moved.is_working_day(date(2026, 1, 5), known_on=known)
    assert moved.is_working_day(date(2026, 1, 10), known_on=known)
    assert moved.end_of_working_days(almaty(2026, 1, 4, 12), 1) == end_of(2026, 1, 6)
    assert moved.end_of_working_days(almaty(2026, 1, 9, 12), 1) == end_of(2026, 1, 10)


def test_a_transfer_does_not_move_terms_that_began_before_it_was_announced():
    announced = date(2026, 1, 8)
    moved = Calendar([Transfer(announced, frozenset({date(2026, 1, 12)}), frozenset())])
    assert moved.end_of_working_days(almaty(2026, 1, 6, 12), 3) == end_of(2026, 1, 12)
    assert moved.end_of_working_days(almaty(2026, 1, 8, 12), 2) == end_of(2026, 1, 13)


@pytest.mark.parametrize("turn", [1, -1])
def test_a_newer_decision_takes_back_an_older_one_in_whatever_order_they_stand(turn):
    day = date(2026, 1, 5)
    decisions = [
        Transfer(date(2025, 11, 1), frozenset({day}), frozenset()),
        Transfer(date(2025, 12, 1), frozenset(), frozenset({day})),
    ]
    both = Calendar(decisions[::turn])
    assert not both.is_working_day(day, known_on=date(2025, 11, 15))
    assert both.is_working_day(day, known_on=date(2025, 12, 15))


def test_transfers_are_read_from_the_editable_table():
    read = Calendar.from_toml(
        "[[transfer]]\nannounced = 2025-11-20\noff = [2026-01-05]\nworking = [2026-01-10]\nact = 'No 1'\n"
    )
    assert not read.is_working_day(date(2026, 1, 5), known_on=date(2026, 1, 1))
    assert read.is_working_day(date(2026, 1, 10), known_on=date(2026, 1, 1))


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ((2026, 8, 31), 6, (2027, 2, 28)),
        ((2027, 8, 31), 6, (2028, 2, 29)),
        ((2026, 8, 28), 6, (2027, 2, 28)),
        ((2026, 10, 31), 1, (2026, 11, 30)),
        ((2026, 11, 30), 1, (2026, 12, 30)),
        ((2026, 12, 31), 1, (2027, 1, 31)),
        ((2026, 6, 30), 6, (2026, 12, 30)),
        ((2026, 1, 31), 0, (2026, 1, 31)),
        ((2026, 7, 1), 12, (2027, 7, 1)),
    ],
)
def test_months_end_on_the_same_day_or_the_months_last(start, months, end):
    assert end_of_months(almaty(*start, 12), months) == end_of(*end)


@given(DAYS, st.integers(0, 40))
def test_between_start_and_end_lie_exactly_the_working_days_of_the_term(day, days):
    end = official().end_of_working_days(almaty(day.year, day.month, day.day, 12), days)
    last = end.astimezone(ALMATY).date() - timedelta(days=1)
    between = [day + timedelta(days=i) for i in range(1, (last - day).days + 1)]
    assert sum(official().is_working_day(d, known_on=day) for d in between) == days
    assert not between or official().is_working_day(between[-1], known_on=day)


@given(DAYS, st.integers(0, 24))
def test_a_term_of_months_is_a_day_of_the_right_month(day, months):
    end = end_of_months(almaty(day.year, day.month, day.day, 12), months).astimezone(ALMATY)
    last = end.date() - timedelta(days=1)
    assert (last.year * 12 + last.month) - (day.year * 12 + day.month) == months
    assert last.day <= day.day
    assert last.day == day.day or (last + timedelta(days=1)).day == 1


def test_threads_that_ask_for_a_new_year_at_once_get_the_same_answer():
    for year in range(2050, 2070):
        answers, barrier = [], threading.Barrier(4)

        def ask(year=year, answers=answers, barrier=barrier):
            barrier.wait()
            answers.append(Calendar().is_working_day(date(year, 1, 1), known_on=date(year, 1, 1)))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [False] * 4
