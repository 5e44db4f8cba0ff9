"""An official reads what is personal, and that it was read, by whom and why, is in the log first."""

from __future__ import annotations

import base64
import json

from ledger.eds.people import invent_person
from ledger.statement import open_event
from tests.api.services import problem
from tests.api.window import LAND, MINISTRY, OFFICE, QUESTION, WATER, at, story


def shown(answer, number=0):
    """What a reading shows of one step."""
    return answer.json()["case"]["steps"][number]["texts"]


def test_a_reading_says_who_and_why_and_stands_in_the_log_before_anything_is_shown(database):
    async def work(api):
        talon = await api.talon()
        stream, size = talon["stream"], api.world.counted()
        answer = await api.read(LAND, stream)
        assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
        document = answer.json()
        assert document["recorded"]["position"] == size
        event = open_event((await api.ok(answer.headers["location"]))["entry"].encode())
        assert (event.iss, event.facts.of, event.facts.purpose) == (LAND, stream, "consideration")
        assert event.stream == f"reading/{stream}/{document['reading']}"
        assert event.facts.events == 1
        assert (shown(answer)["text"], document["case"]["readings"]) == (QUESTION, [])
        assert shown(answer)["iin"] == invent_person(1).iin
        (reading,) = (await api.case(talon)).json()["readings"]
        assert (reading["iss"], reading["purpose"], reading["position"]) == (LAND, "consideration", size)
        assert reading["kid"] == event.kid

    story(database, work)


def test_nobody_reads_whom_the_appeal_does_not_lie_with_and_no_trace_says_they_did(database):
    async def work(api):
        talon = await api.talon()
        stream = talon["stream"]
        before = api.world.left_behind()
        for stranger in (WATER, MINISTRY):
            refused = await api.read(stranger, stream)
            problem(refused, 403, "not-a-reader")
            assert QUESTION not in refused.text
        problem(await api.read(OFFICE, stream), 403, "issuer-not-authorised")
        problem(await api.post(f"{at(stream)}/readings", {"purpose": "consideration"}), 401, "token-missing")
        for purpose in ("curiosity", "", None):
            problem(await api.read(LAND, stream, purpose), 422, "request-invalid")
        problem(await api.read(LAND, "appeal/JT-2026-00000077"), 404, "not-found")
        assert api.world.left_behind() == before
        assert (await api.case(talon)).json()["readings"] == []

    story(database, work)


def test_no_official_is_shown_what_would_let_them_take_the_applicants_place(database):
    """The code; and the signed form, for which the talon with its code is given out again."""

    async def work(api):
        form = await api.form()
        talon = (await api.post("/v1/appeals", form)).json()
        stream = talon["stream"]
        await api.stepped(stream, "taken", ("assigned", {"to": WATER}))
        await api.act(stream, "withdraw")
        for body, purpose in ((LAND, "consideration"), (WATER, "assignment")):
            answer = await api.read(body, stream, purpose)
            assert answer.status_code == 201, answer.text
            assert QUESTION in answer.text
            for step in answer.json()["case"]["steps"]:
                named = {json.loads(unpadded(encoded))[1] for encoded in step["disclosures"]}
                assert not (named | set(step["texts"])) & {"code", "cms"}
            for hidden in (talon["code"], form["form"], form["cms"][:64]):
                assert hidden not in answer.text

    story(database, work)


def unpadded(encoded):
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


def test_a_body_that_sent_the_appeal_on_reads_no_more_not_even_by_its_old_key(database):
    async def work(api):
        stream = await api.filed()
        key = {"idempotency-key": "read-once"}
        assert (await api.read(LAND, stream, **key)).status_code == 201
        await api.stepped(stream, ("forwarded", {"to": WATER}))
        size = api.world.counted()
        problem(await api.read(LAND, stream), 403, "not-a-reader")
        problem(await api.read(LAND, stream, **key), 403, "not-a-reader")
        assert api.world.counted() == size
        answer = await api.read(WATER, stream)
        assert (shown(answer)["text"], shown(answer, 1)["reason"]) == (QUESTION, "Мәтін.")

    story(database, work)


