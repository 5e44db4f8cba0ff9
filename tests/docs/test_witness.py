"""What the page about witnesses says can be done as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ledger.tlog.checkpoint import open_checkpoint
from ledger.tlog.policy import Policy
from ledger.tlog.witness import origin_hash
from tests.audit.log_builder import ORIGIN, LogBuilder, serving
from tests.audit.test_auditor import published
from tests.audit.witness.running import Running, environment

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "witness.md").read_text("utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture
def shell(tmp_path):
    """Run a command of the page, with its folder in ``tmp_path`` and ``aiqyn`` on the path."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "aiqyn").write_text(f'#!/bin/sh\nexec {sys.executable} -m cli.main "$@"\n')
    (bin_ / "aiqyn").chmod(0o755)
    path = {"PATH": f"{bin_}:{os.environ['PATH']}"}

    def run(command, **variables):
        command = command.replace("/var/lib/witness", str(tmp_path / "witness"))
        return subprocess.run(
            ["sh", "-ec", command], cwd=tmp_path, env=environment() | path | variables,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return run


def test_a_council_goes_from_nothing_to_a_running_witness(shell, tmp_path):
    log = LogBuilder().usual()
    install, init, add, fetch, audit, since, serve, status = COMMANDS
    assert install == "pip install 'aiqyn[witness]'"
    made = shell(init)
    assert made.returncode == 0, made.stderr
    policy = Policy.parse(f"{made.stdout}quorum witness.council.example/w1\n".encode())
    assert {witness.url for witness in policy.witnesses} == {"https://witness.council.example"}

    log_key = log.log_key.verifier
    key = str(log_key)
    ledger = log.write(tmp_path / "ledger")
    (ledger / "v1" / "log").mkdir(parents=True)
    (ledger / "v1" / "log" / "checkpoint").write_bytes(log.checkpoint())
    with serving(ledger, published(log)) as server:
        fetched = shell(fetch, LEDGER=server.url)
        assert fetched.returncode == 0, fetched.stderr
        audited = shell(audit, LEDGER=server.url, LOG_KEY=key)
        assert audited.returncode == 0, audited.stdout + audited.stderr
    for command in (add, since):
        done = shell(command, LOG_KEY=key)
        assert done.returncode == 0, done.stderr

    assert serve == "aiqyn witness serve /var/lib/witness --port 8080"
    witness = Running(tmp_path / "witness")
    try:
        note = httpx.get(f"{witness.url}/{origin_hash(ORIGIN)}/checkpoint").content
    finally:
        witness.stop()
    opened = open_checkpoint(note, log_key, [w.vkey for w in policy.witnesses])
    assert len(opened.cosignatures) == 2
    assert opened.checkpoint.size == log.size
    shown = shell(status)
    assert shown.returncode == 0
    assert f"{ORIGIN}: size {log.size}, cosigned" in shown.stdout


def test_every_command_that_the_page_names_exists(shell):
    for command in sorted(set(re.findall(r"aiqyn witness ((?:log )?[a-z]+)", PAGE))):
        helped = shell(f"aiqyn witness {command} --help")
        assert helped.returncode == 0, command
