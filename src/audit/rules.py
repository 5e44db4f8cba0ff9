"""The rules, each with a name, what it asks for, and a test that breaks it.

A rule looks at one event and at the history before it, and gives a reason for everything that is wrong.
That the event can be read, that its issuer may issue it and did sign it, is known before rules are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from audit.checking import SIGNATURE_STREAM
from audit.history import CLOCK_TOLERANCE, History, Petition, petition_of
from ledger import events
from ledger.events import Fact
from ledger.statement import Event

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
    article: str = ""
    """Where it comes from: an article of the law, or a section of this project's specification."""


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
    if (reason := history.organisation_law.judge(position, event)) is not None:
        yield reason


def petition_law(_position: int, event: Event, history: History) -> Iterator[str]:
    """A petition goes from step to step, term to term and body to body as the law says."""
    # To judge is to let it happen: the rules stand in the methods that change the aggregate.
    if (reason := history.petition_law.judge(event, history.directory)) is not None:
        yield reason


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
    if not SIGNATURE_STREAM.fullmatch(event.stream):
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
    if (reason := history.appeals.judge(position, event, history.directory)) is not None:
        yield reason


def assurance(position: int, event: Event, history: History) -> Iterator[str]:
    """A digest, an erasure or a look at the evidence is what it says to be."""
    if (reason := history.assurance.judge(position, event, history)) is not None:
        yield reason


_ORGANISATION = (
    events.OrganisationRegistered,
    events.OrganisationPopulationRecorded,
    events.OrganisationKeyRegistered,
    events.OrganisationKeyRevoked,
)
_SIGNATURES = (events.PetitionSigned, events.SignatureWithdrawn, events.SignatureVoided)

_EVIDENCE = (events.EvidenceAsked, events.EvidenceDrawn, events.EvidenceOpened)
_LAW = "АППК, as amended by 31-VIII of 02.10.2023"

BEFORE_RULES: tuple[tuple[str, str, str], ...] = (
    ("checkpoint", "The checkpoint is signed by every key of the log that was given.", "spec 1"),
    ("cosignatures", "The quorum of witnesses that a policy asks for cosigned it.", "C2SP tlog-policy"),
    ("log-key", "The operator names the key of its log that was given.", "spec 1"),
    ("log-shrank", "The log never gets shorter.", "C2SP tlog-checkpoint"),
    ("log-size", "Numbers count what the log has signed.", "spec 6"),
    ("fork", "The log continues everything that was ever signed of it.", "RFC 9162, 2.1.4"),
    ("tree-root", "The entries make the root that the log signed.", "RFC 6962, 2.1"),
    ("entry-hash", "Each entry hashes to its leaf in the level-0 tile.", "RFC 6962, 2.1"),
    ("tile-hash", "Each hash of a tile is the root over the tile below it.", "C2SP tlog-tiles"),
    ("tile-missing", "Every tile and entry bundle is served.", "C2SP tlog-tiles"),
    ("tile-malformed", "Every tile and entry bundle has its form.", "C2SP tlog-tiles"),
    ("entry-format", "Every entry is an event of the catalogue, strictly spelled.", "spec 2, RFC 9901"),
    ("issuer", "Its key was registered for its issuer, with the role, and not revoked.", "spec 5"),
    ("event-signature", "It is signed by that key.", "spec 2, RFC 8032"),
)
"""What is asked of the log and of every entry before any rule: name, what it says, where it comes from."""

