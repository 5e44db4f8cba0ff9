"""From a citizen's appeal to the message in a body's system, with everything running as in service."""

from __future__ import annotations

import asyncio

from standardwebhooks import Webhook

from tests.api.services import begin, running
from tests.api.webhooks.receivers import receiving
from tests.api.window import BODIES, LAND, WATER, Window
from tests.ledger.appeal_scenes import appeals
from tests.ledger.ledgers import Clock


def test_a_body_is_told_of_each_step_of_its_appeals_and_of_no_others(database):
    async def work(api):
        async with receiving() as receiver:
            answer = await api.by(LAND, "/v1/webhooks", {"url": receiver.url, "types": ["appeal.*"]})
            assert answer.status_code == 201, answer.text
            secret = answer.json()["secret"]
            stream = await api.taken()
            await api.filed(2, body=WATER)
            await api.stepped(stream, ("forwarded_in_part", {"to": WATER}))
            wanted = ["appeal.submitted", "appeal.taken", "appeal.forwarded_in_part"]
            async with asyncio.timeout(30):
                while len(receiver.of(stream)) < len(wanted):
                    await asyncio.sleep(0.05)
            told = [got.message["type"] for got in receiver.got if got.stream == stream]
            assert told == wanted
            assert {got.stream for got in receiver.got} == {stream}
            for got in receiver.got:
                Webhook(secret).verify(got.body, got.headers)

    async def run():
        clock = Clock()
        clock.ahead = (
            1e-3  # today: the convention's package judges the age of a message by this machine's clock
        )
        world = await begin(database, clock=clock, within=appeals, organisations=BODIES)
        settings = {"webhooks_allow_private": True}
        async with running(world, kind=Window, background=True, settings=settings) as api:
            await work(api)

    asyncio.run(run())
