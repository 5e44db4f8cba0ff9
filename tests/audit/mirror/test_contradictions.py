"""A log that signs two histories is caught by who remembers the first one, with the right alarm."""

from __future__ import annotations

import json
import shutil

import psycopg
import pytest

from audit.mirror.errors import ContradictionError, UnverifiedError
from audit.mirror.store import Store
from ledger.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from ledger.tlog.merkle import GrowingTree, leaf_hash
from ledger.tlog.note import VerifierKey
from tests.audit.log_builder import LogBuilder
from tests.audit.log_builder import serving as serving_files
from tests.audit.mirror.operators import between, cloned, found, mirroring, run

# ruff: noqa: SIM117


def keys(operator):
    return [part for key in operator.vkeys for part in ("--log-key", key)]


def mirrored(operator, database, tmp_path, url):
    arguments = ("--once", "--patience", "1", "--compare-limit", "0")
    return run("mirror", url, *keys(operator), *arguments, home=tmp_path, database=database)


def remembered(database):
    """Findings, contradictions, and how long the copy is."""
    with Store(database.url) as store:
        return store.findings(), store.contradictions(), store.head().size


def check_evidence(contradictions, operator, kind, sizes):
    (kept,) = contradictions
    assert kept.kind == kind
    key = VerifierKey.parse(operator.vkey)
    notes = [open_checkpoint(note.encode(), key).checkpoint for note in (kept.before, kept.after)]
    assert tuple(note.size for note in notes) == sizes
    return notes


def alarmed(said):
    return "THE LOG CONTRADICTS ITSELF" in said


@pytest.fixture
def ahead(operator, written, postgres, mirror_database):
    """An operator whose log was mirrored, and the same operator's database of before."""
    world, template = written
    with cloned(postgres, template, world) as earlier:
        operator.do(lambda api: api.limited(author=3, title="Бірінші жалғасы туралы"))
        with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
            assert mirror.round(compare=False).clean
        yield operator, earlier


def test_another_continuation_shown_to_one_mirror_is_a_fork(ahead, mirror_database, tmp_path):
    operator, earlier = ahead
    common = earlier.size()
    for author in (4, 5):  # longer than what the mirror has
        earlier.do(lambda api, author=author: api.limited(author=author, title="Екінші жалғасы туралы"))
    with earlier.served() as url:
        code, said = mirrored(earlier, mirror_database, tmp_path, url)
        assert (code, alarmed(said)) == (1, True), said
        assert f"entry {common} is the first that differs" in " ".join(said.replace("│", " ").split())
    findings, contradictions, size = remembered(mirror_database)
    assert size == operator.size()
    before, after = check_evidence(contradictions, operator, "fork", (operator.size(), earlier.size()))
    assert before.root != after.root
    assert [(one.rule, one.position) for one in findings] == [("fork", common)]
    code, said = run("mirror", "status", "--json", home=tmp_path, database=mirror_database)
    assert (code, json.loads(said)["contradictions"][0]["before"]) == (1, contradictions[0].before)

    # Who shows the first history again is followed, and the proof stays.
    operator.do(lambda api: api.limited(author=6, title="Бірінші жалғасының жалғасы"))
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        done = mirror.round(compare=False)
        assert (done.size, done.clean) == (operator.size(), False)


def test_a_shorter_fork_is_a_fork_too(ahead, mirror_database, tmp_path):
    operator, earlier = ahead
    common = earlier.size()
    earlier.do(lambda api: api.submitted(author=4))
    assert common < earlier.size() < operator.size()
    with earlier.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        with pytest.raises(ContradictionError, match="two histories"):
            mirror.round()
    findings, contradictions, _ = remembered(mirror_database)
    check_evidence(contradictions, operator, "fork", (operator.size(), earlier.size()))
    assert [(one.rule, one.position) for one in findings] == [("fork", common)]


def test_a_database_that_was_rolled_back_is_noticed(ahead, mirror_database, tmp_path):
    operator, earlier = ahead
    with earlier.served() as url:
        code, said = mirrored(earlier, mirror_database, tmp_path, url)
    assert (code, alarmed(said), "went back" in said) == (1, True, True), said
    findings, contradictions, size = remembered(mirror_database)
    assert [(one.rule, one.position) for one in findings] == [("log-shrank", earlier.size())]
    check_evidence(contradictions, operator, "rollback", (operator.size(), earlier.size()))
    assert size == operator.size()


