"""The feed tells every entry once, in order, and goes on where a client left it. Over a real socket."""

from __future__ import annotations

import asyncio
import json

from tests.api.services import begin, listening, problem


async def told(client, until, *, after=None, last=None):
    """(id, data) of the events up to position ``until``."""
    headers = {} if last is None else {"last-event-id": str(last)}
    params = {} if after is None else {"after": after}
    found, position = [], None
    async with client.stream("GET", "/v1/feed", headers=headers, params=params) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                position = int(line.removeprefix("id: "))
            elif line.startswith("data: "):
                found.append((position, json.loads(line.removeprefix("data: "))))
                if position >= until:
                    return found
    return found


def test_clients_are_told_every_entry_and_resume_where_they_were(database):
    async def story():
        async with listening(await begin(database)) as (api, _, _):
            petition = await api.limited()
            tip = api.world.counted() - 1
            live = [asyncio.create_task(told(api.client, tip + 40)) for _ in range(3)]
            await asyncio.sleep(0.2)
            await api.signed(range(1, 41), petition)
            for found in await asyncio.gather(*live):
                assert [position for position, _ in found] == list(range(tip + 41))
                assert all(data["position"] == position for position, data in found)
            everything = dict(found)
            for options in ({"last": tip + 10}, {"after": tip + 10}, {"after": 3, "last": tip + 10}):
                rest = await told(api.client, tip + 40, **options)
                assert rest == [(n, everything[n]) for n in range(tip + 11, tip + 41)]
            entry = await api.ok(f"/v1/entries/{tip + 1}")
            assert everything[tip + 1]["entry"] == entry["entry"]
            assert everything[tip + 1]["disclosures"] == entry["disclosures"]
            problem(await api.get("/v1/feed", headers={"last-event-id": "soon"}), 422, "request-invalid")

    asyncio.run(story())


def test_a_client_that_was_away_for_long_catches_up_page_by_page(database, monkeypatch):
    monkeypatch.setattr("api.follower.PAGE", 16)
    monkeypatch.setattr("api.follower.KEPT", 8)

    async def story():
        async with listening(await begin(database)) as (api, _, _):
            petition = await api.limited()
            await api.signed(range(1, 101), petition)
            last = api.world.counted() - 1
            found = await told(api.client, last)
            assert [position for position, _ in found] == list(range(last + 1))

    asyncio.run(story())


def test_the_service_stops_although_clients_follow(database):
    async def story():
        async with listening(await begin(database)) as (api, server, task):
            following = asyncio.create_task(told(api.client, 10**9))
            while not api.service.follower.clients:
                await asyncio.sleep(0.01)
            server.should_exit = True
            async with asyncio.timeout(5):
                await task
            await following

    asyncio.run(story())
