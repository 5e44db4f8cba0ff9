"""One append transaction: who lost a race is told so one by one, the rest goes on."""

from __future__ import annotations

import asyncio
import time

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent

from ledger.store.append import (
    Append,
    Appended,
    ClockSkewError,
    CommandId,
    CommandReusedError,
    LogRolledBackError,
    Quiet,
    SealedEvent,
    StreamConflictError,
)
from ledger.store.database import connect_async
from ledger.store.transaction import AppendTransaction
from ledger.tlog.checkpoint import open_checkpoint
from ledger.tlog.note import SignerKey
from tests.ledger.store.check import check_log

KEY = SignerKey.generate("test.example/log")
NOW = 1_772_424_000


def event(stream, n=1, state=b"state"):
    return StoredEvent(stream, n, "test.happened", state)


def sealed(stream, n=1, iat=NOW, state=b"state", **more):
    return SealedEvent(stream, n, "test.happened", state, iat=iat, **more)


def command(key, request=b"r"):
    return CommandId("scope", key, request * 32)


@pytest.fixture
def run(database):
    """Run groups, one transaction each; the outcomes of the last one."""
    transaction = AppendTransaction(KEY.name, KEY, clock=lambda: NOW + 0.5, skew=120)

    def run(*groups):
        async def all_groups():
            connection = await connect_async(database.url, application_name="test", autocommit=True)
            async with connection:
                return [await transaction.run(connection, group) for group in groups][-1]

        return asyncio.run(all_groups())

    run.transaction = transaction
    yield run
    check_log(database.admin_url, KEY.verifier)


def kinds(outcomes):
    return [outcome.position if isinstance(outcome, Appended) else type(outcome) for outcome in outcomes]


def rows(database, query):
    with psycopg.connect(database.admin_url) as connection:
        return connection.execute(query).fetchall()


def test_positions_follow_the_order_of_the_requests(run):
    first = run([Append([event("a/1")]), Append([event("b/1"), event("b/1", 2), event("c/1")])])
    assert [(o.position, o.count, o.size) for o in first] == [(0, 1, 4), (1, 3, 4)]
    assert kinds(run([Append([event("a/1", 2)])])) == [4]


def test_every_event_of_a_group_is_proved_in_the_groups_checkpoint(run):
    outcomes = run([Append([event("a/1")])], [Append([event(f"b/{i}"), event(f"c/{i}")]) for i in range(9)])
    for outcome in outcomes:
        assert open_checkpoint(outcome.checkpoint, KEY.verifier).checkpoint.size == outcome.size == 19
        for offset in range(2):
            assert outcome.proof(offset).index == outcome.position + offset


def test_within_a_group_the_first_of_two_rivals_wins(run):
    outcomes = run(
        [
            Append([event("a/1", state=b"first")]),
            Append([event("a/1", state=b"second")]),
            Append([event("a/1", 2)]),
            Append([event("b/1"), event("a/1", 2)]),
            Append([event("b/1")]),
        ]
    )
    assert kinds(outcomes) == [0, StreamConflictError, 1, StreamConflictError, 2]
    assert outcomes[1].details == {"stream": "a/1", "expected": 0, "actual": 1}


def test_a_request_is_appended_whole_or_not_at_all(run, database):
    outcomes = run([Append([event("a/1")])], [Append([event("b/1"), event("a/1")]), Append([event("c/1")])])
    assert kinds(outcomes) == [StreamConflictError, 1]
    assert rows(database, "SELECT stream FROM ledger.entries ORDER BY position") == [("a/1",), ("c/1",)]


def test_a_guard_holds_the_version_of_a_stream_that_gets_no_event(run):
    run([Append([event("a/1")])])
    outcomes = run(
        [
            Append([event("b/1")], guards={"a/1": 1}),
            Append([event("b/2")], guards={"a/1": 0}),
            Append([event("b/3")], guards={"a/1": 2}),
            Append([event("b/4")], guards={"never/1": 0}),
            Append([event("b/5")], guards={"never/1": 1}),
            Append([event("a/1", 2)]),
            Append([event("b/6")], guards={"a/1": 1}),  # it moved within this very group
            Append([event("b/7")], guards={"a/1": 2}),
        ]
    )
    lost = StreamConflictError
    assert kinds(outcomes) == [1, lost, lost, 2, lost, 3, lost, 4]
    assert outcomes[1].details["stream"] == "a/1"


def test_quiet_fails_when_something_happened_under_the_prefix(run):
    run([Append([event("signature/p/1"), event("signature/q/1")])])
    outcomes = run(
        [
            Append([event("x/1")], quiet=Quiet("signature/p/", 0)),
            Append([event("x/2")], quiet=Quiet("signature/p/", -1)),
            Append([event("x/3")], quiet=Quiet("signature/q/", 0)),
            Append([event("x/4")], quiet=Quiet("signature/", 1)),
            Append([event("signature/p/2")]),  # in this very group
            Append([event("x/5")], quiet=Quiet("signature/p/", 1)),
            Append([event("x/6")], quiet=Quiet("signature/q/", 1)),
        ]
    )
    lost = StreamConflictError
    assert kinds(outcomes) == [2, lost, lost, 3, 4, lost, 5]


