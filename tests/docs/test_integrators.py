"""The page for integrators says what the code does, and what it tells them to type works as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from api.problems import STATUSES
from tests.docs.integrators import PAGE, commands, computed, rewritten

TEXT = PAGE.read_text("utf-8")


def test_the_tables_of_states_and_commands_are_those_of_the_code():
    assert rewritten(TEXT) == TEXT, "run: python -m tests.docs.integrators"


def test_every_command_and_every_state_of_an_appeal_stands_on_the_page():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", TEXT.partition("commands:begin")[2], re.MULTILINE))
    assert {cls.type for cls in commands()} <= {f"appeal.{name}" for name in rows}
    assert len(commands()) > 20
    by_type = {cls.type: computed(cls) for cls in commands()}
    assert by_type["appeal.decided"] == {"outcome", "ground", "late", "complain_until"}
    assert by_type["appeal.complaint_decided"] == {"late", "due"}
    assert by_type["appeal.taken"] == set()


def test_every_error_on_the_page_has_the_status_that_it_is_listed_with():
    rows = re.findall(r"^\| ([0-9, ]+) \| ((?:`[a-z-]+`(?:, )?)+) \|", TEXT, re.MULTILINE)
    assert len(rows) > 15
    for statuses, named in rows:
        for code in re.findall(r"`([a-z-]+)`", named):
            assert str(STATUSES[code]) in statuses.split(", "), code


@pytest.mark.skipif(
    shutil.which("curl") is None and "CI" not in os.environ, reason="the page's commands need curl"
)
def test_the_way_from_nothing_to_answered_appeals_is_as_described(short_path, unused_port):
    # Both are called as on an integrator's machine, whatever is on the path of this one.
    binaries = short_path / "bin"
    binaries.mkdir()
    for name, what in (("aiqyn", "-m cli.main"), ("python3", "")):
        command = binaries / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {what} "$@"\n')
        command.chmod(0o755)
    for source in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        (short_path / re.match(r"# (\w+\.py)", source)[1]).write_text(source)
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    script = "set -euo pipefail\ntrap 'kill ${SERVICE:-} 2>/dev/null; wait' EXIT\n" + "\n".join(
        blocks
    ).replace("AIQYN_PORT=8017", f"AIQYN_PORT={unused_port}")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AIQYN_")}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=short_path,
        env=environment | {"PATH": f"{binaries}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.splitlines()
    refused = next(line for line in printed if line.startswith("412 "))
    assert refused.startswith("412 /problems/stream-conflict appeal.returned ")
    assert "JT-2" in next(line for line in printed if line.endswith("Су лай ағады."))
    assert [line for line in printed if line.endswith(" 201 version 2")] == [
        f"{number} 201 version 2" for number in (1, 2, 3)
    ]
    followed = [line.split() for line in printed if " appeal." in line and "organisation/" in line]
    types = [line[3] for line in followed]
    assert types.count("appeal.submitted") == 4
    assert types[-3:] == ["appeal.taken"] * 3
    assert [t for t in types if t in ("appeal.decided", "appeal.finished")] == [
        "appeal.decided",
        "appeal.finished",
    ]
    assert printed[-2:] == ["201 2", "201 3"]
    assert "refused" not in done.stderr.lower(), done.stderr
