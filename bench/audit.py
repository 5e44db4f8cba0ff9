"""An audit of a million entries, beside what bare Ed25519 verification allows on the same cores.

The log is a year of petitions and appeals (see :mod:`bench.audit_log`), in a folder. The yardstick: as many
processes as there are cores do nothing but verify the signatures of some of these entries, through the same
function of libsodium, before the audit and after it; the audit is held against the faster of the two. Memory
is the greatest sum of resident pages over all processes of the audit, pages that they share counted again in
each. At the end 1,000 more entries are signed, and the next audit goes on from the state of the first.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from nacl.bindings import crypto_sign_open

from bench.audit_log import write
from ledger.statement import open_signed
from ledger.tlog.tiles import WIDTH, entries_path, parse_bundle

EVENTS = int(os.environ.get("BENCH_AUDIT", "1000000"))
APPEALS = float(os.environ.get("BENCH_AUDIT_APPEALS", "0.15"))
MORE = 1_000
SECONDS = 8
SAMPLE = 2_000

Signed = list[tuple[bytes, bytes]]
"""Signature and what it is over; public key."""


class Audited(NamedTuple):
    """One run of ``aiqyn audit`` as a process of its own."""

    report: dict[str, Any]
    seconds: float
    memory: int
    """Bytes, all processes together."""


def verify(signed: Signed) -> float:
    """Signatures a second, in this process."""
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        for message, key in signed:
            crypto_sign_open(message, key)
        done += len(signed)
    return done / (time.perf_counter() - started)


def bare(signed: Signed) -> float:
    """Signatures a second, a process on each core."""
    cores = os.cpu_count() or 1
    with get_context("spawn").Pool(cores) as pool:
        pool.map(len, [()] * cores)  # started
        return sum(pool.map(verify, [signed] * cores, chunksize=1))


def sampled(folder: Path, key_of: dict[str, bytes]) -> Signed:
    """Entries from all over the log."""
    found: Signed = []
    bundles = EVENTS // WIDTH
    for index in range(0, bundles, max(1, bundles * 16 // SAMPLE)):
        entries = parse_bundle((folder / "log" / entries_path(index)).read_bytes(), WIDTH)
        for entry in entries[:: WIDTH // 16]:
            event, signature, message = open_signed(entry)
            found.append((signature + message, key_of[event.kid]))
    return found


def audit(folder: Path, vkey: str, state: Path) -> Audited:
    """``aiqyn audit`` over the folder, its memory watched."""
    command = [sys.executable, "-m", "cli.main", "audit", str(folder), "--log-key", vkey]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started, memory = time.perf_counter(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*command, "--state", str(state), "--json"], stdout=output, env=environment
        )
        while process.poll() is None:
            memory = max(memory, resident(process.pid))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
        output.seek(0)
        report = json.loads(output.read())
    if report["status"] != "clean":
        raise SystemExit(f"The audit is not clean: {report['findings'][:3]} {report['stopped']}")
    return Audited(report, seconds, memory)


def resident(pid: int) -> int:
    """Bytes of a process and of its children."""
    parents: dict[int, list[int]] = {}
    pages: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(folder.name))
                pages[int(folder.name)] = int(fields[21])
            except OSError:
                continue  # it ended meanwhile
    family, total = [pid], 0
    while family:
        member = family.pop()
        total += pages.get(member, 0)
        family += parents.get(member, [])
    return total * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Print both rates, their ratio, the memory, and the time of the next audit."""
    with tempfile.TemporaryDirectory(prefix="aiqyn-bench-") as name:
        folder = Path(name)
        started = time.perf_counter()
        log, written = write(folder, EVENTS + MORE, appeals=APPEALS)
        log.sign(EVENTS)
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}: "
            f"{EVENTS:,} entries, {written.appeals / (EVENTS + MORE):.0%} of them about appeals, "
            f"sealed in {time.perf_counter() - started:.0f} s",
            flush=True,
        )
        signed = sampled(folder, written.keys)
        before = bare(signed)
        first = audit(folder, written.vkey, folder / "state")
        after = bare(signed)
        rate, yardstick = EVENTS / first.seconds, max(before, after)
        print(f"bare verification, before and after {before:>10,.0f}/s {after:>10,.0f}/s")
        print(f"audit, from the first entry         {rate:>10,.0f}/s {first.seconds:>8.1f} s")
        print(f"ratio to the faster                 {rate / yardstick:>10.2f}")
        print(f"memory of all processes             {first.memory / 2**20:>10,.0f} MiB")
        log.sign(EVENTS + MORE)
        second = audit(folder, written.vkey, folder / "state")
        size = (folder / "state").stat().st_size
        checked = second.report["replayed"] - second.report["resumed_at"]
        print(f"the next audit, {checked:,} new entries   {second.seconds:>10.1f} s")
        print(f"the state it goes on from           {size / 2**20:>10,.0f} MiB")


if __name__ == "__main__":
    main()
