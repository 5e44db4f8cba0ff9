"""``aiqyn audit``: replay a log and recount what was published."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

import audit as auditing
from audit import summary
from audit.page import page
from audit.replay import Progress as Step
from ledger.tlog.errors import TlogError
from ledger.tlog.note import NoteError, VerifierKey
from ledger.tlog.policy import Policy

_LOG, _EVIDENCE = "log", "evidence"


class _OrPlace(TyperGroup):
    """A group that takes an address or a folder where a subcommand's name would stand.

    The subcommand ``evidence`` is loaded when it is called: it needs parts that no other audit does.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        help_ = "Open a random sample of a petition's signatures, and verify each."
        self.add_command(TyperCommand(_EVIDENCE, help=help_))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer keeps these types private
        first = args[0] if args else None
        if first not in (None, _EVIDENCE, "--help"):
            args = [_LOG, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        name, command, rest = super().resolve_command(ctx, args)
        if name == _EVIDENCE:
            alone = typer.Typer(add_completion=False)
            alone.command(_EVIDENCE)(import_module("cli.evidence").evidence)
            command = typer.main.get_command(alone)
        return name, command, rest


audit = typer.Typer(cls=_OrPlace, no_args_is_help=True, add_completion=False)


@audit.callback()
def group() -> None:
    """Check a ledger without trusting whoever runs it: [bold]aiqyn audit URL --log-key VKEY[/bold].

    [bold]aiqyn audit log --help[/bold] shows all options.
    """


class _RateColumn(TextColumn):
    """Entries a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: object) -> Text:
        speed = getattr(task, "speed", None)
        return Text(f"{speed:,.0f} entries/s" if speed else "", style="cyan")


def _print_rules(asked: bool) -> None:
    if asked:
        Console(highlight=False).print(summary.rules())
        raise typer.Exit


@audit.command(_LOG)
def log(
    place: Annotated[
        str,
        typer.Argument(metavar="URL|FOLDER", help="The ledger's address, or a folder with an exported log."),
    ],
    log_key: Annotated[
        list[str] | None,
        typer.Option(
            "--log-key",
            metavar="VKEY",
            help="The log's key, got from somewhere else than the audited server. May be repeated: each of "
            "these keys of the same log must have signed.",
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="Whom you trust (C2SP tlog-policy): a quorum of these witnesses must have cosigned.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    known: Annotated[
        list[Path] | None,
        typer.Option(
            "--known",
            metavar="FILE",
            help="A signed checkpoint that you saw earlier: the log must still contain it. May be repeated.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="FILE",
            help="Go on where the audit before this one ended, and leave the state to the next one.",
            dir_okay=False,
        ),
    ] = None,
    entry: Annotated[
        int | None,
        typer.Option("--entry", metavar="POSITION", help="Only show this entry, and what proves it.", min=0),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, and nothing else.")
    ] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Also write the JSON report to a file.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write the report as one HTML file.")
    ] = None,
    _rules: Annotated[
        bool,
        typer.Option(
            "--rules",
            help="List what is asked of every entry, and exit.",
            callback=_print_rules,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Check a ledger without trusting whoever runs it.

    Reads the whole log and checks every hash, the signed checkpoint, the signature of every event, who was
    allowed to issue it, and the rules; recounts, and compares what is published with the recount.

    Exit status: 0 clean, 1 something is wrong (each finding names its position), 2 could not finish.
    """
    try:
        keys = [VerifierKey.parse(key) for key in log_key or ()]
    except NoteError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--log-key") from error
    if len({key.name for key in keys}) > 1:
        raise typer.BadParameter("these are keys of different logs.", param_hint="--log-key")
    if entry is not None:
        raise typer.Exit(_show_entry(place, keys, entry))
    try:
        trusted = None if policy is None else Policy.parse(policy.read_bytes())
    except TlogError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--policy") from error
    seen = [path.read_bytes() for path in known or ()]
    columns = (
        TextColumn("replaying"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), _RateColumn(),
        TimeRemainingColumn(), TextColumn("[red]{task.fields[findings]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task("", total=None, findings="")

        def on_progress(step: Step) -> None:
            findings = f"{step.findings} findings" if step.findings else ""
            bar.update(task, completed=step.done, total=step.total, findings=findings)

        report = auditing.run(
            place, log_key=keys, known=seen, policy=trusted, state_file=state, progress=on_progress
        )
    _write(report_file, report.to_json())
    _write(html_file, None if html_file is None else page(report))
    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        summary.show(report, Console(highlight=False))
    raise typer.Exit(report.exit_code)


def _write(path: Path | None, data: bytes | None) -> None:
    if path is None or data is None:
        return
    try:
        path.write_bytes(data)
    except OSError as error:
        typer.echo(f"aiqyn: the report was not written to {path}: {error.strerror}.", err=True)


def _show_entry(place: str, keys: list[VerifierKey], position: int) -> int:
    """The exit status: 0 if the log signs for the entry, else 1."""
    from audit.entry import look
    from audit.source import open_source, read_checkpoint, read_newest
    from ledger.tlog.checkpoint import open_checkpoint

    if not keys:
        raise typer.BadParameter("which log signs for the entry? Give its key.", param_hint="--log-key")
    source = open_source(place)
    try:
        note = read_newest(source) or read_checkpoint(source)
        found = look(source, open_checkpoint(note, keys[0]).checkpoint, position)
    finally:
        source.close()
    # JSON escapes control characters: a log must not steer the terminal.
    typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    return 0 if str(found["included"]).startswith("yes") else 1
