"""Working days and the moments at which terms end, in the country's one time zone."""

from __future__ import annotations

import threading
import tomllib
from datetime import UTC, date, datetime, time, timedelta
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain import calendar
from ledger.domain.calendar import ALMATY, Calendar, Transfer, end_of_months, midnight_after, official

DAYS = st.dates(date(2024, 4, 4), date(2045, 12, 31))
HALF_PAST_SIX = time(18, 30)


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


def test_the_governments_transfers_of_2024_and_2025_are_known_from_their_day_on():
    def works(*day, on):
        return official().is_working_day(date(*day), known_on=date(*on))

    assert not works(2024, 5, 4, on=(2024, 4, 16))
    assert works(2024, 5, 4, on=(2024, 4, 17))
    assert not works(2024, 5, 8, on=(2024, 4, 17))
    assert not works(2025, 1, 5, on=(2024, 11, 20))
    assert works(2025, 1, 5, on=(2024, 11, 21))  # a Sunday
    assert not works(2025, 1, 3, on=(2024, 11, 21))
    assert not works(2025, 1, 4, on=(2024, 11, 21))


def test_every_transfer_of_the_table_swaps_as_many_days_and_names_its_act():
    text = files("ledger.domain").joinpath("transfers.toml").read_text("utf-8")
    for item in tomllib.loads(text)["transfer"]:
        assert set(item) == {"announced", "off", "working", "act"}
        assert item["act"]
        assert len(item["off"]) == len(item["working"])
        assert all(day.weekday() >= 5 for day in item["working"])
        assert all(day.weekday() < 5 for day in item["off"])
        assert item["announced"] < min(item["off"] + item["working"])


@pytest.mark.parametrize(
    ("at", "day"),
    [
        (almaty(2026, 3, 2, 0, 0), (2026, 3, 2)),
        (almaty(2026, 3, 2, 18, 29, 59), (2026, 3, 2)),
        (almaty(2026, 3, 2, 18, 30), (2026, 3, 2)),  # not yet after 18:30
        (almaty(2026, 3, 2, 18, 30, 0, 1), (2026, 3, 3)),
        (almaty(2026, 3, 2, 23, 59, 59), (2026, 3, 3)),
        (almaty(2026, 2, 27, 18, 31), (2026, 3, 2)),  # Friday evening
        (almaty(2026, 2, 28, 10), (2026, 3, 2)),  # Saturday
        (almaty(2026, 3, 1, 20), (2026, 3, 2)),  # Sunday evening: Monday all the same
        (almaty(2026, 3, 20, 18, 31), (2026, 3, 26)),  # over Nauryz, 21 to 25 March
        (almaty(2025, 12, 31, 19), (2026, 1, 5)),  # 1 and 2 January, then a weekend
        (almaty(2024, 5, 3, 19), (2024, 5, 4)),  # a Saturday that was worked
        (almaty(2024, 5, 4, 18, 30), (2024, 5, 4)),
        (almaty(2024, 5, 4, 18, 31), (2024, 5, 6)),
        (almaty(2024, 12, 31, 19), (2025, 1, 5)),  # 1 to 4 January, then a Sunday that was worked
    ],
)
def test_what_comes_after_hours_or_on_a_day_off_is_registered_on_the_next_working_day(at, day):
    assert official().registration_day(at, HALF_PAST_SIX) == date(*day)
    assert official().registration_day(at.astimezone(UTC), HALF_PAST_SIX) == date(*day)


