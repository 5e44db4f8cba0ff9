"""Between an aggregate's events and the ledger's entries: seals what is new, opens what is stored."""

from __future__ import annotations

from typing import Any, cast

from eventsourcing.domain import CanInitAggregate, DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent
from eventsourcing.utils import get_topic

from ledger.domain.aggregate import Issuance, LedgerAggregate
from ledger.domain.appeal import Appeal
from ledger.domain.assurance import Commitment, Erasure, Evidence
from ledger.domain.organisation import Organisation
from ledger.domain.petition import Petition
from ledger.domain.reading import Reading
from ledger.domain.signature import Signature
from ledger.keys import SigningKey, UnauthorisedIssuerError
from ledger.statement import Event, open_event, seal
from ledger.store.append import SealedEvent

AGGREGATES: dict[str, type[LedgerAggregate]] = {
    "organisation": Organisation,
    "petition": Petition,
    "signature": Signature,
    "appeal": Appeal,
    "reading": Reading,
    "projection": Commitment,
    "erasure": Erasure,
    "evidence": Evidence,
}
"""The aggregate that lives in each room, by the first part of its streams' names."""


class LedgerMapper(Mapper[str]):
    """Seals with the keys of this service; opens without checking (what is stored was checked)."""

    def __init__(self, keys: dict[str, SigningKey]) -> None:
        super().__init__(JSONTranscoder())  # required by the base class, used for nothing
        self._keys = keys

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> SealedEvent:
        """Seal an aggregate's event, or take the seal that its issuer put on it."""
        happened = cast("LedgerAggregate.Event", domain_event)
        by = happened.by
        event = by.sealed or self._seal(happened)
        return SealedEvent(
            originator_id=event.stream,
            originator_version=event.n,
            topic=event.facts.type,
            state=event.entry,
            iat=event.iat,
            event=event,
            public=tuple(d for d in by.disclosures if d.name in event.facts.public),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[str]:
        """Open an entry as an event of its aggregate."""
        return domain_event(open_event(stored_event.state))

    def _seal(self, happened: LedgerAggregate.Event) -> Event:
        by = happened.by
        key = self._keys.get(by.kid)
        if key is None:
            raise UnauthorisedIssuerError(f"This service does not hold key {by.kid}.", kid=by.kid)
        return seal(
            happened.facts,
            iss=by.iss,
            stream=happened.originator_id,
            n=happened.originator_version,
            at=by.at,
            key=key,
            jti=by.jti,
            disclosures=by.disclosures,
        )


def domain_event(event: Event) -> DomainEventProtocol[str]:
    """An opened event as its aggregate knows it: ``mutate`` applies it, and the rules with it."""
    by = Issuance.of(event)
    aggregate = AGGREGATES[event.facts.room]
    cls = aggregate.event_class(type(event.facts))
    state: dict[str, Any] = {
        "originator_id": event.stream,
        "originator_version": event.n,
        "timestamp": by.at,
        "facts": event.facts,
        "by": by,
    }
    if issubclass(cls, CanInitAggregate):
        state["originator_topic"] = get_topic(aggregate)
    return cast("DomainEventProtocol[str]", cls(**state))
