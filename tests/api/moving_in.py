"""A town that moves in over HTTP, for tests of what it hands in and of what comes out again."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import psycopg

from api import ndjson, tokens
from api.imports import PATH
from tests.api.services import begin, running
from tests.ledger.ledgers import scene
from tests.ledger.test_imports import TOWN, register_town


async def moved(database):
    """A world with a town that may register appeals."""
    world = await begin(database)
    async with scene(
        database, keys=world.keys, clock=world.clock, authority=world.authority, fresh=False
    ) as found:
        await register_town(found.ledger)
    with psycopg.connect(database.url, autocommit=True) as connection:
        world.tokens[TOWN] = tokens.create(connection, TOWN, "tests")
    return world


@asynccontextmanager
async def serving(database):
    async with running(await moved(database)) as api:
        yield api


def case(number, rows=2, **more):
    return {
        "register": "journal", "case": str(number), "kind": "application", "applicant": "person",
        "channel": "paper", "category": "housing", "lang": "kk",
        "rows": [
            {"activity": "Step", "step": "note" if day else "registered",
             "happened": f"2019-03-{day + 1:02}T05:00:00Z"}
            for day in range(rows)
        ],
    } | more  # fmt: skip


def lines(*documents):
    return "\n".join(d if isinstance(d, str) else json.dumps(d) for d in documents).encode()


async def send(api, body, organisation=TOWN, **headers):
    headers = api.bearer(organisation) | {"content-type": ndjson.NDJSON} | headers
    answer = await api.client.post(PATH, content=body, headers=headers)
    if answer.status_code != 200:
        return answer
    assert answer.headers["content-type"].startswith(ndjson.NDJSON)
    assert answer.headers["cache-control"] == "no-store"
    return [json.loads(line) for line in answer.text.split("\n") if line]
