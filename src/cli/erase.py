"""``aiqyn erase``: people are forgotten, and the log says so."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.text import Text

from api.service import Parts
from ledger.config import load
from ledger.erasure import Eraser, Plan, Wish
from ledger.events.assurance import ErasureGround
from ledger.store.database import DatabaseUrls, open_database
from ledger.store.scrub import Scrubbed, pending, scrub
from projections.cabinet import Cabinet
from projections.expired import expired
from projections.runner import Runner, StandstillError

DAYS = 7
"""Over which one person's erasures are spread, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be erased."""

    streams: tuple[str, ...]
    person: str
    expired: bool
    ground: ErasureGround
    names: tuple[str, ...] | None
    data_key: bool


def erase(
    streams: Annotated[
        list[str] | None, typer.Argument(metavar="[STREAM]…", help="Such as appeal/JT-2026-00000001.")
    ] = None,
    person: Annotated[
        str,
        typer.Option(metavar="IIN", help="All of one person, or of a company by BIN; - asks for it."),
    ] = "",
    due: Annotated[
        bool, typer.Option("--expired", help="What is due by retention.toml, or waits for this run.")
    ] = False,
    ground: Annotated[
        Literal["demand", "court"], typer.Option(help="Who wants it: the person, or a court.")
    ] = "demand",
    names: Annotated[
        str, typer.Option(help="Public disclosures, by commas; by default those that are about the person.")
    ] = "",
    keep_public: Annotated[
        bool, typer.Option("--keep-public", help="Destroy what is restricted, and leave what is public.")
    ] = False,
    keep_key: Annotated[
        bool, typer.Option("--keep-key", help="Remove what is public, and leave what is restricted.")
    ] = False,
    later: Annotated[
        bool, typer.Option("--with-next-run", help="Wait, to be erased among others by --expired.")
    ] = False,
    days: Annotated[
        int, typer.Option(min=1, max=365, help="With --with-next-run: spread over so many days.")
    ] = DAYS,
    again: Annotated[
        bool, typer.Option("--again", help="After a restore: carry out every erasure of the log again.")
    ] = False,
    scrub_alone: Annotated[
        bool, typer.Option("--scrub", help="Only rewrite the files that still hold deleted rows.")
    ] = False,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="Rewrite the vault and the attachments as well; they are large.")
    ] = False,
    no_scrub: Annotated[
        bool, typer.Option("--no-scrub", help="Leave the rewriting for a quiet hour: --scrub.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Destroy what is personal in a stream: its data key and, of what is public, the names.

    Entries, hashes, counts and proofs stay. Each erasure is an event of the log, and mirrors obey it. Then
    the files are rewritten in which the database keeps deleted rows; meanwhile nobody can sign.

    Exit status: 0 done, 1 something had to stay (it says why) or an error.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    _check_choice(bool(streams), bool(person), due, again, scrub_alone)
    if keep_public and (keep_key or names):
        raise typer.BadParameter("nothing would be left to erase.", param_hint="--keep-public")
    if due and (names or keep_public or keep_key or later or ground != "demand"):
        raise typer.BadParameter("what is due is erased by its rule: leave the other choices away.")
    if later and (again or scrub_alone):
        raise typer.BadParameter("nothing waits here.", param_hint="--with-next-run")
    asked = _Asked(
        tuple(streams or ()),
        _number(person),
        due,
        cast("ErasureGround", ground),
        () if keep_public else tuple(name.strip() for name in names.split(",")) if names else None,
        not keep_key,
    )
    settings = load().settings
    with closing(open_database(settings)) as urls:
        kept = left = False
        if again:
            gone = asyncio.run(_again(Parts.load(settings, urls.url)))
            console.print(f"{gone:,} rows went that erasures of the log had taken before.")
        elif not scrub_alone:
            parts = Parts.load(settings, urls.url)
            kept = asyncio.run(
                _erase(parts, asked, console, dry_run=dry_run, yes=yes, days=days if later else 0)
            )
            if not (dry_run or later):
                _fold_cabinet(urls.url, console)
        if not (dry_run or later or no_scrub):
            left = _scrub(urls, console, sealed=sealed, anyway=scrub_alone)
        elif no_scrub and (waiting := pending(urls.admin_url)):
            console.print(f"{waiting:,} erasures wait to be scrubbed: aiqyn erase --scrub, at a quiet hour.")
    if kept or (left and scrub_alone):
        raise typer.Exit(1)


def _check_choice(*chosen: bool) -> None:
    if sum(chosen) != 1:
        raise typer.BadParameter("name streams, or choose one of --person, --expired, --again and --scrub.")


def _number(person: str) -> str:
    """An IIN or a BIN; those of certificates have no check digit to rely on."""
    if person == "-":
        person = typer.prompt("IIN or BIN", hide_input=True)
    if person and re.fullmatch(r"[0-9]{12}", person.strip(), re.ASCII) is None:
        raise typer.BadParameter("an IIN, or a BIN, has exactly 12 digits.", param_hint="--person")
    return person.strip()


async def _erase(
    parts: Parts, asked: _Asked, console: Console, *, dry_run: bool, yes: bool, days: int
) -> bool:
    """Whether something had to stay. ``days``: let it wait for one of so many."""
    ledger = parts.ledger()
    await ledger.start()
    try:
        async with Eraser.open(ledger, parts.url) as eraser:
            wishes = await _wishes(eraser, asked)
            plan = await eraser.plan(wishes)
            _show(plan, console)
            if dry_run:
                return bool(plan.kept)
            if days:
                # What is not over yet waits as well, until it is.
                waiting = [wish for wish in wishes if wish not in plan.done]
                await eraser.wait(waiting, days)
                console.print(f"{len(waiting):,} wait, each for one of the next {days} days.")
                return False
            if plan.erasures and not yes:
                typer.confirm("Destroy this for ever?", abort=True)
            with _progress(len(plan.erasures)) as bar:
                task = bar.task_ids[0]
                done = await eraser.erase(plan, lambda number: bar.update(task, completed=number))
            if done:
                console.print(f"{done:,} erased. Mirrors remove what is public when they read of it.")
            return bool(plan.kept) and not asked.expired  # a demand that waits goes on waiting
    finally:
        await ledger.stop()


async def _wishes(eraser: Eraser, asked: _Asked) -> list[Wish]:
    if asked.expired:
        return [*await expired(eraser.connection, eraser.now()), *await eraser.waiting()]
    streams: Sequence[str] = asked.streams
    if asked.person:
        streams = await eraser.of_person(asked.person)
    return [
        Wish(stream, asked.ground, asked.names, asked.data_key) for stream in await eraser.with_parts(streams)
    ]


async def _again(parts: Parts) -> int:
    ledger = parts.ledger()
    await ledger.start()
    try:
        async with Eraser.open(ledger, parts.url) as eraser:
            with _progress(0) as bar:
                return await eraser.again(
                    lambda number, total: bar.update(bar.task_ids[0], completed=number, total=total)
                )
    finally:
        await ledger.stop()


def _show(plan: Plan, console: Console) -> None:
    rooms = Counter(facts.of.partition("/")[0] for facts in plan.erasures)
    names = Counter(name for facts in plan.erasures for name in facts.names)
    if plan.erasures:
        console.print(
            f"{len(plan.erasures):,} to erase: "
            + ", ".join(f"{number:,} of room {room}" for room, number in sorted(rooms.items()))
            + f"; {sum(facts.data_key for facts in plan.erasures):,} data keys"
            + "".join(f", {number:,} of {name}" for name, number in sorted(names.items()))
            + "."
        )
    else:
        console.print("Nothing to erase.")
    if plan.done:
        console.print(f"{len(plan.done):,} hold nothing of this (any more).")
    for _, reason in plan.kept:
        console.print(str(reason), style="yellow")


def _fold_cabinet(url: str, console: Console) -> None:
    """What was erased leaves its person's cabinet now, and not when a service next folds."""
    try:
        Runner(url, [Cabinet()]).catch_up()
    except StandstillError as error:
        console.print(f"The cabinet still lists it: {error}", style="yellow")


def _scrub(urls: DatabaseUrls, console: Console, *, sealed: bool, anyway: bool) -> bool:
    """Whether something is left over."""
    if not (pending(urls.admin_url) or anyway):
        return False
    with Console(stderr=True).status("scrubbing") as status:
        found = scrub(urls.admin_url, sealed=sealed, tell=lambda step: status.update(step))
    _show_scrubbed(found, console)
    return bool(found.left_over)


def _show_scrubbed(found: Scrubbed, console: Console) -> None:
    seconds = sum(table.seconds for table in found.rewritten)
    console.print(
        f"Rewrote {len(found.rewritten)} tables in {seconds:.1f} s; {found.segments} segments of the "
        "write-ahead log are gone."
    )
    for place in found.left_over:
        console.print(f"Left over: {place}", style="yellow")
    if not found.left_over:
        console.print("No file of this database holds what was erased. Backups hold it until they expire.")


class _Rate(ProgressColumn):
    """How many in a second."""

    def render(self, task: Task) -> Text:
        """Such as ``123/s``."""
        rate = task.completed / task.elapsed if task.elapsed else 0
        return Text(f"{rate:,.0f}/s", style="dim")


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    columns = (TextColumn("erasing"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeLeft())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task("", total=total or None)
        yield bar
