"""What an audit found: one rule broken at one place, with the evidence."""

from __future__ import annotations

from collections import Counter

import msgspec

KEPT_PER_RULE = 50
"""One cause can break a rule at a million places; the first ones and the number of the rest suffice."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule that does not hold."""

    rule: str
    """Its name, which never changes."""
    reason: str
    """One sentence: what is wrong, with the values."""
    position: int | None = None
    """Of the entry, or of the first of several; None where it concerns no entry (a bad checkpoint)."""
    last: int | None = None
    """The last position where the data do not allow to name one."""
    evidence: dict[str, str | int | None] = {}
    """Values with which somebody else can see the same."""

    @property
    def place(self) -> str:
        """``position``, in words."""
        if self.position is None:
            return "log"
        return str(self.position) if self.last in (None, self.position) else f"{self.position}–{self.last}"


class Findings:
    """All findings of one audit; of each rule the first ones are kept, the others counted."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._counts: Counter[str] = Counter()

    def add(self, finding: Finding) -> None:
        """One more."""
        self._counts[finding.rule] += 1
        if self._counts[finding.rule] <= KEPT_PER_RULE:
            self._kept.append(finding)

    def __len__(self) -> int:
        return self._counts.total()

    def kept(self) -> list[Finding]:
        """In the order of their positions; what concerns the whole log comes first."""
        return sorted(self._kept, key=lambda f: (-1 if f.position is None else f.position, f.last or 0))

    def omitted(self) -> dict[str, int]:
        """How many more there are of a rule."""
        return {rule: n - KEPT_PER_RULE for rule, n in self._counts.items() if n > KEPT_PER_RULE}
