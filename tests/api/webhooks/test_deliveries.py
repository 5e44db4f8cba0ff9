"""Every message arrives, in the order of its stream, whatever the receiver does and whoever dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import timedelta

import psycopg
import pytest

from api.webhooks import deliveries, network, registry
from api.webhooks.deliveries import SCHEDULE
from api.webhooks.network import Client
from ledger.store.vault import Vault
from tests.api.webhooks.receivers import CULTURE, OK, VILLAGE, in_turn, receiving, status


def test_a_body_is_told_what_concerns_it_and_nothing_else(outbox):
    async def story():
        outbox.happen("before")
        async with receiving() as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            mine = outbox.happen("a")
            outbox.happen("b", concerns=[CULTURE])
            both = outbox.happen("c", concerns=[CULTURE, VILLAGE])
            outbox.happen("d", concerns=[])
            assert await outbox.send() == 2
            assert sorted(receiver.positions) == [mine, both]
            standing = await outbox.read(webhook)
            assert (standing.position, standing.waiting, standing.delivered) == (both, 0, 2)
            assert await outbox.send() == 0

    asyncio.run(story())


def test_a_message_says_what_is_public_and_carries_the_sealed_event(outbox):
    async def story():
        from tests.projections.written import KEY, OPERATOR, petition, submitted

        async with receiving() as receiver:
            await outbox.webhook(receiver.url)
            stream = f"petition/{petition(1)}"
            position = outbox.ledger.add(stream, submitted(), title="Кітапхана", iin="900101300007")
            outbox.concern(position, VILLAGE)
            await outbox.send()
            (got,) = receiver.got
            event = outbox.ledger.events[position]
            data = got.message["data"]
            assert got.message["type"] == "petition.submitted"
            assert got.message["timestamp"] == data["time"] == event.at.isoformat().replace("+00:00", "Z")
            assert data == {
                "position": position, "stream": stream, "n": 1, "iss": OPERATOR, "kid": KEY.kid,
                "time": data["time"], "entry": event.entry.decode(),
                "facts": {
                    "body": "organisation/ministry", "lang": "kk", "text_hash": "0" * 64,
                    "author": event.facts.author, "algorithm": "RSA-SHA256",
                    "moderate_until": event.facts.moderate_until.isoformat().replace("+00:00", "Z"),
                },
            }  # fmt: skip
            # Neither what is restricted nor what is disclosed to everybody: it could not be taken back.
            for text in ("Кітапхана", "900101300007", "some author"):
                assert text not in got.body.decode()
                assert json.dumps(text)[1:-1] not in got.body.decode()

    asyncio.run(story())


def test_a_webhook_is_told_the_types_it_asked_for(outbox):
    async def story():
        async with receiving() as all_, receiving() as some, receiving() as none:
            await outbox.webhook(all_.url, "petition.admitted", "organisation.*")
            await outbox.webhook(some.url, "organisation.population_recorded")
            quiet, _ = await outbox.webhook(none.url, "petition.*", "organisation.registered")
            last = outbox.happen("a")
            await outbox.send()
            assert (all_.positions, some.positions, none.positions) == ([last], [last], [])
            assert (await outbox.read(quiet)).position == last

    asyncio.run(story())


# --- order ------------------------------------------------------------------------------------------


def test_within_a_stream_nothing_overtakes_and_other_streams_go_on(outbox):
    async def story():
        plan = {"organisation/a": in_turn(status(500), status(500))}
        async with receiving(lambda got: plan.get(got.stream, lambda _: OK)(got)) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            positions = [outbox.happen(stream) for stream in "ababab"]
            a, b = positions[0::2], positions[1::2]
            await outbox.send()
            assert (receiver.of("organisation/a"), receiver.of("organisation/b")) == (a[:1], b)
            held = await outbox.deliveries(webhook, state="waiting")
            assert [held[position].next_try_at is None for position in a] == [False, True, True]
            outbox.wait(seconds=5)
            await outbox.send()
            outbox.wait(minutes=5)
            await outbox.send()
            assert receiver.of("organisation/a") == [a[0], a[0], a[0], a[1], a[2]]
            assert (await outbox.read(webhook)).delivered == 6

    asyncio.run(story())


def test_the_database_refuses_a_second_message_of_a_stream_on_its_way(outbox):
    async def story():
        async with receiving(lambda got: status(500)) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            outbox.happen("a")
            second = outbox.happen("a")
            await outbox.send()
            with pytest.raises(psycopg.errors.UniqueViolation):
                outbox.ledger.execute(
                    "UPDATE service.deliveries SET next_at = now() WHERE webhook = %s AND position = %s",
                    webhook,
                    second,
                )

    asyncio.run(story())


def test_many_streams_under_failures_arrive_whole_and_in_order(outbox):
    async def story():
        refused = set()

        def plan(got):
            # Every third message is refused once.
            if got.position % 3 == 0 and got.position not in refused:
                refused.add(got.position)
                return status(503)
            return OK

        async with receiving(plan) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            streams = {f"organisation/s{n % 17}": [] for n in range(200)}
            for n in range(200):
                streams[f"organisation/s{n % 17}"].append(outbox.happen(f"s{n % 17}"))
            for _ in range(200):
                await outbox.send()
                if not (await outbox.read(webhook)).waiting:
                    break
                outbox.wait(seconds=61)
            for stream, positions in streams.items():
                seen = receiver.of(stream)
                # Each position as often as it was tried, and never one before an earlier one was through.
                assert seen == sorted(seen)
                assert sorted(set(seen)) == positions
            assert receiver.most <= 4
            ids = {got.position: got.id for got in receiver.got}
            assert all(ids[got.position] == got.id for got in receiver.got)

    asyncio.run(story())


# --- retries ----------------------------------------------------------------------------------------


def test_a_message_is_retried_by_the_schedule_and_then_given_up(outbox):
    async def story():
        async with receiving(lambda got: status(500) if got.stream.endswith("/a") else OK) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            first, second = outbox.happen("a"), outbox.happen("a")
            assert await outbox.send() == 1
            for tries, pause in enumerate(SCHEDULE, 1):
                delivery = (await outbox.deliveries(webhook))[first]
                assert (delivery.attempts, delivery.status, delivery.state) == (tries, 500, "waiting")
                assert delivery.next_try_at - delivery.tried_at == pause
                # Something else arrives, so that the webhook does not look dead.
                outbox.happen("b")
                assert await outbox.send() == 1
                outbox.clock.pass_until(delivery.next_try_at - timedelta(seconds=3))
                assert await outbox.send() == 0
                outbox.clock.pass_until(delivery.next_try_at)
                assert receiver.of("organisation/a") == [first] * tries
                assert await outbox.send() in (1, 2)
            gone = (await outbox.deliveries(webhook))[first]
            assert (gone.state, gone.attempts, gone.next_try_at) == ("failed", 10, None)
            assert receiver.of("organisation/a") == [first] * 10 + [second]
            standing = await outbox.read(webhook)
            assert (standing.state, standing.failed, standing.waiting) == ("active", 1, 1)

    asyncio.run(story())


def test_pauses_are_spread_by_up_to_a_tenth(outbox):
    async def story():
        async with receiving(lambda got: status(500)) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            first = outbox.happen("a")
            await outbox.send(jitter=lambda: 0.5)
            delivery = (await outbox.deliveries(webhook))[first]
            assert delivery.next_try_at - delivery.tried_at == SCHEDULE[0] * 1.05

    asyncio.run(story())


@pytest.mark.parametrize(
    ("code", "asked", "pause"),
    [
        (429, "120", timedelta(seconds=120)),
        (503, "1200", timedelta(seconds=1200)),
        (503, "999999", timedelta(hours=1)),
        (503, "soon", SCHEDULE[0]),
        (503, "0", SCHEDULE[0]),
        (500, "120", SCHEDULE[0]),
    ],
)
def test_retry_after_is_heeded_within_bounds(outbox, code, asked, pause):
    async def story():
        plan = in_turn(status(code, f"Retry-After: {asked}"))
        async with receiving(plan) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            first = outbox.happen("a")
            await outbox.send()
            delivery = (await outbox.deliveries(webhook))[first]
            assert delivery.next_try_at - delivery.tried_at == pause
            # It is asked for all of the webhook, not for this message.
            outbox.happen("b")
            assert await outbox.send() == (0 if pause > SCHEDULE[0] else 1)
            outbox.clock.pass_until(delivery.next_try_at)
            await outbox.send()
            assert (await outbox.read(webhook)).delivered == 2

    asyncio.run(story())


def test_a_receiver_that_is_down_is_tried_with_one_message_at_a_time(outbox):
    async def story():
        async with receiving(lambda got: status(502)) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            for n in range(50):
                outbox.happen(f"s{n}")
            tried = await outbox.send()
            assert deliveries.RESTING_AFTER <= tried <= deliveries.RESTING_AFTER + 4
            for _ in range(5):
                outbox.clock.pass_until((await outbox.read(webhook)).next_try_at)
                assert await outbox.send() == 1
            receiver.plan = lambda got: OK
            outbox.clock.pass_until((await outbox.read(webhook)).next_try_at)
            # One succeeds, and with it all that did not fail before.
            assert await outbox.send() > 30
            standing = await outbox.read(webhook)
            assert (standing.failures, standing.failing_since, standing.last_error) == (0, None, None)

    asyncio.run(story())


def test_a_receiver_that_is_gone_is_told_nothing_more_until_somebody_wakes_it(outbox):
    async def story():
        async with receiving(in_turn(status(410))) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            first = outbox.happen("a")
            await outbox.send()
            standing = await outbox.read(webhook)
            assert standing.state == "disabled"
            assert "410" in standing.reason
            second = outbox.happen("a")
            outbox.wait(days=2)
            assert await outbox.send() == 0
            woken = await outbox.tell(registry.change, webhook, "active", outbox.now())
            assert (woken.state, woken.reason) == ("active", None)
            await outbox.send()
            assert receiver.positions == [first, first, second]

    asyncio.run(story())


def test_five_days_without_one_success_disable_a_webhook(outbox):
    async def story():
        async with receiving(lambda got: status(500)) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            outbox.happen("a")
            await outbox.send()
            outbox.wait(days=4, hours=23)
            await outbox.send()
            assert (await outbox.read(webhook)).state == "active"
            outbox.wait(hours=2)
            outbox.happen("b")
            await outbox.send()
            standing = await outbox.read(webhook)
            assert standing.state == "disabled"
            assert f"{standing.failing_since:%Y-%m-%d}" in standing.reason

    asyncio.run(story())


def test_a_success_in_between_keeps_a_webhook_alive(outbox):
    async def story():
        async with receiving(lambda got: status(500) if got.stream.endswith("/a") else OK) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            outbox.happen("a")
            for _ in range(8):
                await outbox.send()
                outbox.happen("b")
                await outbox.send()
                outbox.wait(days=1)
            assert (await outbox.read(webhook)).state == "active"

    asyncio.run(story())


# --- cut off ------------------------------------------------------------------------------------------


def test_who_dies_between_sending_and_writing_down_leads_to_a_second_message_with_the_same_id(
    outbox, monkeypatch
):
    async def story():
        async with receiving() as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            first, second = outbox.happen("a"), outbox.happen("a")

            async def dies(*_):
                raise psycopg.OperationalError("the connection is lost")

            with monkeypatch.context() as patch:
                patch.setattr(deliveries, "record", dies)
                assert await outbox.send() == 1
            assert (await outbox.read(webhook)).delivered == 0
            # The lease holds: nobody sends meanwhile.
            assert await outbox.send() == 0
            outbox.wait(seconds=60)
            assert await outbox.send() == 2
            assert receiver.positions == [first, first, second]
            assert receiver.got[0].id == receiver.got[1].id != receiver.got[2].id
            assert receiver.got[0].body == receiver.got[1].body

    asyncio.run(story())


def test_a_dispatcher_that_is_cut_off_anywhere_loses_nothing(outbox, monkeypatch):
    """Killed at the n-th statement, for every n that a whole round has."""

    async def story():
        async with receiving() as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            expected, killed = [], set()
            left = 0

            execute = psycopg.AsyncCursor.execute

            async def counted(self, query, *arguments, **options):
                nonlocal left
                if left == 0:
                    killed.add(query)
                    raise psycopg.OperationalError("killed")
                left -= 1
                return await execute(self, query, *arguments, **options)

            for allowed in range(100):
                expected += [outbox.happen("a"), outbox.happen("b"), outbox.happen("a")]
                left = allowed
                with monkeypatch.context() as patch:
                    patch.setattr(psycopg.AsyncCursor, "execute", counted)
                    with contextlib.suppress(psycopg.OperationalError):
                        await outbox.send()
                whole = left > 0
                outbox.wait(seconds=61)
                await outbox.send()
                assert sorted(set(receiver.positions)) == expected
                if whole:
                    break
            assert whole
            assert len(killed) >= 14, killed
            for stream in ("organisation/a", "organisation/b"):
                assert receiver.of(stream) == sorted(receiver.of(stream))
            standing = await outbox.read(webhook)
            assert (standing.waiting, standing.delivered) == (0, len(expected))

    asyncio.run(story())


def test_an_answer_that_comes_after_the_lease_was_lost_changes_nothing(outbox):
    async def story():
        answer = asyncio.Event()

        async def slowly(got):
            await answer.wait()
            return OK

        async with receiving(slowly) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            first, second = outbox.happen("a"), outbox.happen("a")
            slow = asyncio.create_task(outbox.send())
            while not receiver.got:
                await asyncio.sleep(0.01)
            outbox.wait(seconds=61)
            receiver.plan = lambda got: status(500)
            assert await outbox.send() == 1
            answer.set()
            await slow
            # The second attempt's word stands: the first one is to be sent again, the second one waits.
            found = await outbox.deliveries(webhook)
            assert (found[first].state, found[first].attempts, found[second].attempts) == ("waiting", 1, 0)
            assert (await outbox.read(webhook)).delivered == 0

    asyncio.run(story())


def test_dispatchers_share_the_work_and_double_nothing(outbox):
    async def story():
        async with receiving() as one, receiving() as two:
            for receiver in (one, two):
                await outbox.webhook(receiver.url)
            expected = [outbox.happen(f"s{n % 9}") for n in range(90)]
            await asyncio.gather(*(outbox.send() for _ in range(4)))
            for receiver in (one, two):
                assert sorted(receiver.positions) == expected
                for n in range(9):
                    seen = receiver.of(f"organisation/s{n}")
                    assert seen == sorted(seen)

    asyncio.run(story())


def test_what_cannot_be_sent_for_our_own_reason_counts_against_nobody(outbox):
    async def story():
        async with receiving() as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            first = outbox.happen("a")
            right, outbox.vault = outbox.vault, Vault(b"w" * 32)
            await outbox.send()
            delivery = (await outbox.deliveries(webhook))[first]
            assert (delivery.attempts, delivery.state) == (0, "waiting")
            assert "the service's own" in delivery.error
            assert (await outbox.read(webhook)).failures == 0
            outbox.vault = right
            outbox.wait(seconds=60)
            await outbox.send()
            assert receiver.positions == [first]

    asyncio.run(story())


# --- what a person asks for --------------------------------------------------------------------------


def test_a_paused_webhook_misses_nothing(outbox):
    async def story():
        async with receiving() as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            await outbox.tell(registry.change, webhook, "paused", outbox.now())
            expected = [outbox.happen("a"), outbox.happen("b")]
            assert await outbox.send() == 0
            await outbox.tell(registry.change, webhook, "active", outbox.now())
            await outbox.send()
            assert sorted(receiver.positions) == expected

    asyncio.run(story())


def test_everything_from_a_position_on_is_sent_again_in_order(outbox):
    async def story():
        async with receiving() as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            positions = [outbox.happen(stream) for stream in "aabaab"]
            await outbox.send()
            before = {got.position: got.id for got in receiver.got}
            receiver.got.clear()
            receiver.plan = lambda got: status(500)
            extra = outbox.happen("a")
            await outbox.send()
            receiver.got.clear()
            receiver.plan = lambda got: OK
            await outbox.tell(registry.redeliver, webhook, positions[1], outbox.now())
            await outbox.send()
            assert sorted(receiver.positions) == [*positions[1:], extra]
            for stream in ("organisation/a", "organisation/b"):
                assert receiver.of(stream) == sorted(receiver.of(stream))
            assert all(before.get(got.position, got.id) == got.id for got in receiver.got)
            with pytest.raises(registry.WebhookStateError, match=f"stands at {extra}"):
                await outbox.tell(registry.redeliver, webhook, extra + 1, outbox.now())

    asyncio.run(story())


def test_a_failed_message_can_be_sent_again_and_holds_its_stream(outbox):
    async def story():
        async with receiving(lambda got: status(500)) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            first, second = outbox.happen("a"), outbox.happen("a")
            await outbox.send()
            with pytest.raises(registry.WebhookStateError, match="goes first"):
                await outbox.tell(registry.retry, webhook, second, outbox.now())
            outbox.ledger.execute(
                "UPDATE service.deliveries SET attempts = 9, next_at = '2020-01-01' WHERE position = %s",
                first,
            )
            outbox.ledger.execute("UPDATE service.webhooks SET due_at = '2020-01-01'")
            await outbox.send()
            found = await outbox.deliveries(webhook)
            assert (found[first].state, found[second].attempts) == ("failed", 1)
            again = await outbox.tell(registry.retry, webhook, first, outbox.now())
            assert (again.position, again.state, again.attempts) == (first, "waiting", 0)
            receiver.got.clear()
            receiver.plan = lambda got: OK
            await outbox.send()
            assert receiver.positions == [first, second]

    asyncio.run(story())


def test_a_removed_webhook_is_forgotten_bit_by_bit(outbox):
    async def story():
        async with receiving() as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            outbox.happen("a")
            await outbox.send()
            outbox.happen("a")
            await outbox.tell(registry.remove, webhook)
            assert await outbox.send() == 0
            assert outbox.ledger.execute("SELECT count(*) FROM service.webhook_secrets") == [(0,)]
            async with outbox.connected() as connection:
                assert await deliveries.prune(connection, outbox.now()) == 1
                assert await deliveries.prune(connection, outbox.now()) == 0
            assert outbox.ledger.execute("SELECT count(*) FROM service.webhooks") == [(0,)]

    asyncio.run(story())


def test_finished_messages_are_kept_for_thirty_days(outbox):
    async def story():
        async with receiving(lambda got: OK if got.stream.endswith("/a") else status(500)) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            outbox.happen("a")
            waiting = outbox.happen("b")
            await outbox.send()
            async with outbox.connected() as connection:
                outbox.wait(days=29, hours=23)
                assert await deliveries.prune(connection, outbox.now()) == 0
                outbox.wait(hours=2)
                assert await deliveries.prune(connection, outbox.now()) == 1
            assert list(await outbox.deliveries(webhook)) == [waiting]

    asyncio.run(story())


# --- many ---------------------------------------------------------------------------------------------


def test_one_target_gets_four_at_once_and_a_slow_one_does_not_hold_up_the_others(outbox, monkeypatch):
    # However busy the machine is: what is slow here is meant to be.
    monkeypatch.setattr(network, "TOTAL_SECONDS", 600.0)

    async def story():
        go = asyncio.Event()

        async def slowly(got):
            await go.wait()
            return OK

        async with receiving(slowly) as slow, receiving() as quick:
            await outbox.webhook(slow.url)
            await outbox.webhook(slow.url.replace("/hook", "/other"))
            await outbox.webhook(quick.url)
            for n in range(20):
                outbox.happen(f"s{n}")
            sending = asyncio.create_task(outbox.send())
            while len(quick.got) < 20:
                await asyncio.sleep(0.01)
            assert (len(slow.got), slow.most) == (4, 4)
            go.set()
            await sending
            assert (len(slow.got), slow.most) == (40, 4)

    asyncio.run(story())


def test_a_backlog_is_taken_in_as_far_as_it_is_sent(outbox, monkeypatch):
    monkeypatch.setattr(deliveries, "PAGE", 3)
    monkeypatch.setattr(deliveries, "BACKLOG", 5)

    async def story():
        async with receiving(lambda got: status(500)) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            positions = [outbox.happen(f"s{n}") for n in range(20)]
            await outbox.send()
            standing = await outbox.read(webhook)
            assert (standing.waiting, standing.position) == (6, positions[5])
            receiver.plan = lambda got: OK
            receiver.got.clear()
            outbox.wait(hours=1)
            await outbox.send()
            assert sorted(receiver.positions) == positions

    asyncio.run(story())


def test_a_hundred_thousand_deliveries_cost_no_more_than_a_few(outbox):
    async def story():
        async with receiving() as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            outbox.happen("a")
            await outbox.send()
            outbox.ledger.execute(
                "INSERT INTO service.deliveries (webhook, position, stream, type, state, attempts,"
                " created_at, finished_at) SELECT %s, 1000 + n, 'organisation/x' || n, 'organisation.added',"
                " 'delivered', 1, now(), now() FROM generate_series(1, 100000) n",
                webhook,
            )
            outbox.ledger.execute("ANALYZE service.deliveries")
            rows = outbox.ledger.execute(
                "EXPLAIN SELECT o.position FROM service.deliveries o WHERE o.webhook = %s"
                " AND o.next_at <= now() ORDER BY o.next_at, o.position LIMIT 4",
                webhook,
            )
            plan = "\n".join(row[0] for row in rows)
            assert "Seq Scan" not in plan, plan
            outbox.happen("b")
            outbox.happen("b")
            started = asyncio.get_running_loop().time()
            assert await outbox.send() == 2
            assert asyncio.get_running_loop().time() - started < 2
            assert len(receiver.got) == 3

    asyncio.run(story())


# --- the running dispatcher -------------------------------------------------------------------------


def test_the_running_dispatcher_is_woken_by_what_happens_and_survives_the_database(outbox):
    async def story():
        async with receiving() as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            async with outbox.dispatcher(poll=60.0).running():
                await asyncio.sleep(0.3)

                async def told(position):
                    outbox.ledger.execute("SELECT pg_notify('projections', '')")
                    async with asyncio.timeout(15):
                        while position not in receiver.positions:
                            await asyncio.sleep(0.01)

                await told(outbox.happen("a"))
                while not (await outbox.read(webhook)).delivered:
                    await asyncio.sleep(0.01)
                outbox.ledger.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'aiqyn webhooks' AND datname = current_database()"
                )
                await asyncio.sleep(0.1)
                await told(outbox.happen("a"))
                # A person's change wakes it too.
                await outbox.tell(registry.change, webhook, "paused", outbox.now())
                position = outbox.happen("a")
                outbox.ledger.execute("SELECT pg_notify('projections', '')")
                await asyncio.sleep(0.3)
                assert position not in receiver.positions
                await outbox.tell(registry.change, webhook, "active", outbox.now())
                async with asyncio.timeout(5):
                    while position not in receiver.positions:
                        await asyncio.sleep(0.01)

    asyncio.run(story())


def test_the_dispatcher_retries_by_itself_when_it_is_time(outbox):
    async def story():
        async with receiving(in_turn(status(500))) as receiver:
            await outbox.webhook(receiver.url)
            async with outbox.dispatcher(poll=60.0).running():
                outbox.happen("a")
                outbox.ledger.execute("SELECT pg_notify('projections', '')")
                async with asyncio.timeout(5):
                    while not receiver.got:
                        await asyncio.sleep(0.01)
                started = asyncio.get_running_loop().time()
                async with asyncio.timeout(10):
                    while len(receiver.got) < 2:
                        await asyncio.sleep(0.01)
                assert asyncio.get_running_loop().time() - started > 4

    asyncio.run(story())


def test_a_dispatcher_that_stops_waits_for_what_is_on_its_way(outbox):
    async def story():
        async def slowly(got):
            await asyncio.sleep(0.5)
            return OK

        async with receiving(slowly) as receiver:
            webhook, _ = await outbox.webhook(receiver.url)
            outbox.happen("a")
            async with outbox.dispatcher().running():
                async with asyncio.timeout(5):
                    while not receiver.got:
                        await asyncio.sleep(0.01)
            assert (await outbox.read(webhook)).delivered == 1

    asyncio.run(story())


def test_the_setting_for_private_targets_warns(outbox, caplog):
    async def story():
        async with outbox.dispatcher().running():
            await asyncio.sleep(0.2)

    asyncio.run(story())
    assert any("webhooks_allow_private is on" in record.getMessage() for record in caplog.records)


def test_a_guarded_dispatcher_sends_nothing_into_the_network(outbox):
    async def story():
        async with receiving() as receiver:
            webhook, _ = await outbox.webhook(receiver.url.replace("http:", "https:"))
            outbox.happen("a")
            await outbox.send(client=Client())
            assert receiver.connections == 0
            standing = await outbox.read(webhook)
            assert (standing.failures, standing.last_status) == (1, None)
            assert "port 443" in standing.last_error

    asyncio.run(story())
