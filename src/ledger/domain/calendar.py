"""Working days of Kazakhstan, and the moments at which terms end.

Public holidays are frozen in ``holidays.toml`` (for other years the ``holidays`` package answers), so
that history is judged the same for ever; what the government moves each year is the editable table
``transfers.toml``. Terms are counted in the country's one time zone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from typing import Self
from zoneinfo import ZoneInfo

import holidays

ALMATY = ZoneInfo("Asia/Almaty")
"""UTC+5 for the whole country since 01.03.2024; before, UTC+6 here."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One decision of the government: which days became days off, which are worked instead."""

    announced: date
    off: frozenset[date]
    working: frozenset[date]


class Calendar:
    """Knows which days are worked."""

    def __init__(self, transfers: Iterable[Transfer] = ()) -> None:
        # The newest decision first: it may take back an earlier one.
        self._transfers = sorted(transfers, key=lambda transfer: transfer.announced, reverse=True)
        # The same terms are asked for all day long, and when a year is replayed.
        self._end_of_working_days = lru_cache(maxsize=4096)(self._count_working_days)

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read the form of ``transfers.toml``."""
        return cls(
            Transfer(item["announced"], frozenset(item.get("off", ())), frozenset(item.get("working", ())))
            for item in tomllib.loads(text).get("transfer", ())
        )

    def is_working_day(self, day: date, *, known_on: date) -> bool:
        """Whether ``day`` is worked, by what had been announced on ``known_on``."""
        for transfer in self._transfers:
            if transfer.announced <= known_on:
                if day in transfer.off:
                    return False
                if day in transfer.working:
                    return True
        return day.weekday() < 5 and day not in _public_holidays(day.year)

    def registration_day(self, at: datetime, after_hours: time) -> date:
        """The day on which an appeal that came at ``at`` is registered: that one, or the next working day.

        What came on a day off, or later than ``after_hours``, is registered on the next working day (АППК,
        article 64(3)). The rule says *after* that time: what came at its very stroke still counts that day.
        """
        local = at.astimezone(ALMATY)
        today = local.date()
        late = local.time() > after_hours
        return self._working_day(today + timedelta(days=1) if late else today, known_on=today)

    def end_of_working_days(self, start: datetime | date, days: int) -> datetime:
        """The end of the ``days``-th working day after the day of ``start``, in UTC, exclusive.

        The day of ``start`` itself is not counted; what is done before the returned moment is in time.
        """
        return self._end_of_working_days(_day_of(start), days)

    def _count_working_days(self, today: date, days: int) -> datetime:
        day = today
        while days > 0:
            day += timedelta(days=1)
            if self.is_working_day(day, known_on=today):
                days -= 1
        return midnight_after(day)

    def end_of_calendar_days(self, start: date, days: int, *, known_on: date) -> datetime:
        """The end of the ``days``-th calendar day after ``start``, in UTC, exclusive.

        Where that is a day off, by what had been announced on ``known_on``, the next working day's end.
        """
        return midnight_after(self._working_day(start + timedelta(days=days), known_on=known_on))

    def _working_day(self, day: date, *, known_on: date) -> date:
        """``day``, or the first working day after it."""
        while not self.is_working_day(day, known_on=known_on):
            day += timedelta(days=1)
        return day


def end_of_months(start: datetime | date, months: int) -> datetime:
    """The end of the same day ``months`` calendar months later (or of that month's last day), in UTC."""
    day = _day_of(start)
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    following = date(year + month // 11, (month + 1) % 12 + 1, 1)
    last = (following - timedelta(days=1)).day
    return midnight_after(date(year, month + 1, min(day.day, last)))


@lru_cache(maxsize=4096)
def midnight_after(day: date) -> datetime:
    """The first moment after ``day`` in Almaty, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), ALMATY).astimezone(UTC)


def _day_of(start: datetime | date) -> date:
    """A moment's day in Almaty; a day is itself."""
    return start.astimezone(ALMATY).date() if isinstance(start, datetime) else start


@cache
def _public_holidays(year: int) -> frozenset[date]:
    frozen = _table().get(str(year))
    # Whole before anybody sees it: the package fills its own table while it is asked, and threads notice.
    return frozenset(frozen or holidays.country_holidays("KZ", years=year, expand=False))


@cache
def _table() -> dict[str, list[date]]:
    return tomllib.loads(files("ledger.domain").joinpath("holidays.toml").read_text("utf-8"))


@cache
def official() -> Calendar:
    """The calendar with the transfers that this release knows."""
    return Calendar.from_toml(files("ledger.domain").joinpath("transfers.toml").read_text("utf-8"))
