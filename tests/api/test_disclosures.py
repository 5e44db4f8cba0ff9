"""What is public beside many entries at once, page by page."""

from __future__ import annotations

import asyncio

from api import disclosures
from ledger.statement import Disclosure, open_event
from tests.api.services import problem, service


async def everything(api, limit):
    """Every page from the first entry on."""
    items, start = [], 0
    while True:
        page = await api.ok(f"/v1/disclosures?from={start}&limit={limit}")
        items += page["items"]
        if page["next"] == page["size"]:
            return items, page["size"]
        assert start < page["next"] <= start + limit
        start = page["next"]


def test_every_public_disclosure_is_on_some_page_and_belongs_to_its_entry(database):
    async def story():
        async with service(database) as api:
            await api.signed(range(1, 20), await api.limited())
            first, size = await everything(api, 1000)
            assert size == api.world.counted()
            for limit in (1, 7, 4096):
                assert (await everything(api, limit))[0] == first
            positions = [item["position"] for item in first]
            assert positions == sorted(set(positions))
            assert sum(len(item["disclosures"]) for item in first) == api.world.counted("disclosures")
            for item in first:
                entry = await api.ok(f"/v1/entries/{item['position']}")
                event = open_event(entry["entry"].encode())
                assert item["disclosures"] == entry["disclosures"]
                event.check_disclosures(map(Disclosure.parse, item["disclosures"]), complete=False)
                assert set(entry["disclosed"]) <= event.facts.public

    asyncio.run(story())


def test_a_page_has_a_bounded_length(database, monkeypatch):
    monkeypatch.setattr(disclosures, "MAX_BYTES", 200)

    async def story():
        async with service(database) as api:
            await api.signed(range(1, 20), await api.limited())
            page = await api.ok("/v1/disclosures?from=0&limit=1000")
            assert page["next"] < page["size"]
            assert page["items"][-1]["position"] == page["next"] - 1
            items, _ = await everything(api, 1000)
            assert sum(len(item["disclosures"]) for item in items) == api.world.counted("disclosures")

    asyncio.run(story())


def test_behind_the_log_there_is_nothing_yet(database):
    async def story():
        async with service(database) as api:
            size = api.world.counted()
            answer = await api.get(f"/v1/disclosures?from={size}")
            assert answer.json() == {"items": [], "next": size, "size": size}
            assert answer.headers["cache-control"].startswith("public, max-age=")
            again = await api.get(
                f"/v1/disclosures?from={size}", headers={"if-none-match": answer.headers["etag"]}
            )
            assert again.status_code == 304
            assert (await api.ok(f"/v1/disclosures?from={size + 5}"))["next"] == size + 5
            for wrong in ("from=-1", "limit=0", "limit=4097", "from=01", "from=x"):
                problem(await api.get(f"/v1/disclosures?{wrong}"), 422, "request-invalid")

    asyncio.run(story())
