"""Event logs over HTTP: whole, packed or not, while the service goes on."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from api import exports
from tests.api.moving_in import TOWN, case, lines, moved, send, serving
from tests.api.services import listening, problem
from tests.projections.mining.logs import parsed, read_ocel, read_xes

XES, OCEL = "/v1/exports/appeals.xes", "/v1/exports/appeals.jsonocel"
SPACE = "{http://www.xes-standard.org/}"


def test_a_stranger_gets_the_event_log_that_pm4py_reads(database, tmp_path):
    async def story():
        async with serving(database) as api:
            await send(api, lines(*(case(n, rows=3) for n in range(20))))
            for path in (XES, OCEL):
                answer = await api.get(path)
                assert answer.status_code == 200
                assert answer.headers["cache-control"] == "no-store"
                (tmp_path / path.rpartition("/")[2]).write_bytes(answer.content)
            return api.world.counted() - 1, (await api.ok("/v1/log"))

    as_of, log = asyncio.run(story())
    table = read_xes(tmp_path / "appeals.xes")
    assert (table["case:concept:name"].nunique(), len(table)) == (20, 60)
    found = read_ocel(tmp_path / "appeals.jsonocel")
    assert len(found.events) == 60
    assert (found.objects["ocel:type"] == "appeal").sum() == 20
    about = json.loads((tmp_path / "appeals.jsonocel").read_bytes())["log"]
    assert about == {"origin": log["origin"], "as_of": as_of, "root": log["root"]}
    root = parsed((tmp_path / "appeals.xes").read_bytes())
    told = {child.get("key"): child.get("value") for child in root if child.get("key")}
    assert (told["origin"], told["as_of"], told["root"]) == (log["origin"], str(as_of), log["root"])


def test_the_answer_is_packed_for_who_takes_that(database):
    async def story():
        async with serving(database) as api:
            await send(api, lines(*(case(n) for n in range(50))))
            plain = await api.get(XES, headers={"accept-encoding": "identity"})
            assert "content-encoding" not in plain.headers
            request = api.client.build_request("GET", XES, headers={"accept-encoding": "gzip"})
            packed = await api.client.send(request, stream=True)
            raw = b"".join([piece async for piece in packed.aiter_raw()])
            assert packed.headers["content-encoding"] == "gzip"
            assert gzip.decompress(raw) == plain.content
            assert len(raw) < len(plain.content) / 5

    asyncio.run(story())


def test_appeals_are_chosen_by_the_query(database):
    async def story():
        async with serving(database) as api:
            await send(api, lines(case(1), case(2)))

            async def traces(**params):
                return len(list(parsed((await api.get(XES, params=params)).content).iter(f"{SPACE}trace")))

            assert await traces() == 2
            assert await traces(body=TOWN, imported=True) == 2
            assert await traces(body="organisation/village") == 0
            assert await traces(since="2019-03-01T05:00:00Z", until="2019-03-01T10:00:01+05:00") == 2
            assert await traces(since="2019-03-01T05:00:01Z") == 0
            for wrong in ({"since": "2019-03-01"}, {"since": "2019-03-01T05:00:00"}, {"body": "town"}):
                problem(await api.get(XES, params=wrong), 422, "request-invalid")

    asyncio.run(story())


def test_a_process_writes_so_many_logs_at_once_and_no_more(database):
    async def story():
        async with serving(database) as api:
            for _ in range(exports.MAX_EXPORTS):
                exports._slots.take()
            try:
                problem(await api.get(OCEL), 503, "exports-full")
            finally:
                for _ in range(exports.MAX_EXPORTS):
                    exports._slots.give_back()
            for _ in range(2 * exports.MAX_EXPORTS):
                assert (await api.get(OCEL)).status_code == 200

    asyncio.run(story())


@pytest.mark.parametrize("path", [XES, OCEL])
def test_who_goes_away_in_the_middle_leaves_nothing_open(database, path):
    async def story():
        async with listening(await moved(database)) as (api, _, _):
            await send(api, lines(*(case(n, rows=20) for n in range(1000))))
            for _ in range(exports.MAX_EXPORTS + 1):
                async with api.client.stream("GET", path) as answer:
                    async for _ in answer.aiter_bytes():
                        break
                async with asyncio.timeout(10):
                    while exports._slots._left < exports.MAX_EXPORTS:
                        await asyncio.sleep(0.01)
            async with api.service.pool.connection() as connection:
                query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'aiqyn export'"
                async with asyncio.timeout(10):
                    while (await (await connection.execute(query)).fetchone())[0]:
                        await asyncio.sleep(0.01)
            assert (await api.get("/healthz")).status_code == 200

    asyncio.run(story())


def test_a_log_is_not_written_for_who_asks_only_about_it(database):
    async def story():
        async with serving(database) as api:
            assert (await api.client.head(XES)).status_code == 405

    asyncio.run(story())
