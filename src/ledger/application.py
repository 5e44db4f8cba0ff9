"""The write side: loads an aggregate, lets something happen to it, seals it and has it appended.

Organisations' commands are here, whether they come sealed with a key of theirs or as plain JSON that
the gateway seals in their name; what citizens do stands in :mod:`ledger.citizens`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    Mapper,
    PersistenceError,
)
from eventsourcing.utils import Environment

from ledger import attachments, context, events, parts
from ledger.domain import wording
from ledger.domain.aggregate import Issuance, LedgerAggregate, NotAllowedError, happen, require
from ledger.errors import AiqynError, FatalError
from ledger.events import Fact
from ledger.keys import Directory, SigningKey, UnauthorisedIssuerError
from ledger.operator import KeysError, OperatorKeys
from ledger.receipt import Receipt
from ledger.statement import Disclosure, Event, disclosed, open_event, split_presentation
from ledger.store.append import (
    Append,
    Appended,
    CommandId,
    CommandReusedError,
    Quiet,
    SealedEvent,
    StoreUnavailableError,
    StreamConflictError,
    conflict,
)
from ledger.store.high_water import HighWater
from ledger.store.mapper import AGGREGATES, LedgerMapper
from ledger.store.reader import LogReader, NotInLogError
from ledger.store.recorder import LedgerRecorder, open_datastore
from ledger.store.sequencer import Sequencer
from ledger.store.vault import Vault
from ledger.tlog.note import SignedNote
from ledger.tlog.proof import TlogProof

ATTEMPTS = 5
"""How often a command is decided anew when another one was faster."""
SPOKEN_FOR: frozenset[events.Role] = frozenset(
    {"moderator", "body", "registrar", "head", "executor", "controller"}
)
"""Roles that the gateway's key takes for an organisation; what time, numbers and the operator say is not
for a token to say."""
OWN_CALLS = frozenset(
    {
        events.AppealImported, events.AppealStepImported, events.DisclosureRead, events.EvidenceAsked,
        events.EvidenceDrawn,
    }
)  # fmt: skip
"""Facts that come by a call of their own, because more belongs to them than the event."""
MAX_DISCLOSED = 20_000
"""Characters of a text that an organisation discloses."""
_COUNTERSIGNED = 16
"""Checkpoints whose further signatures are remembered."""
DATA_KEY = "data-key"
PETITION_SECRET = "petition-secret"  # noqa: S105 - the name of a purpose, not a secret


class NotFoundError(AiqynError):
    """There is no such thing in the ledger."""

    code = "not-found"
    title = "There is no such thing here"


class ErasedError(AiqynError):
    """What was personal in this was destroyed, as the log says; the events themselves stay."""

    code = "erased"
    title = "What was personal in this was erased"


class InvalidCommandError(AiqynError):
    """The command's fields do not have the required form."""

    code = "command-invalid"
    title = "The command does not have the required form"


