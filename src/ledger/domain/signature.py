"""One person's signature on one petition.

Its stream is ``signature/<petition>/<nullifier>``: that a stream begins once is what makes a second
signature of the same person impossible.
"""

from __future__ import annotations

import hmac
from typing import ClassVar

from eventsourcing.domain import event

from ledger.domain.aggregate import Issuance, LedgerAggregate
from ledger.encoding import b64url
from ledger.events import PetitionSigned, SignatureVoided, SignatureWithdrawn


class Signature(LedgerAggregate):
    """States: counted, withdrawn, voided. Both ends are final."""

    transitions: ClassVar[dict[str, frozenset[str]]] = {
        SignatureWithdrawn.type: frozenset({"counted"}),
        SignatureVoided.type: frozenset({"counted"}),
    }

    @event("Signed")
    def __init__(self, facts: PetitionSigned, by: Issuance) -> None:
        self.state = "counted"

    @event("Withdrawn")
    def withdraw(self, facts: SignatureWithdrawn, by: Issuance) -> None:
        """The signer takes it back; the person cannot sign this petition again."""
        self.require_state(facts)
        self.state = "withdrawn"

    @event("Voided")
    def void(self, facts: SignatureVoided, by: Issuance) -> None:
        """Removed from the count, with a reason; that it was once counted stays."""
        self.require_state(facts)
        self.state = "voided"


def nullifier(secret: bytes, iin: str) -> str:
    """What stands for a person on one petition: HMAC-SHA-256 over the IIN, base64url.

    ``secret`` is the petition's own random key (32 bytes): on another petition the same person has
    another nullifier, and without the secret nobody can try out all IINs.
    """
    return b64url(hmac.digest(secret, iin.encode("ascii"), "sha256"))


def petition_stream(petition: str) -> str:
    """The stream of a petition by its id (a UUID)."""
    return f"petition/{petition}"


def signature_stream(petition: str, person: str) -> str:
    """The stream of one person's signature; ``person`` is the nullifier."""
    return f"signature/{petition}/{person}"
