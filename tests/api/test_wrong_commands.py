"""A wrong command gets a problem of its own, which names what is allowed next, and changes nothing."""

from __future__ import annotations

from datetime import timedelta

from tests.api.services import problem
from tests.api.window import LAND, MINISTRY, OFFICE, WATER, story

IN_WORK = {"appeal.assigned", "appeal.decision_drafted", "appeal.returned", "appeal.withdrawal_asked"}


async def refused(api, answer, status, code, *, stream=None, allowed=IN_WORK):
    """The problem of a wrong command about an appeal that is in work."""
    document = problem(answer, status, code)
    assert set(document["allowed"]) >= allowed, document
    assert document["state"] == "in-work"
    if stream is not None:
        assert document["version"] == (await api.service.ledger.load(stream)).version
    return document


# --- the five that matter most -----------------------------------------------------------------


def test_a_stale_version_is_refused_and_the_newest_is_named(database):
    async def work(api):
        stream = await api.taken()
        before = api.world.left_behind()
        drafted = {"outcome": "explained"}
        answer = await api.step(stream, "decision_drafted", drafted, **{"if-match": '"1"'})
        document = await refused(api, answer, 412, "stream-conflict", stream=stream)
        assert (document["expected"], document["actual"], document["version"]) == (1, 2, 2)
        key = await api.own_key(LAND)
        size = api.world.left_behind()
        for n in (2, 9):
            answer = await api.sealed(key, LAND, stream, n, "decision_drafted", {"draft": "Жоба."}, drafted)
            await refused(api, answer, 409, "stream-conflict", stream=stream)
        answer = await api.sealed(
            key, LAND, stream, 3, "decision_drafted", {"draft": "Жоба."}, drafted, **{"if-match": '"1"'}
        )
        await refused(api, answer, 422, "command-invalid")
        assert api.world.left_behind() == size
        assert size[0] == before[0] + 1  # the key
        answer = await api.step(stream, "decision_drafted", drafted, **{"if-match": '"2"'})
        assert (answer.status_code, answer.headers["etag"]) == (201, '"3"')

    story(database, work)


def test_a_command_in_the_wrong_state_is_refused(database):
    async def work(api):
        stream = await api.taken()
        before = api.world.left_behind()
        wrong = [
            ("taken", {}),
            ("forwarded", {"to": WATER}),
            ("extension_approved", {}),
            ("extended", {}),
            ("hearing_held", {"attended": True}),
            ("decision_approved", {}),
            ("decided", {}),
            ("finished", {"delivery": "post"}),
            ("withdrawal_accepted", {}),
            ("complaint_satisfied", {}),
            ("complaint_passed_up", {"to": MINISTRY}),
        ]
        for type_, data in wrong:
            answer = await api.step(stream, type_, data)
            document = problem(answer, answer.status_code, answer.json()["type"].rpartition("/")[2])
            assert answer.status_code in (409, 422), type_
            assert set(document["allowed"]) >= IN_WORK
            assert f"appeal.{type_}" not in document["allowed"]
        assert api.world.left_behind() == before

    story(database, work)


def test_a_body_that_the_appeal_does_not_lie_with_is_refused(database):
    async def work(api):
        stream = await api.taken()
        key = await api.own_key(WATER)
        before = api.world.left_behind()
        draft = {"outcome": "explained"}
        for type_, data in (("decision_drafted", draft), ("returned", {"ground": "unclear"})):
            answer = await api.step(stream, type_, data, body=WATER)
            document = await refused(api, answer, 403, "appeal-of-another-body", stream=stream)
            assert document["body"] == LAND
        answer = await api.sealed(key, WATER, stream, 3, "decision_drafted", {"draft": "Жоба."}, draft)
        await refused(api, answer, 403, "appeal-of-another-body", stream=stream)
        answer = await api.step(stream, "assignment_answered", {"assignment": 1}, body=WATER)
        await refused(api, answer, 409, "not-allowed", stream=stream)
        assert api.world.left_behind() == before

    story(database, work)


