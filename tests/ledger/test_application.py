"""Commands of organisations and of the operator, and the races between them."""

from __future__ import annotations

import asyncio
import uuid

import psycopg
import pytest

from ledger import events
from ledger.application import InvalidCommandError
from ledger.domain import terms, wording
from ledger.domain.aggregate import Issuance, NotAllowedError
from ledger.domain.petition import PetitionClosedError
from ledger.domain.terms import NoTermError
from ledger.keys import MalformedKeyError, SigningKey, UnauthorisedIssuerError
from ledger.statement import (
    Disclosure,
    DisclosureMismatchError,
    MalformedEventError,
    SignatureInvalidError,
    seal,
)
from ledger.store.append import (
    ClockSkewError,
    CommandId,
    CommandReusedError,
    Quiet,
    StreamConflictError,
)
from ledger.store.vault import VaultError
from tests.ledger.facts import NAMES
from tests.ledger.ledgers import CULTURE, TEXT, TITLE, VILLAGE, scene
from tests.ledger.store.check import check_log

OPERATOR = "organisation/operator"
OWN = SigningKey.generate()


def entries(database):
    with psycopg.connect(database.admin_url) as connection:
        return connection.execute(
            "SELECT position, stream, n, type FROM ledger.entries ORDER BY 1"
        ).fetchall()


def as_operator(s):
    return s.ledger.issuance(OPERATOR, events.OrganisationRegistered)


async def own_key(s, stream=CULTURE, *roles, key=OWN):
    facts = events.OrganisationKeyRegistered(
        key=key.public_key, roles=roles or ("moderator", "body"), custody="own"
    )
    return await s.ledger.record(stream, facts, as_operator(s))


async def revoke(s, stream, key):
    facts = events.OrganisationKeyRevoked(kid=key.kid, reason="compromised")
    return await s.ledger.record(stream, facts, as_operator(s))


def presented(s, stream, facts, n, *, key=OWN, iss=CULTURE, at=None, values=None, keep=lambda d: True):
    """An event as an organisation's own system would seal and present it."""
    values = dict.fromkeys(facts.public, "себебі") if values is None else values
    made = [Disclosure.make(name, value) for name, value in values.items()]
    event = seal(facts, iss=iss, stream=stream, n=n, at=at or s.ledger.now(), key=key, disclosures=made)
    return event.entry.decode() + "".join(f"{d.encoded}~" for d in made if keep(d))


REJECTED = events.PetitionRejected(ground="unclear")


def run(database, story, **options):
    async def whole():
        async with scene(database, **options) as s:
            await story(s)
            return s.ledger.keys.log.verifier

    check_log(database.admin_url, asyncio.run(whole()))


# --- the operator ----------------------------------------------------------------------------


def test_a_ledger_begins_with_the_operator_its_gateway_and_its_clock(database):
    async def story(s):
        assert s.ledger.operator == OPERATOR
        roles = s.ledger.directory.roles
        keys = s.ledger.keys
        assert [roles(OPERATOR, key.kid) for key in (keys.root, keys.gateway, keys.clock)] == [
            {"operator"}, {"gateway"}, {"clock"},
        ]  # fmt: skip

    run(database, story)
    assert [(stream, n) for _, stream, n, _ in entries(database)][:3] == [(OPERATOR, n) for n in (1, 2, 3)]


@pytest.mark.parametrize("slug", ["operator", "another"])
def test_an_operator_is_registered_once(database, slug):
    async def story(s):
        before = entries(database)
        with pytest.raises(NotAllowedError, match="has its operator already: organisation/operator"):
            await s.ledger.register_operator(slug, NAMES)
        assert entries(database) == before

    run(database, story)


def test_two_operators_that_begin_at_once_leave_one(database):
    async def story():
        async with scene(database, fresh=False) as one, scene(database, fresh=False) as two:
            outcomes = await asyncio.gather(
                one.ledger.register_operator("one", NAMES),
                two.ledger.register_operator("two", NAMES),
                return_exceptions=True,
            )
            assert sum(isinstance(outcome, list) for outcome in outcomes) == 1
            assert sum(isinstance(o, (NotAllowedError, StreamConflictError)) for o in outcomes) == 1

    asyncio.run(story())
    assert len(entries(database)) == 3


