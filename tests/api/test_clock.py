"""What time and numbers bring about happens once, exactly, and after a pause too."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from api.clock import Steward
from ledger.citizens import CitizensDesk
from ledger.domain.petition import PetitionClosedError
from ledger.eds.people import invent_person
from tests.api.services import CULTURE, VILLAGE, problem, running, service


async def published(api):
    """A petition with 50 signatures that collects; its village needs 70."""
    petition = await api.limited(body=VILLAGE)
    await api.signed(range(1, 51), petition)
    await api.settle()
    return petition


def at(document, field):
    return datetime.fromisoformat(document[field])


async def larger_village(api):
    from ledger import events

    ledger = api.service.ledger
    facts = events.OrganisationPopulationRecorded(population=1400, counted_on=ledger.now().date())
    await ledger.record(VILLAGE, facts, ledger.issuance(ledger.operator, type(facts)))


def test_a_petition_lapses_with_the_true_count(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            await api.signed([1, 2, 3], petition)
            await api.settle()
            before = await api.petition(petition)
            assert before["state"] == "limited"
            api.world.clock.pass_until(at(before, "limited_until"))
            await api.settle()
            after = await api.petition(petition)
            assert (after["state"], after["count"]) == ("lapsed", 3)
            entry = await api.ok(f"/v1/entries/{after['ended']['position']}")
            assert entry["event"]["data"] == {"count": 3, "as_of": before["as_of"]}
            problem(await api.sign(4, petition), 409, "petition-closed")

    asyncio.run(story())


def test_fifty_signatures_publish_and_the_threshold_is_frozen(database):
    async def story():
        async with service(database) as api:
            await larger_village(api)
            petition = await api.limited()
            await api.signed(range(1, 50), petition)
            await api.settle()
            assert await api.state(petition) == "limited"
            assert (await api.ok("/v1/petitions"))["items"] == []
            await api.signed([50], petition)
            await api.settle()
            document = await api.petition(petition)
            assert (document["state"], document["required"], document["population"]) == (
                "collecting",
                70,
                1400,
            )
            (listed,) = (await api.ok("/v1/petitions"))["items"]
            assert (listed["id"], listed["required"]) == (petition, 70)

    asyncio.run(story())


def test_support_names_the_exact_signature_and_stays(database):
    async def story():
        async with service(database) as api:
            await larger_village(api)
            petition = await published(api)
            await api.signed(range(51, 70), petition)
            await api.settle()
            assert await api.state(petition) == "collecting"
            (deciding,) = await api.signed([70], petition)
            await api.signed([71], petition)
            await api.settle()
            document = await api.petition(petition)
            assert (document["state"], document["reached_at"]) == ("supported", deciding)
            entry = await api.ok(f"/v1/entries/{document['supported']['position']}")
            assert entry["event"]["data"] == {"required": 70, "reached_at": deciding}

    asyncio.run(story())


def test_a_petition_published_with_enough_signatures_is_supported_from_its_publication_on(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()  # a village of 1,000: its threshold is 50 too
            await api.signed(range(1, 51), petition)
            await api.settle()
            document = await api.petition(petition)
            assert document["state"] == "supported"
            assert document["reached_at"] == document["published"]["position"]
            entry = await api.ok(f"/v1/entries/{document['supported']['position']}")
            assert entry["event"]["data"]["reached_at"] == document["reached_at"]

    asyncio.run(story())


def test_too_few_at_the_end_of_collection_is_said_with_the_true_count(database):
    async def story():
        async with service(database) as api:
            await larger_village(api)
            petition = await published(api)
            document = await api.petition(petition)
            api.world.clock.pass_until(at(document, "collect_until"))
            await api.settle()
            document = await api.petition(petition)
            assert document["state"] == "not-supported"
            entry = await api.ok(f"/v1/entries/{document['ended']['position']}")
            assert (entry["event"]["data"]["count"], entry["event"]["data"]["required"]) == (50, 70)

    asyncio.run(story())


def test_a_missed_term_is_said_once_and_the_work_may_still_be_done(database):
    async def story():
        async with service(database) as api:
            petition = await api.submitted()
            await api.fold()
            api.world.clock.pass_until(at(await api.petition(petition), "moderate_until"))
            await api.settle()
            await api.settle()
            types = [s["type"] for s in (await api.ok(f"/v1/petitions/{petition}/trail"))["items"]]
            assert types == ["petition.submitted", "petition.overdue"]
            assert (await api.tell(CULTURE, f"petition/{petition}", "petition.admitted")).status_code == 201

    asyncio.run(story())


def test_consideration_that_takes_too_long_is_said(database):
    async def story():
        async with service(database) as api:
            petition = await published(api)
            stream = f"petition/{petition}"
            assert (await api.tell(CULTURE, stream, "petition.routed", {"body": VILLAGE})).status_code == 201
            answer = await api.tell(CULTURE, stream, "petition.registered", {"number": "ЖТ-1"})
            problem(answer, 403, "petition-of-another-body")
            assert (
                await api.tell(VILLAGE, stream, "petition.registered", {"number": "ЖТ-1"})
            ).status_code == 201
            await api.settle()
            document = await api.petition(petition)
            assert document["consideration_overdue"] is None
            api.world.clock.pass_until(at(document, "consider_until"))
            await api.settle()
            assert (await api.petition(petition))["consideration_overdue"] is not None

    asyncio.run(story())


def test_several_clocks_at_once_say_each_thing_once(database):
    async def story():
        async with service(database) as one, running(one.world) as two:
            petitions = [await one.limited(author=number) for number in range(3)]
            await one.fold()
            one.world.clock.pass_until(at(await one.petition(petitions[0]), "limited_until"))
            await two.service.ledger.refresh()
            before = one.world.counted()
            url = database.url
            stewards = [Steward(api.service.ledger, url) for api in (one, two) for _ in range(3)]
            connections = [await AsyncConnection.connect(url, autocommit=True) for _ in stewards]
            await asyncio.gather(
                *(
                    steward.catch_up(connection)
                    for steward, connection in zip(stewards, connections, strict=True)
                )
            )
            for connection in connections:
                await connection.close()
            assert one.world.counted() == before + 3

    asyncio.run(story())


def test_a_signature_that_races_with_the_end_is_counted_or_refused(database):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            await api.signed([1, 2], petition)
            await api.fold()
            end = at(await api.petition(petition), "limited_until")
            # The signers' gateway is a second behind the clock's: it still takes what the clock wants to end.
            slow = _Behind(api.world.clock, 1)
            async with running(api.world) as gateway:
                gateway.service.ledger.clock = slow
                api.world.clock.pass_until(end - timedelta(seconds=0.5))
                statement = await gateway.statement(petition)
                desk: CitizensDesk = gateway.service.desk
                signers = [api.world.authority.person(invent_person(n)) for n in range(3, 23)]
                steward = Steward(api.service.ledger, database.url)
                async with await AsyncConnection.connect(database.url, autocommit=True) as connection:
                    outcomes = await asyncio.gather(
                        *(desk.sign(petition, signer.sign(statement)) for signer in signers),
                        steward.catch_up(connection),
                        return_exceptions=True,
                    )
                counted = [o for o in outcomes[:-1] if not isinstance(o, Exception)]
                refused = [o for o in outcomes[:-1] if isinstance(o, Exception)]
                assert all(isinstance(o, PetitionClosedError) for o in refused)
            await api.settle()
            document = await api.petition(petition)
            assert document["state"] == "lapsed"
            assert document["count"] == 2 + len(counted)
            entry = await api.ok(f"/v1/entries/{document['ended']['position']}")
            assert entry["event"]["data"]["count"] == document["count"]
            assert all(o.position < document["ended"]["position"] for o in counted)

    asyncio.run(story())


class _Behind:
    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def __call__(self):
        return self.clock() - self.seconds


def test_it_runs_beside_the_service_and_is_woken_by_signatures(database):
    async def story():
        async with service(database, background=True) as api:
            petition = await api.limited()
            await api.signed(range(1, 51), petition)
            async with asyncio.timeout(20):
                while True:
                    answer = await api.get(f"/v1/petitions/{petition}")
                    if answer.status_code == 200 and answer.json()["state"] == "supported":
                        break
                    await asyncio.sleep(0.1)

    asyncio.run(story())
