"""``aiqyn config``: the settings in force."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from ledger.config import load


def config(
    as_json: Annotated[bool, typer.Option("--json", help="For machines: a list of objects.")] = False,
) -> None:
    """Show every setting, its value, and whether it comes from the environment, a file or the default.

    Secrets are shown as "set" or "not set", addresses of databases without passwords.
    """
    entries = load().entries()
    if as_json:
        document = [entry._asdict() for entry in entries]
        typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
        return
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(entry.variable) for entry in entries)
    for entry in entries:
        changed = "bold" if entry.source != "default" else ""
        console.print(Text(f"{entry.variable:{width}}  {entry.value or '(empty)'}", style=changed), end="  ")
        console.print(Text(f"[{entry.source}]", style="cyan" if changed else "dim"))
        console.print(Text(f"{'':{width}}  {entry.doc}", style="dim"))
