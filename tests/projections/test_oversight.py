"""The council's figures: each number is what a plain recount of the log gives, and everything adds up."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from ledger import events
from ledger.domain import appeal_terms
from ledger.store.database import connect
from projections import oversight
from projections.digest import digest
from projections.oversight import BreakdownUnknownError, CouncilsOnlyError, Question
from projections.oversight_fold import Oversight
from projections.oversight_public import PARTS
from projections.oversight_stays import DIMENSIONS, NAMES, VALUES
from projections.rebuild import verify
from projections.runner import Runner
from tests.projections.appeals_written import LIGHT, LONG_AGO, ROADS, WATER, Wanderer, Written, write
from tests.projections.oversight_recount import cells
from tests.projections.test_any_appeal import HAPPENINGS
from tests.projections.written import OPERATOR, ask

FOLDS = (Oversight(),)
SLOW = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
COUNCIL = {"council": True}


def history_of(ledger):
    return [(event.stream, event.facts, event.iat) for event in ledger.events]


def kept(ledger):
    """What the tables hold, in the form of the recount."""
    with (
        connect(ledger.url, application_name="tests") as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        found = {}
        for row in cursor.execute("SELECT * FROM projections.oversight_cells"):
            cell = row.pop("period"), row.pop("dimension"), row.pop("value"), row.pop("body")
            found[cell] = {n: v for n, v in row.items() if v or n in ("median_days", "p90_days")}
        return found


def digest_of(ledger):
    with connect(ledger.url, application_name="tests", autocommit=True) as connection:
        return digest(connection, FOLDS[0])


def fold_anew(ledger):
    ledger.execute("DELETE FROM projections.positions WHERE name = 'oversight'")
    ledger.execute(
        "TRUNCATE projections.oversight_appeals, projections.oversight_cells, projections.oversight_days"
    )
    Runner(ledger.url, FOLDS).catch_up()
    return digest_of(ledger)


def assert_everything_adds_up(ledger):
    sums = ", ".join(f"sum({name}) AS {name}" for name in NAMES)
    for dimension, body in [(d, b) for d in ("", *DIMENSIONS) for b in ("body <> ''", "body = ''")]:
        rows = ledger.execute(
            f"SELECT period, {sums} FROM projections.oversight_cells"
            f" WHERE dimension = '{dimension}' AND {body} GROUP BY period ORDER BY period"
        )
        totals = ledger.execute(
            f"SELECT period, {', '.join(NAMES)} FROM projections.oversight_cells"
            f" WHERE dimension = '' AND body = '' ORDER BY period"
        )
        if dimension and body == "body <> ''":
            totals = [row for row in totals if len(row[0]) == 4]
        assert rows == totals
    for whole, parts in PARTS:
        added = " + ".join(parts)
        assert not ledger.execute(f"SELECT FROM projections.oversight_cells WHERE {whole} <> {added}")


@SLOW
@given(seed=st.integers(0, 2**32), batch=st.integers(1, 40))
def test_a_lawful_history_gives_the_figures_of_a_plain_recount(ledger, seed, batch):
    ledger.clear()
    Wanderer(Written(ledger), seed).wander(60)
    Runner(ledger.url, FOLDS, batch=batch).catch_up()
    assert kept(ledger) == cells(history_of(ledger))
    assert_everything_adds_up(ledger)
    in_batches = digest_of(ledger)
    assert fold_anew(ledger) == in_batches
    (result,) = verify(ledger.url, FOLDS, batch=7)
    assert result.comparison.difference is None


@settings(SLOW, max_examples=25)
@given(history=st.lists(HAPPENINGS, max_size=40), pieces=st.integers(1, 9), batch=st.integers(1, 9))
def test_any_history_at_all_gives_the_figures_of_a_plain_recount(ledger, history, pieces, batch):
    ledger.clear()
    runner = Runner(ledger.url, FOLDS, batch=batch)
    for index, (stream, facts, iat) in enumerate(history):
        if isinstance(facts, events.DisclosureRead):
            stream = f"reading/{stream}/1"
        write(ledger, stream, facts, n=index + 1, at=datetime.fromtimestamp(iat, UTC))
        if index % pieces == 0:
            runner.catch_up()
    runner.catch_up()
    assert kept(ledger) == cells(history_of(ledger))
    assert_everything_adds_up(ledger)
    in_batches = digest_of(ledger)
    assert fold_anew(ledger) == in_batches


def figures(ledger, period, by="body", **more):
    found = ask(ledger, oversight.figures, Question(period, by, **more), **COUNCIL)
    return {line.key: line for line in found.lines}, found.total


def numbers(line):
    return {name: line[name] for name in NAMES if line[name]}


@pytest.fixture
def written(ledger):
    return Written(ledger)


class TestWhatCountsWhere:
    def test_an_appeal_counts_with_its_body_and_the_month_of_its_registration(self, written):
        written.file(body=WATER)
        written.pass_time(days=40)
        written.file(body=ROADS)
        bodies, total = figures(written.ledger, "2026")
        assert {key: line["appeals"] for key, line in bodies.items()} == {WATER: 1, ROADS: 1}
        months, _ = figures(written.ledger, "2026", "month")
        assert {key: line["appeals"] for key, line in months.items() if line["appeals"]} == {
            "2026-03": 1, "2026-04": 1,
        }  # fmt: skip
        assert len(months) == 12
        assert numbers(total) == {"received": 2, "appeals": 2, "unanswered": 2, "open": 2}

    def test_a_forwarded_appeal_lies_with_the_other_body_and_was_received_by_both(self, written):
        stream = written.file(body=WATER)
        written.pass_until(written.appeals[stream].forward_until)
        written.pass_time(days=30)
        written.miss(stream)
        written.say(stream, events.AppealForwarded, to=ROADS)
        bodies, total = figures(written.ledger, "2026")
        assert numbers(bodies[WATER]) == {
            "received": 1, "forwarded_away": 1, "forwarded_late": 1, "deemed_refusals": 1,
        }  # fmt: skip
        assert numbers(bodies[ROADS]) == {"received": 1, "appeals": 1, "unanswered": 1, "open": 1}
        assert (total["received"], total["appeals"]) == (2, 1)
        march, _ = figures(written.ledger, "2026-03")
        assert set(march) == {WATER}

    def test_what_was_forwarded_three_times_was_forwarded_more_than_twice(self, written):
        stream = written.file(body=WATER)
        for to in (ROADS, LIGHT):
            written.say(stream, events.AppealForwarded, to=to)
        assert figures(written.ledger, "2026")[1]["forwarded_over_twice"] == 0
        for to in (WATER, ROADS):
            written.say(stream, events.AppealForwarded, to=to)
        bodies, total = figures(written.ledger, "2026")
        assert (total["forwarded_over_twice"], total["appeals"], total["received"]) == (1, 1, 5)
        assert bodies[ROADS]["forwarded_over_twice"] == 1
        assert bodies[WATER]["forwarded_over_twice"] == 0

    def test_a_mended_appeal_moves_to_the_month_in_which_it_was_registered_again(self, written):
        written.pass_time(days=28)
        stream = written.file(body=WATER)
        written.say(stream, events.AppealReturned, ground="unclear")
        assert figures(written.ledger, "2026-03")[1]["returned"] == 1
        written.pass_time(days=4)
        written.say(stream, events.AppealFixed, algorithm="RSA-SHA256")
        assert figures(written.ledger, "2026-03") == ({}, oversight.Line.nothing(""))
        assert figures(written.ledger, "2026-04")[1]["open"] == 1

    def test_a_part_that_was_split_off_is_an_appeal_of_its_own(self, written):
        written.split(written.file(body=WATER), to=ROADS)
        origins, _ = figures(written.ledger, "2026", "origin")
        assert {key: line["appeals"] for key, line in origins.items()} == {
            "filed": 1, "imported": 0, "split": 1,
        }  # fmt: skip

    def test_who_declared_no_region_is_counted_as_unknown(self, written):
        written.file(region=None)
        regions, total = figures(written.ledger, "2026", "region")
        assert regions["unknown"]["appeals"] == total["appeals"] == 1


class TestAnswers:
    def test_days_are_those_of_almaty_from_registration_to_decision(self, written):
        stream = written.take()
        written.pass_until(datetime(2026, 3, 10, 18, 59, tzinfo=UTC))  # one minute before midnight
        written.decide(stream)
        bodies, _ = figures(written.ledger, "2026")
        assert (bodies[WATER].median_days, bodies[WATER]["in_time"], bodies[WATER]["explained"]) == (8, 1, 1)

    def test_median_and_ninetieth_percentile_are_nearest_rank(self, written):
        for days in (1, 2, 3, 4, 5, 6, 7, 8, 9, 30):
            stream = written.take()
            registered = written.clock
            written.pass_time(days=days)
            written.decide(stream)
            written.clock = registered
        assert (
            figures(written.ledger, "2026")[1].median_days,
            figures(written.ledger, "2026")[1].p90_days,
        ) == (5, 9)
        by_kind, _ = figures(written.ledger, "2026", "kind", body=WATER)
        assert (by_kind["application"].median_days, by_kind["application"].p90_days) == (5, 9)

    def test_an_answer_after_the_term_is_late_and_its_silence_stays_counted(self, written):
        stream = written.take()
        written.miss(stream)
        written.decide(stream)
        _, total = figures(written.ledger, "2026")
        assert (total["late"], total["deemed_refusals"], total.late_share) == (1, 1, 1.0)

    def test_an_appeal_decided_again_after_a_remittal_is_answered_once(self, written):
        stream = written.take()
        written.miss(stream)
        written.decide(stream, "explained")
        remit(written, stream)
        _, total = figures(written.ledger, "2026")
        assert (total["open"], total["answered"], total["reopened"], total["explained"]) == (1, 0, 1, 0)
        assert total.median_days is None
        written.pass_time(days=3)
        written.decide(stream, "satisfied")
        _, total = figures(written.ledger, "2026")
        assert numbers(total) == {
            "received": 1, "appeals": 1, "answered": 1, "late": 1, "satisfied": 1, "deemed_refusals": 1,
            "reopened": 1, "complaints": 1, "remitted": 1,
        }  # fmt: skip
        assert total.median_days == (date(2026, 3, 31) - date(2026, 3, 2)).days  # after midnight in Almaty

    def test_a_complaint_about_silence_that_is_satisfied_ends_the_appeal_without_an_answer(self, written):
        stream = written.take()
        written.miss(stream)
        written.say(stream, events.AppealComplained, OPERATOR, algorithm="RSA-SHA256")
        assert figures(written.ledger, "2026")[1]["complaints_pending"] == 1
        written.say(stream, events.AppealComplaintSatisfied)
        _, total = figures(written.ledger, "2026")
        assert numbers(total) == {
            "received": 1, "appeals": 1, "unanswered": 1, "closed": 1, "deemed_refusals": 1,
            "complaints": 1, "complaints_about_silence": 1, "complaints_satisfied": 1,
        }  # fmt: skip

    def test_hearings_and_extensions_are_counted(self, written):
        stream = written.take()
        written.extend(stream)
        written.hear(stream)
        _, total = figures(written.ledger, "2026")
        assert (total["extended"], total["hearings"], total["hearings_unattended"]) == (1, 1, 0)

    def test_imported_cases_count_by_their_own_times_and_apart(self, written):
        stream = written.import_case("registered", due=LONG_AGO + timedelta(days=21))
        step = {"activity": "Шешім", "outcome": "satisfied"}
        happened = LONG_AGO + timedelta(days=30)
        written.say(stream, events.AppealStepImported, step="decided", happened=happened, **step)
        written.import_case("decided", happened=LONG_AGO + timedelta(days=2))
        origins, total = figures(written.ledger, "2025", "origin")
        assert numbers(origins["imported"]) == numbers(total) == {
            "received": 2, "appeals": 2, "answered": 2, "late": 1, "term_unknown": 1, "satisfied": 1,
            "outcome_unknown": 1,
        }  # fmt: skip
        assert (total.median_days, total.p90_days, total.late_share) == (2, 30, 1.0)


def remit(written, stream):
    """A complaint about the decision, upheld by the higher body."""
    written.say(stream, events.AppealComplained, OPERATOR, algorithm="RSA-SHA256")
    written.say(stream, events.AppealComplaintPassedUp, to=LIGHT)
    kind = written.appeals[stream].kind
    due = appeal_terms.consider_until(kind, appeal_terms.registered_on(written.clock))
    written.say(stream, events.AppealComplaintDecided, LIGHT, outcome="remit", due=due)
    if written.appeals[stream].state == "registered":
        written.say(stream, events.AppealTaken)


@pytest.fixture(scope="class")
def crowd(postgres, migrated):
    """Some hundred lawful events, folded."""
    from tests.conftest import fresh
    from tests.projections.written import WrittenLedger

    with fresh(postgres, migrated) as database, WrittenLedger(database.admin_url, database.url) as ledger:
        Wanderer(Written(ledger), 7).wander(250)
        yield ledger


class TestQuestions:
    """Every question that is answered is answered as a recount answers it."""

    @pytest.mark.parametrize("by", oversight.AXES)
    @pytest.mark.parametrize("period", ["2026", "2026-04"])
    def test_by_anything_of_all_bodies(self, crowd, by, period):
        if by == "month" and period != "2026":
            return
        self.assert_same(crowd, Question(period, by))

    @pytest.mark.parametrize("by", [axis for axis in oversight.AXES if axis != "body"])
    @pytest.mark.parametrize(
        "where", [(), (("kind", "application"),), (("region", "71"), ("channel", "paper"))]
    )
    def test_by_anything_of_one_body_and_any_values(self, crowd, by, where):
        if by not in dict(where):
            for period in ["2026"] if by == "month" else ["2026", "2026-05"]:
                self.assert_same(crowd, Question(period, by, WATER, where))

    @pytest.mark.parametrize("by", ["body", "month"])
    def test_by_body_and_by_month_of_one_value(self, crowd, by):
        self.assert_same(crowd, Question("2026", by, where=(("channel", "oral"),)), days=by == "month")

    def test_what_is_not_kept_is_said(self, crowd):
        wrong = [
            (Question("2026", "kind", where=(("region", "71"),)), BreakdownUnknownError),
            (Question("2026", "body", where=(("region", "71"), ("kind", "request"))), BreakdownUnknownError),
            (Question("2026-03", "body", where=(("region", "71"),)), BreakdownUnknownError),
            (Question("2026-03", "month"), BreakdownUnknownError),
            (Question("2026", "body", WATER), BreakdownUnknownError),
            (Question("2026-13", "body"), BreakdownUnknownError),
        ]
        for question, error in wrong:
            with pytest.raises(error):
                ask(crowd, oversight.figures, question, **COUNCIL)
        with pytest.raises(CouncilsOnlyError):
            ask(crowd, oversight.figures, Question("2026-03", "kind", WATER), council=False)

    def assert_same(self, ledger, question, *, days=True):
        chosen = history_of(ledger)
        wanted = plain(chosen, question)
        found = ask(ledger, oversight.figures, question, **COUNCIL)
        lines = {line.key: shown(line, days) for line in found.lines if line["received"]}
        assert lines == {key: cell if days else without_days(cell) for key, cell in wanted.items() if key}
        if "" in wanted:
            assert shown(found.total, days=True) == wanted[""]
        if question.by in VALUES:
            assert {line.key for line in found.lines} == set(VALUES[question.by])
        assert found.as_of == ledger.head


def shown(line, days):
    found = numbers(line)
    return found | {"median_days": line.median_days, "p90_days": line.p90_days} if days else found


def without_days(cell):
    return {name: value for name, value in cell.items() if not name.endswith("_days")}


def plain(history, question):
    """Key of each line, and "" for the total → what the recount says."""
    from tests.projections.oversight_recount import rank, stays

    groups = {}
    for stay in stays(history):
        fits = stay["month"].startswith(question.period) and question.body in (None, stay["body"])
        if fits and all(stay[dimension] == value for dimension, value in question.where):
            for key in (stay[question.by], ""):
                groups.setdefault(key, []).append(stay)
    found = {}
    for key, members in groups.items():
        days = [stay["days"] for stay in members if stay["days"] is not None]
        found[key] = {n: s for n in NAMES if (s := sum(stay["n"][n] for stay in members))}
        found[key] |= {"median_days": rank(days, 50), "p90_days": rank(days, 90)}
    return found


class TestWorsening:
    def test_bodies_whose_late_answers_or_median_grew_come_worst_first(self, written):
        for body, earlier, later in ((WATER, 3, 30), (ROADS, 5, 6), (LIGHT, 9, 4)):
            for month, days in ((0, earlier), (35, later)):
                written.clock = datetime(2026, 3, 2, 4, tzinfo=UTC) + timedelta(days=month)
                for _ in range(5):
                    answer_after(written, body, days)
        late = ask(written.ledger, oversight.worsening, "2026-04", "late_share", 5, council=True)
        assert [(worse.body, worse.change) for worse in late.items] == [(WATER, 1.0)]
        assert late.before == "2026-03"
        slow = ask(written.ledger, oversight.worsening, "2026-04", "median_days", 5, council=True)
        assert [(w.body, w.change, w.median_days_before, w.median_days) for w in slow.items] == [
            (WATER, 27, 3, 30), (ROADS, 1, 5, 6),
        ]  # fmt: skip
        few = ask(written.ledger, oversight.worsening, "2026-04", "median_days", 6, council=True)
        assert few.items == []
        with pytest.raises(CouncilsOnlyError):
            ask(written.ledger, oversight.worsening, "2026-04", "median_days", 5, council=False)


def answer_after(written, body, days):
    stream, began = written.take(body=body), written.clock
    written.pass_time(days=days)
    written.decide(stream)
    written.clock = began
