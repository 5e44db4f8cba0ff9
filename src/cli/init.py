"""``aiqyn init``: a new ledger, with its operator as the first organisation."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Annotated

import typer

from api.service import Parts
from api.trust import load_trust
from ledger.application import Ledger
from ledger.config import Settings, load
from ledger.events import Names
from ledger.operator import KeysError, OperatorKeys, keys_folder
from ledger.statement import open_event
from ledger.store.database import open_database
from ledger.store.reader import LogReader

Slug = Annotated[str, typer.Option(help="Name in addresses: organisation/SLUG.")]
Origin = Annotated[str, typer.Option(help="Must be the configured AIQYN_ORIGIN; it never changes.")]


def init(
    slug: Slug = "operator",
    name_kk: Annotated[str, typer.Option(help="Official name in Kazakh.")] = "Оператор",
    name_ru: Annotated[str, typer.Option(help="Official name in Russian.")] = "Оператор",
    origin: Origin = "",
) -> None:
    """Make the operator's keys and the ledger's first entries.

    May be repeated: what exists is kept, what a power cut left undone is done.
    """
    settings = load().settings
    if origin and origin != settings.origin:
        raise KeysError(f"The configured origin is {settings.origin!r}: set AIQYN_ORIGIN={origin}.")
    settings.trust_dir.mkdir(parents=True, exist_ok=True)
    with closing(open_database(settings)) as urls:
        with LogReader(urls.url) as reader:
            first = reader.entries(0, 1)
        keys = OperatorKeys.load(settings) if first else OperatorKeys.complete(settings)
        if first:
            root = getattr(open_event(first[0][1]).facts, "root_key", None)
            if root != keys.root.public_key:
                raise KeysError(
                    f"The ledger in this database was begun with other keys than those in "
                    f"{keys_folder(settings)}: restore its keys, or name its database."
                )
        else:
            names = Names(kk=name_kk, ru=name_ru)
            asyncio.run(_begin(Parts(settings, urls.url, keys, load_trust(settings.trust_dir)), slug, names))
    _tell(settings, keys, fresh=not first)


async def _begin(parts: Parts, slug: str, names: Names) -> None:
    ledger: Ledger = parts.ledger()
    await ledger.start()
    try:
        await ledger.register_operator(slug, names)
    finally:
        await ledger.stop()


def _tell(settings: Settings, keys: OperatorKeys, *, fresh: bool) -> None:
    typer.echo(
        f"The ledger {settings.origin} {'is ready' if fresh else 'exists already; nothing was changed'}."
    )
    typer.echo(f"\nVerifier key of the log, for everybody who checks it:\n  {keys.log.verifier}")
    typer.echo(f"\nKeys are in {keys_folder(settings)}: back them up apart from the database, and now.")
    typer.echo(
        f"""
Next:
  put the root certificates of the certification authority (PEM or DER) into {settings.trust_dir}
  aiqyn organisation add culture --kind authorised-body --level republic \\
      --name-kk "…" --name-ru "…" --role moderator --role body
  aiqyn token create culture --label "moderation"
  aiqyn serve"""
    )
