"""Rows of a register put together as cases, whatever their order in the file and however many there are.

They wait in a temporary database on disk that has no name and is gone with the process, because a register is
longer than memory and is not public.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from cli.register.mapping import EPOCH, Mapper, RowError, Step
from ledger.imports import MAX_ROWS, ImportedCase

_TABLES = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE cases (
        id INTEGER PRIMARY KEY, number TEXT NOT NULL UNIQUE, refused INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE rows (
        case_id INTEGER NOT NULL, happened INTEGER NOT NULL, line INTEGER NOT NULL, part INTEGER NOT NULL,
        step BLOB NOT NULL, about BLOB NOT NULL,
        PRIMARY KEY (case_id, happened, line, part)
    ) WITHOUT ROWID;
    CREATE TABLE refusals (line INTEGER NOT NULL, number TEXT, code TEXT NOT NULL, reason TEXT NOT NULL);
"""
_MICROSECOND = timedelta(microseconds=1)


class Refusal(NamedTuple):
    """Why a row, or a case because of it, was not taken over."""

    line: int
    case: str | None
    """None where nobody knows whose row it is."""
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Case:
    """A case that is ready to be sent."""

    number: str
    line: int
    """Of its first row."""
    rows: int
    content: bytes = field(repr=False)
    """The JSON that the service takes."""


class Cases:
    """All rows of one register, by case and time. Close it after use."""

    def __init__(self, mapper: Mapper, now: datetime) -> None:
        """What happened after ``now`` is refused."""
        self._mapper = mapper
        self._now = now
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def add(self, line: int, values: dict[str, str]) -> None:
        """Map a row and keep it, or why it is refused."""
        number = None
        try:
            number = self._mapper.case(values)
            steps = self._mapper.steps(values)
            if any(step.happened > self._now for step in steps):
                raise RowError("The time of the row has not come yet.")
        except RowError as error:
            self.refuse(Refusal(line, number, "row-refused", str(error)))
            return
        about = msgspec.json.encode(self._mapper.kept(values))
        id_ = self._case_id(number)
        self._database.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)",
            [
                (id_, (step.happened - EPOCH) // _MICROSECOND, line, part, msgspec.json.encode(step), about)
                for part, step in enumerate(steps)
            ],
        )

    def refuse(self, refusal: Refusal) -> None:
        """Remember a refusal; where the case is known, all of it is refused."""
        self._database.execute("INSERT INTO refusals VALUES (?, ?, ?, ?)", refusal)
        if refusal.case is not None:
            self._database.execute("UPDATE cases SET refused = 1 WHERE id = ?", [self._case_id(refusal.case)])

    def check(self) -> None:
        """Refuse every case that the service would refuse for its form."""
        for found in self._read():
            if isinstance(found, Refusal):
                self.refuse(found)

    def ready(self) -> Iterator[Case]:
        """Every case that is not refused, in the order of their first mention."""
        for found in self._read():
            if isinstance(found, Case):
                yield found

    def counted(self) -> tuple[int, int, int]:
        """Number of cases, of those refused, and of rows of those that are not."""
        query = "SELECT count(*), coalesce(sum(refused), 0) FROM cases"
        cases, refused = self._database.execute(query).fetchone()
        rows = self._database.execute(
            "SELECT count(*) FROM rows JOIN cases ON case_id = id WHERE NOT refused"
        ).fetchone()
        return cases, refused, rows[0]

    def refusals(self, limit: int = -1) -> Iterator[Refusal]:
        """In the order of the file."""
        query = "SELECT line, number, code, reason FROM refusals ORDER BY line LIMIT ?"
        yield from map(Refusal._make, self._database.execute(query, [limit]))

    def strays(self) -> int:
        """Number of refused rows of which nobody knows whose they are."""
        query = "SELECT count(*) FROM refusals WHERE number IS NULL"
        return int(self._database.execute(query).fetchone()[0])

    def _case_id(self, number: str) -> int:
        self._database.execute("INSERT OR IGNORE INTO cases (number) VALUES (?)", [number])
        row = self._database.execute("SELECT id FROM cases WHERE number = ?", [number]).fetchone()
        return int(row[0])

    def _read(self) -> Iterator[Case | Refusal]:
        query = (
            "SELECT c.id, c.number, r.line, r.step, r.about FROM cases c JOIN rows r ON r.case_id = c.id"
            " WHERE NOT c.refused ORDER BY c.id, r.happened, r.line, r.part"
        )
        held: list[tuple[Any, ...]] = []
        for row in self._database.execute(query):
            if held and held[0][0] != row[0]:
                yield self._assemble(held)
                held = []
            held.append(row)
        if held:
            yield self._assemble(held)

    def _assemble(self, rows: list[tuple[Any, ...]]) -> Case | Refusal:
        _, number, line, _, about = rows[0]
        try:
            if len(rows) > MAX_ROWS:
                raise RowError(f"A case has at most {MAX_ROWS} rows; this one has {len(rows)}.")
            steps = [msgspec.json.decode(row[3], type=Step) for row in rows]
            if steps[0].outcome is not None:
                raise RowError(
                    "The first step of a case has an outcome: a case begins with its registration."
                )
            document = {
                "register": self._mapper.register,
                "case": number,
                **self._mapper.about(msgspec.json.decode(about)),
                "rows": list(_with_terms(steps)),
            }
            case = msgspec.convert(document, ImportedCase)
        except RowError as error:
            return Refusal(line, number, "row-refused", str(error))
        except msgspec.ValidationError as error:
            return Refusal(line, number, "row-refused", f"The case is not as the service takes it: {error}.")
        return Case(number, line, len(rows), msgspec.json.encode(case))


def _with_terms(steps: list[Step]) -> Iterator[dict[str, Any]]:
    """The rows; a term is told where it is new."""
    last = None
    for step in steps:
        row = {"activity": step.activity, "step": step.step, "happened": step.happened}
        if step.outcome is not None:
            row["outcome"] = step.outcome
        if step.due is not None and step.due != last:
            row["due"] = last = step.due
        yield row
