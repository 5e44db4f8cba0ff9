"""The mapping file: what the columns and words of an old register mean here.

Everything that becomes public comes from this file's vocabulary or from a closed list, never as free text
from a row: an activity that the mapping does not name is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from ledger import events
from ledger.errors import AiqynError
from ledger.events.appeals import Activity as Word
from ledger.imports import RegisterName

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 253_402_300_800
"""The year 10000 in seconds since 1970."""


class MappingError(AiqynError):
    """The mapping file cannot be used; nothing was read or sent."""

    code = "mapping-invalid"
    title = "The mapping file is not right"


class RowError(Exception):
    """Why a row is refused, in a sentence."""


# --- the file ---------------------------------------------------------------------------------


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all tables: an unknown name is an error, not a setting that is silently ignored."""


class CsvForm(_Table, frozen=True):
    """How the file is written."""

    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    quote: Annotated[str, Meta(min_length=1, max_length=1)] = '"'
    encoding: str = "utf-8"


class Column(_Table, frozen=True):
    """A column that is taken as it stands."""

    column: str


class Choice(_Table, frozen=True):
    """A column whose words mean one of ours."""

    column: str
    values: dict[str, str] = {}
    """Word of the register → ours; without any, the column has ours already."""
    default: str | None = None
    """For words that are not in ``values``, and for empty cells."""


class Moment(_Table, frozen=True):
    """A column with a time."""

    column: str
    format: str | tuple[str, ...] = "iso"
    """``iso``, ``epoch`` (seconds), ``epoch-ms`` or a form of strptime; the first one that fits."""
    zone: str = "Asia/Almaty"
    """For times that name none."""


class Meaning(_Table, frozen=True):
    """What an activity means here."""

    step: events.ImportedStep
    outcome: events.AppealOutcome | None = None
    activity: Word | None = None
    """What it is called in the ledger, if not as in the register."""


class Activity(_Table, frozen=True):
    """A column with the word for what happened."""

    column: str
    steps: Annotated[dict[str, events.ImportedStep | Meaning], Meta(min_length=1)]
    default: Meaning | None = None
    """For words that are not in ``steps``; its ``activity`` is what the ledger calls them all."""


class Stage(_Table, frozen=True):
    """A step whose time has a column of its own, in a register with one line for each case."""

    activity: Word
    step: events.ImportedStep
    time: Moment
    outcome: str | Choice | None = None


class MappingFile(_Table, frozen=True, kw_only=True):
    """The whole file."""

    register: RegisterName
    csv: CsvForm = CsvForm()
    case: Column
    activity: Activity | None = None
    time: Moment | None = None
    stages: tuple[Stage, ...] = ()
    kind: str | Choice
    applicant: str | Choice
    channel: str | Choice
    category: str | Choice
    lang: str | Choice
    region: str | Choice | None = None
    outcome: str | Choice | None = None
    registered_on: Moment | None = None
    due: Moment | None = None
    full_name: Column | None = None
    iin: Column | None = None
    text: Column | None = None


# --- what it does -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a case, mapped."""

    happened: datetime
    step: events.ImportedStep
    activity: str
    outcome: str | None
    due: datetime | None