def test_an_old_checkpoint_of_a_cache_is_waited_out(ahead, mirror_database):
    operator, earlier = ahead
    left = 2

    def stale(path, code, body):
        nonlocal left
        if path == "/log/checkpoint" and left:
            left -= 1
            return 200, old
        return code, body

    with earlier.served() as url, mirroring(mirror_database, url, *operator.vkeys, compare=False) as mirror:
        old = mirror._source.read("log/checkpoint", 10_000)
    with (
        operator.served() as url,
        between(url, stale) as way,
        mirroring(mirror_database, way, *operator.vkeys, compare=False, patience=10.0) as mirror,
    ):
        assert mirror.round().clean
        assert left == 0


def test_a_checkpoint_of_equal_size_with_another_root_is_a_fork(ahead, mirror_database, tmp_path):
    operator, _ = ahead
    other = Checkpoint(operator.world.keys.log.name, operator.size(), bytes(32))
    note = sign_checkpoint(other, operator.world.keys.log, *operator.world.keys.more_log_keys)

    def lie(path, code, body):
        return (200, note) if path == "/log/checkpoint" else (code, body)

    with operator.served() as url, between(url, lie) as way:
        code, said = mirrored(operator, mirror_database, tmp_path, way)
    assert (code, alarmed(said)) == (1, True), said
    _, contradictions, size = remembered(mirror_database)
    _, after = check_evidence(contradictions, operator, "fork", (operator.size(), operator.size()))
    assert after.root == bytes(32)
    assert size == operator.size()


def test_a_fork_behind_a_checkpoint_that_was_seen_and_not_copied_yet_is_noticed(mirror_database, tmp_path):
    """Believed is what was verified, whether its entries arrived or not."""
    first = LogBuilder().begin().collecting(1, required=10_000)
    second = LogBuilder(**{name: getattr(first, name) for name in ("log_key", "root", "gateway", "clock")})
    second.entries = list(first.entries)
    second.versions = dict(first.versions)
    for person in range(3, 300):
        first.sign(1, person)
    for person in range(1003, 1500):
        second.sign(1, person)
    folder = first.write(tmp_path / "first")
    shutil.rmtree(folder / "log" / "tile" / "entries")
    with serving_files(folder) as server:
        with mirroring(mirror_database, server.url, first.vkey, compare=False) as mirror:
            with pytest.raises(UnverifiedError, match="bundle cannot be had"):
                mirror.round()
            assert mirror.store.head().size == 0
    with serving_files(second.write(tmp_path / "second")) as server:
        with mirroring(mirror_database, server.url, first.vkey, compare=False) as mirror:
            with pytest.raises(ContradictionError, match="two histories"):
                mirror.round()
            assert mirror.store.contradictions()[0].kind == "fork"
            assert mirror.store.head().size == 0


def test_a_log_rewritten_with_all_its_keys_is_a_fork_for_who_was_there(ahead, mirror_database, tmp_path):
    """The operator changes one entry, hashes everything anew, and signs it with the right keys."""
    operator, _ = ahead
    position = 40
    ((entry,),) = operator.execute("SELECT entry FROM ledger.entries WHERE position = %s", [position])
    changed = entry[:-10] + bytes([entry[-10] ^ 1]) + entry[-9:]
    rewrite(operator, position, changed)
    operator.world.home = tmp_path  # and takes its own high-water mark away
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        with pytest.raises(ContradictionError):
            mirror.round()
        assert found(mirror) == {("fork", position)}


def rewrite(operator, position, entry):
    """As the operator itself could: all hashes fit again, and the newest checkpoint is signed anew."""
    operator.execute("UPDATE ledger.entries SET entry = %s WHERE position = %s", [entry, position])
    rows = operator.execute("SELECT entry FROM ledger.entries ORDER BY position")
    tree = GrowingTree()
    tree.extend(leaf_hash(bytes(row[0])) for row in rows)
    with psycopg.connect(operator.database.admin_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(r"UPDATE ledger.entries SET leaf = sha256('\x00'::bytea || entry)")
        for level, index, node in tree.new_nodes():
            connection.execute(
                "UPDATE ledger.nodes SET hash = %s WHERE level = %s AND index = %s", [node, level, index]
            )
        frontier = tree.frontier()
        connection.execute("UPDATE ledger.head SET frontier = %s", [frontier.to_bytes()])
        world = operator.world
        checkpoint = Checkpoint(world.keys.log.name, frontier.size, frontier.root())
        note = sign_checkpoint(checkpoint, world.keys.log, *world.keys.more_log_keys)
        connection.execute(
            "UPDATE ledger.checkpoints SET root = %s, note = %s WHERE size = %s",
            [frontier.root(), note, frontier.size],
        )
