"""Organisations post events, sealed or plain; commands are repeated safely and guarded by versions."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime

import psycopg

from api import tokens
from ledger import events
from ledger.keys import SigningKey
from ledger.statement import Disclosure, seal
from tests.api.services import CULTURE, VILLAGE, problem, service

REASON = {"reason": "Дәл осындай петиция жиналып жатыр."}


def test_a_moderator_admits_and_rejects_in_plain_json(database):
    async def story():
        async with service(database) as api:
            one, two = f"petition/{await api.submitted()}", f"petition/{await api.submitted(author=1)}"
            answer = await api.tell(CULTURE, one, "petition.admitted")
            assert (answer.status_code, answer.headers["etag"]) == (201, '"2"')
            assert answer.json()["receipt"]["receipt"] == "aiqyn/v1"
            answer = await api.tell(CULTURE, two, "petition.rejected", {"ground": "duplicate"}, REASON)
            assert answer.status_code == 201, answer.text
            await api.fold()
            document = await api.petition(two.partition("/")[2])
            assert (document["state"], document["reason"]) == ("rejected", REASON["reason"])

    asyncio.run(story())


def test_a_token_is_asked_for_and_speaks_for_one_organisation(database):
    async def story():
        async with service(database) as api:
            stream = f"petition/{await api.submitted()}"
            document = {"stream": stream, "type": "petition.admitted"}
            before = api.world.counted()
            missing = await api.post("/v1/events", document)
            problem(missing, 401, "token-missing")
            assert missing.headers["www-authenticate"].startswith("Bearer")
            for wrong in ("Bearer x", f"Bearer {tokens.PREFIX}{'A' * 43}", "Basic eDp5"):
                answer = await api.post("/v1/events", document, authorization=wrong)
                assert answer.status_code == 401
            problem(await api.tell(VILLAGE, stream, "petition.admitted"), 403, "issuer-not-authorised")
            problem(await api.tell(CULTURE, stream, "petition.published"), 422, "command-invalid")
            problem(await api.tell(CULTURE, stream, "petition.praised"), 422, "command-invalid")
            problem(
                await api.tell(CULTURE, stream, "petition.rejected", {"ground": "x"}, REASON),
                422,
                "command-invalid",
            )
            assert api.world.counted() == before

            with psycopg.connect(database.url, autocommit=True) as connection:
                (known,) = tokens.list_all(connection, CULTURE)
                assert tokens.revoke(connection, known.id)
                assert not tokens.revoke(connection, known.id)
                stored = connection.execute(
                    "SELECT string_agg(hash::text, '') FROM ledger.tokens"
                ).fetchone()[0]
            assert api.world.tokens[CULTURE] not in stored
            problem(await api.tell(CULTURE, stream, "petition.admitted"), 401, "token-invalid")

    asyncio.run(story())


def test_a_body_acts_only_on_what_lies_with_it(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited(body=CULTURE)
            stream = f"petition/{petition}"
            answer = await api.tell(VILLAGE, stream, "petition.registered", {"number": "1"})
            assert answer.status_code in (403, 409)
            assert answer.json()["type"] in ("/problems/petition-of-another-body", "/problems/not-allowed")

    asyncio.run(story())


def test_what_may_happen_instead_is_said(database):
    async def story():
        async with service(database) as api:
            stream = f"petition/{await api.limited()}"
            document = problem(await api.tell(CULTURE, stream, "petition.admitted"), 409, "not-allowed")
            assert document["state"] == "limited"
            assert "petition.published" in document["allowed"]

    asyncio.run(story())


def sealed(key, stream, n, facts, disclosures=(), *, at=None, iss=CULTURE):
    event = seal(
        facts, iss=iss, stream=stream, n=n, at=at or datetime.now(UTC), key=key, disclosures=disclosures
    )
    return event.entry + b"".join(d.encoded.encode() + b"~" for d in disclosures)


async def own_key(api):
    """A key that the authorised body holds itself."""
    key = SigningKey.generate()
    facts = events.OrganisationKeyRegistered(key=key.public_key, roles=("moderator",), custody="own")
    ledger = api.service.ledger
    await ledger.record(CULTURE, facts, ledger.issuance(ledger.operator, type(facts)))
    return key


async def post_sealed(api, presentation, **headers):
    return await api.client.post(
        "/v1/events", content=presentation, headers={"content-type": "application/sd-jwt"} | headers
    )


def test_an_event_sealed_with_the_organisations_own_key_is_taken_as_it_is(database):
    async def story():
        async with service(database) as api:
            key = await own_key(api)
            stream = f"petition/{await api.submitted()}"
            reason = Disclosure.make("reason", REASON["reason"])
            facts = events.PetitionRejected(ground="unclear")
            presentation = sealed(key, stream, 2, facts, [reason])
            answer = await post_sealed(api, presentation)
            assert answer.status_code == 201, answer.text
            entry = await api.ok(answer.headers["location"])
            assert entry["entry"].encode() == presentation.split(b"~")[0] + b"~"
            assert entry["disclosed"] == REASON

    asyncio.run(story())


def test_a_sealed_event_that_is_not_right_is_refused(database):
    async def story():
        async with service(database) as api:
            key, stranger = await own_key(api), SigningKey.generate()
            stream = f"petition/{await api.submitted()}"
            facts = events.PetitionRejected(ground="unclear")
            reason = [Disclosure.make("reason", "Себебі")]
            good = sealed(key, stream, 2, facts, reason)
            jwt, disclosure, _ = good.split(b"~")
            head, payload, signature = jwt.split(b".")
            before = api.world.left_behind()
            forged = head + b"." + payload + b"." + signature[::-1] + b"~" + disclosure + b"~"
            assert (await post_sealed(api, forged)).status_code == 422
            problem(
                await post_sealed(api, sealed(stranger, stream, 2, facts, reason)),
                403,
                "issuer-not-authorised",
            )
            problem(await post_sealed(api, jwt + b"~"), 422, "disclosure-mismatch")
            problem(await post_sealed(api, b"nonsense"), 422, "event-malformed")
            problem(await post_sealed(api, "сөз".encode()), 422, "event-malformed")
            problem(await post_sealed(api, sealed(key, stream, 5, facts, reason)), 409, "stream-conflict")
            early = datetime.fromtimestamp(time.time() + 3600, UTC)
            problem(
                await post_sealed(api, sealed(key, stream, 2, facts, reason, at=early)), 422, "clock-skew"
            )
            gateway = events.PetitionWithdrawn(algorithm="RSA-SHA256")
            cms = [Disclosure.make("cms", "AA")]
            own = sealed(api.world.keys.gateway, stream, 2, gateway, cms, iss="organisation/operator")
            problem(await post_sealed(api, own), 403, "issuer-not-authorised")
            assert api.world.left_behind() == before
            assert (await post_sealed(api, good)).status_code == 201

    asyncio.run(story())


def test_a_decision_on_an_old_version_is_refused(database):
    async def story():
        async with service(database) as api:
            petition = await api.submitted()
            stream = f"petition/{petition}"
            await api.fold()
            seen = (await api.get(f"/v1/streams/{stream}")).headers["etag"]
            assert seen == '"1"' == (await api.get(f"/v1/petitions/{petition}/trail")).headers["etag"]
            problem(
                await api.tell(CULTURE, stream, "petition.admitted", **{"if-match": '"7"'}),
                412,
                "stream-conflict",
            )
            answer = await api.tell(CULTURE, stream, "petition.admitted", **{"if-match": "soon"})
            problem(answer, 400, "precondition-invalid")
            answer = await api.tell(CULTURE, stream, "petition.admitted", **{"if-match": seen})
            assert (answer.status_code, answer.headers["etag"]) == (201, '"2"')

    asyncio.run(story())


def test_a_repeated_request_has_the_same_answer_and_happens_once(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            cms = await api.cms(1, petition)
            key = {"idempotency-key": f'"{uuid.uuid4()}"'}
            first = await api.send(petition, cms, **key)
            await api.signed(range(2, 9), petition)
            size = api.world.counted()
            again = await api.send(petition, cms, **key)
            assert (again.status_code, again.content) == (201, first.content)
            assert "idempotency-replayed" not in first.headers
            assert again.headers["idempotency-replayed"] == "true"
            other = await api.cms(9, petition)
            problem(await api.send(petition, other, **key), 422, "idempotency-key-reused")
            problem(
                await api.send(petition, other, **{"idempotency-key": "a b"}), 400, "idempotency-key-invalid"
            )
            assert api.world.counted() == size

            # Long after, when the rules would refuse it.
            api.world.clock.pass_until(datetime.fromtimestamp(time.time() + 400 * 86_400, UTC))
            late = await api.send(petition, cms, **key)
            assert (late.status_code, late.content) == (201, first.content)

    asyncio.run(story())


def test_an_organisations_command_is_repeated_safely_and_its_keys_are_its_own(database):
    async def story():
        async with service(database) as api:
            stream = f"petition/{await api.submitted()}"
            key = {"idempotency-key": "admit-1", "if-match": '"1"'}
            first = await api.tell(CULTURE, stream, "petition.admitted", **key)
            again = await api.tell(CULTURE, stream, "petition.admitted", **key)
            assert (again.status_code, again.content) == (201, first.content)
            answer = await api.tell(VILLAGE, stream, "petition.admitted", **key)
            assert answer.status_code in (403, 412)

    asyncio.run(story())


def test_twenty_repeats_at_once_are_one_command(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            cms = await api.cms(1, petition)
            before = api.world.counted()
            answers = await asyncio.gather(
                *(api.send(petition, cms, **{"idempotency-key": "one"}) for _ in range(20))
            )
            assert {answer.status_code for answer in answers} == {201}
            assert {answer.json()["position"] for answer in answers} == {before}
            assert api.world.counted() == before + 1

    asyncio.run(story())
