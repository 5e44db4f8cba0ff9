"""What an organisation's system can do about its webhooks over HTTP, and what another one cannot."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager

import msgspec
import psycopg
import pytest
from standardwebhooks import Webhook

from api.webhooks import network, registry, shapes
from api.webhooks.dispatcher import Dispatcher
from ledger.store.vault import Vault
from tests.api.services import CULTURE, VILLAGE, problem, service
from tests.api.webhooks.receivers import OK, receiving, status


class Caller:
    """A system of an organisation."""

    def __init__(self, api, organisation=VILLAGE):
        self.api = api
        self.organisation = organisation
        self.bearer = {"authorization": f"Bearer {api.world.tokens[organisation]}"}

    async def ask(self, method, path="", document=None, **headers):
        return await self.api.client.request(
            method, f"/v1/webhooks{path}", json=document, headers=self.bearer | headers
        )

    async def ok(self, method, path="", document=None, code=200, **headers):
        answer = await self.ask(method, path, document, **headers)
        assert answer.status_code == code, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    async def new(self, url, *types):
        return await self.ok("POST", document={"url": url, "types": list(types)}, code=201)

    async def happen(self):
        """An event of a petition that concerns it; its position."""
        petition = await self.api.submitted()
        with psycopg.connect(self.api.world.database.admin_url) as connection:
            ((position,),) = connection.execute(
                "SELECT position FROM ledger.entries WHERE stream = %s", [f"petition/{petition}"]
            ).fetchall()
            connection.execute(
                "INSERT INTO projections.concerns (body, position) VALUES (%s, %s)",
                [self.organisation, position],
            )
        return position

    async def send(self):
        world = self.api.world
        dispatcher = Dispatcher(
            world.database.url, Vault(world.keys.vault), allow_private=True, clock=world.clock
        )
        async with dispatcher.open():
            return await dispatcher.catch_up()


@asynccontextmanager
async def asked(database, *, private=True):
    async with service(database, settings={"webhooks_allow_private": private}) as api:
        yield Caller(api)


def test_a_webhook_from_its_registration_to_its_removal(database):
    async def story():
        async with asked(database) as village, receiving() as receiver:
            answer = await village.ask("POST", document={"url": receiver.url})
            assert answer.status_code == 201, answer.text
            made = answer.json()
            path = f"/{made['webhook']['id']}"
            assert answer.headers["location"] == f"/v1/webhooks{path}"
            position = await village.happen()
            assert await village.send() == 1
            (got,) = receiver.got
            assert Webhook(made["secret"]).verify(got.body, got.headers)["data"]["position"] == position

            read = await village.ok("GET", path)
            assert (read["state"], read["position"], read["delivered"]) == ("active", position, 1)
            assert read["last_success_at"] is not None
            assert (await village.ok("GET"))["items"] == [read]
            assert "secret" not in str(read)
            (delivery,) = (await village.ok("GET", f"{path}/deliveries"))["items"]
            assert (delivery["message"], delivery["state"], delivery["status"]) == (got.id, "delivered", 204)

            removed = await village.ok("DELETE", path)
            assert removed["state"] == "deleted"
            problem(await village.ask("GET", path), 404, "not-found")
            problem(await village.ask("DELETE", path), 404, "not-found")
            assert (await village.ok("GET"))["items"] == []

    asyncio.run(story())


def test_a_webhook_of_another_organisation_does_not_exist(database):
    async def story():
        async with asked(database) as village, receiving() as receiver:
            path = f"/{(await village.new(receiver.url))['webhook']['id']}"
            position = await village.happen()
            await village.send()
            culture = Caller(village.api, CULTURE)
            assert (await culture.ok("GET"))["items"] == []
            calls = [
                ("GET", path, None),
                ("PATCH", path, {"state": "paused"}),
                ("DELETE", path, None),
                ("POST", f"{path}/secret", None),
                ("POST", f"{path}/test", None),
                ("GET", f"{path}/deliveries", None),
                ("POST", f"{path}/deliveries/{position}/retry", None),
                ("POST", f"{path}/redelivery", {"position": 0}),
            ]
            for method, where, document in calls:
                found = problem(await culture.ask(method, where, document), 404, "not-found")
                missing = await culture.ask(method, where.replace(path, f"/{uuid.uuid4()}"), document)
                assert missing.json() == found
                anonymous = await village.api.client.request(method, f"/v1/webhooks{where}", json=document)
                problem(anonymous, 401, "token-missing")
            assert (await village.ok("GET", path))["state"] == "active"
            assert len(receiver.got) == 1

    asyncio.run(story())


def test_a_target_is_checked_when_it_is_registered(database):
    async def story():
        async with asked(database, private=False) as village, receiving() as receiver:
            for url in (
                receiver.url,
                receiver.url.replace("http:", "https:"),
                "https://127.0.0.1/",
                "https://localhost/",
                "https://169.254.169.254/latest/meta-data/",
                "https://[::1]/",
                "https://user:word@receiver.example/",
                "https://receiver.invalid/",
            ):
                answer = await village.ask("POST", document={"url": url})
                problem(answer, 422, "webhook-target-refused")
            assert (receiver.connections, (await village.ok("GET"))["items"]) == (0, [])

    asyncio.run(story())


def test_a_request_that_is_not_as_described_registers_nothing(database):
    async def story():
        async with asked(database) as village:
            url = "http://127.0.0.1:9/"
            for document, says in (
                ({"url": url, "types": ["petition.sgined"]}, "petition.sgined"),
                ({"url": url, "types": ["petitions.*"]}, "petitions"),
                ({"url": url, "types": ["*"]}, "types"),
                ({"url": url, "types": ["petition.*.*"]}, "types"),
                ({"url": url, "secret": "whsec_"}, "secret"),
                ({"types": []}, "url"),
            ):
                found = problem(await village.ask("POST", document=document), 422, "request-invalid")
                assert says in found["detail"]
            made = await village.new(url, "petition.*", "petition.signed", "petition.*")
            assert made["webhook"]["types"] == ["petition.*", "petition.signed"]
            path = f"/{made['webhook']['id']}"
            problem(await village.ask("PATCH", path, {"state": "disabled"}), 422, "request-invalid")
            problem(await village.ask("GET", "/1"), 404, "not-found")
            problem(await village.ask("GET", f"{path}/deliveries?limit=1000"), 422, "request-invalid")
            problem(await village.ask("GET", f"{path}/deliveries?state=lost"), 422, "request-invalid")
            problem(await village.ask("POST", f"{path}/deliveries/7/retry"), 404, "not-found")
            problem(await village.ask("POST", f"{path}/redelivery", {"position": 7}), 409, "webhook-state")

    asyncio.run(story())


def test_a_repeated_command_is_done_once_and_gives_the_first_answer(database):
    async def story():
        async with asked(database) as village, receiving() as receiver:
            key = {"idempotency-key": str(uuid.uuid4())}
            document = {"url": receiver.url}
            answers = await asyncio.gather(*(village.ask("POST", document=document, **key) for _ in range(4)))
            assert {answer.status_code for answer in answers} == {201}
            assert len({answer.text for answer in answers}) == 1
            replayed = [answer.headers.get("idempotency-replayed") for answer in answers]
            assert sorted(replayed, key=str) == [None, "true", "true", "true"]
            assert len((await village.ok("GET"))["items"]) == 1
            other = await village.ask("POST", document={"url": receiver.url + "2"}, **key)
            problem(other, 422, "idempotency-key-reused")
            # Another organisation's key of the same name is another key.
            culture = Caller(village.api, CULTURE)
            assert (await culture.ask("POST", document=document, **key)).json() != answers[0].json()

            secret = answers[0].json()["secret"]
            with psycopg.connect(database.admin_url) as connection:
                kept = connection.execute("SELECT wrapped FROM service.answers").fetchall()
            assert kept
            assert all(secret.encode() not in wrapped for (wrapped,) in kept)

            path = f"/{answers[0].json()['webhook']['id']}/secret"
            key = {"idempotency-key": "rotate-1"}
            first = await village.ok("POST", path, code=201, **key)
            assert await village.ok("POST", path, code=201, **key) == first
            assert first["secret"] != secret

    asyncio.run(story())


def test_a_test_message_says_what_came_back(database):
    async def story():
        async with asked(database) as village, receiving() as receiver:
            made = await village.new(receiver.url)
            path = f"/{made['webhook']['id']}"
            await village.ok("PATCH", path, {"state": "paused"})
            trial = await village.ok("POST", f"{path}/test")
            assert (trial["delivered"], trial["status"], trial["error"]) == (True, 204, None)
            (got,) = receiver.got
            assert got.id == trial["message"]
            told = Webhook(made["secret"]).verify(got.body, got.headers)
            assert (told["type"], told["data"]) == ("webhook.test", {"webhook": made["webhook"]["id"]})
            receiver.plan = lambda got: status(410)
            trial = await village.ok("POST", f"{path}/test")
            assert (trial["delivered"], trial["status"]) == (False, 410)
            receiver.plan = lambda got: status(200, "X: secret words of the receiver")
            assert "secret words" not in str(await village.ok("POST", f"{path}/test"))
            assert (await village.ok("GET", path))["state"] == "paused"

            async def slowly(got):
                await asyncio.sleep(0.5)
                return OK

            receiver.plan = slowly
            answers = await asyncio.gather(*(village.ask("POST", f"{path}/test") for _ in range(3)))
            assert sorted(answer.status_code for answer in answers) == [200, 409, 409]

    asyncio.run(story())


def test_pausing_retrying_and_sending_again(database):
    async def story():
        async with asked(database) as village, receiving(lambda got: status(503)) as receiver:
            path = f"/{(await village.new(receiver.url))['webhook']['id']}"
            first = await village.happen()
            await village.send()
            read = await village.ok("GET", path)
            assert (read["waiting"], read["failures"], read["last_status"]) == (1, 1, 503)
            assert read["next_try_at"] is not None
            (waiting,) = (await village.ok("GET", f"{path}/deliveries?state=waiting"))["items"]
            assert (waiting["position"], waiting["attempts"], waiting["status"]) == (first, 1, 503)

            receiver.plan = lambda got: OK
            assert await village.send() == 0
            again = await village.ok("POST", f"{path}/deliveries/{first}/retry")
            assert (again["state"], again["position"]) == ("waiting", first)
            assert await village.send() == 1

            paused = await village.ok("PATCH", path, {"state": "paused"})
            assert (paused["state"], paused["next_try_at"]) == ("paused", None)
            second = await village.happen()
            assert await village.send() == 0
            assert (await village.ok("PATCH", path, {"state": "active"}))["state"] == "active"
            assert await village.send() == 1

            set_back = await village.ok("POST", f"{path}/redelivery", {"position": first})
            assert set_back["position"] == first - 1
            assert await village.send() == 2
            # Two streams: what is sent again of one does not wait for the other.
            assert receiver.positions[:3] == [first, first, second]
            assert sorted(receiver.positions[3:]) == [first, second]
            page = await village.ok("GET", f"{path}/deliveries?limit=1")
            assert ([one["position"] for one in page["items"]], page["next"]) == ([second], second)
            page = await village.ok("GET", f"{path}/deliveries?limit=1&below={page['next']}")
            assert [one["position"] for one in page["items"]] == [first]

    asyncio.run(story())


def test_an_organisation_has_a_bounded_number_of_webhooks(database, monkeypatch):
    monkeypatch.setattr(registry, "MAX_WEBHOOKS", 2)

    async def story():
        async with asked(database) as village:
            url = "http://127.0.0.1:9/"
            answers = await asyncio.gather(*(village.ask("POST", document={"url": url}) for _ in range(5)))
            assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409]
            problem(await village.ask("POST", document={"url": url}), 409, "webhook-limit")
            (one, _) = (await village.ok("GET"))["items"]
            await village.ok("DELETE", f"/{one['id']}")
            await village.new(url)
            await Caller(village.api, CULTURE).new(url)

    asyncio.run(story())


def test_the_metrics_count_messages_and_name_nobody(database):
    async def story():
        async with asked(database) as village, receiving() as receiver:
            await village.new(receiver.url)
            await village.happen()
            await village.send()
            receiver.plan = lambda got: status(500)
            await village.happen()
            await village.send()
            text = (await village.api.get("/metrics")).text
            assert 'aiqyn_webhook_messages{outcome="delivered"} 1.0' in text
            assert 'aiqyn_webhook_messages{outcome="waiting"} 1.0' in text
            assert 'aiqyn_webhook_messages{outcome="failed"} 0.0' in text
            assert str(receiver.port) not in text

    asyncio.run(story())


def test_the_service_itself_sends_beside_its_clock(database):
    async def story():
        settings = {"webhooks_allow_private": True}
        async with service(database, settings=settings, background=True) as api, receiving() as receiver:
            village = Caller(api)
            await village.new(receiver.url)
            position = await village.happen()
            async with asyncio.timeout(15):
                while position not in receiver.positions:
                    await asyncio.sleep(0.02)

    asyncio.run(story())


def test_neither_urls_nor_secrets_are_logged(database, caplog):
    async def story():
        caplog.set_level("DEBUG", "api")
        async with asked(database) as village, receiving(lambda got: status(500)) as receiver:
            made = await village.new(f"{receiver.url}/very-private-path")
            await village.happen()
            await village.send()
            await village.ok("POST", f"/{made['webhook']['id']}/test")
            return made["secret"]

    secret = asyncio.run(story())
    lines = [
        record.getMessage() + (record.exc_text or "")
        for record in caplog.records
        if record.name.startswith("api")
    ]
    assert lines
    for line in lines:
        assert "very-private-path" not in line
        assert secret not in line


SAMPLES = [
    (shapes.WebhookRequest, shapes.WEBHOOK_REQUEST),
    (shapes.WebhookDocument, shapes.WEBHOOK),
    (shapes.WebhookDocument, shapes.DELETED_WEBHOOK),
    (shapes.WebhookList, shapes.WEBHOOKS),
    (shapes.WebhookSecret, shapes.WEBHOOK_SECRET),
    (shapes.WebhookChange, shapes.WEBHOOK_CHANGE),
    (shapes.RedeliveryRequest, shapes.REDELIVERY_REQUEST),
    (shapes.WebhookTrial, shapes.WEBHOOK_TRIAL),
    (shapes.DeliveryPage, shapes.DELIVERIES),
]


@pytest.mark.parametrize(("shape", "example"), SAMPLES)
def test_the_examples_have_the_shape_that_they_are_examples_of(shape, example):
    msgspec.convert(example, shape)
    assert set(example) == set(shape.__struct_fields__)


def test_a_repeat_needs_no_name_server(database, monkeypatch):
    """The first answer is given again although the name does not resolve any more."""

    async def story():
        async with asked(database, private=False) as village:

            async def public(host, port):
                return ["93.184.215.14"]

            key = {"idempotency-key": "once"}
            document = {"url": "https://receiver.invalid/"}
            with monkeypatch.context() as patch:
                patch.setattr(
                    network.checked_addresses, "__kwdefaults__", {"allow_private": False, "resolve": public}
                )
                first = await village.ok("POST", document=document, code=201, **key)
            problem(await village.ask("POST", document=document), 422, "webhook-target-refused")
            assert await village.ok("POST", document=document, code=201, **key) == first

    asyncio.run(story())
