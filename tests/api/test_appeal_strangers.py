"""What strangers try on appeals: other people's numbers, guessed codes, odd addresses, odd bodies."""

from __future__ import annotations

import json

import psycopg
import pytest

from ledger.appeals import CODE_LENGTH, CODE_LETTERS
from ledger.domain.appeal import appeal_stream
from tests.api.services import problem
from tests.api.window import LAND, OFFICE, WATER, at, story

PRIVATE = [
    "/case",
    "/case/attachments/" + "0" * 64,
    "/acts/statement",
    "/acts",
    "/readings",
]


# --- codes -------------------------------------------------------------------------------------


def test_codes_are_drawn_from_all_letters_and_do_not_repeat(database):
    async def work(api):
        codes = [(await api.came())["code"] for _ in range(40)]
        assert len(set(codes)) == 40
        assert {len(code) for code in codes} == {CODE_LENGTH}
        assert set("".join(codes)) == set(CODE_LETTERS)  # 400 letters: one is missing in 1 run of 10,000

    story(database, work)


def test_every_wrong_code_gets_the_same_answer(database):
    async def work(api):
        talon, other = await api.talon(1), await api.talon(2)
        code = talon["code"]
        guesses = ["0" * 10, code[:-1], code + "0", code[:-1] + "?", other["code"], "x", "é", "\u0660" * 10]
        guesses += [" ", "\x00"]
        answers = {(await api.case(talon, guess)).content for guess in guesses}
        assert len(answers) == 1
        document = problem(await api.case(talon, "0" * 10), 403, "code-wrong")
        assert code not in json.dumps(document)
        for wrong in (None, 5, [code], {"code": code}, "A" * 41, ""):
            problem(await api.post(f"{at(talon['stream'])}/case", {"code": wrong}), 422, "request-invalid")
        twice = await api.client.post(
            f"{at(talon['stream'])}/case",
            content=f'{{"code":"0000000000","code":"{code}"}}',
            headers={"content-type": "application/json"},
        )
        problem(twice, 400, "json-invalid")

    story(database, work)


def test_an_appeal_whose_data_key_was_destroyed_opens_to_no_code(database):
    async def work(api):
        talon, other = await api.talon(), await api.talon()
        with psycopg.connect(database.admin_url, autocommit=True) as connection:
            connection.execute("DELETE FROM ledger.vault WHERE stream = %s", [talon["stream"]])
            connection.execute("DELETE FROM ledger.data_keys WHERE stream = %s", [talon["stream"]])
        for code in (talon["code"], "", " ", "None", "null"):
            assert (await api.post(f"{at(talon['stream'])}/case", {"code": code})).status_code in (403, 422)
        problem(await api.act(talon["stream"], "withdraw"), 403, "not-the-applicant")
        answer = await api.read(LAND, talon["stream"])
        assert answer.json()["case"]["steps"][0]["texts"] == {}
        await api.fold()
        (left,) = (await api.cabinet()).json()["items"]
        assert left["case"]["stream"] == other["stream"]

    story(database, work)


# --- numbers -----------------------------------------------------------------------------------

NUMBERS = [
    "ЖT-2026-00000001",  # a Latin T
    "JТ-2026-00000001",  # a Cyrillic Т
    "ZТ-2026-00000001",
    "жт-2026-00000001",
    "jt-2026-00000001",
    "JT-2026-1",
    "JT-2026-000000001",
    "JT-٢٠٢٦-00000001",
    "JT-2026-0000000１",
    "JT–2026–00000001",
    "JT-2026-00000001 ",
    "JT-2026-00000001\n",
    "JT-2026-00000001\x00",
    "JT-2026-00000001-0",
    "JT-2026-00000001-01",
    "JT-2026-00000001-",
    "JT-2026-00000001~",
    "IM-" + "A" * 21,
    "IM-" + "A" * 22 + "-0",
    "appeal/JT-2026-00000001",
    "../appeals/JT-2026-00000001",
    "..",
    "reading",
    "%4AT-2026-00000001",
    "J" * 500,
]


@pytest.mark.parametrize("number", NUMBERS, ids=ascii)
def test_what_only_looks_like_a_number_names_nothing(number):
    assert appeal_stream(number) is None


def test_an_address_names_an_appeal_exactly_or_not_at_all(database):
    async def work(api):
        talon = await api.talon()
        size = api.world.counted()
        for number in NUMBERS:
            encoded = "".join(f"%{byte:02X}" for byte in number.encode())
            for path in PRIVATE:
                answer = await api.by(LAND, f"/v1/appeals/{encoded}{path}", {"code": talon["code"]})
                assert answer.status_code in (404, 405), (number, path, answer.text)
                assert answer.json()["type"] in ("/problems/not-found", "/problems/method-not-allowed")
        whole = "".join(f"%{byte:02X}" for byte in talon["number"].encode())
        answer = await api.post(f"/v1/appeals/{whole}/case", {"code": talon["code"]})
        assert answer.json()["stream"] == talon["stream"]
        for tail in ("/case/", "//case", "/case%00", "/case;x", "/./case/../case%2F"):
            answer = await api.post(f"{at(talon['stream'])}{tail}", {"code": talon["code"]})
            assert answer.status_code in (307, 404), (tail, answer.text)
        assert api.world.counted() == size

    story(database, work)


