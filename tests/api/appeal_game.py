"""A game that is played with the real service and with the plain model at once; they must never disagree.

The moves are here, each compared with the model; which of them is made when is for the machine to choose.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import shutil
import uuid
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import cache

import msgspec
import psycopg
from psycopg import AsyncConnection

from api import tokens
from api.clock import Steward
from api.problems import STATUSES
from audit.appeals import Appeals
from ledger import events
from ledger.eds.authority import Authority
from ledger.eds.people import invent_person
from ledger.errors import AiqynError
from ledger.keys import Directory
from ledger.operator import OperatorKeys
from ledger.statement import open_event
from ledger.store.mapper import domain_event
from projections.runner import Runner
from tests.api import appeal_commands as commands
from tests.api.appeal_commands import WORDS
from tests.api.services import World, running
from tests.api.window import Window, at
from tests.conftest import fresh
from tests.homes import new_home
from tests.ledger import appeal_days as days
from tests.ledger import appeal_model as law
from tests.ledger.ledgers import ORIGIN
from tests.ledger.store.check import check_log

BEGINNINGS = (
    (datetime(2026, 3, 16, 5, tzinfo=UTC), timedelta(days=130)),  # before Nauryz
    (
        datetime(2025, 12, 22, 5, tzinfo=UTC),
        timedelta(days=130),
    ),  # before New Year and an amendment of the law
    (datetime(2024, 4, 29, 5, tzinfo=UTC), timedelta(days=75)),  # before a Saturday that is worked
)
"""Mondays at ten in the morning, and how long a game lasts from then on at most."""
OFFICIALS = ("registrar", "executor", "controller", "head")
ORGANISATIONS = {
    "organisation/land": ("akimat", OFFICIALS, {"head": ("head",), "registrar": ("registrar",)}),
    "organisation/water": ("institution", OFFICIALS[:3], {"head": ("head",)}),
    "organisation/ministry": ("central", OFFICIALS, {"all": OFFICIALS}),
    "organisation/roads": ("maslikhat", OFFICIALS, {"executor": ("executor",)}),
    "organisation/council": ("council", (), {}),
    "organisation/office": ("front-office", ("front-office",), {}),
    "organisation/hall": ("front-office", ("front-office",), {}),
}
"""Kind, roles of the gateway's key, and keys of their own."""
BODIES = tuple(ORGANISATIONS)[:4]
LAND, WATER, MINISTRY, ROADS = BODIES
COUNCIL, OFFICE, HALL = tuple(ORGANISATIONS)[4:]
PEOPLE = (1, 2, 3)
KINDS = ("application", "complaint", "proposal", "media-request", "state-service-complaint")


@cache
def authority():
    return Authority.create("ecdsa", now=datetime(2025, 6, 1, tzinfo=UTC))


@cache
def person(number):
    validity = {"not_before": datetime(2023, 7, 1, tzinfo=UTC), "not_after": datetime(2030, 1, 1, tzinfo=UTC)}
    return authority().person(invent_person(number), **validity)


