"""People are forgotten: what is personal goes, in the transaction that says so; entries and counts stay."""

from __future__ import annotations

import asyncio
import itertools

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import events
from ledger.application import ErasedError, InvalidCommandError, NotFoundError
from ledger.citizens import AlreadySignedError
from ledger.domain.aggregate import Issuance, NotAllowedError, happen
from ledger.domain.assurance import Erasure
from ledger.domain.signature import Signature
from ledger.eds.people import invent_person
from ledger.encoding import b64url
from ledger.erasure import Eraser, NotOverError, Wish, forget
from ledger.errors import AiqynError
from ledger.statement import Disclosure, open_event
from ledger.store.append import Append, StreamConflictError
from projections import ALL
from projections.digest import digests, published
from projections.expired import expired
from projections.petitions import by_region, get, list_page
from projections.runner import Runner
from projections.signatures import page
from tests.ledger.appeal_scenes import LAND, WATER
from tests.ledger.appeal_scenes import story as appeal_story
from tests.ledger.ledgers import CULTURE, scene
from tests.ledger.store.check import check_log
from tests.projections.written import VOIDED, WITHDRAWN, WrittenLedger, ask, person, petition


def held(database, stream):
    """How many rows of each table hold something of a stream."""
    about = "SELECT position FROM ledger.entries WHERE stream = %(s)s"
    queries = {
        "disclosures": f"SELECT count(*) FROM ledger.disclosures WHERE position IN ({about})",
        "data_keys": "SELECT count(*) FROM ledger.data_keys WHERE stream = %(s)s",
        "vault": f"SELECT count(*) FROM ledger.vault WHERE position IN ({about})",
        "persons": f"SELECT count(*) FROM ledger.persons WHERE position IN ({about})",
        "attachments": f"SELECT count(*) FROM ledger.attachments WHERE position IN ({about})",
        "petition_secrets": "SELECT count(*) FROM ledger.petition_secrets WHERE petition = %(s)s",
    }
    with psycopg.connect(database.admin_url) as connection:
        counts = {name: connection.execute(q, {"s": stream}).fetchone()[0] for name, q in queries.items()}
    return {name: count for name, count in counts.items() if count}


def rows(database, query, *parameters, url=None):
    with psycopg.connect(url or database.admin_url, autocommit=True) as connection:
        cursor = connection.execute(query, parameters)
        return cursor.fetchall() if cursor.description else cursor.rowcount


async def erase(ledger, database, *wishes):
    """Carry wishes out; the plan."""
    async with Eraser.open(ledger, database.url) as eraser:
        plan = await eraser.plan(wishes)
        assert await eraser.erase(plan) == len(plan.erasures)
        return plan


def demand(stream, **options):
    return Wish(stream, "demand", **options)


def run(database, work):
    """``await work(scene)``, and the log still adds up."""

    async def story():
        async with scene(database) as s:
            await work(s)
            return s.ledger.keys.log.verifier

    check_log(database.admin_url, asyncio.run(story()))


# --- what goes, and what stays -------------------------------------------------------------------


def test_an_erased_signature_stays_in_the_log_without_its_person(database):
    async def work(s):
        id_ = await s.limited()
        signed, other = await s.sign(1, id_), await s.sign(2, id_)
        stream = signed.event.stream
        before = held(database, other.event.stream)
        assert held(database, stream) == {"disclosures": 1, "data_keys": 1, "vault": 1, "persons": 1}
        plan = await erase(s.ledger, database, demand(stream))
        (facts,) = plan.erasures
        assert (facts.of, facts.events, facts.names, facts.data_key) == (stream, 1, ("name",), True)
        assert held(database, stream) == {}
        assert held(database, other.event.stream) == before
        assert s.ledger.reader.entries(signed.position, 1)[0][1] == signed.event.entry
        (last,) = rows(database, "SELECT stream FROM ledger.entries ORDER BY position DESC LIMIT 1")
        assert last[0].startswith(f"erasure/{stream}/")
        with pytest.raises(ErasedError, match="entry"):
            await s.ledger.secrets(stream)

    run(database, work)


