"""What citizens do: file a petition, sign one, take either back.

Nobody logs in. Each act is a CMS over the exact statement of :mod:`ledger.domain.wording`; it is
verified first, then the gateway says in the ledger what the person did. Fails closed: what could not
be verified is not recorded at all.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast, get_args

from ledger import events
from ledger.application import ATTEMPTS, PETITION_SECRET, Ledger, NotFoundError, Recorded
from ledger.context import require_body
from ledger.domain import terms, wording
from ledger.domain.aggregate import Issuance, NotAllowedError, happen
from ledger.domain.calendar import ALMATY
from ledger.domain.petition import Petition, PetitionClosedError
from ledger.domain.signature import Signature, nullifier, petition_stream, signature_stream
from ledger.eds.cms import decode
from ledger.eds.errors import IinInvalidError
from ledger.eds.person import birth_date
from ledger.eds.verifier import Verifier
from ledger.eds.verify import Signer
from ledger.encoding import b64url
from ledger.events import Language
from ledger.statement import Disclosure, DisclosureMismatchError, open_event
from ledger.store.append import Append, CommandId, StreamConflictError

log = logging.getLogger(__name__)

LANGUAGES: tuple[Language, ...] = get_args(Language)
_KNOWN_PETITIONS = 1000


class AlreadySignedError(NotAllowedError):
    """One signature for each person and petition."""

    code = "already-signed"
    title = "This person has already signed this petition"


class SignerTooYoungError(NotAllowedError):
    """The law asks for a minimum age."""

    code = "signer-too-young"
    title = "The signer is below the minimum age"


class NotTheSignerError(NotAllowedError):
    """Only who signed can take it back."""

    code = "not-the-signer"
    title = "This person has not signed this"


class NotTheAuthorError(NotAllowedError):
    """Only the author can withdraw a petition."""

    code = "not-the-author"
    title = "This person is not the petition's author"


@dataclass(slots=True)
class PetitionView:
    """What signing needs to know of a petition; true as long as its stream has not grown."""

    id: str
    aggregate: Petition
    title: str
    secret: bytes = field(repr=False)

    @property
    def stream(self) -> str:
        """Its stream's name."""
        return str(self.aggregate.id)

    def statement(self, act: wording.Act, lang: Language) -> bytes:
        """The exact bytes to sign."""
        return wording.statement(act, self.id, self.title, self.aggregate.text_hash, lang)


