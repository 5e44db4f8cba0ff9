"""Which database, and how every connection to it is made."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ledger.config import Settings, masked
from ledger.errors import AiqynError
from ledger.store.embedded import EmbeddedServer, start

SERVICE_ROLE = "aiqyn_service"
"""The role the service connects as; see ``migrations/0001.roles.sql``."""

DATABASE = "aiqyn"
"""Name of the database on the embedded server."""

SESSION_SETTINGS = {
    # Compiling our short statements cost 20 to 85 ms a commit.
    "jit": "off",
    # An acknowledged event must survive a power cut, whatever the server's default is.
    "synchronous_commit": "on",
    "timezone": "UTC",
    # Whatever a database of the operator's own is set to: how times are written must not depend on it.
    "datestyle": "ISO",
    "client_encoding": "UTF8",
}


class DatabaseUnavailableError(AiqynError):
    """No connection to the database."""

    code = "database-unavailable"
    title = "The database does not answer"


class MigrationsPendingError(AiqynError):
    """The database is not at this program's migrations."""

    code = "migrations-pending"
    title = "The database does not fit this version"


class DatabaseUrls(NamedTuple):
    """Where the database is. Keep this as long as it is used, then :meth:`close` it."""

    url: str
    """Connects as the service, which can add to the ledger and never change it."""
    admin_url: str
    """Connects as the owner of the schema."""
    embedded: EmbeddedServer | None

    def close(self) -> None:
        """Give back the share in the embedded server, if there is one."""
        if self.embedded is not None:
            self.embedded.close()


def open_database(settings: Settings) -> DatabaseUrls:
    """The database that the settings name, ready for use.

    Without ``database_url`` the embedded server is started (or joined) and migrated. A database of the
    operator's is only looked at: migrating it is the operator's decision.

    Raises:
        EmbeddedServerError: the embedded server does not run.
        DatabaseUnavailableError: the database does not answer.
        MigrationsPendingError: ``aiqyn migrate`` was not run, or a newer version ran it.
    """
    from ledger.store import migrate  # which connects through this module

    urls = find_database(settings)
    try:
        if urls.embedded is not None:
            migrate.migrate(urls.admin_url)
        found = migrate.status(urls.url)
        if found.pending:
            raise MigrationsPendingError(
                f"{masked(urls.url)} lacks {len(found.pending)} migrations, from {found.pending[0]} on: "
                "run aiqyn migrate.",
                pending=found.pending,
            )
        if found.unknown:
            raise MigrationsPendingError(
                f"{masked(urls.url)} was migrated by a newer version ({found.unknown[-1]}): "
                "upgrade aiqyn on this machine.",
                unknown=found.unknown,
            )
    except BaseException:
        urls.close()
        raise
    return urls


def find_database(settings: Settings) -> DatabaseUrls:
    """Like :func:`open_database`, but whatever its migrations are."""
    if settings.database_url:
        admin_url = settings.admin_database_url or settings.database_url
        return DatabaseUrls(settings.database_url, admin_url, None)
    server = start(settings.home)
    try:
        _ensure_database(server.admin_url)
    except BaseException:
        server.close()
        raise
    return DatabaseUrls(server.url(SERVICE_ROLE, DATABASE), with_database(server.admin_url, DATABASE), server)


def _ensure_database(maintenance_url: str) -> None:
    with connect(maintenance_url, application_name="aiqyn", autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            return
        # Another process may be faster.
        with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def conninfo(url: str, *, application_name: str) -> str:
    """A libpq connection string with our session settings, for ``psycopg`` and its pools.

    ``application_name`` says in ``pg_stat_activity`` who it is. ``options`` in the URL stay, and come first.
    """
    try:
        options = conninfo_to_dict(url).get("options") or ""
    except psycopg.ProgrammingError as error:
        raise DatabaseUnavailableError(
            f"{masked(url)} is no connection string: write postgresql://user:password@host/database."
        ) from error
    ours = " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items())
    return make_conninfo(url, options=f"{options} {ours}".strip(), application_name=application_name)


def connect(
    url: str,
    *,
    application_name: str,
    **options: Any,  # noqa: ANN401 - what psycopg.connect takes
) -> psycopg.Connection[tuple[Any, ...]]:
    """A synchronous connection with our session settings.

    Raises:
        DatabaseUnavailableError: naming the database without its password.
    """
    try:
        return psycopg.connect(conninfo(url, application_name=application_name), **options)
    except psycopg.OperationalError as error:
        raise _unavailable(url, error) from error


async def connect_async(
    url: str,
    *,
    application_name: str,
    **options: Any,  # noqa: ANN401 - what psycopg.AsyncConnection.connect takes
) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """An asynchronous connection with our session settings; raises as :func:`connect`."""
    try:
        return await psycopg.AsyncConnection.connect(
            conninfo(url, application_name=application_name), **options
        )
    except psycopg.OperationalError as error:
        raise _unavailable(url, error) from error


def with_database(url: str, database: str) -> str:
    """The same URL or connection string, for another database of that server."""
    if "://" not in url:
        return make_conninfo(url, dbname=database)
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def _unavailable(url: str, error: psycopg.OperationalError) -> DatabaseUnavailableError:
    first, _, rest = str(error).strip().partition("\n")
    # The rest is libpq's advice, unless it tried several hosts and lists what each said.
    reason = " ".join(f"{first} {rest}".split()) if first.endswith(":") else first
    return DatabaseUnavailableError(f"no connection to {masked(url)}: {reason}")
