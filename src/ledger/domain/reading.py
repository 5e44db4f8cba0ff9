"""One reading of what is personal in a stream, by an official."""

from __future__ import annotations

from typing import ClassVar

from eventsourcing.domain import event

from ledger.domain.aggregate import Issuance, LedgerAggregate, require
from ledger.events import DisclosureRead


class Reading(LedgerAggregate):
    """It happened, and nothing more can happen to it."""

    transitions: ClassVar[dict[str, frozenset[str]]] = {}

    @event("Read")
    def __init__(self, facts: DisclosureRead, by: Issuance) -> None:
        require(
            self.id.rpartition("/")[0] == f"reading/{facts.of}",
            f"A reading of {facts.of} is called reading/{facts.of}/… .",
        )
        self.state = "read"
        self.of = facts.of
        self.by = by.iss
        self.events = facts.events
