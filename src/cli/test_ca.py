"""`aiqyn test-ca`: invented people with certificates of the Kazakh profile, to try signing with."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Annotated

import typer

from ledger.eds.authority import Authority
from ledger.eds.people import invent_person

test_ca = typer.Typer(no_args_is_help=True, help="A certification authority of your own, for trying out.")

Folder = Annotated[Path, typer.Argument(help="A new folder.", metavar="FOLDER")]
Made = Annotated[
    Path, typer.Argument(help="The authority's folder.", metavar="FOLDER", exists=True, file_okay=False)
]


@test_ca.command()
def new(
    folder: Folder,
    trust: Annotated[
        Path | None, typer.Option(help="Also write its certificates there: a service's trust folder.")
    ] = None,
) -> None:
    """Make a root, an issuing authority and a key that all its invented people share."""
    if folder.exists() and any(folder.iterdir()):
        raise typer.BadParameter(f"{folder} is not empty: choose a new folder.")
    authority = Authority.create()
    authority.save(folder)
    if trust is not None:
        authority.write_trust(trust)
    typer.echo(f"Made in {folder}. Never trust it where real people sign.")


@test_ca.command()
def sign(
    folder: Made,
    statement: Annotated[
        Path | None,
        typer.Argument(help="File with the statement; default: standard input.", exists=True, dir_okay=False),
    ] = None,
    person: Annotated[int, typer.Option(min=0, help="Number of the invented person who signs.")] = 1,
    der: Annotated[bool, typer.Option("--der", help="Write the bytes instead of base64.")] = False,
) -> None:
    """Sign exactly the bytes of a statement as a CMS, and print it."""
    content = statement.read_bytes() if statement is not None else sys.stdin.buffer.read()
    cms = Authority.load(folder).person(invent_person(person)).sign(content)
    if der:
        sys.stdout.buffer.write(cms)
    else:
        typer.echo(base64.b64encode(cms).decode("ascii"))