class Mapper:
    """A mapping that was checked, ready to be applied."""

    def __init__(self, mapping: MappingFile) -> None:
        """Raises :class:`MappingError` for words that are not ours, and tables that exclude each other."""
        self.register = mapping.register
        self.csv = mapping.csv
        self._case = mapping.case.column
        narrow = mapping.activity is not None and mapping.time is not None
        if narrow == bool(mapping.stages) or (mapping.activity is None) != (mapping.time is None):
            raise MappingError(
                "A mapping has [activity] and [time] for a register with one line for each step, or "
                "[[stages]] for one with one line for each case."
            )
        self._activity = mapping.activity
        if self._activity is not None:
            _check_words(self._activity)
        self._time = _Clock("time", mapping.time) if mapping.time else None
        self._outcome = _Chooser.of("outcome", mapping.outcome, events.AppealOutcome)
        self._stages = [
            (
                stage,
                _Clock(f"stages.{number}.time", stage.time),
                _Chooser.of(f"stages.{number}.outcome", stage.outcome, events.AppealOutcome),
            )
            for number, stage in enumerate(mapping.stages, 1)
        ]
        vocabularies = {
            "kind": events.AppealKind,
            "applicant": events.Applicant,
            "channel": events.Channel,
            "category": events.Category,
            "lang": events.Language,
            "region": events.Region,
        }
        choosers = {
            name: _Chooser.of(name, getattr(mapping, name), allowed) for name, allowed in vocabularies.items()
        }
        self._choosers = {name: chooser for name, chooser in choosers.items() if chooser is not None}
        self._registered_on = (
            _Clock("registered_on", mapping.registered_on) if mapping.registered_on else None
        )
        self._due = _Clock("due", mapping.due) if mapping.due else None
        personal = {name: getattr(mapping, name) for name in ("full_name", "iin", "text")}
        self._personal = {name: found.column for name, found in personal.items() if found is not None}

    @classmethod
    def load(cls, path: Path) -> Mapper:
        """Read a mapping file. Raises :class:`MappingError`."""
        try:
            text = path.read_text("utf-8")
        except OSError as error:
            raise MappingError(f"{path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise MappingError(f"{path} is not UTF-8.") from error
        try:
            return cls.parse(text)
        except MappingError as error:
            raise MappingError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, text: str) -> Mapper:
        """Read a mapping. Raises :class:`MappingError`."""
        try:
            return cls(msgspec.toml.decode(text, type=MappingFile))
        except msgspec.DecodeError as error:
            raise MappingError(f"{str(error).replace('`', '').replace('$.', '')}.") from error

    @property
    def columns(self) -> frozenset[str]:
        """All that it reads."""
        return frozenset({self._case, *self._of_the_case(), *self._of_a_step()})

    def case(self, values: Mapping[str, str]) -> str:
        """The number of the case that a row belongs to. Raises :class:`RowError`."""
        number = values.get(self._case, "")
        if not 0 < len(number) <= 200 or not number.isprintable():
            raise RowError(f"{self._case!r} has no number of a case.")
        return number

    def steps(self, values: Mapping[str, str]) -> list[Step]:
        """The steps that a row tells of: one, or one for each stage. Raises :class:`RowError`."""
        due = None if self._due is None else self._due.end(values)
        if self._activity is not None and self._time is not None:
            activity, meaning = self._meaning(self._activity, values)
            outcome: str | None = meaning.outcome
            if outcome is None and meaning.step == "decided" and self._outcome is not None:
                outcome = self._outcome.choose(values)
            return [Step(self._time.moment(values), meaning.step, activity, outcome, due)]
        found = [
            Step(
                happened,
                stage.step,
                stage.activity,
                outcome.choose(values) if outcome is not None else None,
                due,
            )
            for stage, clock, outcome in self._stages
            if (happened := clock.start(values)) is not None
        ]
        if not found:
            raise RowError("None of the columns with times of the stages has one.")
        return found

    def about(self, values: Mapping[str, str]) -> dict[str, Any]:
        """What a case is, from its first row. Raises :class:`RowError`."""
        found: dict[str, Any] = {name: chooser.choose(values) for name, chooser in self._choosers.items()}
        if self._registered_on is not None and (day := self._registered_on.start(values)) is not None:
            found["registered_on"] = day.date()
        for name, column in self._personal.items():
            found[name] = values.get(column) or None
        iin = found.get("iin")
        if iin is not None and re.fullmatch(r"[0-9]{12}", iin, re.ASCII) is None:
            raise RowError(f"{self._personal['iin']!r} does not have the 12 digits of an IIN or a BIN.")
        return {name: value for name, value in found.items() if value is not None}

    def kept(self, values: Mapping[str, str]) -> dict[str, str]:
        """Of a row, what :meth:`about` needs."""
        return {column: values[column] for column in self._of_the_case() if column in values}

    def _meaning(self, activity: Activity, values: Mapping[str, str]) -> tuple[str, Meaning]:
        word = values.get(activity.column, "")
        found = activity.steps.get(word)
        if found is None:
            if activity.default is None:
                raise RowError(f"{activity.column!r}: {word!r} is not in [activity.steps] of the mapping.")
            return activity.default.activity or "", activity.default
        if isinstance(found, str):
            return word, Meaning(step=found)
        return found.activity or word, found

    def _of_the_case(self) -> Iterable[str]:
        yield from (chooser.column for chooser in self._choosers.values() if chooser.column is not None)
        yield from self._personal.values()
        if self._registered_on is not None:
            yield self._registered_on.column

    def _of_a_step(self) -> Iterable[str]:
        if self._activity is not None:
            yield self._activity.column
        clocks = [self._time, self._due, *(clock for _, clock, _ in self._stages)]
        yield from (clock.column for clock in clocks if clock is not None)
        choosers = [self._outcome, *(outcome for _, _, outcome in self._stages)]
        yield from (chooser.column for chooser in choosers if chooser and chooser.column is not None)


