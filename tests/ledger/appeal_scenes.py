"""Builders: bodies that answer appeals, a front office, and appeals in any state."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ledger import events
from ledger.appeals import AppealsDesk, Filing, Visitor
from ledger.eds.people import invent_person
from ledger.eds.verifier import Verifier
from tests.ledger.ledgers import Clock, Scene, scene

LAND = "organisation/land"
WATER = "organisation/water"
MINISTRY = "organisation/ministry"
OFFICE = "organisation/office"
OFFICIALS = ("registrar", "executor", "controller", "head")
QUESTION = "Көшемізде жарық жоқ."
YEAR = timedelta(days=365)
MONDAY = datetime(2026, 2, 2, 5, 0, tzinfo=UTC)
"""10:00 in Almaty, on a working day."""


def organisation(kind, name, level="oblast", region="71"):
    return events.OrganisationRegistered(
        kind=kind, level=level, region=region, names=events.Names(kk=name, ru=name)
    )


@dataclass
class AppealScene:
    """A ledger with bodies and a desk for appeals."""

    base: Scene
    desk: AppealsDesk

    @property
    def ledger(self):
        return self.base.ledger

    @property
    def clock(self):
        return self.base.clock

    def person(self, number):
        if number not in self.base.people:
            self.base.people[number] = self.base.authority.person(
                invent_person(number), not_before=MONDAY - YEAR, not_after=MONDAY + 5 * YEAR
            )
        return self.base.people[number]

    def iin(self, number):
        return invent_person(number).iin

    def sign(self, number, content):
        return self.person(number).sign(content, signing_time=self.ledger.now())

    def filing(self, **changed):
        fields = {
            "body": LAND, "kind": "application", "category": "utilities", "lang": "kk", "text": QUESTION,
            "region": "71", "contacts": "abonent@example.kz",
        }  # fmt: skip
        return Filing(**fields | changed)

    async def talon(self, number=1, form=None, **changed):
        form = form or str(uuid.uuid4())
        filing = self.filing(**changed)
        cms = self.sign(number, filing.statement(form))
        return await self.desk.submit(form, filing, cms)

    async def filed(self, number=1, **changed):
        """The stream of a fresh appeal."""
        return (await self.talon(number, **changed)).recorded.event.stream

    async def visitor(self, channel="paper", number=None, applicant="person", **changed):
        visitor = Visitor(applicant, "Серікова Айгерім", number)
        return await self.desk.take_down(OFFICE, self.filing(**changed), visitor, channel)

    async def act(self, stream, act, number=1, text="Себебі бар.", lang="kk", form=None, files=()):
        form = form or str(uuid.uuid4())
        cms = self.sign(number, self.desk.statement(stream, act, form, text, files, lang))
        return await self.desk.act(stream, act, form, text, files, cms)

    async def tell(self, stream, type_, data=None, texts=None, body=LAND, **options):
        cls = events.catalogue[f"appeal.{type_}"]
        names = (cls.public | cls.restricted) - {"attachments"}
        said = dict.fromkeys(names, "Мәтін.") | (texts or {})
        return await self.ledger.tell(body, stream, cls.type, data or {}, said, **options)

    async def taken(self, **options):
        stream = await self.filed(**options)
        await self.tell(stream, "taken")
        return stream

    async def decided(self, outcome="explained", **options):
        stream = await self.taken(**options)
        await self.decide(stream, outcome)
        return stream

    async def decide(self, stream, outcome="explained", **data):
        await self.tell(stream, "decision_drafted", {"outcome": outcome, **data})
        await self.tell(stream, "decision_approved")
        return await self.tell(stream, "decided")

    async def appeal(self, stream):
        return await self.ledger.load(stream)

    async def overdue(self, stream):
        """Let the term pass and say so."""
        appeal = await self.appeal(stream)
        self.clock.pass_until(appeal.due)
        return await self.ledger.declare(stream, events.AppealOverdue(term=appeal.term, due=appeal.due))


@asynccontextmanager
async def appeals(database, **options):
    clock = options.pop("clock", None) or Clock()
    if not clock.ahead:
        clock.pass_until(MONDAY)
    async with scene(database, clock=clock, **options) as s:
        if options.get("fresh", True):
            for slug, kind, roles in (
                ("land", "akimat", ("body", *OFFICIALS)),
                ("water", "institution", OFFICIALS),
                ("ministry", "central", ("body", *OFFICIALS)),
                ("office", "front-office", ("front-office",)),
                ("council", "council", ()),
            ):
                await s.ledger.register_organisation(slug, organisation(kind, slug.title()), roles)
        yield AppealScene(s, AppealsDesk(s.ledger, Verifier(s.authority.trust)))


def story(database, work, **options):
    """Run ``work(scene)``."""

    async def run():
        async with appeals(database, **options) as s:
            return await work(s)

    return asyncio.run(run())
