"""A body moves in over HTTP: cases line by line, each with its own answer."""

from __future__ import annotations

import asyncio
import json

from api import imports, ndjson
from api.imports import PATH
from tests.api.moving_in import TOWN, case, lines, moved, send, serving
from tests.api.services import listening, problem
from tests.ledger.ledgers import VILLAGE


def test_each_case_has_its_answer_in_order(database):
    async def story():
        async with serving(database) as api:
            before = api.world.counted()
            found = await send(api, lines(*(case(n, rows=1 + n % 3) for n in range(200))))
            assert [answer["line"] for answer in found] == list(range(1, 201))
            assert {(answer["status"], answer["result"]) for answer in found} == {(201, "imported")}
            assert len({answer["stream"] for answer in found}) == 200
            assert api.world.counted() - before == sum(1 + n % 3 for n in range(200))
            # They share groups instead of waiting for one another.
            assert api.service.ledger.sequencer.groups < 50
            trail = await api.ok(f"/v1/entries/{found[5]['position']}")
            assert trail["event"]["stream"] == found[5]["stream"]
            assert trail["event"]["n"] == 3

    asyncio.run(story())


def test_a_request_that_is_sent_again_changes_nothing(database):
    async def story():
        async with serving(database) as api:
            first = await send(api, lines(case(1), case(2)))
            before = api.world.counted()
            again = await send(api, lines(case(2), case(1), case(1, rows=3)))
            assert [(a["status"], a["result"]) for a in again] == [
                (200, "unchanged"), (200, "unchanged"), (201, "extended"),
            ]  # fmt: skip
            assert again[0]["position"] == first[1]["position"]
            assert api.world.counted() == before + 1

    asyncio.run(story())


def test_a_wrong_line_has_its_own_problem_and_the_others_go_on(database):
    async def story():
        async with serving(database) as api:
            wrong = [
                ("{", 400, "json-invalid"),
                (json.dumps(case(1))[:-1] + ',"kind":"proposal"}', 400, "json-invalid"),
                (case(1, kind="wish"), 422, "request-invalid"),
                (case(1, colour="red"), 422, "request-invalid"),
                (case(1, iin="12"), 422, "request-invalid"),
                (case("a\nb"), 422, "request-invalid"),
                (case(1, rows=0), 422, "request-invalid"),
                ({**case(1), "rows": case(1)["rows"][::-1]}, 409, "not-allowed"),
                ("x" * (ndjson.MAX_LINE_BYTES + 1), 422, "request-invalid"),
            ]
            await send(api, lines(case(7)))
            wrong.append((case(7, kind="complaint"), 409, "import-conflict"))
            pairs = [(document, case(100 + n)) for n, (document, _, _) in enumerate(wrong)]
            body = lines(*(document for pair in pairs for document in pair))
            before = api.world.counted()
            found = await send(api, body)
            assert [answer["line"] for answer in found] == list(range(1, 2 * len(wrong) + 1))
            for answer, (_, status, code) in zip(found[::2], wrong, strict=True):
                assert (answer["status"], answer["problem"]["type"]) == (status, f"/problems/{code}"), answer
                assert answer["problem"]["detail"]
            assert {answer["result"] for answer in found[1::2]} == {"imported"}
            assert api.world.counted() == before + 2 * len(wrong)

    asyncio.run(story())


def test_blank_lines_are_passed_over_and_numbers_stay_those_of_the_request(database):
    async def story():
        async with serving(database) as api:
            found = await send(api, b"\n\r\n" + lines(case(1)) + b"\r\n\n" + lines(case(2)) + b"\n\n")
            assert [answer["line"] for answer in found] == [3, 5]
            assert await send(api, b"") == []

    asyncio.run(story())


def test_a_request_has_at_most_so_many_lines(database, monkeypatch):
    monkeypatch.setattr(ndjson, "MAX_LINES", 3)

    async def story():
        async with serving(database) as api:
            found = await send(api, lines(*(case(n) for n in range(9))))
            assert [answer["status"] for answer in found] == [201, 201, 201, 422]
            assert "send this one and the rest again" in found[3]["problem"]["detail"]

    asyncio.run(story())


def test_who_has_no_registrars_key_takes_nothing_over(database):
    async def story():
        async with serving(database) as api:
            problem(await api.client.post(PATH, content=lines(case(1)), headers={
                "content-type": ndjson.NDJSON
            }), 401, "token-missing")  # fmt: skip
            wrong = {"authorization": "Bearer aiqyn_" + "x" * 43}
            problem(await send(api, lines(case(1)), **wrong), 401, "token-invalid")
            problem(
                await send(api, b"[]", **{"content-type": "application/json"}), 415, "media-type-unsupported"
            )
            before = api.world.counted()
            found = await send(api, lines(case(1)), organisation=VILLAGE)
            assert found[0]["problem"]["type"] == "/problems/issuer-not-authorised"
            assert api.world.counted() == before

    asyncio.run(story())


def test_a_body_is_longer_here_than_elsewhere_but_not_endless(database, monkeypatch):
    monkeypatch.setitem(imports.BODY_LIMITS, PATH, 3 * 2**20)

    async def story():
        async with serving(database) as api:
            many = lines(*(case(n, rows=1, text="x" * 19_000) for n in range(150)))
            assert 2 * 2**20 < len(many) < 3 * 2**20
            answers = await send(api, many)
            assert {answer["status"] for answer in answers} == {201}
            found = problem(await send(api, many * 2), 413, "body-too-large")
            assert found["limit"] == 3 * 2**20

    asyncio.run(story())


def test_a_process_takes_over_so_many_registers_at_once_and_no_more(database, monkeypatch):
    async def story():
        async with serving(database) as api:
            for _ in range(imports.MAX_REQUESTS):
                imports._slots.take()
            try:
                answer = await send(api, lines(case(1)))
                problem(answer, 503, "imports-full")
                assert answer.headers["retry-after"]
            finally:
                for _ in range(imports.MAX_REQUESTS):
                    imports._slots.give_back()
            # Whatever becomes of a request, its place is free again.
            await send(api, b"x" * (imports.BODY_LIMITS[PATH] + 1))
            for _ in range(2 * imports.MAX_REQUESTS):
                assert (await send(api, lines(case(1))))[0]["status"] in (200, 201)

    asyncio.run(story())


def test_who_goes_away_in_the_middle_finds_what_was_recorded(database):
    async def story():
        async with listening(await moved(database)) as (api, _, _):
            body = lines(*(case(n, rows=5) for n in range(2000)))
            headers = {"authorization": f"Bearer {api.world.tokens[TOWN]}", "content-type": ndjson.NDJSON}
            async with api.client.stream("POST", PATH, content=body, headers=headers) as answer:
                async for line in answer.aiter_lines():
                    assert json.loads(line)["status"] == 201
                    break
            async with asyncio.timeout(10):
                while imports._slots._left < imports.MAX_REQUESTS:
                    await asyncio.sleep(0.01)
            recorded = api.world.counted("vault")
            assert 0 < recorded < 2000
            found = await send(api, body)
            results = [answer["result"] for answer in found]
            # What waited for its group when the client went away was appended all the same.
            assert recorded <= results.count("unchanged") < 2000
            assert results.count("unchanged") + results.count("imported") == 2000
            assert api.world.counted("vault") == 2000

    asyncio.run(story())
