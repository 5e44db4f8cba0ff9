"""The one window: what applicants do with appeals, what they are shown, and what officials may read.

An applicant who comes electronically signs each step with their electronic signature; for others a front
office takes it down. Both get a *talon*: the number, and a code that nobody else knows.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast, get_args

import msgspec

from ledger import attachments, context, events
from ledger.application import (
    ATTEMPTS,
    Decision,
    InvalidCommandError,
    Ledger,
    NotFoundError,
    Recorded,
    Secret,
)
from ledger.attachments import Attachment
from ledger.domain import appeal_terms, appeal_wording, wording
from ledger.domain.aggregate import Issuance, LedgerAggregate, NotAllowedError, happen
from ledger.domain.appeal import Appeal, filing_terms, numbered, talon_number
from ledger.domain.reading import Reading
from ledger.eds.cms import decode
from ledger.eds.person import parse_iin
from ledger.eds.verifier import Verifier
from ledger.encoding import b64url
from ledger.events import (
    AppealKind,
    Applicant,
    Category,
    Channel,
    Fact,
    Language,
    ReadingPurpose,
    Region,
)
from ledger.receipt import Receipt
from ledger.statement import Disclosure, disclosed
from ledger.store.append import Append, CommandId, StreamConflictError

LANGUAGES: tuple[Language, ...] = get_args(Language)
MAX_CONTACTS = 300
CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: nothing in it is mistaken for something else."""
CODE_LENGTH = 10
"""50 bits: it cannot be guessed over a network."""
CABINET_MINUTES = 10
"""How long the statement that opens the cabinet is good."""
READING_HOURS = 1
"""How long one recorded reading lets an official open the files that came with the appeal."""
INTERNAL: dict[type[Fact], frozenset[str]] = {
    events.AppealDecisionDrafted: frozenset({"draft"}),
    events.AppealExtensionDrafted: frozenset({"reason"}),
}
"""What an applicant is not shown: drafts, until somebody signed them."""
APPLICANTS_OWN = frozenset({"code", "cms"})
"""What no official is shown. With the code one follows the appeal as the applicant does; and whoever sent the
signed form in again would be given the code."""
_FACTS: dict[appeal_wording.Act, type[Fact]] = {
    "fix": events.AppealFixed,
    "object": events.AppealObjected,
    "withdraw": events.AppealWithdrawalAsked,
    "complain": events.AppealComplained,
}


class CodeWrongError(NotAllowedError):
    """The code does not belong to this appeal's number."""

    code = "code-wrong"
    title = "The number and the code do not belong together"


class NotTheApplicantError(NotAllowedError):
    """Only the applicant takes this step."""

    code = "not-the-applicant"
    title = "This person is not the applicant"


class NotAReaderError(NotAllowedError):
    """Only the bodies that an appeal lies with read what is personal in it."""

    code = "not-a-reader"
    title = "This organisation does not handle the appeal"


class CabinetStaleError(NotAllowedError):
    """The statement that opens the cabinet was signed too long ago, or is dated ahead."""

    code = "cabinet-stale"
    title = "This statement is not good any more"


