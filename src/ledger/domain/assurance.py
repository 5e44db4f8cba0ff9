"""What the operator binds itself by: committed digests, erasures, looks at the evidence."""

from __future__ import annotations

import hashlib
import re
from typing import ClassVar

from eventsourcing.domain import event

from ledger.domain.aggregate import Issuance, LedgerAggregate, require
from ledger.events import (
    DisclosureErased,
    EvidenceAsked,
    EvidenceDrawn,
    EvidenceOpened,
    ProjectionCommitted,
)


class Commitment(LedgerAggregate):
    """One digest of one projection: it stands, and nothing more can happen to it."""

    transitions: ClassVar[dict[str, frozenset[str]]] = {}

    @event("Committed")
    def __init__(self, facts: ProjectionCommitted, by: Issuance) -> None:
        require(
            re.fullmatch(rf"projection/[a-z][a-z_]*/{facts.as_of}", self.id) is not None,
            f"The digest of a projection as of {facts.as_of} is called projection/<name>/{facts.as_of}.",
        )
        self.state = "committed"


class Erasure(LedgerAggregate):
    """What was destroyed stays destroyed: nothing more can happen to it."""

    transitions: ClassVar[dict[str, frozenset[str]]] = {}

    @event("Erased")
    def __init__(self, facts: DisclosureErased, by: Issuance) -> None:
        require(
            self.id.rpartition("/")[0] == f"erasure/{facts.of}",
            f"An erasure in {facts.of} is called erasure/{facts.of}/… .",
        )
        require(bool(facts.names) or facts.data_key, "An erasure destroys something.")
        require(list(facts.names) == sorted(set(facts.names)), "Names are sorted, each once.")
        self.state = "erased"
        self.of = facts.of


class Evidence(LedgerAggregate):
    """One look at the evidence of a random sample: asked, then drawn, then each signature opened once."""

    transitions: ClassVar[dict[str, frozenset[str]]] = {
        EvidenceDrawn.type: frozenset({"asked"}),
        EvidenceOpened.type: frozenset({"drawn"}),
    }

    @event("Asked")
    def __init__(self, facts: EvidenceAsked, by: Issuance) -> None:
        self.state = "asked"
        self.of, self.sample, self.commitment = facts.of, facts.sample, facts.commitment
        self.by = by.iss
        self.opened: set[int] = set()

    @event("Drawn")
    def draw(self, facts: EvidenceDrawn, by: Issuance) -> None:
        """By who asked, with the secret that was committed to."""
        self.require_draw(by.iss, facts.secret)
        self.state = "drawn"
        self.drawn = facts

    def require_draw(self, iss: str, secret: str) -> None:
        """Raises :class:`NotAllowedError` unless ``iss`` may draw now, with this secret (hex)."""
        self.require_state(EvidenceDrawn)
        require(iss == self.by, f"{self.id} was asked by {self.by}.")
        require(
            hashlib.sha256(bytes.fromhex(secret)).hexdigest() == self.commitment,
            f"This is not the secret that {self.id} committed to.",
        )

    @event("Opened")
    def open(self, facts: EvidenceOpened, by: Issuance) -> None:
        """That it belongs to the sample is for who knows the whole log to check."""
        self.require_state(facts)
        require(facts.position not in self.opened, f"Entry {facts.position} was opened for {self.id} before.")
        require(len(self.opened) < self.sample, f"{self.id} asked for {self.sample} signatures.")
        self.opened.add(facts.position)
