"""What the entries seen so far say, folded in log order: issuers, streams, petitions, signatures.

The recount is written down here once more, on purpose: it shares no code with the projections whose
numbers it is compared with. A million signatures take about 250 MB.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import get_args

from audit.appeals import Appeals
from ledger.events import (
    Fact,
    OrganisationRegistered,
    PetitionAdmitted,
    PetitionDecided,
    PetitionDraftPublished,
    PetitionLapsed,
    PetitionNotSupported,
    PetitionOverdue,
    PetitionPublished,
    PetitionRegistered,
    PetitionRejected,
    PetitionRouted,
    PetitionSigned,
    PetitionSubmitted,
    PetitionSupported,
    PetitionWithdrawn,
    PetitionWorkingGroupFormed,
    Region,
    SignatureVoided,
    SignatureWithdrawn,
)
from ledger.keys import Directory
from ledger.statement import Event

STATE_AFTER: dict[type[Fact], str | None] = {
    PetitionSubmitted: "submitted",
    PetitionRejected: "rejected",
    PetitionAdmitted: "limited",
    PetitionLapsed: "lapsed",
    PetitionPublished: "collecting",
    PetitionSupported: "supported",
    PetitionNotSupported: "not-supported",
    PetitionWithdrawn: "withdrawn",
    PetitionRouted: "routed",
    PetitionRegistered: "considered",
    PetitionWorkingGroupFormed: None,
    PetitionDraftPublished: None,
    PetitionDecided: "decided",
    PetitionOverdue: None,
}
"""The state that a petition is in after an event; None where it stays in its state."""

REGIONS = (*get_args(Region), "unknown")
_REGION_INDEX = {region: index for index, region in enumerate(REGIONS)}

SIGNED, WITHDRAWN, VOIDED = range(3)
_KIND = 5
"""A change is one byte: the region in the low five bits, then its kind."""
_REGION_MASK = (1 << _KIND) - 1

_MAX_N = 2**64 - 1


def stream_key(stream: str) -> bytes:
    """16 bytes that stand for a stream's name: two names with the same would cost 2**64 hashes to find,
    and earn whoever finds them a finding."""
    return blake2b(stream.encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Count:
    """Signatures of one petition up to a position. ``count == signed - withdrawn - voided``."""

    signed: int
    withdrawn: int
    voided: int
    by_region: dict[str, int]
    """Regions without a counted signature are absent."""

    @property
    def count(self) -> int:
        """Signatures that count."""
        return self.signed - self.withdrawn - self.voided


@dataclass(slots=True)
class Petition:
    """One petition as its events say, with every change of its count."""

    submitted_at: int
    state: str = "submitted"
    states: list[tuple[int, str]] = field(default_factory=list)
    """Position of each change of state, and the new state."""
    needed: int | None = None
    required: int | None = None
    published_at: int | None = None
    open_until: int | None = None
    """Seconds since 1970, UTC: signatures are taken before it."""
    count: int = 0
    _positions: array[int] = field(default_factory=lambda: array("Q"))
    _changes: bytearray = field(default_factory=bytearray)

    def change(self, position: int, kind: int, region: int) -> None:
        """One signature more or less."""
        self.count += 1 if kind == SIGNED else -1
        self._positions.append(position)
        self._changes.append(kind << _KIND | region)

    def counted(self, as_of: int) -> Count:
        """The recount over all events up to position ``as_of``."""
        kinds = [0, 0, 0]
        regions = [0] * len(REGIONS)
        for position, change in zip(self._positions, self._changes, strict=True):
            if position > as_of:
                break
            kind = change >> _KIND
            kinds[kind] += 1
            regions[change & _REGION_MASK] += 1 if kind == SIGNED else -1
        return Count(
            kinds[0], kinds[1], kinds[2], {name: n for name, n in zip(REGIONS, regions, strict=True) if n}
        )

    def first_reached(self, number: int) -> int | None:
        """Position of the first signature that made the count equal to ``number``."""
        count = 0
        for position, change in zip(self._positions, self._changes, strict=True):
            if change >> _KIND == SIGNED:
                count += 1
                if count == number:
                    return position
            else:
                count -= 1
        return None

    def enough_at(self, as_of: int) -> int | None:
        """Position up to ``as_of`` from which on the published petition had reached its threshold.

        That is the deciding signature; or the publication, where enough people had signed before it.
        """
        if self.required is None or self.published_at is None or self.published_at > as_of:
            return None
        count = 0
        for position, change in zip(self._positions, self._changes, strict=True):
            if position > self.published_at and count >= self.required:
                return self.published_at
            if position > as_of:
                return None
            count += 1 if change >> _KIND == SIGNED else -1
            if position > self.published_at and count >= self.required:
                return position
        return self.published_at if count >= self.required else None

    def state_at(self, as_of: int) -> str | None:
        """Its state after the event at ``as_of``; None before it was submitted."""
        found = None
        for position, state in self.states:
            if position > as_of:
                break
            found = state
        return found

    def open_at(self, iat: int) -> bool:
        """Whether a signature could be given then."""
        return (
            self.state in ("limited", "collecting", "supported")
            and self.open_until is not None
            and iat < self.open_until
        )


class History:
    """State before the next event. Rules read it; :meth:`apply` moves it on."""

    def __init__(self, operator: str | None = None) -> None:
        """``operator`` is the stream of the organisation that must stand in the first entry."""
        self.directory = Directory(operator)
        self.petitions: dict[str, Petition] = {}
        """By stream."""
        self.appeals = Appeals()
        self.latest_iat = 0
        """The latest ``iat`` so far, whoever said it."""
        self.events = 0
        """How many were folded."""
        self.organisations = 0
        self._streams: dict[bytes, int] = {}
        self._signatures: dict[bytes, int] = {}

    def stream(self, name: str) -> tuple[int, int]:
        """Version of a stream and the ``iat`` of its last event; ``(0, 0)`` for a new one."""
        packed = self._streams.get(stream_key(name), 0)
        return packed & _MAX_N, packed >> 64

    def signature(self, stream: str) -> str | None:
        """``counted``, ``withdrawn``, ``voided``; None if nobody signed under that name."""
        packed = self._signatures.get(stream_key(stream))
        return None if packed is None else ("counted", "withdrawn", "voided")[packed >> _KIND]

    def apply(self, position: int, event: Event, *, lawful: bool) -> None:
        """Fold one event that its issuer did sign.

        Unless it is ``lawful``, a signature is not counted, and an organisation's event gives nobody a right.
        An unlawful step of a petition is taken as it was claimed: otherwise one finding would drag a
        hundred others behind it.
        """
        key = stream_key(event.stream)
        version = max(self._streams.get(key, 0) & _MAX_N, min(event.n, _MAX_N))
        self._streams[key] = event.iat << 64 | version
        self.latest_iat = max(self.latest_iat, event.iat)
        self.events += 1
        facts = event.facts
        if type(facts) in STATE_AFTER:
            self._apply_to_petition(position, event.stream, facts)
        elif not lawful:
            return
        elif isinstance(facts, PetitionSigned):
            region = _REGION_INDEX[facts.region or "unknown"]
            self.petitions[petition_of(event.stream)].change(position, SIGNED, region)
            self._signatures[key] = SIGNED << _KIND | region
        elif isinstance(facts, SignatureWithdrawn | SignatureVoided):
            kind = WITHDRAWN if isinstance(facts, SignatureWithdrawn) else VOIDED
            region = self._signatures[key] & _REGION_MASK
            self.petitions[petition_of(event.stream)].change(position, kind, region)
            self._signatures[key] = kind << _KIND | region
        else:
            self.directory.apply(event)
            self.organisations += isinstance(facts, OrganisationRegistered)

    def _apply_to_petition(self, position: int, stream: str, facts: Fact) -> None:
        petition = self.petitions.setdefault(stream, Petition(position))
        state = STATE_AFTER[type(facts)]
        if state is not None:
            petition.state = state
            petition.states.append((position, state))
        match facts:
            case PetitionAdmitted():
                petition.needed = facts.needed
                petition.open_until = int(facts.limited_until.timestamp())
            case PetitionPublished():
                petition.required = facts.required
                petition.open_until = int(facts.collect_until.timestamp())
                petition.published_at = position
            case _:
                pass


def petition_of(signature_stream: str) -> str:
    """``petition/<id>`` for ``signature/<id>/<nullifier>``."""
    return f"petition/{signature_stream.split('/')[1]}"