def test_a_stranger_cannot_begin_a_ledger_in_the_operators_stead(database):
    async def story():
        async with scene(database, fresh=False) as s:
            key = SigningKey.generate()
            facts = events.OrganisationRegistered(
                kind="operator", level="republic", names=NAMES, root_key=key.public_key
            )
            with pytest.raises(UnauthorisedIssuerError):
                await s.ledger.post(presented(s, OPERATOR, facts, 1, key=key, iss=OPERATOR))

    asyncio.run(story())
    assert entries(database) == []


def test_a_key_that_nobody_could_read_does_not_get_into_the_ledger(database):
    async def story(s):
        facts = events.OrganisationKeyRegistered(key="A" * 42 + "B", roles=("body",), custody="own")
        with pytest.raises(MalformedKeyError):
            await s.ledger.record(VILLAGE, facts, as_operator(s))
        await s.ledger.refresh()

    run(database, story)


@pytest.mark.parametrize("slug", ["", "a b", "../x", "Әкімдік", "a" * 300])
def test_an_organisation_has_a_plain_name_for_its_stream(database, slug):
    async def story(s):
        facts = events.OrganisationRegistered(kind="council", level="republic", names=NAMES)
        with pytest.raises(MalformedEventError):
            await s.ledger.register_organisation(slug, facts, ())

    run(database, story)


# --- plain JSON ------------------------------------------------------------------------------


def test_terms_that_the_law_computes_are_filled_in(database):
    async def story(s):
        stream = f"petition/{await s.submitted()}"
        admitted = (await s.ledger.tell(CULTURE, stream, "petition.admitted", {}, {})).event
        assert admitted.facts == events.PetitionAdmitted(
            needed=50, limited_until=terms.limited_until(admitted.at)
        )
        assert (admitted.iss, admitted.kid) == (CULTURE, s.ledger.keys.gateway.kid)

    run(database, story)


def test_a_term_that_is_given_must_be_the_lawful_one(database):
    async def story(s):
        stream = f"petition/{await s.submitted()}"
        with pytest.raises(NotAllowedError, match="needs 50 signatures"):
            await s.ledger.tell(CULTURE, stream, "petition.admitted", {"needed": 1}, {})

    run(database, story)


@pytest.mark.parametrize(
    ("type_", "data", "disclosures", "reason"),
    [
        ("petition.forgotten", {}, {}, "not an event that an organisation posts"),
        ("petition.submitted", {}, {}, "not an event that an organisation posts"),
        ("petition.rejected", {"ground": "unclear"}, {}, r"takes the disclosures \['reason'\]"),
        ("petition.rejected", {"ground": "unclear"}, {"reason": "x", "name": "y"}, "takes the disclosures"),
        ("petition.rejected", {"ground": "unclear"}, {"reason": ""}, "1 to 20000 characters"),
        ("petition.rejected", {"ground": "unclear"}, {"reason": "x" * 20_001}, "1 to 20000 characters"),
        ("petition.rejected", {"ground": "unclear"}, {"reason": {"a": 1}}, "1 to 20000 characters"),
        ("petition.rejected", {"ground": "because"}, {"reason": "x"}, "is not right"),
        ("petition.rejected", {"ground": "unclear", "note": "x"}, {"reason": "x"}, "is not right"),
        ("petition.routed", {}, {}, "is not right"),
    ],
)
def test_a_command_of_the_wrong_form_is_refused(database, type_, data, disclosures, reason):
    async def story(s):
        stream = f"petition/{await s.submitted()}"
        before = entries(database)
        with pytest.raises(InvalidCommandError, match=reason):
            await s.ledger.tell(CULTURE, stream, type_, data, disclosures)
        assert entries(database) == before

    run(database, story)


def test_an_event_of_a_petition_does_not_happen_to_a_signature(database):
    async def story(s):
        signed = await s.sign(1, await s.limited())
        with pytest.raises(NotAllowedError, match="does not happen to"):
            await s.ledger.tell(CULTURE, signed.event.stream, "petition.admitted", {}, {})

    run(database, story)


