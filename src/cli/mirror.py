"""``aiqyn mirror``: a copy of a ledger that was verified entry by entry while it was copied."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

import msgspec
import psycopg
import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from api.copies import Answers, CopyParts, serve
from api.supervisor import listen
from audit.mirror import Mirror, Options, Round, Trust
from audit.mirror.errors import ContradictionError, UnverifiedError
from audit.mirror.exporting import export as export_files
from audit.mirror.folding import PUBLIC
from audit.mirror.progress import Progress
from audit.mirror.store import KeptFinding, Store
from audit.plugins import installed
from audit.source import HttpSource, SourceError
from audit.summary import printable
from ledger.config import Settings, load
from ledger.store.database import DatabaseUnavailableError, DatabaseUrls, open_database
from ledger.store.reader import LogReader, NotInLogError
from ledger.store.scrub import pending, scrub
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.errors import TlogError
from ledger.tlog.note import SignedNote
from projections.positions import Status
from projections.positions import status as read_status

COPY = "copy"
SCRUB_SECONDS = 3600.0


class _OrAddress(TyperGroup):
    """A group that takes an address where a subcommand's name would stand."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer keeps these types private
        if args and args[0] not in self.commands:
            args = [COPY, *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_OrAddress,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Folder of the mirror and its database; by default `mirror` in AIQYN_HOME.",
        file_okay=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.callback()
def mirror() -> None:
    """Keep a copy of a ledger, verified while it is copied: `aiqyn mirror URL --log-key VKEY`.

    Copies the log, checks every hash, signature and rule, rebuilds the public tables and compares them with
    what the operator committed and publishes; then follows the log. `aiqyn mirror copy --help` lists the
    options.
    """


@app.command(COPY)
def copy(
    url: Annotated[str, typer.Argument(metavar="URL", help="The ledger's address, or another mirror's.")],
    log_keys: Annotated[
        list[str],
        typer.Option(
            "--log-key",
            metavar="VKEY",
            help="The log's key, got from somewhere else than the ledger; repeated for further keys.",
        ),
    ],
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Witnesses that must have cosigned (C2SP tlog-policy).", exists=True
        ),
    ] = None,
    home: Home = None,
    once: Annotated[
        bool, typer.Option("--once", help="Catch up, compare, and end: status 1 where anything is wrong.")
    ] = False,
    serving: Annotated[
        bool, typer.Option("--serve", help="Also serve the log and the read-only interface from the copy.")
    ] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of AIQYN_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port, instead of AIQYN_PORT; 0 takes a free one.", min=0, max=65_535)
    ] = None,
    compare_limit: Annotated[
        int, typer.Option(help="Most published answers in one comparison; 0 compares none.", min=0)
    ] = Options.compare_limit,
    compare_minutes: Annotated[
        float, typer.Option(help="Minutes between two comparisons.", min=0)
    ] = Options.compare_every.total_seconds() / 60,
    poll: Annotated[
        float, typer.Option(help="Seconds between two looks at the log.", min=0.1)
    ] = Options.poll,
    patience: Annotated[
        float,
        typer.Option(help="Seconds for which a cache may show an older checkpoint than before.", min=0),
    ] = Options.patience,
) -> None:
    """Copy a ledger, and follow it until Ctrl-C; what was interrupted goes on where it stopped.

    Exit status: 0 done, 1 something is wrong (see `aiqyn mirror status`) or the log cannot be read.
    """
    try:
        trust = Trust.parse(log_keys, None if policy is None else policy.read_bytes())
    except TlogError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--log-key or --policy") from error
    settings = _settings(home, host=host, port=port)
    if "AIQYN_LOG_LEVEL" not in os.environ:  # a line for each request would drown what is found
        settings = msgspec.structs.replace(settings, log_level="warning")
    console = Console(stderr=True)
    rules, warnings = installed()
    for warning in warnings:
        console.print(Text(printable(warning), style="yellow"), soft_wrap=True)
    options = Options(
        compare_limit=compare_limit,
        compare_every=timedelta(minutes=compare_minutes),
        poll=poll,
        patience=patience,
        more_rules=tuple(rules),
    )
    logging.basicConfig(
        level="WARNING", format="%(message)s", handlers=[RichHandler(console=console, show_path=False)]
    )
    # Read first: it says at once what is wrong with the address.
    with closing(HttpSource(url)) as source, ExitStack() as stack:
        urls = stack.enter_context(closing(open_database(settings)))
        store = stack.enter_context(Store(urls.url))
        store.begin(source.name, trust)
        parts = CopyParts(settings, urls.url, source.name, trust.key, trust.more)
        if serving:
            stack.enter_context(_Served(parts, console))
        answers = stack.enter_context(Answers(parts)) if compare_limit else None
        shown = stack.enter_context(_Shown(console))
        kept = Mirror(store, source, trust, ask=answers, options=options, on_progress=shown.tell)
        with closing(kept):
            try:
                clean = _once(kept, urls, shown) if once else _follow(kept, urls, shown)
            except ContradictionError as error:
                shown.stop()
                _alarm(console, str(error))
                raise typer.Exit(1) from error
            except psycopg.OperationalError as error:
                raise DatabaseUnavailableError(f"the mirror's database went away: {error}") from error
            except (SourceError, UnverifiedError) as error:
                shown.stop()
                console.print(Text(printable(f"aiqyn: {error}"), style="red"), soft_wrap=True)
                raise typer.Exit(1) from error
        shown.stop()
        if not clean:
            _tell_findings(store.findings(), store.more_findings(), console)
            raise typer.Exit(1)


