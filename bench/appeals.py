"""100,000 appeals of 2,000 bodies: how fast they are folded, and what a body and a council wait for.

The ledger holds a year of lawful lives (see :mod:`bench.appeal_lives`), each event sealed with a key that
its issuer registered, appended in groups through the sequencer. Then all projections are folded, one worker
of the service answers on loopback with its clock at the end of that year, and one client asks one question
after the other over a keep-alive connection. The yardstick of the same run is ``/healthz``, which asks the
database nothing, and one organisation, which is one look-up. At the end everything is rebuilt and compared.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from api import tokens
from api.app import create_app
from api.process import make_server, spare_the_collector
from api.service import Parts
from api.trust import load_trust
from bench.appeal_lives import OFFICE, Happening, bodies, in_order, lives
from bench.machine import database, describe
from ledger import events
from ledger.application import Ledger
from ledger.config import Settings
from ledger.keys import SigningKey
from ledger.operator import OperatorKeys
from ledger.statement import Disclosure, seal
from ledger.store.append import Append, SealedEvent
from ledger.store.database import connect
from projections import ALL
from projections.rebuild import rebuild
from projections.runner import Runner

APPEALS = int(os.environ.get("BENCH_APPEALS", "100000"))
BODIES = int(os.environ.get("BENCH_BODIES", "2000"))
REQUESTS = int(os.environ.get("BENCH_REQUESTS", "1000"))
YEAR = 2025
END = datetime(YEAR, 12, 31, 12, 30, tzinfo=UTC)
BEGIN = datetime(YEAR, 1, 2, 4, tzinfo=UTC)
ORIGIN = "bench.example/log"
GROUP = 2000
COUNCIL = "organisation/council"
ROLES: tuple[events.Role, ...] = ("registrar", "executor", "controller", "head")


# --- a ledger -------------------------------------------------------------------------------------


async def write(parts: Parts) -> int:
    """Organisations, then the lives of all appeals; returns the number of entries."""
    ledger = parts.ledger()
    await ledger.start()
    try:
        await _register(ledger)
        loop = asyncio.get_running_loop()
        seeds = parts.keys.gateway.seed(), parts.keys.clock.seed()
        happenings = in_order(lives(APPEALS, bodies(BODIES), YEAR))
        position = 0
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as sealers:
            waiting = [loop.run_in_executor(sealers, sealed, *seeds, g) for g in _groups(happenings, 4)]
            while waiting:
                group = await waiting.pop(0)
                waiting += [loop.run_in_executor(sealers, sealed, *seeds, g) for g in _groups(happenings, 1)]
                appended = await ledger.sequencer.append(Append(group))
                position = appended.position + appended.count
        return position
    finally:
        await ledger.stop()


def _groups(happenings: Iterator[Happening], count: int) -> Iterator[list[Happening]]:
    for _ in range(count):
        if group := list(islice(happenings, GROUP)):
            yield group


async def _register(ledger: Ledger) -> None:
    await ledger.register_operator("operator", events.Names(kk="Оператор", ru="Оператор"))
    named = [(body, "institution", ROLES) for body in bodies(BODIES)]
    named += [(OFFICE, "front-office", ("front-office",)), (COUNCIL, "council", ())]
    for start in range(0, len(named), 50):
        await asyncio.gather(
            *(
                ledger.register_organisation(stream.partition("/")[2], _facts(stream, kind), roles)
                for stream, kind, roles in named[start : start + 50]
            )
        )


def _facts(stream: str, kind: str) -> events.OrganisationRegistered:
    slug = stream.partition("/")[2]
    names = events.Names(kk=f"{slug} мекемесі", ru=f"Учреждение {slug}")
    return events.OrganisationRegistered(kind=kind, level="oblast", names=names)  # type: ignore[arg-type]


def sealed(gateway: str, clock: str, group: Sequence[Happening]) -> list[SealedEvent]:
    """With the keys of these seeds, in a process of its own."""
    keys = {False: SigningKey.from_seed(gateway), True: SigningKey.from_seed(clock)}
    found = []
    for at, stream, n, iss, facts in group:
        made = [Disclosure.make(name, "мәтін") for name in sorted(facts.public | facts.restricted)]
        key = keys[facts.issuers == {"clock"}]
        event = seal(facts, iss=iss, stream=stream, n=n, at=at, key=key, disclosures=made)
        found.append(SealedEvent(stream, n, facts.type, event.entry))
    return found


# --- a service ------------------------------------------------------------------------------------


def parts_of(home: Path, url: str, now: float) -> Parts:
    """Whose clock stood at ``now`` when it was made, and goes on from there."""
    settings = Settings(home=home, origin=ORIGIN)
    started = time.time()
    return Parts(
        settings, url, OperatorKeys.load(settings), load_trust(settings.trust_dir),
        clock=lambda: now + time.time() - started,
    )  # fmt: skip


def serve(home: str, url: str, descriptor: str) -> None:
    """A worker as ``aiqyn serve`` starts it, with the clock at the end of the year."""
    server = make_server(create_app(parts_of(Path(home), url, END.timestamp())))
    spare_the_collector()
    server.run(sockets=[socket.socket(fileno=int(descriptor))])


class Client:
    """One keep-alive connection that asks one thing after the other."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.bytes = 0

    def get(self, path: str, token: str | None = None) -> float:
        """Milliseconds from the request to the last byte of its answer."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        started = time.perf_counter()
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        body = answer.read()
        elapsed = (time.perf_counter() - started) * 1e3
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:500]!r}")
        self.bytes = len(body)
        return elapsed


Ask = Callable[[], tuple[str, str | None]]
"""Gives a path and a token."""


def questions(url: str) -> dict[str, Ask]:
    """What is measured, in the order of the table."""
    chance = random.Random(7)  # noqa: S311
    of = bodies(BODIES)
    with connect(url, application_name="bench", autocommit=True) as connection:
        council = tokens.create(connection, COUNCIL, "bench")
        # The busiest bodies have the longest queues.
        asking = [*of[:50], *chance.sample(of, 50)]
        owners = [tokens.create(connection, body, "bench") for body in asking]
        numbers = [
            row[0].partition("/")[2]
            for row in connection.execute("SELECT stream FROM projections.cases ORDER BY stream LIMIT 2000")
        ]
    table = f"/v1/oversight/appeals?period={YEAR}&by="

    def of_body(path: str, token: str | None) -> Ask:
        return lambda: (path.format(chance.choice(of).partition("/")[2]), token)

    return {
        "nothing (/healthz)": lambda: ("/healthz", None),
        "one organisation": of_body("/v1/organisations/{}", None),
        "a body's queue, a page of 50": lambda: ("/v1/queue?limit=50", chance.choice(owners)),
        "council: the year, all bodies": lambda: (f"{table}body&limit={BODIES}", council),
        "council: the year, 100 bodies by lateness": lambda: (f"{table}body&sort=-late_share", council),
        "council: the year as CSV": lambda: (f"{table}body&format=csv", council),
        "council: the year as Parquet": lambda: (f"{table}body&format=parquet", council),
        "council: by category": lambda: (f"{table}category", council),
        "council: 100 bodies, of one category": lambda: (
            f"{table}body&category=housing&sort=-appeals", council,
        ),
        "council: by kind, of the busiest body, one region": lambda: (
            f"{table}kind&body={of[0]}&region=75", council,
        ),
        "council: one body's page": of_body(f"/v1/oversight/bodies/{{}}?period={YEAR}", council),
        "everybody: the year, 100 bodies": lambda: (f"{table}body&sort=-appeals", None),
        "everybody: by category, of one body": of_body(f"{table}category&body=organisation/{{}}", None),
        "everybody: one body's page": of_body(f"/v1/oversight/bodies/{{}}?period={YEAR}", None),
        "everybody: one case's trail": lambda: (
            f"/v1/oversight/appeals/{chance.choice(numbers)}/trail", None,
        ),
    }  # fmt: skip


def measure(port: int, asked: dict[str, Ask]) -> None:
    """Print p50 and p99 of each question, and p50 as a ratio to the bare answer's."""
    client = Client(port)
    bare = 0.0
    print(f"{'':<52} {'p50 ms':>8} {'p99 ms':>8} {'p50/bare':>9} {'kB':>7}")
    for what, ask in asked.items():
        for _ in range(20):
            client.get(*ask())
        taken = sorted(client.get(*ask()) for _ in range(REQUESTS))
        p50, p99 = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
        bare = bare or p50
        kilobytes = client.bytes / 1e3
        print(f"{what:<52} {p50:>8.1f} {p99:>8.1f} {p50 / bare:>9.1f} {kilobytes:>7.1f}", flush=True)


