"""What the subcommands about organisations share: a ledger of their own, and checks of what is typed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, TypeVar, get_args

import msgspec
import typer

from api.service import Parts
from ledger import events
from ledger.application import InvalidCommandError, Ledger, NotFoundError, Recorded
from ledger.config import load
from ledger.keys import Directory
from ledger.statement import open_event
from ledger.store.database import open_database
from ledger.store.reader import LogReader

F = TypeVar("F", bound=events.Fact)
ROLES = tuple(role for role in get_args(events.Role) if role not in {"operator", "gateway", "clock"})


def record(work: Callable[[Ledger], Awaitable[list[Recorded]]]) -> None:
    """With a ledger of our own: a running service takes turns with it."""
    settings = load().settings

    async def run(parts: Parts) -> list[Recorded]:
        ledger = parts.ledger()
        await ledger.start()
        try:
            return await work(ledger)
        finally:
            await ledger.stop()

    with closing(open_database(settings)) as urls:
        for recorded in asyncio.run(run(Parts.load(settings, urls.url))):
            typer.echo(f"{recorded.position}  {recorded.event.stream}  {recorded.event.facts.type}")


def slug_of(text: str) -> str:
    """A slug, with or without the room before it. Raises :class:`InvalidCommandError`."""
    slug = text.removeprefix("organisation/")
    if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", slug) is None:
        raise InvalidCommandError(f"{slug!r} is no slug: it has 1 to 100 Latin letters, digits, - or _.")
    return slug


def require_registered(url: str, organisation: str) -> None:
    """Raises ``NotFoundError`` where the ledger knows no such organisation."""
    directory = Directory()
    with LogReader(url) as reader:
        for _, entry in reader.organisations(-1):
            directory.apply(open_event(entry))
    if directory.organisation(organisation) is None:
        raise NotFoundError(f"There is no {organisation}: run `aiqyn organisation add` first.")


def roles_of(names: list[str]) -> tuple[events.Role, ...]:
    """Roles by their names, each once. Raises :class:`InvalidCommandError`."""
    for name in names:
        if name not in ROLES:
            raise InvalidCommandError(
                f"{name!r} is no role of an organisation: choose from {', '.join(ROLES)}."
            )
    return tuple(dict.fromkeys(names))  # type: ignore[arg-type]  # checked above


def valid(kind: type[F], /, **fields: Any) -> F:  # noqa: ANN401 - values as typed at the command line
    """Facts of these fields. Raises :class:`InvalidCommandError`."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise InvalidCommandError(f"This cannot be recorded: {error}.") from error
