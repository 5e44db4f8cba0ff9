"""Builders: the one window asked through HTTP, by citizens, front offices and bodies."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import quote, unquote

import msgspec

from ledger import events
from ledger.eds.people import invent_person
from ledger.keys import SigningKey
from ledger.statement import Disclosure, seal
from tests.api.services import Api, begin, running
from tests.ledger.appeal_scenes import (
    LAND,
    MINISTRY,
    MONDAY,
    OFFICE,
    OFFICIALS,
    QUESTION,
    WATER,
    YEAR,
    appeals,
)
from tests.ledger.ledgers import CULTURE, Clock

__all__ = ["LAND", "MINISTRY", "OFFICE", "QUESTION", "WATER", "Window", "window"]

BODIES = (LAND, WATER, MINISTRY, OFFICE, CULTURE)
PDF = b"%PDF-1.7\nthe question in a picture"


class Window(Api):
    """A running service with bodies that answer appeals."""

    # --- asking -----------------------------------------------------------------------------------

    def bearer(self, organisation):
        return {"authorization": f"Bearer {self.world.tokens[organisation]}"}

    async def by(self, organisation, path, document, **headers):
        """A command under an organisation's token."""
        return await self.post(path, document, **self.bearer(organisation), **headers)

    async def step(self, stream, type_, data=None, texts=None, body=LAND, **headers):
        """A body's step, with some text for each disclosure that it takes."""
        cls = events.catalogue[f"appeal.{type_}"]
        said = dict.fromkeys((cls.public | cls.restricted) - {"attachments"}, "Мәтін.") | (texts or {})
        return await self.tell(body, stream, cls.type, data, said, **headers)

    async def stepped(self, stream, *steps, body=LAND):
        """Steps that are taken; each a type, or a type with its data."""
        for step in steps:
            type_, data = (step, None) if isinstance(step, str) else step
            answer = await self.step(stream, type_, data, body=body)
            assert answer.status_code == 201, answer.text
        return answer

    # --- citizens ---------------------------------------------------------------------------------

    def person(self, number):
        if number not in self.people:
            self.people[number] = self.world.authority.person(
                invent_person(number), not_before=MONDAY - YEAR, not_after=MONDAY + 5 * YEAR
            )
        return self.people[number]

    def signed_by(self, number, prepared):
        """The CMS of a person over a prepared statement, base64."""
        content = base64.b64decode(prepared["statement_base64"])
        cms = self.person(number).sign(content, signing_time=self.service.ledger.now())
        return base64.b64encode(cms).decode()

    def filing(self, **changed):
        return {
            "body": LAND, "kind": "application", "category": "utilities", "lang": "kk", "text": QUESTION,
            "contacts": "abonent@example.kz", "region": "71",
        } | changed  # fmt: skip

    async def form(self, number=1, **changed):
        """A whole request for ``POST /v1/appeals``, signed."""
        asked = self.filing(**changed)
        prepared = await self.post("/v1/appeals/statement", asked)
        assert prepared.status_code == 200, prepared.text
        prepared = prepared.json()
        return asked | {"form": prepared["form"], "cms": self.signed_by(number, prepared)}

    async def talon(self, number=1, **changed):
        answer = await self.post("/v1/appeals", await self.form(number, **changed))
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def filed(self, number=1, **changed):
        """The stream of a fresh appeal."""
        return (await self.talon(number, **changed))["stream"]

    async def taken(self, number=1, **changed):
        stream = await self.filed(number, **changed)
        await self.stepped(stream, "taken")
        return stream

    def visitor(self, **changed):
        return self.filing() | {
            "channel": "reception", "applicant": "person", "full_name": "Серікова Айгерім",
        } | changed  # fmt: skip

    async def came(self, **changed):
        """The talon of somebody who came to a front office."""
        answer = await self.by(OFFICE, "/v1/front-office/appeals", self.visitor(**changed))
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def case(self, talon, code=None):
        return await self.post(f"{at(talon['stream'])}/case", {"code": code or talon["code"]})

    async def act(self, stream, act, number=1, text="Себебі бар.", files=(), lang="kk", **headers):
        asked = {"act": act, "text": text, "attachments": list(files)}
        prepared = await self.post(f"{at(stream)}/acts/statement", asked | {"lang": lang})
        assert prepared.status_code == 200, prepared.text
        prepared = prepared.json()
        signed = asked | {"form": prepared["form"], "cms": self.signed_by(number, prepared)}
        return await self.post(f"{at(stream)}/acts", signed, **headers)

    async def cabinet(self, number=1, **changed):
        prepared = (await self.post("/v1/cabinet/statement", {"lang": "ru"})).json()
        asked = {"form": prepared["form"], "at": prepared["at"], "cms": self.signed_by(number, prepared)}
        return await self.post("/v1/cabinet", asked | changed)

    # --- files, officials -------------------------------------------------------------------------

    async def upload(self, content=PDF, media_type="application/pdf", **headers):
        return await self.client.post(
            "/v1/attachments", content=content, headers={"content-type": media_type} | headers
        )

    async def uploaded(self, content=PDF, name="көше.pdf", **options):
        answer = await self.upload(content, **options)
        assert answer.status_code == 201, answer.text
        return answer.json() | {"name": name}

    async def read(self, body, stream, purpose="consideration", **headers):
        return await self.by(body, f"{at(stream)}/readings", {"purpose": purpose}, **headers)

    async def bulk(self, body, lines, **headers):
        """The answer's lines, and the answer."""
        content = b"".join(
            line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines
        )
        headers = {"content-type": "application/x-ndjson"} | self.bearer(body) | headers
        answer = await self.client.post("/v1/events/bulk", content=content, headers=headers)
        return [json.loads(line) for line in answer.content.splitlines()], answer

    async def sealed(self, key, iss, stream, n, type_, texts=None, data=None, *, at=None, **headers):
        """An event of an appeal that an organisation sealed itself."""
        token = self.presentation(key, iss, stream, n, type_, texts, data, at=at)
        headers = {"content-type": "application/sd-jwt"} | headers
        return await self.client.post("/v1/events", content=token, headers=headers)

    def presentation(self, key, iss, stream, n, type_, texts=None, data=None, *, at=None):
        """``jwt~disclosure~…~``."""
        facts = msgspec.convert(data or {}, events.catalogue[f"appeal.{type_}"])
        made = [Disclosure.make(name, value) for name, value in (texts or {}).items()]
        at = at or self.service.ledger.now()
        event = seal(facts, iss=iss, stream=stream, n=n, at=at, key=key, disclosures=made)
        return event.entry.decode() + "".join(f"{d.encoded}~" for d in made)

    # --- rights ------------------------------------------------------------------------------------

    async def own_key(self, organisation, *roles):
        """A key that the organisation holds itself."""
        key = SigningKey.generate()
        facts = events.OrganisationKeyRegistered(key=key.public_key, roles=roles or OFFICIALS, custody="own")
        await self._declared(organisation, facts)
        return key

    async def revoke(self, organisation, kid):
        await self._declared(organisation, events.OrganisationKeyRevoked(kid=kid, reason="compromised"))

    async def _declared(self, organisation, facts):
        ledger = self.service.ledger
        await ledger.record(organisation, facts, ledger.issuance(ledger.operator, type(facts)))

    async def overdue(self, stream):
        """Let the term pass and say so."""
        ledger = self.service.ledger
        appeal = await ledger.load(stream)
        self.world.clock.pass_until(appeal.due)
        await ledger.declare(stream, events.AppealOverdue(term=appeal.term, due=appeal.due))


