"""What the entries seen so far say, folded in log order: issuers, streams, petitions, signatures.

The recount is written down here once more, on purpose: it shares no code with the projections whose
numbers it is compared with. A million signatures take about 140 MB.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from audit.appeals import Appeals
from audit.assurance import Assurance
from audit.checking import (
    KIND,
    NAME_SIZE,
    REGION_INDEX,
    REGION_MASK,
    REGIONS,
    SIGNED,
    VOIDED,
    WITHDRAWN,
    cut,
    stream_name,
)
from audit.organisations import Organisations
from audit.petitions import Petitions
from ledger.domain.aggregate import LedgerAggregate
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

_NAMES = ("counted", "withdrawn", "voided")
_MAX_N = 2**64 - 1
_STATES_OPEN = frozenset({"limited", "collecting", "supported"})
CLOCK_TOLERANCE = 2 * 3600
"""Seconds by which an event may be dated before the latest one that stands ahead of it: an operator may take
events whose clocks are up to an hour off, either way (docs/spec.md, section 2)."""


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
    """One petition as its events say, with every change of its count: 17 bytes each."""

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
    positions: array[int] = field(default_factory=lambda: array("Q"))
    """Of each signature that was given or removed."""
    times: array[int] = field(default_factory=lambda: array("Q"))
    """``iat`` of each."""
    changes: bytearray = field(default_factory=bytearray)
    """Kind and region of each, as :mod:`audit.checking` packs them."""

    given: dict[int, int] = field(default_factory=dict)
    """Number of a change that removed a signature → number of the one that gave it."""

    def change(self, position: int, change: int, iat: int, given: int | None = None) -> int:
        """One signature more or less, that of change ``given``; the number of this change."""
        if given is not None:
            self.given[len(self.changes)] = self.given.get(given, given)
        self.count += 1 if change < _REMOVALS else -1
        self.positions.append(position)
        self.times.append(iat)
        self.changes.append(change)
        return len(self.changes) - 1

    def counted(self, as_of: int) -> Count:
        """The recount over all events up to position ``as_of``."""
        kinds = [0, 0, 0]
        regions = [0] * len(REGIONS)
        for position, change in zip(self.positions, self.changes, strict=True):
            if position > as_of:
                break
            kind = change >> KIND
            kinds[kind] += 1
            regions[change & REGION_MASK] += 1 if kind == SIGNED else -1
        return Count(
            kinds[0], kinds[1], kinds[2], {name: n for name, n in zip(REGIONS, regions, strict=True) if n}
        )

    def signs(self) -> Iterator[int]:
        """1 for each signature given, -1 for each removed, in order."""
        return (1 if change < _REMOVALS else -1 for change in self.changes)

    def signed(self, as_of: int) -> list[int]:
        """Positions of all signatures given up to ``as_of``, in order, whether they were removed or not."""
        end = bisect_right(self.positions, as_of)
        pairs = zip(self.positions[:end], self.changes, strict=False)
        return [position for position, change in pairs if change < _REMOVALS]

    def first_reached(self, number: int) -> int | None:
        """Position of the first signature that made the count equal to ``number``."""
        count = 0
        for position, change in zip(self.positions, self.changes, strict=True):
            if change < _REMOVALS:
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
        for position, change in zip(self.positions, self.changes, strict=True):
            if position > self.published_at and count >= self.required:
                return self.published_at
            if position > as_of:
                return None
            count += 1 if change < _REMOVALS else -1
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
        return self.state in _STATES_OPEN and self.open_until is not None and iat < self.open_until

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        columns = {"positions": _little(self.positions), "times": _little(self.times)}
        plain = {name: getattr(self, name) for name in _PLAIN}
        given = [_little(array("Q", numbers)) for numbers in (self.given.keys(), self.given.values())]
        return plain | columns | {"changes": bytes(self.changes), "given": given}

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> Petition:
        """What :meth:`dump` gave."""
        petition = cls(**{name: dumped[name] for name in _PLAIN})
        petition.states = [(position, state) for position, state in petition.states]
        petition.positions, petition.times = _array(dumped["positions"]), _array(dumped["times"])
        petition.changes = bytearray(dumped["changes"])
        petition.given = dict(zip(*map(_array, dumped["given"]), strict=True))
        return petition


_PLAIN = (
    "submitted_at", "state", "states", "needed", "required", "published_at", "open_until", "count",
)  # fmt: skip
_REMOVALS = WITHDRAWN << KIND
"""Changes below are signatures given."""


class History:
    """State before the next event. Rules read it; :meth:`apply` moves it on."""

    def __init__(self, operator: str | None = None) -> None:
        """``operator`` is the stream of the organisation that must stand in the first entry."""
        self.directory = Directory(operator)
        self.petitions: dict[str, Petition] = {}
        """The recount, by stream."""
        self.appeals = Appeals()
        self.petition_law = Petitions()
        self.organisation_law = Organisations()
        self.assurance = Assurance()
        self.latest_iat = 0
        """The latest ``iat`` so far, whoever said it."""
        self.events = 0
        """How many were folded."""
        self.organisations = 0
        self._streams: dict[bytes, int] = {}
        self._signatures: dict[bytes, int] = {}
        """Of each signature that was counted, the number of its newest change in its petition: that change
        tells its state, and thereby the version of its stream, and the time of that version."""
        self._irregular: dict[bytes, int] = {}
        """Streams of signatures in which something happened that breaks a rule, as in ``_streams``."""
        self._newest = ("", b"")
        self._uncounted: dict[str, list[tuple[int, str]]] = {}
        """Positions and streams of ``petition.signed`` that break a rule, by petition."""

    def stream(self, name: str) -> tuple[int, int]:
        """Version of a stream and the ``iat`` of its last event; ``(0, 0)`` for a new one."""
        key = self._key(name)
        if not name.startswith("signature/"):
            packed = self._streams.get(key, 0)
            return packed & _MAX_N, packed >> 64
        if key in self._irregular:
            packed = self._irregular[key]
            return packed & _MAX_N, packed >> 64
        number = self._signatures.get(key)
        if number is None:
            return 0, 0
        petition = self.petitions[petition_of(name)]
        return (1 if petition.changes[number] < _REMOVALS else 2), petition.times[number]

    def _key(self, name: str) -> bytes:
        if name != self._newest[0]:  # each rule asks for the same
            self._newest = name, stream_name(name)
        return self._newest[1]

    def signature(self, stream: str) -> str | None:
        """``counted``, ``withdrawn``, ``voided``; None if nobody signed under that name."""
        number = self._signatures.get(self._key(stream))
        if number is None:
            return None
        return _NAMES[self.petitions[petition_of(stream)].changes[number] >> KIND]

    def signed(self, petition: str, as_of: int) -> list[int]:
        """Positions of all ``petition.signed`` of a petition up to ``as_of``, in order."""
        found = self.petitions.get(petition)
        lawful = found.signed(as_of) if found else []
        uncounted = [position for position, _ in self._uncounted.get(petition, ()) if position <= as_of]
        return sorted(lawful + uncounted) if uncounted else lawful

    def signed_in(self, stream: str) -> list[int]:
        """Positions of the ``petition.signed`` of one stream: one, or more where a rule is broken."""
        name = petition_of(stream)
        found = [position for position, other in self._uncounted.get(name, ()) if other == stream]
        number = self._signatures.get(self._key(stream))
        if number is not None:
            petition = self.petitions[name]
            found.append(petition.positions[petition.given.get(number, number)])
        return found

    def matter(self, stream: str) -> LedgerAggregate | None:
        """The petition or appeal that a stream belongs to; None if it is not known, or judged no more."""
        room = stream.partition("/")[0]
        if room == "appeal":
            return self.appeals.get(stream)
        return self.petition_law.get(petition_of(stream) if room == "signature" else stream)

    def usual(self, position: int, change: int, key: bytes, petition: Petition, iat: int) -> bool:
        """Fold a signature given or removed, if it is plain that it breaks no rule; else nothing is done.

        Of who says so it is known that they may, and that they did; and that its version is 1 if it is given,
        2 if it is removed. Asks for what all rules ask of it (:data:`audit.rules.RULES`), and is asked a
        million times.
        """
        if iat < self.latest_iat - CLOCK_TOLERANCE or key in self._irregular:
            return False
        number = self._signatures.get(key)
        if change < _REMOVALS:
            if number is not None or not petition.open_at(iat):
                return False
        else:
            if number is None:
                return False
            given = petition.changes[number]
            if given >= _REMOVALS or iat < petition.times[number]:
                return False
            if change >> KIND == WITHDRAWN and not petition.open_at(iat):
                return False
            change = change & ~REGION_MASK | given
        self._signatures[key] = petition.change(position, change, iat, number)
        self.events += 1
        if iat > self.latest_iat:
            self.latest_iat = iat
        return True

    def apply(self, position: int, event: Event, *, lawful: bool) -> None:
        """Fold one event that its issuer did sign.

        Unless it is ``lawful``, a signature is not counted, and an organisation's event gives nobody a right.
        An unlawful step of a petition is taken as it was claimed: otherwise one finding would drag a
        hundred others behind it.
        """
        self.latest_iat = max(self.latest_iat, event.iat)
        self.events += 1
        facts = event.facts
        change = _CHANGES.get(type(facts))
        if change is not None:
            self._apply_to_signature(position, event, change, lawful=lawful)
            return
        key = self._key(event.stream)
        version = max(self._streams.get(key, 0) & _MAX_N, event.n)
        self._streams[key] = event.iat << 64 | version
        if type(facts) in STATE_AFTER:
            self._apply_to_petition(position, event.stream, facts)
        elif lawful and facts.room == "organisation":
            self.directory.apply(event)
            self.organisations += isinstance(facts, OrganisationRegistered)

    def pass_over(self, position: int, event: Event) -> None:
        """An entry that nobody answers for: not folded, but a ``petition.signed`` of the log all the same."""
        if isinstance(event.facts, PetitionSigned):
            self._uncounted.setdefault(petition_of(event.stream), []).append((position, event.stream))

    def _apply_to_signature(self, position: int, event: Event, kind: int, *, lawful: bool) -> None:
        key = self._key(event.stream)
        version = max(self.stream(event.stream)[0], event.n)
        if lawful:
            petition = self.petitions[petition_of(event.stream)]
            if kind == SIGNED:
                region = REGION_INDEX[getattr(event.facts, "region", None)]
            else:
                region = petition.changes[self._signatures[key]] & REGION_MASK
            number = self._signatures.get(key)
            self._signatures[key] = petition.change(position, kind << KIND | region, event.iat, number)
        else:
            self.pass_over(position, event)
        if key in self._irregular or self.stream(event.stream) != (version, event.iat):
            self._irregular[key] = event.iat << 64 | version

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

    # --- from one audit to the next --------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "directory": self.directory.dump(),
            "petitions": {stream: petition.dump() for stream, petition in self.petitions.items()},
            "appeals": self.appeals.dump(),
            "petition_law": self.petition_law.dump(),
            "organisation_law": self.organisation_law.dump(),
            "assurance": self.assurance.dump(),
            "latest_iat": self.latest_iat,
            "events": self.events,
            "organisations": self.organisations,
            "streams": _packed(self._streams),
            "irregular": _packed(self._irregular),
            "signatures": [
                b"".join(self._signatures),
                _little(array("Q", self._signatures.values())),
            ],
            "uncounted": self._uncounted,
        }

    def load(self, dumped: dict[str, Any]) -> None:
        """Take over what :meth:`dump` gave."""
        self.directory = Directory.load(dumped["directory"])
        self.petitions = {stream: Petition.load(found) for stream, found in dumped["petitions"].items()}
        self.appeals.load(dumped["appeals"])
        self.petition_law.load(dumped["petition_law"])
        self.organisation_law.load(dumped["organisation_law"])
        self.assurance.load(dumped["assurance"])
        self.latest_iat, self.events = dumped["latest_iat"], dumped["events"]
        self.organisations = dumped["organisations"]
        self._streams = _unpacked(dumped["streams"])
        self._irregular = _unpacked(dumped["irregular"])
        keys, numbers = dumped["signatures"]
        self._signatures = dict(zip(cut(keys, NAME_SIZE), _array(numbers), strict=True))
        self._uncounted = {
            petition: [(position, stream) for position, stream in found]
            for petition, found in dumped["uncounted"].items()
        }


def _little(column: array[int]) -> bytes:
    """64-bit numbers, little-endian."""
    if sys.byteorder == "big":
        column = array("Q", column)
        column.byteswap()
    return column.tobytes()


def _array(data: bytes) -> array[int]:
    column = array("Q", data)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _packed(streams: dict[bytes, int]) -> list[bytes]:
    """Names, versions and times, each in a row."""
    return [
        b"".join(streams),
        _little(array("Q", (packed & _MAX_N for packed in streams.values()))),
        _little(array("Q", (packed >> 64 for packed in streams.values()))),
    ]


def _unpacked(dumped: list[bytes]) -> dict[bytes, int]:
    names, versions, times = dumped
    pairs = zip(_array(versions), _array(times), strict=True)
    return dict(zip(cut(names, NAME_SIZE), (time << 64 | version for version, time in pairs), strict=True))


_CHANGES: dict[type[Fact], int] = {
    PetitionSigned: SIGNED,
    SignatureWithdrawn: WITHDRAWN,
    SignatureVoided: VOIDED,
}


def petition_of(signature_stream: str) -> str:
    """``petition/<id>`` for ``signature/<id>/<nullifier>``."""
    return f"petition/{signature_stream.split('/')[1]}"
