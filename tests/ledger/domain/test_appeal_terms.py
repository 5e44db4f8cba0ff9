"""The terms of appeals, each kind against days that were counted by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain import appeal_terms as terms
from ledger.domain.calendar import ALMATY, midnight_after, official
from ledger.domain.terms import NoTermError
from ledger.events import AppealKind, AppealOutcome

KINDS = get_args(AppealKind)
DAYS = st.dates(date(2021, 7, 1), date(2035, 6, 30))
MOMENTS = st.datetimes(datetime(2021, 7, 1), datetime(2035, 6, 30), timezones=st.just(ALMATY))
FIRST = datetime(2021, 7, 1, tzinfo=ALMATY)


def almaty(*parts):
    return datetime(*parts, tzinfo=ALMATY)


def end_of(*day):
    return midnight_after(date(*day))


def last_day(end):
    return (end.astimezone(ALMATY) - timedelta(microseconds=1)).date()


# Days are those that count; in brackets the days off on weekdays; (n) is how many have been counted.
@pytest.mark.parametrize(
    ("kind", "registered", "last"),
    [
        # --- New Year 2025: 1, 2, 3 January are free, Sunday 5 January is worked, 7 January is free
        # 25-27 Dec (3), 30, 31 (5), 5 Jan (6), 6 (7), 8-10 (10), 13-17 (15)
        ("application", (2024, 12, 24), (2025, 1, 17)),
        # 31 Dec (1), 5 Jan (2), 6 (3), 8-10 (6), 13-17 (11), 20-24 (16), 27-30 (20)
        ("complaint", (2024, 12, 30), (2025, 1, 30)),
        # 5 Jan (1), 6 (2), 8-10 (5)
        ("state-service-complaint", (2024, 12, 31), (2025, 1, 10)),
        # 5, 6, 8 Jan
        ("bailiff-request", (2024, 12, 31), (2025, 1, 8)),
        # The day before the transfer was announced: Sunday 5 January does not count.
        # 21, 22 Nov (2), 25-29 (7), 2-6 Dec (12), 9-13 (17), [16], 17-20 (21), 23-27 (26), 30, 31 (28),
        # 6 Jan (29), 8 (30)
        ("tax-complaint", (2024, 11, 20), (2025, 1, 8)),
        # The day after: it does. 22 Nov (1), 25-29 (6), 2-6 Dec (11), 9-13 (16), [16], 17-20 (20),
        # 23-27 (25), 30, 31 (27), 5 Jan (28), 6 (29), 8 (30)
        ("tax-complaint", (2024, 11, 21), (2025, 1, 8)),
        # 15 days: Saturday 4 January, so Sunday 5, which is worked
        ("information-request", (2024, 12, 20), (2025, 1, 5)),
        # 15 days: 7 January, free
        ("information-request", (2024, 12, 23), (2025, 1, 8)),
        # 30 days: Sunday 5 January, worked
        ("declassification-request", (2024, 12, 6), (2025, 1, 5)),
        # 90 days (24 of October, 30, 31, 5): Sunday 5 January, of which nobody knew in October
        ("rehabilitation-request", (2024, 10, 7), (2025, 1, 6)),
        # --- May 2024: Saturday 4 May is worked, 1, 7, 8, 9 May are free
        # 22-26 Apr (5), 29, 30 (7), [1], 2-4 May (10), 6 (11), [7, 8, 9], 10 (12), 13-15 (15)
        ("application", (2024, 4, 19), (2024, 5, 15)),
        # Before it was announced: 17-19 Apr (3), 22-26 (8), 29, 30 (10), [1], 2, 3 May (12), 6 (13),
        # [7, 8, 9], 10 (14), 13 (15)
        ("application", (2024, 4, 16), (2024, 5, 13)),
        # 30 Apr (1), [1], 2-4 May (4), 6 (5), [7, 8, 9], 10 (6), 13 (7)
        ("media-request", (2024, 4, 29), (2024, 5, 13)),
        # 4, 6 May (2), [7, 8, 9], 10 (3)
        ("bailiff-request", (2024, 5, 3), (2024, 5, 10)),
        # 10 days: Saturday 4 May, worked
        ("notary-request", (2024, 4, 24), (2024, 5, 4)),
        # 10 days: Sunday 5 May
        ("notary-request", (2024, 4, 25), (2024, 5, 6)),
        # 10 days: 9 May, free
        ("notary-request", (2024, 4, 29), (2024, 5, 10)),
        # --- the law on mass media of 2024: five working days instead of seven
        # 20-23 Aug (4), 26-28 (7)
        ("media-request", (2024, 8, 19), (2024, 8, 28)),
        # 21-23 Aug (3), 26, 27 (5)
        ("media-request", (2024, 8, 20), (2024, 8, 27)),
        # --- Nauryz
        # 2024: 14, 15 Mar (2), 18-20 (5), [21, 22, 25], 26-29 (9), 1-5 Apr (14), 8 (15)
        ("proposal", (2024, 3, 13), (2024, 4, 8)),
        # 2025: 18-20 Mar (3), [21, 24, 25], 26-28 (6), 31 (7), 1-3 Apr (10)
        ("lawyer-request", (2025, 3, 17), (2025, 4, 3)),
        # 2025, 30 days: Friday 21 March; 21 to 25 are free
        ("declassification-request", (2025, 2, 19), (2025, 3, 26)),
        # 2026: [9 Mar], 10-13 (4), 16-20 (9), [23, 24, 25], 26, 27 (11), 30 Mar-2 Apr (15)
        ("notice", (2026, 3, 6), (2026, 4, 2)),
        # 2026: 6 Mar (1), [9], 10-13 (5), 16-20 (10), [23, 24, 25], 26, 27 (12), 30 Mar-3 Apr (17), 6-8 (20)
        ("complaint", (2026, 3, 5), (2026, 4, 8)),
        # 2026, 15 days: Saturday 21 March; all is free until 25
        ("information-request", (2026, 3, 6), (2026, 3, 26)),
        # --- May 2025 and 2026
        # 25 Apr (1), 28-30 (4), [1 May], 2 (5), 5, 6 (7), [7], 8 (8), [9], 12-16 (13), 19, 20 (15)
        ("response", (2025, 4, 24), (2025, 5, 20)),
        # 21-24 Apr (4), 27-30 (8), [1 May], 4-6 (11), [7], 8 (12), [11, for Saturday 9], 12-15 (16),
        # 18-22 (21), 25, 26 (23), [27, Kurban Ait], 28, 29 (25), 1-5 Jun (30)
        ("tax-complaint", (2026, 4, 20), (2026, 6, 5)),
        # --- holidays on a weekend that move to Monday
        # [8 Jul 2024, for Saturday 6], 9-11 Jul (3)
        ("bailiff-request", (2024, 7, 5), (2024, 7, 11)),
        # 26-29 Aug (4), [1 Sep 2025, for Saturday 30], 2-5 (8), 8-12 (13), 15, 16 (15)
        ("request", (2025, 8, 25), (2025, 9, 16)),
        # 23 Oct (1), [26 Oct 2026, for Sunday 25], 27-30 (5)
        ("state-service-complaint", (2026, 10, 22), (2026, 10, 30)),
        # --- New Year 2026 and 2027: nothing is moved
        # 2-5 Dec (4), 8-12 (9), 15 (10), [16], 17-19 (13), 22-26 (18), 29-31 (21), [1, 2 Jan], 5, 6 (23),
        # [7], 8, 9 (25), 12-16 (30), 19-23 (35), 26-30 (40), 2-6 Feb (45)
        ("tax-monitoring-complaint", (2025, 12, 1), (2026, 2, 6)),
        # 29-31 Dec (3), [1, 2], 5, 6 Jan (5), [7], 8, 9 (7), 12-16 (12), 19-21 (15)
        ("application", (2025, 12, 26), (2026, 1, 21)),
        # 90 days (28 of October, 30, 31, 1): 1 January; 2 is free, 3 and 4 a weekend
        ("rehabilitation-request", (2025, 10, 3), (2026, 1, 5)),
        # 90 days: Monday 5 January
        ("rehabilitation-request", (2025, 10, 7), (2026, 1, 5)),
        # 28-31 Dec (4), [1 Jan; 4, for Saturday 2], 5, 6 (6), [7], 8 (7), 11-13 (10)
        ("lawyer-request", (2026, 12, 25), (2027, 1, 13)),
    ],
)
def test_an_appeal_is_answered_within_the_term_of_its_kind(kind, registered, last):
    assert last_day(terms.consider_until(kind, date(*registered))) == date(*last)


def test_a_term_ends_with_the_midnight_of_almaty():
    assert terms.consider_until("bailiff-request", date(2026, 3, 2)) == datetime(2026, 3, 5, 19, tzinfo=UTC)
    assert terms.consider_until("bailiff-request", date(2024, 2, 1)) == datetime(2024, 2, 6, 18, tzinfo=UTC)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_appeal_has_a_term_from_the_laws_first_day_on(kind):
    assert terms.consider_until(kind, FIRST.date()) > FIRST
    with pytest.raises(NoTermError, match="2021-06-30"):
        terms.consider_until(kind, date(2021, 6, 30))


def test_a_kind_that_the_law_does_not_know_has_no_term():
    with pytest.raises(NoTermError, match="'wish'"):
        terms.consider_until("wish", date(2026, 3, 2))


@pytest.mark.parametrize(
    "what",
    [
        terms.appeal_rules,
        terms.registered_on,
        terms.fix_until,
        terms.earliest_hearing,
        terms.object_until,
        terms.tell_until,
        terms.complain_until,
        terms.pass_up_until,
        terms.decide_complaint_until,
        lambda at: terms.forward_until(at.date()),
        lambda at: terms.extension_limit(at, at),
    ],
)
def test_the_law_on_appeals_begins_at_midnight_in_almaty(what):
    assert what(FIRST)
    with pytest.raises(NoTermError, match="2021-06-30"):
        what(FIRST - timedelta(microseconds=1))


def test_the_steps_of_an_appeal_take_as_long_as_the_law_says():
    may = almaty(2024, 5, 3, 17)  # Friday; 4 is worked, 5 a Sunday, 7, 8, 9 are free
    assert terms.forward_until(date(2024, 5, 3)) == end_of(2024, 5, 10)  # 4, 6, 10
    assert terms.object_until(may) == end_of(2024, 5, 6)  # 4, 6
    assert terms.tell_until(may) == end_of(2024, 5, 10)
    assert terms.pass_up_until(may) == end_of(2024, 5, 10)
    # Tuesday; 21 to 25 March are free: 18, 19, 20, 26, 27
    assert terms.fix_until(almaty(2026, 3, 17, 12)) == end_of(2026, 3, 27)


def test_between_notice_and_hearing_lie_three_full_working_days():
    # 3, 4, 5 March; the hearing may be on 6 from its first moment on
    assert terms.earliest_hearing(almaty(2026, 3, 2, 12)) == almaty(2026, 3, 6)
    # 31 December, Sunday 5 January, 6
    assert terms.earliest_hearing(almaty(2024, 12, 30, 12)) == almaty(2025, 1, 7)


def test_a_decision_can_be_complained_about_for_three_months():
    assert terms.complain_until(almaty(2026, 3, 2, 12)) == end_of(2026, 6, 2)
    assert terms.complain_until(almaty(2026, 11, 30, 23, 59)) == end_of(2027, 2, 28)
    assert terms.complain_until(almaty(2023, 11, 30)) == end_of(2024, 2, 29)


def test_the_higher_body_decides_twenty_working_days_after_it_registered_the_complaint():
    # 26, 27 March (2), 30-3 April (7), 6-10 (12), 13-17 (17), 20-22 (20)
    assert terms.decide_complaint_until(almaty(2026, 3, 20, 18, 30)) == end_of(2026, 4, 22)
    # After hours, registered on 26 March: one more
    assert terms.decide_complaint_until(almaty(2026, 3, 20, 18, 31)) == end_of(2026, 4, 23)


@pytest.mark.parametrize(
    ("due", "decided", "limit"),
    [
        # Before 29.12.2025: two months after the last day of the term
        ((2025, 1, 17), (2025, 1, 10), (2025, 3, 17)),
        ((2025, 12, 30), (2025, 12, 28), (2026, 3, 2)),  # 28 February is a Saturday
        # Since then: two months after the day of the decision
        ((2026, 1, 21), (2026, 1, 20), (2026, 3, 20)),
        ((2026, 1, 21), (2026, 1, 21), (2026, 3, 26)),  # Saturday 21 March; 23, 24, 25 are free
        ((2026, 1, 30), (2025, 12, 29), (2026, 3, 2)),  # 28 February, as before
        # A term extended again is not longer than two months after the original one
        ((2026, 1, 21), (2026, 2, 20), (2026, 3, 26)),
    ],
)
def test_a_term_is_extended_by_two_months_at_most(due, decided, limit):
    assert terms.extension_limit(end_of(*due), almaty(*decided, 12)) == end_of(*limit)


def test_where_no_decision_is_named_the_months_of_an_extension_follow_the_original_term():
    assert terms.extension_limit(end_of(2026, 1, 21)) == end_of(2026, 3, 26)
    assert terms.extension_limit(end_of(2026, 10, 30)) == end_of(2026, 12, 30)
    assert terms.extension_limit(end_of(2025, 12, 31)) == end_of(2026, 3, 2)


def test_an_extended_term_ends_with_its_last_day_or_the_next_working_day():
    assert terms.end_of_day(date(2026, 3, 20)) == end_of(2026, 3, 20)
    assert terms.end_of_day(date(2026, 3, 21)) == end_of(2026, 3, 26)
    assert terms.end_of_day(date(2024, 5, 4)) == end_of(2024, 5, 4)  # a Saturday that is worked


def test_the_rules_of_a_moment_are_those_of_its_day_in_almaty():
    change = almaty(2025, 12, 29)
    before, after = terms.appeal_rules(change - timedelta(microseconds=1)), terms.appeal_rules(change)
    assert (before.extension_from_decision, after.extension_from_decision) == (False, True)
    assert (before.unextendable, after.unextendable) == (frozenset(), frozenset({"complaint"}))
    for rules in (before, after):
        assert rules.after_hours == time(18, 30)
        assert rules.burdensome == {"refused"}
        assert rules.simplified == {"proposal", "response", "notice", "request"}


def test_every_row_names_its_law_and_only_what_has_an_article_is_sourced():
    table = terms._table()
    assert all(rules.law for rules in table.rules)
    for rules in table.rules:
        assert rules.burdensome <= set(get_args(AppealOutcome))
        assert rules.simplified | rules.unextendable <= set(KINDS)
    for term in table.term:
        assert term.law
        assert term.kinds <= set(KINDS)
        assert term.sourced == bool(term.article)
        assert (term.working_days is None) != (term.calendar_days is None)
    rows = [(kind, term.valid_from) for term in table.term for kind in term.kinds]
    assert len(rows) == len(set(rows))


@given(st.sampled_from(KINDS), DAYS)
def test_no_term_ends_on_a_day_off(kind, day):
    last = last_day(terms.consider_until(kind, day))
    assert last > day
    assert official().is_working_day(last, known_on=day)


@given(st.sampled_from(sorted(set(KINDS) - {"media-request"})), DAYS, st.integers(0, 30))
def test_who_is_registered_later_is_not_answered_earlier(kind, day, later):
    """A request of the media is the exception: its term became shorter."""
    after = day + timedelta(days=later)
    assert terms.consider_until(kind, day) <= terms.consider_until(kind, after)
    assert terms.forward_until(day) <= terms.forward_until(after)


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(days=30)))
def test_what_happens_later_does_not_end_earlier(at, later):
    for step in (
        terms.registered_on,
        terms.fix_until,
        terms.earliest_hearing,
        terms.object_until,
        terms.tell_until,
        terms.complain_until,
        terms.pass_up_until,
        terms.decide_complaint_until,
    ):
        assert step(at) <= step(at + later)


@given(MOMENTS)
def test_an_appeal_is_registered_on_the_first_working_day_on_which_the_office_was_open(at):
    day, today = terms.registered_on(at), at.date()
    assert official().is_working_day(day, known_on=today)
    between = [today + timedelta(days=i) for i in range((day - today).days)]
    if at.time() > time(18, 30):
        between = between[1:]
    assert not any(official().is_working_day(skipped, known_on=today) for skipped in between)


@given(st.dates(date(2026, 3, 1), date(2034, 12, 31)), st.integers(0, 45))
def test_an_extension_never_reaches_beyond_two_months_after_the_decision_but_for_days_off(last, earlier):
    decided = last - timedelta(days=earlier)
    limit = last_day(terms.extension_limit(midnight_after(last), almaty(*decided.timetuple()[:3], 12)))
    assert official().is_working_day(limit, known_on=decided)
    assert timedelta(days=59) <= limit - decided <= timedelta(days=62 + 7)
    assert limit <= last_day(terms.extension_limit(midnight_after(last)))
