"""The one rule by which signatures are counted. Pure.

A ``petition.signed`` adds one, unless the signature of its stream is counted already. A
``signature.withdrawn`` or ``signature.voided`` takes away one, if the signature of its stream is counted;
it is taken from the region in which it was counted. Any other event changes no count. So a count is never
negative and always the sum of its regions, whatever the log holds; and what a lawful log holds is counted as
the law says.

That a stream has one event 1 is guarded by the ledger: only a later event needs to know what came before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import msgspec

from ledger.events import PetitionSigned, SignatureVoided, SignatureWithdrawn

if TYPE_CHECKING:
    from projections.batch import LoggedEvent

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_known: dict[str, str] = {}


Kind = Literal["signed", "withdrawn", "voided"]


class Change(msgspec.Struct, gc=False):
    """One event that changed a count."""

    position: int
    petition: str
    """A UUID in lower case."""
    nullifier: str
    kind: Kind
    region: str | None
    """The one that the signer declared, also for a removal."""
    iat: int
    signature: int
    """Position of the signature that was added or removed."""
    reason: str | None


def petition_id(text: str) -> str | None:
    """``text`` where it is a UUID in lower case, else None."""
    found = _known.get(text)
    if found is None and _UUID.fullmatch(text) is not None:
        if len(_known) >= 100_000:
            _known.clear()
        found = _known[text] = text
    return found


def signature_parts(stream: str) -> tuple[str, str] | None:
    """Petition and nullifier in ``signature/<petition>/<nullifier>``; None for a stream of another form."""
    petition = petition_id(stream[10:46])
    nullifier = stream[47:]
    if petition is None or len(nullifier) != 43 or stream[46] != "/" or "/" in nullifier:
        return None
    return petition, nullifier


class Counting:
    """Turns events into changes, remembering the signatures that a later event continues."""

    def __init__(self) -> None:
        self._continued: frozenset[str] = frozenset()
        self._counted: dict[str, Change] = {}

    def continued(self, events: Iterable[LoggedEvent]) -> list[str]:
        """Streams whose earlier events must be given to :meth:`changes` before ``events`` are."""
        self._continued = frozenset(
            event.stream
            for event in events
            if (event.n != 1 or type(event.facts) is not PetitionSigned) and event.facts.room == "signature"
        )
        return sorted(self._continued)

    def changes(self, events: Iterable[LoggedEvent]) -> list[Change]:
        """What ``events`` change, in their order."""
        found: list[Change] = []
        continued, counted = self._continued, self._counted
        for event in events:
            facts = event.facts
            stream = event.stream
            if isinstance(facts, PetitionSigned):
                parts = signature_parts(stream)
                if parts is None or (event.n != 1 and stream in counted):
                    continue
                at = event.position
                change = Change(at, parts[0], parts[1], "signed", facts.region, event.iat, at, None)
                if stream in continued:
                    counted[stream] = change
                found.append(change)
            elif isinstance(facts, SignatureWithdrawn):
                if signature := counted.pop(stream, None):
                    found.append(_removal(event, signature, "withdrawn", None))
            elif isinstance(facts, SignatureVoided) and (signature := counted.pop(stream, None)):
                found.append(_removal(event, signature, "voided", facts.reason))
        return found


def _removal(
    event: LoggedEvent, signature: Change, kind: Literal["withdrawn", "voided"], reason: str | None
) -> Change:
    return Change(
        event.position,
        signature.petition,
        signature.nullifier,
        kind,
        signature.region,
        event.iat,
        signature.position,
        reason,
    )