def test_office_hours_ended_an_hour_earlier_by_utc_before_march_2024():
    """Almaty was at UTC+6 until 1 March 2024: the clocks of 29 February went back at midnight."""
    for day, utc in [((2024, 2, 29), 12), ((2024, 3, 1), 13)]:
        closing = datetime(*day, utc, 30, tzinfo=UTC)
        assert official().registration_day(closing, HALF_PAST_SIX) == date(*day)
        assert official().registration_day(closing + timedelta(seconds=1), HALF_PAST_SIX) != date(*day)
    assert midnight_after(date(2024, 2, 28)) == datetime(2024, 2, 28, 18, tzinfo=UTC)
    assert midnight_after(date(2024, 2, 29)) == datetime(2024, 2, 29, 19, tzinfo=UTC)  # had 25 hours
    assert official().registration_day(datetime(2024, 2, 29, 18, 30, tzinfo=UTC), time.max) == date(
        2024, 2, 29
    )


@pytest.mark.parametrize(
    ("start", "days", "known_on", "end"),
    [
        ((2026, 3, 2), 10, (2026, 3, 2), (2026, 3, 12)),
        ((2026, 3, 2), 5, (2026, 3, 2), (2026, 3, 10)),  # Saturday 7 → 8 and 9 are free too
        ((2026, 3, 6), 15, (2026, 3, 6), (2026, 3, 26)),  # Saturday 21 → over Nauryz
        ((2025, 12, 17), 15, (2025, 12, 17), (2026, 1, 5)),  # 1 January → 2, then a weekend
        ((2024, 4, 24), 10, (2024, 4, 24), (2024, 5, 4)),  # a Saturday that was worked
        ((2024, 4, 24), 10, (2024, 4, 16), (2024, 5, 6)),  # which nobody knew a week before
        ((2024, 12, 20), 15, (2024, 12, 20), (2025, 1, 5)),  # Saturday 4 → Sunday 5 was worked
        ((2026, 3, 2), 0, (2026, 3, 2), (2026, 3, 2)),
        ((2026, 2, 28), 0, (2026, 2, 28), (2026, 3, 2)),
    ],
)
def test_calendar_days_end_with_the_last_one_or_the_next_working_day(start, days, known_on, end):
    assert official().end_of_calendar_days(date(*start), days, known_on=date(*known_on)) == end_of(*end)


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


@given(DAYS, st.integers(0, 40), st.times())
def test_a_term_is_the_same_from_a_day_as_from_any_moment_of_it(day, days, when):
    moment = datetime.combine(day, when, ALMATY)
    assert official().end_of_working_days(day, days) == official().end_of_working_days(moment, days)
    assert end_of_months(day, days) == end_of_months(moment, days)


@given(DAYS, st.integers(0, 120))
def test_calendar_days_never_end_on_a_day_off_nor_skip_a_working_day(day, days):
    end = official().end_of_calendar_days(day, days, known_on=day)
    last = end.astimezone(ALMATY).date() - timedelta(days=1)
    assert official().is_working_day(last, known_on=day)
    skipped = range((last - day).days - days)
    assert not any(official().is_working_day(day + timedelta(days=days + i), known_on=day) for i in skipped)


TRANSFERS = st.builds(
    Transfer,
    st.dates(date(2024, 4, 4), date(2027, 12, 31)),
    st.frozensets(st.dates(date(2024, 4, 4), date(2028, 12, 31)), max_size=9),
    st.frozensets(st.dates(date(2024, 4, 4), date(2028, 12, 31)), max_size=9),
)


@given(st.lists(TRANSFERS, max_size=3), TRANSFERS, st.integers(1, 60), st.integers(0, 60), st.times())
def test_a_transfer_announced_later_changes_nothing_that_began_before_it(earlier, new, before, days, when):
    day = new.announced - timedelta(days=before)
    moment = datetime.combine(day, when, ALMATY)
    old, added = Calendar(earlier), Calendar([*earlier, new])
    assert added.end_of_working_days(day, days) == old.end_of_working_days(day, days)
    assert added.end_of_calendar_days(day, days, known_on=day) == old.end_of_calendar_days(
        day, days, known_on=day
    )
    assert added.registration_day(moment, HALF_PAST_SIX) == old.registration_day(moment, HALF_PAST_SIX)
