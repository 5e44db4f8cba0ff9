"""Signatures per second over HTTP: full CMS verification, durable, the load from a second process.

The service runs as `aiqyn serve` on its embedded PostgreSQL, everything on this machine. Every request
is another invented person with an RSA-2048 certificate. The yardstick of the same run is the bare
verification of the same CMS messages on one core, with nothing recorded.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from cli.local import LocalService
from cli.petition_story import PetitionStory
from ledger.eds.authority import Authority
from ledger.eds.people import invent_person
from ledger.eds.verify import verify

SIGNERS = int(os.environ.get("BENCH_SIGNERS", "12000"))
CONNECTIONS = int(os.environ.get("BENCH_CONNECTIONS", "256"))
WORKERS = os.environ.get("BENCH_WORKERS", str(os.cpu_count()))


def main() -> None:
    """Print the rate, p50 and p99, and the yardstick."""
    home = Path(tempfile.mkdtemp(prefix="aiqyn-bench-"))
    authority = Authority.create("rsa", pool=8)
    try:
        with LocalService(home, authority, settings={"AIQYN_WORKERS": WORKERS}) as service:
            story = PetitionStory(Console(quiet=True), service, authority, 0)
            statement = story.open_collection()
            messages = [
                authority.person(invent_person(number)).sign(statement)
                for number in range(1000, 1000 + SIGNERS)
            ]
            bare = _bare_verifications(authority, messages[:3000], statement)
            bodies = b"\n".join(
                json.dumps({"cms": base64.b64encode(cms).decode(), "region": "71"}).encode()
                for cms in messages
            )
            before = story.count()
            done = subprocess.run(
                [sys.executable, "-m", "bench.load", str(service.port), story.signing_path, str(CONNECTIONS)],
                input=bodies,
                capture_output=True,
                check=True,
            )
            result = json.loads(done.stdout)
            story.wait_for_count(before + SIGNERS)
            print(
                f"{SIGNERS} signers, {CONNECTIONS} connections, {WORKERS} worker(s): "
                f"{result['rate']:,.0f} signatures/s, p50 {result['p50_ms']:.0f} ms, "
                f"p99 {result['p99_ms']:.0f} ms, answers {result['statuses']}; bare verification "
                f"{bare:,.0f}/s on one core, ratio {result['rate'] / bare:.2f}"
            )
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _bare_verifications(authority: Authority, messages: list[bytes], statement: bytes) -> float:
    at = datetime.now(UTC)
    started = time.perf_counter()
    for cms in messages:
        verify(cms, content=statement, trust=authority.trust, at=at)
    return len(messages) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
