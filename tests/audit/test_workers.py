"""Processes that check bundles find what one process finds, and their loss costs time alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import audit
from audit import replay
from audit.checking import FORGED, MALFORMED, OTHER, UNKNOWN_KEY, VERIFIED, Keys, check
from audit.workers import Workers
from ledger.keys import SigningKey
from ledger.tlog.tiles import bundle
from tests.audit.log_builder import LogBuilder


@pytest.fixture(scope="module")
def long_log() -> LogBuilder:
    """Some bundles with all that can be wrong with a signature, and what makes processes ask for keys."""
    builder = LogBuilder().begin().collecting(1, required=5000)
    for person in range(3, 700):
        builder.sign(1, person, "71")
        if person % 50 == 0:
            builder.withdraw(1, person)
        if person % 111 == 0:
            builder.sign(1, person)
        if person % 200 == 0:
            builder.sign(1, 10_000 + person, key=SigningKey.generate())
    builder.gateway = SigningKey.generate()
    builder.register_key("organisation/operator", builder.gateway, "gateway")
    for person in range(700, 900):
        builder.sign(1, person, "75")
    builder.entries.append(b"no event")
    return builder


@pytest.fixture
def folder(long_log, tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "PROCESSES_FROM", 1)
    return long_log.write(tmp_path)


def test_processes_find_what_one_process_finds(long_log, folder):
    alone = audit.run(folder, log_key=long_log.vkey, processes=0)
    together = audit.run(folder, log_key=long_log.vkey, processes=2)
    assert len(alone.findings) >= 10
    assert together.findings == alone.findings
    assert together.growth == alone.growth
    assert (together.events, together.signatures) == (alone.events, alone.signatures)


def test_no_process_is_left_behind(long_log, folder):
    audit.run(folder, log_key=long_log.vkey, processes=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("audit")]
    listed = subprocess.run(["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    assert "audit.workers" not in listed.stdout


def test_a_process_that_is_killed_costs_time_alone(long_log):
    data = bundle(long_log.entries[:256])
    with Workers(1) as workers:
        first = workers.check(data, 256, 0)
        os.kill(workers._workers[0]._process.pid, signal.SIGKILL)
        assert workers.check(data, 256, 0) == first
        time.sleep(0.1)
        assert workers.check(data, 256, 0) == first


def test_an_audit_may_be_started_from_any_script(long_log, folder, tmp_path):
    """No guard, no file, no import of the script again: what a person types into a notebook."""
    code = (
        "from audit import replay; replay.PROCESSES_FROM = 1\n"
        "import audit, sys\n"
        "print(audit.run(sys.argv[1], log_key=sys.argv[2], processes=2).replayed)"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, script, folder, long_log.vkey], capture_output=True, text=True, env=environment
    )
    assert (done.stdout.strip(), done.stderr) == (str(long_log.size), "")


def test_verdicts_of_a_bundle_by_themselves(long_log):
    builder = LogBuilder().begin().collecting(1)
    lawful = builder.sign(1, 3, "71")
    unusual = builder.sign(1, 4, n=2)
    stranger = builder.sign(1, 5, key=SigningKey.generate())
    forged = builder.sign(1, 6)
    head, _, tail = builder.entries[forged].split(b".")
    builder.entries[forged] = b".".join((head, builder.entries[lawful].split(b".")[1], tail))
    builder.entries.append(b"no event")
    checked = check(bundle(builder.entries), builder.size, 0, Keys())
    verdicts = {position: checked.codes[position] for position in (unusual, stranger, forged)}
    assert verdicts == {unusual: VERIFIED, stranger: UNKNOWN_KEY, forged: FORGED}
    assert checked.codes[lawful] < OTHER
    assert checked.codes[-1] == MALFORMED
    assert checked.codes[0] == UNKNOWN_KEY, "whoever folds knows whether to believe the first entry"
    assert checked.codes[1] == VERIFIED
    assert len(checked.leaves) == 32 * builder.size
