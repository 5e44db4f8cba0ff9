"""What applicants and officials do with appeals, on a real ledger."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import msgspec
import psycopg
import pytest

from ledger import events
from ledger.appeals import (
    CODE_LENGTH,
    CabinetStaleError,
    CodeWrongError,
    NotAReaderError,
    NotTheApplicantError,
    Visitor,
)
from ledger.application import InvalidCommandError, NotFoundError
from ledger.attachments import AttachmentRefusedError, AttachmentUnknownError
from ledger.domain import appeal_wording
from ledger.domain.aggregate import NotAllowedError
from ledger.domain.appeal import AnotherBodysAppealError, HearingMissingError, TermPassedError, talon_number
from ledger.domain.calendar import ALMATY
from ledger.eds.errors import IinInvalidError, StatementMismatchError
from ledger.eds.person import check_digit
from ledger.keys import UnauthorisedIssuerError
from ledger.statement import disclosed
from ledger.store.append import CommandReusedError
from tests.ledger.appeal_scenes import LAND, MINISTRY, OFFICE, QUESTION, WATER, appeals, story
from tests.ledger.store.check import check_log

PDF = b"%PDF-1.7\nthe answer"


def local(text):
    return datetime.fromisoformat(text).replace(tzinfo=ALMATY)


# --- turning to a body -------------------------------------------------------------------------


def test_an_applicant_gets_a_talon_with_number_code_and_term(database):
    async def work(s):
        talon = await s.talon()
        event = talon.recorded.event
        assert talon_number(event.stream) == "ЖТ-2026-00000001"
        assert len(talon.code) == CODE_LENGTH
        assert event.facts.registered_on.isoformat() == "2026-02-02"
        assert event.facts.due == local("2026-02-24T00:00")  # 15 working days: 3 to 6, 9 to 13, 16 to 20, 23
        assert (await s.ledger.receipt(talon.recorded)).entry == event.entry
        for secret in (QUESTION, "abonent", talon.code, s.iin(1)):
            assert secret.encode() not in event.entry

    story(database, work)


def test_numbers_follow_one_another_without_gaps_whatever_is_refused(database):
    async def work(s):
        refused = s.talon(2, body="organisation/council")
        made = await asyncio.gather(
            *(s.talon(number) for number in range(3, 9)), refused, s.visitor(), return_exceptions=True
        )
        streams = sorted(talon.recorded.event.stream for talon in made if not isinstance(talon, Exception))
        assert streams == [f"appeal/JT-2026-{number:08}" for number in range(1, 8)]
        company = await s.visitor(applicant="company", number="000000000000")
        assert talon_number(company.recorded.event.stream) == "ЗТ-2026-00000001"

    story(database, work)


def test_two_processes_of_a_service_never_give_one_number_twice(database):
    async def run():
        async with appeals(database) as one:
            keys, clock, authority = one.ledger.keys, one.clock, one.base.authority
            async with appeals(database, keys=keys, clock=clock, authority=authority, fresh=False) as two:
                made = await asyncio.gather(*(s.talon(n) for n in range(1, 11) for s in (one, two)))
                streams = {talon.recorded.event.stream for talon in made}
                assert streams == {f"appeal/JT-2026-{number:08}" for number in range(1, 21)}
        check_log(database.admin_url, keys.log.verifier)

    asyncio.run(run())


def test_what_comes_after_hours_or_on_a_day_off_is_registered_on_the_next_working_day(database):
    async def work(s):
        days = {}
        for moment in (
            "2026-02-02T18:30:00",
            "2026-02-03T18:31:00",
            "2026-02-06T18:31:00",
            "2026-02-08T12:00",
        ):
            s.clock.pass_until(local(moment) - timedelta(seconds=1))
            days[moment] = (await s.talon()).recorded.event.facts.registered_on.isoformat()
        assert list(days.values()) == ["2026-02-02", "2026-02-04", "2026-02-09", "2026-02-09"]

    story(database, work)


def test_the_last_appeal_of_a_year_after_hours_has_a_number_of_the_next(database):
    async def work(s):
        s.clock.pass_until(local("2026-12-31T20:00:00"))
        assert talon_number(await s.filed()) == "ЖТ-2027-00000001"

    story(database, work)


def test_a_signed_form_brings_about_one_appeal_however_often_it_is_sent(database):
    async def work(s):
        form = "0f4a1f0e-2b52-4d3b-9c6e-7a0f1f2e3d4c"
        first = await s.talon(form=form)
        again = await s.talon(form=form)
        assert (again.recorded.position, again.code) == (first.recorded.position, first.code)
        assert again.recorded.appended.repeated
        with pytest.raises(CommandReusedError):
            await s.talon(form=form, text="Басқа мәтін.")
        with pytest.raises(CommandReusedError):
            await s.talon(2, form=form)

    story(database, work)


def test_an_appeal_that_was_not_signed_as_it_stands_is_refused(database):
    async def work(s):
        form = "0f4a1f0e-2b52-4d3b-9c6e-7a0f1f2e3d4c"
        size = s.ledger.reader.size()
        cms = s.sign(1, s.filing(text="Мен мұны айтқан жоқпын.").statement(form))
        with pytest.raises(StatementMismatchError):
            await s.desk.submit(form, s.filing(), cms)
        with pytest.raises(InvalidCommandError, match="UUID"):
            await s.desk.submit("x", s.filing(), cms)
        with pytest.raises(NotAllowedError):
            await s.talon(body="organisation/office")
        assert s.ledger.reader.size() == size

    story(database, work)


# --- a front office ----------------------------------------------------------------------------


def test_a_front_office_takes_down_what_came_on_paper_and_later_steps(database):
    async def work(s):
        talon = await s.visitor("reception")
        stream = talon.recorded.event.stream
        assert (talon.recorded.event.iss, talon.recorded.event.facts.channel) == (OFFICE, "reception")
        with pytest.raises(CodeWrongError):
            await s.desk.act_for(OFFICE, stream, "0000000000", "withdraw", "Шешілді.", ())
        await s.desk.act_for(OFFICE, stream, talon.code.lower(), "withdraw", "Шешілді.", ())
        await s.tell(stream, "withdrawal_accepted")
        assert (await s.appeal(stream)).state == "withdrawn"
        with pytest.raises(UnauthorisedIssuerError):
            await s.desk.act_for(LAND, stream, talon.code, "withdraw", "Шешілді.", ())

    story(database, work)


def test_a_typed_iin_is_checked_and_a_bodys_key_takes_nothing_down(database):
    async def work(s):
        iin = "900101300000"
        right = iin[:11] + str(check_digit(iin[:11]))
        assert (await s.visitor(number=right)).recorded.position
        with pytest.raises(IinInvalidError):
            await s.visitor(number=iin[:11] + str((int(right[-1]) + 1) % 10))
        with pytest.raises(InvalidCommandError, match="electronically"):
            await s.visitor("electronic")
        with pytest.raises(UnauthorisedIssuerError):
            await s.desk.take_down(WATER, s.filing(), Visitor("person", "Серікова", None), "paper")

    story(database, work)


def test_an_applicant_who_is_not_electronic_must_be_told(database):
    async def work(s):
        stream = (await s.visitor()).recorded.event.stream
        await s.tell(stream, "forwarded", {"to": WATER})
        assert (await s.appeal(stream)).untold == {2: LAND}
        with pytest.raises(AnotherBodysAppealError):
            await s.tell(stream, "applicant_told", {"of": 2, "way": "post"}, body=WATER)
        with pytest.raises(NotAllowedError, match="need not be told"):
            await s.tell(stream, "applicant_told", {"of": 1, "way": "post"})
        await s.tell(stream, "applicant_told", {"of": 2, "way": "post"})
        assert (await s.appeal(stream)).untold == {}

    story(database, work)


# --- following, reading ------------------------------------------------------------------------


def test_the_applicant_follows_with_the_code_and_sees_no_drafts(database):
    async def work(s):
        talon = await s.talon()
        stream = talon.recorded.event.stream
        await s.tell(stream, "taken", texts={"executor": "Тұрғын үй бөлімі"})
        await s.tell(stream, "decision_drafted", {"outcome": "explained"}, {"draft": "Жоба."})
        case = await s.desk.case(stream, talon.code)
        shown = [disclosed(step.shown) for step in case.steps]
        assert shown[0]["text"] == QUESTION
        assert shown[1] == {"executor": "Тұрғын үй бөлімі"}
        assert shown[2] == {}
        with pytest.raises(CodeWrongError):
            await s.desk.case(stream, "0" * CODE_LENGTH)
        with pytest.raises(NotFoundError):
            await s.desk.case("appeal/JT-2026-99999999", talon.code)

    story(database, work)


def test_a_reading_by_an_official_is_an_event_before_anything_is_shown(database):
    async def work(s):
        stream = await s.filed()
        size = s.ledger.reader.size()
        with pytest.raises(NotAReaderError):
            await s.desk.read(WATER, stream, "consideration")
        assert s.ledger.reader.size() == size
        recorded, case = await s.desk.read(LAND, stream, "consideration")
        assert (recorded.event.iss, recorded.event.facts.of, recorded.position) == (LAND, stream, size)
        assert disclosed(case.steps[0].shown)["text"] == QUESTION
        assert "code" not in disclosed(case.steps[0].shown)
        assert [event.iss for _, event in s.ledger.reader.readings(stream)] == [LAND]
        reading = recorded.event.stream.rpartition("/")[2]
        assert (await s.desk.reopen(LAND, stream, reading)).stream == stream
        with pytest.raises(NotFoundError):
            await s.desk.reopen(WATER, stream, reading)
        s.clock.ahead += 2 * 3600
        with pytest.raises(NotAReaderError, match="over"):
            await s.desk.reopen(LAND, stream, reading)

    story(database, work)


def test_a_body_that_was_asked_sees_its_question_and_a_body_that_forwarded_nothing_more(database):
    async def work(s):
        stream = await s.taken()
        await s.tell(stream, "assigned", {"to": WATER}, {"question": "Су бар ма?"})
        _, case = await s.desk.read(WATER, stream, "assignment")
        assert disclosed(case.steps[2].shown) == {"question": "Су бар ма?"}
        assert disclosed(case.steps[1].shown) == {}
        await s.tell(stream, "assignment_answered", {"assignment": 1}, body=WATER)
        with pytest.raises(NotAReaderError):
            await s.desk.read(WATER, stream, "assignment")
        other = await s.filed(2)
        await s.tell(other, "forwarded", {"to": WATER})
        with pytest.raises(NotAReaderError):
            await s.desk.read(LAND, other, "consideration")

    story(database, work)


def test_the_cabinet_opens_to_the_person_and_only_for_minutes(database):
    async def work(s):
        stream = await s.filed(1)
        form = "0f4a1f0e-2b52-4d3b-9c6e-7a0f1f2e3d4c"
        at = s.ledger.now()

        async def opened(number, at):
            return await s.desk.person(form, at, s.sign(number, appeal_wording.cabinet(form, at, "ru")))

        person = await opened(1, at)
        assert (await s.desk.cabinet_case(stream, person)).stream == stream
        with pytest.raises(NotTheApplicantError):
            await s.desk.cabinet_case(stream, await opened(2, at))
        for wrong in (at - timedelta(minutes=11), at + timedelta(minutes=5)):
            with pytest.raises(CabinetStaleError):
                await opened(1, wrong)

    story(database, work)


# --- files -------------------------------------------------------------------------------------


async def uploaded(s, content=PDF, media_type="application/pdf"):
    file, sealed = s.desk.upload(content, media_type)
    with psycopg.connect(s.ledger.reader._pool.conninfo, autocommit=True) as connection:
        connection.execute("INSERT INTO ledger.attachments (id, sealed) VALUES (%s, %s)", [file.id, sealed])
    return file


def test_a_file_is_kept_encrypted_and_comes_back_whole_to_who_may_see_it(database):
    async def work(s):
        file = await uploaded(s)
        talon = await s.talon(files=(file,))
        case = await s.desk.case(talon.recorded.event.stream, talon.code)
        assert await s.desk.content(case.file(file.sha256)) == PDF
        stored = s.ledger.reader.attachment(file.id)
        assert PDF not in stored
        assert file.sha256.encode() not in talon.recorded.event.entry
        with pytest.raises(NotFoundError):
            case.file("0" * 64)

    story(database, work)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PDF, "text/html"),
        (b"<html>", "application/pdf"),
        (b"", "image/png"),
        (b"%PDF-" * 3_000_000, "application/pdf"),
    ],
)
def test_files_of_other_kinds_or_sizes_are_refused(database, content, media_type):
    async def work(s):
        with pytest.raises(AttachmentRefusedError):
            s.desk.upload(content, media_type)

    story(database, work)


def test_a_ticket_that_was_altered_or_is_a_day_old_is_refused(database):
    async def work(s):
        file = await uploaded(s)
        for changed in ({"sha256": "0" * 64}, {"size": 1}, {"ticket": file.ticket[:-2] + "AA"}):
            with pytest.raises(AttachmentUnknownError):
                await s.talon(files=(msgspec.structs.replace(file, **changed),))
        with pytest.raises(AttachmentRefusedError):
            await s.talon(files=(file, file))
        s.clock.ahead += 24 * 3600
        with pytest.raises(AttachmentUnknownError, match="too long ago"):
            await s.talon(files=(file,))

    story(database, work)


# --- a part goes to another body ---------------------------------------------------------------


def test_a_part_becomes_an_appeal_of_its_own_in_the_same_transaction(database):
    async def work(s):
        talon = await s.talon()
        stream = talon.recorded.event.stream
        done = await s.tell(stream, "forwarded_in_part", {"to": WATER}, {"part": "Су туралы."})
        part = f"{stream}-1"
        assert talon_number(part) == "ЖТ-2026-00000001/1"
        assert s.ledger.reader.position(part, 1) == done.position + 1
        child = await s.appeal(part)
        assert (child.body, child.state, child.kind) == (WATER, "registered", "application")
        case = await s.desk.case(part, talon.code)
        assert disclosed(case.steps[0].shown)["text"] == "Су туралы."
        await s.tell(part, "taken", body=WATER)
        await s.tell(stream, "taken")
        await s.tell(part, "forwarded_in_part", {"to": MINISTRY}, {"part": "Заң туралы."}, body=WATER)
        assert (await s.appeal(f"{part}-1")).body == MINISTRY
        assert talon_number(await s.filed(2)) == "ЖТ-2026-00000002"

    story(database, work)


# --- the body's work ---------------------------------------------------------------------------


def test_the_applicant_alone_withdraws_and_the_body_may_decline(database):
    async def work(s):
        stream = await s.taken()
        with pytest.raises(NotTheApplicantError):
            await s.act(stream, "withdraw", number=2)
        await s.act(stream, "withdraw", lang="ru")
        await s.tell(stream, "decision_drafted", {"outcome": "explained"})
        await s.tell(stream, "decision_approved")
        with pytest.raises(NotAllowedError, match="withdrawal is asked"):
            await s.tell(stream, "decided")
        await s.tell(stream, "withdrawal_declined")
        await s.tell(stream, "decided")
        assert (await s.appeal(stream)).state == "decided"

    story(database, work)


def test_one_signed_step_is_recorded_once(database):
    async def work(s):
        stream = await s.taken()
        form = "0f4a1f0e-2b52-4d3b-9c6e-7a0f1f2e3d4c"
        first = await s.act(stream, "withdraw", form=form)
        assert (await s.act(stream, "withdraw", form=form)).position == first.position
        await s.tell(stream, "withdrawal_declined")
        assert (await s.act(stream, "withdraw", form=form)).position == first.position
        assert (await s.appeal(stream)).withdrawal == "none"

    story(database, work)


def test_a_burdensome_decision_takes_a_hearing(database):
    async def work(s):
        stream = await s.taken()
        with pytest.raises(HearingMissingError) as refused:
            await s.tell(stream, "decision_drafted", {"outcome": "refused"})
        assert "appeal.hearing_noticed" in refused.value.details["allowed"]
        now = s.ledger.now()
        with pytest.raises(NotAllowedError, match="three working days"):
            await s.tell(stream, "hearing_noticed", {"at": now + timedelta(days=1)})
        at = local("2026-02-06T10:00")  # noticed on the 2nd: the 3rd, 4th and 5th lie between
        await s.tell(stream, "hearing_noticed", {"at": at})
        await s.act(stream, "object")
        with pytest.raises(NotAllowedError, match="cannot be older"):
            await s.tell(stream, "hearing_held", {"attended": True})
        s.clock.pass_until(at)
        with pytest.raises(TermPassedError):
            await s.act(stream, "object")
        await s.tell(stream, "hearing_held", {"attended": True})
        await s.decide(stream, "refused")
        assert (await s.appeal(stream)).outcome == "refused"

    story(database, work)


def test_silence_is_a_deemed_refusal_that_can_be_complained_about_up_to_the_higher_body(database):
    async def work(s):
        stream = await s.taken()
        with pytest.raises(NotAllowedError, match="may still answer"):
            await s.act(stream, "complain")
        await s.overdue(stream)
        await s.act(stream, "complain")
        await s.tell(stream, "complaint_passed_up", {"to": MINISTRY})
        with pytest.raises(AnotherBodysAppealError):
            await s.tell(stream, "complaint_decided", {"outcome": "dismiss"})
        with pytest.raises(NotAllowedError, match="no decision to be cancelled"):
            await s.tell(stream, "complaint_decided", {"outcome": "cancel"}, body=MINISTRY)
        await s.tell(stream, "complaint_decided", {"outcome": "oblige"}, body=MINISTRY)
        appeal = await s.appeal(stream)
        assert (appeal.state, appeal.term, appeal.missed) == ("in-work", "consideration", "no")
        await s.decide(stream, "satisfied")

    story(database, work)


def test_a_complaint_about_silence_that_is_dismissed_leaves_the_work_and_its_missed_term(database):
    async def work(s):
        stream = await s.filed()
        await s.overdue(stream)
        due = (await s.appeal(stream)).due
        await s.act(stream, "complain")
        await s.tell(stream, "complaint_passed_up", {"to": MINISTRY})
        await s.tell(stream, "complaint_decided", {"outcome": "dismiss"}, body=MINISTRY)
        appeal = await s.appeal(stream)
        assert (appeal.state, appeal.due, appeal.missed) == ("registered", due, "yes")
        with pytest.raises(NotAllowedError):
            await s.ledger.declare(stream, events.AppealOverdue(term="consideration", due=due))

    story(database, work)


def test_a_term_that_passed_does_not_begin_anew_by_a_return(database):
    async def work(s):
        stream = await s.filed()
        await s.overdue(stream)
        with pytest.raises(TermPassedError):
            await s.tell(stream, "returned", {"ground": "unclear"})

    story(database, work)


def test_an_extension_is_drafted_approved_and_signed_and_never_longer_than_two_months(database):
    async def work(s):
        stream = await s.taken()
        with pytest.raises(NotAllowedError, match="two months"):
            await s.tell(
                stream, "extension_drafted",
                {"until": local("2026-06-01T00:00"), "ground": "complexity"},
            )  # fmt: skip
        until = local("2026-03-31T00:00")
        await s.tell(stream, "extension_drafted", {"until": until, "ground": "complexity"})
        with pytest.raises(NotAllowedError, match="extension is drafted"):
            await s.tell(stream, "extended")
        await s.tell(stream, "extension_approved")
        await s.tell(stream, "extended")
        assert (await s.appeal(stream)).due == until

    story(database, work)


def test_an_appeal_is_returned_and_mended_or_lapses(database):
    async def work(s):
        mended, left = await s.filed(1), await s.filed(2)
        for stream in (mended, left):
            await s.tell(stream, "returned", {"ground": "unclear"})
        s.clock.ahead += 24 * 3600
        await s.act(mended, "fix")
        appeal = await s.appeal(mended)
        assert (appeal.state, appeal.due) == ("registered", local("2026-02-25T00:00"))
        fix_until = (await s.appeal(left)).fix_until
        with pytest.raises(NotAllowedError):
            await s.ledger.declare(left, events.AppealLapsed(fix_until=fix_until))
        s.clock.pass_until(fix_until)
        with pytest.raises(TermPassedError):
            await s.act(left, "fix", number=2)
        await s.ledger.declare(left, events.AppealLapsed(fix_until=fix_until))
        assert (await s.appeal(left)).state == "lapsed"
        assert (await s.appeal(left)).allowed() == []

    story(database, work)


# --- what the state machine of tests/api found -------------------------------------------------


def test_a_step_that_cannot_be_taken_is_not_called_malformed(database):
    async def work(s):
        stream = await s.taken()
        for type_ in ("decided", "extended"):
            with pytest.raises(NotAllowedError, match=f"{type_}' cannot happen"):
                await s.tell(stream, type_)

    story(database, work)


@pytest.mark.parametrize("outcome", [["remit"], {}, None, 1])
def test_an_outcome_that_is_no_outcome_is_refused_like_any_malformed_field(database, outcome):
    async def work(s):
        stream = await s.decided()
        await s.act(stream, "complain")
        await s.tell(stream, "complaint_passed_up", {"to": MINISTRY})
        with pytest.raises(InvalidCommandError, match="outcome"):
            await s.tell(stream, "complaint_decided", {"outcome": outcome}, body=MINISTRY)

    story(database, work)


def test_a_body_whose_answer_is_not_needed_any_more_reads_no_more(database):
    async def work(s):
        stream = await s.taken()
        await s.tell(stream, "assigned", {"to": WATER}, {"question": "Су бар ма?"})
        await s.desk.read(WATER, stream, "assignment")
        await s.act(stream, "withdraw")
        await s.tell(stream, "withdrawal_accepted")
        with pytest.raises(NotAReaderError):
            await s.desk.read(WATER, stream, "assignment")

    story(database, work)
