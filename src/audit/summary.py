"""A report as a person reads it in a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from audit.report import Report

_VERDICT = {
    "clean": ("✔ Clean", "bold green"),
    "findings": ("✘ Findings", "bold red"),
    "unfinished": ("◌ Could not finish", "bold yellow"),
}


def show(report: Report, console: Console) -> None:
    """Print the whole report."""
    console.print(Padding(Group(_verdict(report), "", _checked(report)), (1, 1)))
    for warning in report.warnings:
        console.print(Padding(Text(printable(f"⚠ {warning}"), style="yellow"), (0, 1, 1, 1)))
    if report.findings:
        console.print(Padding(_findings(report), (0, 1, 1, 1)))
    if report.stopped:
        console.print(Padding(Text(printable(f"Stopped: {report.stopped}"), style="yellow"), (0, 1, 1, 1)))


def _verdict(report: Report) -> Text:
    word, style = _VERDICT[report.status]
    text = Text(word, style=style)
    if report.status == "clean":
        text.append(
            f": all {_n(report.replayed)} entries are what the log signed, "
            "and every rule that was checked holds.",
            "default",
        )
    elif report.status == "findings":
        text.append(f": {_n(report.total)} in {_count(report.replayed, 'entry', 'entries')}.", "default")
    else:
        text.append(f": nothing wrong in the {_n(report.replayed)} entries that could be read.", "default")
    return text


def _checked(report: Report) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("log", Text(printable(report.origin or report.source)))
    if report.origin:
        table.add_row("read from", Text(printable(report.source)))
    if report.log_key:
        pinned = "pinned" if report.log_key_pinned else "NOT pinned"
        table.add_row("key", Text(printable(f"{report.log_key} ({pinned})")))
    if report.size is not None:
        table.add_row("checkpoint", _count(report.size, "entry", "entries"))
        table.add_row("root", report.root)
    if report.replayed:
        rate = f"{_n(round(report.replayed / report.seconds))} a second" if report.seconds else ""
        table.add_row(
            "replayed", f"positions 0 to {_n(report.replayed - 1)} in {report.seconds:.1f} s ({rate})"
        )
        if not report.stopped:
            table.add_row("hashes", "each entry, each tile, the root")
        table.add_row("events", f"{_n(report.events)} readable, rightly issued and signed")
        table.add_row(
            "recount",
            f"{_count(report.organisations, 'organisation')}, {_count(report.petitions, 'petition')}, "
            f"{_count(report.signatures, 'signature')} counted",
        )
    if report.compared:
        numbers = _count(report.compared, "petition")
        table.add_row("published", f"the numbers of {numbers} compared with the recount")
    return table


def _findings(report: Report) -> RenderableType:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("position", justify="right", no_wrap=True, style="bold")
    table.add_column("rule", no_wrap=True, style="red")
    table.add_column("what is wrong", overflow="fold")
    for finding in report.findings:
        # As Text: what a log says must not be read as markup.
        table.add_row(finding.place, finding.rule, Text(printable(finding.reason)))
    for rule, more in report.omitted.items():
        table.add_row("…", rule, f"and {_n(more)} more")
    return table


def printable(text: str) -> str:
    """Without control characters: a log's bytes must not steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _n(number: int) -> str:
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{_n(number)} {one if number == 1 else many or one + 's'}"
