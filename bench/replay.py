"""Events per second of projection rebuild and of replay, against the library's ``ProjectionRunner``.

The ledger holds sealed ``petition.signed`` events of one petition. Ours: all projections rebuilt
beside the live tables, indexes, digest position and swap included. Replay: every entry opened strictly.
The library: its ``ProjectionRunner`` over its own recorder, counting the same kind of event by region
in one transaction each, as its documentation shows.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from functools import singledispatchmethod
from typing import Any

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from bench.machine import database, describe
from ledger import events
from ledger.encoding import b64url
from ledger.keys import SigningKey
from ledger.statement import Disclosure, open_event, seal
from ledger.store.append import Append, SealedEvent
from ledger.store.reader import LogReader
from ledger.store.sequencer import Sequencer
from ledger.tlog.note import SignerKey
from projections import ALL
from projections.rebuild import rebuild
from projections.runner import Runner

EVENTS = int(os.environ.get("BENCH_EVENTS", "200000"))
LIBRARY_EVENTS = int(os.environ.get("BENCH_LIBRARY_EVENTS", "3000"))
PETITION = "00000000-0000-4000-8000-000000000000"
REGIONS: tuple[Any, ...] = ("71", "75", "11", "39", None)


def fill(url: str) -> None:
    """Append ``EVENTS`` sealed signatures through the sequencer, in groups."""
    key = SigningKey.generate()
    now = datetime.now(UTC)

    def signed(number: int) -> SealedEvent:
        stream = f"signature/{PETITION}/{b64url(number.to_bytes(32))}"
        facts = events.PetitionSigned(lang="kk", algorithm="RSA-SHA256", region=REGIONS[number % 5])
        made = [Disclosure.make(name, "x") for name in sorted(facts.public | facts.restricted)]
        entry = seal(
            facts, iss="organisation/operator", stream=stream, n=1, at=now, key=key, disclosures=made
        ).entry
        public = tuple(disclosure for disclosure in made if disclosure.name == "name")
        return SealedEvent(stream, 1, facts.type, entry, public=public)

    async def append() -> None:
        sequencer = Sequencer(url, "bench.example/log", SignerKey.generate("bench.example/log"))
        await sequencer.start()
        for start in range(0, EVENTS, 2000):
            await sequencer.append(Append([signed(number) for number in range(start, start + 2000)]))
        await sequencer.close()

    asyncio.run(append())


def rate_of_rebuild(url: str) -> float:
    """All projections."""
    started = time.perf_counter()
    rebuild(url, ALL)
    return EVENTS / (time.perf_counter() - started)


def rate_of_live_fold(url: str) -> float:
    """The runner, from an empty projection to the head."""
    started = time.perf_counter()
    Runner(url).catch_up()
    return EVENTS / (time.perf_counter() - started)


def rate_of_replay(url: str) -> float:
    """Every entry read and opened."""
    started = time.perf_counter()
    with LogReader(url) as reader:
        for start in range(0, EVENTS, 5000):
            for _, entry in reader.entries(start, 5000):
                open_event(entry)
    return EVENTS / (time.perf_counter() - started)


class Signature(Aggregate):
    """The same fact in the library's plain form."""

    @event("Signed")
    def __init__(self, petition: str, region: str | None) -> None:
        self.petition = petition
        self.region = region


class Signatures(Application[Any]):
    """The library's application over its own recorder."""


class Counts(PostgresTrackingRecorder):
    """The library's materialised view: a count for each region."""

    def __init__(self, datastore: Any, **options: Any) -> None:
        super().__init__(datastore, **options)
        table = Identifier(self.datastore.schema), Identifier("region_counts")
        self.sql_create_statements.append(
            SQL("CREATE TABLE IF NOT EXISTS {}.{} (region text PRIMARY KEY, count bigint)").format(*table)
        )
        self._add = SQL(
            "INSERT INTO {}.{} AS c VALUES (%s, 1) ON CONFLICT (region) DO UPDATE SET count = c.count + 1"
        ).format(*table)

    def add(self, region: str, tracking: Tracking) -> None:
        """Count one, and track it, in one transaction."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(self._add, (region,), prepare=True)


class Counting(Projection[Counts]):
    """Counts signatures by region."""

    name = "counting"

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """One event."""
        self.view.add(getattr(domain_event, "region", None) or "unknown", tracking)


def rate_of_library(admin_url: str) -> float:
    """The library's runner over ``LIBRARY_EVENTS`` of its own events."""
    parts = conninfo_to_dict(admin_url)
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(parts["dbname"]),
        "POSTGRES_HOST": str(parts.get("host", "")),
        "POSTGRES_PORT": str(parts.get("port", "")),
        "POSTGRES_USER": str(parts["user"]),
        "POSTGRES_PASSWORD": "x",
    }
    application = Signatures(env=environment)
    for start in range(0, LIBRARY_EVENTS, 500):
        application.save(*(Signature(PETITION, REGIONS[number % 5]) for number in range(start, start + 500)))
    newest = application.recorder.max_notification_id()
    application.close()
    started = time.perf_counter()
    with ProjectionRunner(
        application_class=Signatures, projection_class=Counting, view_class=Counts, env=environment
    ) as runner:
        runner.projection.view.wait(application.name, newest, timeout=300)
        return LIBRARY_EVENTS / (time.perf_counter() - started)


def main() -> None:
    """Print the rates and their ratio to the library's."""
    with database() as (url, admin):
        print(describe(admin))
        fill(url)
        live = rate_of_live_fold(url)
        rebuilt = rate_of_rebuild(url)
        replayed = rate_of_replay(url)
        library = rate_of_library(admin)
        for what, rate in (
            ("rebuild of all projections", rebuilt),
            ("live fold of all projections", live),
            ("replay: entries read and opened", replayed),
            ("the library's ProjectionRunner", library),
        ):
            print(f"{what:<34} {rate:>10,.0f} events/s   x{rate / library:,.0f}")


if __name__ == "__main__":
    main()
