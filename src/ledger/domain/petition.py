"""The life of a petition, from the author's signature to the decision."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from eventsourcing.domain import event

from ledger.domain import terms
from ledger.domain.aggregate import Issuance, LedgerAggregate, NotAllowedError, require
from ledger.events import (
    Fact,
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
    PetitionSubmitted,
    PetitionSupported,
    PetitionWithdrawn,
    PetitionWorkingGroupFormed,
)


class PetitionClosedError(NotAllowedError):
    """The petition does not take signatures now."""

    code = "petition-closed"
    title = "This petition does not take signatures now"


class AnotherBodyError(NotAllowedError):
    """Only the body that a petition lies with acts on it."""

    code = "petition-of-another-body"
    title = "This petition lies with another body"


class Petition(LedgerAggregate):
    """States: submitted, rejected, limited, lapsed, collecting, supported, not-supported, withdrawn,
    routed, considered, decided. Signatures are streams of their own and are counted by the log."""

    transitions: ClassVar[dict[str, frozenset[str]]] = {
        PetitionRejected.type: frozenset({"submitted"}),
        PetitionAdmitted.type: frozenset({"submitted"}),
        PetitionLapsed.type: frozenset({"limited"}),
        PetitionPublished.type: frozenset({"limited"}),
        PetitionSupported.type: frozenset({"collecting"}),
        PetitionNotSupported.type: frozenset({"collecting"}),
        PetitionWithdrawn.type: frozenset({"submitted", "limited", "collecting"}),
        PetitionRouted.type: frozenset({"supported"}),
        PetitionRegistered.type: frozenset({"routed"}),
        PetitionWorkingGroupFormed.type: frozenset({"considered"}),
        PetitionDraftPublished.type: frozenset({"considered"}),
        PetitionDecided.type: frozenset({"considered"}),
        PetitionOverdue.type: frozenset({"submitted", "considered"}),
    }

    @event("Submitted")
    def __init__(self, facts: PetitionSubmitted, by: Issuance) -> None:
        _require_term("moderation", facts.moderate_until, terms.moderate_until(by.at))
        self.state = "submitted"
        self.author = facts.author
        self.body = facts.body
        self.lang = facts.lang
        self.text_hash = facts.text_hash
        self.due: datetime | None = facts.moderate_until
        self.overdue = False
        self.needed: int | None = None
        self.required: int | None = None
        self.open_until: datetime | None = None
        self.draft: PetitionDraftPublished | None = None
        self.working_group = False

    @event("Rejected")
    def reject(self, facts: PetitionRejected, by: Issuance) -> None:
        """Moderation refuses, with a published reason."""
        self.require_state(facts)
        self.state = "rejected"
        self.due = None

    @event("Admitted")
    def admit(self, facts: PetitionAdmitted, by: Issuance) -> None:
        """Moderation lets it through: reachable by its link until enough people sign."""
        self.require_state(facts)
        _require_term("the limited stage", facts.limited_until, terms.limited_until(by.at))
        needed = terms.petition_terms(by.at).limited_signatures
        require(facts.needed == needed, f"The limited stage needs {needed} signatures, not {facts.needed}.")
        self.state = "limited"
        self.due = None
        self.needed = facts.needed
        self.open_until = facts.limited_until

    @event("Lapsed")
    def lapse(self, facts: PetitionLapsed, by: Issuance) -> None:
        """The limited stage ended with too few signatures."""
        self.require_state(facts)
        self._require_ended(by.at)
        require(facts.count < (self.needed or 0), f"{facts.count} signatures are enough to be published.")
        self.state = "lapsed"

    @event("Published")
    def publish(self, facts: PetitionPublished, by: Issuance) -> None:
        """Public; the threshold is a number of this petition from here on."""
        self.require_state(facts)
        _require_term("collection", facts.collect_until, terms.collect_until(by.at))
        self.state = "collecting"
        self.required = facts.required
        self.open_until = facts.collect_until

    @event("Supported")
    def support(self, facts: PetitionSupported, by: Issuance) -> None:
        """The threshold is reached and stays reached."""
        self.require_state(facts)
        require(
            facts.required == self.required,
            f"The threshold of this petition is {self.required}, not {facts.required}.",
        )
        self.state = "supported"

    @event("NotSupported")
    def end_unsupported(self, facts: PetitionNotSupported, by: Issuance) -> None:
        """The time of collection ended below the threshold."""
        self.require_state(facts)
        self._require_ended(by.at)
        require(
            facts.required == self.required and facts.count < facts.required,
            f"{facts.count} of {self.required} signatures is not below the threshold.",
        )
        self.state = "not-supported"

    @event("Withdrawn")
    def withdraw(self, facts: PetitionWithdrawn, by: Issuance) -> None:
        """The author takes it back, before the threshold."""
        self.require_state(facts)
        self.state = "withdrawn"
        self.due = None

    @event("Routed")
    def route(self, facts: PetitionRouted, by: Issuance) -> None:
        """To the body that is competent; it takes no more signatures."""
        self.require_state(facts)
        self.state = "routed"
        self.body = facts.body

    @event("Registered")
    def register(self, facts: PetitionRegistered, by: Issuance) -> None:
        """The competent body takes it into consideration. The term depends on the body's level."""
        self.require_state(facts)
        self._require_body(by)
        require(facts.consider_until > by.at, "The term of consideration lies in the future.")
        self.state = "considered"
        self.due = facts.consider_until
        self.overdue = False

    @event("WorkingGroupFormed")
    def form_working_group(self, facts: PetitionWorkingGroupFormed, by: Issuance) -> None:
        """Interested parties; the author is invited."""
        self.require_state(facts)
        self._require_body(by)
        require(facts.author_invited, "The author of the petition must be invited to the working group.")
        self.working_group = True

    @event("DraftPublished")
    def publish_draft(self, facts: PetitionDraftPublished, by: Issuance) -> None:
        """The draft decision is publicly discussed."""
        self.require_state(facts)
        self._require_body(by)
        require(self.working_group, "The working group comes before the draft decision.")
        _require_term("public discussion", facts.discuss_until, terms.discuss_until(by.at))
        self.draft = facts

    @event("Decided")
    def decide(self, facts: PetitionDecided, by: Issuance) -> None:
        """Satisfied, partly or refused, with reasons in both languages."""
        self.require_state(facts)
        self._require_body(by)
        require(self.draft is not None, "The draft decision must be published for discussion first.")
        self.state = "decided"
        self.due = None

    @event("Overdue")
    def miss_term(self, facts: PetitionOverdue, by: Issuance) -> None:
        """A term that binds a body has passed; said once for each term."""
        self.require_state(facts)
        step = "moderation" if self.state == "submitted" else "consideration"
        require(facts.step == step, f"The term that runs is that of {step}.")
        require(facts.due == self.due and by.at >= facts.due, f"The term of {step} ends at {self.due}.")
        require(not self.overdue, "That this term was missed is recorded already.")
        self.overdue = True

    def lawful(self, facts: type[Fact], at: datetime, said: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of ``facts`` that the law alone decides."""
        if facts is PetitionAdmitted:
            needed = terms.petition_terms(at).limited_signatures
            return {"needed": needed, "limited_until": terms.limited_until(at)}
        if facts is PetitionDraftPublished:
            return {"discuss_until": terms.discuss_until(at)}
        return {}

    def require_open(self, at: datetime) -> None:
        """Raises :class:`PetitionClosedError` unless a signature may be given at ``at``."""
        if self.state not in {"limited", "collecting", "supported"}:
            raise PetitionClosedError(
                f"This petition is {self.state}: it takes no signatures.", state=self.state
            )
        if self.open_until is None or at >= self.open_until:
            raise PetitionClosedError(
                f"Signatures were taken until {self.open_until:%Y-%m-%d %H:%M} UTC.",
                state=self.state,
                until=self.open_until.isoformat() if self.open_until else None,
            )

    def _require_ended(self, at: datetime) -> None:
        require(
            self.open_until is not None and at >= self.open_until,
            f"Signatures are taken until {self.open_until}.",
        )

    def _require_body(self, by: Issuance) -> None:
        if by.iss != self.body:
            raise AnotherBodyError(
                f"This petition lies with {self.body}; {by.iss} cannot act on it.", body=self.body
            )


def _require_term(what: str, given: datetime, lawful: datetime) -> None:
    require(
        given == lawful,
        f"The term of {what} ends at {lawful.isoformat()}, not at {given.isoformat()}.",
        lawful=lawful.isoformat(),
    )
