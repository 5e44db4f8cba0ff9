"""Appeals replayed by the law: each event is let happen to its aggregate, whose methods hold the rules.

What an aggregate cannot know by itself is checked beside it: that numbers have no gaps, that a part begins
behind the event that forwards it, as what it was, that appeals go to bodies that answer them, that the
gateway alone says what was signed electronically, and that only who handled an appeal read what is personal
in it.
"""

from __future__ import annotations

import re
from typing import Any

from audit.aggregates import Aggregates
from ledger import context
from ledger.domain.aggregate import Issuance, NotAllowedError
from ledger.domain.appeal import Appeal
from ledger.domain.reading import Reading
from ledger.events import AppealForwardedInPart, AppealSplitOff, AppealSubmitted, DisclosureRead
from ledger.keys import Directory
from ledger.statement import Event

_NUMBER = re.compile(r"appeal/([A-Z]{2}-[0-9]{4})-([0-9]{8})")


class Appeals:
    """Every appeal, as its events left it."""

    def __init__(self) -> None:
        self._open = Aggregates(Appeal)
        self._unlawful: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._parted: tuple[int, str, str] = (-1, "", "")
        """Position, stream and body of the part that was forwarded last."""

    def get(self, stream: str) -> Appeal | None:
        """The appeal as its lawful steps left it; None after an unlawful one."""
        return self._open.get(stream)

    def missing_part(self, position: int, event: Event) -> str | None:
        """The reason where a part was forwarded, and the entry behind that does not begin it."""
        at, part, _ = self._parted
        if not part or (position == at + 1 and event.stream == part):
            return None
        self._parted = (-1, "", "")
        return f"Entry {at} forwards the part {part}, and the entry behind it does not begin that."

    def judge(self, position: int, event: Event, directory: Directory) -> str | None:
        """Let the event happen; the reason why it was not allowed, or None.

        After an unlawful step an appeal is not judged any more: one finding would drag a hundred behind it.
        """
        facts = event.facts
        if isinstance(facts, DisclosureRead):
            return self._judge_reading(event, facts)
        if event.stream in self._unlawful:
            return None
        reason = (
            self._judge_beginning(position, event)
            or self._judge_around(event, directory)
            or self._open.happen(event)
        )
        if reason is not None:
            self._unlawful.add(event.stream)
            self._open.forget(event.stream)
        elif isinstance(facts, AppealForwardedInPart):
            self._parted = (position, f"{event.stream}-{facts.number}", facts.to)
        return reason

    def _judge_reading(self, event: Event, facts: DisclosureRead) -> str | None:
        appeal = self._open.get(facts.of)
        if event.n != 1:
            return f"{event.stream} is one reading, and was recorded before."
        if facts.of in self._unlawful or not event.stream.startswith(f"reading/{facts.of}/"):
            return None if facts.of in self._unlawful else f"{event.stream} is no reading of {facts.of}."
        if (reason := Aggregates(Reading).happen(event)) is not None:
            return reason
        if appeal is None:
            return f"{event.iss} read {facts.of}, which nobody handled then."
        if appeal.version != facts.events:
            return f"{facts.of} had {appeal.version} events when it was read, not {facts.events}."
        if event.iss not in appeal.readers():
            return f"{event.iss} read {facts.of}, which lay with {appeal.body}."
        return None

    def _judge_beginning(self, position: int, event: Event) -> str | None:
        if isinstance(event.facts, AppealSubmitted) and (found := _NUMBER.fullmatch(event.stream)):
            last, number = self._numbers.get(found[1], 0), int(found[2])
            self._numbers[found[1]] = max(last, number)
            if number != last + 1:
                return (
                    f"{event.stream} was given out after number {last} of {found[1]}: numbers have no gaps."
                )
        if isinstance(event.facts, AppealSplitOff):
            parted, self._parted = self._parted, (-1, "", "")
            if parted != (position - 1, event.stream, event.facts.body):
                return f"{event.stream} is not the part that the entry before it forwards."
            whole = self._open.get(event.facts.parent)
            if whole is not None and any(
                getattr(whole, name) != getattr(event.facts, name)
                for name in ("kind", "applicant", "channel")
            ):
                return f"{event.stream} is of another kind, applicant or channel than {event.facts.parent}."
        return None

    def _judge_around(self, event: Event, directory: Directory) -> str | None:
        """By what stands in other streams."""
        if getattr(event.facts, "algorithm", None) is not None and event.iss != directory.operator:
            return f"{event.iss} says what an applicant signed: the operator's gateway checks that."
        try:
            context.check(directory, event.facts, Issuance.of(event), None)
        except NotAllowedError as refused:
            return str(refused)
        return None

    # --- from one audit to the next --------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "appeals": self._open.dump(),
            "unlawful": sorted(self._unlawful),
            "numbers": self._numbers,
            "parted": list(self._parted),
        }

    def load(self, dumped: dict[str, Any]) -> None:
        """Take over what :meth:`dump` gave."""
        self._open.load(dumped["appeals"])
        self._unlawful = set(dumped["unlawful"])
        self._numbers = dumped["numbers"]
        position, stream, body = dumped["parted"]
        self._parted = (position, stream, body)