RULES: tuple[Rule, ...] = (
    Rule(
        "stream-order",
        "The events of a stream are numbered 1, 2, 3 … without gap or repeat.",
        stream_order,
        article="spec 2",
    ),
    Rule("time-order", "Time does not run backwards.", time_order, article="spec 2"),
    Rule(
        "organisation",
        "Rights are registered as the rules for organisations say.",
        organisation,
        _ORGANISATION,
        annuls=True,
        article="spec 5",
    ),
    Rule(
        "petition-law",
        "A petition goes from step to step as the law says, with lawful terms, by the body it lies with.",
        petition_law,
        tuple(cls for cls in events.catalogue.values() if cls.room == "petition"),
        article=_LAW,
    ),
    Rule(
        "publication",
        "A petition is published once enough people signed in the limited stage.",
        publication,
        (events.PetitionPublished,),
        article=_LAW,
    ),
    Rule(
        "threshold",
        "Support is announced with the right number and the exact signature that reached it.",
        threshold,
        (events.PetitionSupported,),
        article=f"{_LAW}; spec 6",
    ),
    Rule(
        "closing",
        "A petition ends unsupported after its time only, and with the true number.",
        closing,
        (events.PetitionLapsed, events.PetitionNotSupported),
        article=f"{_LAW}; spec 6",
    ),
    Rule(
        "signature-open",
        "Signatures are given and taken back while the petition collects them.",
        signature_open,
        _SIGNATURES,
        annuls=True,
        article=_LAW,
    ),
    Rule(
        "signature-once",
        "A person signs a petition once; only what counts is removed.",
        signature_once,
        _SIGNATURES,
        annuls=True,
        article=f"{_LAW}; spec 4",
    ),
    Rule(
        "appeal-law",
        "An appeal goes from step to step as the law says, with lawful terms, by the body it lies with.",
        appeal_law,
        tuple(cls for cls in events.catalogue.values() if cls.room == "appeal"),
        article="АППК, 63-65, 73, 76, 91-93, 99; order 70 of 19.05.2021",
    ),
    Rule(
        "reading",
        "Only who handles an appeal reads what is personal in it, and each reading stands in the log.",
        appeal_law,
        (events.DisclosureRead,),
        article="94-V on personal data; spec 4",
    ),
    Rule(
        "commitment",
        "A digest is committed once, of what was folded before.",
        assurance,
        (events.ProjectionCommitted,),
        article="spec 6",
    ),
    Rule(
        "erasure",
        "An erasure names what there was to erase, on a ground that allows it, and not before its time.",
        assurance,
        (events.DisclosureErased,),
        article="94-V on personal data; domain/retention.toml",
    ),
    Rule(
        "evidence",
        "A sample follows from the secret that was committed to and the root; only what was drawn is opened.",
        assurance,
        _EVIDENCE,
        article="spec 4; ledger/sample.py",
    ),
)
USUAL = frozenset(("stream-order", "time-order", "signature-open", "signature-once"))
"""The rules of signatures, all of which :meth:`audit.history.History.usual` asks for."""


class Rulebook:
    """Rules by the type of event they look at."""

    def __init__(self, more: Iterable[Rule] = ()) -> None:
        """``more`` are an auditor's own rules, beside those that always hold."""
        self.rules = (*RULES, *more)
        self.failed: dict[str, str] = {}
        """Rules of an auditor's own that broke down, and how: they are not asked any more."""
        self._ours = frozenset(id(rule) for rule in RULES)
        self._by_facts: dict[type[Fact], tuple[Rule, ...]] = {}

    def of(self, kind: type[Fact]) -> tuple[Rule, ...]:
        """The rules that look at events of a type."""
        rules = self._by_facts.get(kind)
        if rules is None:
            rules = tuple(rule for rule in self.rules if not rule.facts or kind in rule.facts)
            self._by_facts[kind] = rules
        return rules

    def own(self) -> tuple[Rule, ...]:
        """The auditor's own."""
        return self.rules[len(RULES) :]

    def usual(self) -> bool:
        """Whether no rule but those of :data:`USUAL` looks at signatures."""
        return all({rule.name for rule in self.of(kind)} == USUAL for kind in _SIGNATURES)

    def broken(self, position: int, event: Event, history: History) -> Iterator[tuple[Rule, str]]:
        """Every rule that the event breaks, with the reason."""
        for rule in self.of(type(event.facts)):
            if id(rule) in self._ours:
                for reason in rule.check(position, event, history):
                    yield rule, reason
            elif rule.name not in self.failed:
                try:
                    reasons = [str(reason) for reason in rule.check(position, event, history)]
                except Exception as error:  # somebody else's code: it must not end the audit
                    self.failed[rule.name] = f"at position {position}: {type(error).__name__}: {error}"
                else:
                    for reason in reasons:
                        yield rule, reason


def _time(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"second {seconds}"
