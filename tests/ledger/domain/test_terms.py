"""The figures of the law, each from its own day on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain import terms
from ledger.domain.calendar import ALMATY
from ledger.domain.terms import NoTermError
from ledger.events import OrganisationRegistered
from tests.ledger.facts import NAMES

AT = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)


def body(kind, level, population=None):
    return OrganisationRegistered(kind=kind, level=level, names=NAMES, population=population)


@pytest.mark.parametrize(
    ("kind", "level", "population", "required", "counted"),
    [
        ("central", "republic", None, 50_000, None),
        ("central", "republic", 20_000_000, 50_000, None),
        ("authorised-body", "republic", None, 50_000, None),
        ("akimat", "oblast", 1_000_000, 10_000, 1_000_000),
        ("akimat", "oblast", 1_000_001, 10_001, 1_000_001),  # a part of a person is not enough
        ("akimat", "oblast", 1_000_100, 10_001, 1_000_100),
        ("maslikhat", "oblast", 1_000_000, 20_000, 1_000_000),
        ("maslikhat", "oblast", 1_000_001, 20_001, 1_000_001),
        ("akimat", "district", None, 2_500, None),
        ("akimat", "district", 50_000, 2_500, None),
        ("akimat", "district", 49_999, 2_500, 49_999),
        ("akimat", "district", 10_000, 500, 10_000),
        ("akimat", "district", 1, 1, 1),
        ("akimat", "district", 0, 1, 0),
        ("maslikhat", "district", None, 5_000, None),
        ("maslikhat", "district", 50_000, 5_000, None),
        ("maslikhat", "district", 10_000, 1_000, 10_000),
        ("maslikhat", "district", 10_001, 1_001, 10_001),
    ],
)
def test_a_petition_needs_as_many_signatures_as_the_law_says(kind, level, population, required, counted):
    assert terms.threshold(body(kind, level, population), AT) == (required, counted)


@pytest.mark.parametrize("kind", ["akimat", "maslikhat"])
def test_a_share_of_an_unknown_population_is_not_guessed(kind):
    with pytest.raises(NoTermError, match="none is recorded"):
        terms.threshold(body(kind, "oblast"), AT)


@pytest.mark.parametrize(
    ("kind", "level"), [("council", "republic"), ("operator", "republic"), ("central", "oblast")]
)
def test_where_no_rule_fits_there_is_no_threshold(kind, level):
    with pytest.raises(NoTermError, match=f"a {kind} of level {level}"):
        terms.threshold(body(kind, level, 1000), AT)


@given(st.integers(0, 10**7), st.sampled_from([("akimat", 1), ("maslikhat", 2)]))
def test_a_share_is_the_least_whole_number_that_reaches_it(population, rule):
    kind, percent = rule
    required, _ = terms.threshold(body(kind, "oblast", population), AT)
    assert required * 100 >= population * percent
    assert required == 1 or (required - 1) * 100 < population * percent


def test_the_law_begins_at_midnight_in_almaty():
    first = datetime(2024, 4, 4, tzinfo=ALMATY)
    assert terms.petition_terms(first).limited_signatures == 50
    assert terms.threshold(body("central", "republic"), first) == (50_000, None)
    for what in (terms.petition_terms, lambda at: terms.threshold(body("central", "republic"), at)):
        with pytest.raises(NoTermError):
            what(first - timedelta(seconds=1))


def test_the_terms_of_a_petition_are_those_of_the_law():
    def last_day(moment):
        return (moment.astimezone(ALMATY) - timedelta(seconds=1)).date().isoformat()

    assert last_day(terms.limited_until(AT)) == "2026-03-17"  # 10 working days, 9 March is free
    assert last_day(terms.moderate_until(AT)) == "2026-04-03"  # 20, over Nauryz
    assert last_day(terms.collect_until(AT)) == "2026-09-02"  # 6 months
    assert last_day(terms.discuss_until(AT)) == "2026-03-17"
    assert last_day(terms.consider_until(AT, body("akimat", "district"))) == "2026-04-03"
    assert last_day(terms.consider_until(AT, body("akimat", "oblast"))) == "2026-04-03"
    assert last_day(terms.consider_until(AT, body("central", "republic"))) == "2026-05-04"  # 40


def test_every_rule_names_its_law_and_says_whether_it_has_a_source():
    table = terms._table()
    assert all(entry.law for entry in table.petition)
    for rule in table.threshold:
        assert rule.number is not None or rule.percent is not None
        assert (rule.percent_below is None) or (rule.number is not None and rule.percent is not None)
    unsourced = {frozenset(rule.bodies) for rule in table.threshold if not rule.sourced}
    assert unsourced == {frozenset({"akimat"}), frozenset({"maslikhat"})}
