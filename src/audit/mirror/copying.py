"""Entries on their way into the copy: fetched ahead, checked against the signed tree, written group by group.

Each group is one transaction: entries, nodes, the head, and what is public beside the entries. Whatever
interrupts a copy leaves the entries of whole groups, all of them verified, and the next run goes on behind.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg

from audit.bundles import split_bundle
from audit.findings import Finding
from audit.mirror.authentic import ATTEMPTS, PAUSE, Authentic
from audit.mirror.disclosing import Disclosures, Page, obey
from audit.mirror.entries import Copied, opened
from audit.mirror.errors import UnverifiedError
from audit.mirror.progress import OnProgress, Progress
from audit.mirror.store import Store
from audit.source import NotServedError, OversizedError, Source, read_tile
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.merkle import GrowingTree, leaf_hash
from ledger.tlog.tiles import WIDTH, TilePath, tile_width

BUNDLES = 16
"""In one transaction: 4,096 entries, some megabytes."""
AHEAD = 2
"""Groups that are fetched while one is written."""
COPYING_RULES = ("entry-hash", "tile-missing", "tile-malformed", "tile-hash", "tree-root")
"""What is found about files that a log serves; it is over once they are what was signed."""

_COPY = "COPY ledger.entries (position, stream, n, type, entry, leaf) FROM STDIN (FORMAT BINARY)"
_COPY_TYPES = ["int8", "text", "int8", "text", "bytea", "bytea"]
_NODES = "INSERT INTO ledger.nodes SELECT * FROM unnest(%b::int2[], %b::int8[], %b::bytea[])"
_HEAD = "UPDATE ledger.head SET size = %b, frontier = %b"
_RELEASE = "UPDATE ledger.head SET halted = NULL"
_HALT = "UPDATE ledger.head SET halted = %b"
HALTED = "This is a copy: nothing is appended to it."
"""Why whoever took this database for a ledger's could append nothing, whatever keys they have."""
_TAKEN = """
    SELECT s.stream, s.n FROM unnest(%b::text[], %b::int8[]) AS s (stream, n)
    JOIN ledger.entries e ON e.stream = s.stream AND e.n = s.n"""


