"""What the README tells a newcomer to type works as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"


def blocks(section):
    """The shell blocks of one section."""
    text = README.read_text("utf-8").split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


@pytest.mark.skipif(
    shutil.which("curl") is None and "CI" not in os.environ, reason="the README's commands need curl"
)
def test_the_way_from_an_empty_folder_to_a_receipt_is_as_described(short_path, unused_port):
    # aiqyn is called as the installed command would call it, whatever is on the path of this machine.
    binaries = short_path / "bin"
    binaries.mkdir()
    command = binaries / "aiqyn"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli.main "$@"\n')
    command.chmod(0o755)
    script = "set -euo pipefail\ntrap 'kill ${SERVICE:-} 2>/dev/null; wait' EXIT\n" + "\n".join(
        blocks("Run it")
    ).replace("AIQYN_PORT=8017", f"AIQYN_PORT={unused_port}")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AIQYN_")}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=short_path,
        env=environment | {"PATH": f"{binaries}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Clean" in done.stdout
