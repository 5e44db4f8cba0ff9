"""What an audit found: one rule broken at one place, with the evidence."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping

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
    repeat: str = ""
    """A command line that shows the same to somebody else."""

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

    def load(self, kept: Iterable[Finding], counts: Mapping[str, int]) -> None:
        """Those of an earlier audit."""
        self._kept += kept
        self._counts.update(counts)

    def has(self, rule: str) -> bool:
        """Whether a rule was broken."""
        return self._counts[rule] > 0

    def lasting(self) -> tuple[list[Finding], dict[str, int]]:
        """What is wrong with entries, which does not pass; how often each of these rules was broken."""
        counts = {rule: n for rule, n in self._counts.items() if not _passes(rule)}
        return [finding for finding in self._kept if finding.rule in counts], counts

    def omitted(self) -> dict[str, int]:
        """How many more there are of a rule."""
        return {rule: n - KEPT_PER_RULE for rule, n in self._counts.items() if n > KEPT_PER_RULE}


_PASSING = frozenset({"checkpoint", "cosignatures", "log-key", "log-size", "log-shrank", "fork"})


def _passes(rule: str) -> bool:
    return rule in _PASSING or rule.startswith("published-")


def repeat(finding: Finding, place: str, keys: Iterable[str], size: int | None) -> str:
    """A command line that shows somebody else what a finding says. ``size``: entries of the log."""
    audit = " ".join(["aiqyn audit", shlex.quote(place), *(f"--log-key {shlex.quote(key)}" for key in keys)])
    petition = finding.evidence.get("petition")
    if finding.rule.startswith("published-") and petition is not None and "://" in place:
        return f"curl -s {shlex.quote(f'{place}/v1/petitions/{petition}')}"
    if finding.rule in ("checkpoint", "cosignatures"):
        return _show(place, "log/checkpoint")
    if finding.rule == "log-key":
        return _show(place, "v1/log")
    if finding.position is None or size is None or not 0 <= finding.position < size:
        return audit
    if "path" in finding.evidence:
        return _show(place, f"log/{finding.evidence['path']}")
    if finding.last in (None, finding.position):
        return f"{audit} --entry {finding.position}"
    return audit


def _show(place: str, path: str) -> str:
    return f"{'curl -s' if '://' in place else 'cat'} {shlex.quote(f'{place}/{path}')}"
