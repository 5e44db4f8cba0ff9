from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from ledger.config import Settings
from ledger.store.database import MigrationsPendingError, conninfo, masked, open_database, with_database
from ledger.store.embedded import EmbeddedServer
from ledger.store.migrate import MigrationFailedError, migrate, pending, status

if TYPE_CHECKING:
    from tests.conftest import Database

AWKWARD = r"""
-- Semicolons; in comments, 'quotes', and bodies.
CREATE TABLE ledger.thing (n int CHECK (n > 0), label text DEFAULT 'a;b%c');
CREATE FUNCTION ledger.refuse() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT 1 AS a LOOP
        IF r.a = 2 THEN RAISE EXCEPTION 'never; %', r.a; ELSE NULL; END IF;
    END LOOP;
    RAISE EXCEPTION 'ledger.thing only grows';
END;
$body$;
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON ledger.thing
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE FUNCTION ledger.twice(n int) RETURNS int LANGUAGE sql
    BEGIN ATOMIC SELECT CASE WHEN n > 0 THEN n * 2 ELSE 0 END; END;
INSERT INTO ledger.thing (n) VALUES (1);
"""


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """A folder with the first migration of the project and a second, awkward one."""
    project = Path(__file__).resolve().parents[3] / "migrations"
    folder = tmp_path / "migrations [of a test]"
    folder.mkdir()
    (folder / "0001.roles.sql").write_text((project / "0001.roles.sql").read_text())
    (folder / "0002.awkward.sql").write_text(AWKWARD)
    return folder


def test_migrating_twice_does_nothing_the_second_time(empty_database: Database) -> None:
    names: list[str] = []
    applied = migrate(empty_database.admin_url, log=names.append)
    assert applied == names
    assert applied[0] == "0001.roles"
    assert migrate(empty_database.admin_url) == []
    assert status(empty_database.admin_url) == (applied, [], [])


def test_looking_at_a_database_does_not_change_it(empty_database: Database) -> None:
    assert pending(empty_database.admin_url)[0] == "0001.roles"
    with psycopg.connect(empty_database.admin_url) as connection:
        assert connection.execute("SELECT to_regnamespace('migrations')").fetchone() == (None,)


def test_function_bodies_and_semicolons_arrive_whole(empty_database: Database, migrations: Path) -> None:
    migrate(empty_database.admin_url, migrations=migrations)
    with psycopg.connect(empty_database.admin_url, autocommit=True) as connection:
        assert connection.execute("SELECT label, ledger.twice(4) FROM ledger.thing").fetchone() == (
            "a;b%c",
            8,
        )
        with pytest.raises(psycopg.errors.RaiseException, match="only grows"):
            connection.execute("DELETE FROM ledger.thing")


def test_a_failed_migration_leaves_nothing_and_can_be_repeated(
    empty_database: Database, migrations: Path
) -> None:
    broken = migrations / "0003.broken.sql"
    broken.write_text("CREATE TABLE ledger.half (n int);\nSELECT nonsense;\n")
    with pytest.raises(MigrationFailedError, match=r"0003\.broken.*nonsense"):
        migrate(empty_database.admin_url, migrations=migrations)
    with psycopg.connect(empty_database.admin_url) as connection:
        assert connection.execute("SELECT to_regclass('ledger.half')").fetchone() == (None,)
    assert pending(empty_database.admin_url, migrations=migrations) == ["0003.broken"]

    broken.write_text("CREATE TABLE ledger.half (n int);\n")
    assert migrate(empty_database.admin_url, migrations=migrations) == ["0003.broken"]


def test_processes_that_migrate_at_once_take_turns(empty_database: Database) -> None:
    program = "import sys; from ledger.store.migrate import migrate; print(len(migrate(sys.argv[1])))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_database.admin_url], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    applied = [int(process.communicate(timeout=60)[0]) for process in processes]
    known = len(status(empty_database.admin_url).applied)
    assert sorted(applied) == [0, 0, known]


def test_new_databases_of_one_server_may_be_migrated_at_once(
    postgres: EmbeddedServer, migrations: Path
) -> None:
    # Roles belong to the server: the first migration of all of them wants to make the same one.
    first = migrations / "0001.roles.sql"
    first.write_text(first.read_text().replace("aiqyn_service", "aiqyn_service_of_a_test"))
    urls = [with_database(postgres.admin_url, f"parallel_{n}") for n in range(4)]
    with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
        for n in range(4):
            connection.execute(f"CREATE DATABASE parallel_{n}")
        together = threading.Barrier(4)

        def one(url: str) -> list[str]:
            together.wait()
            return migrate(url, migrations=migrations)

        try:
            with ThreadPoolExecutor(4) as pool:
                assert list(pool.map(one, urls)) == [["0001.roles", "0002.awkward"]] * 4
        finally:
            for n in range(4):
                connection.execute(f"DROP DATABASE parallel_{n} WITH (FORCE)")
            connection.execute("DROP ROLE aiqyn_service_of_a_test")


