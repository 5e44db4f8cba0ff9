"""`aiqyn demo`: one petition from the first signature to the decision, and a month of appeals."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.appeals_story import AppealsStory
from cli.local import HurriedService, LocalService
from cli.petition_story import PetitionStory
from cli.telling import StoryError
from ledger.eds.authority import Authority


def demo(
    leave: Annotated[
        bool, typer.Option("--exit", help="End after the story instead of serving until Ctrl-C.")
    ] = False,
    people: Annotated[int, typer.Option(min=310, max=20_000, help="How many people sign.")] = 340,
    home: Annotated[
        Path | None,
        typer.Option(help="New folder for the ledger; default: a temporary one, removed at the end."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; a free one if it is taken.")] = 8000,
) -> None:
    """Play the way of one petition and a month of appeals through real services, audited from outside."""
    console = Console(highlight=False)
    console.print("[dim]Starting a ledger of its own …[/]")
    if home is not None and home.exists() and any(home.iterdir()):
        raise typer.BadParameter(f"{home} is not empty: choose a new folder.", param_hint="--home")
    folder = home or Path(tempfile.mkdtemp(prefix="aiqyn-demo-"))
    authority = Authority.create("rsa", pool=4)
    started = time.monotonic()
    try:
        with LocalService(folder, authority, port=port) as service:
            console.print(
                f"[green]✓[/] An embedded PostgreSQL and the service run at [bold]{service.url}[/] "
                f"[dim]({time.monotonic() - started:.1f} s, data in {folder})[/]"
            )
            petition = PetitionStory(console, service, authority, people)
            with contextlib.ExitStack() as stack:
                try:
                    petition.play()
                    hurried = stack.enter_context(HurriedService(folder / "appeals", authority))
                    appeals = AppealsStory(console, hurried, authority)
                    appeals.play()
                except StoryError as broken:
                    console.print(f"\n[bold red]✗ The story did not hold:[/] {broken}")
                    raise typer.Exit(1) from broken
                if sys.stdout.isatty() and not leave:
                    petition.addresses()
                    appeals.addresses()
                    console.print("[dim]Serving until Ctrl-C.[/]")
                    with contextlib.suppress(KeyboardInterrupt):
                        signal.pause()
    finally:
        if home is None:
            shutil.rmtree(folder, ignore_errors=True)
