"""Moving in: a body's old register, taken over case by case.

A case is one stream, whose name follows from the body, the register and the case's number in it: whoever
sends a case again, and whenever, finds what was recorded. Each row of the register is one event, and all rows
of a case are appended together or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal, cast

import msgspec
from msgspec import Meta

from ledger import context
from ledger.domain.aggregate import Issuance, LedgerAggregate, NotAllowedError, happen, require
from ledger.domain.appeal import IMPORTED, ROOM, Appeal
from ledger.domain.calendar import ALMATY
from ledger.encoding import b64url
from ledger.events import (
    AppealImported,
    AppealKind,
    AppealOutcome,
    AppealStepImported,
    Applicant,
    Category,
    Channel,
    Fact,
    ImportedStep,
    Instant,
    Language,
    Region,
)
from ledger.events.appeals import Activity
from ledger.statement import open_event
from ledger.store.append import Append, SealedEvent, StreamConflictError
from ledger.store.mapper import domain_event

if TYPE_CHECKING:
    from ledger.application import Ledger

MAX_ROWS = 1000
"""Rows of one case: they are appended in one transaction."""
ATTEMPTS = 5
"""How often a case is compared anew when somebody else was faster."""
_SEALED_IN_A_TURN = 16
"""Events sealed between two looks of the event loop at its sockets: some milliseconds."""

Result = Literal["imported", "extended", "unchanged"]
RegisterName = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z", description="Names the old register, for ever.")
]
CaseNumber = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z",
        description="Of the case in the old register; it is not public.",
    ),
]
FullName = Annotated[
    str, Meta(min_length=1, max_length=300, description="Of the applicant; it is not public.")
]
Iin = Annotated[str, Meta(pattern=r"^[0-9]{12}\Z", description="IIN, or a company's BIN; it is not public.")]
PersonalText = Annotated[
    str, Meta(min_length=1, max_length=20_000, description="Of the appeal; it is not public.")
]


class ImportConflictError(NotAllowedError):
    """The case was taken over before, and the register now says something else about it."""

    code = "import-conflict"
    title = "The register contradicts what was taken over"


class ImportedRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A row of the old register."""

    activity: Annotated[
        Activity, Meta(description="What the register called the step: a word of its vocabulary. Public.")
    ]
    step: Annotated[ImportedStep, Meta(description="What it means here.")]
    happened: Instant
    outcome: Annotated[AppealOutcome | None, Meta(description="Where the step is `decided`.")] = None
    due: Annotated[Instant | None, Meta(description="A new term, where the step brought one.")] = None


class ImportedCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A case of the old register with all its rows."""

    register: RegisterName
    case: CaseNumber
    kind: AppealKind
    applicant: Applicant
    channel: Channel
    category: Category
    lang: Language
    region: Region | None = None
    registered_on: Annotated[
        date | None, Meta(description="Without it: the day of the first row, in Almaty.")
    ] = None
    due: Instant | None = None
    full_name: FullName | None = None
    iin: Iin | None = None
    text: PersonalText | None = None
    rows: Annotated[
        tuple[ImportedRow, ...],
        Meta(min_length=1, max_length=MAX_ROWS, description="In the order of time."),
    ]


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a case."""

    stream: str
    position: int
    """Of its newest imported event."""
    result: Result


def imported_stream(body: str, register: str, case: str) -> str:
    """The stream of a case: 16 bytes of SHA-256 over the three, separated by NUL."""
    digest = hashlib.sha256("\0".join((body, register, case)).encode()).digest()
    return f"{ROOM}/{IMPORTED}-{b64url(digest[:16])}"


