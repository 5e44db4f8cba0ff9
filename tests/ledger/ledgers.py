"""Builders: a ledger with organisations, a certificate authority and a petition, on a real database."""

from __future__ import annotations

import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ledger import events
from ledger.application import Ledger
from ledger.citizens import CitizensDesk
from ledger.domain import terms, wording
from ledger.eds.authority import Authority
from ledger.eds.people import invent_person
from ledger.eds.verifier import Verifier
from ledger.operator import OperatorKeys

ORIGIN = "test.example/log"
CULTURE = "organisation/culture"
VILLAGE = "organisation/village"
TITLE = "Ауылға жаңа кітапхана"
TEXT = "Ауылымызда кітапхана жоқ.\nБалаларға оқитын орын керек."


class Clock:
    """A clock that a test can move."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead

    def pass_until(self, moment):
        self.ahead = moment.timestamp() - time.time() + 1


@dataclass
class Scene:
    """A ledger with its desk, its clock and the authority that certifies people."""

    ledger: Ledger
    desk: CitizensDesk
    authority: Authority
    clock: Clock
    people: dict = field(default_factory=dict)

    def person(self, number):
        if number not in self.people:
            self.people[number] = self.authority.person(invent_person(number))
        return self.people[number]

    async def submitted(self, author=0, body=VILLAGE, title=TITLE, text=TEXT):
        petition = str(uuid.uuid4())
        cms = self.person(author).sign(wording.filing(petition, body, title, text, "kk"))
        await self.desk.submit(petition, body, title, text, "kk", cms)
        return petition

    async def limited(self, **kwargs):
        petition = await self.submitted(**kwargs)
        await self.ledger.tell(CULTURE, f"petition/{petition}", "petition.admitted", {}, {})
        return petition

    async def collecting(self, **kwargs):
        petition = await self.limited(**kwargs)
        at = self.ledger.now()
        required, population = terms.threshold(self.ledger.directory.organisation(VILLAGE), at)
        facts = events.PetitionPublished(
            required=required, population=population, collect_until=terms.collect_until(at)
        )
        await self.ledger.declare(f"petition/{petition}", facts)
        return petition

    async def cms(self, number, petition, act="sign", lang="kk"):
        view = await self.desk.petition(petition)
        return self.person(number).sign(view.statement(act, lang))

    async def sign(self, number, petition, **kwargs):
        return await self.desk.sign(petition, await self.cms(number, petition), **kwargs)


@asynccontextmanager
async def scene(database, *, keys=None, clock=None, authority=None, fresh=True, **options):
    """A started ledger; with ``fresh`` its operator and two organisations are registered first."""
    clock = clock or Clock()
    authority = authority or Authority.create("ecdsa")
    ledger = Ledger(database.url, keys or OperatorKeys.generate(ORIGIN), clock=clock, **options)
    await ledger.start()
    try:
        if fresh:
            await ledger.register_operator("operator", events.Names(kk="Оператор", ru="Оператор"))
            await ledger.register_organisation(
                "culture",
                events.OrganisationRegistered(
                    kind="authorised-body",
                    level="republic",
                    names=events.Names(kk="Мәдениет министрлігі", ru="Министерство культуры"),
                ),
                ("moderator", "body"),
            )
            await ledger.register_organisation(
                "village",
                events.OrganisationRegistered(
                    kind="akimat",
                    level="district",
                    region="71",
                    population=1000,
                    names=events.Names(kk="Ауыл әкімдігі", ru="Акимат села"),
                ),
                ("body",),
            )
        yield Scene(ledger, CitizensDesk(ledger, Verifier(authority.trust)), authority, clock)
    finally:
        await ledger.stop()
