"""The rules, each with a name, what it asks for, and a test that breaks it.

A rule looks at one event and at the history before it, and gives a reason for everything that is wrong.
That the event can be read, that its issuer may issue it and did sign it, is known before rules are asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from audit.history import History, Petition, petition_of
from ledger import events
from ledger.events import Fact
from ledger.keys import ROLES_OF_KIND, MalformedKeyError, VerifyingKey
from ledger.statement import Event

CLOCK_TOLERANCE = 600
"""Seconds by which an event may be dated before the latest one that stands ahead of it. The log takes an
event whose clock is two minutes off either way; the rest is patience."""

Check = Callable[[int, Event, History], Iterable[str]]
"""Position, event and the history before it → what is wrong, one sentence each."""


class Rule(NamedTuple):
    """One rule. ``facts`` are the types it looks at; none means all."""

    name: str
    says: str
    check: Check
    facts: tuple[type[Fact], ...] = ()
    annuls: bool = False
    """Whether a signature that breaks it is not counted, and an organisation's event gives no right."""


STATES_BEFORE: dict[type[Fact], tuple[str, ...]] = {
    events.PetitionRejected: ("submitted",),
    events.PetitionAdmitted: ("submitted",),
    events.PetitionLapsed: ("limited",),
    events.PetitionPublished: ("limited",),
    events.PetitionSupported: ("collecting",),
    events.PetitionNotSupported: ("collecting",),
    events.PetitionWithdrawn: ("submitted", "limited", "collecting"),
    events.PetitionRouted: ("supported",),
    events.PetitionRegistered: ("routed",),
    events.PetitionWorkingGroupFormed: ("considered",),
    events.PetitionDraftPublished: ("considered",),
    events.PetitionDecided: ("considered",),
    events.PetitionOverdue: ("submitted", "considered"),
}
"""The states of a petition in which an event may happen to it (АППК, amendments of Law 31-VIII)."""

_SIGNATURE = re.compile(r"signature/[A-Za-z0-9_-]+/[A-Za-z0-9_-]{43}")


def stream_order(_position: int, event: Event, history: History) -> Iterator[str]:
    """Versions of a stream are 1, 2, 3 … in the order of the log."""
    version, _ = history.stream(event.stream)
    if event.n > version + 1:
        yield f"It is event {event.n} of {event.stream}, but event {version + 1} does not stand before it."
    elif event.n <= version:
        yield f"It is event {event.n} of {event.stream}, which has {version} events already."


def time_order(_position: int, event: Event, history: History) -> Iterator[str]:
    """Time does not run backwards: not within a stream, and not far within the log."""
    _, before = history.stream(event.stream)
    if event.iat < before:
        yield f"It is dated {_time(event.iat)}, before the stream's previous event of {_time(before)}."
    elif event.iat < history.latest_iat - CLOCK_TOLERANCE:
        yield (
            f"It is dated {_time(event.iat)}, more than {CLOCK_TOLERANCE // 60} minutes before "
            f"an entry that stands ahead of it ({_time(history.latest_iat)})."
        )


def organisation(position: int, event: Event, history: History) -> Iterator[str]:
    """What is registered about organisations makes sense: nobody gets a right that is not theirs."""
    facts = event.facts
    registered = history.directory.organisation(event.stream)
    if isinstance(facts, events.OrganisationRegistered):
        if registered is not None:
            yield f"{event.stream} is registered already."
        elif not (facts.kind == "operator") == (facts.root_key is not None) == (position == 0):
            yield "The operator, and nobody else, registers itself with a root key in the first entry."
        return
    if registered is None:
        yield f"{event.stream} is not registered."
    elif isinstance(facts, events.OrganisationKeyRegistered):
        excess = set(facts.roles) - ROLES_OF_KIND[registered.kind]
        if excess:
            yield f"A key of a {registered.kind} cannot have the role {', '.join(sorted(excess))}."
        try:
            kid = VerifyingKey(facts.key).kid
        except MalformedKeyError:
            yield f"{facts.key} is not an Ed25519 public key."
        else:
            if history.directory.roles(event.stream, kid):
                yield f"Key {kid} is registered for {event.stream} already."
    elif isinstance(facts, events.OrganisationKeyRevoked) and not history.directory.roles(
        event.stream, facts.kid
    ):
        yield f"{event.stream} has no key {facts.kid} that could be revoked."


