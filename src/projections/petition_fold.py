"""The fold behind :mod:`projections.petitions`: a petition's row, its regions and its hours.

The count, the regions and the hours come from the same changes (see :mod:`projections.counting`), so they
add up at every position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from psycopg import Cursor, sql

from ledger import events
from projections.base import Projection, Table, instant, plain, utc
from projections.batch import Batch, LoggedEvent
from projections.counting import Change, petition_id
from projections.rows import as_json, load, upsert

State = Literal[
    "submitted", "rejected", "limited", "lapsed", "collecting", "not-supported", "withdrawn",
    "supported", "routed", "considered", "decided",
]  # fmt: skip
UNKNOWN = "unknown"
"""Where a signature is counted whose signer declared no region."""
_PREFIX = "petition/"


class Row(msgspec.Struct, gc=False):
    """A row of table ``petitions``, field by field; the meaning of each column stands in the migration."""

    id: str
    state: State | None = None
    body: str | None = None
    lang: str | None = None
    text_hash: str | None = None
    submitted_position: int | None = None
    submitted_time: datetime | None = None
    moderate_until: datetime | None = None
    moderation_overdue: int | None = None
    rejected_position: int | None = None
    rejected_time: datetime | None = None
    ground: str | None = None
    admitted_position: int | None = None
    admitted_time: datetime | None = None
    needed: int | None = None
    limited_until: datetime | None = None
    needed_at: int | None = None
    published_position: int | None = None
    published_time: datetime | None = None
    required: int | None = None
    population: int | None = None
    collect_until: datetime | None = None
    reached_at: int | None = None
    ended_position: int | None = None
    ended_time: datetime | None = None
    supported_position: int | None = None
    supported_time: datetime | None = None
    routed_position: int | None = None
    routed_time: datetime | None = None
    routed_to: str | None = None
    registered_position: int | None = None
    registered_time: datetime | None = None
    number: str | None = None
    consider_until: datetime | None = None
    consideration_overdue: int | None = None
    group_position: int | None = None
    group_time: datetime | None = None
    group_members: int | None = None
    author_invited: bool | None = None
    draft_position: int | None = None
    draft_time: datetime | None = None
    draft_outcome: str | None = None
    discuss_until: datetime | None = None
    decided_position: int | None = None
    decided_time: datetime | None = None
    outcome: str | None = None
    files: str = "[]"
    signed: int = 0
    withdrawn: int = 0
    voided: int = 0
    count: int = 0
    position: int = 0

    def note_thresholds(self, position: int) -> None:
        """Remember the first position at which the count was enough; it is never taken back."""
        if self.state == "limited":
            if self.needed_at is None and self.needed is not None and self.count >= self.needed:
                self.needed_at = position
        elif (
            self.state == "collecting"
            and self.reached_at is None
            and self.required is not None
            and self.count >= self.required
        ):
            self.reached_at = position


FIELDS = Row.__struct_fields__
_TIMES = frozenset(f for f in FIELDS if f.endswith(("_time", "_until")))
_COUNTS = plain("signed", "withdrawn", "voided")


class Petitions(Projection):
    """Every petition: its state, its count, and what the count is made of."""

    name = "petitions"
    version = 1
    tables = (
        Table(
            "petitions",
            key=("id",),
            columns=tuple(
                column for field in FIELDS for column in (instant if field in _TIMES else plain)(field)
            ),
        ),
        Table("petition_regions", key=("petition", "region"), columns=plain("petition", "region") + _COUNTS),
        Table(
            "petition_hours",
            key=("petition", "hour"),
            columns=plain("petition") + instant("hour") + _COUNTS,
        ),
    )

    def project(self, cursor: Cursor[Any], batch: Batch) -> None:
        """Fold petitions' events and changes of counts in the order of the log."""
        own = [
            (event, id_)
            for event in batch.events
            if event.stream.startswith(_PREFIX) and (id_ := petition_id(event.stream.removeprefix(_PREFIX)))
        ]
        ids = {id_ for _, id_ in own} | {change.petition for change in batch.changes}
        if not ids:
            return
        rows = {id_: Row(id_) for id_ in ids}
        for row in load(cursor, Row, "petitions", "id", [UUID(id_) for id_ in ids]):
            row.id = str(row.id)  # the driver reads a UUID
            rows[row.id] = row
        done = 0
        for event, id_ in own:
            upto = done
            while upto < len(batch.changes) and batch.changes[upto].position < event.position:
                upto += 1
            _count(rows, batch.changes[done:upto])
            done = upto
            _apply(rows[id_], event)
        _count(rows, batch.changes[done:])
        upsert(cursor, "petitions", ("id",), rows.values())
        _save_breakdowns(cursor, batch.changes)


