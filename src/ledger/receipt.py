"""What a person keeps: an event, what is public about it, and the proof that the log holds it."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.statement import Disclosure
from ledger.tlog.proof import TlogProof


@dataclass(frozen=True, slots=True)
class Receipt:
    """An event with its public disclosures and its inclusion proof."""

    entry: bytes
    disclosures: tuple[Disclosure, ...]
    proof: TlogProof
