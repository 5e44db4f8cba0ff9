"""``aiqyn webhook``: what the operator does about the webhooks of organisations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
import typer
from psycopg import AsyncConnection

from api.webhooks import registry
from api.webhooks.network import Target, checked_addresses
from api.webhooks.shapes import WebhookDocument, WebhookSecret
from cli.registering import require_registered, slug_of
from ledger.config import Settings, load
from ledger.store.database import connect_async, open_database
from ledger.store.vault import Vault

T = TypeVar("T")

webhook = typer.Typer(no_args_is_help=True, help="List, add, remove and wake webhooks.")

Id = Annotated[UUID, typer.Argument(help="The first column of `aiqyn webhook list`.")]


@webhook.command("list")
def list_webhooks(
    organisation: Annotated[str, typer.Argument(help="Its slug; without it, those of all.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For machines: a list of objects.")] = False,
) -> None:
    """List webhooks and how they stand."""
    stream = f"organisation/{slug_of(organisation)}" if organisation else None
    found = _run(lambda connection, _: registry.list_all(connection, stream))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for one in found:
        typer.echo(_line(one))


@webhook.command()
def add(
    organisation: Annotated[str, typer.Argument(help="Its slug, such as village.")],
    url: Annotated[str, typer.Argument(help="Where its messages go: https://…")],
    types: Annotated[
        list[str],
        typer.Option("--type", help="A type of event, or a prefix such as petition.*; may be repeated."),
    ] = [],  # noqa: B006 - how Typer says that an option may be repeated
) -> None:
    """Register a webhook for an organisation, and print its secret, this once."""
    stream = f"organisation/{slug_of(organisation)}"

    async def work(connection: AsyncConnection[Any], settings: Settings) -> WebhookSecret:
        private = settings.webhooks_allow_private
        target = Target.parse(url, allow_private=private)
        await checked_addresses(target.host, target.port, allow_private=private)
        vault = Vault(settings.read_vault_key())
        return await registry.create(connection, vault, stream, target, types, _now())

    made = _run(work, require=stream)
    typer.echo(_line(made.webhook))
    typer.echo(made.secret)


@webhook.command()
def remove(webhook_id: Id) -> None:
    """Remove a webhook for good."""
    _run(lambda connection, _: registry.remove(connection, None, webhook_id))
    typer.echo(f"{webhook_id} is removed.")


@webhook.command()
def retry(
    webhook_id: Id,
    position: Annotated[int | None, typer.Option(help="Send this message again.", min=0)] = None,
    redeliver_from: Annotated[
        int | None, typer.Option("--from", help="Send everything from this position on again.", min=0)
    ] = None,
) -> None:
    """Wake a webhook: everything that waits is tried now, also where it was paused or disabled."""
    if position is not None and redeliver_from is not None:
        raise typer.BadParameter("give --position or --from, not both.")

    async def work(connection: AsyncConnection[Any], _: Settings) -> WebhookDocument:
        if position is not None:
            await registry.retry(connection, None, webhook_id, position, _now())
        elif redeliver_from is not None:
            await registry.redeliver(connection, None, webhook_id, redeliver_from, _now())
        else:
            await registry.change(connection, None, webhook_id, "active", _now())
        return await registry.get(connection, None, webhook_id)

    typer.echo(_line(_run(work)))


def _line(one: WebhookDocument) -> str:
    counts = f"{one.waiting} waiting, {one.delivered} delivered, {one.failed} failed"
    state = f"{one.state} ({one.reason})" if one.reason else one.state
    return f"{one.id}  {one.organisation:30}  {state}  at {one.position}  {counts}  {one.url}"


def _run(work: Callable[[AsyncConnection[Any], Settings], Awaitable[T]], *, require: str | None = None) -> T:
    """What the work gives; ``require`` is an organisation that must be registered."""
    settings = load().settings

    async def run(url: str) -> T:
        async with await connect_async(url, application_name="aiqyn webhook", autocommit=True) as connection:
            return await work(connection, settings)

    with closing(open_database(settings)) as urls:
        if require is not None:
            require_registered(urls.url, require)
        return asyncio.run(run(urls.url))


def _now() -> datetime:
    return datetime.now(UTC)