def test_who_says_it_follows_from_the_ground(database):
    async def work(s):
        id_ = await s.limited()
        keys = {}
        for number, ground in enumerate(("demand", "court", "retention")):
            signed = await s.sign(number, id_)
            await erase(s.ledger, database, Wish(signed.event.stream, ground))
            stream = rows(database, "SELECT stream FROM ledger.entries ORDER BY position DESC LIMIT 1")[0][0]
            ((_, entry, _),) = s.ledger.reader.stream(stream)
            keys[ground] = (await s.ledger.load(stream)).state, open_event(entry).kid
        root, clock = s.ledger.keys.root.kid, s.ledger.keys.clock.kid
        assert keys == {
            "demand": ("erased", root), "court": ("erased", root), "retention": ("erased", clock)
        }  # fmt: skip

    run(database, work)


def test_an_erased_signer_cannot_sign_again(database):
    async def work(s):
        id_ = await s.limited()
        signed = await s.sign(1, id_)
        await erase(s.ledger, database, demand(signed.event.stream))
        with pytest.raises(AlreadySignedError):
            await s.sign(1, id_)

    run(database, work)


def test_erasing_again_finds_it_done(database):
    async def work(s):
        stream = (await s.sign(1, await s.limited())).event.stream
        await erase(s.ledger, database, demand(stream))
        size = s.ledger.reader.size()
        plan = await erase(s.ledger, database, demand(stream), Wish(stream, "court"))
        assert (plan.erasures, len(plan.done), plan.kept) == ((), 2, ())
        assert s.ledger.reader.size() == size

    run(database, work)


def test_what_two_wishes_ask_for_goes_once(database):
    async def work(s):
        stream = (await s.sign(1, await s.limited())).event.stream
        plan = await erase(s.ledger, database, demand(stream, names=()), Wish(stream, "court"))
        assert [(facts.ground, facts.names, facts.data_key) for facts in plan.erasures] == [
            ("demand", (), True), ("court", ("name",), False)
        ]  # fmt: skip
        assert held(database, stream) == {}

    run(database, work)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"names": ()}, {"disclosures": 1}),
        ({"data_key": False}, {"data_keys": 1, "vault": 1, "persons": 1}),
    ],
)
def test_half_of_it_may_stay(database, options, left):
    async def work(s):
        stream = (await s.sign(1, await s.limited())).event.stream
        await erase(s.ledger, database, demand(stream, **options))
        assert held(database, stream) == left

    run(database, work)


def test_who_takes_a_signature_back_after_an_erasure_can_be_erased_again(database):
    async def work(s):
        id_ = await s.limited()
        stream = (await s.sign(1, id_)).event.stream
        await erase(s.ledger, database, demand(stream))
        cms = await s.cms(1, id_, "withdraw-signature")
        taken_back = await s.desk.withdraw_signature(id_, cms)
        assert held(database, stream) == {"data_keys": 1, "vault": 1}
        wrapped, found = s.ledger.reader.vault(stream)
        key = s.ledger.vault.unwrap("data-key", stream, wrapped)
        opened = s.ledger.vault.open(key, taken_back.event.entry, found[1][2])
        assert [d.name for d in opened] == ["cms"]
        async with Eraser.open(s.ledger, database.url) as eraser:
            assert await eraser.again() == 0, "the newer key is not the one that was erased"
            assert await eraser.of_person(invent_person(1).iin) == [stream]
        plan = await erase(s.ledger, database, demand(stream))
        assert plan.erasures[0].events == 2
        assert held(database, stream) == {}

    run(database, work)


def test_a_person_is_found_wherever_they_signed_or_filed(database):
    async def work(s):
        mine, others = await s.limited(author=1), await s.limited(author=2)
        own = (await s.sign(1, others)).event.stream
        await s.sign(3, others)
        async with Eraser.open(s.ledger, database.url) as eraser:
            found = await eraser.of_person(invent_person(1).iin)
            assert found == sorted([f"petition/{mine}", own])
            assert await eraser.of_person("000000000000") == []

    run(database, work)


# --- all or nothing -------------------------------------------------------------------------------


