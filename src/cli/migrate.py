"""``aiqyn migrate``: the database's schema."""

from contextlib import closing
from typing import Annotated

import typer

from ledger.config import load, masked
from ledger.store import migrate as migrations
from ledger.store.database import find_database


def migrate(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only name the migrations that would be applied.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Only list all migrations.")] = False,
) -> None:
    """Apply the migrations that the database lacks, as the role of AIQYN_ADMIN_DATABASE_URL.

    The embedded database does this by itself. Each migration is applied whole or not at all.
    """
    if dry_run and status:
        raise typer.BadParameter("choose one of --dry-run and --status.")
    with closing(find_database(load().settings)) as urls:
        if status or dry_run:
            found = migrations.status(urls.admin_url)
            for mark, names in found._asdict().items():
                if status or mark == "pending":
                    for name in names:
                        typer.echo(f"{mark:8} {name}")
            return
        applied = migrations.migrate(urls.admin_url, log=lambda name: typer.echo(f"applying {name}"))
        if not applied:
            typer.echo(f"{masked(urls.admin_url)} has every migration.")
