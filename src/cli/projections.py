"""``aiqyn projections``: where the read models stand, whether they are right, and how to build them anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ledger.config import load
from ledger.store.database import connect, open_database
from projections import ALL
from projections.base import select
from projections.digest import digest, published
from projections.positions import status as read_status
from projections.rebuild import Result
from projections.rebuild import rebuild as rebuild_projections
from projections.rebuild import verify as verify_projections

if TYPE_CHECKING:
    from api.committing import Committed

app = typer.Typer(no_args_is_help=True, add_completion=False)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]…", help="Which projections; all of them if none is named."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.callback()
def projections() -> None:
    """The tables that the public reads, folded from the ledger's entries."""


@app.command()
def status(
    names: Names = None,
    digests: Annotated[
        bool, typer.Option("--digest", help="Also compute each public digest: reads all rows.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say where each projection stands. Exit status 1 where one stands still, with the reason."""
    chosen = select(ALL, names or [])
    with (
        closing(open_database(load().settings)) as urls,
        connect(urls.url, application_name="aiqyn projections status", autocommit=True) as connection,
    ):
        found = read_status(connection, chosen)
        sums = {p.name: digest(connection, p) for p in published(chosen)} if digests else {}
    if as_json:
        _print_json(
            [
                msgspec.to_builtins(one) | {"lag": one.lag}
                | ({"digest": msgspec.to_builtins(sums[one.name])} if one.name in sums else {})
                for one in found
            ]
        )  # fmt: skip
    else:
        table = Table(box=None, pad_edge=False)
        for heading in ("projection", "version"):
            table.add_column(heading)
        for heading in ("position", "head", "behind"):
            table.add_column(heading, justify="right")
        for one in found:
            numbers = (one.position, one.head, one.lag)
            table.add_row(one.name, str(one.version), *(f"{number:,}" for number in numbers))
        console = Console(soft_wrap=True)
        console.print(table)
        for one in found:
            if one.name in sums:
                console.print(f"{one.name} at {sums[one.name].position}: sha256 {sums[one.name].sha256}")
            if one.error is not None:
                console.print(f"{one.name} stands still: {one.error}", style="red", markup=False)
    if any(one.error is not None for one in found):
        raise typer.Exit(1)


@app.command()
def commit(names: Names = None, as_json: Json = False) -> None:
    """Record the digests of the published tables in the ledger, now; of those that moved since last time."""
    from api.service import Parts  # the other commands need no keys, and nothing of what serves

    chosen = select(published(ALL), names or [])
    settings = load().settings
    with closing(open_database(settings)) as urls:
        parts = Parts.load(settings, urls.url)

        async def work() -> list[Committed]:
            ledger = parts.ledger()
            await ledger.start()
            try:
                return await parts.committer(ledger).commit([p.name for p in chosen])
            finally:
                await ledger.stop()

        committed = asyncio.run(work())
    if as_json:
        _print_json(msgspec.to_builtins(committed))
        return
    console = Console(soft_wrap=True, markup=False, highlight=False)
    for one in committed:
        console.print(f"{one.name} as of {one.as_of:,}: sha256 {one.digest}, committed at {one.position:,}")
    done = {one.name for one in committed}
    for projection in chosen:
        if projection.name not in done:
            console.print(f"{projection.name}: nothing new since its last digest")


@app.command()
def rebuild(
    names: Names = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also tell whether the old tables were right.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fold all entries anew beside the live tables, then swap. The service goes on meanwhile."""
    results = _run(
        names,
        "rebuilding",
        lambda url, chosen, tell: rebuild_projections(url, chosen, progress=tell, compare=compare),
    )
    _print_results(results, as_json=as_json)


@app.command()
def verify(names: Names = None, as_json: Json = False) -> None:
    """Fold all entries anew and compare with the live tables. Exit status 1 where a row differs."""
    results = _run(
        names, "verifying", lambda url, chosen, tell: verify_projections(url, chosen, progress=tell)
    )
    _print_results(results, as_json=as_json)
    if not all(result.comparison and result.comparison.difference is None for result in results):
        raise typer.Exit(1)


def _run(names: list[str] | None, what: str, work: Callable[..., list[Result]]) -> list[Result]:
    chosen = select(ALL, names or [])
    with closing(open_database(load().settings)) as urls, _progress(what) as tell:
        return work(urls.url, chosen, tell)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    # On stderr, so that what is printed on stdout can be piped.
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def tell(position: int, head: int) -> None:
            bar.update(task, completed=position + 1, total=head + 1)

        yield tell


def _print_results(results: list[Result], *, as_json: bool) -> None:
    if as_json:
        _print_json(msgspec.to_builtins(results))
        return
    console = Console(soft_wrap=True, markup=False)
    public = {projection.name for projection in published(ALL)}
    for result in results:
        if result.swapped:
            console.print(f"{result.name}: rebuilt, stands at {result.position:,}")
        found = result.comparison
        if found is None:
            if not result.swapped:
                console.print(
                    f"{result.name}: not compared, its tables were filled by another version of its fold: "
                    f"run aiqyn projections rebuild {result.name}",
                    style="red",
                )
        elif found.difference is None:
            shown = f", sha256 {found.rebuilt}" if result.name in public else ""
            console.print(f"{result.name}: right at {found.position:,}{shown}", style="green")
        else:
            where = (
                f"{result.name}: the tables differed at {found.position:,}, first in {found.difference.table}"
            )
            console.print(where, style="red")
            console.print(f"  live     {_row(found.difference.live)}")
            console.print(f"  entries  {_row(found.difference.rebuilt)}")


def _row(row: str | None) -> str:
    return "no row" if row is None else row.replace("\t", " | ")


def _print_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())
