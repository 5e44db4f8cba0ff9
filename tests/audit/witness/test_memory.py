"""A witness never forgets, notices when it was made to, and keeps what proves a fork."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from audit.witness import Memory
from audit.witness import alarms as alarms_module
from audit.witness import memory as memory_module
from audit.witness.folder import WitnessFolderError
from audit.witness.memory import WitnessLogError, WitnessRolledBackError
from audit.witness.state import WitnessStateLostError
from ledger.tlog import note as note_module
from ledger.tlog.checkpoint import open_checkpoint, sign_checkpoint
from ledger.tlog.note import COSIGNATURE, ML_DSA_44, AlgorithmUnavailableError, SignedNote, SignerKey
from ledger.tlog.witness import AddCheckpoint, Refusal, origin_hash, proves_fork, read
from tests.audit.witness.running import NAME, Running, aiqyn
from tests.ledger.tlog.small_log import SmallLog

LOG = SmallLog.of(60)
OTHER = SmallLog.of(60, "log.example/other", bytes(range(5, 37)))
KEYS = [
    SignerKey.from_seed(NAME, bytes(range(32)), COSIGNATURE),
    SignerKey.from_seed(NAME, bytes(range(1, 33)), ML_DSA_44),
]
NOW = 1_700_000_000


class Clock:
    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "w1"
    Memory.create(place, KEYS)
    with Memory(place) as memory:
        memory.add_log(LOG.key.verifier)
        memory.add_log(OTHER.key.verifier)
    return place


@pytest.fixture
def memory(folder, clock):
    with Memory(folder, clock=clock) as memory:
        yield memory


def ask(memory, body):
    """Status of the answer; the timestamp instead of 200."""
    submission = read(body, memory.keys_of, memory.vkeys)
    answer = submission if isinstance(submission, Refusal) else memory.add_checkpoint(submission)
    if isinstance(answer, Refusal):
        return answer.status
    opened = open_checkpoint(answer.note, LOG.key.verifier, memory.vkeys)
    assert len(opened.cosignatures) == 2
    assert memory.folder.read_mark(origin_hash(LOG.origin)) == answer.note
    (timestamp,) = {cosignature.timestamp for cosignature in opened.cosignatures}
    return timestamp


def kinds(memory):
    return [(alarm.kind, alarm.size) for alarm in memory.alarms()]


# --- time -----------------------------------------------------------------------------------------


def test_timestamps_never_decrease_though_the_clock_does(memory, clock, caplog):
    assert ask(memory, LOG.request(0, 5)) == NOW
    clock.now = NOW - 3
    assert ask(memory, LOG.request(5, 6)) == NOW
    assert "ALARM" not in caplog.text
    clock.now = NOW - 3600
    assert ask(memory, LOG.request(6, 6)) == NOW
    assert "ALARM clock: it is 3600 s behind" in caplog.text
    clock.now = NOW + 1
    assert ask(memory, LOG.request(6, 7)) == NOW + 1


def test_a_clock_at_the_beginning_of_time_still_states_a_time(memory, clock):
    clock.now = 0
    assert ask(memory, LOG.request(0, 5)) == 1


# --- forks ----------------------------------------------------------------------------------------


def proven(alarm):
    """What a stranger finds out from an alarm's files alone, with the log's key."""
    submission = read(alarm.request, lambda origin: [LOG.key.verifier])
    remembered = open_checkpoint(alarm.remembered, LOG.key.verifier).checkpoint
    return proves_fork(submission, remembered)


def test_another_root_of_the_cosigned_size_is_kept_as_proof(memory, clock, caplog):
    ask(memory, LOG.request(0, 20))
    clock.now += 7
    assert ask(memory, LOG.fork(3).request(20, 20)) == 422
    (alarm,) = memory.alarms()
    assert (alarm.kind, alarm.origin, alarm.size, alarm.seen) == ("fork", LOG.origin, 20, NOW + 7)
    assert alarm.root == LOG.fork(3).checkpoint(20).root
    assert proven(alarm)
    assert "ALARM fork: log.example/petitions, size 20" in caplog.text


def test_another_root_of_any_size_that_was_cosigned_is_kept_as_proof(memory):
    for old, new in ((0, 8), (8, 20), (20, 40)):
        ask(memory, LOG.request(old, new))
    # The forked log believes the witness to be elsewhere: it is refused with 409, and still found out.
    assert ask(memory, LOG.fork(3).request(0, 8)) == 409
    assert ask(memory, LOG.fork(3).request(8, 20)) == 409
    assert ask(memory, LOG.fork(3).request(20, 33)) == 409
    assert kinds(memory) == [("fork", 8), ("fork", 20), ("fork", 33)]
    assert all(proven(alarm) for alarm in memory.alarms())


def test_a_log_that_went_on_from_a_fork_is_found_out_by_its_own_proof(memory):
    ask(memory, LOG.request(0, 20))
    assert ask(memory, LOG.fork(3).request(20, 33)) == 422
    (alarm,) = memory.alarms()
    assert (alarm.kind, alarm.size) == ("fork", 33)
    assert proven(alarm)


def test_a_wrong_proof_is_no_proof_of_a_fork_and_is_forgotten_once_there_is_a_right_one(memory):
    ask(memory, LOG.request(0, 20))
    wrong = AddCheckpoint(20, LOG.proof(19, 33), LOG.note(33)).to_bytes()
    assert ask(memory, wrong) == 422
    assert kinds(memory) == [("unproven", 33)]
    assert ask(memory, LOG.request(20, 33)) == NOW
    assert kinds(memory) == []


def test_what_is_merely_malformed_or_old_leaves_nothing(memory):
    ask(memory, LOG.request(0, 20))
    assert ask(memory, LOG.request(0, 8)) == 409
    assert ask(memory, LOG.request(20, 8)) == 400
    assert ask(memory, AddCheckpoint(20, (bytes(32),), LOG.note(20)).to_bytes()) == 422
    assert ask(memory, AddCheckpoint(0, (bytes(32),), OTHER.note(20)).to_bytes()) == 422
    assert ask(memory, SmallLog.of(20, LOG.origin, bytes(32)).request(20, 20)) == 403
    assert kinds(memory) == []


def test_a_repeated_fork_is_one_alarm_and_says_so_once(memory, caplog):
    ask(memory, LOG.request(0, 20))
    for _ in range(3):
        ask(memory, LOG.fork(3).request(20, 20))
    assert kinds(memory) == [("fork", 20)]
    assert caplog.text.count("ALARM") == 1


def test_strangers_cannot_fill_the_disk(memory, monkeypatch):
    monkeypatch.setattr(alarms_module, "MOST", 3)
    ask(memory, LOG.request(0, 20))
    for size in range(21, 30):
        wrong = AddCheckpoint(20, (bytes(32),), LOG.note(size)).to_bytes()
        assert ask(memory, wrong) == 422
    assert kinds(memory) == [("unproven", 27), ("unproven", 28), ("unproven", 29)]
    padded = SignedNote.parse(LOG.note(30)).with_signatures(
        *(SignerKey.generate("x" * 5000).sign("a\n"),) * 90
    )
    assert ask(memory, AddCheckpoint(20, (bytes(32),), padded.to_bytes()).to_bytes()) == 422
    assert len(memory.alarms()[-1].request) < 1_000  # without the signatures of strangers
    for size in range(20, 30):
        ask(memory, LOG.fork(1).request(0, size))
    assert [kind for kind, _ in kinds(memory)].count("fork") <= 3


def test_the_history_is_bounded(memory, monkeypatch):
    monkeypatch.setattr(memory_module, "HISTORY", 5)
    for size in range(1, 31):
        ask(memory, LOG.request(size - 1, size))
    rows = sqlite3.connect(memory.folder.state).execute("SELECT size FROM cosigned ORDER BY size").fetchall()
    assert rows == [(26,), (27,), (28,), (29,), (30,)]
    assert ask(memory, LOG.fork(1).request(30, 30)) == 422
    assert kinds(memory) == [("fork", 30)]


# --- loss -----------------------------------------------------------------------------------------


def test_without_its_memory_a_witness_serves_nobody(folder):
    with Memory(folder) as memory:
        ask(memory, LOG.request(0, 20))
    (folder / "state.sqlite").unlink()
    with pytest.raises(WitnessStateLostError, match="recover"):
        Memory(folder)
    assert not (folder / "state.sqlite").exists()
    (folder / "state.sqlite").touch()
    with pytest.raises(WitnessStateLostError):
        Memory(folder)
    (folder / "state.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(WitnessFolderError, match="cannot be used"):
        Memory(folder)
    (folder / "state.sqlite").unlink()
    with pytest.raises(AssertionError, match="is gone or empty"):
        Running(folder)


def test_a_memory_that_is_gone_is_recovered_from_the_marks(folder):
    with Memory(folder) as memory:
        ask(memory, LOG.request(0, 20))
    (folder / "state.sqlite").unlink()
    said = aiqyn("recover", folder)
    assert f"{LOG.origin} at size 20" in said
    assert "log add" in said
    with Memory(folder) as memory:
        memory.add_log(LOG.key.verifier)
        assert ask(memory, LOG.fork(3).request(0, 30)) == 409
        assert ask(memory, LOG.fork(3).request(20, 20)) == 422
        assert kinds(memory) == [("fork", 20)]
        assert ask(memory, LOG.request(20, 30)) > NOW


def test_a_memory_from_a_backup_is_refused_until_it_is_recovered(folder, tmp_path):
    with Memory(folder) as memory:
        ask(memory, LOG.request(0, 20))
    shutil.copy(folder / "state.sqlite", tmp_path / "backup")
    with Memory(folder) as memory:
        ask(memory, LOG.request(20, 33))
    shutil.copy(tmp_path / "backup", folder / "state.sqlite")
    with pytest.raises(WitnessRolledBackError, match=r"at size 33, but .* remembers size 20"):
        Memory(folder)
    assert [c.size for c in Memory.recover(folder)] == [33]
    assert Memory.recover(folder) == []
    with Memory(folder) as memory:
        assert ask(memory, LOG.request(20, 40)) == 409
        assert ask(memory, LOG.request(33, 40)) > NOW


def test_marks_that_are_gone_or_made_up_are_refused(folder):
    with Memory(folder) as memory:
        ask(memory, LOG.request(0, 20))
        mark = folder / "high-water" / origin_hash(LOG.origin)
        good = mark.read_bytes()
    mark.write_bytes(b"damaged")
    with pytest.raises(WitnessFolderError, match="damaged"):
        Memory(folder)
    # Somebody else's larger checkpoint: without our own cosignature nothing is learned from it.
    mark.write_bytes(LOG.note(40))
    with pytest.raises(WitnessRolledBackError):
        Memory(folder)
    with pytest.raises(WitnessFolderError, match="no cosignature"):
        Memory.recover(folder)
    mark.write_bytes(good)
    Memory(folder).close()
    shutil.rmtree(folder / "high-water")
    with pytest.raises(WitnessFolderError, match="is gone"):
        Memory(folder)


def test_a_mark_that_lags_behind_is_moved(folder):
    with Memory(folder) as memory:
        ask(memory, LOG.request(0, 20))
    mark = folder / "high-water" / origin_hash(LOG.origin)
    kept = mark.read_bytes()
    mark.unlink()
    Memory(folder).close()
    assert mark.read_bytes() == kept


def test_a_folder_that_was_restored_whole_is_found_out_by_its_own_cosignature(folder, tmp_path, caplog):
    with Memory(folder) as memory:
        ask(memory, LOG.request(0, 20))
    shutil.copytree(folder, tmp_path / "backup")
    with Memory(folder) as memory:
        ask(memory, LOG.request(20, 33))
        cosigned = memory.folder.read_mark(origin_hash(LOG.origin))
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    with Memory(folder) as memory:
        request = AddCheckpoint(20, LOG.proof(20, 33), cosigned).to_bytes()
        assert ask(memory, request) == 503
        assert ask(memory, LOG.request(20, 21)) == 503  # nothing of this log from now on
        assert "ALARM forgotten" in caplog.text
        other = read(OTHER.request(0, 5), memory.keys_of)
        assert not isinstance(memory.add_checkpoint(other), Refusal)
    assert "forgotten" in aiqyn("status", folder, status=1)
    assert [c.size for c in Memory.recover(folder)] == [33]
    with Memory(folder) as memory:
        assert ask(memory, LOG.request(33, 40)) > NOW


def test_a_witness_that_cosigned_two_histories_is_out_of_service_for_good(folder, tmp_path):
    twin = tmp_path / "twin"
    with Memory(folder) as memory:
        ask(memory, LOG.request(0, 10))
    shutil.copytree(folder, twin)
    with Memory(folder) as memory, Memory(twin) as other:
        ask(memory, LOG.request(10, 20))
        assert ask(other, LOG.fork(15).request(10, 20)) > NOW
        forged = other.folder.read_mark(origin_hash(LOG.origin))
        assert ask(memory, AddCheckpoint(20, (), forged).to_bytes()) == 503
        assert kinds(memory) == [("two-faced", 20), ("fork", 20)]
        assert ask(memory, LOG.request(20, 30)) == 503


def test_keys_that_do_not_fit_the_memory_are_refused(folder, tmp_path):
    Memory.create(tmp_path / "w2", [SignerKey.generate("w2", COSIGNATURE)])
    shutil.copy(folder / "state.sqlite", tmp_path / "w2" / "state.sqlite")
    with pytest.raises(WitnessFolderError, match="another witness"):
        Memory(tmp_path / "w2")
    (folder / "witness-ml-dsa-44.key").unlink()
    with pytest.raises(WitnessFolderError, match="key file is missing"):
        Memory(folder)
    with pytest.raises(WitnessFolderError, match="not the folder of a witness"):
        Memory(tmp_path)


def test_the_file_itself_refuses_to_go_back(memory):
    ask(memory, LOG.request(0, 20))
    raw = sqlite3.connect(memory.folder.state)
    for change in (
        "UPDATE heads SET size = 19",
        "UPDATE heads SET root = zeroblob(32)",
        "UPDATE heads SET timestamp = timestamp - 1",
        "UPDATE heads SET origin = 'x'",
        "DELETE FROM heads",
        "UPDATE cosigned SET root = zeroblob(32)",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            raw.execute(change)


# --- SIGKILL between any two lines -----------------------------------------------------------------


def die_after(lines, work):
    """Do the work in a process of its own that is killed after so many lines of ours; True if it was."""
    child = os.fork()
    if child == 0:
        left = lines

        def trace(frame, event, _):
            nonlocal left
            if "/audit/witness/" not in frame.f_code.co_filename:
                return None
            if event == "line":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        try:
            sys.settrace(trace)
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_kill_between_any_two_steps_leaves_the_memory_sound(folder):
    def grow():
        with Memory(folder) as memory:
            size = memory.logs()[-1].latest.size
            ask(memory, LOG.request(size, size + 1))

    with Memory(folder) as memory:
        ask(memory, LOG.request(0, 1))
    lines, sizes = 0, [1]
    while die_after(lines, grow):
        with Memory(folder) as memory:
            latest = memory.logs()[-1].latest
            mark = open_checkpoint(memory.folder.read_mark(origin_hash(LOG.origin)), LOG.key.verifier)
            assert mark.checkpoint == latest == LOG.checkpoint(latest.size)
            assert kinds(memory) == []
        assert latest.size - sizes[-1] in (0, 1)
        sizes.append(latest.size)
        lines += 3
    assert lines > 100
    assert sizes[-1] > 3


def test_a_kill_while_a_witness_is_made_leaves_none_or_a_whole_one(tmp_path):
    lines = 0
    while die_after(lines, lambda: Memory.create(tmp_path / "w", KEYS)):
        if (tmp_path / "w").exists():
            Memory(tmp_path / "w").close()
            break
        lines += 2
    assert lines > 20


def test_a_kill_while_it_recovers_can_be_repeated(folder):
    with Memory(folder) as memory:
        ask(memory, LOG.request(0, 20))
    (folder / "state.sqlite").unlink()
    lines = refused = 0
    while die_after(lines, lambda: Memory.recover(folder)):
        lines += 5
        try:
            Memory(folder).close()
        except (WitnessStateLostError, WitnessRolledBackError):
            refused += 1
    assert refused > 5
    with Memory(folder) as memory:
        assert memory.logs()[0].latest == LOG.checkpoint(20)


# --- the owner's commands -------------------------------------------------------------------------


def test_a_log_may_begin_where_its_owner_verified_it(folder, tmp_path):
    since = tmp_path / "checkpoint"
    since.write_bytes(LOG.note(20))
    said = aiqyn("log", "add", folder, LOG.key.verifier, "--since", since)
    assert f"Cosigned {LOG.origin} at size 20." in said
    with Memory(folder) as memory:
        assert ask(memory, LOG.request(0, 30)) == 409
        assert ask(memory, LOG.fork(3).request(20, 30)) == 422
        assert ask(memory, LOG.request(20, 30)) > NOW
    since.write_bytes(LOG.note(40))
    assert "already" in aiqyn("log", "add", folder, LOG.key.verifier, "--since", since, status=1)
    since.write_bytes(SmallLog.of(3, OTHER.origin, bytes(32)).note(3))
    assert "not signed" in aiqyn("log", "add", folder, OTHER.key.verifier, "--since", since, status=1)
    since.write_bytes(SmallLog.of(3, "log.example/third").note(3))
    assert "does not know" in aiqyn("log", "add", folder, LOG.key.verifier, "--since", since, status=1)


def test_only_keys_of_logs_are_added(folder):
    assert "type 0x04" in aiqyn("log", "add", folder, SignerKey.generate("x", COSIGNATURE).verifier, status=1)
    assert "VKEY" in aiqyn("log", "add", folder, "no-key", status=2)
    assert "does not know" in aiqyn("log", "remove", folder, LOG.pq.verifier, status=1)
    aiqyn("log", "add", folder, LOG.pq.verifier, LOG.key.verifier)
    listed = aiqyn("log", "list", folder).split()
    assert listed == [str(key) for key in (OTHER.key.verifier, LOG.key.verifier, LOG.pq.verifier)]
    with Memory(folder) as memory, pytest.raises(WitnessLogError):
        memory.remove_log(SignerKey.generate("x").verifier)


def test_a_key_that_this_machine_cannot_verify_is_refused_when_it_is_added(tmp_path, monkeypatch):
    Memory.create(tmp_path / "old", KEYS[:1])

    class NoMlDsa:
        @staticmethod
        def from_public_bytes(data):
            raise UnsupportedAlgorithm("ML-DSA-44 is not supported by this backend.")

    monkeypatch.setattr(note_module, "MLDSA44PublicKey", NoMlDsa)
    with Memory(tmp_path / "old") as memory:
        memory.add_log(LOG.key.verifier)
        with pytest.raises(AlgorithmUnavailableError):
            memory.add_log(LOG.pq.verifier)
        assert memory.keys_of(LOG.origin) == [LOG.key.verifier]


def test_status_tells_alarms_and_its_exit_status_does_too(folder, tmp_path):
    assert "nothing cosigned yet" in aiqyn("status", folder)
    with Memory(folder) as memory:
        ask(memory, LOG.request(0, 20))
        # Which of two roots is honest nobody knows: the exit status asks a person to look.
        ask(memory, AddCheckpoint(20, LOG.proof(19, 33), LOG.note(33)).to_bytes())
    assert "unproven" in aiqyn("status", folder, status=1)
    with Memory(folder, clock=lambda: 4_000_000_000) as memory:
        ask(memory, LOG.request(20, 30))
    assert "unproven" in aiqyn("status", folder)  # the log went on as it should
    with Memory(folder) as memory:
        ask(memory, LOG.fork(3).request(30, 30))
    status = json.loads(aiqyn("status", folder, "--json", "--save", tmp_path / "proof", status=1))
    assert status["name"] == NAME
    assert [(log["origin"], log["size"]) for log in status["logs"]] == [
        (OTHER.origin, None),
        (LOG.origin, 30),
    ]
    assert [(alarm["kind"], alarm["urgent"]) for alarm in status["alarms"]] == [
        ("unproven", False),
        ("fork", True),
    ]
    saved = tmp_path / "proof" / "alarm-2-fork"
    one, two = (
        open_checkpoint((saved / name).read_bytes(), LOG.key.verifier).checkpoint
        for name in ("checkpoint", "remembered")
    )
    assert (one.size, one.root != two.root) == (two.size, True)
    assert (
        AddCheckpoint.parse((saved / "request").read_bytes()).checkpoint
        == (saved / "checkpoint").read_bytes()
    )


def test_the_notes_of_a_log_with_both_keys_are_kept_with_both(folder):
    aiqyn("log", "add", folder, LOG.pq.verifier)
    with Memory(folder) as memory:
        ask(memory, LOG.request(0, 20, pq=True))
        note = SignedNote.parse(memory.folder.read_mark(origin_hash(LOG.origin)))
        assert [line.key_id for line in note.signatures[:2]] == [
            LOG.key.verifier.key_id,
            LOG.pq.verifier.key_id,
        ]
        only_pq = sign_checkpoint(LOG.checkpoint(30), LOG.pq)
        submission = read(AddCheckpoint(20, LOG.proof(20, 30), only_pq).to_bytes(), memory.keys_of)
        assert not isinstance(memory.add_checkpoint(submission), Refusal)