class ImportDesk:
    """Where bodies hand in the cases of their old registers."""

    def __init__(self, ledger: Ledger) -> None:
        """The ledger's directory must have been refreshed since the body was registered."""
        self._ledger = ledger

    async def take(self, iss: str, case: ImportedCase) -> Taken:
        """Take a case over in the name of body ``iss``, or what is new of one that was taken over before.

        Raises :class:`ImportConflictError` where the register contradicts the ledger, and what the rules of
        an appeal, the issuer's rights and the append raise. What is personal is not compared: who corrects a
        name changes no history.
        """
        facts = _facts(iss, case)
        stream = imported_stream(iss, case.register, case.case)
        for attempt in range(ATTEMPTS):
            try:
                return await self._take(stream, iss, case, facts)
            except StreamConflictError:
                if attempt == ATTEMPTS - 1:
                    raise
                await self._ledger.refresh()
        raise AssertionError("unreachable")

    async def _take(self, stream: str, iss: str, case: ImportedCase, facts: Sequence[Fact]) -> Taken:
        aggregate, known, newest = await self._known(stream)
        _compare(known, facts)
        fresh = facts[len(known) :]
        if not fresh:
            return Taken(stream, newest, "unchanged")
        pending = await self._seal(stream, iss, case, aggregate, fresh)
        appended = await self._ledger.sequencer.append(
            Append(pending, self._ledger.issuer_guard(iss, stream))
        )
        position = appended.position + appended.count - 1
        return Taken(stream, position, "extended" if known else "imported")

    async def _known(self, stream: str) -> tuple[LedgerAggregate | None, list[Fact], int]:
        """The appeal as it stands, its imported facts, and the position of the last one of them."""
        aggregate: LedgerAggregate | None = None
        imported: list[Fact] = []
        newest = -1
        for position, entry, _ in await asyncio.to_thread(self._ledger.reader.stream, stream):
            event = open_event(entry)
            aggregate = cast("LedgerAggregate.Event", domain_event(event)).mutate(aggregate)
            if isinstance(event.facts, AppealImported | AppealStepImported):
                imported.append(event.facts)
                newest = position
        return aggregate, imported, newest

    async def _seal(
        self,
        stream: str,
        iss: str,
        case: ImportedCase,
        aggregate: LedgerAggregate | None,
        fresh: Sequence[Fact],
    ) -> list[SealedEvent]:
        ledger = self._ledger
        if aggregate is None:
            personal = {name: getattr(case, name) for name in sorted(AppealImported.restricted)}
            by = ledger.issuance(iss, AppealImported, personal)
        else:
            by = ledger.issuance(iss, AppealStepImported)
            by = by._replace(at=max(by.at, aggregate.modified_on))  # another host's clock may be ahead
        for number, facts in enumerate(fresh, 1):
            context.check(ledger.directory, facts, by, aggregate)
            aggregate = happen(Appeal, stream, aggregate, facts, by)
            if isinstance(facts, AppealImported):
                by = Issuance(iss, by.kid, by.at)
            if not number % _SEALED_IN_A_TURN:
                await asyncio.sleep(0)
        pending = []
        for number, happened in enumerate(aggregate.collect_events() if aggregate is not None else (), 1):
            pending.append(await ledger.seal(happened))
            if not number % _SEALED_IN_A_TURN:
                await asyncio.sleep(0)
        return pending


def _facts(body: str, case: ImportedCase) -> list[Fact]:
    """One fact for each row."""
    first, *others = case.rows
    require(first.outcome is None, "A case begins with its registration: the first row has no outcome.")
    years = context.YEARS
    require(first.happened.year in years, f"happened lies between the years {years[0]} and {years[-1]}.")
    begun = AppealImported(
        register=case.register,
        kind=case.kind,
        applicant=case.applicant,
        body=body,
        channel=case.channel,
        category=case.category,
        lang=case.lang,
        region=case.region,
        registered_on=case.registered_on or first.happened.astimezone(ALMATY).date(),
        due=first.due or case.due,
        step=first.step,
        activity=first.activity,
        happened=first.happened,
    )
    return [
        begun,
        *(
            AppealStepImported(
                step=row.step, activity=row.activity, happened=row.happened, outcome=row.outcome, due=row.due
            )
            for row in others
        ),
    ]


def _compare(known: Sequence[Fact], facts: Sequence[Fact]) -> None:
    for number, (before, now) in enumerate(zip(known, facts, strict=False), 1):
        if before != now:
            differing = ", ".join(
                f"{name} ({getattr(before, name)} before, {getattr(now, name)} now)"
                for name in before.__struct_fields__
                if getattr(before, name) != getattr(now, name)
            )
            raise ImportConflictError(
                f"Row {number} of this case was taken over with another {differing}. What is in the ledger "
                "stays: record what was wrong as a step of its own.",
                row=number,
            )
    if len(known) > len(facts):
        raise ImportConflictError(
            f"Of this case {len(known)} rows were taken over, and the register has only {len(facts)} now.",
            row=len(facts) + 1,
        )
