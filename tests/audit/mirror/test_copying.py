"""A mirror's copy is the log, entry by entry, and its tables are the operator's."""

from __future__ import annotations

import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
import pytest

import audit
from api.app import create_app
from audit.mirror import MirrorError
from audit.mirror.checking import CopySource
from audit.mirror.errors import AnotherLogError, MirrorRunningError, NotACopyError
from audit.mirror.exporting import export
from audit.mirror.store import Store
from audit.mirror.trust import Trust
from ledger import events
from ledger.store.append import LogHaltedError
from ledger.store.database import connect
from ledger.store.reader import LogReader
from ledger.tlog.checkpoint import open_checkpoint
from ledger.tlog.merkle import GrowingTree, leaf_hash
from ledger.tlog.note import COSIGNATURE, SignedNote, SignerKey, VerifierKey
from ledger.tlog.tiles import tiles_for_size
from projections import ALL
from projections.digest import digests, published
from tests.audit.log_builder import LogBuilder
from tests.audit.log_builder import serving as serving_files
from tests.audit.mirror.operators import (
    Operator,
    between,
    command,
    copy_parts,
    found,
    kill,
    mirroring,
    run,
    serving,
)

# ruff: noqa: SIM117

READ = [
    "/v1/petitions", "/v1/organisations", "/v1/organisations/village", "/v1/appeals",
    "/v1/appeals/JT-2026-00000001", "/v1/oversight/appeals?period=2026&by=body",
    "/v1/oversight/bodies/land?period=2026", "/v1/streams/organisation/operator", "/v1/entries/20",
    "/v1/entries/20/receipt", "/v1/disclosures?from=0&limit=100", "/log/checkpoint", "/problems",
]  # fmt: skip


def all_digests(url):
    with connect(url, application_name="tests", autocommit=True) as connection:
        return digests(connection, published(ALL))


def test_a_first_round_copies_everything_and_finds_nothing(still, address, mirror_database):
    with mirroring(mirror_database, address, *still.vkeys) as mirror:
        done = mirror.round(compare=True)
        assert found(mirror) == set()
        assert (done.size, done.copied, done.clean) == (still.size(), still.size(), True)
        assert done.compared.answers > 25
        assert all_digests(mirror_database.url) == all_digests(still.database.url)
        for table in ("entries", "nodes", "disclosures"):
            order = {"entries": "position", "nodes": "level, index", "disclosures": "position, name"}[table]
            query = f"SELECT * FROM ledger.{table} ORDER BY {order}"
            with psycopg.connect(mirror_database.admin_url) as connection:
                assert connection.execute(query).fetchall() == still.execute(query)


def test_the_copy_answers_and_serves_the_same_files_as_the_original(still, address, mirror_database):
    with mirroring(mirror_database, address, *still.vkeys) as mirror:
        size = mirror.round().size
        parts = copy_parts(mirror_database, address, *still.vkeys)
        with serving(create_app(parts)) as copy:
            petition = httpx.get(f"{address}/v1/petitions").json()["items"][0]["id"]
            more = [f"/v1/petitions/{petition}{what}" for what in ("", "/growth", "/signatures", "/trail")]
            tiles = [f"/log/{tile.path}" for tile in tiles_for_size(size)]
            for path in (*READ, *more, *tiles):
                original, copied = httpx.get(address + path), httpx.get(copy + path)
                assert (original.status_code, copied.status_code) == (200, 200), path
                assert original.content == copied.content, path
            log = httpx.get(f"{copy}/v1/log").json()
            assert log == httpx.get(f"{address}/v1/log").json() | {"mirror_of": address}
            assert httpx.get(f"{copy}/readyz").status_code == 200
            assert httpx.get(f"{copy}/metrics").status_code == 200
            with httpx.stream("GET", f"{copy}/v1/feed?after={size - 2}") as feed:
                lines = feed.iter_lines()
                assert f"id: {size - 1}" in [next(lines) for _ in range(5)]