def test_where_it_cannot_be_destroyed_nothing_is_recorded(database):
    async def work(s):
        stream = (await s.sign(1, await s.limited())).event.stream
        before, size = held(database, stream), s.ledger.reader.size()
        rows(database, "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS"
                       " $$BEGIN RAISE EXCEPTION 'no'; END$$")  # fmt: skip
        # The last of the tables: whatever went before it has to come back.
        rows(database, "CREATE TRIGGER refuse BEFORE DELETE ON ledger.persons FOR EACH ROW"
                       " EXECUTE FUNCTION public.refuse()")  # fmt: skip
        with pytest.raises(AiqynError, match="refused"):
            await erase(s.ledger, database, demand(stream))
        assert (held(database, stream), s.ledger.reader.size()) == (before, size)
        rows(database, "DROP TRIGGER refuse ON ledger.persons")
        await erase(s.ledger, database, demand(stream))
        assert held(database, stream) == {}

    run(database, work)


def test_the_erasure_of_a_stream_that_grew_takes_what_was_added(database):
    async def work(s):
        id_ = await s.limited()
        stream = (await s.sign(1, id_)).event.stream
        async with Eraser.open(s.ledger, database.url) as eraser:
            plan = await eraser.plan([demand(stream)])
            await s.desk.withdraw_signature(id_, await s.cms(1, id_, "withdraw-signature"))
            await eraser.erase(plan)
        assert held(database, stream) == {}

    run(database, work)


def test_nothing_is_sealed_under_a_key_that_is_gone(database):
    async def work(s):
        id_ = await s.limited()
        stream = (await s.sign(1, id_)).event.stream
        signature = await s.ledger.load(stream)
        by = Issuance(
            s.ledger.operator, s.ledger.keys.gateway.kid, s.ledger.now(), (Disclosure.make("cms", "a CMS"),)
        )
        happened = happen(Signature, stream, signature, WITHDRAWN, by).collect_events()
        pending = [await s.ledger.seal(event) for event in happened]
        await erase(s.ledger, database, demand(stream))
        with pytest.raises(StreamConflictError, match="erased in the meantime"):
            await s.ledger.sequencer.append(Append(pending))

    run(database, work)


def test_an_erasure_and_a_withdrawal_in_one_moment_leave_no_row_that_nobody_can_read(database):
    async def work(s):
        id_ = await s.limited()
        streams = {number: (await s.sign(number, id_)).event.stream for number in range(12)}
        cms = {number: await s.cms(number, id_, "withdraw-signature") for number in streams}
        await asyncio.gather(
            *(s.desk.withdraw_signature(id_, cms[number]) for number in streams),
            *(erase(s.ledger, database, demand(stream)) for stream in streams.values()),
        )
        for stream in streams.values():
            wrapped, found = s.ledger.reader.vault(stream)
            assert found[0][2] is None, "what it began with is gone"
            for _, entry, sealed in found[1:]:
                if sealed is not None:
                    key = s.ledger.vault.unwrap("data-key", stream, wrapped)
                    assert s.ledger.vault.open(key, entry, sealed)

    run(database, work)


# --- whoever got hold of the service's role -------------------------------------------------------


