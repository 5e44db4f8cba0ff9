"""Whose signatures a checkpoint needs, and how far those of witnesses reach."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import audit
from ledger.tlog.checkpoint import Checkpoint, cosign_checkpoint, sign_checkpoint
from ledger.tlog.merkle import leaf_hash, root_from_leaves
from ledger.tlog.note import COSIGNATURE, ML_DSA_44, SignedNote, SignerKey
from ledger.tlog.policy import Policy
from tests.audit.log_builder import ORIGIN, LogBuilder, info, serving

TIME = 1_780_000_000
SECOND = SignerKey.generate(ORIGIN, ML_DSA_44)
WITNESSES = {
    "north": SignerKey.generate("north.example/w", COSIGNATURE),
    "south": SignerKey.generate("south.example/w", ML_DSA_44),
}


@pytest.fixture
def usual() -> LogBuilder:
    return LogBuilder().usual()


def signed(builder: LogBuilder, size: int | None = None, *, by=(), cosigned=()) -> bytes:
    """A checkpoint by the log's key and further ones of the log, cosigned by witnesses."""
    size = builder.size if size is None else size
    root = root_from_leaves(map(leaf_hash, builder.entries[:size]))
    checkpoint = Checkpoint(ORIGIN, size, root)
    note = SignedNote.parse(sign_checkpoint(checkpoint, builder.log_key, *by, timestamp=TIME))
    lines = [cosign_checkpoint(checkpoint, WITNESSES[name], TIME) for name in cosigned]
    return note.with_signatures(*lines).to_bytes() if lines else note.to_bytes()


def policy(builder: LogBuilder, quorum: str = "all") -> Policy:
    lines = [f"log {builder.vkey}"]
    lines += [f"witness {name} {key.verifier}" for name, key in WITNESSES.items()]
    lines += [f"group both {quorum} north south", "quorum both", ""]
    return Policy.parse("\n".join(lines).encode())


def served(builder: LogBuilder, folder, note: bytes, newest: bytes | None = None):
    builder.write(folder)
    (folder / "log" / "checkpoint").write_bytes(note)
    if newest is not None:
        (folder / "v1" / "log").mkdir(parents=True)
        (folder / "v1" / "log" / "checkpoint").write_bytes(newest)
    return folder


# --- the log's own keys -------------------------------------------------------------------------


def test_every_key_of_the_log_must_have_signed(usual, tmp_path):
    keys = [usual.vkey, str(SECOND.verifier)]
    report = audit.run(served(usual, tmp_path, signed(usual, by=[SECOND])), log_key=keys)
    assert (report.status, report.log_keys, report.log_key) == ("clean", keys, usual.vkey)


def test_a_checkpoint_that_one_of_the_keys_did_not_sign_is_a_finding(usual, tmp_path):
    folder = served(usual, tmp_path, signed(usual))
    report = audit.run(folder, log_key=[usual.vkey, str(SECOND.verifier)])
    assert [finding.rule for finding in report.findings] == ["checkpoint"]
    assert report.exit_code == 1


def test_the_second_key_alone_is_enough_to_know_a_log_by(usual, tmp_path):
    folder = served(usual, tmp_path, signed(usual, by=[SECOND]))
    assert audit.run(folder, log_key=str(SECOND.verifier)).status == "clean"


def test_keys_that_the_operator_names_are_compared_with_those_given(usual, tmp_path):
    answers = {"/v1/log": info(usual) | {"more_keys": [str(SECOND.verifier)]}}
    with serving(served(usual, tmp_path, signed(usual, by=[SECOND])), answers) as server:
        for keys, status in (
            ([usual.vkey], "clean"),
            ([usual.vkey, str(SECOND.verifier)], "clean"),
            (None, "clean"),
        ):
            assert audit.run(server.url, log_key=keys).status == status
        answers["/v1/log"]["more_keys"] = []
        report = audit.run(server.url, log_key=[usual.vkey, str(SECOND.verifier)])
    assert [finding.rule for finding in report.findings] == ["log-key"]


# --- witnesses ----------------------------------------------------------------------------------


