"""Builders: an operator's ledger that is served on loopback, and mirrors of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import psycopg

from api.app import create_app
from api.copies import Answers, CopyParts
from api.process import make_server
from audit.mirror import Mirror, Options, Trust
from audit.mirror.store import Store
from audit.source import HttpSource
from ledger.config import Settings
from projections.runner import Runner
from tests.api.services import CULTURE, VILLAGE, World, begin, running
from tests.api.window import LAND, MINISTRY, WATER, Window
from tests.conftest import Database, fresh
from tests.ledger.appeal_scenes import appeals

SIGNERS = 270
"""With the rest more than one tile, and then some."""


class Office(Window):
    """The interface, asked by people whose clocks show the ledger's time."""

    def person(self, number):
        person = super().person(number)
        now = self.service.ledger.now
        return SimpleNamespace(
            sign=lambda content, signing_time=None: person.sign(content, signing_time=signing_time or now())
        )


@dataclass
class Operator:
    """A ledger with everything that it has, and who may speak for it."""

    world: World

    @property
    def database(self) -> Database:
        return self.world.database

    @property
    def vkey(self) -> str:
        return str(self.world.keys.log.verifier)

    @property
    def vkeys(self) -> list[str]:
        return [self.vkey, *(str(key.verifier) for key in self.world.keys.more_log_keys)]

    def size(self) -> int:
        return self.world.counted()

    def do(self, work):
        """``await work(api)`` with the interface at hand; then the tables are folded."""

        async def story():
            async with running(self.world, kind=Office) as api:
                done = await work(api)
                await api.settle()
                return done

        return asyncio.run(story())

    def commit(self, names=()):
        """Commit digests now."""

        async def story():
            ledger = self.world.parts().ledger()
            await ledger.start()
            try:
                return await self.world.parts().committer(ledger).commit(names)
            finally:
                await ledger.stop()

        committed = asyncio.run(story())
        self.fold()
        return committed

    def fold(self):
        Runner(self.database.url).catch_up()

    def execute(self, query, parameters=()):
        """As the superuser, past every trigger."""
        with psycopg.connect(self.database.admin_url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else cursor.rowcount

    @contextmanager
    def served(self, port=0) -> Iterator[str]:
        """At an address, from a thread of this process."""
        with serving(create_app(self.world.parts()), port) as url:
            yield url


@contextmanager
def serving(app, port=0) -> Iterator[str]:
    """Any application at an address."""
    server = make_server(app)
    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            threading.Event().wait(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args, ahead, change) -> None:
        self.ahead, self.change = ahead, change
        super().__init__(*args)

    def do_GET(self) -> None:
        answer = self.ahead.get(self.path)
        status, body = self.change(self.path, answer.status_code, answer.content)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@contextmanager
def between(url, change) -> Iterator[str]:
    """Somebody on the way who may change ``(path, status, body)`` of every answer."""
    with httpx.Client(base_url=url) as ahead:
        handler = partial(_Forward, ahead=ahead, change=change)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()


def begun(database) -> World:
    """A ledger with petitions, signatures and appeals."""
    world = asyncio.run(begin(database, within=appeals, organisations=(CULTURE, LAND, WATER, MINISTRY)))

    async def work(api):
        petition = await api.limited(body=VILLAGE)
        await api.signed(range(1, SIGNERS + 1), petition)
        await api.settle()  # 50 publish it, 50 support it
        second = await api.limited(author=1, body=VILLAGE, title="Екінші өтініш туралы")
        await api.signed(range(2, 12), second)
        for number in range(1, 9):
            stream = await api.taken(number, region=f"{(10, 71)[number % 2]}")
            if number % 2:
                await api.stepped(
                    stream, ("decision_drafted", {"outcome": "explained"}), "decision_approved", "decided"
                )

    Operator(world).do(work)
    return world


@contextmanager
def cloned(postgres, template: str, world: World) -> Iterator[Operator]:
    """The same ledger in a database of its own, that may go another way from here."""
    with fresh(postgres, template) as database:
        grant(database)
        home = Path(tempfile.mkdtemp(prefix="aiqyn-"))
        yield Operator(replace(world, database=database, home=home))


def grant(database: Database) -> None:
    """What is granted on a database itself is not copied with it."""
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        connection.execute(f"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database.name} TO aiqyn_service")


# --- mirrors --------------------------------------------------------------------------------------------


@contextmanager
def mirroring(database, url, *vkeys, compare=True, policy=None, **options) -> Iterator[Mirror]:
    """A mirror in this process."""
    with ExitStack() as stack:
        source = stack.enter_context(closing(HttpSource(url, first_pause=0.01)))
        store = stack.enter_context(Store(database.url))
        trust = Trust.parse(vkeys, policy)
        store.begin(url, trust)
        parts = copy_parts(database, url, *vkeys)
        answers = stack.enter_context(Answers(parts)) if compare else None
        options.setdefault("patience", 0.0)
        mirror = Mirror(store, source, trust, ask=answers, options=Options(**options))
        mirror.store = store  # for the tests
        yield stack.enter_context(closing(mirror))


def copy_parts(database, url, *vkeys) -> CopyParts:
    trust = Trust.parse(vkeys)
    settings = Settings(home=Path(tempfile.gettempdir()), pool_min=1)
    return CopyParts(settings, database.url, url, trust.key, trust.more)


def found(mirror_or_store) -> set[tuple[str, int | None]]:
    """Rule and position of everything that still holds."""
    store = getattr(mirror_or_store, "store", mirror_or_store)
    return {(one.rule, one.position) for one in store.findings() if one.over_at is None}


def command(*arguments, home, database=None, **options) -> subprocess.Popen[bytes]:
    """`aiqyn …` as a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIQYN_")}
    environment |= {"AIQYN_HOME": str(home), "COLUMNS": "200", "PYTHONPATH": os.pathsep.join(sys.path)}
    if database is not None:
        environment["AIQYN_DATABASE_URL"] = database.url
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )


def run(*arguments, **options) -> tuple[int, str]:
    """Exit status, and what was printed."""
    process = command(*arguments, **options)
    said, _ = process.communicate(timeout=120)
    return process.returncode, said.decode()


def kill(process: subprocess.Popen[bytes]) -> None:
    """As a power cut would end it."""
    process.send_signal(signal.SIGKILL)
    process.wait()