@app.command()
def status(home: Home = None, as_json: Json = False) -> None:
    """Say what was copied, how far it was checked, and what was found.

    Exit status 1 where anything is wrong.
    """
    with _opened(home) as (urls, store):
        origin = store.require_mirror()
        found, more, contradictions = store.findings(), store.more_findings(), store.contradictions()
        projections = read_status(store.connection, PUBLIC)
        size, clean = store.head().size, store.is_clean()
        digests = dict(
            store.connection.execute(
                "SELECT outcome, count(*) FROM mirror.digests GROUP BY outcome"
            ).fetchall()
        )
        with LogReader(urls.url) as reader:
            checkpoint = _newest(reader)
    if as_json:
        document = {
            "url": origin.url,
            "log_key": origin.log_key,
            "more_keys": origin.more_keys,
            "size": size,
            "checkpoint": None if checkpoint is None else checkpoint.decode("utf-8", "replace"),
            "replayed": origin.replayed,
            "disclosed": origin.disclosed,
            "seen_at": origin.seen_at,
            "compared_at": origin.compared_at,
            "compared": origin.compared,
            "digests": digests,
            "projections": {one.name: one.position for one in projections},
            "clean": clean,
            "findings": found,
            "more_findings": more,
            "contradictions": contradictions,
        }
        typer.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
    else:
        console = Console()
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in (
            ("copy of", origin.url),
            ("key", "\n".join([origin.log_key, *origin.more_keys])),
            ("copied", f"{_entries(size)}, {_covered(checkpoint)}"),
            ("last look", f"{origin.seen_at:%Y-%m-%d %H:%M:%S} UTC" if origin.seen_at else "never"),
            ("replayed", f"{_entries(origin.replayed)}: signatures, issuers and rules"),
            ("public texts", f"beside {_entries(origin.disclosed)}"),
            ("tables", _standing(projections)),
            ("digests", _digests(digests)),
            (
                "published",
                f"{origin.compared:,} answers compared at {origin.compared_at:%Y-%m-%d %H:%M:%S} UTC"
                if origin.compared_at
                else "nothing compared yet",
            ),
        ):
            table.add_row(name, Text(printable(value) if "\n" not in value else value))
        console.print(table)
        for contradiction in contradictions:
            _alarm(console, contradiction.said)
        _tell_findings(found, more, console)
    if not clean:
        raise typer.Exit(1)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files are written.")],
    home: Home = None,
) -> None:
    """Write the copy as plain files (C2SP tlog-tiles), for any web server and for `aiqyn audit DIR`.

    It may be interrupted and repeated; what is there already is not written again.
    """
    with _opened(home) as (urls, store), _Shown(Console(stderr=True)) as shown:
        store.require_mirror()
        with LogReader(urls.url) as reader:
            done = export_files(
                reader, folder, lambda written, size: shown.tell(Progress("copying", written, size))
            )
    typer.echo(
        f"{folder} has {_entries(done.checkpoint.size)} of {done.checkpoint.origin}; "
        f"{done.written:,} files are new."
    )