class CitizensDesk:
    """Where citizens' acts come in."""

    def __init__(self, ledger: Ledger, verifier: Verifier) -> None:
        self._ledger = ledger
        self._verifier = verifier
        self._views: dict[str, PetitionView] = {}
        self._loading: dict[str, asyncio.Task[PetitionView]] = {}
        self._forgotten = 0

    async def petition(self, petition: str, *, unlike: PetitionView | None = None) -> PetitionView:
        """What signing needs to know; ``unlike`` is a view that proved to be out of date.

        A crowd that comes at once waits for one look at the database together. Raises ``NotFoundError``, or
        ``PetitionClosedError`` once its text was taken down.
        """
        view = self._views.get(petition)
        if view is not None and view is not unlike:
            return view
        loading = self._loading.get(petition)
        if loading is None:
            loading = self._loading[petition] = asyncio.create_task(self._load(petition))
            loading.add_done_callback(lambda _: self._loading.pop(petition, None))
        return await asyncio.shield(loading)

    def forget(self, stream: str) -> None:
        """Something of this stream was erased: what is kept of it here is read again."""
        self._views.pop(stream.removeprefix("petition/"), None)
        self._forgotten += 1

    async def submit(
        self,
        petition: str,
        body: str,
        title: str,
        text: str,
        lang: Language,
        cms: bytes | str,
        *,
        command: CommandId | None = None,
    ) -> Recorded:
        """File a petition whose whole text the author signed (:func:`wording.filing`)."""
        ledger = self._ledger
        if not wording.is_petition_id(petition):
            raise NotAllowedError("A petition's id is a lower-case UUID, as the statement to sign had it.")
        wording.check_text(title, text)
        await ledger.refresh()
        at = ledger.now()
        terms.threshold(
            require_body(ledger.directory, body, "petition"), at
        )  # where none is known, it could never be published
        signer, _ = await self._verifier.signer(cms, [wording.filing(petition, body, title, text, lang)], at)
        self._check_age(signer, at)
        stream = petition_stream(petition)
        secret, wrapped = ledger.vault.new_key(PETITION_SECRET, stream)
        facts = events.PetitionSubmitted(
            body=body,
            lang=lang,
            text_hash=wording.text_hash(title, text),
            author=nullifier(secret, signer.person.iin),
            algorithm=signer.algorithm,
            moderate_until=terms.moderate_until(at),
        )
        values = {"title": title, "text": text, "author": signer.person.masked_name}
        by = self._said_by_gateway(at, signer, cms, values)
        return await ledger.record(stream, facts, by, command=command, secret=wrapped)

    async def sign(
        self,
        petition: str,
        cms: bytes | str,
        *,
        region: events.Region | None = None,
        command: CommandId | None = None,
    ) -> Recorded:
        """Support a petition. The language of the statement is found from what was signed."""
        view = await self.petition(petition)
        ledger = self._ledger
        at = ledger.now()
        signer, lang = await self._verify_act("sign", view, cms, at)
        facts = events.PetitionSigned(lang=lang, algorithm=signer.algorithm, region=region)
        stream = signature_stream(petition, nullifier(view.secret, signer.person.iin))
        by = self._said_by_gateway(at, signer, cms, {"name": signer.person.masked_name})
        fresh = False
        for attempt in range(ATTEMPTS):
            try:
                view.aggregate.require_open(at)
                ledger.authorise(by, type(facts))
                happened = happen(Signature, stream, None, facts, by).collect_events()
                pending = [await ledger.seal(event) for event in happened]
                guards = {view.stream: view.aggregate.version, **ledger.issuer_guard(by.iss, stream)}
                appended = await ledger.sequencer.append(Append(pending, guards, command=command))
                return await ledger.recorded(appended, pending)
            except StreamConflictError as lost:
                if lost.details.get("stream") == stream:
                    raise AlreadySignedError(
                        "This person has already signed this petition, or has taken the signature back; "
                        "one signature counts for each person."
                    ) from None
                if attempt == ATTEMPTS - 1:
                    raise
                if lost.details.get("stream") == by.iss:
                    await ledger.refresh()
                view, fresh = await self.petition(petition, unlike=view), True
            except PetitionClosedError:
                if fresh:
                    raise
                # It may have been opened since it was looked at.
                view, fresh = await self.petition(petition, unlike=view), True
        raise AssertionError("unreachable")

    async def withdraw_signature(
        self, petition: str, cms: bytes | str, *, command: CommandId | None = None
    ) -> Recorded:
        """Take one's signature back, as long as the petition collects."""
        view = await self.petition(petition, unlike=self._views.get(petition))
        at = self._ledger.now()
        signer, _ = await self._verify_act("withdraw-signature", view, cms, at)
        stream = signature_stream(petition, nullifier(view.secret, signer.person.iin))
        by = self._said_by_gateway(at, signer, cms)
        facts = events.SignatureWithdrawn(algorithm=signer.algorithm)

        try:
            await self._ledger.load(stream)
        except NotFoundError:
            raise NotTheSignerError("This person has not signed this petition.") from None
        for attempt in range(ATTEMPTS):
            view = await self.petition(petition, unlike=self._views.get(petition))
            view.aggregate.require_open(at)
            guards = {view.stream: view.aggregate.version}
            try:
                return await self._ledger.record(stream, facts, by, guards=guards, command=command)
            except StreamConflictError as lost:
                if lost.details.get("stream") != view.stream or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def withdraw_petition(
        self, petition: str, cms: bytes | str, *, command: CommandId | None = None
    ) -> Recorded:
        """Take one's petition back, before it is supported."""
        view = await self.petition(petition, unlike=self._views.get(petition))
        at = self._ledger.now()
        signer, _ = await self._verify_act("withdraw-petition", view, cms, at)
        if nullifier(view.secret, signer.person.iin) != view.aggregate.author:
            raise NotTheAuthorError("Only the author can withdraw a petition.")
        by = self._said_by_gateway(at, signer, cms)
        facts = events.PetitionWithdrawn(algorithm=signer.algorithm)
        return await self._ledger.record(view.stream, facts, by, command=command)

    async def _verify_act(
        self, act: wording.Act, view: PetitionView, cms: bytes | str, at: datetime
    ) -> tuple[Signer, Language]:
        signer, number = await self._verifier.signer(
            cms, [view.statement(act, lang) for lang in LANGUAGES], at
        )
        self._check_age(signer, at)
        return signer, LANGUAGES[number]

    @staticmethod
    def _check_age(signer: Signer, at: datetime) -> None:
        minimum = terms.petition_terms(at).minimum_age
        try:
            born = birth_date(signer.person.iin)
        except IinInvalidError:
            return  # the certificate authority vouches for the person; some of its numbers hold no date
        today = at.astimezone(ALMATY).date()
        age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
        if age < minimum:
            raise SignerTooYoungError(f"Petitions are signed from the age of {minimum} years on.")

    def _said_by_gateway(
        self, at: datetime, signer: Signer, cms: bytes | str, public: dict[str, str] | None = None
    ) -> Issuance:
        raw = decode(cms)
        values: dict[str, Any] = {**(public or {}), "cms": b64url(raw)}
        if public is not None:
            values |= {"iin": signer.person.iin, "full_name": signer.person.full_name}
        made = tuple(Disclosure.make(name, value) for name, value in values.items())
        return Issuance(self._ledger.operator, self._ledger.keys.gateway.kid, at, made)

    async def _load(self, petition: str) -> PetitionView:
        if not wording.is_petition_id(petition):
            raise NotFoundError("A petition's id is a lower-case UUID.")
        stream = petition_stream(petition)
        forgotten = self._forgotten
        aggregate = cast("Petition", await self._ledger.load(stream))
        entry, disclosed, wrapped = await asyncio.to_thread(self._ledger.reader.petition_keys, stream)
        try:
            open_event(entry).check_disclosures(disclosed, complete=False)
        except DisclosureMismatchError as altered:
            log.critical("the stored disclosures of %s were altered: %s", stream, altered)
            raise PetitionClosedError(
                "The stored text of this petition is not what its author signed: it takes no signatures."
            ) from altered
        title = next((d.value for d in disclosed if d.name == "title"), None)
        if title is None or wrapped is None:
            raise PetitionClosedError("The text of this petition was taken down: it takes no signatures.")
        secret = self._ledger.vault.unwrap(PETITION_SECRET, stream, wrapped)
        while len(self._views) >= _KNOWN_PETITIONS:
            self._views.pop(next(iter(self._views)))
        view = PetitionView(petition, aggregate, title, secret)
        if forgotten == self._forgotten:  # else this may be what was read before something went
            self._views[petition] = view
        return view
