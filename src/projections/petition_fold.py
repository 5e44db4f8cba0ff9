"""The fold behind :mod:`projections.petitions`: a petition's row, its regions and its hours.

The count, the regions and the hours come from the same changes (see :mod:`projections.counting`), so they
add up at every position.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

import msgspec
from psycopg import Cursor, sql

from ledger import events
from projections.base import Projection, Table, instant, plain, utc
from projections.batch import Batch, LoggedEvent
from projections.counting import Change, Kind, petition_id
from projections.rows import as_json, load, upsert

State = Literal[
    "submitted", "rejected", "limited", "lapsed", "collecting", "not-supported", "withdrawn",
    "supported", "routed", "considered", "decided",
]  # fmt: skip
UNKNOWN = "unknown"
"""Where a signature is counted whose signer declared no region."""
_PREFIX = "petition/"
K = TypeVar("K")


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
        if self.may_reach(0):
            if self.state == "limited":
                self.needed_at = position
            else:
                self.reached_at = position

    def may_reach(self, more: int) -> bool:
        """Whether ``more`` signatures would be the first to meet the threshold of its state."""
        if self.state == "limited":
            return self.needed_at is None and self.needed is not None and self.count + more >= self.needed
        if self.state == "collecting":
            return (
                self.reached_at is None and self.required is not None and self.count + more >= self.required
            )
        return False


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
        own: dict[str, list[LoggedEvent]] = defaultdict(list)
        for event in batch.events:
            if event.stream.startswith(_PREFIX) and (id_ := petition_id(event.stream.removeprefix(_PREFIX))):
                own[id_].append(event)
        changes: dict[str, list[Change]] = defaultdict(list)
        for change in batch.changes:
            changes[change.petition].append(change)
        ids = own.keys() | changes.keys()
        if not ids:
            return
        rows = {id_: Row(id_) for id_ in ids}
        for row in load(cursor, Row, "petitions", "id", [UUID(id_) for id_ in ids]):
            row.id = str(row.id)  # the driver reads a UUID
            rows[row.id] = row
        regions: list[dict[str, Any]] = []
        hours: list[dict[str, Any]] = []
        for id_, row in rows.items():
            counted = changes.get(id_, [])
            _fold(row, own.get(id_, []), counted)
            by_region = _tally(Counter([(change.region, change.kind) for change in counted]))
            regions += [{"petition": id_, "region": r or UNKNOWN} | n for r, n in by_region.items()]
            by_hour = _tally(Counter([(change.iat // 3600, change.kind) for change in counted]))
            hours += [{"petition": id_, "hour": _hour(h)} | n for h, n in by_hour.items()]
        upsert(cursor, "petitions", ("id",), rows.values())
        _add(cursor, "petition_regions", "region", regions)
        _add(cursor, "petition_hours", "hour", hours)


def _fold(row: Row, own: Sequence[LoggedEvent], changes: Sequence[Change]) -> None:
    """What happened to one petition, and the changes of its count, each in the order of the log."""
    kinds = Counter([change.kind for change in changes])
    if not own and not row.may_reach(kinds["signed"]):
        # No threshold lies between: their sums are enough. It is so for nearly every batch.
        row.signed += kinds["signed"]
        row.withdrawn += kinds["withdrawn"]
        row.voided += kinds["voided"]
        row.count = row.signed - row.withdrawn - row.voided
        row.position = changes[-1].position
        return
    steps: list[LoggedEvent | Change] = [*own, *changes]
    steps.sort(key=lambda step: step.position)
    for step in steps:
        if isinstance(step, LoggedEvent):
            _apply(row, step)
        elif step.kind == "signed":
            row.signed += 1
        elif step.kind == "withdrawn":
            row.withdrawn += 1
        else:
            row.voided += 1
        row.count = row.signed - row.withdrawn - row.voided
        row.position = step.position
        # Also after an event: published with enough signatures, a petition needs no further one.
        row.note_thresholds(step.position)


def _apply(row: Row, event: LoggedEvent) -> None:
    position, time = event.position, datetime.fromtimestamp(event.iat, UTC)
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


# Not an upsert: that would try the bare difference against the table's constraints before it adds it.
_MERGE = """
    MERGE INTO {table} t USING json_populate_recordset(NULL::{table}, %s::json) d
    ON t.petition = d.petition AND t.{key} = d.{key}
    WHEN MATCHED THEN UPDATE SET
        signed = t.signed + d.signed, withdrawn = t.withdrawn + d.withdrawn, voided = t.voided + d.voided
    WHEN NOT MATCHED THEN
        INSERT (petition, {key}, signed, withdrawn, voided)
        VALUES (d.petition, d.{key}, d.signed, d.withdrawn, d.voided)
"""


def _add(cursor: Cursor[Any], table: str, key: str, differences: Sequence[dict[str, Any]]) -> None:
    """Add to a breakdown's numbers."""
    if differences:
        query = sql.SQL(_MERGE).format(table=sql.Identifier(table), key=sql.Identifier(key))
        cursor.execute(query, [as_json(differences)])


def _tally(counts: Counter[tuple[K, Kind]]) -> dict[K, dict[Kind, int]]:
    """From counts by key and kind to one record for each key."""
    found: dict[K, dict[Kind, int]] = {}
    for (key, kind), number in counts.items():
        found.setdefault(key, {"signed": 0, "withdrawn": 0, "voided": 0})[kind] = number
    return found


def _hour(number: int) -> datetime:
    return datetime.fromtimestamp(number * 3600, UTC)
