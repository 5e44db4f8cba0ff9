"""Whatever the log holds, in whatever batches: the same rows, and numbers that add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import events
from ledger.store.database import connect
from projections import ALL
from projections.digest import digest
from projections.rebuild import verify
from projections.runner import Runner
from tests.projections.written import (
    KEY,
    MINISTRY,
    START,
    VOIDED,
    WITHDRAWN,
    admitted,
    person,
    petition,
    published,
    signed,
    submitted,
)

UNTIL = START + timedelta(days=1)
EDGES = st.sampled_from(
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime.fromisoformat("0001-01-01T00:00:00+05:00"),
        datetime.fromisoformat("9999-12-31T23:59:59.999999-05:00"),
        UNTIL + timedelta(microseconds=7),
    ]
)
NAMES = events.Names("Қала \\N", "Город", None)

ABOUT_PETITIONS = st.one_of(
    EDGES.map(submitted),
    st.builds(admitted, st.sampled_from([0, 1, 2, events.MAX_INTEGER])),
    st.builds(published, st.sampled_from([1, 2, 3, events.MAX_INTEGER])),
    st.sampled_from(
        [
            events.PetitionRejected(ground="unclear"),
            events.PetitionLapsed(count=1, as_of=3),
            events.PetitionSupported(required=2, reached_at=events.MAX_INTEGER),
            events.PetitionNotSupported(count=1, required=2, as_of=3),
            events.PetitionWithdrawn(algorithm="RSA-SHA256"),
            events.PetitionRouted(body=MINISTRY),
            events.PetitionRegistered(number="ЖТ-2026№1", consider_until=UNTIL),
            events.PetitionWorkingGroupFormed(members=3, author_invited=True),
            events.PetitionDraftPublished(outcome="refused", discuss_until=UNTIL),
            events.PetitionDecided(outcome="satisfied"),
            events.PetitionOverdue(step="moderation", due=UNTIL),
        ]
    ),
)
ABOUT_SIGNATURES = st.one_of(
    st.sampled_from([None, None, "75", "71"]).map(signed), st.sampled_from([WITHDRAWN, VOIDED])
)
ABOUT_ORGANISATIONS = st.sampled_from(
    [
        events.OrganisationRegistered(kind="central", level="republic", names=NAMES),
        events.OrganisationRegistered(
            kind="operator", level="republic", names=NAMES, root_key=KEY.public_key
        ),
        events.OrganisationPopulationRecorded(population=events.MAX_INTEGER, counted_on=UNTIL.date()),
        events.OrganisationKeyRegistered(key=KEY.public_key, roles=("body", "moderator"), custody="own"),
        events.OrganisationKeyRevoked(kid=KEY.kid, reason="retired"),
    ]
)


@dataclass(frozen=True)
class Written:
    stream: str
    facts: events.Fact
    seconds: int


def happening(streams, facts):
    return st.builds(Written, streams, facts, st.sampled_from([0, 1, 3599, 3600, 90_000]))


SIGNATURE_STREAMS = st.builds(
    lambda p, who: f"signature/{petition(p)}/{person(who)}", st.integers(0, 1), st.integers(0, 2)
)
HISTORIES = st.lists(
    st.one_of(
        happening(SIGNATURE_STREAMS, ABOUT_SIGNATURES),
        happening(SIGNATURE_STREAMS, ABOUT_SIGNATURES),
        happening(st.integers(0, 1).map(lambda p: f"petition/{petition(p)}"), ABOUT_PETITIONS),
        happening(st.sampled_from([MINISTRY, "organisation/other"]), ABOUT_ORGANISATIONS),
        happening(st.sampled_from(["petition/no-uuid", f"petition/{petition(1)}/more"]), ABOUT_PETITIONS),
        happening(
            st.sampled_from(["signature/x", f"signature/{petition(1)}/x", f"signature/{'a' * 80}"]),
            ABOUT_SIGNATURES,
        ),
    ),
    max_size=40,
)


def fold(ledger, history, *, pieces, batch, numbers=None):
    """Write the history piece by piece and fold after each; returns the digests."""
    ledger.clear()
    runner = Runner(ledger.url, batch=batch)
    for index, written in enumerate(history):
        at = START + timedelta(seconds=written.seconds)
        n = numbers[index] if numbers else None
        ledger.add(written.stream, written.facts, at=at, n=n)
        if index % pieces == 0:
            runner.catch_up()
    runner.catch_up()
    return digests(ledger)


def digests(ledger):
    with connect(ledger.url, application_name="tests", autocommit=True) as connection:
        return {projection.name: digest(connection, projection) for projection in ALL}


def recount(history):
    """The plainest count there is: who has signed and not been removed."""
    counted = {}
    for written in history:
        _, id_, who = [*written.stream.split("/"), "", ""][:3]
        if written.facts.room == "signature" and len(id_) == 36 and len(who) == 43:
            if isinstance(written.facts, events.PetitionSigned):
                counted.setdefault((id_, who), written.facts.region or "unknown")
            else:
                counted.pop((id_, who), None)
    return Counter(id_ for id_, _ in counted), Counter((id_, r) for (id_, _), r in counted.items())


def assert_numbers_add_up(ledger):
    rows = ledger.execute(
        """
        SELECT id, count, signed, withdrawn, voided,
               (SELECT coalesce(sum(signed - withdrawn - voided), 0) FROM projections.petition_regions
                WHERE petition = id),
               (SELECT coalesce(sum(signed - withdrawn - voided), 0) FROM projections.petition_hours
                WHERE petition = id),
               (SELECT count(*) FROM projections.signatures WHERE petition = id),
               (SELECT count(*) FROM projections.removals WHERE petition = id AND kind = 'withdrawn'),
               (SELECT count(*) FROM projections.removals WHERE petition = id AND kind = 'voided')
        FROM projections.petitions
        """
    )
    for _, count, signed_, withdrawn, voided, regions, hours, listed, removed, struck in rows:
        assert count == regions == hours == signed_ - withdrawn - voided
        assert (signed_, withdrawn, voided) == (listed, removed, struck)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORIES, pieces=st.integers(1, 9), batch=st.integers(1, 9))
def test_any_history_in_any_batches_gives_the_recounted_numbers(ledger, history, pieces, batch):
    in_batches = fold(ledger, history, pieces=pieces, batch=batch)
    assert_numbers_add_up(ledger)
    totals, regions = recount(history)
    for id_, count in ledger.execute("SELECT id::text, count FROM projections.petitions"):
        assert count == totals[id_]
    query = "SELECT petition::text, region, signed - withdrawn - voided FROM projections.petition_regions"
    for id_, region, count in ledger.execute(query):
        assert count == regions[id_, region]
    assert ledger.execute("SELECT count(*) FROM projections.trails") == [(len(history),)]
    # The same at once.
    ledger.execute("DELETE FROM projections.positions")
    for projection in ALL:
        for table in projection.tables:
            ledger.execute(f"TRUNCATE projections.{table.name}")
    Runner(ledger.url).catch_up()
    assert digests(ledger) == in_batches


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORIES, batch=st.integers(1, 9), order=st.randoms(use_true_random=False))
def test_even_an_unlawful_numbering_gives_the_same_rows_when_it_is_rebuilt(ledger, history, batch, order):
    numbers = list(range(1, len(history) + 1))
    order.shuffle(numbers)
    live = fold(ledger, history, pieces=3, batch=batch, numbers=numbers)
    assert_numbers_add_up(ledger)
    for result in verify(ledger.url, ALL, batch=4):
        assert result.comparison is not None
        assert result.comparison.difference is None
        assert result.comparison.rebuilt == live[result.name].sha256
