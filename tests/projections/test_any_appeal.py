"""Whatever happens to appeals, in whatever batches: the same rows; where it is lawful, the aggregate's."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import events
from ledger.store.database import connect
from projections.appeals import Appeals
from projections.cabinet import Cabinet
from projections.digest import digest
from projections.rebuild import verify
from projections.runner import Runner
from projections.terms import Terms
from tests.ledger.facts import facts_of
from tests.projections.appeals_written import BEGAN, LIGHT, ROADS, WATER, Wanderer, Written, write

FOLDS = (Appeals(), Terms(), Cabinet())
SLOW = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


def digests(ledger):
    with connect(ledger.url, application_name="tests", autocommit=True) as connection:
        return {projection.name: digest(connection, projection) for projection in FOLDS}


def fold_anew(ledger):
    ledger.execute("DELETE FROM projections.positions")
    for projection in FOLDS:
        for table in projection.tables:
            ledger.execute(f"TRUNCATE projections.{table.name}")
    Runner(ledger.url, FOLDS).catch_up()
    return digests(ledger)


SAME = (
    "state", "body", "term", "due", "forward_until", "fix_until", "extension", "hearing", "decision",
    "withdrawal", "hearing_at", "object_until", "complain_until", "complaint", "higher", "kind",
    "applicant", "channel", "forwards", "parts", "extensions", "objections", "outcome",
)  # fmt: skip


def assert_rows_are_those_of_the_aggregates(written):
    ledger = written.ledger
    names = ", ".join(SAME)
    query = f"SELECT stream, {names}, n, missed, assigned, untold FROM projections.appeals ORDER BY stream"
    rows = ledger.execute(query)
    assert [row[0] for row in rows] == sorted(written.appeals)
    for stream, *values, n, missed, assigned, untold in rows:
        appeal = written.appeals[stream]
        assert dict(zip(SAME, values, strict=True)) == {name: getattr(appeal, name) for name in SAME}, stream
        assert (n, missed) == (appeal.version, appeal.missed == "yes")
        assert {one[0]: one[1] for one in json.loads(assigned)} == appeal.assignments
        assert {one[0]: one[1] for one in json.loads(untold)} == appeal.untold
    # What queues and terms follow from is the same in both projections.
    columns = [
        name
        for (name,) in ledger.execute(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = 'projections' AND table_name = 'cases' ORDER BY ordinal_position"
        )
    ]
    shared = ", ".join(columns)
    in_register = ledger.execute(f"SELECT {shared} FROM projections.appeals ORDER BY stream")
    assert ledger.execute(f"SELECT {shared} FROM projections.cases ORDER BY stream") == in_register


def assert_terms_can_be_met(written):
    """Each obligation is one that its body, the applicant or the clock can meet, and none is left out."""
    needed = {
        "consideration": events.AppealOverdue, "passing-up": events.AppealOverdue,
        "complaint": events.AppealOverdue, "mending": events.AppealLapsed,
        "forwarding": events.AppealForwarded, "telling": events.AppealApplicantTold,
        "objection": events.AppealObjected, "hearing": events.AppealHearingHeld,
        "assignment": events.AppealAssignmentAnswered, "complaining": events.AppealComplained,
    }  # fmt: skip
    rows = written.ledger.execute("SELECT stream, term, number, body, missed, clock FROM projections.terms")
    open_terms = {}
    for stream, term, number, body, missed, clock in rows:
        appeal = written.appeals[stream]
        if not missed and not (term == "forwarding" and appeal.withdrawal == "asked"):
            assert needed[term].type in appeal.allowed(), (stream, term, appeal.state)
        owner = {"telling": appeal.untold.get(number), "assignment": appeal.assignments.get(number)}
        owner |= dict.fromkeys(("consideration", "forwarding", "passing-up", "hearing"), appeal.body)
        assert body == (owner | {"complaint": appeal.higher}).get(term)
        assert (clock is None) == (term not in {"consideration", "passing-up", "complaint", "mending"})
        open_terms.setdefault(stream, set()).add((term, number))
    for stream, appeal in written.appeals.items():
        found = open_terms.get(stream, set())
        if appeal.term is not None:
            assert (appeal.term, 0) in found
        if appeal.state == "returned" and appeal.fix_until is not None:
            assert ("mending", 0) in found
        if events.AppealAssignmentAnswered.type in appeal.allowed():
            assert {("assignment", number) for number in appeal.assignments} <= found
        if events.AppealApplicantTold.type in appeal.allowed():
            assert {("telling", number) for number in appeal.untold} <= found


def assert_queues_show_who_has_to_do(written):
    rows = written.ledger.execute("SELECT body, stream, role, due FROM projections.queue")
    for body, stream, role, due in rows:
        appeal = written.appeals[stream]
        owner = {"handler": [appeal.body], "higher": [appeal.higher], "assigned": appeal.assignments.values()}
        assert body in owner[role]
        query = "SELECT min(due) FROM projections.terms WHERE stream = %s AND body = %s"
        assert [(due,)] == written.ledger.execute(query, stream, body)
    queued = {(body, stream) for body, stream, _, _ in rows}
    for stream, appeal in written.appeals.items():
        if appeal.state in {"registered", "returned", "in-work", "decided", "complained"}:
            assert (appeal.body, stream) in queued
        if appeal.state == "complaint-passed-up":
            assert (appeal.higher, stream) in queued


@SLOW
@given(seed=st.integers(0, 2**32), batch=st.integers(1, 40))
def test_any_lawful_history_is_told_as_the_aggregates_tell_it(ledger, seed, batch):
    ledger.clear()
    written = Wanderer(Written(ledger), seed).wander(40)
    Runner(ledger.url, FOLDS, batch=batch).catch_up()
    assert_rows_are_those_of_the_aggregates(written)
    assert_terms_can_be_met(written)
    assert_queues_show_who_has_to_do(written)
    in_batches = digests(ledger)
    assert fold_anew(ledger) == in_batches
    for result in verify(ledger.url, FOLDS, batch=7):
        assert result.comparison.difference is None


STREAMS = st.sampled_from(
    [
        "appeal/JT-2026-00000001",
        "appeal/JT-2026-00000001-1",
        f"appeal/IM-{'a' * 22}",
        "appeal/x",
        "appeal/x/y",
    ]
)
EDGES = st.sampled_from(
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime.fromisoformat("0001-01-01T00:00:00+05:00"),
        datetime.fromisoformat("9999-12-31T23:59:59.999999-05:00"),
        BEGAN + timedelta(microseconds=7),
    ]
)


@functools.cache
def about_appeals(type_):
    """Any facts of a type, now and then with a moment from the edge of the calendar."""
    kind = events.catalogue[type_]
    moments = [name for name in kind.__struct_fields__ if name in INSTANTS]

    def at_the_edge(facts, moment):
        return type(facts)(**{n: getattr(facts, n) for n in facts.__struct_fields__} | {moments[0]: moment})

    found = facts_of(kind)
    return st.one_of(found, st.builds(at_the_edge, found, EDGES)) if moments else found


INSTANTS = ("due", "until", "at", "fix_until", "forward_until", "happened", "answer_until", "decide_until")
TYPES = [*sorted(name for name in events.catalogue if name.startswith("appeal.")), "disclosure.read"]
BEGINNINGS = ["appeal.submitted", "appeal.split_off", "appeal.imported"]


def with_bodies(facts, body, number, of):
    """The same facts about few bodies and few numbers, so that they meet."""
    said = {name: getattr(facts, name) for name in facts.__struct_fields__}
    small = {"body": body, "to": body, "number": number, "assignment": number}
    told = {"of": of if isinstance(facts, events.DisclosureRead) else number}
    return type(facts)(**said | {n: v for n, v in (small | told).items() if n in said})


HAPPENINGS = st.tuples(
    STREAMS,
    st.builds(
        with_bodies,
        st.one_of(st.sampled_from(BEGINNINGS), st.sampled_from(TYPES)).flatmap(about_appeals),
        st.sampled_from([WATER, ROADS, LIGHT]),
        st.integers(1, 2),
        STREAMS,
    ),
    st.sampled_from([0, 1, 1_772_424_000, 4_102_444_800, 8_589_934_591]),
)


@settings(SLOW, max_examples=15)
@given(history=st.lists(HAPPENINGS, max_size=30), pieces=st.integers(1, 9), batch=st.integers(1, 9))
def test_any_history_at_all_is_folded_and_does_not_depend_on_batches(ledger, history, pieces, batch):
    ledger.clear()
    runner = Runner(ledger.url, FOLDS, batch=batch)
    for index, (stream, facts, iat) in enumerate(history):
        if isinstance(facts, events.DisclosureRead):
            stream = f"reading/{stream}/1"
        at = datetime.fromtimestamp(iat, UTC)
        # A stream's numbers are given once each; here they are the positions, which leaves gaps.
        write(ledger, stream, facts, n=index + 1, at=at)
        if index % pieces == 0:
            runner.catch_up()
    runner.catch_up()
    in_batches = digests(ledger)
    assert fold_anew(ledger) == in_batches
    for result in verify(ledger.url, FOLDS, batch=4):
        assert result.comparison.difference is None
