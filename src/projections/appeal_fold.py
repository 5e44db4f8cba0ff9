"""The fold behind :mod:`projections.appeals`: the register, and whom each event concerns."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString

from psycopg import Cursor

from ledger import events
from projections.appeal_case import Case, Origin, advance, begin, is_appeal, moment
from projections.base import Projection, Table, plain
from projections.batch import Batch, LoggedEvent
from projections.rows import columns, copy, load, upsert


class Row(Case, gc=False):
    """A row of table ``appeals``: a case, and what is told of it besides."""

    origin: Origin = "filed"
    parent: str | None = None
    applicant: str = "person"
    lang: str = "kk"
    first_body: str = ""
    submitted_time: datetime | None = None
    forwards: int = 0
    parts: int = 0
    extensions: int = 0
    assignments: int = 0
    open_assignments: int = 0
    objections: int = 0
    readings: int = 0
    remittals: int = 0
    forwarded_late: bool | None = None
    decided_late: bool | None = None
    complained_late: bool | None = None
    complaint_decided_late: bool | None = None
    outcome: str | None = None
    ground: str | None = None
    decided_position: int | None = None
    decided_time: datetime | None = None
    finished_position: int | None = None
    finished_time: datetime | None = None
    withdrawn_position: int | None = None
    withdrawn_time: datetime | None = None
    complained_position: int | None = None
    complained_time: datetime | None = None
    complaint_about: str | None = None
    complaint_outcome: str | None = None
    complaint_position: int | None = None
    complaint_time: datetime | None = None


class Appeals(Projection):
    """Every appeal with everything public about it, and the organisations that its events concern.

    It keeps each case as :class:`projections.terms.Terms` does, and does not read it there: a projection is
    rebuilt, and stands still at a fault, by itself.
    """

    name = "appeals"
    version = 1
    tables = (
        Table("appeals", key=("stream",), columns=columns(Row)),
        Table(
            "concerns",
            key=("body", "position"),
            columns=plain("body", "position"),
            added_to=True,
        ),
    )

    def project(self, cursor: Cursor[Any], batch: Batch) -> None:
        """Fold the events of appeals and the readings of them, in the order of the log."""
        own = [(stream, event) for event in batch.events if (stream := _appeal_of(event)) is not None]
        if not own:
            return
        rows = {
            row.stream: row for row in load(cursor, Row, "appeals", "stream", {stream for stream, _ in own})
        }
        concerns: list[tuple[str, int]] = []
        for stream, event in own:
            row = rows.get(stream)
            if isinstance(event.facts, events.DisclosureRead):
                if row is not None:
                    row.readings += 1
                continue
            if row is not None:
                concerned = _advance(row, event)
            elif (row := _first(event)) is not None:
                rows[stream] = row
                concerned = row.parties()
            else:
                continue
            concerns += [(body, event.position) for body in concerned]
        upsert(cursor, "appeals", ("stream",), rows.values())
        if concerns:
            copy(cursor, "concerns", _CONCERNS, concerns)


_CONCERNS: dict[LiteralString, str] = {"body": "text", "position": "int8"}


def _appeal_of(event: LoggedEvent) -> str | None:
    """The stream of the appeal that an event is about."""
    if isinstance(event.facts, events.DisclosureRead):
        return event.facts.of if is_appeal(event.facts.of) else None
    return event.stream if is_appeal(event.stream) else None


def _first(event: LoggedEvent) -> Row | None:
    row = begin(Row, event)
    match event.facts:
        case events.AppealSubmitted() | events.AppealSplitOff() | events.AppealImported() as facts if row:
            row.applicant, row.lang, row.first_body = facts.applicant, facts.lang, facts.body
            row.submitted_time = moment(event)
            if isinstance(facts, events.AppealSplitOff):
                row.origin, row.parent = "split", facts.parent
            elif isinstance(facts, events.AppealImported):
                row.origin = "imported"
                _import(row, facts.step, event.position, row.submitted_time)
    return row


def _advance(row: Row, event: LoggedEvent) -> set[str]:
    """Let an event change a row; gives the organisations that it concerns: those of before, and of now."""
    facts = event.facts
    concerned = row.parties()
    if isinstance(facts, events.AppealForwardedInPart):
        concerned.add(facts.to)
    elif isinstance(facts, events.AppealApplicantTold):
        concerned.update(one.body for one in row.news() if one.number == facts.of)
    advance(row, event)
    _note(row, event)
    return concerned | row.parties()


def _note(row: Row, event: LoggedEvent) -> None:
    """What an event that changed the case behind its beginning adds to the register."""
    position, time = event.position, moment(event)
    match event.facts:
        case events.AppealForwarded() as facts:
            row.forwards += 1
            row.forwarded_late = facts.late or row.forwarded_late or False
        case events.AppealForwardedInPart() as facts:
            row.parts += 1
            row.forwarded_late = facts.late or row.forwarded_late or False
        case events.AppealAssigned():
            row.assignments += 1
        case events.AppealExtended():
            row.extensions += 1
        case events.AppealObjected():
            row.objections += 1
        case events.AppealDecided() as facts:
            row.outcome, row.ground, row.decided_late = facts.outcome, facts.ground, facts.late
            row.decided_position, row.decided_time = position, time
        case events.AppealFinished():
            row.finished_position, row.finished_time = position, time
        case events.AppealWithdrawalAccepted():
            row.withdrawn_position, row.withdrawn_time = position, time
        case events.AppealComplained() as facts:
            row.complaint_about, row.complained_late = facts.about, facts.late
            row.complaint_outcome = row.complaint_decided_late = None
            row.complained_position, row.complained_time = position, time
            row.complaint_position = row.complaint_time = None
        case events.AppealComplaintSatisfied():
            row.complaint_outcome = "satisfy"
            row.complaint_position, row.complaint_time = position, time
        case events.AppealComplaintDecided() as facts:
            row.complaint_outcome, row.complaint_decided_late = facts.outcome, facts.late
            row.complaint_position, row.complaint_time = position, time
            if facts.due is not None:
                _reopen(row)
        case events.AppealStepImported() as facts:
            _import(row, facts.step, position, time)
            row.outcome = facts.outcome or row.outcome
        case _:
            pass
    row.open_assignments = len(row.asked())


def _reopen(row: Row) -> None:
    """The decision is gone; that there was one is told by the trail."""
    row.remittals += 1
    row.outcome = row.ground = row.decided_late = None
    row.decided_position = row.decided_time = row.finished_position = row.finished_time = None


def _import(row: Row, step: events.ImportedStep, position: int, time: datetime) -> None:
    match step:
        case "forwarded":
            row.forwards += 1
        case "extended":
            row.extensions += 1
        case "assigned":
            row.assignments += 1
        case "decided":
            row.decided_position, row.decided_time = position, time
            row.decided_late = None if row.due is None else time >= row.due
        case "finished":
            row.finished_position, row.finished_time = position, time
        case "withdrawn":
            row.withdrawn_position, row.withdrawn_time = position, time
        case "complained":
            row.complained_position, row.complained_time = position, time
            row.complaint_about, row.complained_late = row.complaint, None
            row.complaint_outcome = row.complaint_decided_late = None
            row.complaint_position = row.complaint_time = None
        case "complaint-decided":
            row.complaint_position, row.complaint_time = position, time
        case _:
            pass
