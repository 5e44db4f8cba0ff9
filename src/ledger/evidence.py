"""Looks at the evidence: who is entitled sees the CMS behind a random sample of a petition's signatures.

Nobody chooses the sample: whoever asks commits to a secret (``evidence.asked``), and what is drawn follows
from that secret and from the root of the tree that ends with this very entry (:mod:`ledger.sample`). Each
signature that is opened is an event, recorded before anything is shown.

What the log said to be erased before the announcement is not drawn from (:meth:`LogReader.signed`).
"""

from __future__ import annotations

import asyncio
import uuid
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from weakref import WeakValueDictionary

from ledger import events
from ledger.application import DATA_KEY, Decision, Ledger, NotFoundError, Recorded
from ledger.domain.aggregate import Issuance, LedgerAggregate, NotAllowedError, require
from ledger.domain.assurance import Evidence
from ledger.domain.signature import petition_stream
from ledger.sample import draw
from ledger.statement import Disclosure
from ledger.store.append import CommandId, Quiet, StreamConflictError
from ledger.tlog.merkle import frontier_at

MAX_OPENED = 100
"""Signatures opened by one call."""
_ATTEMPTS = 5


class NotInSampleError(NotAllowedError):
    """Only what was drawn is opened."""

    code = "not-in-sample"
    title = "This signature does not belong to the sample"


class LookUndrawnError(NotAllowedError):
    """One look of a council at a petition after the other: nobody keeps the one that pleases."""

    code = "look-undrawn"
    title = "An earlier look was not drawn yet"


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the sample is drawn from, and the sample."""

    asked_at: int
    root: bytes = field(repr=False)
    signatures: array[int] = field(repr=False)
    """Positions of the petition's ``petition.signed`` up to ``asked_at``, without those erased by then."""

    def sample(self, secret: bytes, size: int) -> list[int]:
        """Positions."""
        return [self.signatures[index] for index in draw(secret, self.root, len(self.signatures), size)]


@dataclass(frozen=True, slots=True)
class Opened:
    """One signature with everything that is disclosed about it."""

    position: int
    entry: bytes
    disclosures: tuple[Disclosure, ...] = field(repr=False)
    erased: bool
    """What was restricted about it is destroyed."""


def evidence_stream(id_: str) -> str:
    """The stream of a look at the evidence. Raises :class:`NotFoundError` for what is no UUID."""
    try:
        canonical = str(uuid.UUID(id_))
    except ValueError:
        canonical = ""
    if canonical != id_:
        raise NotFoundError("A look at the evidence is named by a lower-case UUID.")
    return f"evidence/{id_}"


