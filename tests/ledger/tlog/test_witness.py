"""A witness answers as C2SP tlog-witness says, and never cosigns two histories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.merkle import EMPTY_ROOT
from ledger.tlog.note import COSIGNATURE, ML_DSA_44, SignedNote, SignerKey
from ledger.tlog.witness import (
    MAX_REQUEST_BYTES,
    SIZE_TYPE,
    AddCheckpoint,
    Refusal,
    Submission,
    WitnessRequestError,
    judge,
    origin_hash,
    proves_fork,
    read,
)
from tests.ledger.tlog.small_log import SmallLog
from tests.ledger.tlog.support import mutations

LOG = SmallLog.of(40)
OTHER = SmallLog.of(40, "log.example/other", bytes(range(1, 33)))
W1 = SignerKey.from_seed("witness.example/w1", bytes(range(2, 34)), COSIGNATURE)
KEYS = {LOG.origin: [LOG.key.verifier, LOG.pq.verifier], OTHER.origin: [OTHER.key.verifier]}
H = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

requests = st.builds(
    AddCheckpoint,
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple),
    st.binary(min_size=1, max_size=300),
)


def keys_of(origin):
    return KEYS.get(origin, [])


def submission(old, proof, note):
    found = read(AddCheckpoint(old, tuple(proof), note).to_bytes(), keys_of, [W1.verifier])
    assert isinstance(found, Submission), found
    return found


def ask(latest, body):
    """Status, and what is remembered then."""
    found = read(body, keys_of)
    verdict = found if isinstance(found, Refusal) else judge(found, latest)
    return (verdict.status, latest) if isinstance(verdict, Refusal) else (200, verdict)


@given(requests)
def test_a_request_is_read_back_as_it_was_written(request):
    assert AddCheckpoint.parse(request.to_bytes()) == request


def test_the_text_is_that_of_the_specification():
    body = AddCheckpoint(20852014, (bytes(range(32)),), b"example.com/behind-the-sofa\n").to_bytes()
    assert body == f"old 20852014\n{H}\n\nexample.com/behind-the-sofa\n".encode()
    assert AddCheckpoint(0, (), b"x").to_bytes() == b"old 0\n\nx"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b"old 0",
        b"old 0\n",
        b"old 0\n\n",
        b"0\n\nx",
        b"old\n\nx",
        b"old \n\nx",
        b"Old 0\n\nx",
        b" old 0\n\nx",
        b"old  0\n\nx",
        b"old 00\n\nx",
        b"old +1\n\nx",
        b"old -1\n\nx",
        b"old 1 \n\nx",
        b"old 1\r\n\nx",
        b"old 9223372036854775808\n\nx",
        "old ٣\n\nx".encode(),
        b"\nold 0\n\nx",
        f"old 1\n{H} \n\nx".encode(),
        f"old 1\n{H[:-2]}9=\n\nx".encode(),
        b"old 1\nAAAA\n\nx",
        b"old 1\n\xff\n\nx",
        ("old 1\n" + f"{H}\n" * 64 + "\nx").encode(),
        b"old 0\n\n" + b"x" * MAX_REQUEST_BYTES,
    ],
)
def test_a_malformed_request_is_refused(body):
    with pytest.raises(WitnessRequestError):
        AddCheckpoint.parse(body)
    assert ask(None, body)[0] == 400


def test_a_request_that_could_not_be_read_is_not_made():
    for arguments in (
        (-1, (), b"c"),
        (2**63, (), b"c"),
        (0, (bytes(31),), b"c"),
        (0, (bytes(32),) * 64, b"c"),
    ):
        with pytest.raises(WitnessRequestError):
            AddCheckpoint(*arguments)
    with pytest.raises(WitnessRequestError):
        AddCheckpoint(0, (), b"")
    with pytest.raises(WitnessRequestError):
        AddCheckpoint(0, (), bytes(MAX_REQUEST_BYTES)).to_bytes()


TEXT_5 = LOG.checkpoint(5).to_text()


def body_of(note, old=0):
    return f"old {old}\n\n".encode() + note


@pytest.mark.parametrize(
    ("note", "status"),
    [
        (LOG.note(5), 200),
        (LOG.note(5, pq=True), 200),
        (b"no note", 400),
        (b"no\ncheckpoint\n\n" + LOG.note(5).split(b"\n\n")[1], 400),
        (LOG.note(5).replace(b"\n5\n", b"\n05\n"), 400),
        (b"\xff" + LOG.note(5), 400),
        (LOG.note(5).replace(b"\n5\n", b"\n\t5\n"), 400),
        (SmallLog.of(5, "log.example/unknown").note(5), 404),
        (b"log.example/unknown\n1\n" + H.encode() + b"\n\nno signatures", 404),
        (LOG.note(5).replace(b"\n5\n", b"\n6\n"), 403),
        (LOG.note(5)[:-3] + b"x=\n", 403),
        (LOG.note(5).split(b"\n\n")[0] + b"\n\n", 403),
        (LOG.note(5) + b"\n", 400),
        (SmallLog.of(5, LOG.origin, bytes(32)).note(5), 403),
        (SignedNote(TEXT_5, (OTHER.key.sign(TEXT_5),)).to_bytes(), 403),
    ],
)  # fmt: skip
def test_what_is_asked_before_the_memory(note, status):
    assert ask(None, body_of(note))[0] == status


def test_signatures_of_unknown_keys_are_ignored_even_under_a_known_name():
    impostor = SignerKey.generate(LOG.origin)
    note = SignedNote.parse(LOG.note(5)).with_signatures(impostor.sign(LOG.checkpoint(5).to_text()))
    found = submission(0, (), note.to_bytes())
    assert found.note == SignedNote.parse(LOG.note(5))


def test_one_wrong_signature_of_a_trusted_key_spoils_the_request():
    wrong = LOG.pq.cosign(LOG.checkpoint(6).to_text(), 0)
    note = SignedNote.parse(LOG.note(5)).with_signatures(wrong)
    assert ask(None, body_of(note.to_bytes()))[0] == 403


def test_own_cosignatures_are_recognised_and_made_up_ones_ignored():
    text = LOG.checkpoint(5).to_text()
    real = W1.cosign(text, 1_700_000_000)
    made_up = W1.cosign(LOG.checkpoint(6).to_text(), 1_700_000_000)
    note = SignedNote.parse(LOG.note(5)).with_signatures(made_up, real)
    found = submission(0, (), note.to_bytes())
    assert found.own == (real,)
    assert found.note == SignedNote.parse(LOG.note(5))


AT_20 = LOG.checkpoint(20)


@pytest.mark.parametrize(
    ("latest", "body", "status"),
    [
        (None, LOG.request(0, 20), 200),
        (None, LOG.request(0, 0), 200),
        (None, LOG.request(1, 20), 409),
        (None, AddCheckpoint(0, (bytes(32),), LOG.note(20)).to_bytes(), 422),
        (LOG.checkpoint(0), LOG.request(0, 20), 200),
        (AT_20, LOG.request(20, 20), 200),
        (AT_20, LOG.request(20, 33), 200),
        (AT_20, LOG.request(20, 19), 400),
        (AT_20, LOG.request(21, 20), 400),
        (AT_20, LOG.request(19, 33), 409),
        (AT_20, LOG.request(21, 33), 409),
        (AT_20, LOG.request(0, 33), 409),
        (AT_20, AddCheckpoint(20, LOG.proof(19, 33), LOG.note(33)).to_bytes(), 422),
        (AT_20, AddCheckpoint(20, (), LOG.note(33)).to_bytes(), 422),
        (AT_20, AddCheckpoint(20, LOG.proof(20, 33), LOG.note(20)).to_bytes(), 422),
        (AT_20, LOG.fork(19).request(20, 20), 422),
        (AT_20, LOG.fork(19).request(20, 33), 422),
        (AT_20, LOG.fork(20).request(20, 33), 200),
    ],
)
def test_what_the_memory_decides(latest, body, status):
    expected = read(body, keys_of)
    assert ask(latest, body)[0] == status
    if status == 200:
        checkpoint = Checkpoint(LOG.origin, expected.size, expected.root)
        assert ask(latest, body)[1] == checkpoint


def test_a_409_tells_the_remembered_size_and_its_type():
    refusal = judge(read(LOG.request(19, 33), keys_of), AT_20)
    assert (refusal.status, refusal.body, refusal.content_type) == (409, b"20\n", SIZE_TYPE)
    never = judge(read(LOG.request(19, 33), keys_of), None)
    assert (never.status, never.body) == (409, b"0\n")


@pytest.mark.parametrize("key", [LOG.key, LOG.pq], ids=["Ed25519", "ML-DSA-44"])
def test_a_size_of_zero_needs_the_root_of_the_empty_tree(key):
    text = f"{LOG.origin}\n0\n{H}\n"
    line = key.cosign(text, 0) if key.verifier.algorithm == ML_DSA_44 else key.sign(text)
    body = body_of(SignedNote(text, (line,)).to_bytes())
    assert ask(None, body)[0] == 422
    assert proves_fork(read(body, keys_of), Checkpoint(LOG.origin, 0, EMPTY_ROOT))


def test_the_origin_hash_is_sha256_in_hex():
    assert origin_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# --- forks ----------------------------------------------------------------------------------------


def test_two_roots_of_one_size_prove_a_fork():
    assert proves_fork(submission(20, (), LOG.fork(3).note(20)), AT_20)
    assert not proves_fork(submission(20, (), LOG.note(20)), AT_20)


def test_the_forks_own_proof_shows_another_root_at_the_old_size():
    fork = LOG.fork(3)
    assert proves_fork(submission(20, fork.proof(20, 33), fork.note(33)), AT_20)
    # Without it nobody can tell: the proof may as well be somebody's mistake.
    assert not proves_fork(submission(20, LOG.proof(20, 33), fork.note(33)), AT_20)
    # At a power of two the proof does not hold the old root.
    at_16 = LOG.checkpoint(16)
    assert not proves_fork(submission(16, fork.proof(16, 33), fork.note(33)), at_16)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_no_wrong_proof_makes_an_honest_log_look_forked(old, new, data):
    proof = data.draw(mutations(LOG.proof(old, new)))
    if len(proof) > 63 or any(len(value) != 32 for value in proof):
        return
    assert not proves_fork(submission(old, proof, LOG.note(new)), LOG.checkpoint(old))


@given(st.integers(1, 38), st.data())
def test_a_fork_that_shows_its_proof_is_proven(at, data):
    old = data.draw(st.integers(at + 1, 39))
    new = data.draw(st.integers(old, 40))
    fork = LOG.fork(at)
    found = proves_fork(submission(old, fork.proof(old, new), fork.note(new)), LOG.checkpoint(old))
    assert found is (old == new or old & (old - 1) != 0)


@given(st.lists(st.tuples(st.integers(0, 41), st.integers(0, 40), st.integers(0, 40), st.booleans())))
def test_whatever_is_asked_the_cosigned_trees_are_one_history(moves):
    """Each cosigned tree contains the one before, whichever forks are offered in between."""
    latest, tip = None, ()
    for old, new, at, honest_old in moves:
        tree = LOG.fork(at)
        known = 0 if latest is None else latest.size
        status, after = ask(latest, tree.request(known if honest_old else min(old, 40), new))
        if status == 200:
            assert tree.entries[: len(tip)] == tip
            assert after == tree.checkpoint(new)
            latest, tip = after, tree.entries[:new]
        else:
            assert after == latest
            contains = tree.entries[:known] == tip and new >= known
            assert not (contains and honest_old), (status, new, known)
