"""The days and terms of appeals, reckoned anew for the weeks in which the state machine plays.

Nothing here comes from the service: days off and the law's figures are written down once more. Articles are
those of the АППК.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

ALMATY = timezone(timedelta(hours=5))
"""Since 1 March 2024, for the whole country."""
AMENDED = date(2025, 12, 29)
"""241-VIII of 17.12.2025: extensions are counted from their decision too, and a complaint has none."""
DAYS_OFF = frozenset(
    date(year, month, day)
    for year, month, *in_month in (
        (2024, 5, 1, 7, 8, 9),  # the 8th was moved, for the Saturday of the 4th
        (2024, 7, 8), (2024, 8, 30), (2024, 10, 25), (2024, 12, 16),
        (2025, 12, 16),
        (2026, 1, 1, 2, 7),
        (2026, 3, 9, 23, 24, 25),  # Women's Day and Nauryz, moved on from their weekends
        (2026, 5, 1, 7, 11, 27),  # the last one is Kurban Ait
        (2026, 7, 6), (2026, 10, 26), (2026, 12, 16),
    )
    for day in in_month
)  # fmt: skip
WORKED_SATURDAYS = frozenset({date(2024, 5, 4)})
WORKING_DAYS = {
    "application": 15, "proposal": 15, "response": 15, "notice": 15, "request": 15, "complaint": 20,
    "state-service-complaint": 5, "tax-complaint": 30, "tax-monitoring-complaint": 45, "lawyer-request": 10,
    "bailiff-request": 3,
}  # fmt: skip
CALENDAR_DAYS = {
    "notary-request": 10, "information-request": 15, "declassification-request": 30,
    "rehabilitation-request": 90,
}  # fmt: skip
KINDS = (*WORKING_DAYS, "media-request", *CALENDAR_DAYS)
UNHEARD = frozenset({"proposal", "response", "notice", "request"})
"""Answered in the simplified procedure (article 87), where nobody is heard."""


def local(at: datetime) -> datetime:
    """As the clock on the wall shows it."""
    return at.astimezone(ALMATY)


def end_of(day: date) -> datetime:
    """The first moment behind a day, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), ALMATY).astimezone(UTC)


def is_worked(day: date) -> bool:
    """Whether offices are open."""
    return day in WORKED_SATURDAYS or (day.weekday() < 5 and day not in DAYS_OFF)


def worked(day: date) -> date:
    """That day, or the next one that is worked."""
    while not is_worked(day):
        day += timedelta(days=1)
    return day


def working_days_after(day: date, count: int) -> datetime:
    """When a term of so many working days ends; the day itself is not counted."""
    for _ in range(count):
        day = worked(day + timedelta(days=1))
    return end_of(day)


def after(at: datetime, count: int) -> datetime:
    """The same from a moment on."""
    return working_days_after(local(at).date(), count)


def months_later(day: date, months: int) -> date:
    """The same day of a later month, or that month's last one."""
    month = day.month - 1 + months
    first = date(day.year + month // 12, month % 12 + 1, 1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return min(first + timedelta(days=day.day - 1), last)


def registered_on(at: datetime) -> date:
    """That day; after 18:30 or on a day off the next working day (article 64(3))."""
    day = local(at).date()
    return worked(day + timedelta(days=1) if local(at).time() > time(18, 30) else day)


def answer_due(kind: str, day: date) -> datetime:
    """When an appeal registered on a day must have been answered (article 76)."""
    if kind in CALENDAR_DAYS:
        return end_of(worked(day + timedelta(days=CALENDAR_DAYS[kind])))
    if kind == "media-request":
        return working_days_after(day, 5 if day >= date(2024, 8, 20) else 7)
    return working_days_after(day, WORKING_DAYS[kind])


def registration(kind: str, at: datetime) -> dict:
    """The terms that begin with a registration."""
    day = registered_on(at)
    return {"registered_on": day, "forward_until": working_days_after(day, 3), "due": answer_due(kind, day)}


def complain_until(at: datetime) -> datetime:
    """Three months (article 92)."""
    return end_of(months_later(local(at).date(), 3))


def extension_limit(first_due: datetime, at: datetime) -> datetime:
    """Two months behind the first term's last day; since 2025-12-29 also behind the decision (76(3))."""
    days = [local(first_due - timedelta(seconds=1)).date()]
    if local(at).date() >= AMENDED:
        days.append(local(at).date())
    return end_of(min(worked(months_later(day, 2)) for day in days))


def may_be_extended(kind: str, at: datetime) -> bool:
    """A complaint's term cannot, since 2025-12-29 (article 99)."""
    return kind != "complaint" or local(at).date() < AMENDED