@dataclass(frozen=True, slots=True)
class Decision:
    """Facts that depend on where the aggregate stands: they are made anew when somebody else was faster."""

    kind: type[Fact]
    make: Callable[[LedgerAggregate | None, Issuance], Fact]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a command brought about: committed, in a signed checkpoint, provable."""

    event: Event
    position: int
    appended: Appended
    offset: int = 0
    public: tuple[Disclosure, ...] | None = None
    """What was made public with it; ``None`` for a repeated command, where it is read again."""


@dataclass(frozen=True, slots=True)
class Secret:
    """One event with what is restricted about it."""

    position: int
    event: Event
    restricted: tuple[Disclosure, ...] = field(repr=False)


class Ledger(Application[str]):
    """The ledger of one operator. Commands are coroutines of the event loop that called :meth:`start`."""

    name = "ledger"

    def __init__(
        self,
        url: str,
        keys: OperatorKeys,
        *,
        high_water: HighWater | None = None,
        group_max: int = 1000,
        skew: int = 120,
        clock: Callable[[], float] = time.time,
        pool_size: int = 4,
    ) -> None:
        """``url`` connects as the service role; ``clock`` tells the seconds since 1970."""
        self.keys = keys
        self.clock = clock
        self.origin = keys.log.name
        self.signing = keys.signing()
        self.vault = Vault(keys.vault)
        self.sequencer = Sequencer(
            url, self.origin, keys.log, high_water=high_water, group_max=group_max, skew=skew, clock=clock
        )
        self.reader = LogReader(url, pool_size=pool_size)
        self.directory = Directory()
        self._datastore = open_datastore(url, pool_size=pool_size)
        self._versions: dict[str, int] = {}
        self._countersigned: dict[bytes, bytes] = {}
        self._seen = -1
        self._refreshing = asyncio.Lock()
        super().__init__()

    # --- the library's parts, replaced by ours ------------------------------------------------

    def construct_factory(self, env: Environment) -> InfrastructureFactory:
        """The library's in-memory factory: only its event store is used, over our recorder."""
        return InfrastructureFactory.construct(
            Environment(self.name, {"PERSISTENCE_MODULE": "eventsourcing.popo"})
        )

    def construct_mapper(self) -> Mapper[str]:
        """Seals with the operator's keys."""
        return LedgerMapper(self.signing)

    def construct_recorder(self) -> ApplicationRecorder:
        """Appends by the sequencer."""
        return LedgerRecorder(self._datastore, self.sequencer)

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Check keys and high-water mark, and read who may issue what."""
        await asyncio.to_thread(self._check_vault_key)
        await asyncio.to_thread(self._check_log_keys)
        await self.sequencer.start()
        await self.refresh()

    async def stop(self) -> None:
        """Finish what is under way and close all connections."""
        await self.sequencer.close()
        self.close()
        self.reader.close()
        self._datastore.close()

    def _check_vault_key(self) -> None:
        """Raises :class:`ledger.store.vault.VaultError` at once, not when the first citizen comes."""
        sample = self.reader.any_petition_secret()
        if sample is not None:
            self.vault.unwrap(PETITION_SECRET, *sample)

    def _check_log_keys(self) -> None:
        """Raises :class:`ledger.operator.KeysError` where a key that signed the log is missing here."""
        try:
            newest = SignedNote.parse(self.reader.cosigned())
        except NotInLogError:
            return
        held = {key.verifier.key_id for key in (self.keys.log, *self.keys.more_log_keys)}
        for signature in newest.signatures:
            if signature.name == self.origin and signature.key_id not in held:
                raise KeysError(
                    f"The log's last cosigned checkpoint is also signed by key {signature.key_id.hex()}, "
                    "which is not among the operator's keys: restore it (log-mldsa.key)."
                )

    def countersigned(self, note: bytes) -> bytes:
        """A checkpoint of this log with the signatures of all its keys.

        The append signs with the first one alone: ML-DSA-44 takes ten times as long as the rest of what is
        done under the head's lock. What is published is signed with both, here, once for each checkpoint
        that somebody asks for.
        """
        known = self._countersigned.get(note)
        if known is None:
            opened = SignedNote.parse(note)
            signed = {line.key_id for line in opened.signatures if line.name == self.origin}
            missing = [key for key in self.keys.more_log_keys if key.verifier.key_id not in signed]
            if not missing:
                return note
            at = int(self.clock())
            lines = [key.cosign(opened.text, at) for key in missing]
            while len(self._countersigned) >= _COUNTERSIGNED:
                self._countersigned.pop(next(iter(self._countersigned)), None)
            known = self._countersigned[note] = opened.with_signatures(*lines).to_bytes()
        return known

    async def proof(self, position: int) -> TlogProof:
        """The best proof that an entry is in the log: see :meth:`LogReader.proof`."""

        def read() -> TlogProof:
            found = self.reader.proof(position)
            return replace(found, checkpoint=self.countersigned(found.checkpoint))

        return await asyncio.to_thread(read)

    def now(self) -> datetime:
        """To the second, as ``iat`` will say it."""
        return datetime.fromtimestamp(int(self.clock()), UTC)

    @property
    def operator(self) -> str:
        """The operator's stream. Raises :class:`NotFoundError` before ``aiqyn init``."""
        if self.directory.operator is None:
            raise NotFoundError("This ledger has no operator yet: run `aiqyn init`.")
        return self.directory.operator

    async def refresh(self) -> None:
        """Fold the organisations' newer events into the directory."""
        async with self._refreshing:
            for position, entry in await asyncio.to_thread(self.reader.organisations, self._seen):
                event = open_event(entry)
                self.directory.apply(event)
                self._versions[event.stream] = event.n
                self._seen = position

    # --- what happens ----------------------------------------------------------------------------

    async def load(self, stream: str) -> LedgerAggregate:
        """An aggregate, replayed from its events. Raises :class:`NotFoundError`."""
        try:
            return await asyncio.to_thread(self.repository.get, stream)
        except AggregateNotFoundError:
            raise NotFoundError(f"There is no {stream}.", stream=stream) from None
        except PersistenceError as error:
            raise StoreUnavailableError("The ledger's database does not answer; try again soon.") from error

    def issuance(self, iss: str, facts: type[Fact], disclosures: Mapping[str, Any] | None = None) -> Issuance:
        """Who of us may say this in the name of ``iss``. Raises ``UnauthorisedIssuerError``."""
        key = self._key_for(iss, facts)
        made = tuple(Disclosure.make(name, value) for name, value in (disclosures or {}).items())
        return Issuance(iss, key.kid, self.now(), made)

    async def record(
        self,
        stream: str,
        what: Fact | Decision,
        by: Issuance,
        *,
        expected: int | None = None,
        command: CommandId | None = None,
        statement: CommandId | None = None,
        quiet: Quiet | None = None,
        guards: Mapping[str, int] | None = None,
        secret: bytes | None = None,
    ) -> Recorded:
        """Let facts happen to ``stream``, by the rules of its aggregate, and append them.

        ``expected``: the version that the caller saw (``If-Match``); without it a lost race is decided
        anew. ``secret``: the wrapped secret of a new petition. Raises what the rules, the issuer's rights
        and the append raise.
        """
        said = what.kind if isinstance(what, Decision) else type(what)
        kind = AGGREGATES[said.room]
        require(stream.startswith(said.room + "/"), f"{said.type!r} does not happen to {stream}.")
        for attempt in range(ATTEMPTS):
            aggregate = await self._find(stream)
            if expected is not None and (aggregate.version if aggregate else 0) != expected:
                raise conflict(stream, expected, aggregate.version if aggregate else 0)
            if aggregate is not None and by.sealed is None:
                by = by._replace(at=max(by.at, aggregate.modified_on))  # another host's clock may be ahead
            self.authorise(by, said)
            if aggregate is None and not issubclass(kind.event_class(said), LedgerAggregate.Created):
                raise NotFoundError(f"There is no {stream}.", stream=stream)
            facts = what.make(aggregate, by) if isinstance(what, Decision) else what
            depends_on = {
                other: self.version_of(other) for other in context.check(self.directory, facts, by, aggregate)
            }
            changed = happen(kind, stream, aggregate, facts, by)
            pending = [await self.seal(happened) for happened in changed.collect_events()]
            if secret is not None:
                pending = [replace(event, secret=secret) for event in pending]
            pending += await parts.split_off(self, stream, changed, facts, by)
            ours = {**self.issuer_guard(by.iss, stream), **depends_on}
            try:
                appended = await self.sequencer.append(
                    Append(pending, {**ours, **(guards or {})}, quiet, command, statement)
                )
            except StreamConflictError as lost:
                await self.refresh()
                about = lost.details.get("stream")
                again = about in ours or (about == stream and expected is None and quiet is None)
                if not again or attempt == ATTEMPTS - 1:
                    raise
                continue
            if said.room == "organisation":
                await self.refresh()
            return await self.recorded(appended, pending)
        raise AssertionError("unreachable")

    async def record_more(
        self, stream: str, aggregate: LedgerAggregate, facts: Iterable[Fact], by: Issuance
    ) -> Appended:
        """Let several facts of one type happen to an aggregate that was just loaded, all or none.

        Raises ``StreamConflictError`` where somebody was faster: then it is for the caller to look again.
        """
        by = by._replace(at=max(by.at, aggregate.modified_on))
        for fact in facts:
            self.authorise(by, type(fact))
            context.check(self.directory, fact, by, aggregate)
            happen(AGGREGATES[fact.room], stream, aggregate, fact, by)
        pending = [await self.seal(happened) for happened in aggregate.collect_events()]
        return await self.sequencer.append(Append(pending, self.issuer_guard(by.iss, stream)))

    async def seal(self, happened: Any) -> SealedEvent:  # noqa: ANN401 - an event of any aggregate
        """An aggregate's new event, sealed, its restricted disclosures encrypted for the vault."""
        stored = self.mapper.to_stored_event(happened)
        if not isinstance(stored, SealedEvent):
            raise TypeError("the mapper seals")
        restricted = [d for d in happened.by.disclosures if d.name in happened.facts.restricted]
        if not restricted:
            return stored
        stream = str(stored.originator_id)
        wrapped = None
        if stored.originator_version > 1:
            wrapped = await asyncio.to_thread(self.reader.data_key, stream)
        if wrapped is None:
            data_key, fresh = self.vault.new_key(DATA_KEY, stream)
        else:
            data_key, fresh = self.vault.unwrap(DATA_KEY, stream, wrapped), None
        sealed = self.vault.seal(data_key, stored.state, restricted)
        values = disclosed(restricted)
        number = values.get("iin")
        return replace(
            stored,
            sealed=sealed,
            data_key=fresh,
            under=wrapped,
            person=None if number is None else self.vault.person(number),
            attachments=attachments.ids(values.get("attachments")),
        )

    async def secrets(self, stream: str) -> list[Secret]:
        """A stream's events with their restricted disclosures.

        Raises :class:`NotFoundError`, or :class:`ErasedError` where those it began with were erased.
        """
        wrapped, rows = await asyncio.to_thread(self.reader.vault, stream)
        if not rows:
            raise NotFoundError(f"There is no {stream}.", stream=stream)
        if rows[0][2] is None or wrapped is None:
            erased = await asyncio.to_thread(self.reader.erased, stream)
            if erased is not None:
                raise ErasedError(
                    f"What was personal in {stream} was erased: entry {erased} says so.", position=erased
                )
        data_key = None if wrapped is None else self.vault.unwrap(DATA_KEY, stream, wrapped)
        found = []
        for position, entry, sealed in rows:
            restricted: tuple[Disclosure, ...] = ()
            if data_key is not None and sealed is not None:
                restricted = self.vault.open(data_key, entry, sealed)
            found.append(Secret(position, open_event(entry), restricted))
        return found

    async def recorded(self, appended: Appended, pending: Iterable[SealedEvent], offset: int = 0) -> Recorded:
        """What was appended; for a repeated command, what it appended the first time."""
        position = appended.position + offset
        if appended.repeated:
            entry = (await asyncio.to_thread(self.reader.entries, position, 1))[0][1]
            return Recorded(open_event(entry), position, appended, offset)
        fresh = list(pending)[offset]
        event = fresh.event or open_event(fresh.state)
        return Recorded(event, position, appended, offset, fresh.public)

    async def done_before(self, command: CommandId) -> Recorded | None:
        """What a command brought about when it came the first time, if it did.

        Raises :class:`~ledger.store.append.CommandReusedError` if it was another command.
        """
        done = await asyncio.to_thread(self.reader.command, command)
        if done is None:
            return None
        return await self.recorded(Appended(*done, size=0, checkpoint=b"", tree=None, repeated=True), ())

    async def receipt(self, recorded: Recorded) -> Receipt:
        """The proof that its holder can keep: the event, what is public about it, and its inclusion."""
        proof = recorded.appended.proof(recorded.offset)
        if proof is None:
            # The one that the command got the first time, so that a repeated request has the same answer.
            proof = await asyncio.to_thread(self.reader.first_proof, recorded.position)
        disclosures = recorded.public
        if disclosures is None:
            disclosures = await asyncio.to_thread(self.reader.public_disclosures, recorded.position)
        by_name = sorted(disclosures, key=lambda disclosure: disclosure.name)
        return Receipt(recorded.event.entry, tuple(by_name), proof)

    # --- commands of organisations -----------------------------------------------------------------

    async def tell(
        self,
        iss: str,
        stream: str,
        type_: str,
        data: Mapping[str, Any],
        disclosures: Mapping[str, Any],
        *,
        expected: int | None = None,
        command: CommandId | None = None,
    ) -> Recorded:
        """Plain JSON of an organisation, sealed by the gateway's key in its name.

        Terms that the law computes may be left out of ``data``: they are filled in.
        """
        cls = events.catalogue.get(type_)
        if cls is None or cls in OWN_CALLS or not cls.issuers <= SPOKEN_FOR:
            raise InvalidCommandError(
                f"{type_!r} is not an event that an organisation posts.", event_type=type_
            )
        names = cls.public | cls.restricted
        if "attachments" in names:
            disclosures = {"attachments": [], **disclosures}
        if set(disclosures) != names:
            raise InvalidCommandError(
                f"{type_!r} takes the disclosures {sorted(names) or 'none'}, not {sorted(disclosures)}."
            )
        self._check_disclosed(disclosures)

        def make(aggregate: LedgerAggregate | None, by: Issuance) -> Fact:
            try:
                return msgspec.convert(
                    {**context.lawful(self.directory, cls, by, aggregate, data), **data}, cls
                )
            except msgspec.ValidationError as error:
                raise InvalidCommandError(f"The data of {type_!r} is not right: {error}.") from error

        async def record() -> Recorded:
            by = self.issuance(iss, cls, disclosures)
            return await self.record(stream, Decision(cls, make), by, expected=expected, command=command)

        return await self._by_newest_rights(record)

    async def post(
        self, presentation: str, *, expected: int | None = None, command: CommandId | None = None
    ) -> Recorded:
        """An event that an organisation sealed with its own registered key, with its disclosures."""
        entry, disclosures = split_presentation(presentation)
        event = open_event(entry)
        event.check_disclosures(disclosures, complete=True)
        if event.facts.issuers & {"gateway", "clock"}:
            raise UnauthorisedIssuerError(f"{event.facts.type!r} is said by this service alone.")
        if type(event.facts) in OWN_CALLS:
            raise InvalidCommandError(f"{event.facts.type!r} comes by a call of its own.")
        self._check_disclosed(disclosed(disclosures))
        seen = event.n - 1
        if expected is not None and expected != seen:
            raise InvalidCommandError(
                f"The event says n {event.n}, the request that {event.stream} has {expected} events: "
                "seal the event again, with the number that follows."
            )

        async def record() -> Recorded:
            event.verify(self.directory.authorise(event))
            by = Issuance.of(event)._replace(disclosures=disclosures)
            return await self.record(event.stream, event.facts, by, expected=seen, command=command)

        return await self._by_newest_rights(record)

    async def _by_newest_rights(self, work: Callable[[], Awaitable[Recorded]]) -> Recorded:
        """Decide by the organisations known here; a refusal for want of rights, once more by the newest.

        Another process may have registered the organisation, or its key. That one was revoked need not be
        known: what is appended is guarded by the version of its issuer.
        """
        seen = self._seen
        try:
            return await work()
        except (UnauthorisedIssuerError, context.UnknownBodyError):
            await self.refresh()
            if self._seen == seen:
                raise
            return await work()

    async def declare(
        self, stream: str, facts: Fact, *, expected: int | None = None, quiet: Quiet | None = None
    ) -> Recorded:
        """What time and numbers brought about, said by the operator's clock key."""
        await self.refresh()
        by = self.issuance(self.operator, type(facts))
        return await self.record(stream, facts, by, expected=expected, quiet=quiet)

    async def register_operator(self, slug: str, names: events.Names) -> list[Recorded]:
        """The ledger's first entries: the operator registers itself, its gateway and its clock."""
        await self.refresh()
        if self.directory.operator is not None:
            raise NotAllowedError(f"This ledger has its operator already: {self.directory.operator}.")
        stream = f"organisation/{slug}"
        by = Issuance(stream, self.keys.root.kid, self.now())
        facts: list[Fact] = [
            events.OrganisationRegistered(
                kind="operator", level="republic", names=names, root_key=self.keys.root.public_key
            ),
            events.OrganisationKeyRegistered(
                key=self.keys.gateway.public_key, roles=("gateway",), custody="own"
            ),
            events.OrganisationKeyRegistered(key=self.keys.clock.public_key, roles=("clock",), custody="own"),
        ]
        return await self._record_all(stream, facts, by, quiet=Quiet("", -1))

    async def register_organisation(
        self, slug: str, facts: events.OrganisationRegistered, roles: tuple[events.Role, ...]
    ) -> list[Recorded]:
        """A new organisation, and the gateway's key with ``roles`` to seal in its name."""
        by = self.issuance(self.operator, events.OrganisationRegistered)
        steps: list[Fact] = [facts]
        if roles:
            steps.append(
                events.OrganisationKeyRegistered(
                    key=self.keys.gateway.public_key, roles=roles, custody="gateway"
                )
            )
        return await self._record_all(f"organisation/{slug}", steps, by)

    async def once(self, command: CommandId | None, work: Awaitable[Recorded]) -> Recorded:
        """What ``work`` records; where it is refused now, what the same command recorded before.

        Every command that may be repeated is awaited through here, by whoever gave it its ``command``.
        """
        try:
            return await work
        except (CommandReusedError, FatalError):
            raise
        except AiqynError:
            if command is not None and (done := await self.done_before(command)):
                return done
            raise

    async def _record_all(
        self, stream: str, facts: list[Fact], by: Issuance, *, quiet: Quiet | None = None
    ) -> list[Recorded]:
        aggregate = await self._find(stream)
        for step in facts:
            aggregate = happen(AGGREGATES[step.room], stream, aggregate, step, by)
        pending = [await self.seal(happened) for happened in aggregate.collect_events()] if aggregate else []
        guards = {} if by.iss == stream else self.issuer_guard(by.iss, stream)
        appended = await self.sequencer.append(Append(pending, guards, quiet))
        await self.refresh()
        return [await self.recorded(appended, pending, offset) for offset in range(len(pending))]

    # --- rules that need more than one stream ----------------------------------------------------

    def authorise(self, by: Issuance, facts: type[Fact]) -> None:
        """Raises ``UnauthorisedIssuerError`` unless that key may say this now."""
        if not self.directory.roles(by.iss, by.kid) & facts.issuers:
            needed = " or ".join(sorted(facts.issuers))
            raise UnauthorisedIssuerError(
                f"{by.iss} may not issue {facts.type!r}: that takes a key with the role {needed}.",
                issuer=by.iss,
                event_type=facts.type,
            )

    def _check_disclosed(self, disclosures: Mapping[str, Any]) -> None:
        for name, value in disclosures.items():
            if name == "attachments":
                attachments.check(self.vault, value, self.clock())
                continue
            if not isinstance(value, str) or not 0 < len(value) <= MAX_DISCLOSED:
                raise InvalidCommandError(f"The disclosed text {name!r} has 1 to {MAX_DISCLOSED} characters.")
            wording.check_visible("disclosed text", value)

    def _key_for(self, iss: str, facts: type[Fact]) -> SigningKey:
        for kid, key in self.signing.items():
            if self.directory.roles(iss, kid) & facts.issuers:
                return key
        raise UnauthorisedIssuerError(
            f"This service may not say {facts.type!r} in the name of {iss}.",
            issuer=iss,
            event_type=facts.type,
        )

    def issuer_guard(self, iss: str, stream: str) -> dict[str, int]:
        """The issuer's rights must still be those of the decision when its event is appended."""
        return {} if iss == stream else {iss: self.version_of(iss)}

    def version_of(self, organisation: str) -> int:
        """How many events of an organisation the directory has folded."""
        return self._versions[organisation]

    async def _find(self, stream: str) -> LedgerAggregate | None:
        try:
            return await self.load(stream)
        except NotFoundError:
            return None