# --- keeping ------------------------------------------------------------------------------------------


def _once(kept: Mirror, urls: DatabaseUrls, shown: _Shown) -> bool:
    done = kept.round(compare=True)
    _Scrubbing(urls, shown).look()
    shown.say(done)
    return done.clean


def _follow(kept: Mirror, urls: DatabaseUrls, shown: _Shown) -> bool:
    stop = threading.Event()
    clean = True
    scrubbing = _Scrubbing(urls, shown)

    def on_round(done: Round) -> None:
        nonlocal clean
        clean = done.clean
        shown.say(done)
        scrubbing.look()

    before = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        kept.follow(stop, on_round)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return clean


class _Scrubbing:
    """After an erasure: what PostgreSQL keeps of deleted rows goes as well, at most once an hour."""

    def __init__(self, urls: DatabaseUrls, shown: _Shown) -> None:
        self._urls = urls
        self._shown = shown
        self._after = 0.0

    def look(self) -> None:
        """Scrub if there is anything to scrub."""
        if time.monotonic() < self._after or not pending(self._urls.url):
            return
        self._after = time.monotonic() + SCRUB_SECONDS
        try:
            left_over = scrub(self._urls.admin_url).left_over
        except psycopg.Error as error:
            left_over = [f"What was erased may still stand in the database's files: {error}"]
        for line in left_over:
            self._shown.warn(line)


def _settings(home: Path | None, **changes: str | int | None) -> Settings:
    """Those of a mirror's own folder: never those of a ledger on the same machine."""
    own = home or load().settings.home / "mirror"
    settings = load({**os.environ, "AIQYN_HOME": str(own.expanduser().absolute())}).settings
    return msgspec.structs.replace(settings, **{k: v for k, v in changes.items() if v is not None})


@contextmanager
def _opened(home: Path | None) -> Iterator[tuple[DatabaseUrls, Store]]:
    settings = _settings(home)
    if not settings.database_url and not (settings.home / "postgres").is_dir():
        raise typer.BadParameter(f"{settings.home} has no mirror.", param_hint="--home")
    with closing(open_database(settings)) as urls, Store(urls.url) as store:
        yield urls, store


# --- serving ------------------------------------------------------------------------------------------


class _Served:
    """A process that serves the copy, begun again if it dies."""

    def __init__(self, parts: CopyParts, console: Console) -> None:
        self._parts = parts
        self._console = console
        self._ending = threading.Event()
        self._context = multiprocessing.get_context("spawn")
        self._watch = threading.Thread(target=self._run, name="serving", daemon=True)
        self._listening: socket.socket

    def __enter__(self) -> Self:
        self._listening = listen(self._parts.settings.host, self._parts.settings.port)
        address, port = self._listening.getsockname()[:2]
        self._console.print(f"Serving the copy at http://{address}:{port}", soft_wrap=True, highlight=False)
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._watch.join()
        self._listening.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            process = self._context.Process(
                target=serve, args=(self._parts, self._listening), name="serving the copy"
            )
            process.start()
            while process.is_alive() and not self._ending.wait(0.2):
                pass
            process.terminate()
            process.join(15)
            if not self._ending.is_set():
                logging.getLogger(__name__).warning("serving ended; it begins again")
                self._ending.wait(1)


# --- telling ------------------------------------------------------------------------------------------


