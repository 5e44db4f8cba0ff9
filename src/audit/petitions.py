"""Petitions replayed by the law: each event is let happen to its aggregate, whose methods hold the rules.

What an aggregate cannot know by itself stands in other streams, and is checked beside it: that petitions go
to bodies that answer them, and what term and threshold follow from the kind of that body. Whether the
numbers are right that an event names is for the recount (:mod:`audit.history`).
"""

from __future__ import annotations

from typing import Any

from audit.aggregates import Aggregates
from ledger import context
from ledger.domain.aggregate import Issuance, NotAllowedError
from ledger.domain.petition import Petition
from ledger.domain.terms import NoTermError
from ledger.events import PetitionSubmitted
from ledger.keys import Directory
from ledger.statement import Event


class Petitions:
    """Every petition, as its events left it."""

    def __init__(self) -> None:
        self._aggregates = Aggregates(Petition)
        self._unlawful: set[str] = set()
        """After an unlawful step a petition's steps are not judged any more: one finding would drag a hundred
        behind it. Its signatures are counted on, and what is announced of their number is checked."""

    def get(self, stream: str) -> Petition | None:
        """The petition as its lawful steps left it; None after an unlawful one."""
        return self._aggregates.get(stream)

    def judge(self, event: Event, directory: Directory) -> str | None:
        """Let the event happen; the reason why it was not allowed, or None."""
        if event.stream in self._unlawful:
            return None
        reason = self._aggregates.happen(event) or self._judge_around(event, directory)
        if reason is not None:
            self._unlawful.add(event.stream)
            self._aggregates.forget(event.stream)
        return reason

    def _judge_around(self, event: Event, directory: Directory) -> str | None:
        """By what stands in other streams."""
        facts = event.facts
        try:
            if isinstance(facts, PetitionSubmitted):
                context.require_body(directory, facts.body, "petition")
            context.check(directory, facts, Issuance.of(event), self._aggregates.get(event.stream))
        except (NotAllowedError, NoTermError) as refused:
            return str(refused)
        return None

    # --- from one audit to the next --------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {"petitions": self._aggregates.dump(), "unlawful": sorted(self._unlawful)}

    def load(self, dumped: dict[str, Any]) -> None:
        """Take over what :meth:`dump` gave."""
        self._aggregates.load(dumped["petitions"])
        self._unlawful = set(dumped["unlawful"])