# --- all of it ------------------------------------------------------------------------------------


def main() -> None:
    """Write, fold, ask, rebuild; print what each took."""
    with database() as (url, admin), tempfile.TemporaryDirectory(prefix="aiqyn-bench-") as folder:
        print(describe(admin))
        home = Path(folder)
        OperatorKeys.generate(ORIGIN).save(Settings(home=home, origin=ORIGIN))
        started = time.perf_counter()
        entries = asyncio.run(write(parts_of(home, url, BEGIN.timestamp())))
        took = time.perf_counter() - started
        print(
            f"{APPEALS:,} appeals of {BODIES:,} bodies: {entries:,} entries, "
            f"sealed and appended in {took:.0f} s"
        )
        started = time.perf_counter()
        Runner(url).catch_up()
        took = time.perf_counter() - started
        print(f"all projections folded live in {took:.0f} s, {entries / took:,.0f} entries/s", flush=True)
        with connect(admin, application_name="bench", autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")  # as autovacuum would have, had the year taken a year
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(128)
            descriptor = listening.fileno()
            service = subprocess.Popen(
                [sys.executable, "-m", "bench.appeals", str(home), url, str(descriptor)],
                pass_fds=[descriptor],
            )
            try:
                measure(listening.getsockname()[1], questions(url))
            finally:
                service.terminate()
                service.wait(30)
        started = time.perf_counter()
        results = rebuild(url, ALL, compare=True)
        took = time.perf_counter() - started
        same = all(one.comparison is not None and one.comparison.difference is None for one in results)
        print(f"all projections rebuilt in {took:.0f} s, {entries / took:,.0f} entries/s: ", end="")
        print("the same digests" if same else "other digests")
        if not same:
            raise SystemExit(1)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(*sys.argv[1:])
    else:
        main()
