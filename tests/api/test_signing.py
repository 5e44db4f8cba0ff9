"""A citizen signs by HTTP and holds a receipt; whoever may not sign leaves nothing behind."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from api.codec import decode
from api.shapes import SigningRequest
from ledger.eds.authority import AUTHENTICATION, Authority
from ledger.errors import AiqynError
from ledger.receipt import Receipt
from tests.api.services import CULTURE, problem, running, service

YEAR = datetime.timedelta(days=365)


def test_a_person_signs_and_holds_a_receipt_that_verifies_offline(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            answer = await api.sign(1, petition, region="71")
            assert answer.status_code == 201
            document = answer.json()
            assert answer.headers["location"] == f"/v1/entries/{document['position']}"
            assert answer.headers["cache-control"] == "no-store"
            assert document["stream"].startswith(f"signature/{petition}/")
            receipt = Receipt.parse(json.dumps(document["receipt"]).encode())
            verified = receipt.verify(api.world.keys.log.verifier)
            assert (verified.position, verified.event.facts.region) == (document["position"], "71")
            assert [d.name for d in receipt.disclosures] == ["name"]
            for_anybody = await api.ok(f"{answer.headers['location']}/receipt")
            assert {**for_anybody, "proof": ""} == {**document["receipt"], "proof": ""}

    asyncio.run(story())


def test_the_cms_itself_is_taken_in_either_language(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            path = f"/v1/petitions/{petition}/signatures?region=75"
            kinds = ("application/pkcs7-signature", "application/cms")
            for number, (lang, attached, kind) in enumerate(product(["kk", "ru"], [True, False], kinds), 1):
                cms = api.person(number).sign(await api.statement(petition, lang=lang), attached=attached)
                answer = await api.client.post(path, content=cms, headers={"content-type": kind})
                assert answer.status_code == 201, answer.text
                entry = await api.ok(answer.headers["location"])
                assert entry["event"]["data"]["lang"] == lang
                assert entry["event"]["data"]["region"] == "75"

    asyncio.run(story())


def _over_another(api, petition, other, statement):
    return api.person(1).sign(other)


def _stranger(api, petition, other, statement):
    return Authority.create("ecdsa").person().sign(statement)


def _authentication(api, petition, other, statement):
    return api.world.authority.person(usage=AUTHENTICATION).sign(statement)


def _company(api, petition, other, statement):
    return api.world.authority.company().sign(statement)


def _expired(api, petition, other, statement):
    now = datetime.datetime.now(datetime.UTC)
    person = api.world.authority.person(not_before=now - YEAR, not_after=now - datetime.timedelta(days=1))
    return person.sign(statement, signing_time=now - datetime.timedelta(days=10))


def _not_yet(api, petition, other, statement):
    now = datetime.datetime.now(datetime.UTC)
    return api.world.authority.person(not_before=now + datetime.timedelta(days=1)).sign(statement)


def _truncated(api, petition, other, statement):
    return api.person(1).sign(statement)[:-100]


def _large(api, petition, other, statement):
    return api.person(1).sign(statement + b" " * 70_000)


WRONG = [
    (_over_another, 422, "statement-mismatch"),
    (_stranger, 422, "certificate-untrusted"),
    (_authentication, 422, "certificate-authentication-only"),
    (_company, 422, "certificate-not-a-person"),
    (_expired, 422, "certificate-expired"),
    (_not_yet, 422, "certificate-not-yet-valid"),
    (_truncated, 422, "cms-malformed"),
    (_large, 413, "cms-too-large"),
]


def test_each_wrong_signature_has_its_own_problem_and_leaves_nothing(database):
    async def story():
        async with service(database) as api:
            petition, another = await api.limited(), await api.limited(author=5)
            statement, other = await api.statement(petition), await api.statement(another)
            before = api.world.left_behind()
            for make, status, code in WRONG:
                answer = await api.send(petition, make(api, petition, other, statement))
                problem(answer, status, code)
                assert answer.headers["cache-control"] == "no-store"
            unknown = "00000000-0000-4000-8000-000000000000"
            problem(await api.send(unknown, api.person(1).sign(statement)), 404, "not-found")
            problem(await api.send("nonsense", api.person(1).sign(statement)), 404, "not-found")
            assert api.world.left_behind() == before

    asyncio.run(story())


def test_a_second_signature_is_refused_and_leaves_nothing(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            assert (await api.sign(1, petition)).status_code == 201
            before = api.world.left_behind()
            problem(await api.sign(1, petition), 409, "already-signed")
            assert api.world.left_behind() == before

    asyncio.run(story())


def test_a_petition_that_is_not_open_takes_no_signature(database):
    async def story():
        async with service(database) as api:
            petition = await api.submitted()
            before = api.world.left_behind()
            problem(await api.sign(1, petition), 409, "petition-closed")
            assert api.world.left_behind() == before
            # Looking at it too early must not keep it closed for this process.
            assert (await api.tell(CULTURE, f"petition/{petition}", "petition.admitted")).status_code == 201
            assert (await api.sign(1, petition)).status_code == 201

    asyncio.run(story())


def test_a_body_of_ten_megabytes_is_refused_without_being_read(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            before = api.world.left_behind()
            read = 0

            async def flood():
                nonlocal read
                for _ in range(160):
                    read += 65_536
                    yield b"\x30" * 65_536

            path = f"/v1/petitions/{petition}/signatures"
            kind = {"content-type": "application/cms"}
            problem(await api.client.post(path, content=flood(), headers=kind), 413, "body-too-large")
            assert read < 2_000_000
            declared = kind | {"content-length": "10000000"}
            answer = await api.client.post(path, content=b"0", headers=declared)
            problem(answer, 413, "body-too-large")
            assert api.world.left_behind() == before

    asyncio.run(story())


def test_twenty_tries_of_one_person_at_once_leave_one_signature(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            before = api.world.counted()
            cms = [await api.cms(1, petition) for _ in range(20)]
            answers = await asyncio.gather(*(api.send(petition, one) for one in cms))
            assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
            assert api.world.counted() == before + 1
            await api.fold()
            assert (await api.petition(petition))["count"] == 1

    asyncio.run(story())


def test_two_services_of_one_ledger_never_count_a_person_twice(database):
    async def story():
        async with service(database) as one, running(one.world) as two:
            petition = await one.limited()
            cms = await one.cms(1, petition)
            answers = await asyncio.gather(
                *(api.send(petition, cms) for api in (one, two) for _ in range(10))
            )
            assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19

    asyncio.run(story())


UNREADABLE = [
    (b"{", "application/json", 400, "json-invalid"),
    (b'{"cms":"AA","cms":"AA"}', "application/json", 400, "json-invalid"),
    (b'{"cms":"AA","colour":"red"}', "application/json", 422, "request-invalid"),
    (b'{"cms":"AA","region":"99"}', "application/json", 422, "request-invalid"),
    (b'{"cms":5}', "application/json", 422, "request-invalid"),
    (b"[" * 60_000, "application/json", 422, "request-invalid"),
    (b"\xff\xfe", "application/json", 400, "json-invalid"),
    (b"AA", "text/plain", 415, "media-type-unsupported"),
    (b"", "application/cms", 422, "cms-malformed"),
    (b'{"cms":"not base64"}', "application/json", 422, "cms-malformed"),
]


def test_what_cannot_be_read_is_refused(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            path = f"/v1/petitions/{petition}/signatures"
            for body, kind, status, code in UNREADABLE:
                answer = await api.client.post(path, content=body, headers={"content-type": kind})
                problem(answer, status, code)

    asyncio.run(story())


def test_a_signer_takes_the_signature_back_and_an_author_the_petition(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited(author=7)
            assert (await api.sign(1, petition)).status_code == 201

            async def take_back(number, act, path):
                cms = await api.cms(number, petition, act)
                return await api.post(path, {"cms": base64.b64encode(cms).decode()})

            path = f"/v1/petitions/{petition}/signatures/withdrawal"
            problem(await take_back(2, "withdraw-signature", path), 403, "not-the-signer")
            problem(await take_back(1, "sign", path), 422, "statement-mismatch")
            answer = await take_back(1, "withdraw-signature", path)
            assert (answer.status_code, answer.json()["version"]) == (201, 2)
            problem(await take_back(1, "withdraw-signature", path), 409, "not-allowed")
            problem(await api.sign(1, petition), 409, "already-signed")

            path = f"/v1/petitions/{petition}/withdrawal"
            problem(await take_back(1, "withdraw-petition", path), 403, "not-the-author")
            assert (await take_back(7, "withdraw-petition", path)).status_code == 201
            problem(await api.sign(3, petition), 409, "petition-closed")
            await api.fold()
            document = await api.petition(petition)
            assert (document["state"], document["count"], document["signed"]) == ("withdrawn", 0, 1)

    asyncio.run(story())


def test_a_filed_text_must_be_the_signed_one(database):
    async def story():
        async with service(database) as api:
            asked = {"body": "organisation/village", "title": "Көпір", "text": "Көпір керек.", "lang": "kk"}
            prepared = (await api.post("/v1/petitions/statement", asked)).json()
            statement = base64.b64decode(prepared["statement_base64"])
            assert statement.decode() == prepared["statement"]
            cms = base64.b64encode(api.person(0).sign(statement)).decode()
            filing = asked | {"petition": prepared["petition"], "cms": cms}
            before = api.world.left_behind()
            problem(
                await api.post("/v1/petitions", filing | {"text": "Жол керек."}), 422, "statement-mismatch"
            )
            problem(await api.post("/v1/petitions", filing | {"title": " Көпір"}), 422, "text-invalid")
            elsewhere = filing | {"body": "organisation/operator"}
            problem(await api.post("/v1/petitions", elsewhere), 409, "body-unknown")
            assert api.world.left_behind() == before
            answer = await api.post("/v1/petitions", filing)
            assert answer.headers["location"] == f"/v1/petitions/{prepared['petition']}"
            problem(await api.post("/v1/petitions", filing), 409, "not-allowed")

    asyncio.run(story())


@given(
    st.lists(
        st.tuples(st.sampled_from(["cms", "region"]), st.sampled_from(["71", "75", "A\\u0041", ""])),
        max_size=3,
    ),
    st.sampled_from([", ", ","]),
)
def test_a_name_that_stands_twice_is_never_overlooked(pairs, comma):
    body = "{" + comma.join(f'"{name}": "{value}"' for name, value in pairs) + "}"
    names = [name for name, _ in pairs]
    try:
        decode(body.encode(), SigningRequest)
    except AiqynError:
        return
    assert len(set(names)) == len(names)