# --- methods, origins, caches ------------------------------------------------------------------


def test_private_calls_are_commands_that_no_address_no_cache_and_no_other_sites_page_can_ask(database):
    async def work(api):
        talon = await api.talon()
        asking = {"origin": "https://elsewhere.example"}
        calls = [f"{at(talon['stream'])}{path}" for path in PRIVATE]
        calls += ["/v1/cabinet", "/v1/cabinet/statement", "/v1/attachments", "/v1/front-office/appeals"]
        for path in calls:
            for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
                answer = await api.client.request(method, path, headers=asking)
                assert answer.status_code in (404, 405), (method, path)
            asked = await api.client.options(
                path,
                headers=asking | {
                    "access-control-request-method": "POST",
                    "access-control-request-headers": "content-type, authorization",
                },
            )  # fmt: skip
            assert "POST" not in asked.headers["access-control-allow-methods"]
            for name in ("content-type", "authorization"):
                assert name not in asked.headers["access-control-allow-headers"].lower()
            answer = await api.post(path, {"code": talon["code"]}, **asking)
            assert not [name for name in answer.headers if name.startswith("access-control-")], path
            assert answer.headers["cache-control"] == "no-store", path
            if path != "/v1/attachments":
                # What a form of another site can send without asking first is not taken.
                for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
                    answer = await api.client.post(
                        path, content=b'{"code":"x"}', headers={"content-type": kind} | api.bearer(OFFICE)
                    )
                    assert answer.status_code in (415, 422), (path, kind)

    story(database, work)


def test_no_other_sites_page_can_send_a_token(database):
    async def work(api):
        stream = await api.filed()
        reading = (await api.read(LAND, stream)).json()["reading"]
        for path in (
            f"{at(stream)}/readings/{reading}/attachments/{'0' * 64}",
            "/v1/queue",
            "/v1/events/bulk",
        ):
            asking = {"origin": "https://elsewhere.example", "access-control-request-method": "GET"}
            asking["access-control-request-headers"] = "authorization"
            asked = await api.client.options(path, headers=asking)
            assert "authorization" not in asked.headers["access-control-allow-headers"].lower()
            assert "access-control-allow-credentials" not in asked.headers
            answer = await api.get(path, headers={"origin": "https://elsewhere.example"})
            assert answer.status_code in (401, 405)
            assert "access-control-allow-credentials" not in answer.headers

    story(database, work)


# --- bodies ------------------------------------------------------------------------------------

ODD = {
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep in a field": b'{"code":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a huge integer": b'{"code":' + b"9" * 100_000 + b"}",
    "a huge exponent": b'{"code":1e999999}',
    "half a surrogate": b'{"code":"\\ud800"}',
    "no UTF-8": b'{"code":"\xff\xfe"}',
    "UTF-16": '{"code":"x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"code":"x"}',
    "no object": b"null",
    "nothing": b"",
    "half": b'{"code":"',
    "two": b'{"code":"x"}{"code":"x"}',
    "NaN": b'{"code":NaN}',
}


def test_odd_bodies_are_the_senders_mistake_on_every_call(database):
    async def work(api):
        talon = await api.talon()
        size = api.world.left_behind()
        paths = [f"{at(talon['stream'])}{path}" for path in PRIVATE]
        paths += ["/v1/appeals", "/v1/appeals/statement", "/v1/cabinet", "/v1/cabinet/statement"]
        paths += [
            "/v1/front-office/appeals",
            f"/v1/front-office/appeals/{talon['number']}/acts",
            "/v1/events",
        ]
        headers = {"content-type": "application/json"} | api.bearer(OFFICE)
        for path in paths:
            for what, content in ODD.items():
                answer = await api.client.post(path, content=content, headers=headers)
                assert answer.status_code in (400, 422), (path, what, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
        assert api.world.left_behind() == size

    story(database, work)


def test_a_large_body_is_refused_before_it_is_read(database):
    async def work(api):
        talon = await api.talon()
        limit = api.service.settings.body_limit_bytes
        for path in ("/v1/appeals", f"{at(talon['stream'])}/case", "/v1/front-office/appeals"):
            answer = await api.by(OFFICE, path, {"code": "x" * limit})
            problem(answer, 413, "body-too-large")

    story(database, work)


def test_a_token_speaks_for_its_own_organisation_in_every_call(database):
    async def work(api):
        talon = await api.talon()
        stream, size = talon["stream"], api.world.counted()
        for header in ("Bearer aiqyn_x", "Bearer", "Basic eDp5", f"bearer {api.world.tokens[LAND]} x"):
            for path, asked in (
                (f"{at(stream)}/readings", {"purpose": "consideration"}),
                ("/v1/front-office/appeals", api.visitor()),
            ):
                answer = await api.post(path, asked, authorization=header)
                assert answer.status_code == 401, header
        problem(await api.step(stream, "taken", body=WATER), 403, "appeal-of-another-body")
        problem(await api.step(stream, "taken", body=OFFICE), 403, "issuer-not-authorised")
        assert api.world.counted() == size

    story(database, work)