def test_a_repeated_request_shows_no_more_than_it_recorded_and_not_for_ever(database):
    async def work(api):
        stream = await api.filed()
        key = {"idempotency-key": "read-once"}
        first = await api.read(LAND, stream, **key)
        await api.stepped(stream, "taken")
        await api.act(stream, "withdraw", text="Жаңа жеке мәлімет.")
        size = api.world.counted()
        again = await api.read(LAND, stream, **key)
        assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
        assert again.json()["recorded"] == first.json()["recorded"]
        assert again.json()["case"]["steps"] == first.json()["case"]["steps"]
        assert "Жаңа жеке мәлімет." not in again.text
        api.world.clock.ahead += 3601
        problem(await api.read(LAND, stream, **key), 403, "not-a-reader")
        problem(await api.read(LAND, stream, "complaint", **key), 422, "idempotency-key-reused")
        problem(await api.read(LAND, await api.filed(2), **key), 422, "idempotency-key-reused")
        assert api.world.counted() == size + 1
        fresh = await api.read(LAND, stream)
        assert "Жаңа жеке мәлімет." in fresh.text

    story(database, work)


def test_a_body_that_was_asked_reads_the_appeal_and_its_own_question_alone(database):
    async def work(api):
        stream = await api.taken()
        await api.step(stream, "assigned", {"to": WATER}, {"question": "Су бар ма?"})
        await api.step(stream, "assigned", {"to": MINISTRY}, {"question": "Заң бар ма?"})
        await api.act(stream, "withdraw", text="Енді керек емес.")
        answer = await api.read(WATER, stream, "assignment")
        texts = [step["texts"] for step in answer.json()["case"]["steps"]]
        assert texts[0]["text"] == QUESTION
        assert texts[1:] == [{}, {"question": "Су бар ма?"}, {}, {}]
        await api.stepped(stream, ("assignment_answered", {"assignment": 1}), body=WATER)
        problem(await api.read(WATER, stream, "assignment"), 403, "not-a-reader")
        assert (await api.read(MINISTRY, stream, "assignment")).status_code == 201

    story(database, work)


def test_the_higher_body_reads_while_the_complaint_lies_with_it(database):
    async def work(api):
        stream = await api.taken()
        await api.overdue(stream)
        await api.act(stream, "complain")
        problem(await api.read(MINISTRY, stream, "complaint"), 403, "not-a-reader")
        await api.stepped(stream, ("complaint_passed_up", {"to": MINISTRY}))
        answer = await api.read(MINISTRY, stream, "complaint")
        assert (answer.status_code, shown(answer, 1)["executor"]) == (201, "Мәтін.")
        await api.stepped(stream, ("complaint_decided", {"outcome": "remit"}), body=MINISTRY)
        problem(await api.read(MINISTRY, stream, "complaint"), 403, "not-a-reader")
        # Asked for its part later, it sees that, not again the whole case.
        await api.stepped(stream, ("assigned", {"to": MINISTRY}))
        answer = await api.read(MINISTRY, stream, "assignment")
        assert (shown(answer)["text"], shown(answer, 1)) == (QUESTION, {})

    story(database, work)


def test_a_body_whose_key_was_revoked_reads_nothing(database):
    async def work(api):
        stream = await api.filed()
        await api.revoke(LAND, api.world.keys.gateway.kid)
        size = api.world.counted()
        problem(await api.read(LAND, stream), 403, "issuer-not-authorised")
        assert api.world.counted() == size

    story(database, work)


def test_no_reading_can_be_made_up_by_the_call_for_events(database):
    async def work(api):
        stream = await api.filed()
        data = {"of": stream, "events": 1, "purpose": "consideration"}
        size = api.world.counted()
        for name in (f"reading/{stream}/AAAAAAAAAAAAAAAA", stream):
            problem(await api.tell(LAND, name, "disclosure.read", data), 422, "command-invalid")
        assert api.world.counted() == size

    story(database, work)
