"""Everybody reads: numbers that add up, pages without gaps, answers that caches understand."""

from __future__ import annotations

import asyncio
import json

from ledger.receipt import Receipt
from ledger.statement import Disclosure, open_event
from ledger.tlog.encoding import from_base64
from tests.api.services import TEXT, TITLE, VILLAGE, problem, running, service


def test_a_petition_shows_its_text_its_count_and_what_it_is_made_of(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            for number, region in [(1, "71"), (2, "75"), (3, "75"), (4, None)]:
                assert (await api.sign(number, petition, region)).status_code == 201
            await api.fold()
            document = await api.petition(petition)
            assert (document["title"], document["text"], document["lang"]) == (TITLE, TEXT, "kk")
            assert document["by_region"] == {"71": 1, "75": 2, "unknown": 1}
            assert sum(document["by_region"].values()) == document["count"] == document["signed"] == 4
            assert document["as_of"] == api.world.counted() - 1
            growth = await api.ok(f"/v1/petitions/{petition}/growth", params={"step": "day"})
            assert (growth["count"], growth["step"]) == (4, "day")

    asyncio.run(story())


def test_a_number_in_the_list_is_the_number_on_the_page(database):
    async def story():
        async with service(database) as api:
            petitions = [await api.limited(author=60 + number) for number in range(3)]
            for number, petition in enumerate(petitions):
                await api.signed(range(1, 51 + number), petition)
            await api.settle()
            page = await api.ok("/v1/petitions", params={"limit": 2})
            rest = await api.ok("/v1/petitions", params={"limit": 2, "cursor": page["next"]})
            listed = {item["id"]: item for item in page["items"] + rest["items"]}
            assert (len(page["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)
            assert set(listed) == set(petitions)
            for petition in petitions:
                assert listed[petition]["count"] == (await api.petition(petition))["count"]
            assert len((await api.ok("/v1/petitions", params={"state": "supported"}))["items"]) == 3
            assert (await api.ok("/v1/petitions", params={"state": "decided"}))["items"] == []
            assert (await api.ok("/v1/petitions", params={"body": "organisation/culture"}))["items"] == []
            assert len((await api.ok("/v1/petitions", params={"body": VILLAGE}))["items"]) == 3

    asyncio.run(story())


def test_pages_of_signatures_miss_nobody_while_others_sign(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            positions = set(await api.signed(range(1, 11), petition))
            await api.fold()
            path, seen, before = f"/v1/petitions/{petition}/signatures", [], None
            for round_ in range(20):
                page = await api.ok(
                    path, params={"limit": 3} | ({} if before is None else {"before": before})
                )
                seen += [item["position"] for item in page["items"]]
                await api.signed([100 + round_], petition)
                await api.fold()
                if (before := page["next"]) is None:
                    break
            assert seen == sorted(positions, reverse=True)
            assert all(item["name"].endswith(".") for item in page["items"])

    asyncio.run(story())


def test_an_entry_and_its_receipt_verify(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            (position,) = await api.signed([1], petition)
            entry = await api.ok(f"/v1/entries/{position}")
            event = open_event(entry["entry"].encode())
            public = [Disclosure.parse(one) for one in entry["disclosures"]]
            event.check_disclosures(public, complete=False)
            assert entry["disclosed"] == {"name": public[0].value}
            receipt = Receipt.parse((await api.get(entry["receipt"])).content)
            checkpoint = receipt.verify(api.world.keys.log.verifier).checkpoint
            log = await api.ok("/v1/log")
            assert (log["size"], from_base64(log["root"])) == (checkpoint.size, checkpoint.root)
            assert (log["vkey"], log["operator"]) == (
                str(api.world.keys.log.verifier),
                "organisation/operator",
            )
            problem(await api.get("/v1/entries/100000"), 404, "not-in-log")
            problem(await api.get("/v1/entries/100000/receipt"), 404, "not-in-log")

    asyncio.run(story())


def test_a_client_that_has_the_answer_is_not_sent_it_again(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            await api.fold()
            for path in (
                f"/v1/petitions/{petition}",
                f"/v1/petitions/{petition}/trail",
                f"/v1/petitions/{petition}/statement",
                "/v1/petitions",
                "/v1/organisations",
                "/v1/organisations/village",
                "/v1/entries/0",
                "/v1/log",
            ):
                first = await api.get(path)
                assert first.status_code == 200
                assert "public" in first.headers["cache-control"]
                tag = first.headers["etag"]
                for known in (tag, f'W/{tag}, "other"', "*"):
                    again = await api.get(path, headers={"if-none-match": known})
                    assert (again.status_code, again.content) == (304, b"")
                assert (await api.get(path, headers={"if-none-match": '"other"'})).status_code == 200
            before = (await api.get(f"/v1/petitions/{petition}")).headers["etag"]
            await api.signed([1], petition)
            await api.fold()
            assert (await api.get(f"/v1/petitions/{petition}")).headers["etag"] != before

    asyncio.run(story())


def test_pages_of_other_sites_may_read_and_not_write(database):
    async def story():
        async with service(database) as api:
            origin = {"origin": "https://elsewhere.example"}
            assert (await api.get("/v1/petitions", headers=origin)).headers[
                "access-control-allow-origin"
            ] == "*"
            asking = origin | {"access-control-request-method": "POST"}
            answer = await api.client.options("/v1/events", headers=asking)
            assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
            posted = await api.client.post("/v1/events", json={}, headers=origin)
            assert "access-control-allow-origin" not in posted.headers
            async with running(api.world, settings={"cors_origins": ("https://known.example",)}) as strict:
                answer = await strict.get("/v1/petitions", headers=origin)
                assert "access-control-allow-origin" not in answer.headers
                assert answer.headers["vary"] == "Origin"
                known = {"origin": "https://known.example"}
                answer = await strict.get("/v1/petitions", headers=known)
                assert answer.headers["access-control-allow-origin"] == "https://known.example"
                answer = await strict.get("/log/checkpoint", headers=origin)
                assert answer.headers["access-control-allow-origin"] == "*"

    asyncio.run(story())


WRONG = [
    ("/v1/petitions?limit=0", 422, "request-invalid"),
    ("/v1/petitions?limit=101", 422, "request-invalid"),
    ("/v1/petitions?limit=%205", 422, "request-invalid"),
    ("/v1/petitions?cursor=1_0", 422, "request-invalid"),
    ("/v1/petitions?cursor=%2B1", 422, "request-invalid"),
    ("/v1/petitions?cursor=%D9%A3", 422, "request-invalid"),
    ("/v1/petitions?cursor=99999999999999999999", 422, "request-invalid"),
    ("/v1/petitions?state=lost", 422, "request-invalid"),
    ("/v1/petitions/6F1E9A52-8C1D-4B39-9A57-0D1F0F6F2A11", 404, "not-found"),
    ("/v1/petitions/00000000-0000-4000-8000-000000000000", 404, "not-found"),
    ("/v1/petitions/00000000-0000-4000-8000-000000000000/signatures", 404, "not-found"),
    ("/v1/petitions/00000000-0000-4000-8000-000000000000/growth", 404, "not-found"),
    ("/v1/petitions/00000000-0000-4000-8000-000000000000/trail", 404, "not-found"),
    ("/v1/petitions/00000000-0000-4000-8000-000000000000/statement", 404, "not-found"),
    ("/v1/petitions/x/statement?lang=en", 422, "request-invalid"),
    ("/v1/streams/petition/nothing", 404, "not-found"),
    ("/v1/streams/%00", 404, "not-found"),
    ("/v1/organisations/nobody", 404, "not-found"),
    ("/v1/entries/007", 422, "request-invalid"),
    ("/v1/entries/-1", 422, "request-invalid"),
    ("/v1/entries/9223372036854775807", 404, "not-in-log"),
    ("/problems/unheard-of", 404, "not-found"),
    ("/v1/nothing", 404, "not-found"),
]


def test_what_is_asked_wrongly_is_answered_by_a_problem(database):
    async def story():
        async with service(database) as api:
            for path, status, code in WRONG:
                answer = await api.get(path)
                assert answer.status_code in (status, 404), (path, answer.text)
                problem(answer, answer.status_code, code if answer.status_code == status else "not-found")
            answer = await api.client.delete("/v1/petitions")
            problem(answer, 405, "method-not-allowed")
            assert answer.headers["allow"]

    asyncio.run(story())


def test_head_is_answered_as_get_without_the_body(database):
    async def story():
        async with service(database) as api:
            for path in ("/v1/petitions", "/v1/log", "/healthz", "/openapi.json", "/log/checkpoint"):
                got, head = await api.get(path), await api.client.head(path)
                assert (head.status_code, head.content) == (200, b"")
                assert head.headers["content-length"] == str(len(got.content))
                assert head.headers["content-type"] == got.headers["content-type"]

    asyncio.run(story())


def test_problem_types_can_be_read_by_people_and_machines(database):
    async def story():
        async with service(database) as api:
            codes = [one["type"] for one in await api.ok("/problems")]
            assert "/problems/already-signed" in codes
            for path in codes:
                assert (await api.ok(path))["type"] == path
            page = await api.get("/problems/already-signed", headers={"accept": "text/html"})
            assert page.headers["content-type"].startswith("text/html")
            assert "already signed" in page.text

    asyncio.run(story())


def test_the_service_says_how_it_is(database):
    async def story():
        async with service(database) as api:
            assert await api.ok("/healthz") == {"status": "ok"}
            await api.fold()
            ready = await api.ok("/readyz")
            assert (ready["status"], ready["size"]) == ("ok", api.world.counted())
            petition = await api.limited()
            await api.signed([1], petition)
            text = (await api.get("/metrics")).text
            assert 'aiqyn_signings_total{outcome="recorded"} 1.0' in text
            assert f"aiqyn_log_size {float(api.world.counted())}" in text
            assert 'route="/v1/petitions/{id}/signatures"' in text
            assert petition not in text

    asyncio.run(story())


def test_a_service_whose_log_was_rolled_back_stops_signing_and_says_so(database):
    async def story():
        from ledger.store.append import LogRolledBackError

        async with service(database) as api:
            petition = await api.limited()
            cms = await api.cms(1, petition)
            api.service.ledger.sequencer._fatal = LogRolledBackError("went back to /var/lib/somewhere")
            document = problem(await api.send(petition, cms), 503, "log-rolled-back")
            assert "/var/lib" not in json.dumps(document)
            answer = await api.get("/readyz")
            assert problem(answer, 503, "not-ready")["appends"] == "log-rolled-back"
            assert answer.headers["retry-after"]
            assert (await api.get("/healthz")).status_code == 200

    asyncio.run(story())
