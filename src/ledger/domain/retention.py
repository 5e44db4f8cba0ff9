"""How long what is personal is kept once a matter is over: dated data, never constants.

The figures stand in ``retention.toml`` with the date they are valid from, and with whether they were found in
a source. Moments are in UTC; years end with the day of the country's calendar.
"""

from __future__ import annotations

import tomllib
from datetime import date, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Literal

import msgspec

from ledger.domain.calendar import ALMATY, end_of_months, midnight_after

Data = Literal["signature", "petition", "appeal"]
"""Whose: the first part of a stream's name."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long one kind of data is kept, from one day on."""

    data: Data
    valid_from: date
    over: frozenset[str]
    """States in which the matter is over; of a signature, those of its petition."""
    years: int
    """Full years from the event on that ended it; the data go afterwards."""
    law: str
    article: str
    sourced: bool

    def __post_init__(self) -> None:
        """Refuse what could erase too early, or pretends to be the law's."""
        if self.years < 1 or not self.over:
            raise ValueError(f"a rule for {self.data} keeps data for at least a year, from some end on")
        if self.sourced != bool(self.article):
            raise ValueError(f"a rule for {self.data} names its article if it was found there, and only then")


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    rule: list[Rule]


@cache
def rules() -> tuple[Rule, ...]:
    """All rules, those of each kind of data in the order of their dates."""
    text = files("ledger.domain").joinpath("retention.toml").read_text("utf-8")
    found = msgspec.convert(tomllib.loads(text), _Table).rule
    return tuple(sorted(found, key=lambda rule: (rule.data, rule.valid_from)))


class Due(msgspec.Struct, frozen=True):
    """Matters whose data are due to go: those that ended between two moments, in one of these states."""

    states: tuple[str, ...]
    since: datetime
    until: datetime
    """Exclusive."""


def over(data: Data) -> frozenset[str]:
    """States in which such a matter is over, by any rule."""
    return frozenset().union(*(rule.over for rule in rules() if rule.data == data))


def due(data: Data, now: datetime) -> list[Due]:
    """What is due at a moment, without overlaps.

    A matter's data stay as long as the longest of these says: the rule in force on the day that it ended, and
    all that came into force since, as far as this release knows them. Where one of them does not know the
    state that it ended in, they stay.
    """
    known = [rule for rule in rules() if rule.data == data]
    starts = [_EARLIEST, *(rule.valid_from for rule in known), date.max]
    found = []
    for number, (start, end) in enumerate(pairwise(starts)):
        counting = known[max(0, number - 1) :]
        states = frozenset.intersection(*(rule.over for rule in counting)) if counting else frozenset()
        last = min(end, _ended_before(now, max((rule.years for rule in counting), default=0)))
        if states and start < last:
            found.append(Due(tuple(sorted(states)), _midnight(start), _midnight(last)))
    return found


_EARLIEST = date(1970, 1, 2)


def _ended_before(now: datetime, years: int) -> date:
    """The day before which a matter must have ended, that its years are over now."""
    day = now.astimezone(ALMATY).date()
    day = day.replace(year=day.year - years, day=1) + timedelta(days=32)
    while end_of_months(day, 12 * years) > now:
        day -= timedelta(days=1)
    return day + timedelta(days=1)


def _midnight(day: date) -> datetime:
    """The first moment of a day in Almaty, in UTC."""
    return midnight_after(day - timedelta(days=1))
