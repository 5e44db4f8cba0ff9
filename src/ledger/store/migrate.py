"""Numbered plain-SQL migrations, applied once each and in order, by yoyo.

Files are ``migrations/NNNN.what.sql`` in the source tree and ``ledger/store/migrations`` in a wheel. Each is
one transaction together with the note that it was applied; what was applied stands in schema ``migrations``.
Names in a migration carry their schema.
"""

from __future__ import annotations

import glob
import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import Migration, MigrationList

from ledger.errors import AiqynError
from ledger.store.database import connect

SCHEMA = "migrations"
# Any number will do, as long as every version of this program takes the same one.
ADVISORY_LOCK = 7_310_041_203

# yoyo announces each step on its own logger; we report what the caller asks for.
logging.getLogger("yoyo").setLevel(logging.WARNING)


class MigrationFailedError(AiqynError):
    """A migration was refused by the database; nothing of it remains."""

    code = "migration-failed"
    title = "A migration failed"


class Status(NamedTuple):
    """Names of migrations, in order."""

    applied: list[str]
    pending: list[str]
    """Known to this program, not applied to the database."""
    unknown: list[str]
    """Applied to the database, not known to this program: a newer version was here."""


def folder() -> Path:
    """The folder with the migrations, in a wheel or in the source tree.

    Raises:
        MigrationFailedError: it is in neither place.
    """
    here = Path(__file__).resolve()
    for candidate in (here.parent / "migrations", here.parents[3] / "migrations"):
        if candidate.is_dir():
            return candidate
    raise MigrationFailedError("the folder with the migrations is missing: install aiqyn again.")


def status(url: str, *, migrations: Path | None = None) -> Status:
    """What is applied to a database and what is not; changes nothing. The service's URL is enough.

    Raises:
        DatabaseUnavailableError: the database does not answer.
    """
    with connect(url, application_name="aiqyn migrate", autocommit=True) as connection:
        applied: list[str] = []
        # The service may look from the moment the first migration is applied.
        with suppress(psycopg.errors.InsufficientPrivilege):
            if _one(connection, "SELECT to_regclass('migrations.applied')") is not None:
                rows = connection.execute("SELECT migration_id FROM migrations.applied ORDER BY migration_id")
                applied = [row[0] for row in rows]
    known = [migration.id for migration in _read(migrations)]
    return Status(
        applied=applied,
        pending=[name for name in known if name not in applied],
        unknown=[name for name in applied if name not in known],
    )


def pending(url: str, *, migrations: Path | None = None) -> list[str]:
    """Names of the migrations that :func:`migrate` would apply, in order."""
    return status(url, migrations=migrations).pending


def migrate(
    admin_url: str, *, log: Callable[[str], None] = lambda name: None, migrations: Path | None = None
) -> list[str]:
    """Apply every pending migration and return their names, in order.

    Processes that migrate one database at the same time take turns; the later ones find nothing to do.

    Args:
        admin_url: connects as the role that owns, or will own, schema ``ledger``.
        log: called with each name before it is applied.
        migrations: another folder than the program's own.

    Raises:
        MigrationFailedError: with the file and what the database said; earlier migrations stay applied.
        DatabaseUnavailableError: the database does not answer.
    """
    applied: list[str] = []
    with connect(admin_url, application_name="aiqyn migrate", autocommit=True) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
        try:
            if _one(guard, "SELECT to_regnamespace('migrations')") is None:
                guard.execute(f"CREATE SCHEMA {SCHEMA}")
        except psycopg.Error as error:
            raise MigrationFailedError(f"schema {SCHEMA} cannot be made: {_said(error)}") from error
        with _Backend(_as_yoyo_uri(admin_url), "applied") as backend:
            for migration in backend.to_apply(_read(migrations)):
                log(migration.id)
                try:
                    backend.apply_one(migration)
                except psycopg.Error as error:
                    raise MigrationFailedError(
                        f"migration {migration.id} failed, nothing of it remains: {_said(error)}"
                    ) from error
                applied.append(migration.id)
    return applied


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """yoyo's backend, except that a migration and the note of it are one transaction.

    yoyo commits the migration first and notes it in a second transaction: a kill between the two leaves a
    database that cannot be migrated any more. Its lock is a row that outlives a killed process; ours is an
    advisory lock, already held.
    """

    version_table = "version"
    log_table = "log"

    def apply_one(self, migration: Migration, force: bool = False, mark: bool = True) -> None:
        self.ensure_internal_schema_updated()
        if not migration.use_transactions:  # such as CREATE INDEX CONCURRENTLY
            super().apply_one(migration, force, mark)
            return
        with self.transaction():
            migration.process_steps(self, "apply", force=force)
            self.mark_one(migration)

    @contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:
        yield

    def get_log_data(self, migration: Migration | None = None, operation: str = "apply") -> dict[str, Any]:
        # yoyo asks the resolver for the host's full name, and the OS for a user that a container may lack.
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": f"uid {os.geteuid()}",
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


def _as_yoyo_uri(url: str) -> DatabaseURI:
    """Everything that libpq understands in a URL, where yoyo's own parser knows one host and no socket."""
    parts = {key: value for key, value in conninfo_to_dict(url).items() if value is not None}
    database = parts.pop("dbname", None)
    return DatabaseURI("postgresql+psycopg", None, None, None, None, database, parts | {"schema": SCHEMA})


def _read(migrations: Path | None) -> MigrationList:
    return read_migrations(glob.escape(str(migrations or folder())))


def _one(connection: psycopg.Connection[tuple[Any, ...]], query: str) -> Any:  # noqa: ANN401
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _said(error: psycopg.Error) -> str:
    return str(error).split("\n", 1)[0]