def test_a_petition_is_routed_to_a_body_and_its_term_depends_on_the_body(database):
    async def story(s):
        stream = f"petition/{await s.collecting()}"
        await s.ledger.declare(stream, events.PetitionSupported(required=50, reached_at=0))
        for nobody in ("organisation/operator", "organisation/nobody"):
            with pytest.raises(NotAllowedError, match="not a body that petitions are addressed to"):
                await s.ledger.tell(CULTURE, stream, "petition.routed", {"body": nobody}, {})
        await s.ledger.tell(CULTURE, stream, "petition.routed", {"body": VILLAGE}, {})
        late = {"number": "1", "consider_until": "2099-01-01T00:00:00Z"}
        with pytest.raises(NotAllowedError, match="term of consideration ends at"):
            await s.ledger.tell(VILLAGE, stream, "petition.registered", late, {})
        with pytest.raises(NotAllowedError, match="lies with"):
            await s.ledger.tell(CULTURE, stream, "petition.registered", {"number": "1"}, {})
        done = await s.ledger.tell(VILLAGE, stream, "petition.registered", {"number": "ЖТ-1"}, {})
        village = s.ledger.directory.organisation(VILLAGE)
        assert done.event.facts.consider_until == terms.consider_until(done.event.at, village)

    run(database, story)


def test_a_petition_that_could_never_be_published_is_not_taken(database):
    async def story(s):
        facts = events.OrganisationRegistered(kind="akimat", level="oblast", names=NAMES)
        await s.ledger.register_organisation("oblast", facts, ("body",))
        with pytest.raises(NoTermError, match="none is recorded"):
            await s.submitted(body="organisation/oblast")

    run(database, story)


# --- sealed by the organisation itself -------------------------------------------------------


def test_an_event_under_an_organisations_own_key_is_stored_as_it_came(database):
    async def story(s):
        await own_key(s)
        stream = f"petition/{await s.submitted()}"
        text = presented(s, stream, REJECTED, 2)
        done = await s.ledger.post(text)
        assert done.event.entry.decode() == text[: text.index("~") + 1]
        assert s.ledger.reader.entries(done.position, 1) == [(done.position, done.event.entry)]
        receipt = await s.ledger.receipt(done)
        assert [(d.name, d.value) for d in receipt.disclosures] == [("reason", "себебі")]
        assert (await s.ledger.load(stream)).state == "rejected"

    run(database, story)


def test_the_same_command_finds_its_event_again(database):
    async def story(s):
        await own_key(s)
        text = presented(s, f"petition/{await s.submitted()}", REJECTED, 2)
        command = CommandId(CULTURE, "k", b"r" * 32)

        def post(command):
            return s.ledger.once(command, s.ledger.post(text, command=command))

        first = await post(command)
        assert (await post(command)).position == first.position
        with pytest.raises(StreamConflictError):
            await s.ledger.post(text)
        with pytest.raises(CommandReusedError):
            await post(CommandId(CULTURE, "k", b"x" * 32))

    run(database, story)