def petition_life(_position: int, event: Event, history: History) -> Iterator[str]:
    """A petition goes from step to step as the law says."""
    petition = history.petitions.get(event.stream)
    if isinstance(event.facts, events.PetitionSubmitted):
        if petition is not None:
            yield f"{event.stream} was submitted already, at position {petition.submitted_at}."
        return
    if petition is None:
        yield f"{event.facts.type!r} happens to {event.stream}, which nobody submitted."
    elif petition.state not in STATES_BEFORE[type(event.facts)]:
        yield f"{event.facts.type!r} happens to {event.stream}, which is {petition.state}."


def publication(_position: int, event: Event, history: History) -> Iterator[str]:
    """A petition is published once enough people signed it in the limited stage."""
    petition = history.petitions.get(event.stream)
    if petition and petition.needed is not None and petition.first_reached(petition.needed) is None:
        yield (
            f"{event.stream} was published with {petition.count} signatures; "
            f"the limited stage asks for {petition.needed}."
        )


def threshold(position: int, event: Event, history: History) -> Iterator[str]:
    """Support is announced with the petition's own threshold and the exact signature that reached it."""
    petition, facts = history.petitions.get(event.stream), event.facts
    if petition is None or petition.required is None or not isinstance(facts, events.PetitionSupported):
        return
    if facts.required != petition.required:
        yield f"The threshold of {event.stream} is {petition.required}, not {facts.required}."
    reached = petition.enough_at(position)
    if reached is None:
        yield (
            f"Since its publication {event.stream} never had {petition.required} signatures; "
            f"it has {petition.count}."
        )
    elif facts.reached_at != reached:
        yield (
            f"{event.stream} had its {petition.required} signatures from position {reached} on, "
            f"not from {facts.reached_at}."
        )


def closing(position: int, event: Event, history: History) -> Iterator[str]:
    """A petition ends for want of signatures after its time only, and with the true number."""
    petition, facts = history.petitions.get(event.stream), event.facts
    if petition is None or not isinstance(facts, events.PetitionLapsed | events.PetitionNotSupported):
        return
    if petition.open_until is not None and event.iat < petition.open_until:
        yield f"{event.stream} was ended before its time, which runs until {_time(petition.open_until)}."
    if facts.as_of >= position:
        yield f"It says that signatures were counted up to {facts.as_of}, which does not stand before it."
    elif not facts.count == petition.count == petition.counted(facts.as_of).count:
        yield (
            f"It says {facts.count} signatures as of {facts.as_of}; the recount gives "
            f"{petition.counted(facts.as_of).count}, and {petition.count} before this event."
        )
    if isinstance(facts, events.PetitionNotSupported) and petition.required is not None:
        yield from _reached_after_all(position, event, facts, petition, petition.required)


def _reached_after_all(
    position: int, event: Event, facts: events.PetitionNotSupported, petition: Petition, required: int
) -> Iterator[str]:
    if facts.required != required:
        yield f"The threshold of {event.stream} is {required}, not {facts.required}."
    if (reached := petition.enough_at(position)) is not None:
        yield f"{event.stream} reached its threshold of {required} at position {reached}, and keeps it."


def signature_open(_position: int, event: Event, history: History) -> Iterator[str]:
    """Signatures are given and taken back while the petition collects them."""
    if not _SIGNATURE.fullmatch(event.stream):
        yield f"{event.stream} does not name a petition and a nullifier."
        return
    petition = history.petitions.get(petition_of(event.stream))
    if petition is None:
        yield f"No petition {petition_of(event.stream)} was submitted before."
    elif isinstance(event.facts, events.SignatureVoided):
        return
    elif not petition.open_at(event.iat):
        until = (
            "" if petition.open_until is None else f", and took signatures until {_time(petition.open_until)}"
        )
        yield (
            f"{petition_of(event.stream)} took no signatures at {_time(event.iat)}: "
            f"it was {petition.state}{until}."
        )