def _check_words(activity: Activity) -> None:
    if activity.default is not None and activity.default.activity is None:
        raise MappingError("[activity.default] says as activity what the ledger calls these steps.")
    for word, meaning in activity.steps.items():
        if isinstance(meaning, str) or meaning.activity is None:
            try:
                msgspec.convert(word, Word)
            except msgspec.ValidationError:
                raise MappingError(
                    f"[activity.steps] {word!r} cannot stand in the ledger, where a step is called by up to "
                    "100 letters, digits (not four in a row), spaces or ( ) . , : / ' -: write "
                    f'{{ step = "…", activity = "…" }}.'
                ) from None


@dataclass(frozen=True, slots=True)
class _Chooser:
    name: str
    column: str | None
    values: Mapping[str, str] = field(default_factory=dict)
    constant: str | None = None
    allowed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, said: str | Choice | None, vocabulary: Any) -> _Chooser | None:  # noqa: ANN401
        if said is None:
            return None
        allowed = frozenset(get_args(vocabulary))
        if isinstance(said, str):
            given = {said}
            chooser = cls(name, None, constant=said)
        else:
            given = {*said.values.values(), *([said.default] if said.default is not None else [])}
            chooser = cls(name, said.column, said.values, said.default, allowed)
        if wrong := sorted(given - allowed):
            raise MappingError(
                f"[{name}] {', '.join(map(repr, wrong))} is none of {', '.join(sorted(allowed))}."
            )
        return chooser

    def choose(self, values: Mapping[str, str]) -> str | None:
        if self.column is None:
            return self.constant
        word = values.get(self.column, "")
        found = self.values.get(word)
        if found is not None:
            return found
        if not self.values and word in self.allowed:
            return word
        if self.constant is not None or (not word and self.name in _OPTIONAL):
            return self.constant
        raise RowError(f"{self.column!r}: {word!r} is not in [{self.name}.values] of the mapping.")


_OPTIONAL = frozenset({"region", "outcome"})


_FORMATS = frozenset({"iso", "epoch", "epoch-ms"})


class _Clock:
    def __init__(self, name: str, said: Moment) -> None:
        self.column = said.column
        self._formats = (said.format,) if isinstance(said.format, str) else said.format
        try:
            self._zone = ZoneInfo(said.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise MappingError(f"[{name}] there is no time zone {said.zone!r}.") from None
        if not self._formats or any(form not in _FORMATS and "%" not in form for form in self._formats):
            raise MappingError(
                f"[{name}] format is iso, epoch, epoch-ms or a form such as %d.%m.%Y %H:%M, "
                f"not {said.format!r}."
            )

    def moment(self, values: Mapping[str, str]) -> datetime:
        """When something happened; a day without a time is its beginning."""
        found = self.start(values)
        if found is None:
            raise RowError(f"{self.column!r} has no time.")
        return found

    def start(self, values: Mapping[str, str]) -> datetime | None:
        """The same; None for an empty cell."""
        found = self._read(values.get(self.column, ""))
        return None if found is None else found[0]

    def end(self, values: Mapping[str, str]) -> datetime | None:
        """Until when; a day without a time is its end."""
        found = self._read(values.get(self.column, ""))
        if found is None:
            return None
        moment, is_day = found
        return moment + timedelta(days=1) if is_day else moment

    def _read(self, text: str) -> tuple[datetime, bool] | None:
        if not text:
            return None
        for form in self._formats:
            found = _parse(text, form, self._zone)
            if found is not None:
                return found
        forms = " or ".join(self._formats)
        raise RowError(f"{self.column!r}: {text!r} is no time of the form {forms}.")


@lru_cache(maxsize=10_000)
def _parse(text: str, form: str, zone: ZoneInfo) -> tuple[datetime, bool] | None:
    """A moment in ``zone``, and whether the text names a day alone; None where it is not of that form."""
    try:
        if form in {"epoch", "epoch-ms"}:
            seconds = Decimal(text) / (1000 if form == "epoch-ms" else 1)
            if not text.isascii() or not abs(seconds) < _LATEST:
                return None
            return (EPOCH + timedelta(microseconds=int(seconds * 1_000_000))).astimezone(zone), False
        if form == "iso":
            found, is_day = datetime.fromisoformat(text), re.search(r"[T :]", text) is None
        else:
            found = datetime.strptime(text, form)  # noqa: DTZ007 - a zone is given to it below
            is_day = re.search(r"%[HIMSfsXcT]", form) is None
        found = found.replace(tzinfo=zone) if found.tzinfo is None else found.astimezone(zone)
        found.astimezone(UTC)  # raises at the ends of the calendar
    except (ValueError, OverflowError, InvalidOperation):
        return None
    return found, is_day


def example() -> str:
    """A mapping file with comments, to begin with."""
    return (files("cli.register") / "example.toml").read_text("utf-8")
