"""An organisation: the operator, the authorised body, a ministry, an akimat, a maslikhat, a council."""

from __future__ import annotations

from typing import ClassVar

from eventsourcing.domain import event

from ledger.domain.aggregate import Issuance, LedgerAggregate, require
from ledger.events import (
    OrganisationKeyRegistered,
    OrganisationKeyRevoked,
    OrganisationPopulationRecorded,
    OrganisationRegistered,
)
from ledger.keys import ROLES_OF_KIND, VerifyingKey


class Organisation(LedgerAggregate):
    """Its kind decides which roles its keys may have."""

    transitions: ClassVar[dict[str, frozenset[str]]] = {
        OrganisationPopulationRecorded.type: frozenset({"registered"}),
        OrganisationKeyRegistered.type: frozenset({"registered"}),
        OrganisationKeyRevoked.type: frozenset({"registered"}),
    }

    @event("Registered")
    def __init__(self, facts: OrganisationRegistered, by: Issuance) -> None:
        require(
            (facts.kind == "operator") == (facts.root_key is not None),
            "The operator, and nobody else, registers itself with a root key.",
        )
        require(
            facts.kind != "operator" or by.iss == self.id,
            "The operator registers itself.",
        )
        self.state = "registered"
        self.facts = facts
        self.keys: dict[str, frozenset[str]] = {}
        self.revoked: set[str] = set()
        if facts.root_key is not None:
            self.keys[VerifyingKey(facts.root_key).kid] = frozenset({"operator"})

    @event("PopulationRecorded")
    def record_population(self, facts: OrganisationPopulationRecorded, by: Issuance) -> None:
        """A newer figure; what was frozen earlier stays."""
        self.require_state(facts)

    @event("KeyRegistered")
    def register_key(self, facts: OrganisationKeyRegistered, by: Issuance) -> None:
        """From here on the key may issue what its roles allow."""
        self.require_state(facts)
        kid = VerifyingKey(facts.key).kid
        require(kid not in self.keys, f"Key {kid} was registered for {self.id} before; make a new key.")
        excess = set(facts.roles) - ROLES_OF_KIND[self.facts.kind]
        require(
            not excess,
            f"Keys of a {self.facts.kind} cannot have the role {', '.join(sorted(excess))}.",
            allowed=sorted(ROLES_OF_KIND[self.facts.kind]),
        )
        self.keys[kid] = frozenset(facts.roles)

    @event("KeyRevoked")
    def revoke_key(self, facts: OrganisationKeyRevoked, by: Issuance) -> None:
        """From here on the key issues nothing more in this organisation's name."""
        self.require_state(facts)
        require(facts.kid in self.keys, f"{self.id} has no key {facts.kid}.")
        require(facts.kid not in self.revoked, f"Key {facts.kid} is revoked already.")
        require(
            not (self.facts.kind == "operator" and self._last_operator_key(facts.kid)),
            "This is the last key that can register others; register its successor first.",
        )
        self.revoked.add(facts.kid)

    def _last_operator_key(self, kid: str) -> bool:
        return "operator" in self.keys[kid] and not any(
            "operator" in roles and other != kid and other not in self.revoked
            for other, roles in self.keys.items()
        )