def test_a_copy_can_be_read_and_not_written(still, address, mirror_database):
    with mirroring(mirror_database, address, *still.vkeys) as mirror:
        mirror.round(compare=False)
        petition = "00000000-0000-4000-8000-000000000001"
        with serving(create_app(copy_parts(mirror_database, address, *still.vkeys))) as copy:
            for method, path in (
                ("POST", f"/v1/petitions/{petition}/signatures"),
                ("GET", f"/v1/petitions/{petition}/statement"),
                ("POST", "/v1/petitions"),
                ("POST", "/v1/events"),
                ("POST", "/v1/appeals"),
                ("GET", "/v1/queue"),
                ("DELETE", f"/v1/webhooks/{petition}"),
            ):
                answer = httpx.request(method, copy + path, json={})
                assert answer.status_code == 403, (method, path, answer.text)
                assert answer.json()["type"] == "/problems/read-only-copy"
                assert answer.json()["original"] == address
                assert address in answer.json()["detail"]
            assert httpx.get(f"{copy}/problems/read-only-copy").status_code == 200
            assert httpx.get(f"{copy}/nowhere").status_code == 404
            assert httpx.post(f"{copy}/v1/organisations").status_code == 405


def test_a_mirror_of_a_mirror_is_a_mirror(operator, mirror_database, database):
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as first:
        first.round(compare=False)
        with (
            serving(create_app(copy_parts(mirror_database, url, *operator.vkeys))) as copy,
            mirroring(database, copy, *operator.vkeys) as second,
        ):
            done = second.round(compare=True)
            assert (done.size, done.clean, found(second)) == (operator.size(), True, set())
            assert all_digests(database.url) == all_digests(operator.database.url)


def test_the_next_round_copies_what_is_new(operator, mirror_database):
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        before = mirror.round().size
        assert mirror.round().copied == 0
        operator.do(lambda api: api.limited(author=3, title="Жаңа өтініш туралы мәтін"))
        done = mirror.round(compare=True)
        assert (done.copied, done.size, done.clean) == (operator.size() - before, operator.size(), True)
        assert done.compared.answers
        assert all_digests(mirror_database.url) == all_digests(operator.database.url)


def test_a_mirror_follows_until_it_is_told_to_stop(operator, mirror_database, tmp_path):
    with operator.served() as url:
        keys = [part for key in operator.vkeys for part in ("--log-key", key)]
        process = command(
            "mirror", url, *keys, "--poll", "0.1", "--serve", "--port", "0",
            home=tmp_path, database=mirror_database,
        )  # fmt: skip
        size = operator.size()

        def copied():
            with psycopg.connect(mirror_database.url) as connection:
                query = "SELECT coalesce(max(size), 0) FROM ledger.checkpoints"
                return connection.execute(query).fetchone()[0]

        wait_for(lambda: copied() == size)
        operator.do(lambda api: api.limited(author=3, title="Жаңа өтініш туралы мәтін"))
        wait_for(lambda: copied() == operator.size() > size)
        process.terminate()
        said = process.communicate(timeout=30)[0].decode()
        assert process.returncode == 0, said
        assert f"{operator.size()} entries verified, nothing is wrong" in said
        assert "Serving the copy at http://127.0.0.1:" in said


def wait_for(what, seconds=30):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


# --- interruptions --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_log() -> LogBuilder:
    """Three groups of bundles."""
    builder = LogBuilder().begin().collecting(1, required=100_000)
    for person in range(3, 9000):
        builder.sign(1, person, "71")
    return builder


def check_copy(database, builder):
    """What an interrupted copy holds is a beginning of the log, in every table."""
    with Store(database.url) as store:
        if not store.is_mirror():
            return 0
        head = store.head()
        rows = store.connection.execute("SELECT position, entry FROM ledger.entries ORDER BY position")
        assert [(position, bytes(entry)) for position, entry in rows] == list(
            enumerate(builder.entries[: head.size])
        )
        tree = GrowingTree()
        tree.extend(map(leaf_hash, builder.entries[: head.size]))
        if head.size:
            assert head == tree.frontier()
        nodes = store.connection.execute("SELECT level, index, hash FROM ledger.nodes ORDER BY level, index")
        assert [(level, index, bytes(value)) for level, index, value in nodes] == tree.new_nodes()
        sizes = store.connection.execute("SELECT max(size) FROM ledger.checkpoints").fetchone()
        assert (sizes[0] or 0) in (0, builder.size)
        assert (sizes[0] or 0) <= head.size
        return head.size


