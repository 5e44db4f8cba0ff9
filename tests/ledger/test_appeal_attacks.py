"""What a body could try with appeals to escape a term, a rule or whoever looks on; each in vain."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import psycopg
import pytest

from ledger import events
from ledger.domain import appeal
from ledger.domain.aggregate import NotAllowedError
from ledger.imports import ImportDesk, ImportedCase, ImportedRow
from ledger.store.vault import VaultError
from tests.ledger.appeal_scenes import LAND, WATER, story

JANUARY = datetime(2026, 1, 5, 5, tzinfo=UTC)
DUE = datetime(2026, 1, 26, 19, tzinfo=UTC)
FIRST = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
LAST = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12)))
"""Moments that are in no calendar's year in UTC."""


def row(day, step="note", **more):
    happened = JANUARY + timedelta(days=day)
    return ImportedRow(activity=step.capitalize(), step=step, happened=happened, **more)


OPEN = (row(0, "registered", due=DUE), row(1, "taken"))
ANSWERED = row(2, "decided", outcome="refused")


def case(*rows, **more):
    fields = {"kind": "application", "applicant": "person", "channel": "paper", "category": "housing"}
    return ImportedCase(register="journal", case="1", lang="kk", rows=rows or OPEN, **fields, **more)


def test_an_answer_given_here_cannot_be_put_into_the_old_register_as_an_earlier_one(database):
    async def work(s):
        desk = ImportDesk(s.ledger)
        stream = (await desk.take(LAND, case())).stream
        await s.tell(stream, "decision_drafted", {"outcome": "explained"})
        with pytest.raises(NotAllowedError, match="Steps were taken"):
            await desk.take(LAND, case(*OPEN, ANSWERED))
        assert (await desk.take(LAND, case())).result == "unchanged"
        assert (await s.appeal(stream)).state == "in-work"

    story(database, work)


def test_a_complaint_that_was_made_here_is_not_decided_by_a_row_of_the_old_register(database):
    async def work(s):
        desk = ImportDesk(s.ledger)
        stream = (await desk.take(LAND, case(*OPEN, ANSWERED, iin=s.iin(1)))).stream
        await s.act(stream, "complain")
        with pytest.raises(NotAllowedError, match="Steps were taken"):
            await desk.take(LAND, case(*OPEN, ANSWERED, row(3, "complaint-decided"), iin=s.iin(1)))
        assert (await s.appeal(stream)).state == "complained"

    story(database, work)


def test_what_the_clock_says_does_not_close_the_old_register(database):
    async def work(s):
        desk = ImportDesk(s.ledger)
        stream = (await desk.take(LAND, case())).stream
        await s.ledger.declare(stream, events.AppealOverdue(term="consideration", due=DUE))
        assert (await desk.take(LAND, case(*OPEN, ANSWERED))).result == "extended"
        assert (await s.appeal(stream)).state == "decided"

    story(database, work)


@pytest.mark.parametrize(
    "strange",
    [
        case(registered_on=date(2099, 1, 1)),
        case(registered_on=date(1, 1, 1)),
        case(row(0, "taken"), due=LAST),
        case(ImportedRow(activity="Taken", step="taken", happened=FIRST)),
        case(*OPEN, row(2, "extended", due=LAST)),
    ],
)
def test_an_old_case_of_no_possible_time_is_not_taken_over(database, strange):
    async def work(s):
        with pytest.raises(NotAllowedError):
            await ImportDesk(s.ledger).take(LAND, strange)

    story(database, work)


def test_a_moment_that_no_calendar_has_enters_no_event(database):
    async def work(s):
        stream = await s.taken()
        with pytest.raises(NotAllowedError, match="between the years"):
            await s.tell(stream, "hearing_noticed", {"at": LAST.isoformat()})
        imported = (await ImportDesk(s.ledger).take(LAND, case(row(0, "taken")))).stream
        with pytest.raises(NotAllowedError, match="between the years"):
            await s.tell(imported, "assigned", {"to": WATER, "answer_until": LAST.isoformat()})

    story(database, work)


def test_parts_of_parts_end_before_their_names_are_too_long_to_be_read_or_shown(database):
    async def work(s):
        stream, body, other = await s.filed(), LAND, WATER
        for _ in range(appeal.MAX_DEPTH):
            await s.tell(stream, "forwarded_in_part", {"to": other}, body=body)
            stream, body, other = f"{stream}-1", other, body
        with pytest.raises(NotAllowedError, match="forward it whole"):
            await s.tell(stream, "forwarded_in_part", {"to": other}, body=body)
        await s.desk.read(body, stream, "consideration")
        await s.tell(stream, "forwarded", {"to": other}, body=body)

    story(database, work)


def test_a_body_does_not_fill_an_appeal_with_steps_until_nobody_can_read_it(database, monkeypatch):
    monkeypatch.setattr(appeal, "MAX_REPEATED", 3)

    async def work(s):
        stream = await s.taken()
        for _ in range(3):
            await s.tell(stream, "decision_drafted", {"outcome": "explained"})
        for step, data in (
            ("decision_drafted", {"outcome": "explained"}),
            ("assigned", {"to": WATER}),
            ("forwarded_in_part", {"to": WATER}),
        ):
            with pytest.raises(NotAllowedError, match="3 at most"):
                await s.tell(stream, step, data)
        await s.tell(stream, "decision_approved")
        await s.tell(stream, "decided")

    story(database, work)


def test_a_file_that_was_exchanged_in_the_database_is_never_handed_out(database):
    async def work(s):
        files = []
        for content in (b"%PDF-1.7 mine", b"%PDF-1.7 of somebody else"):
            file, sealed = s.desk.upload(content, "application/pdf")
            with psycopg.connect(database.url) as connection:
                connection.execute(
                    "INSERT INTO ledger.attachments (id, sealed) VALUES (%s, %s)", [file.id, sealed]
                )
            files.append(file)
        await s.filed(files=tuple(files))
        with psycopg.connect(database.admin_url) as connection:
            connection.execute(
                "UPDATE ledger.attachments SET sealed = (SELECT sealed FROM ledger.attachments WHERE id = %s)"
                " WHERE id = %s",
                [files[1].id, files[0].id],
            )
        assert await s.desk.content(files[1]) == b"%PDF-1.7 of somebody else"
        with pytest.raises(VaultError):
            await s.desk.content(files[0])

    story(database, work)


def test_an_applicant_objects_so_often_and_no_oftener(database, monkeypatch):
    monkeypatch.setattr(appeal, "MAX_OBJECTIONS", 1)

    async def work(s):
        stream = await s.taken()
        at = appeal.appeal_terms.earliest_hearing(s.ledger.now())
        await s.tell(stream, "hearing_noticed", {"at": at.isoformat()})
        await s.act(stream, "object")
        with pytest.raises(NotAllowedError, match="1 objections"):
            await s.act(stream, "object")

    story(database, work)
