"""A part of an appeal that goes to another body begins in the transaction that forwards it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger import events
from ledger.domain.aggregate import Issuance, LedgerAggregate, happen
from ledger.domain.appeal import Appeal, filing_terms
from ledger.statement import Disclosure, disclosed

if TYPE_CHECKING:
    from ledger.application import Ledger
    from ledger.store.append import SealedEvent


async def split_off(
    ledger: Ledger, stream: str, parent: LedgerAggregate, facts: events.Fact, by: Issuance
) -> list[SealedEvent]:
    """The sealed beginning of the new appeal where ``facts`` forward a part of ``parent``; else nothing.

    Whoever holds the talon of the whole follows the part with the same code; the new body gets the
    applicant's name and contacts, the questions that go, and the files.
    """
    if not isinstance(facts, events.AppealForwardedInPart) or not isinstance(parent, Appeal):
        return []
    filed = (await ledger.secrets(stream))[0]
    original = filed.event.facts
    if not isinstance(original, events.AppealSubmitted | events.AppealSplitOff | events.AppealImported):
        raise TypeError(f"{stream} does not begin as appeals do")
    known = disclosed(filed.restricted)
    question = disclosed(by.disclosures)["part"]
    names = events.AppealSplitOff.restricted
    values = {name: known.get(name) for name in names} | {"text": question, "cms": None}
    at = by.at
    begun = events.AppealSplitOff(
        kind=parent.kind,
        applicant=parent.applicant,
        body=facts.to,
        channel=parent.channel,
        category=original.category,
        lang=original.lang,
        region=original.region,
        parent=stream,
        **filing_terms(parent.kind, at),
    )
    made = tuple(Disclosure.make(name, value) for name, value in values.items())
    issuance = Issuance(ledger.operator, ledger.keys.gateway.kid, at, made)
    ledger.authorise(issuance, type(begun))
    child = happen(Appeal, f"{stream}-{facts.number}", None, begun, issuance)
    return [await ledger.seal(happened) for happened in child.collect_events()]