def test_the_service_cannot_make_evidence_vanish_without_an_entry(database):
    async def work(s):
        signed = await s.sign(1, await s.limited())
        stream, before = signed.event.stream, held(database, signed.event.stream)
        for table in ("disclosures", "data_keys", "vault", "persons", "petition_secrets"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                rows(database, f"DELETE FROM ledger.{table} WHERE true", url=database.url)
        with pytest.raises(psycopg.errors.RestrictViolation, match="no erasure"):
            rows(database, "SELECT ledger.forget(%s, 1, ARRAY['name'])", stream, url=database.url)
        obeyed = rows(database, "SELECT ledger.obey(position) FROM ledger.entries", url=database.url)
        assert {gone for (gone,) in obeyed} == {0}
        assert held(database, stream) == before

    run(database, work)


INSERT = (
    "INSERT INTO ledger.entries (position, stream, n, type, entry, leaf)"
    " VALUES (%s, %s, 1, 'disclosure.erased', %s, sha256('\\x00'::bytea || %s))"
)


def test_an_erasure_beyond_the_log_does_nothing(database):
    """Whoever writes as the service could put a row where no tree reaches; it must not be obeyed."""

    async def work(s):
        stream = (await s.sign(1, await s.limited())).event.stream
        before = held(database, stream)
        entry = await _erasure(s, stream)
        for position in (s.ledger.reader.size(), 10**12):
            with pytest.raises(psycopg.errors.RestrictViolation, match="does not hold"):
                rows(database, INSERT, position, f"erasure/{stream}/x", entry, entry, url=database.url)
        assert held(database, stream) == before

    run(database, work)


async def _erasure(s, stream, **changed):
    """The bytes of an erasure of that stream, which nobody appended."""
    facts = events.DisclosureErased(
        **{"of": stream, "events": 1, "ground": "demand", "names": ("name",), "data_key": True} | changed
    )
    by = Issuance(s.ledger.operator, s.ledger.keys.root.kid, s.ledger.now())
    (happened,) = happen(Erasure, f"erasure/{stream}/x", None, facts, by).collect_events()
    return (await s.ledger.seal(happened)).state


@pytest.mark.parametrize("case", ["another stream", "another event", "no event", "leaf"])
def test_an_entry_that_says_something_else_than_its_row_does_nothing(database, case):
    async def work(s):
        id_ = await s.limited()
        stream = (await s.sign(1, id_)).event.stream
        before = held(database, stream)
        entry = await _erasure(s, stream)
        name = f"erasure/{stream}/x"
        leaf = entry
        if case == "another stream":
            name = f"erasure/{stream}/y"
        elif case == "another event":
            entry = leaf = (await s.sign(2, id_)).event.entry
        elif case == "no event":
            entry = leaf = b"header.e30.signature~"
        else:
            leaf = b"other bytes"
        # As its owner, behind the last entry: the row stands, as whoever broke in would leave it.
        rows(database, INSERT, s.ledger.reader.size() + 5, name, entry, leaf)
        assert held(database, stream) == before
        rows(database, "ALTER TABLE ledger.entries DISABLE TRIGGER append_only")
        rows(database, "DELETE FROM ledger.entries WHERE position >= %s", s.ledger.reader.size() + 5)

    run(database, work)


# --- what has to stay -----------------------------------------------------------------------------


def test_a_petitions_words_go_by_the_order_of_a_court_alone(database):
    async def work(s):
        stream = f"petition/{await s.limited()}"
        async with Eraser.open(s.ledger, database.url) as eraser:
            for names in (("title",), ("author", "text")):
                with pytest.raises(NotAllowedError, match="court"):
                    await eraser.plan([demand(stream, names=names)])
            with pytest.raises(InvalidCommandError, match="author, draft_kk"):
                await eraser.plan([Wish(stream, "court", ("iin",))])
            with pytest.raises(NotFoundError):
                await eraser.plan([demand("petition/00000000-0000-4000-8000-000000000000")])
            with pytest.raises(InvalidCommandError, match="ground"):
                await eraser.plan([Wish(stream, "whim")])
        plan = await erase(s.ledger, database, Wish(stream, "court", ("text", "title"), data_key=False))
        assert plan.erasures[0].names == ("text", "title")
        left = {d.name for d in s.ledger.reader.public_disclosures(s.ledger.reader.position(stream, 1))}
        assert left == {"author"}
        assert held(database, stream)["data_keys"] == 1

    run(database, work)


def test_a_petition_that_goes_on_keeps_its_author_and_its_secret(database):
    async def work(s):
        id_ = await s.limited()
        stream = f"petition/{id_}"
        plan = await erase(s.ledger, database, demand(stream))
        ((wish, reason),) = plan.kept
        assert (wish.stream, type(reason), plan.erasures) == (stream, NotOverError, ())
        assert "limited" in str(reason)
        await erase(s.ledger, database, Wish(stream, "court"))
        assert held(database, stream) == {"disclosures": 2, "petition_secrets": 1}
        await s.sign(1, id_)
        with pytest.raises(AlreadySignedError):
            await s.sign(1, id_)

    run(database, work)


def test_the_demand_of_an_applicant_waits_until_the_appeal_is_over(database):
    async def work(s):
        stream = await s.decided()
        plan = await erase(s.ledger, database, demand(stream))
        assert [wish.stream for wish, _ in plan.kept] == [stream]
        await s.tell(stream, "finished", {"delivery": "electronic"})
        await erase(s.ledger, database, demand(stream))
        assert held(database, stream) == {}

    appeal_story(database, work)


# --- appeals --------------------------------------------------------------------------------------


def test_an_erased_appeal_opens_to_nobody_and_says_so(database):
    async def work(s):
        file, sealed = s.desk.upload(b"%PDF-1.7\nmine", "application/pdf")
        rows(database, "INSERT INTO ledger.attachments (id, sealed) VALUES (%s, %s)", file.id, sealed)
        talon = await s.talon(1, files=(file,))
        stream = talon.recorded.event.stream
        await s.tell(stream, "taken")
        assert held(database, stream)["attachments"] == 1
        with pytest.raises(psycopg.errors.RestrictViolation):
            rows(database, "DELETE FROM ledger.attachments", url=database.url)
        await erase(s.ledger, database, Wish(stream, "court"))
        assert held(database, stream) == {}
        size = s.ledger.reader.size()
        person = s.ledger.vault.person(s.iin(1))
        for refused in (
            s.desk.case(stream, talon.code),
            s.desk.case(stream, "0000000000"),
            s.desk.cabinet_case(stream, person),
            s.desk.read(LAND, stream, "consideration"),
            s.act(stream, "withdraw"),
            s.desk.act_for("organisation/office", stream, talon.code, "withdraw", "Себебі бар.", ()),
        ):
            with pytest.raises(ErasedError):
                await refused
        assert s.ledger.reader.size() == size, "no reading of nothing is recorded"
        await s.decide(stream)

    appeal_story(database, work)


def test_the_parts_of_an_appeal_go_with_it(database):
    async def work(s):
        stream = await s.taken()
        other = await s.filed(2)
        await s.tell(stream, "forwarded_in_part", {"to": WATER}, {"part": "Су туралы."})
        async with Eraser.open(s.ledger, database.url) as eraser:
            assert await eraser.with_parts([stream]) == [stream, f"{stream}-1"]
            assert await eraser.with_parts([other]) == [other]
            assert await eraser.of_person(s.iin(1)) == [stream, f"{stream}-1"]

    appeal_story(database, work)


# --- later, among others --------------------------------------------------------------------------


def test_wishes_wait_for_days_of_their_own(database):
    async def work(s):
        id_ = await s.limited()
        streams = [(await s.sign(number, id_)).event.stream for number in range(30)]
        async with Eraser.open(s.ledger, database.url) as eraser:
            await eraser.wait([demand(stream) for stream in streams], 5)
            await eraser.wait([demand(streams[0])], 5)
            days = [day for (day,) in rows(database, "SELECT not_before FROM service.erasures_waiting")]
            assert (len(days), len(set(days)) > 1) == (30, True)
            assert len(await eraser.waiting()) < 30
            s.clock.ahead += 6 * 86_400
            due = await eraser.waiting()
            assert sorted(wish.stream for wish in due) == sorted(streams)
            await eraser.erase(await eraser.plan(due))
            assert await eraser.waiting() == []
        order = [
            stream.rpartition("/")[0].removeprefix("erasure/")
            for (stream,) in rows(
                database,
                "SELECT stream FROM ledger.entries WHERE type = 'disclosure.erased' ORDER BY position",
            )
        ]
        assert sorted(order) == sorted(streams)
        assert order not in (streams, sorted(streams)), "the order says nothing"

    run(database, work)


def test_what_is_over_its_term_is_found_and_goes_by_the_clocks_word(database):
    async def work(s):
        id_ = await s.limited()
        signed = [(await s.sign(number, id_)).event.stream for number in range(3)]
        await erase(s.ledger, database, demand(signed[0]))
        await s.desk.withdraw_petition(id_, await s.cms(0, id_, "withdraw-petition"))
        open_ = await s.limited()
        still = (await s.sign(1, open_)).event.stream
        Runner(database.url).catch_up()
        ended = s.ledger.now()
        async with Eraser.open(s.ledger, database.url) as eraser:

            async def due(years):
                found = await expired(eraser.connection, ended.replace(year=ended.year + years))
                return sorted(wish.stream for wish in found)

            assert await due(5) == []
            assert await due(6) == sorted(signed[1:])
            assert await due(11) == sorted([*signed[1:], f"petition/{id_}"])
            found = await expired(eraser.connection, ended.replace(year=ended.year + 11))
            plan = await eraser.plan(found)
            await eraser.erase(plan)
            assert {facts.ground for facts in plan.erasures} == {"retention"}
            assert await due(11) == []
        for stream in (*signed, f"petition/{id_}"):
            assert held(database, stream).keys() <= {"disclosures"}
        assert held(database, f"petition/{id_}") == {"disclosures": 2}, "its words are no person's"
        assert held(database, still)["vault"] == 1

    run(database, work)


def test_an_appeal_that_something_happened_to_meanwhile_is_not_over_its_term(database):
    async def work(s):
        stream = await s.decided()
        await s.tell(stream, "finished", {"delivery": "electronic"})
        Runner(database.url).catch_up()
        far = s.ledger.now().replace(year=s.ledger.now().year + 11)
        async with Eraser.open(s.ledger, database.url) as eraser:
            (wish,) = await expired(eraser.connection, far)
            await s.act(stream, "complain")
            plan = await eraser.plan([wish])
            assert (plan.erasures, [kept for kept, _ in plan.kept]) == ((), [wish])

    appeal_story(database, work)


# --- after a restore ------------------------------------------------------------------------------


def test_what_a_backup_brings_back_goes_again(database):
    async def work(s):
        id_ = await s.limited()
        signed = [(await s.sign(number, id_)).event.stream for number in range(4)]
        kept = {
            table: rows(database, f"SELECT * FROM ledger.{table}")
            for table in ("disclosures", "data_keys", "vault", "persons")
        }
        await erase(s.ledger, database, *(demand(stream) for stream in signed[:2]))
        await erase(s.ledger, database, demand(signed[2], data_key=False))
        for table, old in kept.items():
            for row in old:
                marks = ", ".join(["%s"] * len(row))
                rows(database, f"INSERT INTO ledger.{table} VALUES ({marks}) ON CONFLICT DO NOTHING", *row)
        assert held(database, signed[0]) == held(database, signed[3])
        async with Eraser.open(s.ledger, database.url) as eraser:
            assert await eraser.again() == 2 * 4 + 1
            assert await eraser.again() == 0
        assert held(database, signed[0]) == held(database, signed[1]) == {}
        assert "disclosures" not in held(database, signed[2])
        assert set(held(database, signed[3])) == {"disclosures", "data_keys", "vault", "persons"}

    run(database, work)


def test_a_copy_forgets_what_an_erasure_names(database):
    with WrittenLedger(database.admin_url, database.url) as ledger:
        ledger.collecting(petition(1))
        position = ledger.sign(petition(1), 1)
        stream = f"signature/{petition(1)}/{person(1)}"
        facts = events.DisclosureErased(of=stream, events=1, ground="demand", names=("name",))
        with psycopg.connect(database.admin_url) as connection, connection.cursor() as cursor:
            assert forget(cursor, facts) == 1
            assert forget(cursor, facts) == 0
        assert ledger.execute("SELECT 1 FROM ledger.disclosures WHERE position = %s", position) == []


def test_a_copy_in_which_the_entry_comes_last_obeys_it_too(database):
    with WrittenLedger(database.admin_url, database.url) as ledger:
        ledger.collecting(petition(1))
        ledger.sign(petition(1), 1)
        stream = f"signature/{petition(1)}/{person(1)}"
        facts = events.DisclosureErased(of=stream, events=1, ground="demand", names=("name",))
        ledger.add(f"erasure/{stream}/x", facts)
        assert ledger.execute("SELECT count(*) FROM ledger.disclosures WHERE position = 3") == [(0,)]


# --- what is counted and published ----------------------------------------------------------------


STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["sign", "withdraw", "void", "erase", "erase-name"])),
    max_size=25,
)


