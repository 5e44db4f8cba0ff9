"""Our recorder passes the library's own test cases, on a real PostgreSQL."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from eventsourcing.tests.persistence import (
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)

from ledger.store.append import StreamConflictError
from ledger.store.recorder import LedgerRecorder, open_datastore
from ledger.store.sequencer import Sequencer
from ledger.tlog.note import SignerKey
from tests.ledger.store.check import check_log
from tests.ledger.store.running import running

LOG_KEY = SignerKey.generate("test.example/log")


@pytest.fixture
def recorder(database, request):
    sequencer = Sequencer(database.url, "test.example/log", LOG_KEY)
    datastore = open_datastore(database.url)
    with running(sequencer), datastore:
        recorder = LedgerRecorder(datastore, sequencer)
        if request.instance is not None:
            request.instance.recorder = recorder
        yield recorder
        check_log(database.admin_url, LOG_KEY.verifier)


@pytest.mark.usefixtures("recorder")
class TestRecorderOfTheLibrary(ApplicationRecorderTestCase[LedgerRecorder]):
    def new_originator_id(self):
        return str(uuid4())

    def create_recorder(self):
        return self.recorder

    def test_insert_subscribe(self):
        self.optional_test_insert_subscribe()


@pytest.mark.usefixtures("recorder")
class TestNotificationIdsDoNotInterleave(NonInterleavingNotificationIDsBaseCase):
    insert_num = 1000

    def new_originator_id(self):
        return str(uuid4())

    def create_recorder(self):
        return self.recorder


def event(stream, n, state=b"state"):
    return StoredEvent(stream, n, "test.happened", state)


def test_positions_have_no_gaps_after_conflicts(recorder):
    assert recorder.insert_events([event("a/1", 1)]) == [1]
    for _ in range(5):
        with pytest.raises(StreamConflictError):
            recorder.insert_events([event("b/1", 1), event("a/1", 1)])
    assert recorder.insert_events([event("b/1", 1)]) == [2]


def test_a_version_cannot_be_skipped(recorder):
    recorder.insert_events([event("a/1", 1)])
    with pytest.raises(StreamConflictError, match="1 events, not 2"):
        recorder.insert_events([event("a/1", 3)])


def test_an_event_that_the_database_refuses_takes_no_neighbour_with_it(recorder):
    sequencer = recorder._sequencer
    from ledger.store.append import Append

    bad = sequencer.append_from_thread(Append([event("x" * 300, 1)]))
    good = [sequencer.append_from_thread(Append([event(f"good/{i}", 1)])) for i in range(5)]
    with pytest.raises(Exception, match="refused"):
        bad.result(30)
    assert sorted(future.result(30).position for future in good) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger.entries SET entry = 'x'",
        "DELETE FROM ledger.entries",
        "TRUNCATE ledger.entries CASCADE",
        "DELETE FROM ledger.nodes",
        "UPDATE ledger.checkpoints SET note = 'x'",
        "UPDATE ledger.vault SET sealed = 'x'",
        "DELETE FROM ledger.disclosures",
    ],
)
def test_the_service_role_cannot_change_what_was_written(recorder, database, statement):
    recorder.insert_events([event("a/1", 1)])
    with psycopg.connect(database.url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


@pytest.mark.parametrize("statement", ["UPDATE ledger.entries SET entry = 'x'", "DELETE FROM ledger.entries"])
def test_even_the_owner_is_stopped_by_the_trigger(recorder, database, statement):
    recorder.insert_events([event("a/1", 1)])
    with psycopg.connect(database.admin_url) as connection, pytest.raises(psycopg.errors.RestrictViolation):
        connection.execute(statement)
