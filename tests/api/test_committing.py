"""The operator binds itself to its tables: on a schedule, once for each time, the same on every machine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import timedelta

import psycopg
import pytest

from api.committing import Committer
from audit import run as audit
from ledger.store.database import connect
from ledger.store.migrate import migrate
from projections import ALL
from projections.digest import digests, published
from projections.runner import Runner
from tests.api.services import begin, listening, running, service
from tests.conftest import fresh

PUBLIC = [projection.name for projection in published(ALL)]
DAY = timedelta(hours=24)


def commitments(api_or_world):
    world = getattr(api_or_world, "world", api_or_world)
    with psycopg.connect(world.database.url) as connection:
        rows = connection.execute(
            "SELECT position, stream FROM ledger.entries WHERE type = 'projection.committed'"
            " ORDER BY position"
        ).fetchall()
    return [(position, *stream.split("/")[1:]) for position, stream in rows]


def committer(api, hours=24, **options):
    return Committer(api.service.ledger, api.world.database.url, hours=hours, **options)


async def commit_due(api, hours=24):
    await api.fold()
    return await committer(api, hours).commit_due()


def pass_time(api, span):
    api.world.clock.pass_until(api.service.ledger.now() + span)


def test_the_published_digests_are_committed_once_a_day(database):
    async def story():
        async with service(database) as api:
            assert await commit_due(api) == []  # the ledger began a moment ago
            pass_time(api, DAY)
            done = await commit_due(api)
            assert [one.name for one in done] == PUBLIC
            assert len({one.as_of for one in done}) == 1
            assert await commit_due(api) == []

            petition = await api.limited()
            await api.signed([1, 2], petition)
            assert await commit_due(api) == []
            pass_time(api, DAY)
            again = await commit_due(api)
            assert {"petitions", "signatures", "trails"} <= {one.name for one in again}
            assert "organisations" not in {one.name for one in again}  # nothing happened to any
            assert all(one.as_of > done[0].as_of for one in again)
            assert [f"{name} {as_of}" for _, name, as_of in commitments(api)] == [
                f"{one.name} {one.as_of}" for one in (*done, *again)
            ]

    asyncio.run(story())


def test_a_ledger_where_nothing_happens_does_not_grow_by_its_own_digests(database):
    async def story():
        async with service(database) as api:
            for _ in range(3):
                pass_time(api, DAY)
                await commit_due(api)
            assert len(commitments(api)) == len(PUBLIC)

    asyncio.run(story())


def test_never_is_never(database):
    async def story():
        async with service(database) as api:
            pass_time(api, 100 * DAY)
            await api.fold()
            await asyncio.wait_for(committer(api, hours=0).run(), timeout=5)
            assert commitments(api) == []

    asyncio.run(story())


def test_what_is_committed_is_the_digest_of_the_tables_at_that_position(database):
    async def story():
        async with service(database) as api:
            await api.signed([1, 2, 3], await api.limited())
            await api.settle()
            done = await committer(api).commit()
            with connect(database.url, application_name="tests", autocommit=True) as connection:
                found = {one.name: one for one in digests(connection, published(ALL))}
            for one in done:
                assert (found[one.name].sha256, found[one.name].version) == (one.digest, one.fold)
                entry = await api.ok(f"/v1/entries/{one.position}")
                assert entry["event"]["data"] == {"fold": one.fold, "as_of": one.as_of, "digest": one.digest}
                assert entry["event"]["stream"] == f"projection/{one.name}/{one.as_of}"
                assert found[one.name].position == one.as_of
            assert "cabinet" not in {one.name for one in done}

    asyncio.run(story())


def test_two_processes_never_commit_twice_for_one_time(database):
    async def story():
        world = await begin(database)
        async with running(world) as one, running(world) as other:
            pass_time(one, DAY)
            await one.fold()
            committers = [committer(api) for api in (one, other) for _ in range(3)]
            done = await asyncio.gather(*(each.commit_due() for each in committers))
            await asyncio.gather(*(each.commit() for each in committers))
            assert sum(map(len, done)) == len(PUBLIC)
            assert len(commitments(world)) == len(PUBLIC)

    asyncio.run(story())


def test_one_that_died_in_the_middle_leaves_the_rest_to_the_next(database):
    async def story():
        async with service(database) as api:
            pass_time(api, DAY)
            await api.fold()
            first = committer(api)
            declare = first._declare
            left = 2

            async def dying(found):
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
                return await declare(found)

            first._declare = dying
            with pytest.raises(KeyboardInterrupt):
                await first.commit_due()
            assert [name for _, name, _ in commitments(api)] == PUBLIC[:2]
            assert [one.name for one in await commit_due(api)] == PUBLIC[2:]
            assert await commit_due(api) == []

    asyncio.run(story())


def test_the_background_process_commits_by_itself(database):
    async def story():
        async with service(database, background=True) as api:
            # Another look comes within the minute; a new committer looks at once.
            pass_time(api, DAY)
            async with committer(api, look=0.05).running():
                for _ in range(400):
                    if len(commitments(api)) == len(PUBLIC):
                        break
                    await asyncio.sleep(0.05)
            assert [name for _, name, _ in commitments(api)] == PUBLIC

    asyncio.run(story())


def test_committed_digests_are_lawful_events_of_the_clock(database):
    async def story():
        world = await begin(database)
        async with listening(world) as (api, _, _):
            await api.fold()
            await committer(api).commit()
            await api.fold()
            report = await asyncio.to_thread(audit, str(api.client.base_url), log_key=world.keys.log.verifier)
            assert (report.status, report.findings) == ("clean", [])

    asyncio.run(story())


# --- at the command line --------------------------------------------------------------------------------


def test_an_operator_commits_by_hand(database, tmp_path):
    world = asyncio.run(begin(database))
    settings = world.parts().settings
    world.keys.save(settings)
    Runner(database.url).catch_up()

    def aiqyn(*arguments):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIQYN_")}
        environment |= {
            "AIQYN_HOME": str(settings.home), "AIQYN_ORIGIN": settings.origin, "COLUMNS": "200",
            "AIQYN_DATABASE_URL": database.url, "PYTHONPATH": os.pathsep.join(sys.path),
        }  # fmt: skip
        command = [sys.executable, "-m", "cli.main", "projections", "commit", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "trails as of" in aiqyn("trails")
    assert [name for _, name, _ in commitments(world)] == ["trails"]
    done = json.loads(aiqyn("--json"))
    assert [one["name"] for one in done] == [name for name in PUBLIC if name != "trails"]
    assert "petitions: nothing new since its last digest" in aiqyn()


# --- the same on every machine --------------------------------------------------------------------------


SETTINGS = {
    "datestyle": "'German, DMY'", "intervalstyle": "sql_standard", "timezone": "'Asia/Almaty'",
    "extra_float_digits": "'-15'", "bytea_output": "escape", "client_encoding": "LATIN1",
    "lc_numeric": "'C'", "xmloption": "document",
}  # fmt: skip


def another_locale():
    """One that sorts texts by the rules of a language, if this machine has one."""
    listed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.split()
    return next((name for name in listed if name.lower().endswith("utf8") and "_" in name), "C.UTF-8")


def test_a_digest_does_not_depend_on_the_databases_settings_or_locale(database, postgres):
    async def story():
        async with service(database) as api:
            await api.signed(range(1, 60), await api.limited())
            await api.settle()

    asyncio.run(story())
    with connect(database.url, application_name="tests", autocommit=True) as connection:
        expected = digests(connection, published(ALL))
    with fresh(postgres, "template1") as other:
        # A database that sorts texts otherwise, filled by another way and folded in other batches.
        with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {other.name}")
            connection.execute(
                f"CREATE DATABASE {other.name} TEMPLATE template0 LOCALE_PROVIDER libc"
                f" LOCALE '{another_locale()}' ENCODING 'UTF8'"
            )
        migrate(other.admin_url)
        with psycopg.connect(database.admin_url) as source, psycopg.connect(other.admin_url) as target:
            rows = source.execute(
                "SELECT position, stream, n, type, entry, leaf FROM ledger.entries"
            ).fetchall()
            target.execute("SET session_replication_role = replica")
            target.cursor().executemany("INSERT INTO ledger.entries VALUES (%s, %s, %s, %s, %s, %s)", rows)
        with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
            for name, value in SETTINGS.items():
                connection.execute(f"ALTER DATABASE {other.name} SET {name} = {value}")
        Runner(other.url, published(ALL), batch=7).catch_up()
        with connect(other.url, application_name="tests", autocommit=True) as connection:
            assert digests(connection, published(ALL)) == expected


def test_all_digests_of_one_time_are_of_one_snapshot(database):
    async def story():
        async with service(database) as api:
            await api.signed(range(1, 10), await api.limited())
            await api.fold()
            stop = asyncio.Event()

            async def grow():
                number = 10
                petition = await api.limited(author=90)
                while not stop.is_set():
                    await api.signed([number], petition)
                    await api.fold()
                    number += 1

            growing = asyncio.create_task(grow())
            try:
                for _ in range(3):
                    done = await committer(api).commit()
                    assert len({one.as_of for one in done}) == 1
            finally:
                stop.set()
                await growing

    asyncio.run(story())
