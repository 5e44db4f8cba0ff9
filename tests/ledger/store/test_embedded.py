from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from ledger.store import embedded
from ledger.store.embedded import EmbeddedServerError, start

USER = """
import sys
from pathlib import Path
from ledger.store.embedded import start
server = start(Path(sys.argv[1]))
print(server.admin_url, flush=True)
sys.stdin.readline()
"""


def use(home: Path) -> subprocess.Popen[str]:
    """Another process that uses the server until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql://")
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def test_an_acknowledged_commit_is_on_disk(postgres: embedded.EmbeddedServer) -> None:
    with psycopg.connect(postgres.admin_url) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone()
            for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")
        }
    assert set(shown.values()) == {("on",)}


def test_it_takes_at_least_a_hundred_connections(postgres: embedded.EmbeddedServer) -> None:
    with psycopg.connect(postgres.admin_url) as connection:
        assert connection.execute("SELECT current_setting('max_connections')::int >= 100").fetchone() == (
            True,
        )


def test_it_listens_on_no_network(postgres: embedded.EmbeddedServer) -> None:
    with psycopg.connect(postgres.admin_url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        (folder,) = connection.execute("SHOW unix_socket_directories").fetchone() or ("",)
    assert Path(folder).stat().st_mode & 0o077 == 0


def test_data_survives_a_restart_and_the_server_ends_with_its_last_user(short_path: Path) -> None:
    with start(short_path) as server:
        url = server.admin_url
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")

        other, second = use(short_path), start(short_path)
        server.close()
        second.close()
        assert answers(url), "stopped under a process that uses it"
        end(other)
        assert not answers(url), "runs on without users"

    with start(short_path) as server, psycopg.connect(server.admin_url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_a_killed_user_neither_stops_the_server_nor_keeps_it_running(short_path: Path) -> None:
    with start(short_path) as server:
        url = server.admin_url
        kill(use(short_path))
        assert answers(url), "died with one of its users"
    assert not answers(url), "a killed process counts as a user"


def test_a_server_whose_only_user_was_killed_is_joined_by_the_next_one(short_path: Path) -> None:
    kill(use(short_path))
    with start(short_path) as server:
        url = server.admin_url
        assert answers(url)
    assert not answers(url)


def test_after_the_server_itself_was_killed_every_commit_is_there(short_path: Path) -> None:
    with start(short_path) as server:
        with psycopg.connect(server.admin_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        os.kill(int((short_path / "postgres/postmaster.pid").read_text().split("\n")[0]), signal.SIGKILL)
        deadline = time.monotonic() + 30
        while answers(server.admin_url) and time.monotonic() < deadline:
            time.sleep(0.01)
        with start(short_path) as again, psycopg.connect(again.admin_url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_a_process_number_that_was_given_away_does_not_prevent_a_start(short_path: Path) -> None:
    with start(short_path):
        pid_file = (short_path / "postgres/postmaster.pid").read_text()
    # What a power cut leaves behind, when the number belongs to another program after it.
    _, rest = pid_file.split("\n", 1)
    (short_path / "postgres/postmaster.pid").write_text(f"{os.getpid()}\n{rest}")
    with start(short_path) as server:
        assert answers(server.admin_url)


def test_four_processes_may_make_it_at_the_same_time(short_path: Path) -> None:
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(short_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answered = [process.communicate("\n", timeout=120)[0] for process in starts]
    assert [process.returncode for process in starts] == [0] * 4
    assert len(set(answered)) == 1


@pytest.mark.parametrize("name", ["x" * 120, "with spaces, commas; and 'қазақ' letters"])
def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    with start(tmp_path / name) as server:
        assert answers(server.admin_url)
        socket = server._cluster.socket_dir
    assert socket == server._cluster.data or not socket.exists(), "left a folder behind"


def test_closed_parent_folders_stay_closed_to_everybody(short_path: Path) -> None:
    closed = short_path / "closed"
    closed.mkdir(mode=0o700)
    with start(closed / "home"):
        assert closed.stat().st_mode & 0o007 == 0
        assert (closed / "home").stat().st_mode & 0o007 == 0


def test_a_folder_with_something_else_in_it_is_refused(short_path: Path) -> None:
    (short_path / "postgres").mkdir()
    (short_path / "postgres/photo.jpg").touch()
    with pytest.raises(EmbeddedServerError, match="is not empty"):
        start(short_path)


def test_data_of_another_version_is_refused(short_path: Path) -> None:
    (short_path / "postgres").mkdir()
    (short_path / "postgres/PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedServerError, match="made by PostgreSQL 16, this is 18"):
        start(short_path)


def test_a_start_that_was_killed_half_way_can_be_repeated(short_path: Path) -> None:
    (short_path / "postgres.new").mkdir()
    (short_path / "postgres.new/PG_VERSION").write_text("18\n")
    with start(short_path) as server:
        assert answers(server.admin_url)
    assert not (short_path / "postgres.new").exists()


def test_a_server_that_cannot_start_says_why(short_path: Path) -> None:
    start(short_path).close()
    with (short_path / "postgres/postgresql.conf").open("a") as settings:
        settings.write("max_connections = many\n")
    with pytest.raises(EmbeddedServerError, match="max_connections"):
        start(short_path)
