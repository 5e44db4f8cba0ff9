"""What every measurement needs: a database of its own, and lines that say what machine it was."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.store.database import SERVICE_ROLE, connect, with_database
from ledger.store.embedded import start
from ledger.store.migrate import migrate


@contextmanager
def database() -> Iterator[tuple[str, str]]:
    """``(service url, admin url)`` of a fresh, migrated database on an embedded server with fsync on."""
    home = Path(tempfile.mkdtemp(prefix="aiqyn-bench-"))
    try:
        with start(home) as server:
            with connect(server.admin_url, application_name="bench", autocommit=True) as connection:
                connection.execute("CREATE DATABASE bench")
            admin = with_database(server.admin_url, "bench")
            migrate(admin)
            yield server.url(SERVICE_ROLE, "bench"), admin
    finally:
        shutil.rmtree(home, ignore_errors=True)


def describe(admin_url: str) -> str:
    """Processor, cores, Python, PostgreSQL and its durability settings, in one line."""
    with connect(admin_url, application_name="bench") as connection:
        server = connection.execute("SHOW server_version").fetchone()
        settings = [
            f"{name}={connection.execute(f'SHOW {name}').fetchone()[0]}"  # type: ignore[index]
            for name in ("fsync", "synchronous_commit", "full_page_writes")
        ]
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.machine(),
    )
    return (
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"PostgreSQL {server[0] if server else '?'}, {', '.join(settings)}"
    )


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
