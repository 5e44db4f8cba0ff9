"""The runner folds everything, once, and stops rather than skip."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import psycopg
import pytest

from ledger.encoding import b64url
from ledger.store.database import connect
from projections import ALL, positions
from projections.petitions import Petitions
from projections.runner import Runner, StandstillError
from projections.signatures import Signatures
from projections.trails import Trails
from tests.projections.written import START, petition

HEADER = b64url(b'{"alg":"Ed25519","typ":"aiqyn-event+sd-jwt","kid":"' + b"k" * 43 + b'"}')


def status(ledger, projections=ALL):
    with connect(ledger.url, application_name="tests") as connection:
        return {s.name: s for s in positions.status(connection, projections)}


def count_rows(ledger):
    return [
        ledger.execute(f"SELECT count(*) FROM projections.{table.name}")
        for projection in ALL
        for table in projection.tables
    ]


@contextmanager
def running(runner, *, wake=None):
    stop = threading.Event()
    thread = threading.Thread(target=runner.run, args=[stop], daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        if wake is not None:
            wake.execute("NOTIFY ledger")
        thread.join(10)
        assert not thread.is_alive()


def wait_for(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_catching_up_folds_to_the_head_and_says_how_much(ledger):
    ledger.collecting(petition(1))
    for who in range(10):
        ledger.sign(petition(1), who)
    runner = Runner(ledger.url, batch=4)
    assert runner.catch_up() == 13
    assert runner.catch_up() == 0
    assert {s.position for s in status(ledger).values()} == {12}
    assert {s.lag for s in status(ledger).values()} == {0}


def test_an_empty_ledger_is_folded_to_nothing(ledger):
    assert Runner(ledger.url).catch_up() == 0
    assert {s.position for s in status(ledger).values()} == {-1}


def test_a_running_runner_follows_even_if_nobody_notifies_it(ledger):
    with running(Runner(ledger.url)):
        ledger.collecting(petition(1))
        wait_for(lambda: status(ledger)["petitions"].position == ledger.head)
        ledger.sign(petition(1), 1)
        wait_for(lambda: status(ledger)["petitions"].position == ledger.head)


def test_a_notification_wakes_it_and_listeners_learn_the_new_position(ledger):
    ledger.sign(petition(1), 1)
    with connect(ledger.url, application_name="tests", autocommit=True) as listener:
        listener.execute(f"LISTEN {positions.CHANNEL}")
        with running(Runner(ledger.url, poll=60), wake=ledger):
            heard = [n.payload for n in listener.notifies(timeout=5, stop_after=1)]
            time.sleep(0.2)  # it has found nothing more, and would look again in a minute
            ledger.sign(petition(1), 2)
            ledger.execute("NOTIFY ledger")
            heard += [n.payload for n in listener.notifies(timeout=5, stop_after=1)]
    assert heard == ["0", "1"]


def test_several_runners_take_turns_and_fold_everything_once(ledger):
    ledger.collecting(petition(1))
    with running(Runner(ledger.url, batch=3)), running(Runner(ledger.url, batch=5)):
        for who in range(60):
            ledger.sign(petition(1), who)
        wait_for(lambda: status(ledger)["trails"].position == ledger.head)
    assert ledger.execute("SELECT count FROM projections.petitions") == [(60,)]
    assert ledger.execute("SELECT count(*) FROM projections.trails") == [(63,)]


def test_a_crash_in_the_middle_of_a_batch_leaves_position_and_rows_as_they_were(ledger):
    class Failing(Signatures):
        def project(self, cursor, batch):
            super().project(cursor, batch)
            raise psycopg.OperationalError("the server went away")

    ledger.collecting(petition(1))
    Runner(ledger.url).catch_up()
    before = count_rows(ledger)
    ledger.sign(petition(1), 1)
    with pytest.raises(psycopg.OperationalError):
        Runner(ledger.url, (Petitions(), Failing(), Trails())).catch_up()
    assert {s.position for s in status(ledger).values()} == {ledger.head - 1}
    assert count_rows(ledger) == before
    Runner(ledger.url).catch_up()
    assert {s.position for s in status(ledger).values()} == {ledger.head}


def test_a_fault_in_one_projection_does_not_hold_up_the_others(ledger):
    class Faulty(Signatures):
        def project(self, cursor, batch):
            raise KeyError("a fault")

    ledger.sign(petition(1), 1)
    with pytest.raises(
        StandstillError, match="signatures stands still: KeyError while folding entries 0 to 0"
    ):
        Runner(ledger.url, (Petitions(), Faulty(), Trails())).catch_up()
    found = status(ledger)
    assert (found["petitions"].position, found["trails"].position) == (0, 0)
    assert (found["signatures"].position, found["signatures"].error_position) == (-1, 0)
    Runner(ledger.url).catch_up()
    assert status(ledger)["signatures"].error is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ('"type":"petition.sung","v":1,"data":{}', "No event 'petition.sung' of version 1 is known here"),
        ('"type":"petition.signed","v":2,"data":{}', "No event 'petition.signed' of version 2 is known here"),
        ('"type":"petition.lapsed","v":1,"data":{"count":1}', "is not as the catalogue says"),
        ('"type":"petition.lapsed","v":1', "It is not an event"),
    ],
)
def test_what_it_does_not_know_stops_it_and_is_never_skipped(ledger, payload, reason):
    ledger.collecting(petition(1))
    stream = f"petition/{petition(1)}"
    iat = int(START.timestamp())
    body = f'{{"iss":"organisation/operator","iat":{iat},"jti":"x","stream":"{stream}","n":4,{payload}}}'
    entry = f"{HEADER}.{b64url(body.encode())}.{'A' * 86}~".encode()
    bad = ledger.add_entry(entry, stream, 4, "petition.sung")
    ledger.sign(petition(1), 1)
    with pytest.raises(StandstillError, match=f"Entry {bad}: ") as caught:
        Runner(ledger.url).catch_up()
    assert reason in str(caught.value)
    for found in status(ledger).values():
        assert (found.position, found.error_position, found.lag) == (bad - 1, bad, 2)
        assert reason in found.error


def test_bytes_that_are_no_event_stop_it_too(ledger):
    bad = ledger.add_entry(b"not an event", "petition/x", 1, "petition.signed")
    with pytest.raises(StandstillError, match=f"Entry {bad}: It is not an event"):
        Runner(ledger.url).catch_up()


def test_a_hole_in_the_ledger_stops_it(ledger):
    ledger.collecting(petition(1))
    ledger.execute("ALTER TABLE ledger.entries DISABLE TRIGGER append_only")
    ledger.execute("DELETE FROM ledger.disclosures")
    ledger.execute("DELETE FROM ledger.entries WHERE position = 1")
    with pytest.raises(StandstillError, match="Of the entries 0 to 2 the ledger holds only 2"):
        Runner(ledger.url).catch_up()


def test_a_ledger_shorter_than_what_was_folded_stops_it(ledger):
    ledger.collecting(petition(1))
    Runner(ledger.url).catch_up()
    ledger.execute("ALTER TABLE ledger.entries DISABLE TRIGGER append_only")
    ledger.execute("DELETE FROM ledger.entries WHERE position = 2")
    with pytest.raises(StandstillError, match="Entry 2 was folded and is not in the ledger any more"):
        Runner(ledger.url).catch_up()


def test_tables_of_another_version_wait_for_a_rebuild(ledger):
    class Newer(Signatures):
        version = 2

    ledger.sign(petition(1), 1)
    Runner(ledger.url).catch_up()
    ledger.sign(petition(1), 2)
    with pytest.raises(StandstillError, match="run aiqyn projections rebuild signatures"):
        Runner(ledger.url, (Petitions(), Newer())).catch_up()
    found = status(ledger)
    assert (found["petitions"].position, found["signatures"].position) == (1, 0)


def test_a_runner_outlives_a_lost_connection(ledger):
    with running(Runner(ledger.url)):
        ledger.sign(petition(1), 1)
        wait_for(lambda: status(ledger)["trails"].position == 0)
        ledger.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'aiqyn projections' AND datname = current_database()"
        )
        ledger.sign(petition(1), 2)
        wait_for(lambda: status(ledger)["trails"].position == 1)