def test_a_revoked_key_is_refused_sealed_and_plain(database):
    async def work(api):
        stream = await api.taken()
        key = await api.own_key(LAND)
        draft = ("decision_drafted", {"draft": "Жоба."}, {"outcome": "explained"})
        early = api.presentation(key, LAND, stream, 3, *draft)
        await api.revoke(LAND, key.kid)
        before = api.world.left_behind()
        answer = await api.sealed(key, LAND, stream, 3, *draft)
        await refused(api, answer, 403, "issuer-not-authorised", stream=stream)
        # Nor what it sealed before it was revoked and did not post in time.
        sealed = {"content-type": "application/sd-jwt"}
        answer = await api.client.post("/v1/events", content=early, headers=sealed)
        await refused(api, answer, 403, "issuer-not-authorised", stream=stream)
        assert api.world.left_behind() == before
        await api.revoke(LAND, api.world.keys.gateway.kid)
        before = api.world.left_behind()
        answer = await api.step(stream, *draft[:1], draft[2])
        await refused(api, answer, 403, "issuer-not-authorised", stream=stream)
        assert api.world.left_behind() == before

    story(database, work)


def test_line_7_of_10000_that_is_malformed_has_its_own_problem_and_the_others_go_on(database):
    async def work(api):
        stream = await api.taken()
        good = [
            {"stream": stream, "type": "appeal.assigned", "data": {"to": WATER},
             "disclosures": {"question": f"{n}-сұрақ"}, "expected": n + 1}
            for n in range(1, 7)
        ]  # fmt: skip
        malformed = f'{{"stream":"{stream}","type":"appeal.assigned","data":\n'.encode()
        after = dict(good[0], expected=8)
        before = api.world.counted()
        answers, answer = await api.bulk(LAND, [*good, malformed, after, *([b"{}\n"] * 9_992)])
        assert answer.status_code == 200
        assert [line["line"] for line in answers] == list(range(1, 10_001))
        assert [line["status"] for line in answers[:8]] == [201] * 6 + [400, 201]
        document = answers[6]["problem"]
        assert (document["type"], document["status"]) == ("/problems/json-invalid", 400)
        assert (document["state"], set(document["allowed"]) >= IN_WORK) == ("in-work", True)
        assert {line["problem"]["type"] for line in answers[8:]} == {"/problems/request-invalid"}
        assert api.world.counted() == before + 7

    story(database, work)


# --- and the others ----------------------------------------------------------------------------


def test_a_term_that_the_law_does_not_give_is_refused_with_the_one_it_gives(database):
    async def work(api):
        stream = await api.filed()
        before = api.world.left_behind()
        data = {"ground": "unclear", "fix_until": "2027-01-01T00:00:00Z"}
        document = problem(await api.step(stream, "returned", data), 422, "term-wrong")
        assert "appeal.returned" in document["allowed"]
        assert api.world.left_behind() == before
        data["fix_until"] = document["lawful"]
        assert (await api.step(stream, "returned", data)).status_code == 201

    story(database, work)


def test_a_burdensome_decision_without_a_hearing_is_refused_and_names_the_hearing(database):
    async def work(api):
        stream = await api.taken()
        before = api.world.left_behind()
        answer = await api.step(stream, "decision_drafted", {"outcome": "refused"})
        document = await refused(api, answer, 409, "hearing-missing")
        assert "appeal.hearing_noticed" in document["allowed"]
        early = (api.service.ledger.now() + timedelta(days=1)).isoformat()
        answer = await api.step(stream, "hearing_noticed", {"at": early})
        document = await refused(api, answer, 409, "not-allowed", stream=stream)
        assert document["lawful"] == "2026-02-05T19:00:00+00:00"
        assert api.world.left_behind() == before

    story(database, work)


def test_what_only_others_say_is_not_taken_from_a_body(database):
    async def work(api):
        stream = await api.taken()
        key = await api.own_key(LAND)
        before = api.world.left_behind()
        overdue = {"term": "consideration", "due": "2026-02-23T19:00:00Z"}
        others = [
            ("submitted", {}, {}), ("withdrawal_asked", {}, {"text": "Мәтін.", "cms": "AA"}),
            ("overdue", overdue, {}), ("split_off", {}, {}), ("imported", {}, {}), ("step_imported", {}, {}),
        ]  # fmt: skip
        for type_, data, texts in others:
            answer = await api.tell(LAND, stream, f"appeal.{type_}", data, texts)
            await refused(api, answer, 422, "command-invalid", stream=stream)
        answer = await api.sealed(key, LAND, stream, 3, "overdue", {}, overdue)
        await refused(api, answer, 403, "issuer-not-authorised", stream=stream)
        rows = {"step": "note", "activity": "қағаз", "happened": "2026-01-01T00:00:00Z"}
        answer = await api.sealed(key, LAND, stream, 3, "step_imported", {}, rows)
        await refused(api, answer, 422, "command-invalid", stream=stream)
        assert api.world.left_behind() == before

    story(database, work)