def test_a_copy_that_is_killed_again_and_again_goes_on_where_it_stopped(long_log, mirror_database, tmp_path):
    chance = random.Random(7)  # noqa: S311
    folder = long_log.write(tmp_path / "log")
    arguments = ("--log-key", long_log.vkey, "--compare-limit", "0", "--once")
    stops = []
    with serving_files(folder) as server:
        slow_down(server, folder)
        for _ in range(3):
            process = command("mirror", server.url, *arguments, home=tmp_path, database=mirror_database)
            time.sleep(chance.uniform(1.2, 3.2))
            kill(process)
            stops.append(check_copy(mirror_database, long_log))
        status, said = run("mirror", server.url, *arguments, home=tmp_path, database=mirror_database)
    assert stops == sorted(stops)
    assert check_copy(mirror_database, long_log) == long_log.size
    # The files say nothing of what is public beside them; that is no fault of the copy.
    assert status == 0, said
    source = CopySource(mirror_database.url)
    assert source.read("log/checkpoint", 10_000) == long_log.checkpoint()
    source.close()


def slow_down(server, folder):
    """Every bundle takes a moment, as it would from afar."""
    for file in folder.glob("log/tile/entries/**/*"):
        if file.is_file():
            server.answers[f"/{file.relative_to(folder)}"] = lambda file=file: (
                time.sleep(0.15),
                file.read_bytes(),
            )[1]


def test_a_replay_goes_on_where_the_last_one_ended(operator, mirror_database, monkeypatch):
    monkeypatch.setattr("audit.mirror.checking.SAVED_EVERY", 100)
    with operator.served() as url:
        with mirroring(mirror_database, url, *operator.vkeys, compare=False) as mirror:
            mirror.round()
            assert mirror._checker._replay.size == operator.size()
        operator.do(lambda api: api.limited(author=3, title="Жаңа өтініш туралы мәтін"))
        with mirroring(mirror_database, url, *operator.vkeys, compare=False) as mirror:
            assert mirror._checker._replay.size == operator.size() - 2
            assert mirror.round().clean
            assert mirror.store.origin.replayed == operator.size()
        with mirroring(mirror_database, url, *operator.vkeys, compare=False) as mirror:
            # Somebody else's memory, or other rules, are not gone on from.
            mirror.store.connection.execute("UPDATE mirror.replay SET root = sha256(root)")
        with mirroring(mirror_database, url, *operator.vkeys, compare=False) as mirror:
            assert mirror._checker._replay.size == 0
            assert mirror.round().clean


def test_nothing_can_be_appended_to_a_copy(operator, mirror_database):
    """Not even by who holds all keys of the original."""
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys, compare=False) as mirror:
        mirror.round()
    mine = replace(operator.world, database=mirror_database, home=Path(tempfile.mkdtemp(prefix="aiqyn-")))
    with pytest.raises(LogHaltedError, match="a copy"):
        Operator(mine).do(lambda api: api.service.ledger.declare("projection/x/0", facts))


facts = events.ProjectionCommitted(fold=1, as_of=0, digest="0" * 64)


# --- witnesses ------------------------------------------------------------------------------------------


def test_a_policy_asks_for_the_cosignatures_of_its_witnesses(still, address, mirror_database):
    witness = SignerKey.generate("witness.example/w", COSIGNATURE)
    policy = f"log {still.vkey}\nwitness w {witness.verifier}\nquorum w\n".encode()
    cosigned = False

    def cosign(path, status, body):
        if path == "/log/checkpoint" and cosigned:
            note = SignedNote.parse(body)
            body = note.with_signatures(witness.cosign(note.text, 1_800_000_000)).to_bytes()
        return status, body

    with between(address, cosign) as way:
        with mirroring(mirror_database, way, *still.vkeys, policy=policy, compare=False) as mirror:
            with pytest.raises(MirrorError, match="cosigned by no witness of the policy"):
                mirror.round()
            assert (found(mirror), mirror.store.head().size) == ({("quorum", None)}, 0)
            cosigned = True
            assert mirror.round().clean
        cosigned = False
        with mirroring(mirror_database, address, *still.vkeys, compare=False) as mirror:
            assert mirror.round().clean
        with mirroring(mirror_database, way, *still.vkeys, policy=policy, compare=False) as mirror:
            with pytest.raises(MirrorError, match="cosigned by no witness"):  # asked for once more
                mirror.round()
        with LogReader(mirror_database.url) as reader:
            proof = reader.proof(20).checkpoint
    assert [c.witness for c in Trust.parse(still.vkeys, policy).policy.verify(proof).cosignatures]