class _RateColumn(TextColumn):
    """Things a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: object) -> Text:
        speed = getattr(task, "speed", None)
        return Text(f"{speed:,.0f}/s" if speed else "", style="cyan")


class _Shown:
    """Progress on a terminal, and a line for each round that brought something."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            TextColumn("{task.description:>11}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(),
            _RateColumn(), TimeRemainingColumn(), console=console, transient=True,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._said = ""
        self._running = False

    def __enter__(self) -> Self:
        self._bar.start()
        self._running = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the terminal to others."""
        if self._running:
            self._bar.stop()
            self._running = False

    def tell(self, step: Progress) -> None:
        """How far one phase is."""
        if step.phase not in self._tasks:
            self._tasks[step.phase] = self._bar.add_task(step.phase, total=step.total, completed=step.done)
        self._bar.update(self._tasks[step.phase], completed=step.done, total=step.total)

    def warn(self, line: str) -> None:
        """Something that a person should know."""
        self._console.print(Text(printable(line), style="yellow"), soft_wrap=True)

    def say(self, done: Round) -> None:
        """What a round brought; the same thing once."""
        for task in self._tasks.values():
            self._bar.remove_task(task)
        self._tasks.clear()
        line = f"{_entries(done.size)} verified, {'nothing is wrong' if done.clean else 'something is WRONG'}"
        if done.compared is not None:
            line += f"; {done.compared.answers:,} published answers compared"
            if left := done.compared.older + done.compared.beyond:
                line += f", {left:,} could not be"
        if done.undisclosed is not None:
            line += f"; what is public beside the entries could not be had: {printable(done.undisclosed)}"
        if line != self._said:
            self._said = line
            self._console.print(
                f"{time.strftime('%H:%M:%S')} {line}",
                style="green" if done.clean else "red",
                highlight=False,
                soft_wrap=True,
            )


def _alarm(console: Console, said: str) -> None:
    text = Text(printable(said), style="bold")
    text.append(
        "\n\nBoth notes bear the log's signature; they are kept, and `aiqyn mirror status --json` shows "
        "them. Publish them: nobody can deny them.",
        "default",
    )
    console.print(Panel(text, title="THE LOG CONTRADICTS ITSELF", border_style="bold red", padding=(1, 2)))


def _tell_findings(found: Sequence[KeptFinding], more: dict[str, int], console: Console) -> None:
    if not found and not more:
        console.print("Nothing was found to be wrong.", style="green")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("position", justify="right", no_wrap=True)
    table.add_column("rule", no_wrap=True, style="red")
    table.add_column("what is wrong", overflow="fold")
    for one in found:
        over = "" if one.over_at is None else f" Over since {one.over_at:%Y-%m-%d %H:%M:%S} UTC."
        reason = Text(printable(one.reason + over), style="dim" if over else "")
        table.add_row(one.finding.place, one.rule, reason)
    for rule, number in more.items():
        table.add_row("…", rule, f"and {number:,} more")
    console.print(table)


def _newest(reader: LogReader) -> bytes | None:
    try:
        return reader.checkpoint()
    except NotInLogError:
        return None


def _covered(note: bytes | None) -> str:
    if note is None:
        return "no checkpoint is whole yet"
    checkpoint = Checkpoint.parse(SignedNote.parse(note).text)
    return f"checkpoint of {_entries(checkpoint.size)}, root {checkpoint.root.hex()}"


def _standing(projections: Sequence[Status]) -> str:
    positions = {one.position for one in projections}
    if len(positions) == 1:
        return f"all {len(projections)} at position {positions.pop():,}"
    return ", ".join(f"{one.name} at {one.position:,}" for one in projections)


def _digests(outcomes: dict[str, int]) -> str:
    if not outcomes:
        return "none committed yet"
    words = {"same": "the same", "different": "DIFFERENT", "not-compared": "not compared"}
    return ", ".join(f"{outcomes[name]:,} {word}" for name, word in words.items() if name in outcomes)


def _entries(number: int) -> str:
    return f"{number:,} {'entry' if number == 1 else 'entries'}"