def test_a_key_with_another_role_is_refused(database):
    async def work(api):
        stream = await api.taken()
        clerk = await api.own_key(LAND, "registrar")
        before = api.world.left_behind()
        for type_, texts, data in (
            ("decision_drafted", {"draft": "Жоба."}, {"outcome": "explained"}),
            ("decided", {"decision": "Шешім.", "attachments": []},
             {"outcome": "explained", "late": False, "complain_until": "2026-05-02T19:00:00Z"}),
        ):  # fmt: skip
            answer = await api.sealed(clerk, LAND, stream, 3, type_, texts, data)
            document = await refused(api, answer, 403, "issuer-not-authorised", stream=stream)
            assert "role" in document["detail"]
        answer = await api.step(stream, "decision_drafted", {"outcome": "explained"}, body=OFFICE)
        await refused(api, answer, 403, "issuer-not-authorised", stream=stream)
        assert api.world.left_behind() == before

    story(database, work)


def test_data_and_texts_that_are_not_those_of_the_type_are_refused(database):
    async def work(api):
        stream = await api.taken()
        before = api.world.left_behind()
        for data in ({}, {"outcome": "ignored"}, {"outcome": None}, {"outcome": "explained", "more": 1}):
            answer = await api.step(stream, "decision_drafted", data)
            await refused(api, answer, 422, "command-invalid", stream=stream)
        explained = {"outcome": "explained"}
        for texts in (
            {},
            {"draft": "Жоба.", "note": "x"},
            {"draft": ""},
            {"draft": 5},
            {"draft": "ж" * 20_001},
        ):
            answer = await api.tell(LAND, stream, "appeal.decision_drafted", explained, texts)
            await refused(api, answer, 422, "command-invalid", stream=stream)
        answer = await api.tell(LAND, stream, "appeal.decision_drafted", explained, {"draft": "а\u202eб"})
        await refused(api, answer, 422, "text-invalid", stream=stream)
        answer = await api.step(stream, "decision_drafted", explained | {"ground": "court-case"})
        await refused(api, answer, 409, "not-allowed", stream=stream)
        for type_ in ("appeal.praised", "decision_drafted", "", "petition.admitted"):
            answer = await api.tell(LAND, stream, type_, {}, {})
            assert answer.status_code in (403, 422), type_
            await refused(api, answer, answer.status_code, answer.json()["type"].rpartition("/")[2])
        assert api.world.left_behind() == before

    story(database, work)


def test_a_body_that_cannot_be_read_still_says_what_its_stream_allows(database):
    async def work(api):
        stream = await api.taken()
        before = api.world.left_behind()
        for content, status, code in (
            (f'{{"stream": "{stream}", "type": "appeal.taken"', 400, "json-invalid"),
            (f'{{"stream" : "{stream}", "kind": 1}}', 422, "request-invalid"),
            (f'{{"stream": "{stream}", "type": 5}}', 422, "request-invalid"),
        ):
            headers = {"content-type": "application/json"} | api.bearer(LAND)
            answer = await api.client.post("/v1/events", content=content, headers=headers)
            await refused(api, answer, status, code, stream=stream)
        for stream in ("appeal/JT-2026-00000077", "appeal/x", "nothing"):
            answer = await api.tell(LAND, stream, "appeal.taken", {}, {"executor": "Бөлім"})
            document = problem(answer, answer.status_code, answer.json()["type"].rpartition("/")[2])
            assert answer.status_code in (404, 422)
            assert "allowed" not in document
        assert api.world.left_behind() == before

    story(database, work)


def test_when_nothing_more_can_happen_the_problem_says_so(database):
    async def work(api):
        stream = await api.taken()
        await api.act(stream, "withdraw")
        await api.stepped(stream, "withdrawal_accepted")
        document = problem(await api.step(stream, "taken"), 409, "not-allowed")
        assert (document["state"], document["allowed"]) == ("withdrawn", [])
        assert "Nothing more can happen" in document["detail"]

    story(database, work)
