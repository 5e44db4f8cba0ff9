"""A council looks at the evidence behind a sample that nobody chose."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from fractions import Fraction

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import tokens
from audit.evidence import EvidenceRefusedError, Look, SampleDisputedError, at_most
from ledger import events
from ledger.sample import draw
from ledger.store.vault import Vault
from tests.api.services import CULTURE, begin, listening, problem

COUNCIL = "organisation/council"
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


class TestWhoMayLook:
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
