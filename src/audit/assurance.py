"""What the operator binds itself by, replayed: committed digests, erasures, looks at the evidence.

Their aggregates hold the rules that follow from one stream. Here stands what follows from the whole log: that
an erasure names what there is to erase, and that a sample was drawn as :mod:`ledger.sample` draws it.
"""

from __future__ import annotations

from array import array
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from audit.aggregates import Aggregates
from ledger import events
from ledger.domain import retention
from ledger.domain.aggregate import LedgerAggregate
from ledger.domain.assurance import Commitment, Erasure, Evidence
from ledger.domain.calendar import ALMATY
from ledger.sample import draw
from ledger.statement import Event

if TYPE_CHECKING:
    from audit.history import History

OF_A_PERSON = {"signature": {"name"}, "petition": {"author"}}
"""Public disclosures that are about the person, by the room of the stream. Others are a petition's own words,
or a body's: they go by the order of a court alone."""
_DISCLOSED = {
    room: frozenset[str]().union(*(cls.public for cls in events.catalogue.values() if cls.room == room))
    for room in {cls.room for cls in events.catalogue.values()}
}


class Assurance:
    """Commitments and erasures stand by themselves; looks at the evidence are followed."""

    def __init__(self) -> None:
        self._evidence = Aggregates(Evidence)
        self._unlawful: set[str] = set()
        self._asked_at: dict[str, int] = {}
        self._roots: dict[int, bytes] = {}
        self._samples: dict[str, frozenset[int]] = {}
        self._shown: set[str] = set()
        """Commitments whose secret is known to everybody."""
        self._erased: dict[str, array[int]] = {}
        """By petition: of each signature whose data key was destroyed, where that is said, its position."""

    def root(self, position: int, root: bytes) -> None:
        """The root of the tree that ends with the ``evidence.asked`` at a position."""
        self._roots[position] = root

    def judge(self, position: int, event: Event, history: History) -> str | None:
        """Let the event happen; the reason why it was not allowed, or None."""
        facts = event.facts
        if isinstance(facts, events.ProjectionCommitted):
            return _alone(event, Commitment) or _judge_commitment(position, facts)
        if isinstance(facts, events.DisclosureErased):
            self._note_erased(position, event.stream, facts, history)
            return _alone(event, Erasure) or _judge_erasure(event, facts, history)
        if event.stream in self._unlawful:
            return None
        reason = self._evidence.happen(event) or self._judge_look(position, event, history)
        if reason is not None:
            self._unlawful.add(event.stream)
            self._evidence.forget(event.stream)
        return reason

    def _note_erased(
        self, position: int, stream: str, facts: events.DisclosureErased, history: History
    ) -> None:
        room, _, rest = facts.of.partition("/")
        if room == "signature" and facts.data_key and stream.startswith(f"erasure/{facts.of}/"):
            found = self._erased.setdefault(f"petition/{rest.partition('/')[0]}", array("Q"))
            for signed_at in history.signed_in(facts.of):
                found.extend((position, signed_at))

    def _population(self, petition: str, as_of: int, history: History) -> list[int]:
        """Positions of all ``petition.signed`` up to ``as_of`` that were not erased by then, in order."""
        signed = history.signed(petition, as_of)
        said = self._erased.get(petition)
        if not said:
            return signed
        erased = {at for told, at in zip(said[::2], said[1::2], strict=True) if told <= as_of}
        return [position for position in signed if position not in erased]

    def _undrawn(self, asked: Event, of: str) -> str | None:
        """An earlier look of the same council at the same petition."""
        for stream in sorted(self._evidence.streams()):
            look = self._evidence.get(stream)
            if look is None or stream == asked.stream or look.state != "asked":
                continue
            if (look.by, look.of) == (asked.iss, of):
                return stream
        return None

    def _judge_look(self, position: int, event: Event, history: History) -> str | None:
        match event.facts:
            case events.EvidenceAsked() as asked:
                self._asked_at[event.stream] = position
                if asked.of not in history.petitions:
                    return f"Evidence is asked of {asked.of}, which nobody submitted."
                if asked.commitment in self._shown:
                    return f"The secret of {event.stream} was shown before: who knows it knows the sample."
                if (earlier := self._undrawn(event, asked.of)) is not None:
                    return f"{event.iss} announced {earlier} before, and did not draw it."
            case events.EvidenceDrawn() as drawn:
                return self._judge_draw(event, drawn, history)
            case events.EvidenceOpened() as opened:
                if opened.position not in self._sample(event.stream, history):
                    return f"Entry {opened.position} does not belong to the sample of {event.stream}."
            case _:
                pass
        return None

    def _judge_draw(self, event: Event, drawn: events.EvidenceDrawn, history: History) -> str | None:
        look = self._evidence.get(event.stream)
        asked_at = self._asked_at[event.stream]
        if look is None or drawn.asked_at != asked_at:
            return f"{event.stream} was asked at position {asked_at}, not at {drawn.asked_at}."
        self._shown.add(look.commitment)
        if drawn.root != (root := self._roots.get(asked_at, b"").hex()):
            return f"The root of the first {asked_at + 1} entries is {root}, not {drawn.root}."
        population = len(self._population(look.of, asked_at, history))
        if drawn.signatures != population:
            return (
                f"Up to position {asked_at} {look.of} has {population} signatures that were not erased, "
                f"not {drawn.signatures}."
            )
        return None

    def _sample(self, stream: str, history: History) -> frozenset[int]:
        """Positions of the signatures that were drawn."""
        known = self._samples.get(stream)
        look = self._evidence.get(stream)
        if known is None and look is not None:
            drawn = look.drawn
            signed = self._population(look.of, drawn.asked_at, history)
            chosen = draw(bytes.fromhex(drawn.secret), bytes.fromhex(drawn.root), len(signed), look.sample)
            known = self._samples[stream] = frozenset(signed[index] for index in chosen)
        return known or frozenset()

    def looks(self) -> list[dict[str, Any]]:
        """Each lawful look at the evidence: stream, petition, who asked, and how far it came."""
        found = []
        for stream in sorted(self._evidence.streams()):
            look = self._evidence.get(stream)
            if look is not None:
                found.append(
                    {
                        "stream": stream,
                        "petition": look.of,
                        "by": look.by,
                        "asked_at": self._asked_at[stream],
                        "sample": look.sample,
                        "drawn": look.state == "drawn",
                        "opened": len(look.opened),
                    }
                )
        return found

    # --- from one audit to the next --------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "evidence": self._evidence.dump(),
            "unlawful": sorted(self._unlawful),
            "asked_at": self._asked_at,
            "roots": [[position, root] for position, root in self._roots.items()],
            "shown": sorted(self._shown),
            "erased": {petition: found.tolist() for petition, found in self._erased.items()},
        }

    def load(self, dumped: dict[str, Any]) -> None:
        """Take over what :meth:`dump` gave."""
        self._evidence.load(dumped["evidence"])
        self._unlawful = set(dumped["unlawful"])
        self._asked_at = dumped["asked_at"]
        self._roots = {position: root for position, root in dumped["roots"]}  # noqa: C416 - a list of lists
        self._shown = set(dumped["shown"])
        self._erased = {petition: array("Q", found) for petition, found in dumped["erased"].items()}