def _numbers(ledger):
    found = ask(ledger, get, petition(1))
    regions = ask(ledger, by_region, petition(1))
    return (found.count, found.signed, found.withdrawn, found.voided), regions.items


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_is_erased_when_the_counts_are_the_same(database, steps):
    """One history with erasures, and the same without."""
    ids = itertools.count()
    with WrittenLedger(database.admin_url, database.url) as ledger:
        seen = {}
        for erases in (True, False):
            ledger.clear()
            ledger.collecting(petition(1))
            signed = set()
            for who, step in steps:
                stream = f"signature/{petition(1)}/{person(who)}"
                if step == "sign" and who not in signed:
                    ledger.sign(petition(1), who, region=("75", None)[who % 2])
                    signed.add(who)
                elif step in ("withdraw", "void") and who in signed:
                    ledger.remove(petition(1), who, WITHDRAWN if step == "withdraw" else VOIDED)
                elif erases and step.startswith("erase") and who in signed:
                    facts = events.DisclosureErased(
                        of=stream, events=1, ground="demand", names=("name",), data_key=step == "erase"
                    )
                    ledger.add(f"erasure/{stream}/{b64url(next(ids).to_bytes(8, 'big'))}", facts)
            seen[erases] = _numbers(ledger)
            shown = ask(ledger, page, petition(1), limit=100).items
            if erases:
                gone = {who for who, step in steps if step.startswith("erase")}
                for item in shown:
                    if item.state == "counted":
                        assert (item.name is None) == (item.erased is not None)
                assert sum(item.erased is not None for item in shown) <= len(gone)
        assert seen[True] == seen[False]


