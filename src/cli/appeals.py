"""``aiqyn appeals``: moving in with an old register, and event logs for process mining."""

from __future__ import annotations

import gzip
import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cli.register import report
from cli.register.cases import Case, Cases, Refusal
from cli.register.client import Answer, ImportClient, ImportStoppedError, batches, detail_of
from cli.register.csv_source import CsvSource
from cli.register.mapping import Mapper, MappingError, example
from cli.register.records import Broken, Source
from cli.register.xes_source import XesSource
from ledger.domain.calendar import ALMATY
from ledger.errors import AiqynError

appeals = typer.Typer(no_args_is_help=True, help="Import an old register; export event logs.")

SOME_REFUSED, NOT_FINISHED = 1, 2
TOKEN = "AIQYN_TOKEN"  # noqa: S105 - the name of a variable


class ExportError(AiqynError):
    """The event log could not be written; what was there before is untouched."""

    code = "export-failed"
    title = "The export failed"


class Format(StrEnum):
    """Of an event log."""

    XES = "xes"
    OCEL = "ocel"


# --- import ---------------------------------------------------------------------------------------


def _print_example(asked: bool) -> None:
    if asked:
        typer.echo(example(), nl=False)
        raise typer.Exit


@appeals.command("import")
def import_register(
    register: Annotated[
        Path, typer.Argument(metavar="REGISTER", help="CSV or XES.", exists=True, dir_okay=False)
    ],
    mapping: Annotated[Path, typer.Option(help="What its columns and words mean: see --example-mapping.")],
    url: Annotated[str, typer.Option(help="The service, such as https://appeals.example.")] = "",
    token_file: Annotated[
        Path | None, typer.Option(help=f"File with the body's token; without it, {TOKEN} is taken.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read and check everything, and send nothing.")
    ] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Where the report goes; by default beside the register.")
    ] = None,
    leave_out_strays: Annotated[
        bool,
        typer.Option("--leave-out-strays", help="Go on although some rows belong to no case that is known."),
    ] = False,
    _example: Annotated[
        bool,
        typer.Option(
            "--example-mapping", help="Print a mapping to begin with.", callback=_print_example, is_eager=True
        ),
    ] = False,
) -> None:
    """Take over an old register: each row becomes one event, marked as imported.

    Everything is checked before anything is sent. Run it again after whatever happened: the service
    knows what it has, and only the rest is recorded.

    Exit status: 0 all cases are in the ledger, 1 some were refused, 2 it could not be finished.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    counts = report.Counts(file=str(register), register="", service=None if check else url)
    target = report_file or register.with_name(register.name + ".report.json")
    try:
        mapper = Mapper.load(mapping)
        counts.register = mapper.register
        source = _source(register, mapper)
        token = "" if check else _token(url, token_file)
        with closing(Cases(mapper, datetime.now(UTC))) as cases:
            try:
                _take_over(source, register, cases, counts, None if check else (url, token), leave_out_strays)
            except (AiqynError, OSError) as error:
                counts.stopped = str(error)
            except KeyboardInterrupt:
                counts.stopped = "Interrupted. Run the import again: nothing is taken over twice."
            report.show(counts, cases, console)
            report.write(target, counts, cases)
            console.print(Text(f"The whole report is in {target}", style="dim"))
    except (AiqynError, OSError) as error:
        console.print(Text(f"aiqyn: {error}", style="red"))
        raise typer.Exit(NOT_FINISHED) from error
    if counts.stopped is not None:
        raise typer.Exit(NOT_FINISHED)
    if counts.refused or counts.strays:
        raise typer.Exit(SOME_REFUSED)


def _take_over(
    source: Source,
    register: Path,
    cases: Cases,
    counts: report.Counts,
    service: tuple[str, str] | None,
    leave_out_strays: bool,
) -> None:
    """Read, check and send; ``service`` is its address and a token."""
    _read(source, register, cases, counts)
    if service is None:
        counts.status = "checked"
    elif counts.strays and not leave_out_strays:
        counts.stopped = (
            f"{counts.strays} rows belong to no case that is known, and a case that is recorded without them "
            "cannot be mended: mend the rows, or say --leave-out-strays. Nothing was sent."
        )
    else:
        with ImportClient(*service) as client:
            _send(client, cases, counts)
        counts.status = "refused" if counts.refused or counts.strays else "complete"


def _source(register: Path, mapper: Mapper) -> Source:
    name = register.name.removesuffix(".gz")
    source: Source = XesSource(register) if name.endswith(".xes") else CsvSource(register, mapper.csv)
    if source.columns is not None and (missing := mapper.columns - source.columns):
        raise MappingError(
            f"{register} has no column {', '.join(map(repr, sorted(missing)))}; it has "
            f"{', '.join(map(repr, sorted(source.columns)))}."
        )
    return source


def _token(url: str, file: Path | None) -> str:
    if not url.startswith(("http://", "https://")):
        raise ImportStoppedError("Say where the service is: --url https://…, or --check to send nothing.")
    found = os.environ.get(TOKEN, "") if file is None else file.read_text("ascii", "replace").strip()
    if not found.isascii() or not found.isprintable() or not found:
        raise ImportStoppedError(f"A token is needed: name its file with --token-file, or set {TOKEN}.")
    return found


def _read(source: Source, register: Path, cases: Cases, counts: report.Counts) -> None:
    with _progress(DownloadColumn()) as bar:
        task = bar.add_task("checking", total=register.stat().st_size, unit="lines")
        for record in source:
            counts.lines += 1
            if isinstance(record, Broken):
                cases.refuse(Refusal(record.line, None, "row-refused", record.reason))
            else:
                cases.add(record.line, dict(record.values))
            if not counts.lines % 1000:
                bar.update(task, completed=source.done(), done=counts.lines)
    cases.check()
    counts.cases, counts.refused, counts.rows = cases.counted()
    counts.strays = cases.strays()


def _send(client: ImportClient, cases: Cases, counts: report.Counts) -> None:
    with _progress(MofNCompleteColumn()) as bar:
        task = bar.add_task("sending", total=counts.cases - counts.refused, unit="cases")

        def tell(case: Case, answer: Answer) -> None:
            match answer.result:
                case "imported":
                    counts.imported += 1
                case "extended":
                    counts.extended += 1
                case "unchanged":
                    counts.unchanged += 1
                case _:
                    counts.refused += 1
                    cases.refuse(Refusal(case.line, case.number, answer.code, answer.reason))
            bar.update(task, advance=1)

        for batch in batches(cases.ready()):
            client.send(batch, tell)


class _Rate(ProgressColumn):
    """How many in a second."""

    def render(self, task: Task) -> Text:
        """Such as ``1,234 cases/s``."""
        done = task.fields.get("done", task.completed)
        rate = done / task.elapsed if task.elapsed else 0
        return Text(f"{rate:,.0f} {task.fields['unit']}/s", style="dim")


@contextmanager
def _progress(*columns: ProgressColumn) -> Iterator[Progress]:
    # On stderr, so that what is printed on stdout can be piped.
    shown = (TextColumn("{task.description}"), BarColumn(), *columns, _Rate(), TimeRemainingColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as bar:
        yield bar


# --- export ---------------------------------------------------------------------------------------


@appeals.command()
def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Such as appeals.xes, appeals.xes.gz or appeals.jsonocel.")
    ],
    log_format: Annotated[
        Format | None, typer.Option("--format", help="By default as the name of the file says.")
    ] = None,
    body: Annotated[str, typer.Option(help="Only appeals that lay with this organisation.")] = "",
    since: Annotated[str, typer.Option(help="Only appeals that began on this day or later.")] = "",
    until: Annotated[str, typer.Option(help="Only appeals that began before this day.")] = "",
    imported: Annotated[
        bool, typer.Option("--imported/--all", help="Only appeals taken over from old registers.")
    ] = False,
    url: Annotated[str, typer.Option(help="The service to ask, instead of the database.")] = "",
) -> None:
    """Write all appeals with their events for process mining: XES, or OCEL 2.0. Public facts only.

    The log stands at one position of the ledger, which it names. A day begins in Almaty; a moment with a zone
    is taken too.
    """
    chosen = log_format or _format_of(file)
    parameters = {
        "body": f"organisation/{body.removeprefix('organisation/')}" if body else None,
        "since": _moment(since, "--since"),
        "until": _moment(until, "--until"),
        "imported": imported,
    }
    made = _from_service(url, chosen, parameters) if url else _from_database(chosen, parameters)
    partial = file.with_name(file.name + ".part")
    written = 0
    try:
        with (
            partial.open("wb") as plain,
            gzip.GzipFile("", "wb", fileobj=plain) if file.suffix == ".gz" else nullcontext(plain) as target,
            closing(made) as pieces,
            _progress() as bar,
        ):
            task = bar.add_task("exporting", total=None, unit="bytes")
            for piece in pieces:
                target.write(piece)
                written += len(piece)
                bar.update(task, completed=written)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    typer.echo(f"{file}: {written:,} bytes of {chosen.value}")


def _from_database(chosen: Format, parameters: dict[str, Any]) -> Generator[bytes]:
    from ledger.config import load
    from ledger.store.database import open_database
    from projections.mining import ocel, xes
    from projections.mining.cases import Selection, snapshot

    write = xes.write if chosen is Format.XES else ocel.write
    with (
        closing(open_database(load().settings)) as urls,
        snapshot(urls.url, Selection(**parameters)) as found,
    ):
        yield from write(found)


def _from_service(url: str, chosen: Format, parameters: dict[str, Any]) -> Generator[bytes]:
    name = "appeals.xes" if chosen is Format.XES else "appeals.jsonocel"
    asked = {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in parameters.items()
        if value
    }
    try:
        with httpx.stream("GET", f"{url.rstrip('/')}/v1/exports/{name}", params=asked, timeout=120) as answer:
            if answer.status_code != httpx.codes.OK:
                answer.read()
                detail = detail_of(answer) or "is it an Aiqyn service?"
                raise ExportError(f"{url} answers {answer.status_code}: {detail}")
            yield from answer.iter_bytes()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ExportError(f"{url} did not give the whole log ({type(error).__name__}): try again.") from error


def _format_of(file: Path) -> Format:
    name = file.name.removesuffix(".gz")
    if name.endswith(".xes"):
        return Format.XES
    if name.endswith((".json", ".jsonocel")):
        return Format.OCEL
    raise typer.BadParameter("say --format xes or --format ocel, or end the name of the file so.")


def _moment(text: str, option: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("a day such as 2024-01-31 is wanted.", param_hint=option) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=ALMATY)