class Described:
    """Sees that each problem that a test provokes stands in the OpenAPI description of its call."""

    def __init__(self, app):
        self._calls = [
            (path.count("{"), re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), operations)
            for path, operations in app.openapi()["paths"].items()
        ]

    async def __call__(self, answer):
        if answer.headers.get("content-type") != "application/problem+json":
            return
        await answer.aread()
        path, method = unquote(answer.request.url.path), answer.request.method.lower()
        found = [
            (n, call[method]) for n, form, call in self._calls if method in call and form.fullmatch(path)
        ]
        if found:
            responses = min(found, key=lambda pair: pair[0])[1]["responses"]
            content = responses.get(str(answer.status_code), {"content": {}})["content"]
            known = content.get("application/problem+json", {"examples": {}})["examples"]
            code = answer.json()["type"].rpartition("/")[2]
            assert code in known, f"{method} {path}: {answer.status_code} {code} is not described"


def at(stream):
    """The address of an appeal."""
    return f"/v1/appeals/{quote(stream.removeprefix('appeal/'))}"


@asynccontextmanager
async def window(database, **options):
    """A fresh ledger with bodies, on a Monday morning, and a service over it."""
    clock = Clock()
    clock.pass_until(MONDAY - timedelta(seconds=1))
    world = await begin(database, clock=clock, within=appeals, organisations=BODIES)
    async with running(world, kind=Window, **options) as api:
        api.client.event_hooks["response"].append(Described(api.client._transport.app))
        yield api


def story(database, work, **options):
    """Run ``work(api)``."""

    async def run():
        async with window(database, **options) as api:
            return await work(api)

    return asyncio.run(run())
