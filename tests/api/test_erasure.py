"""What a running service shows of what was erased: that it was, where the log says so, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import psycopg
import pytest

from api import follower
from api.clock import Steward
from ledger import events
from ledger.erasure import Eraser, Wish
from ledger.store.database import connect_async
from tests.api.services import CULTURE, problem, service
from tests.api.window import LAND, OFFICE, at, story


async def erase(api, *wishes):
    """As another process would: by a ledger of its own, while the service runs."""
    ledger = api.world.parts().ledger()
    await ledger.start()
    try:
        async with Eraser.open(ledger, api.world.database.url) as eraser:
            plan = await eraser.plan(wishes)
            await eraser.erase(plan)
            return plan
    finally:
        await ledger.stop()


async def until(condition, seconds=5):
    for _ in range(int(seconds * 50)):
        if await condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come about")


def test_an_erased_case_is_gone_and_says_so(database):
    async def work(api):
        talon, other = await api.talon(), await api.talon()
        stream = talon["stream"]
        reading = (await api.read(LAND, stream)).json()["reading"]
        await api.fold()
        await erase(api, Wish(stream, "court"))
        erased = (await api.ok("/v1/log"))["size"] - 1
        for answer in (
            await api.case(talon),
            await api.case(talon, "0000000000"),
            await api.act(stream, "withdraw"),
            await api.read(LAND, stream),
            await api.by(
                OFFICE,
                f"/v1/front-office/appeals/{stream.removeprefix('appeal/')}/acts",
                {"act": "withdraw", "code": talon["code"], "text": "Себебі бар."},
            ),
            await api.client.get(
                f"{at(stream)}/readings/{reading}/attachments/{'0' * 64}", headers=api.bearer(LAND)
            ),
        ):
            assert problem(answer, 410, "erased")["position"] == erased
        for _ in range(2):
            (left,) = (await api.cabinet()).json()["items"]
            assert left["case"]["stream"] == other["stream"]
            await api.fold()
        with psycopg.connect(database.admin_url) as connection:
            listed = connection.execute("SELECT stream FROM projections.cabinet").fetchall()
        assert listed == [(other["stream"],)]
        public = await api.ok(f"/v1/appeals/{stream.removeprefix('appeal/')}")
        assert public["state"] == "registered", "its steps stay public"

    story(database, work)


def run(database, work, **options):
    async def story():
        async with service(database, **options) as api:
            await work(api)

    asyncio.run(story())


def test_a_running_service_forgets_the_words_that_it_knew(database):
    async def work(api):
        petition = await api.limited()
        await api.sign(1, petition)
        text = await api.statement(petition)
        assert "кітапхана" in text.decode()
        stream = f"petition/{petition}"
        await erase(api, Wish(stream, "court", ("text", "title"), data_key=False))

        async def closed():
            return (await api.get(f"/v1/petitions/{petition}/statement")).status_code == 409

        await until(closed)
        problem(await api.get(f"/v1/petitions/{petition}/statement"), 409, "petition-closed")
        await api.fold()
        shown = await api.petition(petition)
        assert (shown["title"], shown["text"], shown["count"]) == (None, None, 1)
        assert set(shown["erased"]) == {"text", "title"}

    run(database, work)


def test_the_list_of_a_running_service_says_that_a_name_was_removed(database):
    async def work(api):
        petition = await api.limited()
        positions = await api.signed(range(1, 4), petition)
        signed = (await api.ok(f"/v1/entries/{positions[0]}"))["event"]["stream"]
        await erase(api, Wish(signed, "demand"))
        await api.fold()
        shown = (await api.ok(f"/v1/petitions/{petition}/signatures"))["items"]
        names = {item["position"]: (item["name"] is None, item["erased"]) for item in shown}
        assert names[positions[0]] == (True, (await api.ok("/v1/log"))["size"] - 1)
        assert [names[position] for position in positions[1:]] == [(False, None)] * 2
        assert (await api.petition(petition))["count"] == 3
        entry = await api.ok(f"/v1/entries/{positions[0]}")
        assert (entry["disclosures"], entry["disclosed"]) == ([], {})
        receipt = await api.ok(f"/v1/entries/{positions[0]}/receipt")
        assert receipt["disclosures"] == []

    run(database, work)


def test_the_feed_gives_out_no_name_that_was_erased_meanwhile(database):
    async def work(api):
        petition = await api.limited()
        (position,) = await api.signed([1], petition)
        kept = api.service.follower

        async def disclosed():
            (entry, *_) = await kept.page(position)
            return bool(entry.disclosures)

        async def known():
            return kept.has(position)

        await until(known)
        assert await disclosed()
        stream = (await api.ok(f"/v1/entries/{position}"))["event"]["stream"]
        await erase(api, Wish(stream, "demand"))

        async def forgotten():
            return not await disclosed()

        await until(forgotten, 2 * follower.POLL_SECONDS + 1)

    run(database, work)


@pytest.mark.parametrize("wanted", [False, True])
def test_the_clock_erases_what_is_over_its_term_where_the_operator_wants_that(database, wanted):
    async def work(api):
        petition = await api.limited()
        positions = await api.signed(range(1, 4), petition)
        answer = await api.tell(
            CULTURE, f"signature/{petition}/{await nullifier(api, positions[0])}", "signature.voided",
            {"reason": "forged"},
        )  # fmt: skip
        assert answer.status_code == 201, answer.text
        api.world.clock.ahead += timedelta(days=60).total_seconds()
        ledger, url = api.service.ledger, api.world.database.url
        steward = Steward(ledger, url, erase_expired=wanted)
        await api.settle(steward)
        assert await api.state(petition) == "lapsed"
        async with await connect_async(url, application_name="tests", autocommit=True) as connection:
            await steward.catch_up(connection)
            assert api.world.counted("vault") == 4
            api.world.clock.ahead += timedelta(days=366 * 6).total_seconds()
            before = api.world.counted()
            await steward.catch_up(connection)
            await steward.catch_up(connection)
        assert api.world.counted() - before == (3 if wanted else 0)
        assert api.world.counted("vault") == (1 if wanted else 4)
        assert api.world.counted("disclosures") == (3 if wanted else 6)

    run(database, work)


async def nullifier(api, position):
    return (await api.ok(f"/v1/entries/{position}"))["event"]["stream"].rpartition("/")[2]


def test_a_clock_that_starts_on_a_restored_table_takes_it_away_again(database):
    async def work(api):
        petition = await api.limited()
        (position,) = await api.signed([1], petition)
        stream = (await api.ok(f"/v1/entries/{position}"))["event"]["stream"]
        async with await connect_async(
            api.world.database.admin_url, application_name="tests", autocommit=True
        ) as admin:
            backup = await (await admin.execute("SELECT * FROM ledger.data_keys")).fetchall()
            await erase(api, Wish(stream, "demand"))
            for row in backup:
                await admin.execute(
                    "INSERT INTO ledger.data_keys VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", row
                )
        assert api.world.counted("data_keys") == len(backup)
        task = asyncio.create_task(Steward(api.service.ledger, api.world.database.url).run())

        async def gone():
            return api.world.counted("data_keys") == len(backup) - 1

        await until(gone)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    run(database, work)


def test_an_erasure_is_nothing_that_an_organisation_posts(database):
    async def work(api):
        petition = await api.limited()
        facts = {"of": f"petition/{petition}", "events": 1, "ground": "court", "names": ["title"]}
        answer = await api.tell(
            CULTURE, f"erasure/petition/{petition}/x", events.DisclosureErased.type, facts
        )
        problem(answer, 422, "command-invalid")

    run(database, work)
