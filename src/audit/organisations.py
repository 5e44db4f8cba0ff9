"""Organisations replayed by the law: who takes part, with which keys, and with what rights."""

from __future__ import annotations

from typing import Any

from audit.aggregates import Aggregates
from ledger.domain.organisation import Organisation
from ledger.events import OrganisationKeyRegistered, OrganisationRegistered
from ledger.keys import MalformedKeyError, VerifyingKey
from ledger.statement import Event


class Organisations:
    """Every organisation, as its lawful events left it: an unlawful one gives nobody a right."""

    def __init__(self) -> None:
        self._aggregates = Aggregates(Organisation)

    def judge(self, position: int, event: Event) -> str | None:
        """Let the event happen; the reason why it was not allowed, or None."""
        before = self._aggregates.get(event.stream)
        if before is not None:
            before.version = event.n - 1  # that a number is left out or repeated is another rule's
        reason = _judge_around(position, event, before) or self._aggregates.happen(event)
        if reason is not None and before is not None:
            # It is as if it had not happened, but its number is taken: what follows is judged by itself.
            before.version = event.n
        return reason

    # --- from one audit to the next --------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return self._aggregates.dump()

    def load(self, dumped: dict[str, Any]) -> None:
        """Take over what :meth:`dump` gave."""
        self._aggregates.load(dumped)


def _judge_around(position: int, event: Event, before: Organisation | None) -> str | None:
    facts = event.facts
    if isinstance(facts, OrganisationRegistered):
        if before is not None:
            return f"{event.stream} is registered already."
        if (facts.kind == "operator") != (position == 0):
            return "The operator, and nobody else, registers itself with a root key in the first entry."
    elif before is None:
        return f"{event.stream} is not registered."
    if isinstance(facts, OrganisationKeyRegistered):
        try:
            VerifyingKey(facts.key)
        except MalformedKeyError as error:
            return f"{facts.key} is no key: {error}"
    return None
