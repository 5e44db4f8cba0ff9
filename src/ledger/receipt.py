"""A receipt: one event, its public disclosures and the proof that the log contains it. Pure.

Whoever holds one can show, offline and for ever, that the log signed for this entry. It carries *public*
disclosures only. A signer's IIN or full name is never in it: a receipt that proved who signed would be
something an employer could demand.

What a receipt cannot show: that the event's issuer was entitled to issue it, for that is written in other
entries of the log; whoever replays the log (``aiqyn audit``) checks it for all of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from ledger.errors import AiqynError
from ledger.statement import Disclosure, Event, open_event
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.note import VerifierKey
from ledger.tlog.proof import MAX_PROOF_BYTES, TlogProof

FORMAT = "aiqyn/v1"
MAX_RECEIPT_BYTES = 2 * MAX_PROOF_BYTES
MAX_DISCLOSURES = 32


class ReceiptError(AiqynError):
    """The file is not a receipt, or the receipt holds what does not belong in one."""

    code = "receipt-invalid"
    title = "This is not a valid receipt"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    receipt: str
    event: str
    disclosures: list[str]
    proof: str


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What a receipt proves: ``checkpoint``, signed by the log, has ``event`` at ``position``."""

    event: Event
    position: int
    checkpoint: Checkpoint
    disclosures: tuple[Disclosure, ...]

    unchecked: ClassVar[str] = (
        "That the issuer's key was authorised, and signed this event, is not in a receipt: "
        "the log's other entries say so, and an audit of the log checks it."
    )


@dataclass(frozen=True, slots=True)
class Receipt:
    """``entry`` as the log holds it, disclosures that are public, and a tlog-proof."""

    entry: bytes
    disclosures: tuple[Disclosure, ...]
    proof: TlogProof

    def to_bytes(self) -> bytes:
        """The file (``.receipt.json``). Raises :class:`ReceiptError` if it could not be read again."""
        file = _File(
            FORMAT,
            self.entry.decode("ascii", "replace"),
            [disclosure.encoded for disclosure in self.disclosures],
            self.proof.to_bytes().decode(),
        )
        data = msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"
        if Receipt.parse(data) != self:
            raise ReceiptError("This receipt could not be read again as it is.")
        return data

    @classmethod
    def parse(cls, data: bytes) -> Receipt:
        """Read a file strictly, without verifying anything.

        Raises :class:`ReceiptError`, or the error of the part that is malformed.
        """
        if len(data) > MAX_RECEIPT_BYTES:
            raise ReceiptError(f"A receipt has at most {MAX_RECEIPT_BYTES} bytes; this file has {len(data)}.")
        try:
            file = msgspec.convert(json.loads(data, object_pairs_hook=_unique), _File)
        except (ValueError, RecursionError, msgspec.ValidationError) as error:
            raise ReceiptError(f"The file is not a receipt: {error}.") from error
        if file.receipt != FORMAT:
            raise ReceiptError(f"Receipts of the form {FORMAT!r} can be read, not {file.receipt[:50]!r}.")
        if len(file.disclosures) > MAX_DISCLOSURES:
            raise ReceiptError(f"A receipt has at most {MAX_DISCLOSURES} disclosures.")
        try:
            entry = file.event.encode("ascii")
            disclosures = tuple(Disclosure.parse(text) for text in file.disclosures)
            proof = TlogProof.parse(file.proof.encode())
        except UnicodeEncodeError as error:
            raise ReceiptError(
                "The receipt's event, disclosures and proof have characters that they cannot."
            ) from error
        return cls(entry, disclosures, proof)

    def verify(self, log_vkey: VerifierKey) -> VerifiedReceipt:
        """Check everything that a receipt can show.

        Raises :class:`ledger.tlog.errors.TlogError` (the log's signature or the inclusion proof),
        :class:`ledger.events.MalformedEventError`, :class:`ledger.statement.DisclosureMismatchError`, or
        :class:`ReceiptError` for a disclosure that is not public.
        """
        event = open_event(self.entry)
        event.check_disclosures(self.disclosures, complete=False)
        for disclosure in self.disclosures:
            if disclosure.name not in event.facts.public:
                raise ReceiptError(
                    f"The receipt discloses {disclosure.name!r}, which is not public: do not pass it on.",
                    disclosure=disclosure.name,
                )
        checkpoint = self.proof.verify(self.entry, log_vkey)
        return VerifiedReceipt(event, self.proof.index, checkpoint, self.disclosures)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice in it")
    return names