def test_a_repeated_command_finds_what_it_brought_about(run, database):
    run([Append([event("z/1")])], [Append([event("a/1"), event("b/1")], command=command("k"))])
    outcomes = run(
        [
            Append([event("a/1"), event("b/1")], command=command("k")),
            Append([event("elsewhere/1")], command=command("k")),
            Append([event("c/1")], command=command("k", b"x")),
            Append([event("d/1")], command=CommandId("another scope", "k", b"r" * 32)),
        ]
    )
    assert kinds(outcomes) == [1, 1, CommandReusedError, 3]
    assert [(o.repeated, o.count, o.proof()) for o in outcomes[:2]] == [(True, 2, None)] * 2
    assert rows(database, "SELECT count(*) FROM ledger.entries") == [(4,)]


def test_two_requests_with_one_key_in_one_group_bring_about_one_event(run, database):
    outcomes = run(
        [
            Append([event("a/1")], command=command("k")),
            Append([event("b/1")], command=command("k")),
            Append([event("c/1")], command=command("k", b"x")),
        ]
    )
    assert kinds(outcomes) == [0, 0, CommandReusedError]
    assert [outcome.repeated for outcome in outcomes[:2]] == [False, True]
    assert rows(database, "SELECT position, events FROM ledger.commands") == [(0, 1)]


def test_a_key_whose_request_was_refused_can_be_used_again(run):
    run([Append([event("a/1")])])
    assert kinds(run([Append([event("a/1")], command=command("k"))])) == [StreamConflictError]
    assert kinds(run([Append([event("a/1", 2)], command=command("k", b"x"))])) == [1]


@pytest.mark.parametrize(("iat", "accepted"), [(-120, False), (-119, True), (120, True), (121, False)])
def test_an_event_is_dated_two_minutes_from_now_at_most(run, iat, accepted):
    outcomes = run([Append([sealed("a/1", iat=NOW + iat)]), Append([sealed("b/1")])])
    assert kinds(outcomes) == ([0, 1] if accepted else [ClockSkewError, 0])
    if not accepted:
        assert outcomes[0].details == {"iat": NOW + iat, "now": NOW}


def test_a_stream_of_the_ledger_begins_with_1(run):
    outcomes = run([Append([sealed("a/1", 5)]), Append([sealed("b/1", 0)]), Append([sealed("c/1")])])
    assert kinds(outcomes) == [StreamConflictError, StreamConflictError, 0]


@pytest.mark.parametrize("uncertain", [True, False])
def test_only_after_an_uncertain_commit_the_same_bytes_are_the_same_event(run, uncertain):
    same = [event("a/1", state=b"mine"), event("b/1", state=b"mine too")]
    run([Append([event("z/1")])], [Append(same)])
    other = [event("a/1", state=b"another's"), same[1]]
    outcomes = run([Append(same, uncertain=uncertain), Append(other, uncertain=uncertain)])
    assert kinds(outcomes) == [1 if uncertain else StreamConflictError, StreamConflictError]


def test_a_group_in_which_all_lost_changes_nothing(run, database):
    run([Append([event("a/1")])])
    head = rows(database, "SELECT size, frontier, xmin FROM ledger.head")
    assert kinds(run([Append([event("a/1")]), Append([event("a/1", 3)])])) == [StreamConflictError] * 2
    assert rows(database, "SELECT size, frontier, xmin FROM ledger.head") == head
    assert rows(database, "SELECT size FROM ledger.checkpoints") == [(1,)]


def test_each_group_is_notified_once(run, database):
    with psycopg.connect(database.admin_url, autocommit=True) as listener:
        listener.execute("LISTEN ledger")
        run([Append([event(f"a/{i}")]) for i in range(20)], [Append([event("a/1")])])
        assert len(list(listener.notifies(timeout=0.3))) == 1


def test_a_database_that_went_back_is_not_signed_on(run, database):
    run([Append([event("a/1")])])
    with psycopg.connect(database.admin_url) as connection:
        head = connection.execute("SELECT size, frontier FROM ledger.head").fetchone()
    run([Append([event("b/1")])])
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("SET session_replication_role = replica")  # no triggers: a restored backup
        admin.execute("DELETE FROM ledger.entries WHERE position = 1")
        admin.execute("DELETE FROM ledger.checkpoints WHERE size = 2")
        admin.execute("UPDATE ledger.head SET size = %s, frontier = %s", head)
    with pytest.raises(LogRolledBackError, match=r"behind 2 entries.* it holds 1") as error:
        run([Append([event("c/1")])])
    assert error.value.details == {"size": 1, "signed": 2}


def test_time_passes_between_the_groups_of_two_processes(run, database):
    """Another process appended in between: what this one finds is newer, never older."""
    run([Append([event("a/1")])])
    other = AppendTransaction(KEY.name, KEY, clock=time.time, skew=120)

    async def elsewhere():
        connection = await connect_async(database.url, application_name="test", autocommit=True)
        async with connection:
            return await other.run(connection, [Append([event("b/1")])])

    assert kinds(asyncio.run(elsewhere())) == [1]
    assert kinds(run([Append([event("c/1")])])) == [2]
