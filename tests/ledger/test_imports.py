"""Cases of an old register, taken over through a ledger on a real database."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import events
from ledger.domain.aggregate import NotAllowedError
from ledger.domain.appeal import appeal_stream
from ledger.encoding import b64url
from ledger.imports import ImportConflictError, ImportDesk, ImportedCase, ImportedRow, imported_stream
from ledger.keys import UnauthorisedIssuerError
from ledger.statement import disclosed, open_event
from tests.ledger.ledgers import VILLAGE, scene

TOWN = "organisation/town"
START = datetime(2019, 3, 4, 5, 0, tzinfo=UTC)
IIN = "900101300017"


def row(day, step="note", activity=None, **more):
    happened = START + timedelta(days=day)
    return ImportedRow(activity=activity or step.capitalize(), step=step, happened=happened, **more)


ROWS = (row(0, "registered"), row(1, "taken"), row(9, "decided", outcome="explained"), row(10, "finished"))


def case(number="17/2019", rows=ROWS, **more):
    fields = {"kind": "application", "applicant": "person", "channel": "paper", "category": "housing"}
    return ImportedCase(
        **{"register": "journal-2019", "case": number, "lang": "kk", "rows": tuple(rows), **fields, **more}
    )


async def register_town(ledger):
    """A town with a registrar."""
    facts = events.OrganisationRegistered(
        kind="akimat",
        level="district",
        region="71",
        names=events.Names(kk="Қала әкімдігі", ru="Акимат города"),
    )
    await ledger.register_organisation("town", facts, ("registrar", "executor"))


@asynccontextmanager
async def moving_in(database, **options):
    """A scene with a town that may register appeals, and the desk for its old register."""
    async with scene(database, **options) as running:
        await register_town(running.ledger)
        yield running, ImportDesk(running.ledger)


def counted(database, table="entries"):
    with psycopg.connect(database.admin_url) as connection:
        return connection.execute(f"SELECT count(*) FROM ledger.{table}").fetchone()[0]


def test_every_row_of_a_case_is_one_event_of_one_stream(database):
    async def story():
        async with moving_in(database) as (running, desk):
            before = counted(database)
            taken = await desk.take(
                TOWN, case(full_name="Қасымова Айжан", iin=IIN, text="Көше шамы жанбайды")
            )
            assert taken.result == "imported"
            assert taken.position == before + 3
            assert counted(database) == before + 4
            found = await running.ledger.secrets(taken.stream)
            first, *others = [secret.event.facts for secret in found]
            assert first.registered_on == date(2019, 3, 4)
            assert [facts.step for facts in others] == ["taken", "decided", "finished"]
            assert [facts.happened for facts in others] == [r.happened for r in ROWS[1:]]
            appeal = await running.ledger.load(taken.stream)
            assert (appeal.state, appeal.outcome, appeal.body) == ("finished", "explained", TOWN)

    asyncio.run(story())


def test_what_is_personal_stands_in_the_vault_alone(database):
    async def story():
        async with moving_in(database) as (running, desk):
            personal = {"full_name": "Қасымова Айжан", "iin": IIN, "text": "Көше шамы жанбайды"}
            taken = await desk.take(TOWN, case(**personal))
            first, *others = await running.ledger.secrets(taken.stream)
            assert disclosed(first.restricted) == personal | {"case": "17/2019"}
            assert not any(other.restricted for other in others)
            for words in ("17/2019", "17%2F2019", IIN, "Айжан"):
                assert words.encode() not in first.event.entry
            assert counted(database, "disclosures") == 0
            assert counted(database, "persons") == 1

    asyncio.run(story())


def test_a_case_without_a_person_belongs_to_nobody(database):
    async def story():
        async with moving_in(database) as (running, desk):
            taken = await desk.take(TOWN, case())
            found = await running.ledger.secrets(taken.stream)
            assert disclosed(found[0].restricted) == {
                "case": "17/2019", "full_name": None, "iin": None, "text": None,
            }  # fmt: skip
            assert counted(database, "persons") == 0

    asyncio.run(story())


def test_a_case_that_is_sent_again_changes_nothing(database):
    async def story():
        async with moving_in(database) as (_, desk):
            first = await desk.take(TOWN, case())
            before = counted(database)
            again = await desk.take(TOWN, case())
            assert (again.result, again.stream, again.position) == ("unchanged", first.stream, first.position)
            renamed = await desk.take(TOWN, case(full_name="Серікова Айжан"))
            assert renamed.result == "unchanged"
            assert counted(database) == before

    asyncio.run(story())


def test_rows_that_are_new_in_the_register_are_appended(database):
    async def story():
        async with moving_in(database) as (running, desk):
            await desk.take(TOWN, case(rows=ROWS[:2]))
            grown = await desk.take(TOWN, case())
            assert grown.result == "extended"
            assert (await running.ledger.load(grown.stream)).version == 4
            assert (await desk.take(TOWN, case())).result == "unchanged"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("changed", "number"),
    [
        (case(kind="complaint"), 1),
        (case(registered_on=date(2019, 3, 5)), 1),
        (case(rows=(ROWS[0], row(2, "taken"), *ROWS[2:])), 2),
        (case(rows=(ROWS[0], row(1, "taken", "Other word"), *ROWS[2:])), 2),
        (case(rows=ROWS[:3]), 4),
    ],
)
def test_a_register_that_contradicts_the_ledger_is_refused(database, changed, number):
    async def story():
        async with moving_in(database) as (_, desk):
            await desk.take(TOWN, case())
            before = counted(database)
            with pytest.raises(ImportConflictError) as refused:
                await desk.take(TOWN, changed)
            assert refused.value.details["row"] == number
            assert counted(database) == before

    asyncio.run(story())


@pytest.mark.parametrize(
    "rows",
    [
        (ROWS[0], ROWS[2], ROWS[1]),
        (ROWS[0], row(1, "note", outcome="explained")),
        (row(0, "decided", outcome="explained"),),
        (ROWS[0], row(100_000, "note")),
    ],
)
def test_nothing_of_a_case_with_an_unlawful_row_is_recorded(database, rows):
    async def story():
        async with moving_in(database) as (_, desk):
            before = counted(database)
            with pytest.raises(NotAllowedError):
                await desk.take(TOWN, case(rows=rows))
            assert (counted(database), counted(database, "vault")) == (before, 0)

    asyncio.run(story())


def test_only_a_body_with_a_registrar_moves_in(database):
    async def story():
        async with moving_in(database) as (_, desk):
            for stranger in (VILLAGE, "organisation/nobody"):
                with pytest.raises(UnauthorisedIssuerError):
                    await desk.take(stranger, case())

    asyncio.run(story())


def test_two_bodies_and_two_registers_may_count_their_cases_alike(database):
    async def story():
        async with moving_in(database) as (_, desk):
            streams = {
                (await desk.take(TOWN, case(register=register, case=number))).stream
                for register, number in [("a", "1"), ("a", "2"), ("b", "1")]
            }
            assert len(streams) == 3

    asyncio.run(story())


def test_the_same_case_from_two_sides_at_once_is_taken_once(database):
    async def story():
        async with moving_in(database) as (_, desk):
            before = counted(database)
            results = await asyncio.gather(*(desk.take(TOWN, case()) for _ in range(8)))
            assert sorted(taken.result for taken in results) == ["imported", *["unchanged"] * 7]
            assert counted(database) == before + len(ROWS)

    asyncio.run(story())


def test_an_imported_case_lives_on_and_its_register_may_still_be_sent(database):
    async def story():
        async with moving_in(database) as (running, desk):
            open_case = case(rows=(row(0, "registered"),))
            taken = await desk.take(TOWN, open_case)
            await running.ledger.tell(TOWN, taken.stream, "appeal.taken", {}, {"executor": "Бөлім 2"})
            assert (await desk.take(TOWN, open_case)).result == "unchanged"
            entry = running.ledger.reader.stream(taken.stream)[-1][1]
            assert open_event(entry).facts.type == "appeal.taken"

    asyncio.run(story())


def test_a_long_case_is_appended_whole(database):
    async def story():
        async with moving_in(database, group_max=100) as (running, desk):
            rows = [row(0, "registered"), *(row(day / 10, "note") for day in range(1, 1000))]
            taken = await desk.take(TOWN, case(rows=rows))
            assert (await running.ledger.load(taken.stream)).version == 1000
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert(msgspec.to_builtins(case(rows=[*rows, row(101)])), ImportedCase)

    asyncio.run(story())


def test_the_name_of_a_stream_follows_from_body_register_and_case():
    expected = hashlib.sha256(b"organisation/town\0journal-2019\0" + "№ 5".encode()).digest()[:16]
    stream = imported_stream(TOWN, "journal-2019", "№ 5")
    assert stream == f"appeal/IM-{b64url(expected)}"
    assert appeal_stream(stream.removeprefix("appeal/")) == stream


@given(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)] * 6))
def test_no_two_cases_share_a_stream(names):
    one, other = names[:3], names[3:]
    assert (imported_stream(*one) == imported_stream(*other)) == (one == other)
