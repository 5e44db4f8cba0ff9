"""A report as a person reads it in a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from audit import plugins
from audit.report import Report
from audit.rules import BEFORE_RULES, RULES

VERDICT = {
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
        console.print(Padding(_repeated(report), (0, 1, 1, 1)), soft_wrap=True)
    if report.stopped:
        console.print(Padding(Text(printable(f"Stopped: {report.stopped}"), style="yellow"), (0, 1, 1, 1)))


def verdict(report: Report) -> str:
    """What the one word of the verdict means, as a sentence."""
    if report.status == "clean":
        return (
            f"All {number(report.replayed)} entries are what the log signed, "
            "and every rule that was checked holds."
        )
    if report.status == "findings":
        return f"{count(report.total, 'finding')} in {count(report.replayed, 'entry', 'entries')}."
    return f"Nothing is wrong in the {number(report.replayed)} entries that could be read."


def _verdict(report: Report) -> Text:
    word, style = VERDICT[report.status]
    said = verdict(report)
    return Text(word, style=style).append(f": {said[:1].lower()}{said[1:]}", "default")


def _checked(report: Report) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("log", Text(printable(report.origin or report.source)))
    if report.origin:
        table.add_row("read from", Text(printable(report.source)))
    pinned = "pinned" if report.log_key_pinned else "NOT pinned"
    for key in report.log_keys:
        table.add_row("key", Text(printable(f"{_short(key)} ({pinned})")))
    if report.size is not None:
        table.add_row("checkpoint", count(report.size, "entry", "entries"))
        table.add_row("root", report.root)
    if report.cosigned is not None:
        names = ", ".join(name for name, _ in report.cosigned.witnesses)
        reach = f"{number(report.cosigned.size)} of {count(report.size or 0, 'entry', 'entries')}"
        table.add_row("cosigned", Text(printable(f"{reach}, by {names} (quorum {report.cosigned.quorum})")))
    if report.replayed:
        if report.resumed_at:
            earlier = f"positions 0 to {number(report.resumed_at - 1)}, whose state was taken over"
            table.add_row("before", earlier)
        done = report.replayed - report.resumed_at
        rate = f"{number(round(done / report.seconds))} a second" if report.seconds else ""
        what = (
            f"positions {number(report.resumed_at)} to {number(report.replayed - 1)}" if done else "nothing"
        )
        table.add_row("replayed", f"{what} in {report.seconds:.1f} s ({rate})")
        if not report.stopped:
            table.add_row("hashes", "each entry, each tile, the root")
        table.add_row("events", f"{number(report.events)} readable, rightly issued and signed")
        table.add_row(
            "recount",
            f"{count(report.organisations, 'organisation')}, {count(report.petitions, 'petition')}, "
            f"{count(report.signatures, 'signature')} counted",
        )
    if report.compared:
        numbers = count(report.compared, "petition")
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
        table.add_row("…", rule, f"and {number(more)} more")
    return table


def _repeated(report: Report) -> RenderableType:
    """How to see the findings again: a command for each kind."""
    first = {finding.rule: finding.repeat for finding in report.findings if finding.repeat}
    commands = dict.fromkeys(first.values())
    return Group("See for yourself:", *(Text(f"  {printable(command)}", style="dim") for command in commands))


def rules() -> RenderableType:
    """What is asked of every log and entry."""
    installed, warnings = plugins.installed()
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("rule", no_wrap=True, style="bold")
    table.add_column("what it says", overflow="fold")
    table.add_column("from", overflow="fold")
    for name, says, article in BEFORE_RULES:
        table.add_row(name, says, article)
    table.add_section()
    for rule in (*RULES, *installed):
        own = "" if rule in RULES else " (your own)"
        table.add_row(*(Text(printable(text)) for text in (rule.name, rule.says, f"{rule.article}{own}")))
    told = [Text(printable(f"⚠ {warning}"), style="yellow") for warning in warnings]
    return Padding(Group(table, *told), (1, 1))


def _short(key: str) -> str:
    """A vkey of any length on one line: its name and id tell it apart."""
    return key if len(key) <= 200 else f"{key[:120]}…"


def printable(text: str) -> str:
    """Without control characters: a log's bytes must not steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def number(n: int) -> str:
    """With narrow spaces between the thousands."""
    return f"{n:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def count(n: int, one: str, many: str | None = None) -> str:
    """A number and what it counts."""
    return f"{number(n)} {one if n == 1 else many or one + 's'}"
