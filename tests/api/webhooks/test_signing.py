"""Receivers verify what we sign, by the convention's own package and as our page says."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import re
from datetime import timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from api.webhooks import registry, signing
from ledger.store.vault import VaultError
from tests.api.webhooks.receivers import receiving

PAGE = Path(__file__).resolve().parents[3] / "docs" / "webhooks.md"


def from_the_page(folder, name):
    """A program of the page."""
    (source,) = re.findall(rf"```python\n# {name}\.py\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.verified


async def one_message(outbox, receiver):
    outbox.happen("a")
    await outbox.send()
    return receiver.got[-1]


@pytest.mark.parametrize("name", ["receiver", "with_package"])
def test_the_pages_programs_take_our_messages_and_nothing_else(outbox, tmp_path, name):
    verified = from_the_page(tmp_path, name)

    async def story():
        async with receiving() as receiver:
            _, secret = await outbox.webhook(receiver.url)
            got = await one_message(outbox, receiver)
            assert verified(secret, got.headers, got.body)
            assert not verified(secret, got.headers, got.body + b" ")
            assert not verified(signing.secret_text(b"another"), got.headers, got.body)
            for header, value in (
                ("webhook-id", "0b6e5f0e-7a4b-4f0e-9d5c-3f6a1c2b7d11_1"),
                ("webhook-timestamp", str(int(got.headers["webhook-timestamp"]) + 1)),
                ("webhook-timestamp", str(int(got.headers["webhook-timestamp"]) - 600)),
                ("webhook-signature", "v1,AAAA"),
            ):
                assert not verified(secret, got.headers | {header: value}, got.body)

    asyncio.run(story())


def test_the_old_secret_is_good_for_a_day_after_its_rotation(outbox):
    async def story():
        async with receiving() as receiver:
            webhook, old = await outbox.webhook(receiver.url)
            got = await one_message(outbox, receiver)
            assert got.headers["webhook-signature"].count("v1,") == 1

            async with outbox.connected() as connection:
                made = await registry.rotate(connection, outbox.vault, None, webhook, outbox.now())
            assert made.secret != old
            got = await one_message(outbox, receiver)
            assert got.headers["webhook-signature"].count(" v1,") == 1
            for secret in (old, made.secret):
                assert Webhook(secret).verify(got.body, got.headers)["type"] == got.message["type"]

            outbox.ledger.execute(
                "UPDATE service.webhook_secrets SET expires_at = expires_at - %s",
                timedelta(hours=24),
            )
            got = await one_message(outbox, receiver)
            assert Webhook(made.secret).verify(got.body, got.headers)
            with pytest.raises(WebhookVerificationError):
                Webhook(old).verify(got.body, got.headers)

    asyncio.run(story())


def test_rotating_again_and_again_is_bounded(outbox):
    async def story():
        webhook, first = await outbox.webhook("https://93.184.215.14/")
        async with outbox.connected() as connection:

            async def rotate():
                return await registry.rotate(connection, outbox.vault, None, webhook, outbox.now())

            made = [(await rotate()).secret for _ in range(registry.MAX_SECRETS - 1)]
            with pytest.raises(registry.WebhookLimitError):
                await rotate()
            valid = await registry.secrets(connection, outbox.vault, webhook, outbox.now())
            assert [signing.secret_text(one) for one in valid] == [*reversed(made), first]
            outbox.wait(hours=24)
            assert (await rotate()).secret

    asyncio.run(story())


def test_secrets_have_the_conventions_form_and_stand_nowhere_in_plain(outbox):
    async def story():
        webhook, secret = await outbox.webhook("https://93.184.215.14/")
        assert secret.startswith("whsec_")
        raw = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        assert len(raw) == 32
        ((wrapped,),) = outbox.ledger.execute("SELECT wrapped FROM service.webhook_secrets")
        assert raw not in wrapped
        # Bound to its webhook: moved to another one, it opens nothing.
        assert registry.unwrap_secret(outbox.vault, webhook, wrapped) == raw
        other, _ = await outbox.webhook("https://93.184.215.14/")
        with pytest.raises(VaultError):
            registry.unwrap_secret(outbox.vault, other, wrapped)

    asyncio.run(story())


def test_the_id_of_a_message_holds_no_full_stop_and_each_try_has_its_own_time(outbox):
    async def story():
        async with receiving(lambda got: "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") as receiver:
            webhook, secret = await outbox.webhook(receiver.url)
            position = outbox.happen("a")
            await outbox.send()
            outbox.wait(seconds=5)
            await outbox.send()
            first, second = receiver.got
            assert first.id == second.id == f"{webhook}_{position}"
            assert "." not in first.id
            times = [int(got.headers["webhook-timestamp"]) for got in receiver.got]
            assert times[1] - times[0] in (5, 6)
            assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
            assert Webhook(secret).verify(second.body, second.headers)

    asyncio.run(story())
