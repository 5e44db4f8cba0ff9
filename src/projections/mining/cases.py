"""Appeals as cases: each with its events, read one after the other from one snapshot of the ledger."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby
from typing import Any, LiteralString

from psycopg import Connection, IsolationLevel

from ledger import events
from ledger.domain.appeal import IMPORTED, REOPENING, ROOM
from ledger.store.database import connect
from ledger.tlog.encoding import to_base64
from projections.appeal_case import BEGINNINGS, moment
from projections.batch import LoggedEvent, read_event

Value = str | int | bool | datetime
"""Of a public fact."""

_PAGE = 2000
"""Entries fetched at once: some megabytes."""
_ENTRIES: LiteralString = (
    "SELECT position, stream, entry FROM ledger.entries WHERE stream >= %s AND stream < %s ORDER BY stream, n"
)
_OF_THE_CASE = frozenset({"kind", "applicant", "channel", "category", "lang", "region", "register"})
_TOLD_OTHERWISE = frozenset({"activity", "happened", "parent"})


@dataclass(frozen=True, slots=True)
class Selection:
    """Which appeals. They are taken whole, by when they began."""

    body: str | None = None
    """Only those that lay with this organisation at some time."""
    since: datetime | None = None
    """Only those that began at this moment or later."""
    until: datetime | None = None
    """Only those that began before this moment."""
    imported: bool = False
    """Only those that were taken over from old registers."""


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """One event of the ledger as a process miner sees it."""

    position: int
    n: int
    iss: str
    kid: str
    type: str
    activity: str
    """What happened: the type of the event, or what an old register called the step."""
    time: datetime
    """When it happened: for an imported step, what the old register says."""
    facts: events.Fact = field(repr=False)

    @classmethod
    def of(cls, event: LoggedEvent) -> CaseEvent:
        """As it was logged."""
        facts = event.facts
        activity = facts.type
        if isinstance(facts, events.AppealImported | events.AppealStepImported):
            activity = facts.activity
        return cls(event.position, event.n, event.iss, event.kid, facts.type, activity, moment(event), facts)

    @property
    def values(self) -> dict[str, Value]:
        """The facts that are not those of the whole case; what there is none of is left out."""
        left_out = _TOLD_OTHERWISE
        if isinstance(self.facts, BEGINNINGS):
            left_out |= _OF_THE_CASE
        found = ((name, getattr(self.facts, name)) for name in self.facts.__struct_fields__)
        return {name: _plain(value) for name, value in found if value is not None and name not in left_out}


@dataclass(frozen=True, slots=True)
class Changed:
    """A value that a case has from a moment on."""

    time: datetime
    value: str


@dataclass(frozen=True, slots=True)
class Case:
    """An appeal with its events in order."""

    stream: str
    events: tuple[CaseEvent, ...]

    @property
    def began(self) -> datetime:
        """When its first event happened."""
        return self.events[0].time

    @property
    def parent(self) -> str | None:
        """The appeal that it was a part of."""
        first = self.events[0].facts
        return first.parent if isinstance(first, events.AppealSplitOff) else None

    @property
    def constant(self) -> dict[str, str]:
        """What does not change while it is considered: kind, applicant, channel and the like."""
        facts = self.events[0].facts
        found = ((name, getattr(facts, name, None)) for name in facts.__struct_fields__)
        return {name: str(value) for name, value in found if name in _OF_THE_CASE and value is not None}

    @property
    def bodies(self) -> list[Changed]:
        """The organisations that it lay with."""
        first = self.events[0]
        found = [Changed(first.time, first.facts.body)] if isinstance(first.facts, BEGINNINGS) else []
        for event in self.events:
            if isinstance(event.facts, events.AppealForwarded):
                found.append(Changed(event.time, event.facts.to))
        return found

    @property
    def outcomes(self) -> list[Changed]:
        """What was decided; empty text where a decision fell with a complaint that opened it again."""
        found: list[Changed] = []
        for event in self.events:
            match event.facts:
                case events.AppealDecided(outcome=outcome):
                    found.append(Changed(event.time, outcome))
                case events.AppealStepImported(outcome=str() as outcome):
                    found.append(Changed(event.time, outcome))
                case events.AppealComplaintDecided(outcome=outcome) if outcome in REOPENING and found:
                    found.append(Changed(event.time, ""))
                case _:
                    pass
        return found


@dataclass(frozen=True)
class Snapshot:
    """The ledger at one position. Close it after use."""

    connection: Connection[Any] = field(repr=False)
    selection: Selection
    as_of: int
    """Position of the last entry; -1 before the first."""
    origin: str | None
    root: str | None
    """Of the tree with ``as_of + 1`` entries, base64."""

    @classmethod
    def open(cls, url: str, selection: Selection) -> Snapshot:
        """Read from the database at ``url`` as it is now, whatever is appended meanwhile."""
        connection = connect(url, application_name="aiqyn export")
        try:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            row = connection.execute(
                "SELECT e.last, c.root, c.note"
                " FROM (SELECT coalesce(max(position), -1) AS last FROM ledger.entries) e"
                " LEFT JOIN ledger.checkpoints c ON c.size = e.last + 1"
            ).fetchone()
            as_of, root, note = row or (-1, None, None)
        except BaseException:
            connection.close()
            raise
        origin = None if note is None else bytes(note).split(b"\n", 1)[0].decode()
        return cls(connection, selection, as_of, origin, None if root is None else to_base64(bytes(root)))

    def close(self) -> None:
        """Give the connection back."""
        self.connection.close()

    def cases(self) -> Iterator[Case]:
        """The selected appeals in the order of their streams' names.

        Raises :class:`projections.batch.UnreadableEntryError`.
        """
        # A minus is followed by a full stop in ASCII, a stroke by a zero.
        low, high = (f"{ROOM}/{IMPORTED}-", f"{ROOM}/{IMPORTED}.") if self.selection.imported else (
            f"{ROOM}/", f"{ROOM}0",
        )  # fmt: skip
        with closing(self._read(low, high)) as rows:
            for stream, found in groupby(rows, key=lambda event: event.stream):
                case = Case(stream, tuple(map(CaseEvent.of, found)))
                if self._is_selected(case):
                    yield case

    def organisations(self) -> dict[str, events.OrganisationRegistered]:
        """Who was registered as what."""
        with closing(self._read("organisation/", "organisation0")) as rows:
            return {e.stream: e.facts for e in rows if isinstance(e.facts, events.OrganisationRegistered)}

    def _read(self, low: str, high: str) -> Generator[LoggedEvent]:
        with self.connection.cursor("entries", binary=True) as cursor:
            cursor.itersize = _PAGE
            cursor.execute(_ENTRIES, [low, high])
            for position, _, entry in cursor:
                yield read_event(position, entry)

    def _is_selected(self, case: Case) -> bool:
        chosen = self.selection
        return (
            (chosen.since is None or case.began >= chosen.since)
            and (chosen.until is None or case.began < chosen.until)
            and (chosen.body is None or any(body.value == chosen.body for body in case.bodies))
        )


@contextmanager
def snapshot(url: str, selection: Selection | None = None) -> Iterator[Snapshot]:
    """A snapshot that is closed behind the block."""
    with closing(Snapshot.open(url, selection or Selection())) as opened:
        yield opened


def in_chunks(parts: Iterable[str], size: int = 65_536) -> Iterator[bytes]:
    """Texts as UTF-8, joined to pieces that are worth a write."""
    waiting: list[str] = []
    length = 0
    for part in parts:
        waiting.append(part)
        length += len(part)
        if length >= size:
            yield "".join(waiting).encode()
            waiting, length = [], 0
    if waiting:
        yield "".join(waiting).encode()


def _plain(value: Any) -> Value:  # noqa: ANN401 - a field of a fact
    if isinstance(value, bool | int | datetime):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)