REFUSALS = {
    "an unknown key": ({"key": SigningKey.generate()}, UnauthorisedIssuerError),
    "the name of another": ({"iss": VILLAGE}, UnauthorisedIssuerError),
    "a missing disclosure": ({"keep": lambda d: False}, DisclosureMismatchError),
    "a disclosure that is no text": ({"values": {"reason": {"a": 1}}}, InvalidCommandError),
    "a disclosure that is too long": ({"values": {"reason": "x" * 20_001}}, InvalidCommandError),
    "a number too small": ({"n": 1}, StreamConflictError),
    "a number too large": ({"n": 3}, StreamConflictError),
    "a role that the key lacks": (
        {"facts": events.PetitionLapsed(count=0, as_of=0)}, UnauthorisedIssuerError,
    ),
    "a step that is not allowed": ({"facts": events.PetitionRouted(body=VILLAGE)}, NotAllowedError),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_a_sealed_event_is_refused_for(database, case):
    change, error = REFUSALS[case]

    async def story(s):
        await own_key(s)
        stream = f"petition/{await s.submitted()}"
        how = {"facts": REJECTED, "n": 2} | change
        before = entries(database)
        with pytest.raises(error):
            await s.ledger.post(presented(s, stream, how.pop("facts"), how.pop("n"), **how))
        assert entries(database) == before

    run(database, story)


def test_a_signature_that_is_not_the_keys_is_refused(database):
    async def story(s):
        await own_key(s)
        text = presented(s, f"petition/{await s.submitted()}", REJECTED, 2)
        head, body, rest = text.split(".")
        other = presented(s, f"petition/{await s.submitted()}", REJECTED, 2).split(".")[2]
        with pytest.raises(SignatureInvalidError):
            await s.ledger.post(f"{head}.{body}.{other.split('~')[0]}~{rest.split('~', 1)[1]}")

    run(database, story)


@pytest.mark.parametrize("ahead", [-130, 130])
def test_an_event_that_was_sealed_at_another_time_is_refused(database, ahead):
    async def story(s):
        await own_key(s)
        stream = f"petition/{await s.submitted()}"
        s.clock.ahead = 1000
        s.clock.ahead += ahead
        text = presented(s, stream, REJECTED, 2)
        s.clock.ahead -= ahead
        with pytest.raises(ClockSkewError, match="Set your clock"):
            await s.ledger.post(text)

    run(database, story)


def test_an_event_cannot_be_dated_before_the_one_it_follows(database):
    async def story(s):
        await own_key(s)
        early = s.ledger.now()
        s.clock.ahead = 5
        stream = f"petition/{await s.submitted()}"
        with pytest.raises(NotAllowedError, match="cannot be dated"):
            await s.ledger.post(presented(s, stream, REJECTED, 2, at=early))

    run(database, story)


def test_a_host_whose_clock_is_behind_takes_the_time_of_the_event_before(database):
    async def story(s):
        s.clock.ahead = 30
        stream = f"petition/{await s.submitted()}"
        s.clock.ahead = 0
        submitted = (await s.ledger.load(stream)).modified_on
        admitted = await s.ledger.tell(CULTURE, stream, "petition.admitted", {}, {})
        assert admitted.event.at == submitted

    run(database, story)


def test_what_citizens_do_is_said_by_the_gateway_alone(database):
    async def story(s):
        await own_key(s, OPERATOR, "gateway")
        facts = events.PetitionSigned(lang="kk", algorithm="RSA-SHA256")
        stream = f"signature/{await s.limited()}/{'A' * 43}"
        made = dict.fromkeys(facts.public | facts.restricted, "x")
        with pytest.raises(UnauthorisedIssuerError, match="said by this service alone"):
            await s.ledger.post(presented(s, stream, facts, 1, iss=OPERATOR, values=made))

    run(database, story)


def test_an_expected_version_that_contradicts_the_event_is_refused(database):
    async def story(s):
        await own_key(s)
        stream = f"petition/{await s.submitted()}"
        with pytest.raises(InvalidCommandError, match="seal the event again"):
            await s.ledger.post(presented(s, stream, REJECTED, 5), expected=1)

    run(database, story)


# --- races -----------------------------------------------------------------------------------


async def considered(s):
    stream = f"petition/{await s.collecting()}"
    await s.ledger.declare(stream, events.PetitionSupported(required=50, reached_at=0))
    await s.ledger.tell(CULTURE, stream, "petition.routed", {"body": VILLAGE}, {})
    await s.ledger.tell(VILLAGE, stream, "petition.registered", {"number": "1"}, {})
    return stream


def test_a_lost_race_is_decided_anew_unless_the_caller_named_a_version(database):
    async def story(s):
        stream = await considered(s)
        version = (await s.ledger.load(stream)).version
        data = {"members": 3, "author_invited": True}
        form = (VILLAGE, stream, "petition.working_group_formed", data, {})
        done = await asyncio.gather(*(s.ledger.tell(*form) for _ in range(3)))
        assert sorted(d.event.n for d in done) == [version + 1, version + 2, version + 3]
        outcomes = await asyncio.gather(
            *(s.ledger.tell(*form, expected=version + 3) for _ in range(3)), return_exceptions=True
        )
        assert sorted(type(o).__name__ for o in outcomes) == ["Recorded"] + ["StreamConflictError"] * 2

    run(database, story)


def test_what_another_process_registered_is_known_here_at_once(database):
    async def story(s):
        async with scene(database, keys=s.ledger.keys, authority=s.authority, fresh=False) as other:
            facts = events.OrganisationRegistered(kind="central", level="republic", names=NAMES)
            await other.ledger.register_organisation("ministry", facts, ("body",))
            petition = await s.submitted(body="organisation/ministry")
            stream = f"petition/{petition}"
            # The issuer's own stream moves on while this process does not look; If-Match still holds.
            await own_key(other)
            await s.ledger.tell(CULTURE, stream, "petition.admitted", {}, {}, expected=1)
            await own_key(other, OPERATOR, "clock", key=SigningKey.generate())
            facts = await lapse(s, stream)
            await s.ledger.declare(stream, facts, expected=2, quiet=Quiet(f"signature/{petition}/", 0))

    async def lapse(s, stream):
        s.clock.pass_until((await s.ledger.load(stream)).open_until)
        return events.PetitionLapsed(count=0, as_of=0)

    run(database, story)


def test_a_threshold_is_reckoned_from_the_population_of_its_position_in_the_log(database):
    async def story(s):
        petition = await s.limited()
        at = s.ledger.now()
        village = s.ledger.directory.organisation(VILLAGE)
        required, population = terms.threshold(village, at)
        old = events.PetitionPublished(
            required=required, population=population, collect_until=terms.collect_until(at)
        )
        async with scene(database, keys=s.ledger.keys, authority=s.authority, fresh=False) as other:
            counted = events.OrganisationPopulationRecorded(population=2000, counted_on=at.date())
            await other.ledger.record(VILLAGE, counted, as_operator(other))
        by = s.ledger.issuance(OPERATOR, events.PetitionPublished)
        assert s.ledger.directory.organisation(VILLAGE).population == 1000  # it has not looked yet
        with pytest.raises(NotAllowedError, match="threshold of this petition is 100"):
            await s.ledger.record(f"petition/{petition}", old, by)

    run(database, story)


def test_a_key_that_is_being_revoked_speaks_before_it_in_the_log_or_not_at_all(database):
    async def story(s):
        for _ in range(5):
            key = SigningKey.generate()
            await own_key(s, CULTURE, "moderator", key=key)
            streams = [f"petition/{await s.submitted(author=i)}" for i in range(4)]
            posts = [s.ledger.post(presented(s, stream, REJECTED, 2, key=key)) for stream in streams]
            *outcomes, revoked = await asyncio.gather(
                *posts[:2], *posts[2:], revoke(s, CULTURE, key), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    assert isinstance(outcome, UnauthorisedIssuerError)
                else:
                    assert outcome.position < revoked.position
            with pytest.raises(UnauthorisedIssuerError):
                await s.ledger.post(presented(s, f"petition/{await s.submitted()}", REJECTED, 2, key=key))

    run(database, story)


def test_nobody_signs_through_a_gateway_whose_key_was_revoked(database):
    async def story(s):
        petition = await s.limited()
        cms = [await s.cms(i, petition) for i in range(30)]
        async with scene(database, keys=s.ledger.keys, authority=s.authority, fresh=False) as other:
            signing = [asyncio.create_task(s.desk.sign(petition, each)) for each in cms[:20]]
            await asyncio.sleep(0.01)
            revoked = await revoke(other, OPERATOR, s.ledger.keys.gateway)
            outcomes = await asyncio.gather(*signing, return_exceptions=True)
            outcomes += await asyncio.gather(
                *(s.desk.sign(petition, each) for each in cms[20:]), return_exceptions=True
            )
        assert {type(o) for o in outcomes[20:]} == {UnauthorisedIssuerError}
        for outcome in outcomes:
            if not isinstance(outcome, Exception):
                assert outcome.position < revoked.position
            else:
                assert isinstance(outcome, UnauthorisedIssuerError)

    run(database, story)


@pytest.mark.parametrize("end", ["routed", "not_supported"])
def test_a_signature_that_races_with_the_end_stands_before_it_or_is_refused(database, end):
    async def story(s):
        petition = await s.collecting()
        stream = f"petition/{petition}"
        cms = [await s.cms(i, petition) for i in range(50)]
        until = (await s.ledger.load(stream)).open_until
        if end == "not_supported":
            s.clock.pass_until(until)
            s.clock.ahead -= 1.05  # the end comes in the middle of the signing

        async def finish():
            await asyncio.sleep(0.03)
            if end == "routed":
                await s.ledger.declare(stream, events.PetitionSupported(required=50, reached_at=0))
                return await s.ledger.tell(CULTURE, stream, "petition.routed", {"body": VILLAGE}, {})
            while s.ledger.now() < until:
                await asyncio.sleep(0.002)
            while True:
                found = [row for row in entries(database) if row[1].startswith(f"signature/{petition}/")]
                as_of = max(row[0] for row in entries(database))
                facts = events.PetitionNotSupported(count=len(found), required=50, as_of=as_of)
                try:
                    quiet = Quiet(f"signature/{petition}/", as_of)
                    return await s.ledger.declare(stream, facts, quiet=quiet)
                except StreamConflictError:
                    continue

        async def sign(number):
            await asyncio.sleep(number / 1000)
            return await s.desk.sign(petition, cms[number])

        *outcomes, ended = await asyncio.gather(*map(sign, range(49)), finish(), return_exceptions=True)
        assert not isinstance(ended, Exception)
        signed = [o for o in outcomes if not isinstance(o, Exception)]
        assert {type(o) for o in outcomes if isinstance(o, Exception)} <= {PetitionClosedError}
        assert all(o.position < ended.position for o in signed)
        in_log = [row for row in entries(database) if row[3] == "petition.signed"]
        assert len(in_log) == len(signed)
        assert all(row[0] < ended.position for row in in_log)
        if end == "not_supported":
            assert ended.event.facts.count == len(signed)
        with pytest.raises(PetitionClosedError):
            await s.desk.sign(petition, cms[49])

    run(database, story)


def test_a_signature_is_taken_back_while_the_petition_moves_on(database):
    async def story(s):
        petition = await s.limited()
        await asyncio.gather(*(s.sign(i, petition) for i in range(1, 4)))
        cms = [await s.cms(i, petition, "withdraw-signature") for i in range(1, 4)]
        at = s.ledger.now()
        facts = events.PetitionPublished(required=50, population=1000, collect_until=terms.collect_until(at))
        await asyncio.gather(
            s.ledger.declare(f"petition/{petition}", facts),
            *(s.desk.withdraw_signature(petition, each) for each in cms),
        )

    run(database, story)


# --- the vault -------------------------------------------------------------------------------


def test_a_person_whose_data_key_is_destroyed_is_forgotten_and_the_log_is_the_same(database):
    async def story(s):
        signed = await s.sign(1, await s.limited())
        stream, entry = signed.event.stream, signed.event.entry
        vault, reader = s.ledger.vault, s.ledger.reader
        wrapped = reader.data_key(stream)
        with psycopg.connect(database.admin_url) as admin:
            (blob,) = admin.execute(
                "SELECT sealed FROM ledger.vault WHERE position = %s", (signed.position,)
            ).fetchone()
            opened = vault.open(vault.unwrap("data-key", stream, wrapped), entry, blob)
            assert {d.name for d in opened} == {"iin", "full_name", "cms"}
            signed.event.check_disclosures(opened, complete=False)
            other = await s.sign(2, signed.event.stream.split("/")[1])
            with pytest.raises(VaultError):
                vault.unwrap("data-key", other.event.stream, wrapped)
            admin.execute("DELETE FROM ledger.data_keys WHERE stream = %s", (stream,))
        assert reader.data_key(stream) is None

    run(database, story)


def test_no_secret_of_a_petition_is_shown(database):
    async def story(s):
        view = await s.desk.petition(await s.limited())
        assert repr(view.secret)[2:-1] not in repr(view)
        by = Issuance(OPERATOR, "k", s.ledger.now(), (Disclosure.make("iin", "880101300017"),))
        assert "880101300017" not in repr(by)

    run(database, story)


def test_an_id_that_is_taken_is_not_filed_again(database):
    async def story(s):
        petition = str(uuid.uuid4())
        cms = s.person(0).sign(wording.filing(petition, VILLAGE, TITLE, TEXT, "kk"))
        await s.desk.submit(petition, VILLAGE, TITLE, TEXT, "kk", cms)
        with pytest.raises(NotAllowedError, match="exists already"):
            await s.desk.submit(petition, VILLAGE, TITLE, TEXT, "kk", cms)

    run(database, story)
