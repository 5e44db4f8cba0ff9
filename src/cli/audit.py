"""``aiqyn audit``: replay a log and recount what was published."""

from pathlib import Path
from typing import Annotated

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

import audit as auditing
from audit.replay import Progress as Step
from audit.summary import show
from ledger.tlog.note import NoteError, VerifierKey


class _RateColumn(TextColumn):
    """Entries a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: object) -> Text:
        speed = getattr(task, "speed", None)
        return Text(f"{speed:,.0f} entries/s" if speed else "", style="cyan")


def audit(
    place: Annotated[
        str,
        typer.Argument(metavar="URL|FOLDER", help="The ledger's address, or a folder with an exported log."),
    ],
    log_key: Annotated[
        str | None,
        typer.Option(
            "--log-key",
            metavar="VKEY",
            help="The log's key, got from somewhere else than the audited server.",
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, and nothing else.")
    ] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Also write the JSON report to a file.")
    ] = None,
) -> None:
    """Check a ledger without trusting whoever runs it.

    Reads the whole log and checks every hash, the signed checkpoint, the signature of every event, who was
    allowed to issue it, and the rules; recounts, and compares what is published with the recount.

    Exit status: 0 clean, 1 something is wrong (each finding names its position), 2 could not finish.
    """
    try:
        key = VerifierKey.parse(log_key) if log_key else None
    except NoteError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--log-key") from error
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

        report = auditing.run(place, log_key=key, known=seen, progress=on_progress)
    if report_file is not None:
        try:
            report_file.write_bytes(report.to_json())
        except OSError as error:
            typer.echo(f"aiqyn: the report was not written to {report_file}: {error.strerror}.", err=True)
    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        show(report, Console(highlight=False))
    raise typer.Exit(report.exit_code)