def signature_once(_position: int, event: Event, history: History) -> Iterator[str]:
    """A nullifier signs a petition once, and only what is counted can be removed."""
    state = history.signature(event.stream)
    if isinstance(event.facts, events.PetitionSigned):
        if state is not None:
            yield f"This nullifier signed {petition_of(event.stream)} before; that signature is {state}."
    elif state is None:
        yield f"{event.facts.type!r} removes a signature that nobody gave."
    elif state != "counted":
        yield f"{event.facts.type!r} removes a signature that is {state} already."


def appeal_law(position: int, event: Event, history: History) -> Iterator[str]:
    """An appeal goes from step to step, term to term and body to body as the law says."""
    if (missing := history.appeals.missing_part(position, event)) is not None:
        yield missing
    # To judge is to let it happen: the rules stand in the methods that change the aggregate.
    if (reason := history.appeals.judge(position, event, history.directory)) is not None:
        yield reason


_ORGANISATION = (
    events.OrganisationRegistered,
    events.OrganisationPopulationRecorded,
    events.OrganisationKeyRegistered,
    events.OrganisationKeyRevoked,
)
_SIGNATURES = (events.PetitionSigned, events.SignatureWithdrawn, events.SignatureVoided)

RULES: tuple[Rule, ...] = (
    Rule(
        "stream-order", "The events of a stream are numbered 1, 2, 3 … without gap or repeat.", stream_order
    ),
    Rule("time-order", "Time does not run backwards.", time_order),
    Rule(
        "organisation",
        "Rights are registered as the rules for organisations say.",
        organisation,
        _ORGANISATION,
        annuls=True,
    ),
    Rule(
        "petition-life",
        "A petition goes from step to step as the law says.",
        petition_life,
        (events.PetitionSubmitted, *STATES_BEFORE),
    ),
    Rule(
        "publication",
        "A petition is published once enough people signed in the limited stage.",
        publication,
        (events.PetitionPublished,),
    ),
    Rule(
        "threshold",
        "Support is announced with the right number and the exact signature that reached it.",
        threshold,
        (events.PetitionSupported,),
    ),
    Rule(
        "closing",
        "A petition ends unsupported after its time only, and with the true number.",
        closing,
        (events.PetitionLapsed, events.PetitionNotSupported),
    ),
    Rule(
        "signature-open",
        "Signatures are given and taken back while the petition collects them.",
        signature_open,
        _SIGNATURES,
        annuls=True,
    ),
    Rule(
        "signature-once",
        "A person signs a petition once; only what counts is removed.",
        signature_once,
        _SIGNATURES,
        annuls=True,
    ),
    Rule(
        "appeal-law",
        "An appeal goes from step to step as the law says, with lawful terms, by the body it lies with.",
        appeal_law,
        tuple(cls for cls in events.catalogue.values() if cls.room in {"appeal", "reading"}),
    ),
)


class Rulebook:
    """Rules by the type of event they look at."""

    def __init__(self, more: Iterable[Rule] = ()) -> None:
        """``more`` are an auditor's own rules, beside those that always hold."""
        self._rules = (*RULES, *more)
        self._by_facts: dict[type[Fact], tuple[Rule, ...]] = {}

    def broken(self, position: int, event: Event, history: History) -> Iterator[tuple[Rule, str]]:
        """Every rule that the event breaks, with the reason."""
        kind = type(event.facts)
        rules = self._by_facts.get(kind)
        if rules is None:
            rules = tuple(rule for rule in self._rules if not rule.facts or kind in rule.facts)
            self._by_facts[kind] = rules
        for rule in rules:
            for reason in rule.check(position, event, history):
                yield rule, reason


def _time(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"second {seconds}"
