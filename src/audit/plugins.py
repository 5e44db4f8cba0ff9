"""Rules of an auditor's own, found by the entry points of what is installed.

A distribution names them in its ``pyproject.toml``::

    [project.entry-points."aiqyn.audit.rules"]
    our-council = "our_council.rules:RULES"

The object is a :class:`audit.rules.Rule` or an iterable of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points

from audit.rules import BEFORE_RULES, RULES, Rule

GROUP = "aiqyn.audit.rules"


def installed() -> tuple[list[Rule], list[str]]:
    """All rules that are installed, and a warning for everything that is none: it breaks no audit."""
    rules: list[Rule] = []
    warnings: list[str] = []
    taken = {rule.name for rule in RULES} | {name for name, *_ in BEFORE_RULES}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        where = f"{point.name} = {point.value!r}"
        if point.dist is not None:
            where += f" of {point.dist.name} {point.dist.version}"
        try:
            found = point.load()
            several = [found] if isinstance(found, Rule) else list(_iterable(found))
        except Exception as error:  # somebody else's code
            warnings.append(f"The rules {where} cannot be used: {type(error).__name__}: {error}.")
            continue
        for rule in several:
            reason = _wrong(rule, taken)
            if reason is None:
                rules.append(rule)
                taken.add(rule.name)
            else:
                warnings.append(f"A rule of {where} cannot be used: {reason}.")
    return rules, warnings


def _iterable(found: object) -> Iterable[Rule]:
    if not isinstance(found, Iterable):
        raise TypeError(f"{found!r} is neither a Rule nor an iterable of them")
    return found


def _wrong(rule: object, taken: set[str]) -> str | None:
    if not isinstance(rule, Rule):
        return f"{rule!r} is no audit.rules.Rule"
    if not isinstance(rule.name, str) or not rule.name:
        return "it has no name"
    if rule.name in taken:
        return f"another rule is called {rule.name} already"
    if not callable(rule.check) or not isinstance(rule.facts, tuple):
        return f"{rule.name} has no check that can be called, or no tuple of facts"
    return None
