"""What every test may ask for: a real PostgreSQL, and a migrated database of its own."""

from __future__ import annotations

import itertools
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from ledger.store.database import SERVICE_ROLE, connect, with_database
from ledger.store.embedded import EmbeddedServer, start
from ledger.store.migrate import migrate

# How long an example takes says more about the machine's other work than about the code.
hypothesis.settings.register_profile("aiqyn", deadline=None, print_blob=True)
hypothesis.settings.load_profile("aiqyn")

_TEMPLATE = "migrated"
_numbers = itertools.count()


@dataclass(frozen=True)
class Database:
    """A database that exists for one test."""

    name: str
    url: str
    """Connects as the service's role."""
    admin_url: str
    """Connects as the superuser, who owns the schema."""


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A new folder whose path is short enough for a unix socket in it, unlike ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(prefix="aiqyn-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """One embedded server for this test process (with xdist: for this worker)."""
    home = Path(tempfile.mkdtemp(prefix="aiqyn-"))
    with start(home) as server:
        yield server
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated(postgres: EmbeddedServer) -> str:
    with connect(postgres.admin_url, application_name="tests", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_TEMPLATE}")
    migrate(with_database(postgres.admin_url, _TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def empty_database(postgres: EmbeddedServer) -> Iterator[Database]:
    """A database without any migration."""
    with fresh(postgres, "template1") as database:
        yield database


@pytest.fixture
def database(postgres: EmbeddedServer, migrated: str) -> Iterator[Database]:
    """A database with every migration, copied from one that was migrated once."""
    with fresh(postgres, migrated) as database:
        yield database


@contextmanager
def fresh(postgres: EmbeddedServer, template: str) -> Iterator[Database]:
    """A database copied from ``template``, dropped afterwards."""
    name = f"test_{next(_numbers)}"
    with connect(postgres.admin_url, application_name="tests", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        if template == _TEMPLATE:
            # What is granted on a database itself is not copied with it.
            connection.execute(f"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {name} TO {SERVICE_ROLE}")
        yield Database(name, postgres.url(SERVICE_ROLE, name), with_database(postgres.admin_url, name))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
