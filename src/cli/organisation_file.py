"""``aiqyn organisation import``: thousands of organisations from one file."""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api import tokens
from cli.registering import record, roles_of, slug_of, valid
from ledger import events
from ledger.application import InvalidCommandError, Ledger, Recorded
from ledger.config import load
from ledger.keys import ROLES_OF_KIND
from ledger.store.database import connect, open_database

NEEDED = ("slug", "kind", "level", "name_kk", "name_ru")
COLUMNS = (*NEEDED, "name_en", "region", "population", "roles")
AT_ONCE = 64
"""Registrations under way together, so that they share the groups of the sequencer."""


class _Row(NamedTuple):
    facts: events.OrganisationRegistered
    roles: tuple[events.Role, ...]


def import_organisations(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV in UTF-8 with a header.")],
    token_file: Annotated[
        Path | None,
        typer.Option("--tokens", help="New file for a token of each organisation that is registered now."),
    ] = None,
) -> None:
    """Register many organisations from a CSV file.

    Columns: slug, kind, level, name_kk, name_ru and, where there is something to say, name_en, region,
    population and roles (separated by spaces). All lines are checked before anything is recorded; an
    organisation that is registered already is passed over, so that the same file can be run again.
    """
    rows = dict(_rows(file))
    if token_file is not None and token_file.exists():
        raise InvalidCommandError(f"{token_file} exists: name a new file for the tokens.")
    fresh: list[str] = []

    async def register(ledger: Ledger) -> list[Recorded]:
        fresh.extend(slug for slug in rows if ledger.directory.organisation(f"organisation/{slug}") is None)
        at_once = asyncio.Semaphore(AT_ONCE)
        columns = (TextColumn("organisations"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=len(fresh))

            async def one(slug: str) -> None:
                async with at_once:
                    await ledger.register_organisation(slug, *rows[slug])
                progress.advance(task)

            await asyncio.gather(*(one(slug) for slug in fresh))
        return []

    record(register)
    if token_file is not None:
        _write_tokens(token_file, fresh)
    typer.echo(f"{len(fresh)} registered, {len(rows) - len(fresh)} were there already.")


def _rows(file: Path) -> Iterator[tuple[str, _Row]]:
    seen: dict[str, int] = {}
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened, strict=True)
        unknown = set(reader.fieldnames or ()) - set(COLUMNS)
        missing = set(NEEDED) - set(reader.fieldnames or ())
        if unknown or missing:
            raise InvalidCommandError(
                f"{file}:1: the columns are {', '.join(COLUMNS)}; the first {len(NEEDED)} are needed."
            )
        try:
            for fields in reader:
                line = reader.line_num
                try:
                    slug, row = _row(fields)
                except InvalidCommandError as error:
                    raise InvalidCommandError(f"{file}:{line}: {error} Nothing was recorded.") from None
                if slug in seen:
                    raise InvalidCommandError(
                        f"{file}:{line}: {slug} stands in line {seen[slug]} too. Nothing was recorded."
                    )
                seen[slug] = line
                yield slug, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidCommandError(
                f"{file}:{reader.line_num}: this is not CSV in UTF-8: {error}."
            ) from error


def _row(fields: dict[str, str]) -> tuple[str, _Row]:
    given = {
        name: value.strip() for name, value in fields.items() if isinstance(value, str) and value.strip()
    }
    for name in NEEDED:
        if name not in given:
            raise InvalidCommandError(f"{name} is empty.")
    names = {
        language: given[f"name_{language}"] for language in ("kk", "ru", "en") if f"name_{language}" in given
    }
    more: dict[str, object] = {"region": given["region"]} if "region" in given else {}
    if "population" in given:
        if not given["population"].isdecimal():
            raise InvalidCommandError("population is a number of people.")
        more["population"] = int(given["population"])
    facts = valid(
        events.OrganisationRegistered, kind=given["kind"], level=given["level"], names=names, **more
    )
    roles = roles_of(given.get("roles", "").split())
    if excess := set(roles) - ROLES_OF_KIND[facts.kind]:
        raise InvalidCommandError(f"Kind {facts.kind} cannot have the role {', '.join(sorted(excess))}.")
    if facts.kind == "operator":
        raise InvalidCommandError("The operator registers itself, by `aiqyn init`.")
    return slug_of(given["slug"]), _Row(facts, roles)


def _write_tokens(file: Path, slugs: list[str]) -> None:
    def for_its_owner_alone(path: str, flags: int) -> int:
        return os.open(path, flags, 0o600)

    with (
        closing(open_database(load().settings)) as urls,
        connect(urls.url, application_name="aiqyn tokens", autocommit=True) as connection,
        open(file, "x", encoding="utf-8", opener=for_its_owner_alone) as opened,
    ):
        opened.write("organisation,token\n")
        for slug in slugs:
            made = tokens.create(connection, f"organisation/{slug}", "registration")
            opened.write(f"organisation/{slug},{made}\n")