class Copier:
    """Copies what one signed tree has and this mirror does not."""

    def __init__(
        self, store: Store, source: Source, disclosures: Disclosures, on_progress: OnProgress
    ) -> None:
        self._store = store
        self._source = source
        self._disclosures = disclosures
        self._on_progress = on_progress

    def copy(self, checkpoint: Checkpoint, tree: Authentic, found: list[Finding]) -> int:
        """Copy up to a checkpoint whose tree grew from what is here; returns how many entries that were.

        ``found`` collects what is wrong with the served files, from other threads as well. Raises
        :class:`UnverifiedError` or :class:`audit.source.SourceError`.
        """
        start = size = self._store.head().size
        with ThreadPoolExecutor(self._source.parallel, thread_name_prefix="mirror") as pool:
            for entries, page in self._groups(pool, tree, start, checkpoint.size, found):
                self._write(entries, page)
                size += len(entries)
                self._on_progress(Progress("copying", size, checkpoint.size))
        return size - start

    # --- reading --------------------------------------------------------------------------------------

    def _groups(
        self, pool: ThreadPoolExecutor, tree: Authentic, start: int, size: int, found: list[Finding]
    ) -> Iterator[tuple[list[Copied], Page]]:
        bundles = range(start // WIDTH, (size + WIDTH - 1) // WIDTH)
        groups = iter([bundles[at : at + BUNDLES] for at in range(0, len(bundles), BUNDLES)])
        under_way: deque[tuple[list[Future[list[Copied]]], Future[Page]]] = deque()
        try:
            while True:
                while len(under_way) <= AHEAD and (group := next(groups, None)) is not None:
                    first, last = max(start, group[0] * WIDTH), min(size, (group[-1] + 1) * WIDTH)
                    under_way.append(
                        (
                            [pool.submit(self._read, tree, index, start, size, found) for index in group],
                            pool.submit(self._disclosures.read, first, last),
                        )
                    )
                if not under_way:
                    return
                reads, page = under_way.popleft()
                yield [copied for read in reads for copied in read.result()], page.result()
        finally:
            for reads, page in under_way:
                page.cancel()
                for read in reads:
                    read.cancel()

    def _read(self, tree: Authentic, index: int, start: int, size: int, found: list[Finding]) -> list[Copied]:
        """One bundle's entries from ``start`` on, each what the signed tree says."""
        width = tile_width(0, index, size)
        expected = tree.tile(0, index)[:width]
        for attempt in range(ATTEMPTS):
            time.sleep(PAUSE * attempt)
            entries, fault = self._fetch(TilePath(None, index, width))
            leaves = [leaf_hash(entry) for entry in entries]
            if leaves == expected:
                break
        else:
            found.append(self._wrong(index, expected, leaves, fault))
        skip = max(0, start - index * WIDTH)
        if leaves[skip:] != expected[skip:]:  # before that, it is here already
            raise UnverifiedError(f"{self._source.name}: {found[-1].reason}", position=found[-1].position)
        return [
            Copied(index * WIDTH + at, entries[at], leaves[at], opened(entries[at]))
            for at in range(skip, width)
        ]

    def _wrong(
        self, index: int, expected: Sequence[bytes], leaves: Sequence[bytes], fault: str | None
    ) -> Finding:
        """What is wrong with a bundle: its first entry that differs, and the last one of an unbroken row."""
        wrong = [at for at, leaf in enumerate(expected) if at >= len(leaves) or leaves[at] != leaf]
        first = last = wrong[0]
        while last + 1 in wrong:
            last += 1
        return Finding(
            rule="tile-missing" if fault and not leaves else "entry-hash",
            reason=fault
            or f"Entry {index * WIDTH + first} does not hash to what the signed tree holds: it was changed "
            "after it was logged, or on its way here.",
            position=index * WIDTH + first,
            last=index * WIDTH + last,
            evidence={
                "signed": expected[first].hex(),
                "served": leaves[first].hex() if first < len(leaves) else None,
            },
        )

    def _fetch(self, tile: TilePath) -> tuple[list[bytes], str | None]:
        try:
            entries, reason = split_bundle(read_tile(self._source, tile), tile.width)
        except (NotServedError, OversizedError) as error:
            return [], f"The entry bundle cannot be had: {error}"
        return entries, f"{tile.path}: {reason}." if reason else None

    # --- writing --------------------------------------------------------------------------------------

    def _write(self, entries: Sequence[Copied], page: Page) -> None:
        try:
            self._write_group(entries, page, set())
        except psycopg.errors.UniqueViolation:
            # A log that breaks the rules: two entries that say to be the same event of a stream.
            self._write_group(entries, page, self._taken(entries))

    def _write_group(self, entries: Sequence[Copied], page: Page, renamed: set[int]) -> None:
        tree = GrowingTree(self._store.head())
        tree.extend([copied.leaf for copied in entries])
        with self._store.transaction() as cursor:
            with cursor.copy(_COPY) as copy:
                copy.set_types(_COPY_TYPES)
                for copied in entries:
                    stream, n, type_ = _names(copied, copied.position in renamed)
                    copy.write_row((copied.position, stream, n, type_, copied.entry, copied.leaf))
            if nodes := tree.new_nodes():
                cursor.execute(_NODES, [list(column) for column in zip(*nodes, strict=True)])
            cursor.execute(_RELEASE)
            cursor.execute(_HEAD, [tree.size, tree.frontier().to_bytes()])
            cursor.execute(_HALT, [HALTED])
            self._disclosures.store(cursor, page, entries)
            for copied in entries:
                if copied.position not in renamed:
                    obey(cursor, copied.event)
            self._store.notify()

    def _taken(self, entries: Sequence[Copied]) -> set[int]:
        """Positions of entries whose stream and number stand in another entry already."""
        readable = [(copied.position, copied.event) for copied in entries if copied.event is not None]
        rows = self._store.connection.execute(
            _TAKEN, [[event.stream for _, event in readable], [event.n for _, event in readable]]
        ).fetchall()
        taken, found = set(rows), set()
        for position, event in readable:
            if (event.stream, event.n) in taken:
                found.add(position)
            taken.add((event.stream, event.n))
        return found


def _names(copied: Copied, taken: bool) -> tuple[str, int, str]:
    """Stream, number and type under which an entry is found."""
    if copied.event is None:
        return f"unreadable/{copied.position}", 1, "unreadable"
    if taken:
        return f"repeated/{copied.position}", 1, copied.event.facts.type
    return copied.event.stream, copied.event.n, copied.event.facts.type
