"""Many events in one request: each line is judged by itself, and has its answer."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import bulk, ndjson
from tests.api.services import problem
from tests.api.window import LAND, OFFICE, WATER, story

NDJSON = "application/x-ndjson"


def taken(stream, **more):
    line = {"stream": stream, "type": "appeal.taken", "disclosures": {"executor": "Тұрғын үй бөлімі"}}
    return line | more


def drafted(stream, **more):
    line = {"stream": stream, "type": "appeal.decision_drafted", "data": {"outcome": "explained"}}
    return line | {"disclosures": {"draft": "Жоба."}} | more


async def filed(api, number):
    """Streams of fresh appeals, taken down by a front office."""
    return [(await api.came())["stream"] for _ in range(number)]


# --- what is recorded --------------------------------------------------------------------------


def test_each_line_is_recorded_and_answered_in_order(database):
    async def work(api):
        streams = await filed(api, 5)
        size = api.world.counted()
        answers, answer = await api.bulk(LAND, [taken(stream, expected=1) for stream in streams])
        assert (answer.status_code, answer.headers["content-type"]) == (200, NDJSON)
        assert answer.headers["cache-control"] == "no-store"
        assert [line["line"] for line in answers] == [1, 2, 3, 4, 5]
        assert [line["stream"] for line in answers] == streams
        assert sorted(line["position"] for line in answers) == list(range(size, size + 5))
        for line in answers:
            assert (line["status"], line["version"], line["type"], line["replayed"]) == (
                201, 2, "appeal.taken", False,
            )  # fmt: skip
            entry = await api.ok(f"/v1/entries/{line['position']}")
            assert (entry["event"]["iss"], entry["event"]["stream"]) == (LAND, line["stream"])

    story(database, work)


def test_lines_about_one_appeal_are_taken_in_their_order_among_those_of_others(database):
    async def work(api):
        streams = await filed(api, 20)
        steps = [taken, drafted, lambda s, **m: {"stream": s, "type": "appeal.decision_approved"} | m]
        decided = {"type": "appeal.decided", "disclosures": {"decision": "Шешім."}}
        steps.append(lambda s, **m: {"stream": s} | decided | m)
        lines = [step(stream, expected=number) for number, step in enumerate(steps, 1) for stream in streams]
        answers, _ = await api.bulk(LAND, lines)
        assert {line["status"] for line in answers} == {201}, answers
        assert [line["version"] for line in answers] == [2] * 20 + [3] * 20 + [4] * 20 + [5] * 20
        assert [line["line"] for line in answers] == list(range(1, 81))
        backwards, _ = await api.bulk(LAND, [drafted(s) for s in await filed(api, 1)])
        assert backwards[0]["problem"]["type"] == "/problems/not-allowed"

    story(database, work)


def test_a_refused_line_changes_nothing_and_the_others_go_on(database):
    async def work(api):
        one, two, three = await filed(api, 3)
        before = api.world.counted()
        lines = [
            taken(one),
            taken(one),  # it is taken already
            taken(two, expected=5),
            taken("appeal/JT-2026-99999999"),
            {"stream": two, "type": "appeal.praised"},
            {"stream": two},
            {"stream": two, "type": "appeal.taken", "more": 1},
            {"stream": "x y", "type": "appeal.taken"},
            taken(two, key="a b"),
            taken(two, disclosures={}),
            taken(two, event="x~"),
            {"event": "x~"},
            b"null\n",
            b"[]\n",
            b'"text"\n',
            b'{"stream":"a","stream":"b"}\n',
            taken(three),
        ]
        answers, answer = await api.bulk(LAND, lines)
        assert answer.status_code == 200
        assert [line["status"] for line in answers] == [
            201, 409, 409, 404, 422, 422, 422, 422, 422, 422, 422, 422, 422, 422, 422, 422, 201,
        ]  # fmt: skip
        for line in answers:
            if line["status"] != 201:
                assert line["problem"]["status"] == line["status"]
                assert line["problem"]["title"]
                assert line["problem"]["detail"]
        for number in (2, 3, 5, 6, 7, 9, 10, 11):
            assert "appeal.returned" in answers[number - 1]["problem"]["allowed"], number
        assert api.world.counted() == before + 2

    story(database, work)


def test_a_line_may_be_sealed_with_the_bodys_own_key_and_both_kinds_mix(database):
    async def work(api):
        one, two = await filed(api, 2)
        key, stranger = await api.own_key(LAND), await api.own_key(WATER)
        texts = {"executor": "Бөлім"}
        lines = [
            {"event": api.presentation(key, LAND, one, 2, "taken", texts), "expected": 1, "key": "one"},
            taken(two, key="two"),
            {"event": api.presentation(key, LAND, two, 2, "taken", texts)},
            {"event": api.presentation(key, LAND, two, 3, "taken", texts), "expected": 1},
            {"event": api.presentation(stranger, WATER, two, 3, "taken", texts)},
            {"event": api.presentation(stranger, LAND, two, 3, "taken", texts)},
            {"event": api.presentation(key, LAND, one, 3, "taken", texts)[:-5] + "~"},
        ]
        answers, _ = await api.bulk(LAND, lines)
        codes = [line.get("problem", {}).get("type", "").removeprefix("/problems/") for line in answers]
        assert codes[:2] == ["", ""]
        assert codes[2:6] == [
            "stream-conflict", "command-invalid", "request-invalid", "issuer-not-authorised",
        ]  # fmt: skip
        assert answers[6]["status"] == 422
        entry = await api.ok(f"/v1/entries/{answers[0]['position']}")
        assert entry["event"]["kid"] == key.kid
        again, _ = await api.bulk(LAND, lines[:2])
        assert [line["replayed"] for line in again] == [True, True]

    story(database, work)


# --- keys --------------------------------------------------------------------------------------


def test_a_request_whose_answer_was_lost_is_sent_again_as_it_was(database):
    async def work(api):
        streams = await filed(api, 8)
        lines = [taken(stream, expected=1, key=f"take-{number}") for number, stream in enumerate(streams)]
        first, _ = await api.bulk(LAND, lines)
        size = api.world.left_behind()
        again, _ = await api.bulk(LAND, [*lines[:4], {"stream": "?"}, *lines[4:]])
        del again[4]
        for before, after in zip(first, again, strict=True):
            assert after["replayed"]
            unmoved = ("status", "position", "stream", "version", "type", "time")
            assert [before[name] for name in unmoved] == [after[name] for name in unmoved]
        assert api.world.left_behind() == size

    story(database, work)


def test_a_key_stands_for_one_line_of_one_organisation(database):
    async def work(api):
        one, two = await filed(api, 2)
        theirs = (await api.came(body=WATER))["stream"]
        answers, _ = await api.bulk(LAND, [taken(one, key="k"), taken(one, key="k")])
        assert [line["status"] for line in answers] == [201, 201]
        assert answers[1]["position"] == answers[0]["position"]
        (answer,), _ = await api.bulk(LAND, [taken(two, key="k")])
        assert answer["problem"]["type"] == "/problems/idempotency-key-reused"
        assert (answer["problem"]["state"], answer["status"]) == ("registered", 422)
        # Two lines of one request with one key: one of them is recorded, whichever comes first.
        pair, _ = await api.bulk(LAND, [taken(two, key="p"), drafted(one, key="p")])
        assert sorted(line["status"] for line in pair) == [201, 422]
        (other,), _ = await api.bulk(WATER, [taken(theirs, key="k")])
        assert other["status"] == 201
        # A key of the whole request is not looked at; each line has its own.
        three = (await api.came())["stream"]
        (header,), _ = await api.bulk(LAND, [taken(three)], **{"idempotency-key": "k"})
        assert header["status"] == 201

    story(database, work)


def test_the_same_lines_at_once_are_recorded_once(database):
    async def work(api):
        streams = await filed(api, 4)
        lines = [taken(stream, key=stream.replace("/", ":")) for stream in streams]
        size = api.world.counted()
        asked = [api.bulk(LAND, lines) for _ in range(bulk.MAX_REQUESTS)]
        answers = [line for found, _ in await asyncio.gather(*asked) for line in found]
        assert {line["status"] for line in answers} == {201}
        assert len({line["position"] for line in answers}) == 4
        assert sum(line["replayed"] for line in answers) == 4 * (bulk.MAX_REQUESTS - 1)
        assert api.world.counted() == size + 4

    story(database, work)


# --- what comes in -----------------------------------------------------------------------------


def test_more_lines_than_are_read_are_refused_from_there_on(database, monkeypatch):
    monkeypatch.setattr(ndjson, "MAX_LINES", 3)

    async def work(api):
        streams = await filed(api, 5)
        size = api.world.counted()
        answers, _ = await api.bulk(LAND, [b"\n", *(taken(stream) for stream in streams)])
        assert [(line["line"], line["status"]) for line in answers] == [
            (2, 201),
            (3, 201),
            (4, 201),
            (5, 422),
        ]
        assert "send this one and the rest again" in answers[3]["problem"]["detail"]
        assert api.world.counted() == size + 3

    story(database, work)


def test_ten_thousand_lines_are_read_and_no_more(database):
    async def work(api):
        answers, _ = await api.bulk(LAND, [b"{}\n"] * (ndjson.MAX_LINES + 1))
        assert len(answers) == ndjson.MAX_LINES + 1
        details = [line["problem"]["detail"] for line in answers]
        assert len(set(details[:-1])) == 1
        assert str(ndjson.MAX_LINES) in details[-1]

    story(database, work)


def test_lines_that_cannot_be_read_have_their_own_answers(database):
    async def work(api):
        (stream,) = await filed(api, 1)
        named = f'{{"stream":"{stream}","type":"appeal.taken",'.encode()
        size = api.world.counted()
        lines = [
            b"\xff\xfe\n",
            named + b'"disclosures":{"executor":"\xff"}}\n',
            named + b'"disclosures":{"executor":"\\ud800"}}\n',
            named + b'"data":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001 + b"\n",
            named + b'"data":{"a":' + b"9" * 6_000 + b"}}\n",
            named + b'"expected":1e400}\n',
            named + b'"data":{"a":NaN}}\n',
            b"\xef\xbb\xbf" + json.dumps(taken(stream)).encode() + b"\n",
            json.dumps(taken(stream)).encode("utf-16") + b"\n",
            named + b'"disclosures":{"executor":"' + b"x" * ndjson.MAX_LINE_BYTES + b'"}}\n',
            named + b'"disclosures":{"executor":"' + b"x" * (ndjson.MAX_LINE_BYTES - 200) + b'"}}\n',
            b'{"stream":\x00}\n',
            json.dumps(taken(stream)).encode()[:-2],
        ]
        answers, answer = await api.bulk(LAND, lines)
        assert answer.status_code == 200
        assert {line["status"] for line in answers} <= {400, 422}
        assert len(answers) >= len(lines)
        assert "bytes" in next(line for line in answers if line["line"] == 10)["problem"]["detail"]
        for line in answers[1:7]:
            assert "appeal.taken" in line["problem"]["allowed"], line
        assert api.world.counted() == size

    story(database, work)


def test_blank_lines_and_carriage_returns_are_passed_over(database):
    async def work(api):
        one, two = await filed(api, 2)
        lines = [
            b"\n\r\n  \t\n",
            json.dumps(taken(one)).encode() + b"\r\n",
            b" \n",
            b" " + json.dumps(taken(two)).encode(),
        ]
        answers, _ = await api.bulk(LAND, lines)
        assert [(line["line"], line["status"]) for line in answers] == [(4, 201), (6, 201)]
        for content in ([], [b"\n" * 1000], [b" "]):
            answers, answer = await api.bulk(LAND, content)
            assert (answer.status_code, answers) == (200, [])

    story(database, work)


@given(st.lists(st.sampled_from([b"", b" ", b"\r", b"\t", b"{}", b" x", b"x y\r"]), max_size=30))
def test_lines_are_numbered_as_an_editor_numbers_them(parts):
    body = b"\n".join(parts)
    expected = [(n, line.strip(b" \t\r")) for n, line in enumerate(body.split(b"\n"), 1)]
    assert list(ndjson.lines(body)) == [(n, line) for n, line in expected if line]


def test_the_request_itself_is_refused_without_token_media_type_or_room(database):
    async def work(api):
        (stream,) = await filed(api, 1)
        size = api.world.left_behind()
        content = json.dumps(taken(stream)).encode()
        post = api.client.post
        problem(
            await post(bulk.PATH, content=content, headers={"content-type": NDJSON}), 401, "token-missing"
        )
        for kind in ("application/json", "text/plain", ""):
            answer = await post(bulk.PATH, content=content, headers={"content-type": kind} | api.bearer(LAND))
            problem(answer, 415, "media-type-unsupported")
        _, answer = await api.bulk(LAND, [b" " * (33 * 2**20)])
        problem(answer, 413, "body-too-large")
        # A front office posts no events; each line says so.
        answers, _ = await api.bulk(OFFICE, [taken(stream)])
        assert answers[0]["problem"]["type"] == "/problems/issuer-not-authorised"
        assert api.world.left_behind() == size

    story(database, work)


def test_no_more_requests_run_at_once_than_there_is_room_for_and_each_gives_its_place_back(database):
    async def work(api):
        held, coming = asyncio.Event(), asyncio.Semaphore(0)

        async def slow():
            yield b"{}\n"
            coming.release()
            await held.wait()

        headers = {"content-type": NDJSON} | api.bearer(LAND)

        async def ask():
            return await api.client.post(bulk.PATH, content=slow(), headers=headers)

        waiting = [asyncio.create_task(ask()) for _ in range(bulk.MAX_REQUESTS)]
        for _ in waiting:
            await coming.acquire()
        _, answer = await api.bulk(LAND, [b"{}"])
        problem(answer, 503, "bulk-full")
        assert answer.headers["retry-after"]
        waiting[0].cancel()
        held.set()
        _, *others = await asyncio.gather(*waiting, return_exceptions=True)
        assert {answer.status_code for answer in others} == {200}
        for _ in range(bulk.MAX_REQUESTS + 1):
            assert (await api.bulk(LAND, [b"{}"]))[1].status_code == 200

    story(database, work)


# --- a client that goes away -------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_what_was_recorded_for_a_client_that_went_away_is_found_by_its_repeat(database):
    async def work(api):
        streams = await filed(api, 2 * ndjson.AT_ONCE)
        lines = [
            step(stream, key=f"{step.__name__}:{stream[7:]}")
            for stream in streams
            for step in (taken, drafted)
        ]
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        begun = api.world.counted()
        heard = await hung_up(api, content)
        assert heard
        size = await at_rest(api)
        assert size < begun + len(lines)  # nobody goes on behind the client's back
        answers, _ = await api.bulk(LAND, lines)
        assert {line["status"] for line in answers} == {201}
        told = [json.loads(line) for line in heard.splitlines()]
        assert [line["position"] for line in told] == [answers[line["line"] - 1]["position"] for line in told]
        assert all(answers[line["line"] - 1]["replayed"] for line in told)
        assert api.world.counted() == size + sum(not line["replayed"] for line in answers)
        for _ in range(bulk.MAX_REQUESTS):
            assert (await api.bulk(LAND, [b"{}"]))[1].status_code == 200

    story(database, work)


async def at_rest(api):
    """How many entries there are once none is under way any more."""
    while True:
        size = api.world.counted()
        await asyncio.sleep(0.3)
        if size == api.world.counted():
            return size


async def hung_up(api, content):
    """What a client hears that hangs up as soon as the first lines are answered."""
    app = api.client._transport.app
    gone, heard = asyncio.Event(), b""
    sent = iter([{"type": "http.request", "body": content, "more_body": False}])

    async def receive():
        for message in sent:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        nonlocal heard
        if message["type"] == "http.response.body" and not gone.is_set():
            heard += message.get("body", b"")
            gone.set()

    headers = {"content-type": NDJSON, "host": "aiqyn.test"} | api.bearer(LAND)
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": "POST", "scheme": "http", "path": bulk.PATH, "raw_path": bulk.PATH.encode(),
        "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1), "server": ("aiqyn.test", 80),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    return heard
