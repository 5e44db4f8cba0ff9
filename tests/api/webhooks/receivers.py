"""Receivers on loopback, and an outbox over a real database: what the tests of webhooks share."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from api.webhooks import registry
from api.webhooks.dispatcher import Dispatcher
from api.webhooks.network import Target
from ledger import events
from ledger.store.database import connect_async
from ledger.store.vault import Vault
from tests.ledger.ledgers import CULTURE, VILLAGE, Clock
from tests.projections.written import WrittenLedger

OK = "HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class Got:
    """One request as it arrived."""

    path: str
    headers: dict
    body: bytes

    @property
    def message(self):
        return json.loads(self.body)

    @property
    def position(self):
        return self.message["data"]["position"]

    @property
    def stream(self):
        return self.message["data"]["stream"]

    @property
    def id(self):
        return self.headers["webhook-id"]


def status(code, *headers):
    """A whole answer."""
    lines = [f"HTTP/1.1 {code} Said so", *headers, "content-length: 0", "", ""]
    return "\r\n".join(lines)


class Receiver:
    """A real server; ``plan(got)`` says what it answers: text, bytes, or what writes it by itself."""

    def __init__(self, plan=lambda got: OK):
        self.plan = plan
        self.got = []
        self.connections = 0
        self.open = 0
        self.most = 0
        """Requests that were under way at once."""
        self.url = ""
        self._writers = []

    async def _serve(self, reader, writer):
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, *fields = head.decode("latin-1").split("\r\n")[:-2]
                headers = {k.lower(): v for k, v in (one.split(": ", 1) for one in fields)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                got = Got(line.split(" ")[1], headers, body)
                self.got.append(got)
                self.open += 1
                self.most = max(self.most, self.open)
                try:
                    answer = self.plan(got)
                    if asyncio.iscoroutine(answer):
                        answer = await answer
                finally:
                    self.open -= 1
                if callable(answer):
                    await answer(writer)
                    return
                writer.write(answer.encode() if isinstance(answer, str) else answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def positions(self):
        return [got.position for got in self.got]

    def of(self, stream):
        return [got.position for got in self.got if got.stream == stream]


@asynccontextmanager
async def receiving(plan=lambda got: OK, *, tls=None):
    """A receiver on a free port of loopback."""
    receiver = Receiver(plan)
    server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    receiver.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/hook"
    receiver.port = port
    try:
        yield receiver
    finally:
        server.close()
        for writer in receiver._writers:
            writer.close()
        await asyncio.sleep(0)


def in_turn(*plan, then=OK):
    """A plan that gives these answers in turn, and then the last for ever."""
    left = list(plan)
    return lambda got: left.pop(0) if left else then


@dataclass
class Outbox:
    """A ledger written by hand, whom its events concern, and webhooks."""

    ledger: WrittenLedger
    url: str
    clock: Clock = field(default_factory=Clock)
    vault: Vault = field(default_factory=lambda: Vault(os.urandom(32)))
    counted: Counter = field(default_factory=Counter)

    def now(self):
        return datetime.fromtimestamp(self.clock(), UTC)

    def happen(self, stream, *, concerns=(VILLAGE,)):
        """One more event of ``organisation/<stream>``, about which these are to be told; its position."""
        self.counted[stream] += 1
        facts = events.OrganisationPopulationRecorded(
            population=self.counted[stream], counted_on=date(2026, 3, 2)
        )
        position = self.ledger.add(f"organisation/{stream}", facts)
        self.concern(position, *concerns)
        return position

    def concern(self, position, *bodies):
        for body in bodies:
            self.ledger.execute(
                "INSERT INTO projections.concerns (body, position) VALUES (%s, %s)", body, position
            )

    @asynccontextmanager
    async def connected(self):
        async with await connect_async(self.url, application_name="tests", autocommit=True) as connection:
            yield connection

    async def webhook(self, url, *types, organisation=VILLAGE):
        """Its id and its secret."""
        target = Target.parse(url, allow_private=True)
        async with self.connected() as connection:
            made = await registry.create(connection, self.vault, organisation, target, types, self.now())
        return UUID(made.webhook.id), made.secret

    async def read(self, webhook):
        async with self.connected() as connection:
            return await registry.get(connection, None, webhook)

    async def deliveries(self, webhook, **options):
        """By position."""
        async with self.connected() as connection:
            page = await registry.deliveries(connection, None, webhook, **options)
        return {one.position: one for one in page.items}

    async def tell(self, work, *arguments):
        """One of the registry's changes."""
        async with self.connected() as connection:
            return await work(connection, None, *arguments)

    def dispatcher(self, **options):
        options = {"allow_private": True, "jitter": lambda: 0.0} | options
        return Dispatcher(self.url, self.vault, clock=self.clock, **options)

    async def send(self, **options):
        """Let a dispatcher do all that is to be done now; how many attempts that were."""
        dispatcher = self.dispatcher(**options)
        async with dispatcher.open():
            return await dispatcher.catch_up()

    def wait(self, **time):
        """Let time pass, and a little more."""
        self.clock.ahead += timedelta(**time).total_seconds() + 0.01


__all__ = ["CULTURE", "OK", "VILLAGE", "Outbox", "Receiver", "in_turn", "receiving", "status"]
