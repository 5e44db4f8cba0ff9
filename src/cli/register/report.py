"""What an import did: one JSON for machines and for the file, and a summary to read."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from audit.summary import printable
from cli.register.cases import Cases

SHOWN = 20
"""Refusals in the summary; the JSON has all."""


class Counts(msgspec.Struct, kw_only=True):
    """Every row and every case of the register, once."""

    file: str
    register: str
    service: str | None
    """None for a check."""
    status: str = "unfinished"
    """``complete``, ``refused`` (some cases were), ``checked``, or ``unfinished``."""
    stopped: str | None = None
    """Why it could not be finished."""
    lines: int = 0
    """Rows that were read."""
    rows: int = 0
    """Of the cases that can be sent: each becomes an event."""
    cases: int = 0
    imported: int = 0
    extended: int = 0
    unchanged: int = 0
    refused: int = 0
    strays: int = 0
    """Rows of which nobody knows whose case they belong to."""

    @property
    def not_sent(self) -> int:
        """Cases without an answer."""
        return self.cases - self.imported - self.extended - self.unchanged - self.refused


def write(path: Path, counts: Counts, cases: Cases) -> None:
    """The whole report as JSON; the file is whole or the old one."""
    head = msgspec.to_builtins(counts) | {"not_sent": counts.not_sent}
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8") as file:
        file.write(msgspec.json.format(msgspec.json.encode(head)).decode().removesuffix("\n}"))
        file.write(',\n  "refusals": [')
        comma = ""
        for refusal in cases.refusals():
            document: dict[str, Any] = refusal._asdict()
            file.write(f"{comma}\n    {msgspec.json.encode(document).decode()}")
            comma = ","
        file.write("\n  ]\n}\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def show(counts: Counts, cases: Cases, console: Console) -> None:
    """For a person."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right")
    names = ("lines", "rows", "cases", "imported", "extended", "unchanged", "refused", "not_sent", "strays")
    for name in names:
        if (number := getattr(counts, name)) or name in {"lines", "rows", "cases", "refused"}:
            table.add_row(name.replace("_", " "), f"{number:,}")
    console.print(table)
    for refusal in itertools.islice(cases.refusals(), SHOWN):
        console.print(Text(printable(f"{counts.file}:{refusal.line}: {refusal.reason}"), style="red"))
    if counts.stopped is not None:
        console.print(Text(printable(counts.stopped), style="yellow"))
