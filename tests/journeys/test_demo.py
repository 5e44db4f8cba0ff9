"""The demo tells its story to the end, and its exit status says that every step held."""

from __future__ import annotations

import subprocess
import sys


def test_the_demo_holds_every_step(short_path):
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "demo", "--exit", "--port", "0", "--home", str(short_path)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert "The API says 340, the log says 340." in " ".join(done.stdout.split())
    assert "What the council sees" in done.stdout
    assert "appeal.complaint_decided" in done.stdout