def test_an_owner_that_is_no_superuser_can_migrate(postgres: EmbeddedServer, migrations: Path) -> None:
    first = migrations / "0001.roles.sql"
    first.write_text(first.read_text().replace("aiqyn_service", "aiqyn_service_of_an_owner"))
    with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE owner_of_a_test LOGIN CREATEROLE")
        connection.execute("CREATE DATABASE owned OWNER owner_of_a_test")
        try:
            applied = migrate(postgres.url("owner_of_a_test", "owned"), migrations=migrations)
            assert applied == ["0001.roles", "0002.awkward"]
            with psycopg.connect(postgres.url("aiqyn_service_of_an_owner", "owned")) as service:
                service.execute("CREATE SCHEMA projections_next")
                service.execute("ALTER SCHEMA projections RENAME TO projections_old")
                service.execute("ALTER SCHEMA projections_next RENAME TO projections")
        finally:
            connection.execute("DROP DATABASE owned WITH (FORCE)")
            connection.execute("DROP ROLE aiqyn_service_of_an_owner")
            connection.execute("DROP ROLE owner_of_a_test")


@pytest.mark.parametrize(
    "forbidden",
    [
        "CREATE TABLE ledger.mine (n int)",
        "CREATE FUNCTION ledger.mine() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE TABLE public.mine (n int)",
        "CREATE TABLE migrations.mine (n int)",
        "DELETE FROM migrations.applied",
        "DROP SCHEMA ledger CASCADE",
        "ALTER SCHEMA ledger RENAME TO gone",
        "SET ROLE postgres",
        "CREATE ROLE mine",
    ],
)
def test_the_service_cannot_touch_the_structure(database: Database, forbidden: str) -> None:
    with (
        psycopg.connect(database.url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(forbidden.encode())


def test_the_service_makes_a_fresh_schema_and_swaps_it(database: Database) -> None:
    with psycopg.connect(database.url) as connection:
        connection.execute("CREATE SCHEMA projections_next CREATE TABLE projections_next.t (n int)")
        connection.execute("ALTER SCHEMA projections RENAME TO projections_old")
        connection.execute("ALTER SCHEMA projections_next RENAME TO projections")
        connection.execute("DROP SCHEMA projections_old CASCADE")
        connection.execute("INSERT INTO projections.t VALUES (1)")


def test_the_service_does_not_start_on_a_database_without_migrations(empty_database: Database) -> None:
    settings = Settings(database_url=empty_database.admin_url)
    with pytest.raises(MigrationsPendingError, match=r"from 0001\.roles on: run aiqyn migrate"):
        open_database(settings)


def test_the_service_does_not_start_on_a_database_of_a_newer_version(database: Database) -> None:
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("INSERT INTO migrations.applied VALUES ('hash', '9999.later', now())")
    with pytest.raises(MigrationsPendingError, match=r"newer version \(9999\.later\)"):
        open_database(Settings(database_url=database.url))


def test_the_service_starts_on_a_migrated_database(database: Database) -> None:
    urls = open_database(Settings(database_url=database.url, admin_database_url=database.admin_url))
    assert urls == (database.url, database.admin_url, None)


def test_the_embedded_database_is_ready_at_the_first_start_and_at_the_second(short_path: Path) -> None:
    settings = Settings(home=short_path)
    for _ in range(2):
        urls = open_database(settings)
        with psycopg.connect(urls.url) as connection:
            assert connection.execute("SELECT current_user, current_database()").fetchone() == (
                "aiqyn_service",
                "aiqyn",
            )
        assert not status(urls.admin_url).pending
        urls.close()


def test_every_connection_has_our_session_settings(database: Database) -> None:
    url = database.url + "&options=-c%20work_mem%3D7MB"
    with psycopg.connect(conninfo(url, application_name="aiqyn test")) as connection:
        names = ("jit", "synchronous_commit", "timezone", "work_mem", "application_name")
        shown = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in names]
    assert shown == [("off",), ("on",), ("UTC",), ("7MB",), ("aiqyn test",)]


def test_a_database_that_is_away_is_named_without_its_password() -> None:
    program = "import sys; from ledger.store.migrate import pending; pending(sys.argv[1])"
    url = "postgresql://someone:pass%40word@127.0.0.1:1/nowhere"
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=False)
    assert "DatabaseUnavailableError: no connection to " + masked(url) in done.stderr
    assert "pass%40word" not in done.stderr
    assert "pass@word" not in done.stderr