def test_a_cosigned_checkpoint_satisfies_its_policy(usual, tmp_path):
    folder = served(usual, tmp_path, signed(usual, cosigned=["north", "south"]))
    report = audit.run(folder, log_key=usual.vkey, policy=policy(usual))
    assert report.status == "clean"
    assert report.cosigned is not None
    assert (report.cosigned.size, report.cosigned.quorum) == (usual.size, "both")
    at = datetime.fromtimestamp(TIME, UTC)
    assert report.cosigned.witnesses == [("north", at), ("south", at)]


def test_the_policy_names_the_logs_key(usual, tmp_path):
    folder = served(usual, tmp_path, signed(usual, cosigned=["north", "south"]))
    report = audit.run(folder, policy=policy(usual))
    assert (report.status, report.log_key, report.log_key_pinned) == ("clean", usual.vkey, True)


def test_a_missing_quorum_is_a_finding_and_the_audit_goes_on(usual, tmp_path):
    folder = served(usual, tmp_path, signed(usual, cosigned=["north"]))
    report = audit.run(folder, log_key=usual.vkey, policy=policy(usual))
    assert [finding.rule for finding in report.findings] == ["cosignatures"]
    assert (report.replayed, report.cosigned) == (usual.size, None)
    assert audit.run(folder, log_key=usual.vkey, policy=policy(usual, "any")).status == "clean"


def test_the_newest_checkpoint_is_audited_and_cosignatures_reach_less_far(usual, tmp_path):
    note = signed(usual, 30, cosigned=["north", "south"])
    folder = served(usual, tmp_path, note, newest=signed(usual))
    report = audit.run(folder, log_key=usual.vkey, policy=policy(usual))
    assert (report.status, report.size, report.replayed) == ("clean", usual.size, usual.size)
    assert report.cosigned is not None
    assert report.cosigned.size == 30


def test_a_cosigned_checkpoint_of_another_history_is_a_fork(usual, tmp_path):
    """The operator shows the witnesses one history, and everybody else another."""
    hidden = LogBuilder(log_key=usual.log_key)
    hidden.entries = [*usual.entries[:25], *usual.entries[26:]]
    note = signed(hidden, 30, cosigned=["north", "south"])
    folder = served(usual, tmp_path, note, newest=signed(usual))
    report = audit.run(folder, log_key=usual.vkey, policy=policy(usual))
    assert [(finding.rule, finding.position, finding.last) for finding in report.findings] == [
        ("fork", 0, 29)
    ]


def test_a_cosigned_checkpoint_beyond_the_newest_one_is_found(usual, tmp_path):
    note = signed(usual, cosigned=["north", "south"])
    folder = served(usual, tmp_path, note, newest=signed(usual, usual.size - 1))
    for tile in ("entries", "0"):  # a server still has the smaller partial tiles
        whole = folder / "log" / "tile" / tile / "000.p" / str(usual.size)
        last = len(usual.entries[-1]) + 2 if tile == "entries" else 32
        whole.with_name(str(usual.size - 1)).write_bytes(whole.read_bytes()[:-last])
    report = audit.run(folder, log_key=usual.vkey, policy=policy(usual))
    assert [finding.rule for finding in report.findings] == ["log-shrank"]


def test_a_log_that_was_never_cosigned_is_audited_all_the_same(usual, tmp_path):
    folder = served(usual, tmp_path, signed(usual), newest=signed(usual))
    (folder / "log" / "checkpoint").unlink()
    assert audit.run(folder, log_key=usual.vkey).status == "clean"
    report = audit.run(folder, log_key=usual.vkey, policy=policy(usual))
    assert [finding.rule for finding in report.findings] == ["cosignatures"]


def test_a_wrong_signature_of_a_known_witness_is_a_finding(usual, tmp_path):
    note = SignedNote.parse(signed(usual))
    other = cosign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), WITNESSES["north"], TIME)
    folder = served(usual, tmp_path, note.with_signatures(other).to_bytes())
    report = audit.run(folder, log_key=usual.vkey, policy=policy(usual))
    assert [finding.rule for finding in report.findings] == ["cosignatures"]
