"""How long what is personal is kept: nothing goes before its day, nothing stays behind it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain import retention
from ledger.domain.appeal import Appeal
from ledger.domain.calendar import ALMATY
from ledger.domain.petition import Petition
from ledger.domain.retention import Rule

ENDED = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def is_due(data, state, ended, now):
    found = [d for d in retention.due(data, now) if state in d.states and d.since <= ended < d.until]
    assert len(found) <= 1, "periods do not overlap"
    return bool(found)


def rule(years, valid_from, over=("finished",)):
    return Rule(
        data="appeal",
        valid_from=valid_from,
        over=frozenset(over),
        years=years,
        law="a law",
        article="",
        sourced=False,
    )


@pytest.fixture
def with_rules(monkeypatch):
    def these(*rules):
        monkeypatch.setattr(retention, "rules", lambda: tuple(sorted(rules, key=lambda r: r.valid_from)))

    return these


@pytest.mark.parametrize(
    ("data", "state", "years"),
    [("signature", "decided", 5), ("petition", "lapsed", 10), ("appeal", "finished", 10)],
)
def test_data_go_on_the_day_after_their_last_year(data, state, years):
    last_day = datetime(2026 + years, 3, 2, 23, 59, tzinfo=ALMATY)
    assert not is_due(data, state, ENDED, last_day)
    assert is_due(data, state, ENDED, last_day + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("data", "state"), [("signature", "collecting"), ("petition", "considered"), ("appeal", "decided"),
                        ("appeal", "complained"), ("appeal", "in-work")]
)  # fmt: skip
def test_nothing_is_due_of_a_matter_that_is_not_over(data, state):
    assert not is_due(data, state, ENDED, ENDED.replace(year=2090))


def test_a_longer_term_that_comes_later_holds_for_what_is_still_here(with_rules):
    with_rules(rule(3, date(2024, 1, 1)), rule(8, date(2028, 1, 1)))
    assert not is_due("appeal", "finished", ENDED, datetime(2032, 1, 1, tzinfo=UTC))
    assert is_due("appeal", "finished", ENDED, datetime(2034, 3, 3, tzinfo=UTC))


def test_a_shorter_term_that_comes_later_takes_nothing_early(with_rules):
    with_rules(rule(8, date(2024, 1, 1)), rule(3, date(2028, 1, 1)))
    assert not is_due("appeal", "finished", ENDED, datetime(2032, 1, 1, tzinfo=UTC))
    later = datetime(2028, 5, 5, tzinfo=UTC)
    assert is_due("appeal", "finished", later, datetime(2031, 5, 6, 12, tzinfo=UTC))


def test_a_state_that_one_of_the_rules_does_not_know_is_kept(with_rules):
    with_rules(rule(3, date(2024, 1, 1), ("finished", "lapsed")), rule(3, date(2028, 1, 1)))
    far = datetime(2099, 1, 1, tzinfo=UTC)
    assert is_due("appeal", "finished", ENDED, far)
    assert not is_due("appeal", "lapsed", ENDED, far)


def test_without_a_rule_nothing_is_due(with_rules):
    with_rules()
    assert retention.due("appeal", datetime(2099, 1, 1, tzinfo=UTC)) == []


DAYS = st.dates(date(2015, 1, 1), date(2045, 12, 31))


@given(
    st.lists(st.tuples(DAYS, st.integers(1, 30)), min_size=1, max_size=4, unique_by=lambda one: one[0]),
    DAYS,
    st.datetimes(datetime(2015, 1, 1), datetime(2099, 1, 1), timezones=st.just(ALMATY)),
)
def test_the_longest_term_that_counts_decides(figures, ended, now):
    figures = sorted(figures)
    before = [one for one in figures if one[0] <= ended]
    years = max(figure for _, figure in (before[-1:] + [one for one in figures if one[0] > ended]))
    try:
        last = ended.replace(year=ended.year + years)
    except ValueError:  # 29 February
        last = date(ended.year + years, 2, 28)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "rules", lambda: tuple(rule(figure, day) for day, figure in figures))
        moment = datetime(ended.year, ended.month, ended.day, 12, tzinfo=ALMATY)
        assert is_due("appeal", "finished", moment, now) == (now.date() > last)


def test_every_rule_names_states_that_exist_and_end_a_matter():
    known = {
        "signature": Petition.transitions,
        "petition": Petition.transitions,
        "appeal": Appeal.transitions,
    }
    for one in retention.rules():
        states = set().union(*known[one.data].values())
        goes_on = {"collecting", "considered", "registered", "in-work", "returned", "submitted", "limited"}
        assert not one.over & goes_on
        assert one.over - states <= {
            "rejected", "lapsed", "not-supported", "withdrawn", "decided", "complaint-satisfied"
        }  # fmt: skip


def test_a_figure_that_was_not_found_in_a_law_says_so():
    for one in retention.rules():
        assert one.sourced == bool(one.article)
        assert one.sourced or one.years >= 5
    with pytest.raises(ValueError, match="names its article"):
        Rule(
            data="appeal", valid_from=date(2024, 1, 1), over=frozenset({"finished"}), years=5, law="",
            article="", sourced=True,
        )  # fmt: skip
