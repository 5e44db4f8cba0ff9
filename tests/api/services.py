"""Builders: a ready service over a real database, asked through HTTP, with people and institutions."""

from __future__ import annotations

import asyncio
import base64
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from psycopg import AsyncConnection

from api import tokens
from api.app import create_app
from api.clock import Steward
from api.process import make_server
from api.service import Parts, Service
from ledger.config import Settings
from ledger.eds.authority import Authority
from ledger.eds.people import invent_person
from ledger.operator import OperatorKeys
from projections.runner import Runner
from tests.homes import new_home
from tests.ledger.ledgers import CULTURE, ORIGIN, TEXT, TITLE, VILLAGE, Clock, scene

__all__ = ["CULTURE", "TEXT", "TITLE", "VILLAGE"]


@dataclass
class World:
    """What outlives one service: the database, the keys, the authority, the clock."""

    database: object
    home: Path
    keys: OperatorKeys
    authority: Authority
    clock: Clock
    tokens: dict = field(default_factory=dict)

    def parts(self, **options):
        settings = options.pop("settings", {})
        return Parts(
            Settings(home=self.home, origin=ORIGIN, pool_min=1, **settings),
            self.database.url,
            self.keys,
            self.authority.trust,
            clock=self.clock,
            **options,
        )

    def counted(self, table="entries"):
        with psycopg.connect(self.database.admin_url) as connection:
            return connection.execute(f"SELECT count(*) FROM ledger.{table}").fetchone()[0]

    def left_behind(self):
        """Rows of every table that a signature writes."""
        return [self.counted(table) for table in ("entries", "disclosures", "vault", "data_keys", "commands")]


@dataclass
class Api:
    """A running service, and somebody who asks it."""

    world: World
    client: httpx.AsyncClient
    service: Service
    people: dict = field(default_factory=dict)

    # --- asking -----------------------------------------------------------------------------------

    async def get(self, path, **options):
        return await self.client.get(path, **options)

    async def ok(self, path, **options):
        answer = await self.client.get(path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path, document, **headers):
        return await self.client.post(path, json=document, headers=headers)

    async def tell(self, organisation, stream, type_, data=None, disclosures=None, **headers):
        document = {"stream": stream, "type": type_, "data": data or {}, "disclosures": disclosures or {}}
        bearer = self.bearer(organisation)
        return await self.client.post("/v1/events", json=document, headers=bearer | headers)

    # --- people -----------------------------------------------------------------------------------

    def bearer(self, organisation):
        return {"authorization": f"Bearer {self.world.tokens[organisation]}"}

    def person(self, number):
        if number not in self.people:
            self.people[number] = self.world.authority.person(invent_person(number))
        return self.people[number]

    async def statement(self, petition, act="sign", lang="kk"):
        answer = await self.get(f"/v1/petitions/{petition}/statement", params={"act": act, "lang": lang})
        assert answer.status_code == 200, answer.text
        return answer.content

    async def cms(self, number, petition, act="sign", lang="kk"):
        return self.person(number).sign(await self.statement(petition, act, lang))

    async def send(self, petition, cms, region=None, **headers):
        """A signature as JSON."""
        document = {"cms": base64.b64encode(cms).decode()} | ({"region": region} if region else {})
        return await self.post(f"/v1/petitions/{petition}/signatures", document, **headers)

    async def sign(self, number, petition, region=None, **headers):
        return await self.send(petition, await self.cms(number, petition), region, **headers)

    async def signed(self, numbers, petition):
        answers = await asyncio.gather(*(self.sign(number, petition) for number in numbers))
        assert {answer.status_code for answer in answers} == {201}
        return [answer.json()["position"] for answer in answers]

    # --- petitions --------------------------------------------------------------------------------

    async def submitted(self, author=0, body=VILLAGE, title=TITLE, text=TEXT):
        asked = {"body": body, "title": title, "text": text, "lang": "kk"}
        prepared = (await self.post("/v1/petitions/statement", asked)).json()
        cms = self.person(author).sign(base64.b64decode(prepared["statement_base64"]))
        filing = asked | {"petition": prepared["petition"], "cms": base64.b64encode(cms).decode()}
        answer = await self.post("/v1/petitions", filing)
        assert answer.status_code == 201, answer.text
        return prepared["petition"]

    async def limited(self, **options):
        petition = await self.submitted(**options)
        answer = await self.tell(CULTURE, f"petition/{petition}", "petition.admitted")
        assert answer.status_code == 201, answer.text
        return petition

    async def petition(self, petition):
        return await self.ok(f"/v1/petitions/{petition}")

    async def state(self, petition):
        return (await self.petition(petition))["state"]

    # --- what happens by itself -------------------------------------------------------------------

    async def fold(self):
        await asyncio.to_thread(Runner(self.world.database.url).catch_up)

    async def settle(self, steward=None):
        """Fold, and let the clock declare what is due, until nothing more happens."""
        steward = steward or Steward(self.service.ledger, self.world.database.url)
        async with await AsyncConnection.connect(self.world.database.url, autocommit=True) as connection:
            while True:
                await self.fold()
                if not await steward.catch_up(connection):
                    return


async def begin(database, *, clock=None, within=scene, organisations=(CULTURE, VILLAGE)):
    """A ledger with its operator, the authorised body and a village's akimat, and their tokens.

    ``within`` may be another builder of a ledger, with ``organisations`` of its own.
    """
    clock = clock or Clock()
    world = World(
        database,
        new_home(),
        OperatorKeys.generate(ORIGIN),
        Authority.create("ecdsa"),
        clock,
    )
    async with within(database, keys=world.keys, clock=clock, authority=world.authority):
        pass
    with psycopg.connect(database.url, autocommit=True) as connection:
        for organisation in organisations:
            world.tokens[organisation] = tokens.create(connection, organisation, "tests")
    return world


@asynccontextmanager
async def running(world, *, kind=Api, **options):
    """The application, asked without a socket."""
    app = create_app(world.parts(**options))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://aiqyn.test") as client:
            yield kind(world, client, app.state.service)


@asynccontextmanager
async def service(database, *, clock=None, **options):
    """A fresh ledger and a service over it."""
    world = await begin(database, clock=clock)
    async with running(world, **options) as api:
        yield api


@asynccontextmanager
async def listening(world):
    """The same on a real loopback port, with its server and the task that it runs in."""
    app = create_app(world.parts())
    server = make_server(app)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        task = asyncio.create_task(server.serve(sockets=[bound]))
        while not server.started:
            await asyncio.sleep(0.01)
        base = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=base, timeout=30) as client:
            try:
                yield Api(world, client, app.state.service), server, task
            finally:
                server.should_exit = True
                await task


def problem(answer, status, code):
    """The document of a problem answer, once it is shown to be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["type"] == f"/problems/{code}", document
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document