def test_numbers_wait_for_the_witnesses_of_the_log(operator, mirror_database):
    """What is published is signed, and cosigned a moment later: then it is compared."""
    first = None
    behind = 2

    def hold(path, status, body):
        nonlocal first, behind
        if path == "/log/checkpoint":
            first = first or body
            if grown and behind:
                behind -= 1
                body = first
        if path == "/v1/petitions?limit=1" and not grown:
            grown.append(True)
            operator.do(lambda api: api.limited(author=9, title="Жаңа өтініш туралы мәтін"))
        return status, body

    grown = []
    with operator.served() as url, between(url, hold) as way:
        with mirroring(mirror_database, way, *operator.vkeys) as mirror:
            done = mirror.round(compare=True)
            assert (done.clean, done.compared.beyond, done.size) == (True, 0, operator.size())
            assert behind == 0


# --- whose database it is -------------------------------------------------------------------------------


def test_one_process_at_a_time_keeps_a_mirror(still, mirror_database, monkeypatch):
    monkeypatch.setattr("audit.mirror.store.LOCK_SECONDS", 0.2)
    trust = Trust.parse(still.vkeys)
    with Store(mirror_database.url) as first, Store(mirror_database.url) as second:
        first.begin("http://a.example", trust)
        with pytest.raises(MirrorRunningError):
            second.begin("http://a.example", trust)
        first.close()
        second.begin("http://a.example", trust)


def test_a_ledgers_own_database_is_never_taken_for_a_mirrors(operator):
    with Store(operator.database.url) as store:
        with pytest.raises(NotACopyError):
            store.begin("http://a.example", Trust.parse(operator.vkeys))
        assert not store.is_mirror()
        with pytest.raises(NotACopyError):
            store.require_mirror()


def test_a_mirror_stays_that_of_its_log(still, mirror_database):
    other = str(SignerKey.generate("other.example/log").verifier)
    with Store(mirror_database.url) as store:
        store.begin("http://a.example", Trust.parse(still.vkeys))
    with Store(mirror_database.url) as store, pytest.raises(AnotherLogError):
        store.begin("http://a.example", Trust.parse([other]))
    with Store(mirror_database.url) as store:
        store.begin("http://moved.example", Trust.parse(still.vkeys))
        assert store.origin.url == "http://moved.example"


def test_a_checkpoint_that_a_key_did_not_sign_is_not_believed(operator, mirror_database):
    wrong = str(SignerKey.generate(operator.world.keys.log.name).verifier)
    with operator.served() as url, mirroring(mirror_database, url, wrong, compare=False) as mirror:
        with pytest.raises(MirrorError, match="none of the 1 known keys signed"):
            mirror.round()
        assert found(mirror) == {("checkpoint", None)}
        assert mirror.store.head().size == 0


# --- the copy as files ----------------------------------------------------------------------------------


def test_an_exported_folder_is_a_log_that_an_audit_reads(operator, mirror_database, tmp_path):
    home, folder = tmp_path / "home", tmp_path / "log"
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        mirror.round()
        status, said = run("mirror", "export", folder, home=home, database=mirror_database)
        assert status == 0, said
        report = audit.run(folder, log_key=operator.vkey)
        assert (report.status, report.replayed) == ("clean", operator.size())
        note = (folder / "checkpoint").read_bytes()
        assert open_checkpoint(note, VerifierKey.parse(operator.vkey)).checkpoint.size == operator.size()

        before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
        operator.do(lambda api: api.limited(author=3, title="Жаңа өтініш туралы мәтін"))
        mirror.round()
        with LogReader(mirror_database.url) as reader:
            done = export(reader, folder, lambda *_: None)
        assert done.written == 2  # the last bundle, and its tile
        assert audit.run(folder, log_key=operator.vkey).status == "clean"
        names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        assert names == {"checkpoint", *(tile.path for tile in tiles_for_size(operator.size()))}
        full = folder / "tile" / "0" / "000"
        assert full.stat().st_mtime_ns == before[full]


def test_a_folder_with_another_log_is_left_alone(still, address, mirror_database, tmp_path):
    LogBuilder().usual().write(tmp_path)
    with mirroring(mirror_database, address, *still.vkeys) as mirror:
        mirror.round()
        with LogReader(mirror_database.url) as reader, pytest.raises(AnotherLogError):
            export(reader, tmp_path / "log", lambda *_: None)