def test_no_published_digest_depends_on_what_is_disclosed(database):
    tables = [projection for projection in published(ALL) if projection.name in ("petitions", "signatures")]
    with WrittenLedger(database.admin_url, database.url) as ledger:
        ledger.collecting(petition(1))
        for who in range(5):
            ledger.sign(petition(1), who)
        Runner(database.url).catch_up()
        with psycopg.connect(database.admin_url, autocommit=True) as connection:
            before = [one.sha256 for one in digests(connection, tables)]
            for who in (3, 1):
                stream = f"signature/{petition(1)}/{person(who)}"
                facts = events.DisclosureErased(of=stream, events=1, ground="demand", names=("name",))
                ledger.add(f"erasure/{stream}/x", facts)
            Runner(database.url).catch_up()
            assert [one.sha256 for one in digests(connection, tables)] == before


def test_the_public_list_says_that_a_name_was_erased_and_where(database):
    with WrittenLedger(database.admin_url, database.url) as ledger:
        ledger.collecting(petition(1))
        ledger.sign(petition(1), 1, "75", name="Айнұр С.")
        ledger.sign(petition(1), 2, "75", name="Марат Т.")
        ledger.forget(ledger.sign(petition(1), 3))
        stream = f"signature/{petition(1)}/{person(1)}"
        at = ledger.add(
            f"erasure/{stream}/x",
            events.DisclosureErased(of=stream, events=1, ground="demand", names=("name",), data_key=True),
        )
        found = ask(ledger, page, petition(1)).items
        assert [(one.state, one.name, one.region, one.erased) for one in found] == [
            ("counted", None, None, None),  # nothing in the log says why
            ("counted", "Марат Т.", "75", None),
            ("counted", None, "75", at),
        ]


def test_a_petition_says_which_of_its_words_were_taken_down(database):
    with WrittenLedger(database.admin_url, database.url) as ledger:
        ledger.collecting(petition(1))
        stream = f"petition/{petition(1)}"
        facts = events.DisclosureErased(of=stream, events=3, ground="court", names=("text", "title"))
        at = ledger.add(f"erasure/{stream}/x", facts)
        found = ask(ledger, get, petition(1))
        assert (found.title, found.text, found.author) == (None, None, "some author")
        assert found.erased == {"text": at, "title": at}
        (listed,) = ask(ledger, list_page).items
        assert (listed.title, listed.erased) == (None, at)


def test_culture_is_an_organisation_and_holds_nothing_personal(database):
    async def work(s):
        plan = await erase(s.ledger, database, demand(CULTURE))
        assert len(plan.done) == 1

    run(database, work)
