"""Group commit, and everything that can break under it: acknowledged is recorded, once, whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from contextlib import asynccontextmanager
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from ledger.errors import AiqynError
from ledger.store import sequencer as sequencer_module
from ledger.store.append import (
    Append,
    CommandId,
    CommandReusedError,
    LogRolledBackError,
    SealedEvent,
    StoreUnavailableError,
    StreamConflictError,
)
from ledger.store.database import SERVICE_ROLE, with_database
from ledger.store.embedded import start
from ledger.store.high_water import HighWater
from ledger.store.migrate import migrate
from ledger.store.sequencer import Sequencer
from ledger.tlog.merkle import GrowingTree, leaf_hash
from ledger.tlog.note import SignerKey
from tests.conftest import fresh
from tests.ledger.store.check import check_log
from tests.ledger.store.proxy import proxy

KEY = SignerKey.generate("test.example/log")


def event(stream, n=1, state=b"state"):
    return StoredEvent(stream, n, "test.happened", state)


@asynccontextmanager
async def started(url, **options):
    sequencer = Sequencer(url, KEY.name, KEY, **options)
    await sequencer.start()
    try:
        yield sequencer
    finally:
        await sequencer.close()


def entries(database):
    with psycopg.connect(database.admin_url) as connection:
        return connection.execute("SELECT stream, n, entry FROM ledger.entries ORDER BY position").fetchall()


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


async def all_of(*waiting):
    return await asyncio.gather(*waiting, return_exceptions=True)


def quick(monkeypatch, *pauses):
    """Give up sooner than a service would."""
    monkeypatch.setattr(sequencer_module, "_RETRY_PAUSES", pauses)


# --- groups ----------------------------------------------------------------------------------


def test_what_arrives_at_once_is_appended_in_one_transaction(database):
    async def story():
        async with started(database.url) as sequencer:
            done = await asyncio.gather(*(sequencer.append(Append([event(f"a/{i}")])) for i in range(50)))
            assert sorted(appended.position for appended in done) == list(range(50))
            assert (sequencer.groups, sequencer.events) == (1, 50)

    asyncio.run(story())
    assert check_log(database.admin_url, KEY.verifier) == 50


def test_a_group_has_no_more_events_than_allowed_and_a_larger_request_goes_alone(database):
    sizes = [3, 3, 3, 10, 30, 1, 1]

    async def story():
        async with started(database.url, group_max=10) as sequencer:
            requests = [
                Append([event(f"s/{number}", n) for n in range(1, size + 1)])
                for number, size in enumerate(sizes)
            ]
            return await asyncio.gather(*(sequencer.append(request) for request in requests))

    done = asyncio.run(story())
    assert [appended.count for appended in done] == sizes
    assert [appended.size for appended in done] == [9, 9, 9, 19, 49, 51, 51]
    check_log(database.admin_url, KEY.verifier)


def test_nothing_is_not_appended(database):
    async def story():
        async with started(database.url) as sequencer:
            with pytest.raises(ValueError, match="nothing to append"):
                await sequencer.append(Append([]))

    asyncio.run(story())


@pytest.mark.parametrize(
    "bad",
    [
        event("x" * 300),
        event("x/\x00"),
        event("x/1", state=b"s" * 65_536),
        SealedEvent("x/1", 1, "", b"s"),
        StoredEvent("x/1", 2**70, "t", b"s"),
        StoredEvent("x/1", 1, "t", None),
    ],
    ids=["long name", "zero", "too large", "no type", "huge version", "no bytes"],
)
def test_one_bad_event_does_not_harm_its_neighbours(database, bad):
    async def story():
        async with started(database.url) as sequencer:
            good = [sequencer.append(Append([event(f"good/{i}")])) for i in range(4)]
            outcomes = await all_of(*good[:2], sequencer.append(Append([bad])), *good[2:])
            assert isinstance(outcomes.pop(2), Exception)
            assert sorted(outcome.position for outcome in outcomes) == [0, 1, 2, 3]
            assert (await sequencer.append(Append([event("later/1")]))).position == 4

    asyncio.run(story())
    assert check_log(database.admin_url, KEY.verifier) == 5


def test_a_caller_that_went_away_does_not_hold_up_the_others(database):
    async def story():
        async with started(database.url) as sequencer:
            gone = asyncio.create_task(sequencer.append(Append([event("gone/1")])))
            await asyncio.sleep(0)
            gone.cancel()
            await sequencer.append(Append([event("a/1")]))

    asyncio.run(story())
    check_log(database.admin_url, KEY.verifier)
    assert [stream for stream, _, _ in entries(database)].count("a/1") == 1


# --- stopping --------------------------------------------------------------------------------


def test_a_stop_answers_everybody_who_waits(database):
    async def story():
        async with started(database.url, group_max=5) as sequencer:
            waiting = [asyncio.create_task(sequencer.append(Append([event(f"a/{i}")]))) for i in range(200)]
            await until(lambda: sequencer.groups)
            await sequencer.close()
            outcomes = await asyncio.wait_for(all_of(*waiting), 5)
            with pytest.raises(StoreUnavailableError, match="stopping"):
                await asyncio.wait_for(sequencer.append(Append([event("late/1")])), 5)
            return [o for o in outcomes if not isinstance(o, Exception)], outcomes

    done, outcomes = asyncio.run(story())
    assert {type(o) for o in outcomes if isinstance(o, Exception)} <= {StoreUnavailableError}
    assert 0 < len(done) == check_log(database.admin_url, KEY.verifier)


# --- a line that is cut at each durable step -------------------------------------------------

CUTS = {
    "before anything": {"seen": b"BEGIN"},
    "after the lock is asked for": {"seen": b"FOR UPDATE", "keep": True},
    "before the entries": {"seen": b"PGCOPY\n"},
    "in the middle of the entries": {"seen": b"middle of it"},
    "before the head moves": {"seen": b"UPDATE ledger.head"},
    "right before the commit": {"seen": b"COMMIT\x00"},
    "right after the commit was sent": {"seen": b"COMMIT\x00", "keep": True},
    "after the commit, before its answer": {"seen": b"COMMIT\x00", "answered": True},
}


@pytest.mark.parametrize("where", CUTS)
def test_a_cut_line_neither_loses_nor_doubles_an_event(database, where):
    command = CommandId("scope", "key", b"r" * 32)
    names = ["a/1", "b/1", "c/1"]

    async def story(url, line):
        async with started(url) as sequencer:
            line.cut(**CUTS[where])
            outcomes = await asyncio.wait_for(
                all_of(
                    sequencer.append(Append([event("a/1")])),
                    sequencer.append(Append([event("b/1", state=b"in the middle of it")], command=command)),
                    sequencer.append(Append([event("a/1", state=b"a rival's")])),
                    sequencer.append(Append([event("c/1")])),
                ),
                30,
            )
            assert line.cuts == 1
            assert isinstance(outcomes.pop(2), StreamConflictError)
            repeated = await sequencer.append(Append([event("b/1")], command=command))
            assert repeated.position == outcomes[1].position
            return outcomes

    with proxy(database.url) as line:
        outcomes = asyncio.run(story(line.url, line))
    assert [outcome.position for outcome in outcomes] == [0, 1, 2]
    assert [stream for stream, _, _ in entries(database)] == names
    assert check_log(database.admin_url, KEY.verifier) == 3


@pytest.mark.parametrize("where", CUTS)
def test_who_is_told_that_the_database_is_gone_finds_out_later_what_was_recorded(
    database, where, monkeypatch
):
    quick(monkeypatch, 0.01)
    command = CommandId("scope", "key", b"r" * 32)
    state = b"in the middle of it"

    async def story(url, line):
        async with started(url) as sequencer:
            line.cut(**CUTS[where])
            told = asyncio.create_task(sequencer.append(Append([event("a/1", state=state)], command=command)))
            while not line.cuts:
                line.refusing = True
                if sequencer._connection is None:
                    line.refusing = False  # let the first connection through, then no other
                await asyncio.sleep(0.001)
            line.refusing = True
            with pytest.raises(StoreUnavailableError, match="Repeat the request"):
                await asyncio.wait_for(told, 30)
            recorded_at_most_once = len(entries(database))
            line.refusing = False
            again = await sequencer.append(Append([event("a/1", state=state)], command=command))
            assert again.position == 0
            assert again.repeated == (recorded_at_most_once == 1)

    with proxy(database.url) as line:
        asyncio.run(story(line.url, line))
    assert check_log(database.admin_url, KEY.verifier) == 1


def test_a_connection_that_is_ended_while_it_waits_for_the_lock_is_made_again(database):
    waiting = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'aiqyn sequencer' AND wait_event_type = 'Lock'"
    )

    async def story():
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            async with started(database.url) as sequencer:
                with psycopg.connect(database.admin_url) as holder:
                    holder.execute("SELECT * FROM ledger.head FOR UPDATE")
                    done = asyncio.create_task(sequencer.append(Append([event("a/1")])))
                    for _ in range(2):
                        await until(lambda: admin.execute(waiting).fetchall())
                        admin.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM ({waiting}) AS w")
                    assert not done.done()
                assert (await done).position == 0

    asyncio.run(story())
    assert check_log(database.admin_url, KEY.verifier) == 1


def test_a_database_that_only_reads_is_unavailable_and_is_found_again(database, monkeypatch):
    quick(monkeypatch, 0.01)

    async def story():
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            admin.execute(f"ALTER ROLE {SERVICE_ROLE} IN DATABASE {database.name} "
                          "SET default_transaction_read_only = on")  # fmt: skip
            async with started(database.url) as sequencer:
                with pytest.raises(StoreUnavailableError):
                    await sequencer.append(Append([event("a/1")]))
                admin.execute(f"ALTER ROLE {SERVICE_ROLE} IN DATABASE {database.name} RESET ALL")
                assert (await sequencer.append(Append([event("a/1")]))).position == 0

    asyncio.run(story())


def test_acknowledged_events_survive_a_crash_of_the_server_under_load(short_path):
    """The server is killed as by a power cut, comes back, and the same service goes on."""
    with start(short_path) as server:
        migrate(server.admin_url)
        url = server.url(SERVICE_ROLE, "postgres")
        acknowledged, unknown = set(), set()

        async def client(sequencer, number, stop):
            for turn in itertools.count():
                if stop.is_set():
                    return
                stream = f"s/{number}/{turn}"
                try:
                    await sequencer.append(Append([event(stream, state=stream.encode())]))
                    acknowledged.add(stream)
                except StoreUnavailableError:
                    unknown.add(stream)

        async def more():
            enough = len(acknowledged) + 200
            await until(lambda: len(acknowledged) >= enough)

        def crash_and_return():
            pid = int((server.home / "postgres" / "postmaster.pid").read_text().split("\n")[0])
            os.kill(pid, signal.SIGQUIT)  # immediate shutdown: no checkpoint, recovery at the next start
            while (server.home / "postgres" / "postmaster.pid").exists():
                time.sleep(0.02)
            start(short_path).close()

        async def story():
            stop = asyncio.Event()
            async with started(url) as sequencer:
                clients = [asyncio.create_task(client(sequencer, number, stop)) for number in range(20)]
                for _ in range(2):
                    await more()
                    await asyncio.to_thread(crash_and_return)
                await more()
                stop.set()
                await asyncio.gather(*clients)

        asyncio.run(asyncio.wait_for(story(), 120))
        size = check_log(server.admin_url, KEY.verifier)
        with psycopg.connect(server.admin_url) as connection:
            streams = [row[0] for row in connection.execute("SELECT stream FROM ledger.entries")]
        assert len(streams) == len(set(streams)) == size
        assert acknowledged <= set(streams) <= acknowledged | unknown


# --- fatal -----------------------------------------------------------------------------------


def restored(database, size):
    """Put the tables back to ``size`` entries, as a restored backup would."""
    tree = GrowingTree()
    tree.extend([leaf_hash(entry) for _, _, entry in entries(database)[:size]])
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("SET session_replication_role = replica")
        admin.execute("DELETE FROM ledger.entries WHERE position >= %s", (size,))
        admin.execute("DELETE FROM ledger.checkpoints WHERE size > %s", (size,))
        admin.execute("UPDATE ledger.head SET size = %s, frontier = %s", (size, tree.frontier().to_bytes()))


def checkpoints(database):
    with psycopg.connect(database.admin_url) as connection:
        return connection.execute("SELECT count(*) FROM ledger.checkpoints").fetchone()[0]


def test_a_database_that_goes_back_under_a_running_service_stops_all_signing(database):
    async def story():
        async with started(database.url, group_max=1) as sequencer:
            for i in range(3):
                await sequencer.append(Append([event(f"a/{i}")]))
            restored(database, 2)
            outcomes = await all_of(*(sequencer.append(Append([event(f"b/{i}")])) for i in range(5)))
            assert {type(outcome) for outcome in outcomes} == {LogRolledBackError}
            assert all(outcome is sequencer.fatal for outcome in outcomes)  # the database was asked once
            # Somebody else's writing past the old size must not bring this process back to life.
            async with started(database.url) as other:
                for i in range(5):
                    await other.append(Append([event(f"c/{i}")]))
            before = checkpoints(database)
            with pytest.raises(LogRolledBackError):
                await sequencer.append(Append([event("d/1")]))
            assert checkpoints(database) == before

    asyncio.run(story())


def test_a_fatal_error_does_not_keep_its_callers_in_memory(database):
    async def story():
        async with started(database.url) as sequencer:
            await sequencer.append(Append([event("a/1")]))
            restored(database, 0)
            for i in range(50):
                with pytest.raises(LogRolledBackError):
                    await sequencer.append(Append([event(f"b/{i}")]))
            depth = 0
            trace = sequencer.fatal.__traceback__
            while trace is not None:
                depth, trace = depth + 1, trace.tb_next
            assert depth < 20

    asyncio.run(story())


# --- the mark outside the database -----------------------------------------------------------


@pytest.fixture
def mark(tmp_path):
    return HighWater(tmp_path / "high-water", KEY.verifier)


async def append_some(url, mark, first, count):
    async with started(url, high_water=mark) as sequencer:
        for i in range(first, first + count):
            await sequencer.append(Append([event(f"a/{i}", state=b"%d" % i)]))


def test_a_restored_backup_is_refused_at_the_start(database, mark):
    asyncio.run(append_some(database.url, mark, 0, 3))
    assert mark.read().size == 3
    restored(database, 2)
    with pytest.raises(LogRolledBackError, match="holds 2 entries, but 3 were signed"):
        asyncio.run(append_some(database.url, mark, 3, 1))
    assert len(entries(database)) == 2


def test_other_first_entries_are_refused_at_the_start(database, mark):
    asyncio.run(append_some(database.url, mark, 0, 3))
    restored(database, 1)
    asyncio.run(append_some(database.url, None, 7, 4))  # somebody forks the log on a machine without a mark
    with pytest.raises(LogRolledBackError, match="not those that were signed"):
        asyncio.run(append_some(database.url, mark, 11, 1))


def test_a_missing_mark_is_made_again_before_anything_is_appended(database, mark, tmp_path):
    asyncio.run(append_some(database.url, mark, 0, 3))
    (tmp_path / "high-water").unlink()
    asyncio.run(append_some(database.url, mark, 3, 0))
    assert mark.read().size == 3


def test_after_a_kill_the_mark_catches_up_with_the_database(database, mark):
    asyncio.run(append_some(database.url, mark, 0, 1))
    asyncio.run(append_some(database.url, None, 1, 4))  # as if it was killed before it wrote the mark
    asyncio.run(append_some(database.url, mark, 5, 0))
    assert mark.read().size == 5


def test_a_mark_that_cannot_be_written_does_not_stop_the_service(database, mark, tmp_path, caplog):
    async def story():
        async with started(database.url, high_water=mark) as sequencer:
            (tmp_path / "high-water.new").mkdir()  # where the fresh mark would be written
            await sequencer.append(Append([event("a/1")]))
            await asyncio.sleep(0.7)
            (tmp_path / "high-water.new").rmdir()
            await asyncio.sleep(0.7)
            assert mark.read().size == 1
            (tmp_path / "high-water.new").mkdir()
            await sequencer.append(Append([event("b/1")]))

    asyncio.run(story())
    assert "high-water mark cannot be written" in caplog.text
    assert check_log(database.admin_url, KEY.verifier) == 2


def test_a_sequencer_that_never_started_tells_threads_so(database):
    sequencer = Sequencer(database.url, KEY.name, KEY)
    with pytest.raises(StoreUnavailableError, match="not started"):
        sequencer.append_from_thread(Append([event("a/1")]))


def test_an_unknown_database_is_unavailable(database, monkeypatch):
    quick(monkeypatch)

    async def story():
        async with started(with_database(database.url, "nowhere")) as sequencer:
            with pytest.raises(AiqynError, match="does not answer"):
                await sequencer.append(Append([event("a/1")]))

    asyncio.run(story())


# --- any order of things ---------------------------------------------------------------------


class Appending(RuleBasedStateMachine):
    """The sequencer against a model: streams with versions, commands with what they brought about."""

    streams = st.sampled_from(["a/1", "a/2", "b/1"])
    keys = st.sampled_from(["k1", "k2"])
    versions = st.integers(1, 4)

    def __init__(self):
        super().__init__()
        self.model: dict[str, int] = {}
        self.commands: dict[str, tuple[bytes, int]] = {}
        self.size = 0
        self.database = self.enterable.__enter__()
        self.loop = asyncio.new_event_loop()
        self.restart()

    def teardown(self):
        self.loop.run_until_complete(self.sequencer.close())
        self.loop.close()
        assert check_log(self.database.admin_url, KEY.verifier) == self.size
        assert {(stream, n) for stream, n, _ in entries(self.database)} == {
            (stream, n) for stream, last in self.model.items() for n in range(1, last + 1)
        }
        self.enterable.__exit__(None, None, None)

    def append(self, *requests):
        return self.loop.run_until_complete(all_of(*map(self.sequencer.append, requests)))

    def expect(self, request, outcome):
        """What the model says of one request, in the order in which they came."""
        if request.command is not None and request.command.key in self.commands:
            asked, position = self.commands[request.command.key]
            if asked != request.command.request:
                assert isinstance(outcome, CommandReusedError)
            else:
                assert (outcome.position, outcome.repeated) == (position, True)
            return
        guarded = all(self.model.get(stream, 0) == n for stream, n in request.guards.items())
        after = dict(self.model)
        for each in request.events:
            guarded &= each.originator_version == after.get(each.originator_id, 0) + 1
            after[each.originator_id] = each.originator_version
        if not guarded:
            assert isinstance(outcome, StreamConflictError)
            return
        assert (outcome.position, outcome.count) == (self.size, len(request.events))
        if request.command is not None:
            self.commands[request.command.key] = request.command.request, self.size
        self.model = after
        self.size += len(request.events)

    @rule(
        wanted=st.lists(
            st.tuples(
                st.lists(st.tuples(streams, versions), min_size=1, max_size=3),
                st.dictionaries(streams, st.integers(0, 4), max_size=1),
                st.none() | st.tuples(keys, st.sampled_from([b"r", b"x"])),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def a_group_arrives(self, wanted):
        requests = [
            Append(
                # No two sealed events have the same bytes: each has an id of its own.
                [SealedEvent(stream, n, "t", uuid4().bytes) for stream, n in happened],
                guards=guards,
                command=CommandId("scope", made[0], made[1] * 32) if made else None,
            )
            for happened, guards, made in wanted
        ]
        for request, outcome in zip(requests, self.append(*requests), strict=True):
            self.expect(request, outcome)

    @rule(stream=streams)
    def the_next_event_happens(self, stream):
        request = Append([SealedEvent(stream, self.model.get(stream, 0) + 1, "t", uuid4().bytes)])
        self.expect(request, self.append(request)[0])

    @rule()
    def the_connection_is_lost(self):
        with psycopg.connect(self.database.admin_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'aiqyn sequencer'"
            )

    @rule()
    def restart(self):
        if hasattr(self, "sequencer"):
            self.loop.run_until_complete(self.sequencer.close())
        self.sequencer = Sequencer(self.database.url, KEY.name, KEY)
        self.loop.run_until_complete(self.sequencer.start())


def test_whatever_happens_in_whatever_order_the_log_is_as_the_model_says(postgres, migrated, monkeypatch):
    quick(monkeypatch, 0, 0.05, 0.2)

    class Run(Appending):
        def __init__(self):
            self.enterable = fresh(postgres, migrated)
            super().__init__()

    run_state_machine_as_test(Run, settings=settings(max_examples=15, stateful_step_count=15, deadline=None))
