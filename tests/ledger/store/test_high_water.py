"""The mark outside the database: a restored backup is noticed before anything is signed."""

from __future__ import annotations

import threading

import pytest

from ledger.store.append import LogRolledBackError
from ledger.store.high_water import HighWater
from ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from ledger.tlog.merkle import GrowingTree, leaf_hash, node_hash
from ledger.tlog.note import NoteError, SignerKey

KEY = SignerKey.generate("test.example/log")
LEAVES = [leaf_hash(b"%d" % i) for i in range(20)]
OTHER = [leaf_hash(b"other %d" % i) for i in range(20)]


def note(size, leaves=LEAVES, key=KEY):
    tree = GrowingTree()
    tree.extend(leaves[:size])
    return sign_checkpoint(Checkpoint(key.name, size, tree.root()), key)


def reader(leaves):
    def read_node(level, index):
        if level == 0:
            return leaves[index]
        return node_hash(read_node(level - 1, 2 * index), read_node(level - 1, 2 * index + 1))

    return read_node


@pytest.fixture
def mark(tmp_path):
    return HighWater(tmp_path / "state" / "high-water", KEY.verifier)


def test_a_machine_that_never_saw_the_log_has_no_mark_and_begins(mark):
    assert mark.read() is None
    mark.check(0, reader([]))
    mark.check(7, reader(LEAVES))


def test_the_mark_moves_forward_only(mark):
    for size, stands_at in ((5, 5), (3, 5), (5, 5), (6, 6), (0, 6)):
        mark.advance(size, note(size))
        assert mark.read().size == stands_at


@pytest.mark.parametrize("size", [1, 7, 8, 20])
def test_a_database_that_contains_the_mark_passes(mark, size):
    mark.advance(size, note(size))
    for holds in range(size, 21):
        mark.check(holds, reader(LEAVES))


def test_a_database_that_holds_less_is_refused(mark):
    mark.advance(8, note(8))
    with pytest.raises(LogRolledBackError, match="holds 7 entries, but 8 were signed") as error:
        mark.check(7, reader(LEAVES))
    assert error.value.details == {"size": 7, "signed": 8}


@pytest.mark.parametrize("changed", range(8))
def test_a_database_with_other_first_entries_is_refused(mark, changed):
    mark.advance(8, note(8))
    leaves = [*LEAVES]
    leaves[changed] = OTHER[changed]
    with pytest.raises(LogRolledBackError, match="first 8 entries in the database are not those"):
        mark.check(20, reader(leaves))


def test_an_empty_log_was_signed_before_any_log(mark):
    mark.advance(0, note(0))
    mark.check(0, reader([]))
    mark.check(20, reader(OTHER))


def test_a_power_cut_that_left_half_a_new_file_does_no_harm(mark, tmp_path):
    mark.advance(5, note(5))
    left = tmp_path / "state" / "high-water.new"
    left.write_bytes(note(6)[:40])
    assert mark.read().size == 5
    mark.check(5, reader(LEAVES))
    mark.advance(6, note(6))
    assert mark.read().size == 6
    assert not left.exists()


@pytest.mark.parametrize(
    "spoilt", [b"", b"nonsense", note(5)[:-10], note(5).replace(b"5\n", b"4\n", 1)], ids=range(4)
)
def test_a_spoilt_mark_stops_the_service_rather_than_being_ignored(mark, tmp_path, spoilt):
    mark.advance(5, note(5))
    (tmp_path / "state" / "high-water").write_bytes(spoilt)
    with pytest.raises(NoteError):
        mark.check(20, reader(LEAVES))


def test_the_mark_of_another_log_is_refused(mark):
    other = SignerKey.generate("other.example/log")
    mark.advance(5, note(5, key=other))
    with pytest.raises(NoteError):
        mark.check(20, reader(LEAVES))


def test_processes_that_share_the_file_never_move_it_back(tmp_path):
    path = tmp_path / "high-water"

    def advance(first):
        shared = HighWater(path, KEY.verifier)
        for size in range(first, 21, 3):
            shared.advance(size, note(size))
            assert shared.read().size >= size

    failed = []

    def run(first):
        try:
            advance(first)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(first,)) for first in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert HighWater(path, KEY.verifier).read().size == 20
