"""Terms of appeals: how long a body and an applicant have for each step.

The figures stand in ``appeal_terms.toml`` with the date they are valid from. Articles are those of the
Administrative Procedural and Process-Related Code (АППК). Moments are in UTC, and ends are exclusive: what is
done before them is in time. Working days are judged by what had been announced on the day a term began.
"""

from __future__ import annotations

import tomllib
from datetime import date, datetime, time, timedelta
from functools import cache, lru_cache
from importlib.resources import files

import msgspec

from ledger.domain.calendar import ALMATY, end_of_months, official
from ledger.domain.terms import NoTermError


class AppealRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The figures for every appeal that are valid from one day on."""

    valid_from: date
    law: str
    after_hours: time
    """What comes later in the day is registered on the next working day."""
    forward_working_days: int
    fix_working_days: int
    hearing_notice_working_days: int
    objection_working_days: int
    extension_months: int
    extension_from_decision: bool
    """Whether the months of an extension are counted from the day it is decided, not from the term's end."""
    extension_told_working_days: int
    complaint_months: int
    pass_up_working_days: int
    complaint_decision_working_days: int
    burdensome: frozenset[str]
    """Outcomes that burden the applicant, who must be heard before."""
    simplified: frozenset[str]
    """Kinds that are answered without a hearing, in the simplified procedure."""
    unextendable: frozenset[str]
    """Kinds whose term cannot be extended."""


class KindTerm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long appeals of some kinds may take: either working or calendar days."""

    valid_from: date
    kinds: frozenset[str]
    law: str
    article: str
    sourced: bool
    working_days: int | None = None
    calendar_days: int | None = None


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    rules: list[AppealRules]
    term: list[KindTerm]


@cache
def _table() -> _Table:
    text = files("ledger.domain").joinpath("appeal_terms.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _Table)


def appeal_rules(at: datetime) -> AppealRules:
    """The figures in force at a moment. Raises :class:`NoTermError` before the law's first day."""
    return _rules_on(at.astimezone(ALMATY).date())


def registered_on(at: datetime) -> date:
    """The day on which an appeal that came at ``at`` is registered (article 64(3))."""
    return official().registration_day(at, appeal_rules(at).after_hours)


def consider_until(kind: str, registered_on: date) -> datetime:
    """When an appeal of this kind must have been answered.

    The term begins on the day after registration and does not end on a day off (article 76(2) and (5)); for
    an appeal that was forwarded, ``registered_on`` is its day at the body it came to. Raises
    :class:`NoTermError` for an unknown kind and before the law's first day.
    """
    terms = [term for term in _table().term if kind in term.kinds]
    if not terms:
        raise NoTermError(f"No term is known for an appeal of the kind {kind!r}.")
    valid = [term for term in terms if term.valid_from <= registered_on]
    if not valid:
        raise NoTermError(f"No term for the kind {kind!r} was in force on {registered_on}.")
    term = max(valid, key=lambda term: term.valid_from)
    if term.working_days is not None:
        return official().end_of_working_days(registered_on, term.working_days)
    if term.calendar_days is not None:
        return official().end_of_calendar_days(registered_on, term.calendar_days, known_on=registered_on)
    raise NoTermError(f"The term for the kind {kind!r} has no days.")


def forward_until(registered_on: date) -> datetime:
    """When a body that is not competent must have forwarded an appeal (article 65)."""
    return official().end_of_working_days(registered_on, _rules_on(registered_on).forward_working_days)


def fix_until(at: datetime) -> datetime:
    """Until when an appeal returned at ``at`` can be mended (article 64(6))."""
    return official().end_of_working_days(at, appeal_rules(at).fix_working_days)


def earliest_hearing(at: datetime) -> datetime:
    """A hearing noticed at ``at`` may begin at this moment or later: full working days lie between."""
    return official().end_of_working_days(at, appeal_rules(at).hearing_notice_working_days)


def object_until(at: datetime) -> datetime:
    """Until when the applicant may object to a preliminary decision received at ``at`` (article 73(3))."""
    return official().end_of_working_days(at, appeal_rules(at).objection_working_days)


def extension_limit(due: datetime, decided_at: datetime | None = None) -> datetime:
    """The latest end to which a term that originally ends at ``due`` can be extended (article 76(3)).

    Months are counted from the original term's last day, and, where the law of the day says so, from the day
    ``decided_at`` of the decision: the earlier limit binds. Neither falls on a day off (article 76(5)).
    """
    last = (due - timedelta(microseconds=1)).astimezone(ALMATY).date()
    decided = last if decided_at is None else decided_at.astimezone(ALMATY).date()
    rules = _rules_on(decided)
    limits = [_months_after(last, rules.extension_months, known_on=decided)]
    if rules.extension_from_decision:
        limits.append(_months_after(decided, rules.extension_months, known_on=decided))
    return min(limits)


def end_of_day(day: date) -> datetime:
    """When a term ends that a body extends to ``day``: with that day.

    The last day of a term is no day off: then it ends with the next working day (article 76(5)).
    """
    return official().end_of_calendar_days(day, 0, known_on=day)


def tell_until(at: datetime) -> datetime:
    """Until when the applicant is told of what happened at ``at`` (article 76(3))."""
    return official().end_of_working_days(at, appeal_rules(at).extension_told_working_days)


def complain_until(at: datetime) -> datetime:
    """Until when a decision that became known at ``at`` can be complained about (article 92(1))."""
    return end_of_months(at, appeal_rules(at).complaint_months)


def pass_up_until(at: datetime) -> datetime:
    """Until when a body satisfies a complaint that came at ``at``, or passes it up (article 91(4))."""
    return official().end_of_working_days(at, appeal_rules(at).pass_up_working_days)


def decide_complaint_until(at: datetime) -> datetime:
    """When a complaint that reached the higher body at ``at`` must have been decided.

    Counted from its registration there (articles 94 and 99): after hours, that of the next working day.
    """
    return official().end_of_working_days(registered_on(at), appeal_rules(at).complaint_decision_working_days)


@lru_cache(maxsize=4096)
def _rules_on(day: date) -> AppealRules:
    valid = [rules for rules in _table().rules if rules.valid_from <= day]
    if not valid:
        raise NoTermError(f"The law on appeals was not in force on {day}.")
    return max(valid, key=lambda rules: rules.valid_from)


def _months_after(day: date, months: int, *, known_on: date) -> datetime:
    """The end of the same day months later, or of the next working day."""
    end = end_of_months(day, months).astimezone(ALMATY).date() - timedelta(days=1)
    return official().end_of_calendar_days(end, 0, known_on=known_on)
