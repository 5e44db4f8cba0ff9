"""``aiqyn log``: how the log stands, who cosigns it, and what stopped it."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import typer
from psycopg import AsyncConnection
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.cosigned import Alarm, Witnessing, read_alarms, read_state
from audit.summary import printable
from ledger.config import load
from ledger.store.database import connect, connect_async, open_database
from ledger.store.reader import LogReader

log = typer.Typer(no_args_is_help=True, add_completion=False)


@log.callback()
def _log() -> None:
    """How the log stands, who cosigns it, and what stopped it."""


class _Stand(msgspec.Struct, frozen=True):
    size: int
    checkpoint: str
    witnessing: Witnessing
    alarms: list[Alarm]


@log.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Show size and checkpoint, each witness's last cosignature, and every alarm.

    Exit status: 0 all is well, 1 the log is halted, or the quorum of witnesses is late.
    """
    settings = load().settings
    with closing(open_database(settings)) as urls, LogReader(urls.url) as reader:
        size = reader.size()
        note = reader.checkpoint().decode() if size else ""
        stand = asyncio.run(_read(urls.url, size, note))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(stand), indent=2).decode())
    else:
        _show(stand)
    state = stand.witnessing
    late = timedelta(seconds=settings.witness_late_seconds)
    waiting = state.behind_since is not None and datetime.now(UTC) - state.behind_since > late
    raise typer.Exit(1 if waiting or state.halted is not None else 0)


@log.command()
def halt(
    reason: Annotated[str, typer.Option("--reason", help="Why; everybody can read it.", prompt=True)],
) -> None:
    """Let no process append anything more, until `aiqyn log resume`. A proof stays its reason."""
    shown = printable(reason).strip()[:500]
    if not shown:
        raise typer.BadParameter("say why.", param_hint="--reason")
    _set_halted(shown)
    typer.echo("Nothing is appended any more, by no process. `aiqyn log resume` lets it go on.")


@log.command()
def resume(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Let the log go on after a halt. The alarms stay.

    Only once this database holds everything that was ever signed: a log that goes on from an older state
    signs a fork, and its witnesses will prove that for ever.
    """
    if not yes:
        typer.confirm(
            "Does this database hold every entry that was ever signed? Going on otherwise forks the log.",
            abort=True,
        )
    _set_halted(None)
    typer.echo("The log may go on. Restart the service: its processes stopped signing.")


def _set_halted(reason: str | None) -> None:
    with (
        closing(open_database(load().settings)) as urls,
        connect(urls.url, application_name="aiqyn log", autocommit=True) as connection,
    ):
        connection.execute(
            "UPDATE ledger.head SET halted = %(why)s WHERE halted IS NULL OR %(why)s::text IS NULL",
            {"why": reason},
        )


async def _read(url: str, size: int, note: str) -> _Stand:
    connection: AsyncConnection[Any] = await connect_async(url, application_name="aiqyn log", autocommit=True)
    async with connection:
        return _Stand(size, note, await read_state(connection), await read_alarms(connection))


def _show(stand: _Stand) -> None:
    console = Console(highlight=False)
    state = stand.witnessing
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("entries", f"{stand.size}")
    table.add_row("signed by", Text(", ".join(_signers(stand.checkpoint)) or "nobody yet"))
    if state.cosigned_size is not None:
        table.add_row("cosigned", f"{state.cosigned_size} entries, {_ago(state.cosigned_at)}")
    if state.behind_since is not None:
        table.add_row("waiting", f"entries wait for the quorum of witnesses since {_ago(state.behind_since)}")
    console.print(table)
    if state.witnesses:
        console.print(_witnesses(state))
    for alarm in stand.alarms:
        console.print(Text(f"✘ {alarm.at:%Y-%m-%d %H:%M:%S} UTC {alarm.kind}: {alarm.said}", style="red"))
    if state.halted is not None:
        console.print(Text(f"✘ The log is halted: {printable(state.halted)}", style="bold red"))


def _witnesses(state: Witnessing) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2))
    for name in ("witness", "remembers", "cosigned", "failures", "said last"):
        table.add_column(name, overflow="fold")
    for one in state.witnesses:
        error = "" if one.error is None else printable(one.error)
        table.add_row(
            Text(one.url), f"{one.size}", _ago(one.cosigned_at), f"{one.failures}", Text(error, style="red")
        )
    return table


def _signers(note: str) -> list[str]:
    return [line.split(" ")[1] for line in note.splitlines() if line.startswith("\N{EM DASH} ")]


def _ago(time: datetime | None) -> str:
    if time is None:
        return "never"
    seconds = int((datetime.now(UTC) - time).total_seconds())
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC ({seconds} s ago)"
