"""What a token, and a service with the wrong keys, cannot do."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ledger import events
from ledger.application import InvalidCommandError, Ledger
from ledger.keys import UnauthorisedIssuerError
from ledger.statement import seal
from ledger.store.vault import VaultError
from tests.ledger.ledgers import scene


@pytest.mark.parametrize(
    "type_",
    [type_ for type_, cls in events.catalogue.items() if cls.issuers & {"operator", "gateway", "clock"}],
)
def test_a_token_says_nothing_for_the_operator_the_clock_or_the_citizens(database, type_):
    async def story():
        async with scene(database) as s:
            before = s.ledger.reader.size()
            with pytest.raises(InvalidCommandError):
                await s.ledger.tell(s.ledger.operator, "petition/x", type_, {}, {})
            assert s.ledger.reader.size() == before

    asyncio.run(story())


def test_what_the_clock_says_is_not_posted_even_with_its_key(database):
    async def story():
        async with scene(database) as s:
            petition = await s.limited()
            forged = seal(
                events.PetitionLapsed(count=0, as_of=0),
                iss=s.ledger.operator,
                stream=f"petition/{petition}",
                n=3,
                at=s.ledger.now(),
                key=s.ledger.keys.clock,
            )
            with pytest.raises(UnauthorisedIssuerError):
                await s.ledger.post(forged.entry.decode())

    asyncio.run(story())


def test_a_wrong_vault_key_is_noticed_at_the_start(database):
    async def story():
        async with scene(database) as s:
            await s.submitted()
            keys = replace(s.ledger.keys, vault=b"x" * 32)
        ledger = Ledger(database.url, keys)
        try:
            with pytest.raises(VaultError, match="not the one"):
                await ledger.start()
        finally:
            await ledger.stop()

    asyncio.run(story())
