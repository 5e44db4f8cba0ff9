"""Terms and thresholds of the law: dated data, never constants.

The figures stand in ``terms.toml`` with the date they are valid from; every function takes the
moment for which it is asked.
"""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from functools import cache
from importlib.resources import files

import msgspec

from ledger.domain.calendar import ALMATY, end_of_months, official
from ledger.errors import AiqynError
from ledger.events import OrganisationRegistered


class NoTermError(AiqynError):
    """The law, as far as this release knows it, gives no figure."""

    code = "no-term"
    title = "No term is known for this case"


class PetitionTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The figures for petitions that are valid from one day on."""

    valid_from: date
    law: str
    moderation_working_days: int
    limited_working_days: int
    limited_signatures: int
    collection_months: int
    consideration_working_days_central: int
    consideration_working_days_local: int
    discussion_working_days: int
    minimum_age: int


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many signatures a petition to some kind of body needs."""

    valid_from: date
    bodies: frozenset[str]
    levels: frozenset[str]
    sourced: bool
    number: int | None = None
    percent: int | None = None
    percent_below: int | None = None


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    petition: list[PetitionTerms]
    threshold: list[Threshold]


@cache
def _table() -> _Table:
    text = files("ledger.domain").joinpath("terms.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _Table)


def petition_terms(at: datetime) -> PetitionTerms:
    """The figures in force at a moment. Raises :class:`NoTermError` before the law's first day."""
    day = at.astimezone(ALMATY).date()
    valid = [terms for terms in _table().petition if terms.valid_from <= day]
    if not valid:
        raise NoTermError(f"The law on petitions was not in force on {day}.")
    return max(valid, key=lambda terms: terms.valid_from)


def moderate_until(at: datetime) -> datetime:
    """When the moderation of a petition submitted at ``at`` must have ended."""
    return official().end_of_working_days(at, petition_terms(at).moderation_working_days)


def limited_until(at: datetime) -> datetime:
    """When the limited stage of a petition admitted at ``at`` ends."""
    return official().end_of_working_days(at, petition_terms(at).limited_working_days)


def collect_until(at: datetime) -> datetime:
    """When the collection of a petition published at ``at`` ends."""
    return end_of_months(at, petition_terms(at).collection_months)


def discuss_until(at: datetime) -> datetime:
    """When the public discussion of a draft published at ``at`` ends."""
    return official().end_of_working_days(at, petition_terms(at).discussion_working_days)


def consider_until(at: datetime, body: OrganisationRegistered) -> datetime:
    """When ``body`` must have decided about a petition registered at ``at``."""
    terms = petition_terms(at)
    central = body.level == "republic"
    days = terms.consideration_working_days_central if central else terms.consideration_working_days_local
    return official().end_of_working_days(at, days)


def threshold(body: OrganisationRegistered, at: datetime) -> tuple[int, int | None]:
    """How many signatures support a petition to ``body`` published at ``at``, and the population used.

    The second value is ``None`` where the law gives a fixed number. A share is rounded up: a part of
    a person is not enough. Raises :class:`NoTermError` where no rule fits or the population is not known.
    """
    day = at.astimezone(ALMATY).date()
    rules = [
        rule
        for rule in _table().threshold
        if body.kind in rule.bodies and body.level in rule.levels and rule.valid_from <= day
    ]
    if not rules:
        raise NoTermError(f"No threshold is known for a petition to a {body.kind} of level {body.level}.")
    rule = max(rules, key=lambda rule: rule.valid_from)
    if rule.number is not None and (
        rule.percent_below is None or body.population is None or body.population >= rule.percent_below
    ):
        return rule.number, None
    if body.population is None or rule.percent is None:
        raise NoTermError("The threshold is a share of the population, and none is recorded for this body.")
    return max(1, -(-body.population * rule.percent // 100)), body.population