def _count(rows: dict[str, Row], changes: Sequence[Change]) -> None:
    for change in changes:
        row = rows[change.petition]
        row.position = change.position
        if change.kind == "signed":
            row.signed += 1
            row.count += 1
            row.note_thresholds(change.position)
        else:
            row.count -= 1
            if change.kind == "withdrawn":
                row.withdrawn += 1
            else:
                row.voided += 1


def _apply(row: Row, event: LoggedEvent) -> None:
    position, time = event.position, datetime.fromtimestamp(event.iat, UTC)
    row.position = position
    match event.facts:
        case events.PetitionSubmitted() as facts:
            row.state = "submitted"
            row.submitted_position, row.submitted_time = position, time
            row.body, row.lang, row.text_hash = facts.body, facts.lang, facts.text_hash
            row.moderate_until = utc(facts.moderate_until)
        case events.PetitionRejected() as facts:
            row.state = "rejected"
            row.rejected_position, row.rejected_time = position, time
            row.ground = facts.ground
        case events.PetitionAdmitted() as facts:
            row.state = "limited"
            row.admitted_position, row.admitted_time = position, time
            row.needed, row.limited_until = facts.needed, utc(facts.limited_until)
        case events.PetitionLapsed():
            row.state = "lapsed"
            row.ended_position, row.ended_time = position, time
        case events.PetitionPublished() as facts:
            row.state = "collecting"
            row.published_position, row.published_time = position, time
            row.required, row.collect_until = facts.required, utc(facts.collect_until)
            row.population = facts.population
        case events.PetitionSupported():
            row.state = "supported"
            row.supported_position, row.supported_time = position, time
        case events.PetitionNotSupported():
            row.state = "not-supported"
            row.ended_position, row.ended_time = position, time
        case events.PetitionWithdrawn():
            row.state = "withdrawn"
            row.ended_position, row.ended_time = position, time
        case events.PetitionRouted() as facts:
            row.state = "routed"
            row.routed_position, row.routed_time = position, time
            row.routed_to = facts.body
        case events.PetitionRegistered() as facts:
            row.state = "considered"
            row.registered_position, row.registered_time = position, time
            row.number, row.consider_until = facts.number, utc(facts.consider_until)
        case events.PetitionWorkingGroupFormed() as facts:
            row.group_position, row.group_time = position, time
            row.group_members, row.author_invited = facts.members, facts.author_invited
        case events.PetitionDraftPublished() as facts:
            row.draft_position, row.draft_time = position, time
            row.draft_outcome, row.discuss_until = facts.outcome, utc(facts.discuss_until)
        case events.PetitionDecided() as facts:
            row.state = "decided"
            row.decided_position, row.decided_time = position, time
            row.outcome, row.files = facts.outcome, msgspec.json.encode(facts.files).decode()
        case events.PetitionOverdue() as facts:
            if facts.step == "moderation":
                row.moderation_overdue = position
            else:
                row.consideration_overdue = position
        case _:
            pass
    # A petition that is admitted or published with enough signatures already needs no further one.
    row.note_thresholds(position)


# Not an upsert: that would try the bare difference against the table's constraints before it adds it.
_ADD = """
    MERGE INTO {table} t USING json_populate_recordset(NULL::{table}, %s::json) d
    ON t.petition = d.petition AND t.{key} = d.{key}
    WHEN MATCHED THEN UPDATE SET
        signed = t.signed + d.signed, withdrawn = t.withdrawn + d.withdrawn, voided = t.voided + d.voided
    WHEN NOT MATCHED THEN
        INSERT (petition, {key}, signed, withdrawn, voided)
        VALUES (d.petition, d.{key}, d.signed, d.withdrawn, d.voided)
"""


def _save_breakdowns(cursor: Cursor[Any], changes: Iterable[Change]) -> None:
    regions: dict[tuple[str, str | None], dict[str, int]] = defaultdict(_nothing)
    hours: dict[tuple[str, int], dict[str, int]] = defaultdict(_nothing)
    for change in changes:
        regions[change.petition, change.region][change.kind] += 1
        hours[change.petition, change.iat // 3600][change.kind] += 1
    for table, key, deltas in (
        (
            "petition_regions",
            "region",
            [{"petition": p, "region": region or UNKNOWN} | n for (p, region), n in regions.items()],
        ),
        (
            "petition_hours",
            "hour",
            [
                {"petition": p, "hour": datetime.fromtimestamp(hour * 3600, UTC)} | n
                for (p, hour), n in hours.items()
            ],
        ),
    ):
        if deltas:
            query = sql.SQL(_ADD).format(table=sql.Identifier(table), key=sql.Identifier(key))
            cursor.execute(query, [as_json(deltas)])


def _nothing() -> dict[str, int]:
    return {"signed": 0, "withdrawn": 0, "voided": 0}