class Standing:
    """A clock that stands until somebody moves it."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now.timestamp()


class Game:
    """One ledger with its service, the model of it, and what was said so far."""

    def __init__(self, databases, beginning, seen):
        """``databases``: a server and the database to copy; ``seen`` counts what became of each step."""
        self.seen = seen
        now, lasts = beginning
        self.clock, self.end_of_play = Standing(now), now + lasts
        self.home = new_home()
        self.loop = asyncio.new_event_loop()
        self.closing = AsyncExitStack()
        self.database = self.closing.enter_context(fresh(*databases))
        self.model = law.Ledger()
        self.keys = {}
        self.requests = []
        """Those with an idempotency key."""
        self.remembered = {}
        """(scope, key) → what was asked, and the position that it got."""
        self.forms = {}
        """Form → what was signed, the position that it got, what was sent, and where."""
        self.talons = []
        """What front offices asked for, and the talon that they got."""
        self.readings = []
        """Who read what, and what was to be seen."""
        self.registers = {}
        """(body, number of a case) → its rows."""
        self.disagreed = False
        self.play(self._begin())

    def play(self, work):
        try:
            return self.loop.run_until_complete(work)
        except BaseException:
            self.disagreed = True
            raise

    async def _begin(self):
        world = World(self.database, self.home, OperatorKeys.generate(ORIGIN), authority(), self.clock)
        self.api = await self.closing.enter_async_context(running(world, kind=Window))
        self.ledger = self.api.service.ledger
        await self.ledger.register_operator("operator", events.Names(kk="Оператор", ru="Оператор"))
        for stream, (kind, roles, own) in ORGANISATIONS.items():
            slug = stream.partition("/")[2]
            facts = events.OrganisationRegistered(
                kind=kind, level="oblast", region="71", names=events.Names(kk=slug, ru=slug)
            )
            await self.ledger.register_organisation(slug, facts, roles)
            self.model.kinds[stream] = kind
            self.model.keys[stream, "gateway"] = frozenset(roles)
            for key, its_roles in own.items():
                self.keys[stream, key] = await self.api.own_key(stream, *its_roles)
                self.model.keys[stream, key] = frozenset(its_roles)
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            for stream in ORGANISATIONS:
                world.tokens[stream] = tokens.create(connection, stream, "tests")
        self.model.size = self.ledger.reader.size()

    def end(self):
        """Look at the whole once more, unless something was wrong already, and clear the table."""
        try:
            if not self.disagreed:
                self.play(self._all_is_well())
        finally:
            self.loop.run_until_complete(self.closing.aclose())
            self.loop.close()
            shutil.rmtree(self.home, ignore_errors=True)

    async def _all_is_well(self):
        """The log alone gives what the model says, and holds nothing that its issuer could not say."""
        await self.declare_due()
        assert check_log(self.database.admin_url, self.api.world.keys.log.verifier) == self.model.size
        with psycopg.connect(self.database.admin_url) as connection:
            query = "SELECT entry FROM ledger.entries ORDER BY position"
            entries = [open_event(bytes(row[0])) for row in connection.execute(query)]
        directory, audited, replayed = Directory(), Appeals(), {}
        for position, event in enumerate(entries):
            event.verify(directory.authorise(event))
            directory.apply(event)
            replayed[event.stream] = domain_event(event).mutate(replayed.get(event.stream))
            if event.facts.room in {"appeal", "reading"}:
                assert audited.judge(position, event, directory) is None
        appeals = {stream: found for stream, found in replayed.items() if stream.startswith("appeal/")}
        assert set(appeals) == set(self.model.cases)
        for stream, appeal in appeals.items():
            self._same(appeal, self.model.cases[stream])
            if appeal.origin == "filed":
                bound = appeal.state in {"registered", "in-work", "complained", "complaint-passed-up"}
                assert (appeal.term is not None, appeal.due is not None) == (bound, bound)
                assert not bound or (appeal.missed == "yes") == (appeal.due <= self.clock.now)
        for (prefix, year), last in self.model.numbers.items():
            begins = f"appeal/{prefix}-{year}-"
            numbers = {stream.removeprefix(begins) for stream in appeals if stream.startswith(begins)}
            assert {n for n in numbers if "-" not in n} == {f"{n:08}" for n in range(1, last + 1)}

    # --- what is the same in both -----------------------------------------------------------------------

    SAME = (
        "kind", "channel", "body", "origin", "version", "state", "term", "due", "first_due", "missed",
        "forward_until", "fix_until", "extension", "hearing", "decision", "withdrawal", "outcome",
        "complain_until", "complaint", "higher", "parts", "untold", "happened",
    )  # fmt: skip

    def _same(self, appeal, case):
        told = {name: getattr(appeal, name) for name in self.SAME}
        assert told == {name: getattr(case, name) for name in self.SAME}, case.stream
        assert appeal.assignments == case.open_questions
        assert set(appeal.allowed()) == case.allowed()
        assert appeal.readers() == case.readers()
        if case.extension != "none":
            assert appeal.extend_until == case.extend_until
        if case.hearing != "none":
            assert (appeal.hearing_at, appeal.object_until) == (case.hearing_at, case.object_until)
        if case.decision != "none":
            assert appeal.draft == case.draft

    async def _as_the_model_says(self, *streams):
        assert self.ledger.reader.size() == self.model.size
        for stream in streams:
            if stream in self.model.cases:
                self._same(await self.ledger.load(stream), self.model.cases[stream])

    def _refused(self, name, codes, status, document, headers=()):
        """A problem that names one of the reasons that there are; returns its code."""
        assert 400 <= status < 500, document
        code = document["type"].removeprefix("/problems/")
        assert code in codes, (code, set(codes), document)
        failed = code == "stream-conflict" and "if-match" in dict(headers)
        assert status == document["status"] == (412 if failed else STATUSES[code])
        self.seen[name, code] += 1
        return code

    def _names_what_is_allowed(self, document, code, stream):
        case = self.model.cases.get(stream)
        if case is None:
            assert "allowed" not in document
        elif code not in {"idempotency-key-reused", "request-invalid"}:
            allowed = case.allowed() - ({"appeal.decided"} if code == "hearing-missing" else set())
            assert (set(document["allowed"]), document["state"]) == (allowed, case.state)
            assert document["version"] == case.version

    def _recorded(self, stream, name, verdict, moment, iss=None):
        """The model follows; the entry says what the model says."""
        self.model.happen(stream, name, verdict.facts, moment)
        case = self.model.cases[stream]
        self.seen[name, "ok"] += 1
        written = open_event(self.ledger.reader.stream(stream)[case.version - 1][1])
        said = {field: getattr(written.facts, field) for field in written.facts.__struct_fields__}
        said.pop("algorithm", None)
        assert _plain(said) == _plain(verdict.facts)
        assert (written.facts.type, written.at, written.n) == (f"appeal.{name}", moment, case.version)
        assert iss is None or written.iss == iss

    # --- organisations --------------------------------------------------------------------------------------

    def request(self, command):
        return commands.request(command, self.api.bearer(command.iss), self.keys)

    def _expected(self, request):
        """What the model says of it: the position that is to be repeated, and a verdict."""
        command = request.command
        if command.again is not None and (known := self.remembered.get(request.scope)) is not None:
            reused = set() if known[0] == request.identity else {"idempotency-key-reused"}
            return known[1], law.Verdict(frozenset(reused))
        wrong, seen, skewed = set(command.wrong), command.seen, False
        moment = self.model.moment(command.stream, self.clock.now)
        if command.sealed:
            if seen is not None and seen != command.n - 1:
                wrong.add("command-invalid")
            seen, moment = command.n - 1, command.at
            skewed = abs((self.clock.now - moment).total_seconds()) > 120
        return None, self.model.judge(
            command.iss, command.key, command.stream, command.name, command.said, moment,
            seen=seen, sealed=command.sealed, wrong=frozenset(wrong), skewed=skewed,
        )  # fmt: skip

    def _answered(self, request, status, document, *, replayed, alone):
        """Compare an answer with the model, and let the model follow."""
        command = request.command
        position, verdict = self._expected(request)
        if verdict.codes:
            name = f"({command.spoil})" if command.wrong else command.name
            code = self._refused(name, verdict.codes, status, document, request.headers)
            self._names_what_is_allowed(document, code, command.stream)
            return
        assert status == 201, (command, document)
        if position is not None:
            assert (document["position"], replayed) == (position, True)
            self.seen["(sent again)", "ok"] += 1
            return
        assert not replayed
        assert not alone or document["position"] == self.model.size
        moment = command.at if command.sealed else self.model.moment(command.stream, self.clock.now)
        self._recorded(command.stream, command.name, verdict, moment, command.iss)
        told = document["stream"], document["type"], document["version"]
        version = self.model.cases[command.stream].version
        assert told == (command.stream, f"appeal.{command.name}", version)
        if command.again is not None:
            self.remembered[request.scope] = request.identity, document["position"]

    async def send(self, *requests, unreadable=None):
        """One request, or several lines of one."""
        requests = [request for request in requests if request is not None]
        if not requests:
            return
        self.requests += [request for request in requests if request.command.again]
        if requests[0].command.line:
            await self._send_lines(requests, unreadable)
        else:
            (request,) = requests
            answer = await self.api.client.post(
                "/v1/events", content=request.content, headers=dict(request.headers)
            )
            replayed = answer.headers.get("idempotency-replayed") == "true"
            self._answered(request, answer.status_code, answer.json(), replayed=replayed, alone=True)
        await self._as_the_model_says(*{request.command.stream for request in requests})

    async def _send_lines(self, requests, unreadable=None):
        """Line by line; ``unreadable``: before which of them stands one that nobody can read."""
        lines = [request.content for request in requests]
        if unreadable is not None:
            lines.insert(unreadable, b'{"stream": ')
        speaker = requests[0].command.token or requests[0].command.iss
        headers = {"content-type": "application/x-ndjson"} | self.api.bearer(speaker)
        answer = await self.api.client.post("/v1/events/bulk", content=b"\n".join(lines), headers=headers)
        assert answer.status_code == 200, answer.text
        found = [json.loads(line) for line in answer.content.decode().split("\n")[:-1]]
        assert [line["line"] for line in found] == list(range(1, len(lines) + 1))
        if unreadable is not None:
            wrong = found.pop(unreadable)
            self._refused("(unreadable)", {"json-invalid"}, wrong["status"], wrong["problem"])
        for request, line in zip(requests, found, strict=True):
            self._answered(
                request, line["status"], line.get("problem", line),
                replayed=line.get("replayed", False), alone=len(lines) == 1,
            )  # fmt: skip

    async def race(self, *requests):
        """Two commands about one appeal at the same time: as if one had come after the other."""
        stream = requests[0].command.stream

        async def ask(request):
            headers = dict(request.headers)
            answer = await self.api.client.post("/v1/events", content=request.content, headers=headers)
            return request, answer

        answers = await asyncio.gather(*map(ask, requests))
        standing = [copy.deepcopy(self.model.cases.get(stream))]
        possible = {id(request): [self._expected(request)[1].codes] for request in requests}
        accepted = [(request, answer) for request, answer in answers if answer.status_code == 201]
        for request, answer in sorted(accepted, key=lambda one: one[1].json()["version"]):
            self._answered(request, 201, answer.json(), replayed=False, alone=False)
            standing.append(copy.deepcopy(self.model.cases[stream]))
            for other in requests:
                possible[id(other)].append(self._expected(other)[1].codes)
        for request, answer in answers:
            if answer.status_code != 201:
                codes = possible[id(request)]
                assert any(codes), (request.command, answer.text)
                document = answer.json()
                self._refused("(race)", set().union(*codes), answer.status_code, document, request.headers)
                told = set(document["allowed"]), document["state"], document["version"]
                hidden = {"appeal.decided"} if document["type"].endswith("hearing-missing") else set()
                assert told in [(case.allowed() - hidden, case.state, case.version) for case in standing]
        await self._as_the_model_says(stream)

    async def revoke(self, body, name):
        key = self.api.world.keys.gateway if name == "gateway" else self.keys[body, name]
        await self.api.revoke(body, key.kid)
        self.model.keys[body, name] = frozenset()
        self.model.size += 1
        await self._as_the_model_says()

    # --- applicants -----------------------------------------------------------------------------------------

    async def turn_to(self, number, kind, body, form=None, text=WORDS):
        asked = self.api.filing(body=body, kind=kind, text=text) | {"form": form or str(uuid.uuid4())}
        prepared = await self.api.post("/v1/appeals/statement", asked)
        if body not in self.model.bodies():
            self._refused("submitted", {"body-unknown"}, prepared.status_code, prepared.json())
            return
        assert prepared.status_code == 200, prepared.text
        content = base64.b64decode(prepared.json()["statement_base64"])
        await self.filed(asked | {"cms": self._cms(number, content)}, (number, content))

    def _cms(self, number, content):
        return base64.b64encode(person(number).sign(content, signing_time=self.clock.now)).decode()

    async def filed(self, document, signed):
        answer = await self.api.post("/v1/appeals", document)
        known = self.forms.get(document["form"])
        if known is None:
            assert answer.status_code == 201, answer.text
            talon = answer.json()
            self._begun(talon, "person", document["kind"], "electronic", document["body"], signed[0])
            self.forms[document["form"]] = signed, (talon["position"], talon["code"]), document, None
        elif known[0] == signed:
            assert answer.status_code == 201, answer.text
            assert (answer.json()["position"], answer.json()["code"]) == known[1]
            assert answer.headers["idempotency-replayed"] == "true"
        else:
            self._refused("submitted", {"idempotency-key-reused"}, answer.status_code, answer.json())
        await self._as_the_model_says()

    def _begun(self, talon, applicant, kind, channel, body, number):
        now = self.clock.now
        stream = self.model.next_number(applicant, now)
        assert (talon["stream"], talon["position"]) == (stream, self.model.size)
        case = self.model.begin(stream, kind, channel, body, number, talon["code"], now)
        assert datetime.fromisoformat(talon["due"]) == case.due
        assert talon["registered_on"] == days.registered_on(now).isoformat()
        self.seen["submitted", "ok"] += 1

    async def come(self, office, kind, body, applicant, number):
        asked = self.api.visitor(body=body, kind=kind, applicant=applicant)
        if number is not None:
            asked["iin"] = invent_person(number).iin
        again = {"idempotency-key": str(uuid.uuid4())}
        answer = await self.api.by(office, "/v1/front-office/appeals", asked, **again)
        codes = set()
        if "front-office" not in self.model.roles(office):
            codes.add("issuer-not-authorised")
        if body not in self.model.bodies():
            codes.add("body-unknown")
        if codes:
            self._refused("submitted", codes, answer.status_code, answer.json())
        else:
            assert answer.status_code == 201, answer.text
            self._begun(answer.json(), applicant, kind, "reception", body, number)
            self.talons.append((office, asked, again, answer.json()))
        await self._as_the_model_says()

    async def come_again(self, office, asked, again, talon, *, same):
        asked = asked if same else asked | {"text": "Басқа."}
        answer = await self.api.by(office, "/v1/front-office/appeals", asked, **again)
        if same:
            assert answer.status_code == 201, answer.text
            assert (answer.json()["code"], answer.json()["position"]) == (talon["code"], talon["position"])
        else:
            self._refused("submitted", {"idempotency-key-reused"}, answer.status_code, answer.json())
        await self._as_the_model_says()

    async def act(self, stream, act, number, text=WORDS, form=None, again=None):
        asked = {"act": act, "text": text, "form": form or str(uuid.uuid4())}
        prepared = await self.api.post(f"{at(stream)}/acts/statement", asked | {"lang": "kk"})
        if not text:
            self._refused(law.ACTS[act], {"text-invalid"}, prepared.status_code, prepared.json())
            return
        content = base64.b64decode(prepared.json()["statement_base64"])
        document = asked | {"cms": self._cms(number, content)}
        await self.acted(stream, document, (number, content), again or {})

    async def acted(self, stream, document, signed, again):
        answer = await self.api.post(f"{at(stream)}/acts", document, **again)
        case, name = self.model.cases[stream], law.ACTS[document["act"]]
        moment = self.model.moment(stream, self.clock.now)
        verdict = self.model.judge_act(stream, document["act"], moment)
        codes, known = set(verdict.codes), self.forms.get(document["form"])
        if known is not None:
            codes = set() if known[0] == signed else {"idempotency-key-reused"}
        if signed[0] != case.person:
            codes.add("not-the-applicant")
        if codes:
            code = self._refused(name, codes, answer.status_code, answer.json())
            self._names_what_is_allowed(answer.json(), code, stream)
        else:
            assert answer.status_code == 201, answer.text
            if known is not None:
                assert answer.json()["position"] == known[1]
                self.seen["(signed again)", "ok"] += 1
            else:
                assert answer.json()["position"] == self.model.size
                self._recorded(stream, name, verdict, moment)
                self.forms[document["form"]] = signed, answer.json()["position"], document, stream
        await self._as_the_model_says(stream)

    async def act_for(self, stream, act, office, *, guessed):
        case, name = self.model.cases[stream], law.ACTS[act]
        code = "0000000000" if guessed or case.code is None else case.code
        moment = self.model.moment(stream, self.clock.now)
        verdict = self.model.judge_act(stream, act, moment)
        path = f"/v1/front-office{at(stream).removeprefix('/v1')}/acts"
        answer = await self.api.by(office, path, {"act": act, "code": code, "text": WORDS})
        codes = set(verdict.codes)
        if code != case.code:
            codes.add("code-wrong")
        if "front-office" not in self.model.roles(office):
            codes.add("issuer-not-authorised")
        if codes:
            refused = self._refused(name, codes, answer.status_code, answer.json())
            self._names_what_is_allowed(answer.json(), refused, stream)
        else:
            assert answer.status_code == 201, answer.text
            self._recorded(stream, name, verdict, moment, office)
        await self._as_the_model_says(stream)

    # --- reading --------------------------------------------------------------------------------------------

    async def read(self, office, stream, again, before=None):
        case = self.model.cases[stream]
        answer = await self.api.read(office, stream, **{"idempotency-key": again})
        codes = set()
        if not self.model.roles(office) & set(OFFICIALS):
            codes.add("issuer-not-authorised")
        over = before is not None and self.clock.now - before[2] > timedelta(hours=1)
        if office not in case.readers() or over:
            codes.add("not-a-reader")
        if codes:
            self._refused("read", codes, answer.status_code, answer.json())
        else:
            assert answer.status_code == 201, answer.text
            shown = answer.json()["case"]
            position, version, _ = before or (self.model.size, case.version, None)
            assert answer.json()["recorded"]["position"] == position
            assert [step["n"] for step in shown["steps"]] == list(range(1, version + 1))
            if before is None:
                self.model.size += 1
                self.readings.append((office, stream, again, position, version, self.clock.now))
            self._shows(shown, case)
            self._shows_what_is_theirs(shown["steps"], case, office)
            self.seen["read", "ok"] += 1
        await self._as_the_model_says(stream)

    def _shows_what_is_theirs(self, steps, case, office):
        """Whoever handles it sees all; who was asked sees the appeal and the question; nobody the code."""
        passed_up = case.state == "complaint-passed-up"
        whole = office == case.body or (passed_up and office == case.higher)
        for step in steps:
            texts = set(step["texts"])
            assert not texts & {"code", "cms"}
            mine = case.open_questions.get(step["facts"].get("assignment")) == office
            begins = step["type"] in {"appeal.submitted", "appeal.split_off"}
            if not whole and not begins and not (step["type"] == "appeal.assigned" and mine):
                assert not texts, step
            elif case.origin == "filed":
                named = events.catalogue[step["type"]].restricted
                assert texts >= named & {"text", "reason", "question", "answer", "decision", "executor"}

    def _shows(self, shown, case):
        assert (shown["state"], shown["version"], shown["body"]) == (case.state, case.version, case.body)
        assert set(shown["allowed"]) == case.allowed()
        procedures = ("extension", "hearing", "decision", "withdrawal")
        assert shown["procedures"] == {name: getattr(case, name) for name in procedures}
        bound = case.term is not None and case.due is not None
        assert (shown["term"] is not None) == bound
        if bound:
            term = shown["term"]
            assert (term["term"], term["missed"]) == (case.term, case.missed == "yes")
            assert datetime.fromisoformat(term["due"]) == case.due

    async def follow(self, case, *, guessed):
        code = "0000000000" if guessed or case.code is None else case.code
        answer = await self.api.post(f"{at(case.stream)}/case", {"code": code})
        if code != case.code:
            self._refused("followed", {"code-wrong"}, answer.status_code, answer.json())
        else:
            assert answer.status_code == 200, answer.text
            self._shows(answer.json(), case)
            self.seen["followed", "ok"] += 1
        await self._as_the_model_says()

    # --- old registers --------------------------------------------------------------------------------------

    async def take_over(self, iss, number, rows, *, contradicts):
        case = {
            "register": "journal", "case": str(number), "kind": KINDS[number], "applicant": "person",
            "channel": ("paper", "electronic")[number - 1], "category": "housing", "lang": "kk",
            "registered_on": "2024-01-09", "iin": invent_person(number).iin, "text": WORDS,
            "rows": rows,
        }  # fmt: skip
        headers = {"content-type": "application/x-ndjson"} | self.api.bearer(iss)
        content = msgspec.json.encode(case)
        answer = await self.api.client.post("/v1/appeals/imports", content=content, headers=headers)
        line = json.loads(answer.content)
        known = self.registers.get((iss, number), [])
        stream, fresh_rows = line.get("stream"), rows[len(known) :]
        codes = set()
        if contradicts:
            codes.add("import-conflict")
        elif fresh_rows:
            if "registrar" not in self.model.roles(iss):
                codes.add("issuer-not-authorised")
            name = next((s for s, c in self.model.cases.items() if c.journal == (iss, number)), stream)
            imported, unlawful = self.model.judge_import(
                name, iss, number, KINDS[number], case["channel"], rows, len(known), self.clock.now
            )
            if unlawful:
                codes.add("not-allowed")
        if codes:
            self._refused("step_imported", codes, line["status"], line["problem"])
        else:
            assert line["status"] == (201 if fresh_rows else 200), line
            if fresh_rows:
                self.model.size += len(fresh_rows)
                imported.stream = stream
                self.model.cases[stream] = imported
                self.registers[iss, number] = rows
                assert line["position"] == self.model.size - 1
            self.seen["step_imported", "ok"] += len(fresh_rows)
            await self._as_the_model_says(stream)
        await self._as_the_model_says()

    # --- time -----------------------------------------------------------------------------------------------

    def pass_until(self, moment):
        if self.clock.now < moment <= self.end_of_play:
            self.clock.now = moment

    async def declare_due(self):
        await asyncio.to_thread(Runner(self.database.url).catch_up)
        due = self.model.due(self.clock.now)
        steward = Steward(self.ledger, self.database.url)
        async with await AsyncConnection.connect(self.database.url, autocommit=True) as connection:
            assert await steward.catch_up(connection) == len(due), due
        for stream, name in due:
            moment = self.model.moment(stream, self.clock.now)
            facts = self.model.cases[stream].lawful(name, {}, moment)
            self._recorded(stream, name, law.Verdict(frozenset(), facts), moment)
        await self._as_the_model_says(*{stream for stream, _ in due})

    async def declare(self, stream, name, off, term):
        case, moment = self.model.cases[stream], self.model.moment(stream, self.clock.now)
        if name == "overdue":
            said = {"term": term or case.term or "passing-up", "due": (case.due or moment) + off}
            facts = events.AppealOverdue(**said)
        else:
            said = {"fix_until": (case.fix_until or moment) + off}
            facts = events.AppealLapsed(**said)
        codes = case.faults(name, said, moment, self.model.bodies())
        try:
            await self.ledger.declare(stream, facts)
            code = None
        except AiqynError as refused:
            code = refused.code
        if code is None:
            assert not codes, codes
            self._recorded(stream, name, law.Verdict(frozenset(), said), moment)
        else:
            assert code in codes
            self.seen[name, code] += 1
        await self._as_the_model_says(stream)


def _plain(facts):
    return {name: value for name, value in facts.items() if value is not None}
