"""``aiqyn organisation``: who takes part, said by the operator in the ledger."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, get_args

import typer

from cli.organisation_file import import_organisations
from cli.registering import ROLES, record, roles_of, slug_of, valid
from ledger import events
from ledger.application import Ledger, Recorded
from ledger.keys import Directory, VerifyingKey
from ledger.statement import Event, open_event

organisation = typer.Typer(no_args_is_help=True, help="Register organisations and their keys.")

_KEYS = {"ignore_unknown_options": True}
"""A key, or its id, may begin with a dash."""

Slug = Annotated[str, typer.Argument(help="Name in addresses: organisation/SLUG.")]
Roles = Annotated[list[str], typer.Option("--role", help=f"{', '.join(ROLES)}; may be repeated.")]


@organisation.command()
def add(
    slug: Slug,
    kind: Annotated[str, typer.Option(help=", ".join(get_args(events.OrganisationKind)[1:]) + ".")],
    level: Annotated[str, typer.Option(help=", ".join(get_args(events.Level)) + ".")],
    name_kk: Annotated[str, typer.Option(help="Official name in Kazakh.")],
    name_ru: Annotated[str, typer.Option(help="Official name in Russian.")],
    name_en: Annotated[str, typer.Option(help="Name in English.")] = "",
    region: Annotated[str, typer.Option(help="Two digits of ISO 3166-2:KZ.")] = "",
    population: Annotated[int | None, typer.Option(help="People who live there.", min=0)] = None,
    role: Roles = [],  # noqa: B006 - how Typer says that an option may be repeated
) -> None:
    """Register an organisation; with roles, the gateway may seal what it posts in plain JSON."""
    facts = valid(
        events.OrganisationRegistered,
        kind=kind,
        level=level,
        names={"kk": name_kk, "ru": name_ru} | ({"en": name_en} if name_en else {}),
        **({"region": region} if region else {}),
        **({"population": population} if population is not None else {}),
    )
    roles = roles_of(role)
    record(lambda ledger: ledger.register_organisation(slug_of(slug), facts, roles))


@organisation.command("add-key", context_settings=_KEYS)
def add_key(
    slug: Slug,
    key: Annotated[str, typer.Argument(help="Its Ed25519 public key: 32 bytes in base64url.")],
    role: Roles,
) -> None:
    """Register a key that the organisation holds itself, for events that it seals on its own."""
    facts = events.OrganisationKeyRegistered(
        key=VerifyingKey(key).public_key, roles=roles_of(role), custody="own"
    )
    _declare(slug, facts)


@organisation.command()
def population(
    slug: Slug,
    people: Annotated[int, typer.Argument(min=0, help="How many people live in its territory.")],
    counted_on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Day of the figure.")],
) -> None:
    """Record a newer population figure; petitions published later use it."""
    facts = events.OrganisationPopulationRecorded(population=people, counted_on=counted_on.date())
    _declare(slug, facts)


@organisation.command("revoke-key", context_settings=_KEYS)
def revoke_key(
    slug: Slug,
    kid: Annotated[str, typer.Argument(help="The key's id, as `aiqyn organisation list` shows it.")],
    reason: Annotated[str, typer.Option(help=", ".join(get_args(events.RevocationReason)) + ".")],
) -> None:
    """Let a key issue nothing more; what it issued stays."""
    _declare(slug, valid(events.OrganisationKeyRevoked, kid=kid, reason=reason))


@organisation.command("list")
def list_organisations() -> None:
    """List the organisations and the ids of their valid keys."""

    async def read(ledger: Ledger) -> list[Recorded]:
        streams: dict[str, list[Event]] = {}
        for _, entry in await asyncio.to_thread(ledger.reader.organisations, -1):
            event = open_event(entry)
            streams.setdefault(event.stream, []).append(event)
        for stream in sorted(streams):
            _print(ledger.directory, stream, [event.facts for event in streams[stream]])
        return []

    record(read)


def _print(directory: Directory, stream: str, facts: list[events.Fact]) -> None:
    found = directory.organisation(stream)
    if found is None:
        return
    typer.echo(f"{stream}  {found.kind}, {found.level}  {found.names.ru}")
    keys = [fact.key for fact in facts if isinstance(fact, events.OrganisationKeyRegistered)]
    keys += [
        fact.root_key for fact in facts if isinstance(fact, events.OrganisationRegistered) and fact.root_key
    ]
    for key in keys:
        kid = VerifyingKey(key).kid
        roles = directory.roles(stream, kid)
        if roles:
            typer.echo(f"  {kid}  {', '.join(sorted(roles))}")


organisation.command("import")(import_organisations)


def _declare(slug: str, facts: events.Fact) -> None:
    async def declare(ledger: Ledger) -> list[Recorded]:
        by = ledger.issuance(ledger.operator, type(facts))
        return [await ledger.record(f"organisation/{slug_of(slug)}", facts, by)]

    record(declare)
