"""``aiqyn token``: the bearer tokens with which organisations post plain JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated

import msgspec
import typer
from psycopg import Connection

from api import tokens
from cli.registering import require_registered, slug_of
from ledger.application import NotFoundError
from ledger.config import load
from ledger.store.database import connect, open_database

token = typer.Typer(no_args_is_help=True, help="Make, list and revoke the tokens of organisations.")


@token.command()
def create(
    organisation: Annotated[str, typer.Argument(help="Its slug, such as culture.")],
    label: Annotated[str, typer.Option(help="What it is for, so that it can be told from others.")],
) -> None:
    """Make a token and print it, this once; the database keeps a hash alone."""
    stream = f"organisation/{slug_of(organisation)}"
    if not 1 <= len(label) <= 100:
        raise typer.BadParameter("a label has 1 to 100 characters.", param_hint="--label")
    with _database() as (url, connection):
        require_registered(url, stream)
        typer.echo(tokens.create(connection, stream, label))


@token.command("list")
def list_tokens(
    as_json: Annotated[bool, typer.Option("--json", help="For machines: a list of objects.")] = False,
) -> None:
    """List all tokens, revoked ones too; the tokens themselves are not known."""
    with _database() as (_, connection):
        found = tokens.list_all(connection)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for one in found:
        state = f"revoked {one.revoked_at:%Y-%m-%d}" if one.revoked_at else "valid"
        typer.echo(f"{one.id}  {one.organisation:30}  {one.created_at:%Y-%m-%d}  {state:18}  {one.label}")


@token.command()
def revoke(token_id: Annotated[str, typer.Argument(help="The first column of `aiqyn token list`.")]) -> None:
    """Revoke a token for ever, at once and everywhere."""
    with _database() as (_, connection):
        if not tokens.revoke(connection, token_id):
            raise NotFoundError(f"There is no valid token {token_id}: see `aiqyn token list`.")
    typer.echo(f"{token_id} is revoked.")


@contextmanager
def _database() -> Iterator[tuple[str, Connection[tuple[object, ...]]]]:
    with (
        closing(open_database(load().settings)) as urls,
        connect(urls.url, application_name="aiqyn token", autocommit=True) as connection,
    ):
        yield urls.url, connection