class EvidenceDesk:
    """Where councils ask to see the evidence."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._drawn: dict[str, Drawn] = {}
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load(self, id_: str) -> Evidence:
        """As its events say. Raises :class:`NotFoundError`."""
        return cast("Evidence", await self._ledger.load(evidence_stream(id_)))

    async def ask(
        self, iss: str, petition: str, sample: int, commitment: str, *, command: CommandId | None = None
    ) -> Recorded:
        """Announce a look at ``sample`` signatures. ``commitment``: SHA-256 of the secret, hex.

        Raises :class:`LookUndrawnError` while another look of ``iss`` at that petition was not drawn.
        """
        stream = petition_stream(petition)
        ledger = self._ledger
        by = ledger.issuance(iss, events.EvidenceAsked)
        await ledger.load(stream)
        facts = events.EvidenceAsked(of=stream, sample=sample, commitment=commitment)
        for _ in range(_ATTEMPTS):
            seen = await asyncio.to_thread(ledger.reader.size) - 1
            await self._require_drawn(iss, stream)
            quiet = Quiet("evidence/", seen)  # nobody asks between this look round and the append
            try:
                return await ledger.record(
                    f"evidence/{uuid.uuid4()}", facts, by, quiet=quiet, command=command
                )
            except StreamConflictError:
                continue
        raise NotAllowedError("Several looks at the evidence are under way at once: try again.")

    async def _require_drawn(self, iss: str, petition: str) -> None:
        for position, asked in await asyncio.to_thread(self._ledger.reader.undrawn):
            facts = asked.facts
            if asked.iss == iss and isinstance(facts, events.EvidenceAsked) and facts.of == petition:
                raise LookUndrawnError(
                    f"{iss} announced {asked.stream} at position {position} and did not draw it: show its "
                    "secret first, then ask again.",
                    stream=asked.stream,
                    position=position,
                )

    async def draw(self, iss: str, id_: str, secret: str, *, command: CommandId | None = None) -> Recorded:
        """Show the secret (32 bytes, hex): from now on everybody knows the sample."""
        stream = evidence_stream(id_)
        by = self._ledger.issuance(iss, events.EvidenceDrawn)
        evidence = await self.load(id_)
        evidence.require_draw(iss, secret)
        drawn = await self._population(stream, evidence)

        def make(_: LedgerAggregate | None, by: Issuance) -> events.EvidenceDrawn:
            return events.EvidenceDrawn(
                secret=secret,
                asked_at=drawn.asked_at,
                root=drawn.root.hex(),
                signatures=len(drawn.signatures),
            )

        return await self._ledger.record(stream, Decision(events.EvidenceDrawn, make), by, command=command)

    async def open(self, iss: str, id_: str, positions: Sequence[int]) -> list[Opened]:
        """Record that these signatures are opened, then show them; opened again, they are shown again.

        Raises :class:`NotInSampleError`, ``NotAllowedError`` for somebody else's look, or
        ``UnauthorisedIssuerError`` where ``iss`` is no auditor any more.
        """
        stream = evidence_stream(id_)
        await self._ledger.refresh()
        self._ledger.issuance(iss, events.EvidenceDrawn)  # who may draw now may see
        for _ in range(_ATTEMPTS):
            evidence = await self.load(id_)
            require(evidence.state == "drawn", f"{stream} was not drawn yet: show the secret first.")
            require(evidence.by == iss, f"{stream} was asked by {evidence.by}.")
            drawn = await self._population(stream, evidence)
            wanted = list(dict.fromkeys(positions))
            sample = set(drawn.sample(bytes.fromhex(evidence.drawn.secret), evidence.sample))
            strangers = [position for position in wanted if position not in sample]
            if strangers:
                raise NotInSampleError(
                    f"Entry {strangers[0]} is not in the sample of {stream}: only what was drawn is opened.",
                    position=strangers[0],
                )
            facts = [events.EvidenceOpened(position=p) for p in wanted if p not in evidence.opened]
            if facts:
                by = self._ledger.issuance(self._ledger.operator, events.EvidenceOpened)
                try:
                    await self._ledger.record_more(stream, evidence, facts, by)
                except StreamConflictError:
                    continue  # another call opened some of them meanwhile
            return await self._read(wanted)
        raise NotAllowedError(f"{stream} is being opened by several calls at once: let one finish.")

    async def _population(self, stream: str, evidence: Evidence) -> Drawn:
        # The lock lives as long as somebody waits for it.
        reading = self._reading.setdefault(stream, asyncio.Lock())
        async with reading:
            known = self._drawn.get(stream)
            if known is None:
                known = await asyncio.to_thread(self._read_population, stream, evidence.of)
                while len(self._drawn) >= 4:  # positions of a million signatures take 8 MB
                    del self._drawn[next(iter(self._drawn))]
                self._drawn[stream] = known
        return known

    def _read_population(self, stream: str, petition: str) -> Drawn:
        reader = self._ledger.reader
        asked_at = reader.position(stream, 1)
        if asked_at is None:
            raise NotFoundError(f"There is no {stream}.")
        root = frontier_at(asked_at + 1, reader.read_node(asked_at + 1)).root()
        return Drawn(asked_at, root, reader.signed(petition.removeprefix("petition/"), asked_at))

    async def _read(self, positions: Sequence[int]) -> list[Opened]:
        vault = self._ledger.vault
        found = []
        for position, stream, entry, public, wrapped, sealed in await asyncio.to_thread(
            self._ledger.reader.sealed, positions
        ):
            restricted: tuple[Disclosure, ...] = ()
            if wrapped is not None and sealed is not None:
                restricted = vault.open(vault.unwrap(DATA_KEY, stream, wrapped), entry, sealed)
            shown = tuple(Disclosure.parse(encoded) for encoded in public)
            found.append(Opened(position, entry, (*shown, *restricted), not restricted))
        return found
