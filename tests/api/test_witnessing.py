"""Cosignatures are collected beside the log's work; what a witness proves halts it, a claim does not."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import psycopg
import pytest

from api import cosigned
from api.witnessing import Collector, ask_memories
from ledger import events
from ledger.store.append import LogHaltedError
from ledger.store.reader import LogReader
from ledger.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from ledger.tlog.note import COSIGNATURE, ML_DSA_44
from ledger.tlog.policy import Policy
from ledger.tlog.proof import TlogProof
from ledger.tlog.witness import AddCheckpoint
from tests.api.played_witness import witness
from tests.api.services import begin, problem, running

FACTS = events.OrganisationRegistered(
    kind="council", level="republic", names=events.Names(kk="Кеңес", ru="Совет")
)


class Scene:
    """A service with a policy, its witnesses, and a collector that is quick."""

    def __init__(self, api, policy, witnesses, collector):
        self.api, self.policy, self.witnesses, self.collector = api, policy, witnesses, collector

    @property
    def log_key(self):
        return self.api.world.keys.log.verifier

    async def grow(self):
        return await self.api.submitted()

    async def state(self):
        return (await self.api.ok("/v1/log"))["witnessing"]

    async def until(self, condition, seconds=15.0):
        async with asyncio.timeout(seconds):
            while not condition(state := await self.state()):
                await asyncio.sleep(0.05)
        return state

    async def cosigned(self):
        size = (await self.api.ok("/v1/log"))["size"]
        await self.until(lambda state: (state["cosigned_size"] or 0) >= size)
        return size


def told(database, story, *, quorum="any", count=1, moods=(), late=60.0, algorithm=COSIGNATURE, start=True):
    async def run():
        world = await begin(database)
        with contextlib.ExitStack() as stack:
            key = world.keys.log.verifier
            witnesses = [
                stack.enter_context(witness(key, name=f"witness.example/w{n}", algorithm=algorithm))
                for n in range(1, count + 1)
            ]
            for one, mood in zip(witnesses, moods, strict=False):
                one.mood = mood
            lines = [one.policy_line(f"w{n}") for n, one in enumerate(witnesses, 1)]
            names = " ".join(f"w{n}" for n in range(1, count + 1))
            text = f"log {key}\n{''.join(lines)}group q {quorum} {names}\nquorum q\n"
            policy = Policy.parse(text.encode())
            async with running(world, policy=policy) as api:
                collector = Collector(
                    world.database.url, world.keys.log_keys, policy, api.service.ledger.countersigned,
                    interval=0.1, late=late, clock=world.clock, retry=(0.05, 0.2),
                )  # fmt: skip
                scene = Scene(api, policy, witnesses, collector)
                async with collector.running() if start else contextlib.nullcontext():
                    await story(scene)

    asyncio.run(run())


class TestTheQuorum:
    @pytest.mark.parametrize("algorithm", [COSIGNATURE, ML_DSA_44])
    def test_the_served_checkpoint_and_the_receipts_are_cosigned(self, database, algorithm):
        async def story(scene):
            petition = await scene.grow()
            size = await scene.cosigned()
            note = (await scene.api.get("/log/checkpoint")).content
            opened = scene.policy.verify(note)
            assert (opened.checkpoint.size, len(opened.cosignatures)) == (size, 2)
            (second,) = scene.api.world.keys.more_log_keys
            assert open_checkpoint(note, scene.log_key, [second.verifier]).cosignatures
            position = (await scene.api.ok("/v1/log"))["size"] - 1
            receipt = await scene.api.ok(f"/v1/entries/{position}/receipt")
            proof = TlogProof.parse(receipt["proof"].encode())
            proof.verify(receipt["event"].encode(), scene.log_key, policy=scene.policy)
            assert petition in receipt["event"] or receipt["event"]

        told(database, story, quorum="all", count=2, algorithm=algorithm)

    def test_nothing_is_served_as_cosigned_before_it_is_and_signing_goes_on(self, database):
        async def story(scene):
            assert (await scene.api.get("/log/checkpoint")).status_code == 404
            await scene.grow()
            newest = (await scene.api.get("/v1/log/checkpoint")).content
            size = (await scene.api.ok("/v1/log"))["size"]
            assert open_checkpoint(newest, scene.log_key).checkpoint.size == size
            await scene.until(lambda state: state["behind_since"] is not None)
            scene.witnesses[1].mood = "right"
            await scene.cosigned()
            await scene.until(lambda state: state["behind_since"] is None)
            assert (await scene.api.get("/log/checkpoint")).status_code == 200

        told(database, story, quorum="2", count=2, moods=["right", "broken"])

    @pytest.mark.parametrize(
        "mood", ["broken", "bytes", "nonsense", "endless", "wrong", "stranger", "ahead", "claims-more"]
    )
    def test_one_bad_witness_of_three_spoils_nothing(self, database, mood):
        async def story(scene):
            for _ in range(3):
                await scene.grow()
                await scene.cosigned()
            state = await scene.until(lambda state: state["witnesses"] and any(
                one["error"] for one in state["witnesses"]
            ))  # fmt: skip
            assert state["halted"] is None
            note = (await scene.api.get("/log/checkpoint")).content
            assert len(scene.policy.verify(note).cosignatures) == 2

        told(database, story, quorum="2", count=3, moods=["right", mood, "right"])

    def test_one_that_never_answers_holds_up_nobody(self, database):
        async def story(scene):
            for _ in range(3):
                await scene.grow()
                await scene.cosigned()

        told(database, story, quorum="1", count=2, moods=["never", "right"])

    def test_an_answer_that_comes_twice_counts_once(self, database):
        async def story(scene):
            await scene.grow()
            await scene.cosigned()
            note = (await scene.api.get("/log/checkpoint")).content
            assert len(scene.policy.verify(note).cosignatures) == 1

        told(database, story, moods=["twice"])

    def test_a_quorum_that_is_late_is_said_to_be_late_once(self, database, caplog):
        async def story(scene):
            with caplog.at_level(logging.WARNING, "api.witnessing"):
                await scene.grow()
                await scene.until(lambda state: state["behind_since"] is not None)
                scene.api.world.clock.ahead += 120
                async with asyncio.timeout(10):
                    while "is late" not in caplog.text:
                        await asyncio.sleep(0.05)
                await asyncio.sleep(1.5)
                assert caplog.text.count("is late") == 1
                ready = await scene.api.get("/readyz")
                assert ready.json()["witnesses"] == "waiting"
                scene.witnesses[0].mood = "right"
                await scene.cosigned()
                async with asyncio.timeout(10):
                    while "there again" not in caplog.text:
                        await asyncio.sleep(0.05)

        told(database, story, moods=["broken"], late=60.0)

    def test_a_witness_that_knows_more_of_us_than_we_remember_is_asked_what(self, database):
        async def story(scene):
            # The collector's own memory is lost: it begins with old size 0, and is told better.
            await scene.grow()
            await scene.cosigned()
            with psycopg.connect(database.admin_url, autocommit=True) as connection:
                connection.execute("UPDATE service.witnesses SET size = 0")
            again = Collector(
                database.url, [scene.log_key], scene.policy, interval=0.1, clock=scene.api.world.clock
            )
            async with again.running():
                await scene.grow()
                await scene.cosigned()

        told(database, story)

    def test_a_false_claim_is_forgotten_once_the_witness_behaves(self, database):
        async def story(scene):
            await scene.grow()
            await scene.until(lambda state: any(one["error"] for one in state["witnesses"]))
            scene.witnesses[0].mood = "right"
            await scene.cosigned()

        told(database, story, moods=["claims-more"])

    def test_a_stranger_who_shows_our_checkpoints_to_the_witnesses_holds_up_nobody(self, database):
        async def story(scene):
            async def push(witness):
                """As any monitor may: the newest checkpoint, with a proof that anybody can make."""
                with LogReader(database.url) as reader:
                    note = await asyncio.to_thread(reader.checkpoint)
                    old = witness.latest.size if witness.latest else 0
                    size = open_checkpoint(note, scene.log_key).checkpoint.size
                    proof = await asyncio.to_thread(reader.consistency, old, size) if 0 < old < size else ()
                    request = AddCheckpoint(old, tuple(proof), note).to_bytes()
                    await asyncio.to_thread(witness.answer, request)

            for _ in range(6):
                await scene.grow()
                await asyncio.gather(*(push(one) for one in scene.witnesses))
            await scene.cosigned()

        told(database, story, quorum="all", count=2)

    def test_how_long_entries_wait_is_told_while_the_log_grows(self, database):
        async def story(scene):
            await scene.grow()
            await scene.cosigned()
            seen = set()
            for _ in range(20):
                await scene.grow()
                await asyncio.sleep(0.15)
                seen.add((await scene.state())["behind_since"])
            assert len(seen - {None}) > 2

        told(database, story, moods=["late"])

    def test_another_policy_forgets_what_has_no_quorum_by_it(self, database):
        async def story(scene):
            async with scene.collector.running():
                await scene.grow()
                await scene.cosigned()
            size = (await scene.api.ok("/v1/log"))["size"]
            both = Policy.parse(
                "".join(one.policy_line(f"w{n}") for n, one in enumerate(scene.witnesses)).encode()
                + b"group q all w0 w1\nquorum q\n"
            )
            again = Collector(
                database.url, scene.api.world.keys.log_keys, both, interval=0.1, retry=(0.05, 0.2),
                clock=scene.api.world.clock,
            )  # fmt: skip
            async with again.running():
                await scene.until(lambda state: state["cosigned_size"] is None)
                scene.witnesses[1].mood = "right"
                await scene.until(lambda state: state["cosigned_size"] == size)
            note = (await scene.api.get("/log/checkpoint")).content
            assert len(both.verify(note, log=scene.log_key).cosignatures) == 2

        told(database, story, quorum="any", count=2, moods=["right", "broken"], start=False)


class TestProof:
    def forged(self, scene, size, root=b"\7" * 32):
        return sign_checkpoint(Checkpoint(scene.log_key.name, size, root), scene.api.world.keys.log)

    @pytest.mark.parametrize(("extra", "kind"), [(5, "rolled-back"), (0, "forked"), (-1, "forked")])
    def test_what_a_witness_proves_halts_the_log_for_good(self, database, extra, kind, caplog):
        async def story(scene):
            size = (await scene.api.ok("/v1/log"))["size"]
            scene.witnesses[0].remember(self.forged(scene, size + extra))
            async with scene.collector.running():
                if extra < 0:
                    await asyncio.sleep(0.3)
                async with asyncio.timeout(15):
                    while (await scene.state())["halted"] is None:
                        await asyncio.sleep(0.05)
            with psycopg.connect(database.url) as connection:
                ((found, evidence),) = connection.execute(
                    "SELECT kind, evidence FROM service.alarms"
                ).fetchall()
            assert found == kind
            assert bytes(evidence[0]) == scene.witnesses[0].note
            assert "Nothing more is signed" in caplog.text
            answer = await scene.api.post("/v1/petitions/statement", {})
            assert answer.status_code in (400, 422)
            with pytest.raises(LogHaltedError):
                await scene.api.service.ledger.register_organisation("x", FACTS, ())
            ready = problem(await scene.api.get("/readyz"), 503, "not-ready")
            assert ready["appends"] == "log-halted"

        told(database, story, start=False)

    def test_a_claim_without_proof_halts_nothing(self, database):
        async def story(scene):
            await scene.grow()
            state = await scene.until(lambda state: any(one["error"] for one in state["witnesses"]))
            assert "shows no checkpoint to prove it" in state["witnesses"][0]["error"]
            assert state["halted"] is None
            await scene.grow()

        told(database, story, moods=["claims-more"])

    def test_a_checkpoint_of_another_key_proves_nothing(self, database):
        async def story(scene):
            from ledger.tlog.note import SignerKey

            stranger = SignerKey.generate(scene.log_key.name)
            scene.witnesses[0].remember(
                sign_checkpoint(Checkpoint(scene.log_key.name, 900, b"\1" * 32), stranger)
            )
            async with scene.collector.running():
                state = await scene.until(lambda state: any(one["error"] for one in state["witnesses"]))
            assert state["halted"] is None

        told(database, story, start=False)

    def test_a_witness_is_asked_what_it_remembers_before_the_service_starts(self, database):
        async def story(scene):
            with LogReader(database.url) as reader:
                assert list(await asyncio.to_thread(self.asked, scene, reader)) == []
                scene.witnesses[0].remember(self.forged(scene, reader.size() + 1))
                (found,) = await asyncio.to_thread(self.asked, scene, reader)
                assert "rolled back" in found.said

        told(database, story, start=False)

    @staticmethod
    def asked(scene, reader):
        return list(ask_memories(scene.policy, scene.api.world.keys.log_keys, reader))

    def test_the_operator_may_halt_the_log_and_let_it_go_on(self, database):
        async def story(scene):
            with psycopg.connect(database.url, autocommit=True) as connection:
                connection.execute("UPDATE ledger.head SET halted = 'a look at the machine'")
                with pytest.raises(LogHaltedError, match="a look at the machine"):
                    await scene.api.service.ledger.register_organisation("x", FACTS, ())
                with pytest.raises(psycopg.errors.RestrictViolation):
                    connection.execute("UPDATE ledger.head SET size = size + 1")
                connection.execute("UPDATE ledger.head SET halted = NULL")
            async with running(scene.api.world, policy=scene.policy) as api:
                await api.submitted()

        told(database, story, start=False)


def test_cosigned_checkpoints_are_thinned_but_never_gone(database):
    async def story(scene):
        sizes = []
        for _ in range(6):
            await scene.grow()
            sizes.append(await scene.cosigned())
            scene.api.world.clock.ahead += 100
        with psycopg.connect(database.url) as connection:
            kept = [row[0] for row in connection.execute("SELECT size FROM service.cosigned ORDER BY 1")]
        assert set(sizes) <= set(kept)
        scene.api.world.clock.ahead += 7200
        await scene.grow()
        last = await scene.cosigned()
        with psycopg.connect(database.url) as connection:
            kept = [row[0] for row in connection.execute("SELECT size FROM service.cosigned ORDER BY 1")]
        assert last in kept
        assert 2 <= len(kept) < 7

    told(database, story)


def test_the_state_is_read_without_a_policy_too(database):
    async def story():
        async with running(await begin(database)) as api:
            assert (await api.ok("/v1/log"))["witnessing"] is None
            async with api.service.snapshot() as connection:
                assert (await cosigned.read_state(connection)).witnesses == []
            assert (await api.get("/log/checkpoint")).status_code == 200

    asyncio.run(story())
