"""Somebody turns to a body, follows the appeal, and takes the steps that are the applicant's."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from ledger.eds.authority import Authority
from ledger.eds.people import invent_person
from ledger.receipt import Receipt
from ledger.statement import Disclosure, open_event
from tests.api.services import problem, running
from tests.api.window import LAND, OFFICE, QUESTION, WATER, Window, at, story, window

LATIN, TALON = "appeal/JT-2026-00000001", "ЖТ-2026-00000001"


# --- turning to a body -------------------------------------------------------------------------


def test_the_talon_has_number_time_receiver_term_code_and_a_receipt_that_verifies(database):
    async def work(api):
        answer = await api.post("/v1/appeals", await api.form())
        assert answer.status_code == 201, answer.text
        talon = answer.json()
        assert (talon["number"], talon["stream"]) == (TALON, LATIN)
        assert (talon["body"], talon["received_by"]) == (LAND, "organisation/operator")
        assert talon["names"] == {"kk": "Land", "ru": "Land"}
        assert (talon["registered_on"], talon["due"]) == ("2026-02-02", "2026-02-23T19:00:00Z")
        assert answer.headers["location"] == "/v1/appeals/JT-2026-00000001"
        assert (answer.headers["etag"], answer.headers["cache-control"]) == ('"1"', "no-store")
        verified = Receipt.parse(json.dumps(talon["receipt"]).encode()).verify(api.world.keys.log.verifier)
        assert verified.position == talon["position"]
        entry = open_event((await api.ok(f"/v1/entries/{talon['position']}"))["entry"].encode())
        assert (entry.stream, entry.facts.type, entry.facts.body) == (LATIN, "appeal.submitted", LAND)
        await api.fold()
        assert (await api.ok(answer.headers["location"]))["state"] == "registered"
        assert (await api.get(f"/v1/streams/{LATIN}")).headers["etag"] == '"1"'

    story(database, work)


def test_an_applicant_has_a_receipt_of_each_step_with_what_was_said_to_them_alone(database):
    async def work(api):
        talon = await api.talon(text="Көшеде жарық жоқ.")
        await api.stepped(talon["stream"], "taken")
        path = f"{at(talon['stream'])}/case/receipts"
        answer = await api.post(f"{path}/1", {"code": talon["code"]})
        assert answer.headers["cache-control"] == "no-store"
        verified = Receipt.parse(answer.content).verify(api.world.keys.log.verifier)
        own = {shown.name: shown.value for shown in verified.own}
        assert own["text"] == "Көшеде жарық жоқ."
        assert "code" not in own
        second = Receipt.parse((await api.post(f"{path}/2", {"code": talon["code"]})).content)
        assert [shown.name for shown in second.own] == ["executor"]
        problem(await api.post(f"{path}/1", {"code": "0" * 10}), 403, "code-wrong")
        problem(await api.post(f"{path}/9", {"code": talon["code"]}), 404, "not-found")

    story(database, work)


@pytest.mark.parametrize("key", [{"idempotency-key": "talon-1"}, {}], ids=["key", "form"])
def test_the_same_form_sent_again_gets_the_same_talon(database, key):
    async def work(api):
        form = await api.form()
        first = await api.post("/v1/appeals", form, **key)
        size = api.world.left_behind()
        answers = await asyncio.gather(*(api.post("/v1/appeals", form, **key) for _ in range(5)))
        assert {answer.content for answer in answers} == {first.content}
        assert {answer.headers["idempotency-replayed"] for answer in answers} == {"true"}
        assert "idempotency-replayed" not in first.headers
        assert api.world.left_behind() == size
        words = await api.post("/v1/appeals", form | {"text": "Басқа сөз."}, **key)
        assert words.json()["type"] in ("/problems/idempotency-key-reused", "/problems/statement-mismatch")
        assert api.world.left_behind() == size

    story(database, work)


def test_a_lost_answer_is_got_again_long_after_the_files_could_be_used(database):
    async def work(api):
        form = await api.form(attachments=[await api.uploaded()])
        first = await api.post("/v1/appeals", form, **{"idempotency-key": "with-a-file"})
        paper = api.visitor(attachments=[await api.uploaded()])
        second = await api.by(OFFICE, "/v1/front-office/appeals", paper, **{"idempotency-key": "paper"})
        api.world.clock.ahead += 30 * 86_400
        again = await api.post("/v1/appeals", form, **{"idempotency-key": "with-a-file"})
        assert (again.status_code, again.content) == (201, first.content)
        again = await api.by(OFFICE, "/v1/front-office/appeals", paper, **{"idempotency-key": "paper"})
        assert (again.status_code, again.content) == (201, second.content)

    story(database, work)


def test_two_people_with_one_idempotency_key_do_not_get_each_others_talon(database):
    async def work(api):
        key = {"idempotency-key": "1"}
        first = (await api.post("/v1/appeals", await api.form(1), **key)).json()
        problem(await api.post("/v1/appeals", await api.form(2), **key), 422, "idempotency-key-reused")
        other = (await api.post("/v1/appeals", await api.form(2))).json()
        assert (other["number"], other["code"] == first["code"]) == ("ЖТ-2026-00000002", False)
        # Another call, an office, a body: each has keys of its own.
        assert (await api.act(first["stream"], "withdraw", **key)).status_code == 201
        assert (await api.act(other["stream"], "withdraw", number=2, **key)).status_code == 201
        assert (await api.by(OFFICE, "/v1/front-office/appeals", api.visitor(), **key)).status_code == 201
        assert (await api.read(LAND, first["stream"], **key)).status_code == 201

    story(database, work)


FILINGS = [
    ({"body": "organisation/office"}, 409, "body-unknown"),
    ({"body": "organisation/nobody"}, 409, "body-unknown"),
    ({"body": "organisation/\x00"}, 422, "request-invalid"),
    ({"kind": "denunciation"}, 422, "request-invalid"),
    ({"category": "Серікова"}, 422, "request-invalid"),
    ({"region": "01"}, 422, "request-invalid"),
    ({"lang": "en"}, 422, "request-invalid"),
    ({"text": ""}, 422, "text-invalid"),
    ({"text": " жарық жоқ"}, 422, "text-invalid"),
    ({"text": "ж" * 20_001}, 422, "text-invalid"),
    ({"text": "ж\u202eқырап"}, 422, "text-invalid"),
    ({"text": "и\u0306"}, 422, "text-invalid"),
    ({"contacts": "бірінші\nБұл менің даусым емес."}, 422, "text-invalid"),
    ({"contacts": "9" * 301}, 422, "text-invalid"),
    ({"form": "0F4A1F0E-2B52-4D3B-9C6E-7A0F1F2E3D4C"}, 422, "command-invalid"),
    ({"applicant": "company"}, 422, "request-invalid"),
]


def test_an_appeal_that_cannot_be_taken_is_refused_before_it_is_signed(database):
    async def work(api):
        before = api.world.left_behind()
        form = await api.form()
        for changed, status, code in FILINGS:
            problem(await api.post("/v1/appeals/statement", api.filing(**changed)), status, code)
            answer = await api.post("/v1/appeals", form | changed)
            if code == "body-unknown":  # a signature over something else is noticed first
                problem(answer, 422, "statement-mismatch")
            else:
                problem(answer, status, code)
        assert api.world.left_behind() == before

    story(database, work)


def test_what_was_not_signed_as_it_stands_or_by_whom_nobody_knows_is_refused(database):
    async def work(api):
        before = api.world.left_behind()
        form = await api.form()
        for changed in ({"text": "Мен мұны айтқан жоқпын."}, {"contacts": ""}, {"body": WATER}):
            problem(await api.post("/v1/appeals", form | changed), 422, "statement-mismatch")
        petition = {"body": LAND, "title": "Т", "text": QUESTION, "lang": "kk"}
        prepared = (await api.post("/v1/petitions/statement", petition)).json()
        problem(
            await api.post("/v1/appeals", form | {"cms": api.signed_by(1, prepared)}),
            422,
            "statement-mismatch",
        )
        api.people[7] = Authority.create("ecdsa").person(invent_person(7))
        problem(await api.post("/v1/appeals", await api.form(7)), 422, "certificate-untrusted")
        problem(await api.post("/v1/appeals", form | {"cms": "AA=="}), 422, "cms-malformed")
        assert api.world.left_behind() == before

    story(database, work)


def test_every_statement_is_prepared_without_a_trace_and_says_what_is_signed(database):
    async def work(api):
        before = api.world.left_behind()
        asked = api.filing(form="0f4a1f0e-2b52-4d3b-9c6e-7a0f1f2e3d4c")
        one, two = [(await api.post("/v1/appeals/statement", asked)) for _ in range(2)]
        assert one.json() == two.json()
        assert one.headers["cache-control"] == "no-store"
        for part in (asked["form"], LAND, QUESTION, "utilities", "abonent@example.kz", "71"):
            assert part in one.json()["statement"]
        act = await api.post(
            f"{at(LATIN)}/acts/statement", {"act": "complain", "lang": "ru", "text": "Ответа нет."}
        )
        assert TALON in act.json()["statement"]
        assert api.world.left_behind() == before

    story(database, work)


# --- a front office ----------------------------------------------------------------------------


def test_a_front_office_takes_down_an_appeal_and_a_later_step_with_the_code(database):
    async def work(api):
        talon = await api.came(channel="paper")
        assert (talon["number"], talon["received_by"]) == (TALON, OFFICE)
        facts = (await api.ok(f"/v1/entries/{talon['position']}"))["event"]["data"]
        assert (facts["channel"], "algorithm" in facts) == ("paper", False)
        path = f"/v1/front-office{at(talon['stream']).removeprefix('/v1')}/acts"
        act = {"act": "withdraw", "text": "Мәселе шешілді."}
        size = api.world.left_behind()
        wrong = problem(await api.by(OFFICE, path, act | {"code": "0" * 10}), 403, "code-wrong")
        assert "appeal.withdrawal_asked" in wrong["allowed"]
        problem(await api.by(OFFICE, path, act), 422, "request-invalid")
        problem(await api.post(path, act | {"code": talon["code"]}), 401, "token-missing")
        problem(await api.by(LAND, path, act | {"code": talon["code"]}), 403, "issuer-not-authorised")
        assert api.world.left_behind() == size
        key = {"idempotency-key": "step"}
        asked = act | {"code": talon["code"]}
        first = await api.by(OFFICE, path, asked, **key)
        assert (first.status_code, first.headers["etag"]) == (201, '"2"')
        assert (await api.by(OFFICE, path, asked, **key)).content == first.content
        again = problem(await api.by(OFFICE, path, asked), 409, "not-allowed")
        assert "appeal.withdrawal_asked" not in again["allowed"]

    story(database, work)


VISITORS = [
    ({"channel": "electronic"}, "request-invalid"),
    ({"full_name": "Серікова\nАйгерім"}, "text-invalid"),
    ({"iin": "900101300001"}, "iin-invalid"),
    ({"iin": "٩٠٠١٠١٣٠٠٠٠٠"}, "iin-invalid"),
    ({"iin": "12345", "applicant": "company"}, "command-invalid"),
    ({"cms": "AA=="}, "request-invalid"),
]


def test_what_a_front_office_cannot_take_down_is_refused(database):
    async def work(api):
        before = api.world.left_behind()
        for changed, code in VISITORS:
            problem(await api.by(OFFICE, "/v1/front-office/appeals", api.visitor(**changed)), 422, code)
        assert api.world.left_behind() == before

    story(database, work)


def test_only_a_front_office_takes_down_and_no_other_call_lets_it_speak_for_an_applicant(database):
    async def work(api):
        talon = await api.came()
        before = api.world.left_behind()
        for body in (LAND, WATER):
            answer = await api.by(body, "/v1/front-office/appeals", api.visitor())
            problem(answer, 403, "issuer-not-authorised")
        problem(await api.post("/v1/front-office/appeals", api.visitor()), 401, "token-missing")
        texts = {"text": "Мәтін.", "cms": "x"}
        for body in (OFFICE, LAND):
            asked = await api.tell(body, talon["stream"], "appeal.withdrawal_asked", {}, texts)
            problem(asked, 422, "command-invalid")
        key = await api.own_key(OFFICE, "front-office")
        size = api.world.left_behind()
        answer = await api.sealed(
            key, OFFICE, talon["stream"], 2, "withdrawal_asked", texts | {"attachments": []}
        )
        problem(answer, 403, "issuer-not-authorised")
        assert api.world.left_behind() == size
        assert size[0] == before[0] + 1

    story(database, work)


def test_a_company_is_numbered_apart_and_found_again_by_its_bin_alone(database):
    async def work(api):
        talon = await api.came(applicant="company", full_name="ЖШС Жарық", iin="000140001234")
        assert (talon["number"], talon["stream"]) == ("ЗТ-2026-00000001", "appeal/ZT-2026-00000001")
        case = (await api.case(talon)).json()
        assert case["steps"][0]["texts"]["full_name"] == "ЖШС Жарық"
        problem(await api.act(talon["stream"], "withdraw"), 403, "not-the-applicant")

    story(database, work)


# --- following it ------------------------------------------------------------------------------


def test_the_applicant_follows_every_step_with_number_and_code(database):
    async def work(api):
        talon = await api.talon()
        stream = talon["stream"]
        await api.stepped(stream, "taken", ("decision_drafted", {"outcome": "explained"}))
        case = (await api.case(talon)).json()
        assert [step["type"] for step in case["steps"]] == [
            "appeal.submitted", "appeal.taken", "appeal.decision_drafted",
        ]  # fmt: skip
        assert case["steps"][0]["texts"]["text"] == QUESTION
        assert case["steps"][1]["texts"] == {"executor": "Мәтін."}
        assert case["steps"][2]["texts"] == {}  # a draft is shown once it is signed
        assert (case["state"], case["version"], case["body"]) == ("in-work", 3, LAND)
        assert case["procedures"]["decision"] == "drafted"
        assert case["term"] == {
            "term": "consideration", "due": "2026-02-23T19:00:00Z", "missed": False,
        }  # fmt: skip
        assert {"appeal.withdrawal_asked", "appeal.decision_approved"} <= set(case["allowed"])
        for step in case["steps"]:
            receipt = await api.ok(step["receipt"])
            digests = open_event(receipt["event"].encode()).digests
            assert digests >= {Disclosure.parse(encoded).digest for encoded in step["disclosures"]}
        await api.stepped(stream, "decision_approved", "decided")
        case = (await api.case(talon)).json()
        assert (case["state"], case["outcome"]) == ("decided", "explained")
        assert case["steps"][-1]["texts"] == {"decision": "Мәтін."}
        assert case["complain_until"] == "2026-05-02T19:00:00Z"

    story(database, work)


def test_the_number_is_taken_as_it_stands_on_the_talon_and_the_code_as_people_type_it(database):
    async def work(api):
        talon = await api.talon()
        for number in ("ЖТ-2026-00000001", "JT-2026-00000001"):
            answer = await api.post(f"/v1/appeals/{number}/case", {"code": talon["code"]})
            assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        typed = talon["code"].lower().replace("0", "o").replace("1", "l")
        assert (await api.case(talon, f" {typed} ")).status_code == 200
        assert (await api.case(talon, talon["code"].replace("1", "i"))).status_code == 200

    story(database, work)


def test_a_part_is_followed_with_the_code_of_the_whole_and_its_stroke_as_a_dash(database):
    async def work(api):
        talon = await api.talon()
        answer = await api.step(talon["stream"], "forwarded_in_part", {"to": WATER}, {"part": "Су туралы."})
        assert answer.status_code == 201, answer.text
        for number in ("ЖТ-2026-00000001-1", "JT-2026-00000001-1"):
            answer = await api.post(f"/v1/appeals/{number}/case", {"code": talon["code"]})
            assert answer.json()["number"] == "ЖТ-2026-00000001/1"
            assert answer.json()["steps"][0]["texts"]["text"] == "Су туралы."
        other = await api.talon(2)
        answer = await api.post("/v1/appeals/ЖТ-2026-00000001-1/case", {"code": other["code"]})
        problem(answer, 403, "code-wrong")

    story(database, work)


# --- the applicant's steps ---------------------------------------------------------------------


def test_each_step_of_the_applicant_is_signed_and_recorded_once(database):
    async def work(api):
        stream = await api.filed()
        await api.stepped(stream, ("returned", {"ground": "unclear"}))
        fixed = await api.act(stream, "fix", text="Көше: Абай, 5-үй.")
        assert (fixed.status_code, fixed.json()["type"], fixed.headers["etag"]) == (
            201,
            "appeal.fixed",
            '"3"',
        )
        await api.stepped(stream, "taken")
        hearing = api.service.ledger.now() + timedelta(days=10)
        await api.stepped(stream, ("hearing_noticed", {"at": hearing.isoformat()}))
        assert (await api.act(stream, "object")).json()["type"] == "appeal.objected"
        asked = await api.act(stream, "withdraw", lang="ru")
        assert asked.json()["type"] == "appeal.withdrawal_asked"
        await api.stepped(stream, "withdrawal_declined")
        await api.overdue(stream)
        complained = await api.act(stream, "complain", **{"idempotency-key": "c"})
        assert complained.json()["type"] == "appeal.complained"
        entry = open_event((await api.ok(complained.headers["location"]))["entry"].encode())
        assert (entry.facts.about, entry.facts.late) == ("silence", False)

    story(database, work)


def test_a_step_at_the_wrong_time_says_what_can_happen_instead(database):
    async def work(api):
        stream = await api.taken()
        size = api.world.counted()
        for act in ("fix", "object", "complain"):
            refused = problem(await api.act(stream, act), 409, "not-allowed")
            assert "appeal.withdrawal_asked" in refused["allowed"]
            assert (refused["state"], refused["version"]) == ("in-work", 2)
        problem(await api.act("appeal/JT-2026-00000099", "withdraw"), 404, "not-found")
        refused = problem(await api.act(stream, "withdraw", number=2), 403, "not-the-applicant")
        assert "appeal.withdrawal_asked" in refused["allowed"]
        assert api.world.counted() == size

    story(database, work)


def test_a_form_that_was_signed_for_one_step_brings_about_no_other(database):
    async def work(api):
        one, two = await api.taken(), await api.taken()
        asked = {"act": "withdraw", "text": "Шешілді."}
        prepared = (await api.post(f"{at(one)}/acts/statement", asked | {"lang": "kk"})).json()
        signed = asked | {"form": prepared["form"], "cms": api.signed_by(1, prepared)}
        first = await api.post(f"{at(one)}/acts", signed)
        assert first.status_code == 201
        await api.stepped(one, "withdrawal_declined")
        again = await api.post(f"{at(one)}/acts", signed)
        assert (again.json()["position"], again.headers["idempotency-replayed"]) == (
            first.json()["position"], "true",
        )  # fmt: skip
        problem(await api.post(f"{at(two)}/acts", signed), 422, "statement-mismatch")
        problem(await api.post(f"{at(one)}/acts", signed | {"act": "complain"}), 422, "statement-mismatch")
        reused = await api.post(f"{at(two)}/acts/statement", asked | {"lang": "kk", "form": prepared["form"]})
        other = asked | {"form": prepared["form"], "cms": api.signed_by(1, reused.json())}
        problem(await api.post(f"{at(two)}/acts", other), 422, "idempotency-key-reused")

    story(database, work)


# --- the cabinet -------------------------------------------------------------------------------


def test_a_person_sees_all_their_own_cases_by_signature_alone(database):
    async def work(api):
        mine = [await api.filed(1), await api.taken(1)]
        taken_down = (await api.came(iin=invent_person(1).iin))["stream"]
        await api.filed(2)
        await api.fold()
        answer = await api.cabinet(1)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        cases = [item["case"] for item in answer.json()["items"]]
        assert [case["stream"] for case in cases] == [taken_down, *reversed(mine)]
        assert answer.json()["as_of"] == api.world.counted() - 1
        assert all(case["steps"][0]["texts"]["text"] == QUESTION for case in cases)
        assert (await api.cabinet(3)).json()["items"] == []

    story(database, work)


def test_the_statement_that_opens_the_cabinet_is_good_for_minutes(database):
    async def work(api):
        prepared = (await api.post("/v1/cabinet/statement", {"lang": "kk"})).json()
        asked = {"form": prepared["form"], "at": prepared["at"], "cms": api.signed_by(1, prepared)}
        for minutes in (0, 9):
            api.world.clock.ahead += minutes * 60
            assert (await api.post("/v1/cabinet", asked)).status_code == 200
        api.world.clock.ahead += 120
        problem(await api.post("/v1/cabinet", asked), 403, "cabinet-stale")

    story(database, work)


def test_a_cabinet_opens_to_no_statement_but_its_own(database):
    async def work(api):
        await api.filed(1)
        for moved in ("2026-02-02T05:00:07Z", "2026-02-02T10:00:00+05:00"):
            problem(await api.cabinet(at=moved), 422, "statement-mismatch")
        problem(await api.cabinet(at="2026-02-02T05:00:00"), 422, "request-invalid")
        problem(await api.cabinet(at="9999-12-31T23:59:59Z"), 403, "cabinet-stale")
        problem(await api.cabinet(form="0f4a1f0e-2b52-4d3b-9c6e-7a0f1f2e3d4c"), 422, "statement-mismatch")
        prepared = (await api.post("/v1/appeals/statement", api.filing())).json()
        problem(await api.cabinet(cms=api.signed_by(1, prepared)), 422, "statement-mismatch")

    story(database, work)


# --- restarts ----------------------------------------------------------------------------------


def test_another_process_of_the_service_knows_the_talon_and_goes_on_numbering(database):
    async def run():
        async with window(database) as api:
            form = await api.form()
            talon = (await api.post("/v1/appeals", form)).json()
            async with running(api.world, kind=Window) as other:
                assert (await other.post("/v1/appeals", form)).json() == talon
                assert (await other.case(talon)).status_code == 200
                assert (await other.talon(2))["number"] == "ЖТ-2026-00000002"

    asyncio.run(run())
