"""A council looks at the evidence behind a sample that nobody chose."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import math
from fractions import Fraction
from pathlib import Path

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import audit
from api import tokens
from audit.evidence import EvidenceRefusedError, Look, SampleDisputedError, at_most
from cli.evidence import _show
from ledger import events
from ledger.erasure import Eraser, Wish
from ledger.sample import draw
from ledger.statement import open_event
from ledger.store.vault import Vault
from ledger.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from ledger.tlog.merkle import leaf_hash, root_from_leaves
from tests.api.services import CULTURE, begin, listening, problem
from tests.audit.log_builder import nullifier, petition_id
from tests.docs.test_spec_alone import AssuredLog, read_log

COUNCIL = "organisation/council"
SIGNED = "petition.signed"
NAMES = events.Names(kk="Қоғамдық кеңес", ru="Общественный совет")


class Scene:
    """A petition with signatures, and a council that may look."""

    def __init__(self, api, petition, positions, token):
        self.api, self.petition, self.positions, self.token = api, petition, positions, token

    @property
    def bearer(self):
        return {"authorization": f"Bearer {self.token}"}

    def look(self, folder, sample=5, trust=None):
        return Look(
            str(self.api.client.base_url), self.petition, self.token, self.api.world.keys.log.verifier,
            trust or self.api.world.authority.trust, folder, sample,
        )  # fmt: skip

    async def erase(self, *positions):
        """The data keys of these signatures, as another process would; where the last erasure stands."""
        ledger = self.api.service.ledger
        streams = [event.stream for event in await asyncio.to_thread(self._opened, positions)]
        async with Eraser.open(ledger, self.api.world.database.url) as eraser:
            await eraser.erase(await eraser.plan([Wish(stream, "demand") for stream in streams]))
        return await asyncio.to_thread(ledger.reader.size) - 1

    def _opened(self, positions):
        reader = self.api.service.ledger.reader
        return [open_event(reader.entries(position, 1)[0][1]) for position in positions]

    async def run(self, folder, **options):
        return await asyncio.to_thread(self.look(folder, **options).run)

    async def asked(self, secret=bytes(32), sample=5):
        document = {
            "petition": self.petition, "sample": sample, "commitment": hashlib.sha256(secret).hexdigest(),
        }  # fmt: skip
        answer = await self.api.post("/v1/evidence", document, **self.bearer)
        assert answer.status_code == 201, answer.text
        return answer.json()["stream"].removeprefix("evidence/"), answer.json()["position"]

    async def drawn(self, id_, secret=bytes(32)):
        return await self.api.post(f"/v1/evidence/{id_}/draw", {"secret": secret.hex()}, **self.bearer)


def told(database, story, signers=12):
    async def run():
        world = await begin(database)
        async with listening(world) as (api, _, _):
            ledger = api.service.ledger
            facts = events.OrganisationRegistered(kind="council", level="republic", names=NAMES)
            await ledger.register_organisation("council", facts, ("auditor",))
            with psycopg.connect(database.url, autocommit=True) as connection:
                token = tokens.create(connection, COUNCIL, "tests")
            petition = await api.limited()
            positions = await api.signed(range(1, signers + 1), petition)
            await api.fold()
            await story(Scene(api, petition, sorted(positions), token))

    asyncio.run(run())


def test_every_signature_of_the_sample_is_genuine_and_each_look_stands_in_the_log(database, tmp_path):
    async def story(scene):
        report = await scene.run(tmp_path / "look")
        assert (report.genuine, report.wrong, report.erased) == (5, 0, 0)
        assert report.signatures == 12
        assert report.exit_code == 0
        assert report.at_most == pytest.approx(1 - 0.05 ** (1 / 5))
        assert {one.position for one in report.checked} <= set(scene.positions)
        public = await scene.api.ok(f"/v1/{report.evidence}")
        assert public["state"] == "drawn"
        assert public["by"] == COUNCIL
        assert public["opened"] == [one.position for one in report.checked]
        # Whoever reads the log draws the same sample.
        again = draw(bytes.fromhex(public["secret"]), bytes.fromhex(public["root"]), public["signatures"], 5)
        assert [scene.positions[index] for index in again] == public["opened"]
        assert json.loads(report.to_json())["format"] == "aiqyn-evidence/v1"

    told(database, story)


def test_looking_again_in_the_same_folder_asks_for_nothing_twice(database, tmp_path):
    async def story(scene):
        first = await scene.run(tmp_path / "look")
        before = scene.api.world.counted()
        assert await scene.run(tmp_path / "look") == first
        assert scene.api.world.counted() == before

    told(database, story)


def test_all_are_opened_where_the_sample_is_as_large_as_the_petition(database, tmp_path):
    async def story(scene):
        report = await scene.run(tmp_path / "look", sample=50)
        assert (report.genuine, report.confidence, report.at_most) == (12, 1.0, 0.0)

    told(database, story)


class TestForgeries:
    def test_a_cms_of_another_authority_is_wrong(self, database, tmp_path):
        from ledger.eds.authority import Authority

        async def story(scene):
            report = await scene.run(tmp_path / "look", trust=Authority.create("ecdsa").trust)
            assert (report.genuine, report.wrong, report.exit_code) == (0, 5, 1)
            assert report.at_most == 1.0

        told(database, story)

    def test_evidence_that_was_exchanged_in_the_vault_is_wrong(self, database, tmp_path):
        async def story(scene):
            vault = Vault(scene.api.world.keys.vault)
            with psycopg.connect(database.admin_url) as connection:
                one, other = scene.positions[:2]
                rows = {
                    position: connection.execute(
                        "SELECT e.entry, v.sealed, k.wrapped, e.stream FROM ledger.entries e"
                        " JOIN ledger.vault v USING (position) JOIN ledger.data_keys k ON k.stream = e.stream"
                        " WHERE e.position = %s", [position],
                    ).fetchone()
                    for position in (one, other)
                }  # fmt: skip

                def key(position):
                    return vault.unwrap("data-key", rows[position][3], rows[position][2])

                disclosures = vault.open(key(other), rows[other][0], rows[other][1])
                forged = vault.seal(key(one), rows[one][0], disclosures)
                connection.execute("UPDATE ledger.vault SET sealed = %s WHERE position = %s", [forged, one])
            report = await scene.run(tmp_path / "look", sample=50)
            assert report.wrong == 1
            (wrong,) = [one for one in report.checked if one.verdict == "wrong"]
            assert wrong.position == scene.positions[0]

        told(database, story)

    def test_genuine_signatures_from_elsewhere_do_not_stand_in_for_those_that_were_drawn(
        self, database, tmp_path
    ):
        async def story(scene):
            id_, _ = await scene.asked(sample=50)
            await scene.drawn(id_)
            path = f"/v1/evidence/{id_}/openings"
            every = (await scene.api.post(path, {"positions": scene.positions}, **scene.bearer)).json()[
                "items"
            ]

            def swap(wanted, items):
                others = [item for item in every if item["position"] not in wanted]
                return [item | {"position": at} for at, item in zip(wanted, others, strict=False)]

            report = await asyncio.to_thread(lying(scene.look(tmp_path / "look", sample=4), swap).run)
            assert (report.genuine, report.wrong, report.exit_code) == (0, 4, 1)
            assert "another entry" in report.checked[0].reason

        told(database, story)

    def test_erased_is_not_the_bare_word_of_the_ledger(self, database, tmp_path):
        async def story(scene):
            def claim(_, items):
                return [items[0], *(item | {"erased": True, "disclosures": []} for item in items[1:])]

            report = await asyncio.to_thread(lying(scene.look(tmp_path / "look"), claim).run)
            assert (report.genuine, report.erased, report.wrong, report.exit_code) == (1, 0, 4, 1)
            assert "its log does not" in report.checked[-1].reason

        told(database, story)

    def test_a_petition_whose_text_was_changed_is_disputed(self, database, tmp_path):
        async def story(scene):
            look = scene.look(tmp_path / "look")
            original = look._statements

            def changed(client, submitted):
                facts = msgspec.structs.replace(submitted.facts, text_hash="0" * 64)
                return original(client, type("Event", (), {"facts": facts})())

            look._statements = changed
            with pytest.raises(SampleDisputedError):
                await asyncio.to_thread(look.run)

        told(database, story)


def lying(look, change):
    """A look at a server that answers otherwise: ``change`` of the wanted positions and the true items."""
    post = look._post

    def answer(client, path, body, *, key=None):
        found = post(client, path, body, key=key)
        if path.endswith("/openings"):
            found["items"] = change(body["positions"], found["items"])
        return found

    look._post = answer
    return look


class TestErasures:
    def test_what_was_erased_before_the_announcement_is_not_drawn_from(self, database, tmp_path):
        async def story(scene):
            reader = scene.api.service.ledger.reader
            gone = scene.positions[2:5]
            before = await asyncio.to_thread(reader.size) - 1
            at = await scene.erase(*gone)
            assert list(reader.signed(scene.petition, at)) == [p for p in scene.positions if p not in gone]
            assert list(reader.signed(scene.petition, before)) == scene.positions
            report = await scene.run(tmp_path / "look", sample=50)
            assert (report.signatures, report.genuine, report.erased, report.wrong) == (9, 9, 3, 0)
            assert report.at_most == 0.0
            assert (await scene.api.ok(f"/v1/{report.evidence}"))["signatures"] == 9
            assert not {one.position for one in report.checked} & set(gone)
            assert "3 more signatures" in shown(report)

        told(database, story)

    def test_what_is_erased_after_it_was_drawn_is_wrong(self, database, tmp_path):
        async def story(scene):
            look = scene.look(tmp_path / "look")
            look._open = stop
            with pytest.raises(InterruptedError):
                await asyncio.to_thread(look.run)
            kept = json.loads((tmp_path / "look/evidence.json").read_bytes())
            at = await scene.erase(kept["chosen"][0])
            report = await scene.run(tmp_path / "look")
            assert (report.genuine, report.erased, report.wrong) == (4, 0, 1)
            assert report.checked[0].reason == f"It was erased after it was drawn: entry {at} says so."

        told(database, story)

    def test_an_erasure_of_a_name_alone_hides_no_evidence(self, database, tmp_path):
        async def story(scene):
            ledger = scene.api.service.ledger
            (event,) = await asyncio.to_thread(scene._opened, scene.positions[:1])
            async with Eraser.open(ledger, scene.api.world.database.url) as eraser:
                wish = Wish(event.stream, "demand", ("name",), data_key=False)
                await eraser.erase(await eraser.plan([wish]))
            report = await scene.run(tmp_path / "look", sample=50)
            assert (report.signatures, report.genuine, report.erased) == (12, 12, 0)

        told(database, story)


def stop(*_):
    raise InterruptedError


def shown(report):
    console = Console(width=200, record=True, file=io.StringIO())
    _show(report, Path("look"), console)
    return " ".join(console.export_text().split())


class TestGoingOn:
    """A look that was interrupted between the draw and the openings."""

    def interrupted(self, scene, folder):
        look = scene.look(folder, sample=4)
        look._draw = stop
        with pytest.raises(InterruptedError):
            look.run()
        return json.loads((folder / "evidence.json").read_bytes())

    def test_everything_that_the_secret_depends_on_is_kept_before_it_is_shown(self, database, tmp_path):
        async def story(scene):
            kept = await asyncio.to_thread(self.interrupted, scene, tmp_path / "look")
            assert kept["signatures"] == 12
            assert len(kept["chosen"]) == 4
            assert kept["note"].startswith(scene.api.world.keys.log.name)
            report = await scene.run(tmp_path / "look", sample=4)
            assert [one.position for one in report.checked] == kept["chosen"]
            assert report.root == kept["root"]

        told(database, story)

    @pytest.mark.parametrize("field", ["root", "signatures", "chosen"])
    def test_a_log_that_gives_another_sample_afterwards_is_disputed(self, field, database, tmp_path):
        async def story(scene):
            kept = await asyncio.to_thread(self.interrupted, scene, tmp_path / "look")
            kept[field] = {"root": "11" * 32, "signatures": 13, "chosen": kept["chosen"][1:]}[field]
            (tmp_path / "look/evidence.json").write_text(json.dumps(kept))
            with pytest.raises(SampleDisputedError, match="before the secret"):
                await scene.run(tmp_path / "look", sample=4)

        told(database, story)

    def test_a_fork_of_the_checkpoint_that_was_seen_is_disputed(self, database, tmp_path):
        async def story(scene):
            kept = await asyncio.to_thread(self.interrupted, scene, tmp_path / "look")
            log = scene.api.world.keys.log
            size = open_checkpoint(kept["note"].encode(), log.verifier).checkpoint.size
            kept["note"] = sign_checkpoint(Checkpoint(log.name, size, bytes(32)), log).decode()
            (tmp_path / "look/evidence.json").write_text(json.dumps(kept))
            with pytest.raises(SampleDisputedError, match="forked"):
                await scene.run(tmp_path / "look", sample=4)

        told(database, story)

    @pytest.mark.parametrize("field", ["of", "sample"])
    def test_another_announcement_than_the_own_one_is_disputed(self, field, database, tmp_path):
        async def story(scene):
            secret = bytes(range(32))
            petition = scene.petition
            if field == "of":
                other = await scene.api.limited(author=40)
                scene.petition = other
            id_, at = await scene.asked(secret, sample=5 if field == "of" else 4)
            scene.petition = petition
            folder = tmp_path / "look"
            folder.mkdir()
            state = {
                "url": scene.look(folder).url, "petition": petition, "sample": 5, "secret": secret.hex(),
                "id": id_, "asked_at": at,
            }  # fmt: skip
            (folder / "evidence.json").write_text(json.dumps(state))
            with pytest.raises(SampleDisputedError, match="not what this auditor announced"):
                await scene.run(folder)

        told(database, story, signers=6)


def test_the_report_says_what_a_sample_does_not_show(database, tmp_path):
    async def story(scene):
        report = await scene.run(tmp_path / "look")
        said = "a second signature of one person shows only if both are in the sample"
        assert said in json.loads(report.to_json())["limits"]
        assert said in shown(report)
        assert "does not verify" in shown(report)

    told(database, story)


class TestWhoMayLook:
    def test_a_council_whose_right_was_revoked_opens_nothing_not_even_again(self, database):
        async def story(scene):
            id_, _ = await scene.asked(sample=50)
            await scene.drawn(id_)
            path = f"/v1/evidence/{id_}/openings"
            first = await scene.api.post(path, {"positions": scene.positions[:1]}, **scene.bearer)
            assert first.status_code == 200
            other = scene.api.world.parts().ledger()
            await other.start()
            try:
                by = other.issuance(other.operator, events.OrganisationKeyRevoked)
                kid = other.keys.gateway.kid
                await other.record(COUNCIL, events.OrganisationKeyRevoked(kid=kid, reason="retired"), by)
            finally:
                await other.stop()
            for positions in (scene.positions[:1], scene.positions[1:2]):
                answer = await scene.api.post(path, {"positions": positions}, **scene.bearer)
                problem(answer, 403, "issuer-not-authorised")
            assert (await scene.api.ok(f"/v1/evidence/{id_}"))["opened"] == scene.positions[:1]

        told(database, story, signers=2)

    def test_a_council_asks_again_only_once_its_earlier_look_was_drawn(self, database):
        async def story(scene):
            id_, at = await scene.asked(b"\1" * 32)
            document = {"petition": scene.petition, "sample": 1, "commitment": "ab" * 32}
            refused = problem(
                await scene.api.post("/v1/evidence", document, **scene.bearer), 409, "look-undrawn"
            )
            assert f"evidence/{id_} at position {at}" in refused["detail"]
            assert (refused["stream"], refused["position"]) == (f"evidence/{id_}", at)
            await scene.drawn(id_, b"\1" * 32)
            answers = await asyncio.gather(
                *(
                    scene.api.post(
                        "/v1/evidence", document | {"commitment": f"{number:064x}"}, **scene.bearer
                    )
                    for number in range(4)
                )
            )
            assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]

        told(database, story, signers=1)

    def test_an_announcement_that_is_repeated_is_answered_as_before(self, database):
        async def story(scene):
            document = {"petition": scene.petition, "sample": 1, "commitment": "ab" * 32}
            key = {"idempotency-key": "the-same-announcement"}
            first, second = [
                await scene.api.post("/v1/evidence", document, **scene.bearer, **key) for _ in range(2)
            ]
            assert (first.status_code, second.status_code) == (201, 201)
            assert first.json()["stream"] == second.json()["stream"]

        told(database, story, signers=1)

    def test_signatures_are_read_once_and_for_nobody_who_may_not_draw(self, database):
        async def story(scene):
            id_, _ = await scene.asked()
            reader = scene.api.service.ledger.reader
            read, calls = reader.signed, []

            def counted(*about):
                calls.append(about)
                return read(*about)

            reader.signed = counted
            path = f"/v1/evidence/{id_}/draw"
            document = {"secret": "00" * 32}
            answer = await scene.api.post(path, document, **scene.api.bearer(CULTURE))
            problem(answer, 403, "issuer-not-authorised")
            problem(await scene.drawn(id_, b"\1" * 32), 409, "not-allowed")
            assert calls == []
            answers = await asyncio.gather(*(scene.drawn(id_) for _ in range(6)))
            assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]
            assert len(calls) == 1

        told(database, story, signers=2)

    def test_others_than_councils_are_refused(self, database, tmp_path):
        async def story(scene):
            document = {"petition": scene.petition, "sample": 5, "commitment": "0" * 64}
            problem(await scene.api.post("/v1/evidence", document), 401, "token-missing")
            answer = await scene.api.post("/v1/evidence", document, **scene.api.bearer(CULTURE))
            problem(answer, 403, "issuer-not-authorised")
            scene.token = scene.api.world.tokens[CULTURE]
            with pytest.raises(EvidenceRefusedError, match="403"):
                await scene.run(tmp_path / "look")

        told(database, story, signers=1)

    def test_nothing_is_opened_before_the_sample_is_drawn_and_nothing_beside_it(self, database):
        async def story(scene):
            id_, _ = await scene.asked(sample=3)
            path = f"/v1/evidence/{id_}/openings"
            early = await scene.api.post(path, {"positions": scene.positions[:1]}, **scene.bearer)
            problem(early, 409, "not-allowed")
            assert (await scene.drawn(id_)).status_code == 201
            public = await scene.api.ok(f"/v1/evidence/{id_}")
            chosen = draw(bytes(32), bytes.fromhex(public["root"]), 12, 3)
            inside = [scene.positions[index] for index in chosen]
            outside = next(position for position in scene.positions if position not in inside)
            answer = await scene.api.post(path, {"positions": [inside[0], outside]}, **scene.bearer)
            problem(answer, 409, "not-in-sample")
            assert (await scene.api.ok(f"/v1/evidence/{id_}"))["opened"] == []
            both = await asyncio.gather(
                *(scene.api.post(path, {"positions": inside}, **scene.bearer) for _ in range(4))
            )
            assert {answer.status_code for answer in both} == {200}
            assert (await scene.api.ok(f"/v1/evidence/{id_}"))["opened"] == inside
            assert scene.api.world.counted() == public_count + 3

        public_count = 0

        async def counting(scene):
            nonlocal public_count
            public_count = scene.api.world.counted() + 2
            await story(scene)

        told(database, counting)

    def test_another_secret_than_the_committed_one_draws_nothing(self, database):
        async def story(scene):
            id_, _ = await scene.asked()
            problem(await scene.drawn(id_, b"\1" * 32), 409, "not-allowed")
            assert (await scene.drawn(id_)).status_code == 201
            problem(await scene.drawn(id_), 409, "not-allowed")

        told(database, story, signers=1)

    def test_what_was_asked_by_one_council_is_not_opened_to_another(self, database):
        async def story(scene):
            id_, _ = await scene.asked()
            await scene.drawn(id_)
            ledger = scene.api.service.ledger
            facts = events.OrganisationRegistered(kind="council", level="republic", names=NAMES)
            await ledger.register_organisation("other", facts, ("auditor",))
            with psycopg.connect(database.url, autocommit=True) as connection:
                scene.token = tokens.create(connection, "organisation/other", "tests")
            path = f"/v1/evidence/{id_}/openings"
            answer = await scene.api.post(path, {"positions": scene.positions[:1]}, **scene.bearer)
            problem(answer, 409, "not-allowed")

        told(database, story, signers=1)


class TestTheAudit:
    """Whoever reads the log alone comes to the same sample, or says what is wrong."""

    PETITION = f"petition/{petition_id(1)}"

    def asked(self, log, number, secret):
        commitment = hashlib.sha256(secret).hexdigest()
        facts = events.EvidenceAsked(of=self.PETITION, sample=3, commitment=commitment)
        return log.add(f"evidence/{petition_id(number)}", facts)

    def drawn(self, log, number, secret, asked_at, signatures):
        root = root_from_leaves(map(leaf_hash, log.entries[: asked_at + 1]))
        facts = events.EvidenceDrawn(
            secret=secret.hex(), asked_at=asked_at, root=root.hex(), signatures=len(signatures)
        )
        at = log.add(f"evidence/{petition_id(number)}", facts)
        for index in draw(secret, root, len(signatures), 3):
            facts = events.EvidenceOpened(position=signatures[index])
            log.add(f"evidence/{petition_id(number)}", facts)
        return at

    def scene(self):
        log = AssuredLog().open()
        signed = [at for at in range(len(log.entries)) if open_event(log.entries[at]).facts.type == SIGNED]
        log.withdraw(1, 3)
        for person, version, names, data_key in (
            (3, 2, (), True),
            (5, 1, ("name",), False),
            (7, 1, (), True),
        ):
            log.erase(f"signature/{petition_id(1)}/{nullifier(person)}", version, *names, data_key=data_key)
        asked_at = self.asked(log, 9, bytes(32))
        log.erase(f"signature/{petition_id(1)}/{nullifier(9)}", 1, data_key=True)
        return log, asked_at, signed, [at for at in signed if at not in (signed[2], signed[6])]

    def findings(self, log, folder):
        report = audit.run(log.write(folder / "audit"), log_key=log.vkey)
        return [finding.position for finding in report.findings]

    def test_a_sample_leaves_out_what_was_erased_before_and_nothing_else(self, tmp_path):
        log, asked_at, _, left = self.scene()
        self.drawn(log, 9, bytes(32), asked_at, left)
        assert self.findings(log, tmp_path) == []
        assert read_log(log, tmp_path / "spec").findings == []

    def test_a_sample_of_erased_ones_too_is_found(self, tmp_path):
        log, asked_at, signed, _ = self.scene()
        at = self.drawn(log, 9, bytes(32), asked_at, signed)
        assert self.findings(log, tmp_path)[0] == at
        assert read_log(log, tmp_path / "spec").places[0] == at

    def test_a_second_announcement_before_the_first_was_drawn_is_found(self, tmp_path):
        log, asked_at, _, left = self.scene()
        other = self.asked(log, 8, b"\1" * 32)
        self.drawn(log, 9, bytes(32), asked_at, left)
        self.asked(log, 7, b"\2" * 32)
        assert self.findings(log, tmp_path) == [other]


class TestTheBound:
    def test_three_hundred_genuine_ones_leave_less_than_one_percent(self):
        assert 0.0099 < at_most(0, 300) < 0.01
        assert at_most(0, 1) == pytest.approx(0.95)
        assert at_most(5, 5) == 1.0

    @given(st.integers(1, 60), st.data())
    def test_it_is_where_so_few_wrong_ones_become_unlikely(self, seen, data):
        wrong = data.draw(st.integers(0, seen - 1))
        part = Fraction(at_most(wrong, seen))
        cumulative = sum(math.comb(seen, k) * part**k * (1 - part) ** (seen - k) for k in range(wrong + 1))
        assert float(cumulative) == pytest.approx(0.05, abs=1e-6)

    def test_it_falls_with_the_sample_and_grows_with_what_is_wrong(self):
        for seen in (10, 300, 1000):
            bounds = [at_most(wrong, seen) for wrong in range(0, seen, max(1, seen // 10))]
            assert bounds == sorted(bounds)
            assert all(at_most(wrong, seen) > wrong / seen for wrong in range(seen))
