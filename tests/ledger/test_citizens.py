"""Citizens sign, once each, and nothing is left behind when they may not."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from ledger.citizens import AlreadySignedError, NotTheAuthorError, NotTheSignerError
from ledger.domain.aggregate import NotAllowedError
from ledger.domain.petition import PetitionClosedError
from ledger.store.append import CommandId, CommandReusedError
from tests.ledger.ledgers import CULTURE, VILLAGE, scene
from tests.ledger.store.check import check_log


def counted(database, table="entries"):
    with psycopg.connect(database.admin_url) as connection:
        return connection.execute(f"SELECT count(*) FROM ledger.{table}").fetchone()[0]


def test_a_person_signs_and_the_log_still_adds_up(database):
    async def story():
        async with scene(database) as s:
            petition = await s.limited()
            recorded = await s.sign(1, petition, region="71")
            receipt = await s.ledger.receipt(recorded)
            assert receipt.verify(s.ledger.keys.log.verifier).position == recorded.position
            return s.ledger.keys.log.verifier

    check_log(database.admin_url, asyncio.run(story()))


def test_a_person_cannot_sign_twice(database):
    async def story():
        async with scene(database) as s:
            petition = await s.limited()
            await s.sign(1, petition)
            before = counted(database), counted(database, "vault"), counted(database, "data_keys")
            with pytest.raises(AlreadySignedError):
                await s.sign(1, petition)
            assert (counted(database), counted(database, "vault"), counted(database, "data_keys")) == before

    asyncio.run(story())


def test_twenty_tries_at_once_leave_one_signature(database):
    async def story():
        async with scene(database) as s:
            petition = await s.limited()
            cms = [await s.cms(1, petition) for _ in range(20)]
            outcomes = await asyncio.gather(*(s.desk.sign(petition, c) for c in cms), return_exceptions=True)
            assert sum(not isinstance(o, Exception) for o in outcomes) == 1
            assert {type(o) for o in outcomes if isinstance(o, Exception)} == {AlreadySignedError}

    asyncio.run(story())


def test_the_same_person_has_unlinkable_nullifiers_on_two_petitions(database):
    async def story():
        async with scene(database) as s:
            streams = [(await s.sign(1, await s.limited())).event.stream.split("/") for _ in range(2)]
            assert streams[0][2] != streams[1][2]

    asyncio.run(story())


def test_a_repeated_command_finds_what_it_brought_about(database):
    async def story():
        async with scene(database) as s:
            petition = await s.limited()
            cms = await s.cms(1, petition)
            command = CommandId("signing", "k1", b"r" * 32)
            first = await s.desk.sign(petition, cms, command=command)
            again = await s.desk.sign(petition, cms, command=command)
            assert (again.position, again.event) == (first.position, first.event)
            await s.ledger.tell(CULTURE, f"petition/{await s.submitted()}", "petition.admitted", {}, {})
            with pytest.raises(CommandReusedError):
                await s.desk.sign(petition, cms, command=CommandId("signing", "k1", b"x" * 32))

    asyncio.run(story())


def test_a_command_of_an_organisation_is_repeated_safely(database):
    async def story():
        async with scene(database) as s:
            stream = f"petition/{await s.submitted()}"
            command = CommandId(CULTURE, "k1", b"r" * 32)

            def admit():
                telling = s.ledger.tell(CULTURE, stream, "petition.admitted", {}, {}, command=command)
                return s.ledger.once(command, telling)

            first, again = await admit(), await admit()
            assert again.position == first.position
            with pytest.raises(NotAllowedError, match="it is limited"):
                await s.ledger.tell(CULTURE, stream, "petition.admitted", {}, {})

    asyncio.run(story())


def test_nobody_signs_after_the_end_nor_what_is_not_open(database):
    async def story():
        async with scene(database) as s:
            petition = await s.submitted()
            with pytest.raises(PetitionClosedError, match="submitted"):
                await s.sign(1, petition)
            petition = await s.limited()
            view = await s.desk.petition(petition)
            cms = await s.cms(1, petition)
            s.clock.pass_until(view.aggregate.open_until)
            with pytest.raises(PetitionClosedError, match="until"):
                await s.desk.sign(petition, cms)

    asyncio.run(story())


def test_a_signer_takes_the_signature_back_and_nobody_else_can(database):
    async def story():
        async with scene(database) as s:
            petition = await s.limited()
            await s.sign(1, petition)
            with pytest.raises(NotTheSignerError):
                await s.desk.withdraw_signature(petition, await s.cms(2, petition, "withdraw-signature"))
            done = await s.desk.withdraw_signature(petition, await s.cms(1, petition, "withdraw-signature"))
            assert done.event.n == 2
            with pytest.raises(AlreadySignedError):
                await s.sign(1, petition)

    asyncio.run(story())


def test_only_the_author_withdraws_a_petition(database):
    async def story():
        async with scene(database) as s:
            petition = await s.limited(author=7)
            with pytest.raises(NotTheAuthorError):
                await s.desk.withdraw_petition(petition, await s.cms(1, petition, "withdraw-petition"))
            await s.desk.withdraw_petition(petition, await s.cms(7, petition, "withdraw-petition"))
            with pytest.raises(PetitionClosedError, match="withdrawn"):
                await s.sign(1, petition)

    asyncio.run(story())


def test_a_body_cannot_decide_what_lies_elsewhere_nor_moderate(database):
    async def story():
        from ledger.application import InvalidCommandError
        from ledger.keys import UnauthorisedIssuerError

        async with scene(database) as s:
            stream = f"petition/{await s.submitted()}"
            with pytest.raises(UnauthorisedIssuerError):
                await s.ledger.tell(VILLAGE, stream, "petition.admitted", {}, {})
            with pytest.raises(InvalidCommandError):
                await s.ledger.tell(CULTURE, stream, "petition.published", {}, {})

    asyncio.run(story())


def test_two_services_take_turns_on_one_database(database):
    async def story():
        async with scene(database) as one:
            petition = await one.limited()
            async with scene(database, keys=one.ledger.keys, authority=one.authority, fresh=False) as two:
                recorded = await asyncio.gather(
                    *(one.sign(i, petition) for i in range(0, 60, 2)),
                    *(two.sign(i, petition) for i in range(1, 60, 2)),
                )
            assert len({r.position for r in recorded}) == 60
            return one.ledger.keys.log.verifier

    check_log(database.admin_url, asyncio.run(story()))
