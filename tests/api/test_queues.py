"""A body works through its queue, follows what concerns it, and everybody reads the register."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
import pytest

from api import case_examples as examples
from api import tokens
from ledger import events
from projections import appeals as register
from projections import queues
from tests.api import services
from tests.api.services import listening, problem, running
from tests.ledger.appeal_scenes import LAND, MINISTRY, QUESTION, WATER, AppealScene
from tests.ledger.appeal_scenes import appeals as registered
from tests.ledger.ledgers import Scene


def begin(database):
    """A ledger with bodies that answer appeals, and their tokens."""
    return services.begin(database, within=registered, organisations=(LAND, WATER, MINISTRY))


def desk_of(api):
    """The bodies' and the citizens' side of a running service."""
    service, world = api.service, api.world
    return AppealScene(Scene(service.ledger, service.desk, world.authority, world.clock), service.appeals)


@asynccontextmanager
async def service(database, **options):
    async with running(await begin(database), **options) as api:
        yield api, desk_of(api)


async def ask(api, path, organisation=LAND, **params):
    answer = await api.get(path, params=params, headers=api.bearer(organisation))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def queue(api, organisation=LAND, **params):
    return (await ask(api, "/v1/queue", organisation, **params))["items"]


def test_a_body_works_through_its_queue_by_what_the_queue_says(database):
    async def story():
        async with service(database) as (api, desk):
            stream = await desk.filed()
            await desk.filed(number=2, body=WATER)
            await api.fold()
            (item,) = await queue(api)
            assert (item["number"], item["stream"], item["version"]) == ("ЖТ-2026-00000001", stream, 1)
            assert (item["state"], item["role"], item["term"]) == ("registered", "handler", "forwarding")
            assert (item["overdue"], item["missed"], item["region"]) == (False, False, "71")
            seen = {"if-match": f'"{item["version"]}"'}
            taken = await api.tell(LAND, stream, "appeal.taken", {}, {"executor": "Бөлім"}, **seen)
            assert taken.status_code == 201, taken.text
            stale = await api.tell(
                LAND, stream, "appeal.returned", {"ground": "unclear"}, {"reason": "…"}, **seen
            )
            problem(stale, 412, "stream-conflict")
            await api.fold()
            (item,) = await queue(api)
            assert (item["state"], item["version"], item["term"]) == ("in-work", 2, "consideration")
            assert item["procedures"] == dict.fromkeys(
                ("extension", "hearing", "decision", "withdrawal"), "none"
            )

    asyncio.run(story())


def test_a_queue_has_what_was_asked_of_a_body_and_what_was_passed_up_to_it(database):
    async def story():
        async with service(database) as (api, desk):
            stream = await desk.taken()
            await desk.tell(stream, "assigned", {"to": WATER})
            decided = await desk.decided(number=2)
            await desk.act(decided, "complain", number=2)
            await desk.tell(decided, "complaint_passed_up", {"to": MINISTRY})
            await api.fold()
            (asked,) = await queue(api, WATER)
            assert (asked["stream"], asked["role"], asked["term"]) == (stream, "assigned", "assignment")
            (above,) = await queue(api, MINISTRY)
            assert (above["stream"], above["role"], above["term"]) == (decided, "higher", "complaint")
            assert [item["stream"] for item in await queue(api)] == [stream, decided]
            assert await queue(api, role="assigned") == []
            terms = (await ask(api, "/v1/queue/terms", WATER))["items"]
            assert [(one["term"], one["of"], one["stream"]) for one in terms] == [("assignment", 1, stream)]

    asyncio.run(story())


def test_a_queue_is_filtered_and_ordered(database):
    async def story():
        async with service(database) as (api, desk):
            slow = await desk.taken(kind="complaint")
            quick = await desk.filed(number=2)
            await api.fold()
            assert [item["stream"] for item in await queue(api)] == [quick, slow]
            assert [item["stream"] for item in await queue(api, order="newest")] == [quick, slow]
            assert [item["stream"] for item in await queue(api, state="in-work")] == [slow]
            assert len(await queue(api, state=["in-work", "registered"])) == 2
            assert [item["stream"] for item in await queue(api, kind="complaint")] == [slow]
            due = (await queue(api))[0]["due"]
            assert await queue(api, due_before=due) == []
            assert [item["stream"] for item in await queue(api, overdue="false")] == [quick, slow]
            api.world.clock.pass_until(msgspec.convert(due, type=events.Instant))
            (item,) = await queue(api, overdue="true")
            assert (item["stream"], item["overdue"], item["missed"]) == (quick, True, False)
            terms = await ask(api, "/v1/queue/terms", term=["forwarding"], overdue="true")
            assert [one["stream"] for one in terms["items"]] == [quick]

    asyncio.run(story())


def test_pages_of_a_queue_show_everything_once(database):
    async def story():
        async with service(database) as (api, desk):
            streams = {await desk.filed(number=number) for number in range(1, 8)}
            await api.fold()
            for order in ("due", "newest"):
                seen, cursor = [], {}
                while cursor is not None:
                    page = await ask(api, "/v1/queue", order=order, limit=3, **cursor)
                    seen += [item["stream"] for item in page["items"]]
                    cursor = None if page["next"] is None else {"cursor": page["next"]}
                assert (len(seen), set(seen)) == (7, streams)
            page = await ask(api, "/v1/queue/terms", limit=5)
            rest = await ask(api, "/v1/queue/terms", limit=10, cursor=page["next"])
            assert len(page["items"] + rest["items"]) == 14

    asyncio.run(story())


def test_an_answer_is_not_sent_twice_and_is_never_stale(database):
    async def story():
        async with service(database) as (api, desk):
            stream = await desk.filed()
            await api.fold()
            for path in ("/v1/queue", "/v1/queue/terms", "/v1/organisations/land/feed"):
                mine = api.bearer(LAND)
                first = await api.get(path, headers=mine)
                assert first.headers["cache-control"] == "private, no-cache"
                assert "Authorization" in first.headers["vary"]
                known = mine | {"if-none-match": first.headers["etag"]}
                again = await api.get(path, headers=known)
                assert (again.status_code, again.content) == (304, b"")
                await desk.filed(number=9, body=LAND)
                await api.fold()
                assert (await api.get(path, headers=known)).status_code == 200
                theirs = known | api.bearer(WATER)
                assert (await api.get(path, headers=theirs)).status_code == (403 if "feed" in path else 200)
            # Nothing happens to the appeal, and yet what is said of it changes: its term passes.
            first = await api.get("/v1/queue", headers=mine)
            appeal = await desk.appeal(stream)
            api.world.clock.pass_until(appeal.forward_until)
            later = await api.get("/v1/queue", headers=mine | {"if-none-match": first.headers["etag"]})
            assert later.status_code == 200
            assert later.json()["items"][0]["overdue"] is True

    asyncio.run(story())


WRONG = [
    ("/v1/queue?cursor=12", 422, "cursor-invalid"),
    ("/v1/queue?order=newest&cursor=1.2", 422, "cursor-invalid"),
    ("/v1/queue/terms?cursor=1.2", 422, "cursor-invalid"),
    ("/v1/queue?limit=101", 422, "request-invalid"),
    ("/v1/queue?state=lost", 422, "request-invalid"),
    ("/v1/queue?overdue=1", 422, "request-invalid"),
    ("/v1/queue?due_before=1772424000", 422, "request-invalid"),
    ("/v1/queue?due_before=2026-03-02", 422, "request-invalid"),
    ("/v1/queue?due_before=2026-03-02T06:00:00", 422, "request-invalid"),
    ("/v1/organisations/land/feed?wait=26", 422, "request-invalid"),
    ("/v1/organisations/land/feed?after=-2", 422, "request-invalid"),
    ("/v1/organisations/land/feed?limit=1001", 422, "request-invalid"),
    ("/v1/organisations/water/feed", 403, "feed-of-another"),
    ("/v1/organisations/nobody/feed", 403, "feed-of-another"),
    ("/v1/appeals?region=72", 422, "request-invalid"),
    ("/v1/appeals?registered_from=1772424000", 422, "request-invalid"),
    ("/v1/appeals?cursor=x", 422, "request-invalid"),
    ("/v1/appeals/JT-2026-00000009", 404, "not-found"),
    ("/v1/appeals/ЖТ-2026-1", 404, "not-found"),
    ("/v1/appeals/XX-2026-00000001", 404, "not-found"),
]


def test_what_is_asked_wrongly_is_answered_by_a_problem(database):
    async def story():
        async with service(database) as (api, _):
            for path, status, code in WRONG:
                problem(await api.get(path, headers=api.bearer(LAND)), status, code)

    asyncio.run(story())


def test_strangers_see_no_queue(database):
    async def story():
        async with service(database) as (api, _):
            for path in ("/v1/queue", "/v1/queue/terms", "/v1/organisations/land/feed"):
                answer = await api.get(path)
                problem(answer, 401, "token-missing")
                assert answer.headers["www-authenticate"]
                unknown = {"authorization": f"Bearer {tokens.PREFIX}{'A' * 43}"}
                problem(await api.get(path, headers=unknown), 401, "token-invalid")

    asyncio.run(story())


# --- the register ---------------------------------------------------------------------------------


def test_everybody_reads_what_is_public_of_an_appeal_and_nothing_else(database):
    async def story():
        async with service(database) as (api, desk):
            stream = await desk.taken(category="land")
            await desk.tell(stream, "forwarded_in_part", {"to": WATER})
            await api.fold()
            for number in ("ЖТ-2026-00000001", "JT-2026-00000001", "%D0%96%D0%A2-2026-00000001"):
                answer = await api.get(
                    f"/v1/appeals/{number}", headers={"origin": "https://elsewhere.example"}
                )
                document = answer.json()
                assert (document["number"], document["stream"]) == ("ЖТ-2026-00000001", stream)
                assert (document["state"], document["category"], document["parts"]) == ("in-work", "land", 1)
                assert answer.headers["access-control-allow-origin"] == "*"
                assert "public" in answer.headers["cache-control"]
            again = await api.get(f"/v1/appeals/{number}", headers={"if-none-match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            page = await api.ok("/v1/appeals")
            shown = json.dumps([document, page], ensure_ascii=False)
            for secret in (QUESTION, "abonent@example.kz", desk.iin(1), "Мәтін."):
                assert secret not in shown
            assert set(document) == set(register.AppealDocument.__struct_fields__)
            trail = await api.ok(f"/v1/streams/{stream}")
            assert trail["version"] == document["version"] == 3

    asyncio.run(story())


def test_a_part_is_read_under_its_number_with_a_dash(database):
    async def story():
        async with service(database) as (api, desk):
            stream = await desk.taken()
            await desk.tell(stream, "forwarded_in_part", {"to": WATER})
            await api.fold()
            document = await api.ok("/v1/appeals/ЖТ-2026-00000001-1")
            assert (document["number"], document["parent"]) == ("ЖТ-2026-00000001/1", "ЖТ-2026-00000001")
            assert (document["body"], document["origin"]) == (WATER, "split")
            (item,) = await queue(api, WATER)
            assert (item["number"], item["version"]) == ("ЖТ-2026-00000001/1", 1)

    asyncio.run(story())


def test_the_register_is_listed_newest_first_and_filtered(database):
    async def story():
        async with service(database) as (api, desk):
            first = await desk.filed(region=None)
            second = await desk.taken(number=2, kind="complaint", category="health")
            third = await desk.filed(number=3, body=WATER)
            await api.fold()

            async def listed(**params):
                return [item["stream"] for item in (await api.ok("/v1/appeals", params=params))["items"]]

            page = await api.ok("/v1/appeals", params={"limit": 2})
            assert [item["stream"] for item in page["items"]] == [third, second]
            assert await listed(cursor=page["next"]) == [first]
            assert page["as_of"] == api.world.counted() - 1
            assert await listed(body=WATER) == [third]
            assert await listed(kind=["complaint", "proposal"]) == [second]
            assert await listed(category="health") == [second]
            assert await listed(region="unknown") == [first]
            assert await listed(state=["in-work"]) == [second]
            assert await listed(channel="paper") == []
            day = page["items"][0]["registered_on"]
            assert len(await listed(registered_from=day, registered_to=day)) == 3
            assert await listed(registered_to="2025-01-01") == []

    asyncio.run(story())


# --- the feed -------------------------------------------------------------------------------------


def test_a_body_is_told_everything_that_concerns_it_once_and_resumes(database):
    async def story():
        async with service(database) as (api, desk):
            stream = await desk.filed()
            await desk.filed(number=2, body=WATER)
            await desk.tell(stream, "taken")
            await desk.tell(stream, "assigned", {"to": WATER})
            await api.fold()
            path = "/v1/organisations/land/feed"
            page = await ask(api, path, limit=2)
            assert [item["type"] for item in page["items"]] == ["appeal.submitted", "appeal.taken"]
            rest = await ask(api, path, after=page["next"])
            (item,) = rest["items"]
            assert (item["type"], item["n"], item["iss"]) == ("appeal.assigned", 3, LAND)
            assert item["facts"]["to"] == WATER
            assert rest["next"] == rest["as_of"] == api.world.counted() - 1
            theirs = await ask(api, "/v1/organisations/water/feed", WATER)
            assert [item["type"] for item in theirs["items"]] == ["appeal.submitted", "appeal.assigned"]
            entry = await api.ok(f"/v1/entries/{item['position']}")
            assert entry["event"]["data"] == item["facts"]

    asyncio.run(story())


def test_whoever_waits_is_told_at_once_and_misses_nothing(database):
    async def story():
        async with service(database, background=True, steward_seconds=0.2) as (api, desk):
            path = "/v1/organisations/land/feed"
            start = (await ask(api, path))["next"]

            async def follow(organisation, slug, until):
                found, after = [], start
                while len(found) < until:
                    page = await ask(
                        api, f"/v1/organisations/{slug}/feed", organisation, after=after, wait=10
                    )
                    found += [item["position"] for item in page["items"]]
                    after = page["next"]
                return found

            followers = [asyncio.create_task(follow(LAND, "land", 6)) for _ in range(3)]
            elsewhere = asyncio.create_task(follow(WATER, "water", 2))
            await asyncio.sleep(0.5)
            for number in range(1, 4):
                await desk.filed(number=number, body=WATER if number == 2 else LAND)
                await asyncio.sleep(0.2)
            for number in range(4, 8):
                await desk.filed(number=number)
            await desk.filed(number=8, body=WATER)
            async with asyncio.timeout(20):
                told = await asyncio.gather(*followers)
                await elsewhere
            assert told[0] == told[1] == told[2]
            everything = await ask(api, path, after=start)
            assert told[0] == [item["position"] for item in everything["items"]][:6]
            assert len(api.service.waiting) == 0

    asyncio.run(story())


def test_waiting_ends_with_its_time_and_says_where_to_go_on(database):
    async def story():
        async with service(database, background=True) as (api, desk):
            await desk.filed(body=WATER)
            await asyncio.sleep(1)
            started = time.monotonic()
            page = await ask(api, "/v1/organisations/land/feed", wait=1)
            assert 1 <= time.monotonic() - started < 5
            assert (page["items"], page["next"]) == ([], api.world.counted() - 1)

    asyncio.run(story())


def test_the_service_stops_although_bodies_wait(database):
    async def story():
        async with listening(await begin(database)) as (api, server, task):
            path = "/v1/organisations/land/feed"
            waiting = asyncio.create_task(api.get(path, params={"wait": 25}, headers=api.bearer(LAND)))
            while not len(api.service.waiting):
                await asyncio.sleep(0.02)
            server.should_exit = True
            async with asyncio.timeout(8):
                await task
                answer = await waiting
            assert answer.status_code == 200

    asyncio.run(story())


def test_only_so_many_wait_in_one_process(database, monkeypatch):
    monkeypatch.setattr("api.queues.MAX_WAITING", 1)

    async def story():
        async with service(database) as (api, _):
            path = "/v1/organisations/land/feed"
            waiting = asyncio.create_task(ask(api, path, wait=3))
            await asyncio.sleep(0.5)
            refused = await api.get(path, params={"wait": 3}, headers=api.bearer(LAND))
            problem(refused, 503, "feed-full")
            assert (await waiting)["items"] == []

    asyncio.run(story())


@pytest.mark.parametrize(
    ("shape", "example"),
    [
        (queues.QueuePage, examples.QUEUE),
        (queues.TermPage, examples.TERMS),
        (register.BodyFeed, examples.FEED),
        (register.AppealPage, examples.APPEALS),
        (register.AppealDocument, examples.APPEAL),
    ],
)
def test_the_examples_have_the_shape_that_they_are_examples_of(shape, example):
    read = msgspec.convert(example, shape)
    assert set(example) == set(shape.__struct_fields__)
    assert msgspec.json.decode(msgspec.json.encode(read)) == example
    if shape is queues.QueuePage:
        due, arrived = read.next.split(".")
        last = read.items[-1]
        assert timedelta(microseconds=int(due)) == last.due - queues._EPOCH
        assert int(arrived) == last.arrived