@dataclass(frozen=True, slots=True)
class Filing:
    """What somebody turns to a body with."""

    body: str
    kind: AppealKind
    category: Category
    lang: Language
    text: str
    contacts: str = ""
    region: Region | None = None
    files: tuple[Attachment, ...] = ()

    def statement(self, form: str) -> bytes:
        """What the applicant signs."""
        return appeal_wording.filing(
            _form(form), self.body, self.kind, self.category, self.region, self.contacts, self.text,
            [file.sha256 for file in self.files], self.lang,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who came to a front office, as the officer took it down."""

    applicant: Applicant
    full_name: str
    number: str | None
    """An IIN, or a company's BIN; not everybody who comes has it at hand."""


@dataclass(frozen=True, slots=True)
class Step:
    """One event of an appeal with what its reader may see of it."""

    position: int
    facts: Fact
    n: int
    at: datetime
    iss: str
    shown: tuple[Disclosure, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Case:
    """An appeal as one of its readers sees it."""

    appeal: Appeal
    steps: tuple[Step, ...]

    @property
    def stream(self) -> str:
        """Its stream's name."""
        return str(self.appeal.id)

    def file(self, digest: str) -> Attachment:
        """The file with that SHA-256. Raises :class:`ledger.application.NotFoundError`."""
        for step in self.steps:
            for value in disclosed(step.shown).get("attachments") or ():
                found = msgspec.convert(value, Attachment)
                if found.sha256 == digest:
                    return found
        raise NotFoundError("No file of this appeal has that hash.")


@dataclass(frozen=True, slots=True)
class Talon:
    """What an applicant gets at once."""

    recorded: Recorded
    code: str = field(repr=False)


class AppealsDesk:
    """Where applicants' acts come in, and where what is private is read."""

    def __init__(self, ledger: Ledger, verifier: Verifier) -> None:
        self._ledger = ledger
        self._verifier = verifier
        self._numbering = asyncio.Lock()
        self._last: dict[str, int] = {}

    # --- turning to a body ------------------------------------------------------------------------

    def check(self, filing: Filing) -> None:
        """Raises what :meth:`submit` would raise for the filing itself."""
        self._check_words(filing)
        context.require_body(self._ledger.directory, filing.body, "appeal")
        appeal_terms.consider_until(filing.kind, appeal_terms.registered_on(self._ledger.now()))
        self._check_files(filing.files)

    @staticmethod
    def _check_words(filing: Filing) -> None:
        wording.check_plain("text", filing.text, wording.MAX_TEXT)
        if filing.contacts:
            wording.check_plain("contacts", filing.contacts, MAX_CONTACTS, allowed="")

    async def submit(
        self, form: str, filing: Filing, cms: bytes | str, *, command: CommandId | None = None
    ) -> Talon:
        """An appeal that its applicant signed. Registered at once: acceptance is never refused."""
        work = self._submit(form, filing, cms, command)
        return await self._talon(await self._ledger.once(command, work))

    async def _submit(
        self, form: str, filing: Filing, cms: bytes | str, command: CommandId | None
    ) -> Recorded:
        ledger = self._ledger
        await ledger.refresh()
        self._check_words(filing)
        statement = filing.statement(form)
        at = ledger.now()
        signer, _ = await self._verifier.signer(cms, [statement], at)
        values = self._filed(filing, signer.person.full_name, signer.person.iin)
        values["cms"] = b64url(decode(cms))
        by = self._by_gateway(at, values)
        signed = self._signed(form, statement, signer.person.iin)
        work = self._register(
            "person", filing, "electronic", by, command, statement=signed, algorithm=signer.algorithm
        )
        return await ledger.once(signed, work)

    async def take_down(
        self,
        office: str,
        filing: Filing,
        visitor: Visitor,
        channel: Channel,
        *,
        command: CommandId | None = None,
    ) -> Talon:
        """An appeal on paper, by word of mouth or by post, registered by a front office."""
        work = self._take_down(office, filing, visitor, channel, command)
        return await self._talon(await self._ledger.once(command, work))

    async def _take_down(
        self, office: str, filing: Filing, visitor: Visitor, channel: Channel, command: CommandId | None
    ) -> Recorded:
        ledger = self._ledger
        await ledger.refresh()
        self._check_words(filing)
        if channel == "electronic":
            raise InvalidCommandError("What comes electronically is signed electronically by the applicant.")
        wording.check_line("full_name", visitor.full_name)
        number = visitor.number
        if number is not None and visitor.applicant == "person":
            number = parse_iin(number)
        elif number is not None and re.fullmatch(r"[0-9]{12}", number) is None:
            raise InvalidCommandError("A BIN has exactly 12 digits.")
        values = self._filed(filing, visitor.full_name, number)
        by = ledger.issuance(office, events.AppealSubmitted, values)
        return await self._register(visitor.applicant, filing, channel, by, command)

    def _filed(self, filing: Filing, full_name: str, number: str | None) -> dict[str, Any]:
        return {
            "text": filing.text,
            "full_name": full_name,
            "iin": number,
            "contacts": filing.contacts or None,
            "attachments": msgspec.to_builtins(filing.files),
            "cms": None,
            "code": "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH)),
        }

    async def _register(
        self,
        applicant: Applicant,
        filing: Filing,
        channel: Channel,
        by: Issuance,
        command: CommandId | None,
        *,
        statement: CommandId | None = None,
        algorithm: str | None = None,
    ) -> Recorded:
        """Give the next number: a year's numbers have no gaps, in whatever order things go wrong."""
        ledger = self._ledger
        self.check(filing)
        terms = filing_terms(filing.kind, by.at)
        facts = events.AppealSubmitted(
            kind=filing.kind,
            applicant=applicant,
            body=filing.body,
            channel=channel,
            category=filing.category,
            lang=filing.lang,
            region=filing.region,
            algorithm=algorithm,
            **terms,
        )
        ledger.authorise(by, type(facts))
        year = terms["registered_on"].year
        prefix = numbered(applicant, year, 0).removesuffix("00000000")
        async with self._numbering:
            while True:
                if prefix not in self._last:
                    self._last[prefix] = await asyncio.to_thread(ledger.reader.last_number, prefix)
                number = self._last[prefix] + 1
                stream = numbered(applicant, year, number)
                begun = happen(Appeal, stream, None, facts, by)
                pending = [await ledger.seal(event) for event in begun.collect_events()]
                guards = ledger.issuer_guard(by.iss, stream)
                try:
                    appended = await ledger.sequencer.append(
                        Append(pending, guards, command=command, statement=statement)
                    )
                except StreamConflictError as lost:
                    if lost.details.get("stream") != stream:
                        raise
                    del self._last[prefix]  # another process of the service gave this number
                    continue
                if not appended.repeated:
                    self._last[prefix] = number
                return await ledger.recorded(appended, pending)

    async def _talon(self, recorded: Recorded) -> Talon:
        filed = (await self._ledger.secrets(recorded.event.stream))[0]
        return Talon(recorded, disclosed(filed.restricted).get("code") or "")

    # --- further steps ------------------------------------------------------------------------------

    async def act(
        self,
        stream: str,
        act: appeal_wording.Act,
        form: str,
        text: str,
        files: tuple[Attachment, ...],
        cms: bytes | str,
        *,
        command: CommandId | None = None,
    ) -> Recorded:
        """A step that the applicant signed. The language is found from what was signed."""
        ledger = self._ledger
        self._check_act(text, files)
        filed = await self._filed_of(stream)
        hashes = [file.sha256 for file in files]
        statements = [appeal_wording.act(act, _form(form), stream, text, hashes, lang) for lang in LANGUAGES]
        at = ledger.now()
        signer, number = await self._verifier.signer(cms, statements, at)
        if not hmac.compare_digest(signer.person.iin, disclosed(filed.restricted).get("iin") or ""):
            raise NotTheApplicantError("Only the applicant takes this step.")
        values = {"text": text, "attachments": msgspec.to_builtins(files), "cms": b64url(decode(cms))}
        signed = self._signed(form, statements[number], signer.person.iin)
        work = ledger.record(
            stream,
            self._decision(act, signer.algorithm),
            self._by_gateway(at, values),
            command=command,
            statement=signed,
        )
        return await ledger.once(signed, work)

    async def act_for(
        self,
        office: str,
        stream: str,
        code: str,
        act: appeal_wording.Act,
        text: str,
        files: tuple[Attachment, ...],
        *,
        command: CommandId | None = None,
    ) -> Recorded:
        """A step that a front office takes down for the applicant, who showed the talon."""
        self._check_act(text, files)
        await self._ledger.refresh()
        _check_code(await self._filed_of(stream), code)
        values = {"text": text, "attachments": msgspec.to_builtins(files), "cms": None}
        by = self._ledger.issuance(office, _FACTS[act], values)
        return await self._ledger.record(stream, self._decision(act, None), by, command=command)

    def statement(
        self, stream: str, act: appeal_wording.Act, form: str, text: str, files: tuple[Attachment, ...],
        lang: Language,
    ) -> bytes:  # fmt: skip
        """What the applicant signs for a step."""
        self._check_act(text, files)
        return appeal_wording.act(act, _form(form), stream, text, [file.sha256 for file in files], lang)

    def _check_act(self, text: str, files: tuple[Attachment, ...]) -> None:
        wording.check_plain("text", text, wording.MAX_TEXT)
        self._check_files(files)

    def _check_files(self, files: tuple[Attachment, ...]) -> None:
        attachments.check(self._ledger.vault, msgspec.to_builtins(files), self._ledger.clock())

    @staticmethod
    def _decision(act: appeal_wording.Act, algorithm: str | None) -> Decision:
        kind = _FACTS[act]

        def make(aggregate: LedgerAggregate | None, by: Issuance) -> Fact:
            lawful = aggregate.lawful(kind, by.at, {}) if aggregate is not None else {}
            return kind(**lawful, algorithm=algorithm)

        return Decision(kind, make)

    # --- what is private, to those whom it concerns ---------------------------------------------------

    async def case(self, stream: str, code: str) -> Case:
        """The appeal as its applicant sees it, with the code from the talon."""
        found = await self._ledger.secrets(stream)
        _check_code(found[0], code)
        return await self._case(
            stream, found, lambda facts: facts.restricted - INTERNAL.get(type(facts), frozenset())
        )

    async def receipt(self, stream: str, code: str, n: int) -> Receipt:
        """The applicant's own receipt of event ``n``: with what was disclosed to them alone."""
        ledger = self._ledger
        found = await ledger.secrets(stream)
        _check_code(found[0], code)
        if not 1 <= n <= len(found):
            raise NotFoundError(f"{stream} has {len(found)} events.")
        one = found[n - 1]
        facts = one.event.facts
        hidden = INTERNAL.get(type(facts), frozenset()) | {"code"}
        own = tuple(d for d in one.restricted if d.name not in hidden)
        public = await asyncio.to_thread(ledger.reader.public_disclosures, one.position)
        proof = await ledger.proof(one.position)
        return Receipt(one.event.entry, public, proof, own)

    async def person(self, form: str, at: datetime, cms: bytes | str) -> bytes:
        """Whose cabinet a signed statement opens: what stands for that person in this ledger's own tables."""
        now = self._ledger.now()
        if not timedelta() <= now - at + timedelta(minutes=1) <= timedelta(minutes=CABINET_MINUTES):
            raise CabinetStaleError(
                f"The statement is good for {CABINET_MINUTES} minutes from its time on: sign a new one."
            )
        statements = [appeal_wording.cabinet(_form(form), at, lang) for lang in LANGUAGES]
        signer, _ = await self._verifier.signer(cms, statements, now)
        return self._ledger.vault.person(signer.person.iin)

    async def cabinet_case(self, stream: str, person: bytes) -> Case:
        """The appeal as its applicant sees it, whose cabinet is open."""
        found = await self._ledger.secrets(stream)
        number = disclosed(found[0].restricted).get("iin")
        if number is None or not hmac.compare_digest(self._ledger.vault.person(number), person):
            raise NotTheApplicantError("This appeal is not one of this person's.")
        return await self._case(
            stream, found, lambda facts: facts.restricted - INTERNAL.get(type(facts), frozenset())
        )

    async def read(
        self, office: str, stream: str, purpose: ReadingPurpose, *, command: CommandId | None = None
    ) -> tuple[Recorded, Case]:
        """The appeal as a body that handles it sees it. First of all, that it was read is recorded."""
        ledger = self._ledger
        await ledger.refresh()
        by = ledger.issuance(office, events.DisclosureRead)
        for attempt in range(ATTEMPTS):
            appeal = await self._load(stream)
            _require_reader(office, appeal)
            await ledger.secrets(stream)  # what was erased is not read: no event may say that it was
            facts = events.DisclosureRead(of=stream, events=appeal.version, purpose=purpose)
            try:
                recorded = await ledger.record(
                    f"reading/{stream}/{b64url(secrets.token_bytes(12))}",
                    facts,
                    by,
                    command=command,
                    guards={stream: appeal.version},
                )
                break
            except StreamConflictError as lost:
                if lost.details.get("stream") != stream or attempt == ATTEMPTS - 1:
                    raise
        read = cast("Reading", await ledger.load(recorded.event.stream))
        return recorded, await self._as_read(office, stream, read)

    async def reopen(self, office: str, stream: str, reading: str) -> Case:
        """What a recorded reading lets its reader see again, for its files, within the hour."""
        found = await self._ledger.load(f"reading/{stream}/{reading}") if _is_id(reading) else None
        if not isinstance(found, Reading) or found.by != office:
            raise NotFoundError("There is no such reading of this organisation.")
        return await self._as_read(office, stream, found)

    async def _as_read(self, office: str, stream: str, reading: Reading) -> Case:
        """What one recorded reading shows: no later event, no longer than it lasts, and to a body that still
        handles the appeal."""
        if self._ledger.now() - reading.modified_on > timedelta(hours=READING_HOURS):
            raise NotAReaderError("This reading is over: record a new one.")
        appeal = await self._load(stream)
        _require_reader(office, appeal)
        found = (await self._ledger.secrets(stream))[: reading.events]
        return await self._case(stream, found, self._for(office, appeal))

    async def content(self, file: Attachment) -> bytes:
        """A file's bytes. Raises ``NotFoundError`` where they were erased."""
        sealed = await asyncio.to_thread(self._ledger.reader.attachment, file.id)
        if sealed is None:
            raise NotFoundError("This file is not kept any more.")
        return await asyncio.to_thread(attachments.open_file, self._ledger.vault, file, sealed)

    def upload(self, content: bytes, media_type: str) -> tuple[Attachment, bytes]:
        """A file that an event may take up within a day, and how it is stored."""
        return attachments.take(self._ledger.vault, content, media_type, self._ledger.clock())

    @staticmethod
    def _for(office: str, appeal: Appeal) -> Any:  # noqa: ANN401 - a function of facts
        """A body that was asked for its part sees the appeal and what it was asked; the others all."""
        mine = {number for number, to in appeal.assignments.items() if to == office}
        passed_up = appeal.state == "complaint-passed-up"
        whole = office == appeal.body or (passed_up and office == appeal.higher)

        def visible(facts: Fact) -> frozenset[str]:
            if whole or isinstance(facts, events.AppealSubmitted | events.AppealSplitOff):
                return facts.restricted - APPLICANTS_OWN
            if isinstance(facts, events.AppealAssigned) and facts.assignment in mine:
                return facts.restricted
            return frozenset()

        return visible

    async def _case(self, stream: str, found: list[Secret], visible: Any) -> Case:  # noqa: ANN401 - as above
        steps = tuple(
            Step(
                secret.position,
                secret.event.facts,
                secret.event.n,
                secret.event.at,
                secret.event.iss,
                tuple(d for d in secret.restricted if d.name in visible(secret.event.facts)),
            )
            for secret in found
        )
        return Case(await self._load(stream), steps)

    def _signed(self, form: str, statement: bytes, iin: str) -> CommandId:
        """The identity of what was signed: the same form with other words, or of another, is refused."""
        return CommandId("form", form, hashlib.sha256(self._ledger.vault.person(iin) + statement).digest())

    async def _load(self, stream: str) -> Appeal:
        return cast("Appeal", await self._ledger.load(stream))

    async def _filed_of(self, stream: str) -> Secret:
        return (await self._ledger.secrets(stream))[0]

    def _by_gateway(self, at: datetime, values: Mapping[str, Any]) -> Issuance:
        made = tuple(Disclosure.make(name, value) for name, value in values.items())
        return Issuance(self._ledger.operator, self._ledger.keys.gateway.kid, at, made)


def _require_reader(office: str, appeal: Appeal) -> None:
    if office not in appeal.readers():
        raise NotAReaderError(
            f"{appeal.id} lies with {appeal.body}: {office} cannot read what is personal in it."
        )


def _check_code(filed: Secret, code: str) -> None:
    known = disclosed(filed.restricted).get("code")
    given = code.strip().upper().translate(str.maketrans("OIL", "011"))
    if not known or not hmac.compare_digest(known.encode(), given.encode()):
        raise CodeWrongError(
            f"The code does not belong to {talon_number(filed.event.stream)}: see the talon."
        )


def _form(form: str) -> str:
    if not wording.is_petition_id(form):
        raise InvalidCommandError("A form's id is a lower-case UUID, as the statement to sign had it.")
    return form


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]{16}", text) is not None