def _alone(event: Event, kind: type[LedgerAggregate]) -> str | None:
    """A stream of one event: what its aggregate says."""
    if event.n != 1:
        return f"{event.stream} is over with its first event."
    return Aggregates(kind).happen(event)


def _judge_commitment(position: int, facts: events.ProjectionCommitted) -> str | None:
    if facts.as_of >= position:
        return f"Entry {facts.as_of} does not stand before this one: it cannot have been folded."
    return None


def _judge_erasure(event: Event, facts: events.DisclosureErased, history: History) -> str | None:
    version, _ = history.stream(facts.of)
    if facts.events != version:
        return f"{facts.of} had {version} events when it was erased, not {facts.events}."
    room = facts.of.partition("/")[0]
    if unknown := set(facts.names) - _DISCLOSED[room]:
        return f"Nothing public of {facts.of} is called {', '.join(sorted(unknown))}."
    words = set(facts.names) - OF_A_PERSON.get(room, set())
    if words and facts.ground != "court":
        return f"{', '.join(sorted(words))} of {facts.of} is not about a person: a court alone takes it down."
    if facts.ground == "retention":
        return _judge_retention(event, facts.of, history)
    return None


def _judge_retention(event: Event, of: str, history: History) -> str | None:
    room = of.partition("/")[0]
    if room not in ("signature", "petition", "appeal"):
        return f"No term is known for keeping {of}."
    matter = history.matter(of)
    if matter is None:
        return None  # not judged any more
    ended = matter.modified_on
    if any(matter.state in due.states and due.since <= ended < due.until for due in _due(room, event.at)):
        return None
    return f"{of} was erased before its time: {matter.id} is {matter.state} since {ended:%Y-%m-%d %H:%M} UTC."


def _due(room: str, at: datetime) -> list[retention.Due]:
    return _due_on(room, at.astimezone(ALMATY).replace(hour=12, minute=0, second=0, microsecond=0))


@lru_cache(maxsize=1000)
def _due_on(room: str, noon: datetime) -> list[retention.Due]:
    # What is due changes at midnight, and a million signatures may be erased in one night.
    return retention.due(room, noon)  # type: ignore[arg-type]
