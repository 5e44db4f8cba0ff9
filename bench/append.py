"""Events appended per second at 1, 32 and 256 concurrent callers: ours, the library's, raw COPY.

Every caller appends one event, waits until it is committed, and appends the next. Entries have the
size of a sealed signature event. Raw COPY writes the same rows in batches of as many as there are
callers, one commit each: what PostgreSQL can do on this machine without any of our work.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from uuid import uuid4

import uvloop
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from bench.machine import database, describe
from ledger.store.append import Append
from ledger.store.database import connect, conninfo
from ledger.store.sequencer import Sequencer
from ledger.tlog.note import SignerKey

CALLERS = (1, 32, 256)
SECONDS = float(os.environ.get("BENCH_SECONDS", "5"))
ENTRY = os.urandom(830)


def event() -> StoredEvent:
    """One new stream's first event."""
    return StoredEvent(f"signature/{uuid4()}", 1, "petition.signed", ENTRY)


def ours(url: str, callers: int) -> float:
    """Coroutines on one event loop, through the sequencer: hashed, checkpointed, signed."""

    async def measure() -> float:
        sequencer = Sequencer(url, "bench.example/log", KEY)
        await sequencer.start()
        end = time.perf_counter() + SECONDS

        async def caller() -> int:
            done = 0
            while time.perf_counter() < end:
                await sequencer.append(Append([event()]))
                done += 1
            return done

        started = time.perf_counter()
        total = sum(await asyncio.gather(*(caller() for _ in range(callers))))
        elapsed = time.perf_counter() - started
        await sequencer.close()
        return total / elapsed

    return uvloop.run(measure())  # the event loop of the service


def stock(url: str, callers: int) -> float:
    """The library's PostgreSQL recorder, one thread for each caller, a pool of 16 connections."""
    parts = conninfo_to_dict(conninfo(url, application_name="bench"))
    with PostgresDatastore(
        dbname=str(parts["dbname"]),
        host=str(parts.get("host", "")),
        port=str(parts.get("port", "") or ""),
        user=str(parts["user"]),
        password="",
        originator_id_type="text",
        pool_size=16,
        connect_timeout=60,
    ) as datastore:
        recorder = PostgresApplicationRecorder(datastore)
        recorder.create_table()
        return _threads(callers, lambda: recorder.insert_events([event()]))


def raw_copy(url: str, callers: int) -> float:
    """One connection, COPY of ``callers`` rows, commit, and again."""
    with connect(url, application_name="bench") as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS raw (position bigint PRIMARY KEY, stream text, n bigint, "
            "type text, entry bytea, leaf bytea, UNIQUE (stream, n))"
        )
        connection.commit()
        row = connection.execute("SELECT coalesce(max(position) + 1, 0) FROM raw").fetchone()
        position = first = row[0] if row else 0
        started = time.perf_counter()
        while time.perf_counter() < started + SECONDS:
            with connection.cursor() as cursor, cursor.copy("COPY raw FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int8", "text", "int8", "text", "bytea", "bytea"])
                for _ in range(callers):
                    copy.write_row(
                        (position, f"signature/{uuid4()}", 1, "petition.signed", ENTRY, ENTRY[:32])
                    )
                    position += 1
            connection.commit()
        return float((position - first) / (time.perf_counter() - started))


def _threads(callers: int, work: Callable[[], object]) -> float:
    end = time.perf_counter() + SECONDS
    counts = [0] * callers

    def caller(number: int) -> None:
        while time.perf_counter() < end:
            work()
            counts[number] += 1

    started = time.perf_counter()
    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


KEY = SignerKey.generate("bench.example/log")


def main() -> None:
    """Print one row for each number of callers."""
    with database() as (url, admin):
        print(describe(admin))
        print(
            f"{'callers':>8} {'ours/s':>10} {'stock/s':>10} {'raw COPY/s':>11} "
            f"{'ours/stock':>11} {'ours/raw':>9}"
        )
        for callers in CALLERS:
            mine, theirs, raw = ours(url, callers), stock(admin, callers), raw_copy(admin, callers)
            print(
                f"{callers:>8} {mine:>10,.0f} {theirs:>10,.0f} {raw:>11,.0f} "
                f"{mine / theirs:>11.1f} {mine / raw:>9.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
