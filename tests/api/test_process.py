"""``aiqyn init`` and ``aiqyn serve`` as an operator runs them: real processes, real signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from ledger.config import Settings
from ledger.operator import OperatorKeys, keys_folder

AIQYN = [sys.executable, "-m", "cli.main"]


def environment(database, home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIQYN_")}
    return kept | {
        "AIQYN_HOME": str(home),
        "AIQYN_DATABASE_URL": database.url,
        "AIQYN_ADMIN_DATABASE_URL": database.admin_url,
        "AIQYN_POOL_MIN": "1",
    }


def run(database, home, *arguments):
    done = subprocess.run(
        [*AIQYN, *arguments], env=environment(database, home), capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


@contextmanager
def serving(database, home, workers=2):
    """The parent process and its address."""
    command = [*AIQYN, "serve", "--port", "0", "--workers", str(workers)]
    parent = subprocess.Popen(
        command, env=environment(database, home), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        line = parent.stdout.readline()
        base = re.search(r"http://\S+", line)[0]
        wait_until(lambda: ready(base))
        yield parent, base
    finally:
        if parent.poll() is None:
            parent.kill()
        parent.wait(30)
        parent.stdout.close()


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def ready(base):
    try:
        return httpx.get(f"{base}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def children(pid):
    """Numbers of all processes below ``pid``."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        direct = [int(number) for number in file.read().split()]
    return direct + [below for child in direct for below in children(child)]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def spawned(parent):
    """The service's own processes, without Python's helper that cleans up after them."""
    found = []
    for pid in children(parent.pid):
        with open(f"/proc/{pid}/cmdline") as file:
            if "spawn_main" in file.read():
                found.append(pid)
    return found


def test_a_ledger_is_begun_once_and_served_afterwards(database, tmp_path):
    status, said = run(database, tmp_path, "serve")
    assert status == 1
    assert "aiqyn init" in said

    status, said = run(database, tmp_path, "init", "--slug", "ministry", "--name-kk", "Қызмет")
    assert status == 0, said
    verifier = str(OperatorKeys.load(Settings(home=tmp_path)).log.verifier)
    assert verifier in said
    status, said = run(database, tmp_path, "init")
    assert status == 0, said
    assert "exists already" in said

    village = ["village", "--kind", "akimat", "--level", "district", "--name-kk", "Ауыл", "--name-ru", "Село"]
    with serving(database, tmp_path, workers=1) as (parent, base):
        # While it runs: both processes append to one log.
        status, said = run(database, tmp_path, "organisation", "add", *village, "--role", "body")
        assert status == 0, said
        status, said = run(database, tmp_path, "token", "create", "village", "--label", "test")
        assert status == 0, said
        token = said.strip().splitlines()[-1]
        posted = httpx.post(
            f"{base}/v1/events",
            json={"stream": "petition/none", "type": "petition.registered", "data": {"number": "1"}},
            headers={"authorization": f"Bearer {token}"},
        )
        assert posted.status_code == 404, posted.text
        assert httpx.get(f"{base}/v1/log").json()["operator"] == "organisation/ministry"
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(30) == 0
    status, said = run(database, tmp_path, "organisation", "list")
    assert "organisation/village" in said


@pytest.mark.parametrize("missing", ["log.key", "operator.key", "clock.key", "vault.key"])
def test_a_start_that_was_cut_off_is_repeated(database, tmp_path, missing):
    settings = Settings(home=tmp_path)
    OperatorKeys.complete(settings)
    (keys_folder(settings) / missing).unlink()
    before = {path.name: path.read_text() for path in keys_folder(settings).iterdir()}
    status, said = run(database, tmp_path, "init")
    assert status == 0, said
    after = {path.name: path.read_text() for path in keys_folder(settings).iterdir()}
    assert after.keys() == before.keys() | {missing}
    assert all(after[name] == text for name, text in before.items())


def test_lost_keys_are_never_made_anew(database, tmp_path):
    assert run(database, tmp_path, "init")[0] == 0
    (keys_folder(Settings(home=tmp_path)) / "log.key").unlink()
    status, said = run(database, tmp_path, "init")
    assert status == 1
    assert not (keys_folder(Settings(home=tmp_path)) / "log.key").exists()
    assert "log.key" in said


def test_whatever_dies_starts_again_and_nobody_outlives_the_parent(database, tmp_path):
    assert run(database, tmp_path, "init")[0] == 0
    with serving(database, tmp_path, workers=2) as (parent, base):
        wait_until(lambda: len(spawned(parent)) == 3)
        before = set(spawned(parent))
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(spawned(parent)) == 3 and victim not in spawned(parent))
        wait_until(lambda: ready(base))

        orphans = children(parent.pid)
        parent.kill()
        parent.wait(10)
        wait_until(lambda: not any(alive(pid) for pid in orphans), seconds=30)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{base}/healthz", timeout=5)
