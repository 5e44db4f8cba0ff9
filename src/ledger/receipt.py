"""A receipt: one event, what is disclosed about it, and the proof that the log contains it. Pure.

Whoever holds one can show, offline and for ever, that the log signed for this entry. It carries *public*
disclosures; a signer's IIN or full name is never in it: a receipt that proved who signed a petition would be
something an employer could demand. An applicant may have a *personal* receipt of a step of an appeal, which
also holds what was disclosed to them alone (the text, the decision): for them to keep, not to pass on.

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
from ledger.tlog.checkpoint import Checkpoint, Cosignature, open_checkpoint
from ledger.tlog.note import VerifierKey
from ledger.tlog.policy import Policy
from ledger.tlog.proof import MAX_PROOF_BYTES, TlogProof

FORMAT = "aiqyn/v1"
PERSONAL_FORMAT = "aiqyn/v2"
"""With ``own`` beside the names of the first."""
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
    own: list[str] | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What a receipt proves: ``checkpoint``, signed by the log, has ``event`` at ``position``."""

    event: Event
    position: int
    checkpoint: Checkpoint
    disclosures: tuple[Disclosure, ...]
    own: tuple[Disclosure, ...]
    """What was disclosed to the person alone."""
    cosignatures: tuple[Cosignature, ...]
    """Of the policy's witnesses; none where no policy was given."""

    unchecked: ClassVar[str] = (
        "That the issuer's key was authorised, and signed this event, is not in a receipt: "
        "the log's other entries say so, and an audit of the log checks it."
    )


@dataclass(frozen=True, slots=True)
class Receipt:
    """``entry`` as the log holds it, disclosures that are public, and a tlog-proof.

    In a personal receipt also ``own``, which was disclosed to its holder alone.
    """

    entry: bytes
    disclosures: tuple[Disclosure, ...]
    proof: TlogProof
    own: tuple[Disclosure, ...] = ()

    @property
    def format(self) -> str:
        """Form and version of the file."""
        return PERSONAL_FORMAT if self.own else FORMAT

    def to_bytes(self) -> bytes:
        """The file (``.receipt.json``). Raises :class:`ReceiptError` if it could not be read again."""
        file = _File(
            self.format,
            self.entry.decode("ascii", "replace"),
            [disclosure.encoded for disclosure in self.disclosures],
            self.proof.to_bytes().decode(),
            [disclosure.encoded for disclosure in self.own] if self.own else msgspec.UNSET,
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
        if file.receipt not in (FORMAT, PERSONAL_FORMAT):
            raise ReceiptError(
                f"Receipts of the forms {FORMAT!r} and {PERSONAL_FORMAT!r} can be read, "
                f"not {file.receipt[:50]!r}."
            )
        own = [] if file.own is msgspec.UNSET else file.own
        if bool(own) != (file.receipt == PERSONAL_FORMAT):
            raise ReceiptError(f"A receipt of the form {PERSONAL_FORMAT!r}, and no other, has 'own'.")
        if len(file.disclosures) + len(own) > MAX_DISCLOSURES:
            raise ReceiptError(f"A receipt has at most {MAX_DISCLOSURES} disclosures.")
        try:
            entry = file.event.encode("ascii")
            disclosures = tuple(Disclosure.parse(text) for text in file.disclosures)
            personal = tuple(Disclosure.parse(text) for text in own)
            proof = TlogProof.parse(file.proof.encode())
        except UnicodeEncodeError as error:
            raise ReceiptError(
                "The receipt's event, disclosures and proof have characters that they cannot."
            ) from error
        return cls(entry, disclosures, proof, personal)

    def verify(self, log_vkey: VerifierKey, policy: Policy | None = None) -> VerifiedReceipt:
        """Check everything that a receipt can show; with a ``policy``, that a quorum of witnesses cosigned.

        Raises :class:`ledger.tlog.errors.TlogError` (the log's signature or the inclusion proof),
        :class:`ledger.events.MalformedEventError`, :class:`ledger.statement.DisclosureMismatchError`, or
        :class:`ReceiptError` for a disclosure that is not public.
        """
        event = open_event(self.entry)
        event.check_disclosures((*self.disclosures, *self.own), complete=False)
        for disclosure in self.disclosures:
            if disclosure.name not in event.facts.public:
                raise ReceiptError(
                    f"The receipt discloses {disclosure.name!r}, which is not public: do not pass it on.",
                    disclosure=disclosure.name,
                )
        for disclosure in self.own:
            if disclosure.name not in event.facts.restricted:
                raise ReceiptError(f"{disclosure.name!r} is not something disclosed to the person alone.")
        checkpoint = self.proof.verify(self.entry, log_vkey, policy=policy)
        witnesses = [] if policy is None else [one.vkey for one in policy.witnesses]
        cosignatures = open_checkpoint(self.proof.checkpoint, log_vkey, witnesses).cosignatures
        return VerifiedReceipt(event, self.proof.index, checkpoint, self.disclosures, self.own, cosignatures)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice in it")
    return names
