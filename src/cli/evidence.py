"""``aiqyn audit evidence``: the evidence behind a random sample of signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from api.trust import load_trust
from audit.evidence import EvidenceReport, Look
from audit.summary import printable
from ledger.tlog.note import VerifierKey
from ledger.tlog.policy import Policy


def evidence(
    url: Annotated[str, typer.Argument(metavar="URL", help="The ledger's address.")],
    petition: Annotated[str, typer.Argument(metavar="PETITION", help="The petition's id.")],
    token: Annotated[
        str, typer.Option("--token", envvar="AIQYN_TOKEN", help="Token of the council that looks.")
    ],
    trust: Annotated[
        Path,
        typer.Option(
            "--trust",
            metavar="DIR",
            help="Folder with the root certificates that you trust, got from somewhere else than the ledger.",
            exists=True,
            file_okay=False,
        ),
    ],
    log_key: Annotated[
        str, typer.Option("--log-key", metavar="VKEY", help="The log's key, got from somewhere you trust.")
    ],
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="Witnesses and their quorum (C2SP tlog-policy): they must have cosigned the log.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    sample: Annotated[int, typer.Option(help="How many signatures to look at.", min=1, max=1000)] = 300,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DIR",
            help="Keeps what was done: repeat the command to go on after an interruption. "
            "It holds personal data once signatures are opened.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, and nothing else.")
    ] = False,
) -> None:
    """Open a random sample of a petition's signatures, and verify each against the certificate authority.

    Nobody can choose the sample: it follows from a secret of yours, which you commit to first, and from the
    root of the log at that moment. Each opening becomes an entry of the ledger, for everybody to see.

    What the log said to be erased before is left out; what cannot be shown for any other reason is wrong. A
    second signature of one person shows only if both are in the sample.

    Exit status: 0 all that was seen is genuine, 1 something is not, 2 nothing could be seen.
    """
    place = folder or Path(f"evidence-{petition}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task("", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        look = Look(
            url, petition, token, VerifierKey.parse(log_key), load_trust(trust), place, sample,
            None if policy is None else Policy.parse(policy.read_bytes()), progress=progress,
        )  # fmt: skip
        report = look.run()
    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        _show(report, place, Console(highlight=False))
    raise typer.Exit(report.exit_code)


def _show(report: EvidenceReport, folder: Path, console: Console) -> None:
    seen = report.genuine + report.wrong
    verdict = Text(
        f"{report.genuine} of {seen} genuine", style="bold green" if not report.wrong else "bold red"
    )
    if report.at_most is not None and seen:
        part = f"{report.at_most:.2%}"
        verdict.append(
            f": the evidence of exactly {part} of the {report.signatures} signatures does not verify."
            if report.confidence == 1.0
            else f": with {report.confidence:.0%} confidence the evidence of fewer than {part} of the "
            f"{report.signatures} signatures does not verify.",
            "default",
        )
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("petition", report.petition)
    table.add_row("look", f"{report.evidence}, announced at position {report.asked_at}")
    table.add_row("root", report.root)
    if report.erased:
        table.add_row(
            "erased",
            f"{report.erased} more signatures, by entries of the log before the announcement: nothing is "
            "known of them, and the sample was not drawn from them",
        )
    for one in report.checked:
        if one.verdict == "wrong":
            table.add_row("✘", Text(printable(f"position {one.position}: {one.reason}"), style="red"))
    table.add_row("limits", report.limits)
    table.add_row("kept in", f"{folder} (personal data: remove it when you are done)")
    console.print(Padding(verdict, (1, 1)))
    console.print(Padding(table, (0, 1, 1, 1)))
