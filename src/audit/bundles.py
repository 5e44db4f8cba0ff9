"""Entries on their way in: bundles fetched and checked ahead of the replay, which takes them in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from audit.checking import Checked, Keys, check, cut
from audit.checking import split_bundle as split_bundle  # read from here by others
from audit.source import NotServedError, OversizedError, Source, cut_tile, read_tile
from ledger.errors import AiqynError
from ledger.statement import Event, open_event
from ledger.tlog.merkle import HASH_SIZE
from ledger.tlog.tiles import WIDTH, TilePath, tile_width

AHEAD = 16
"""Bundles under way at a time: about 4 MB of usual entries."""

Checker = Callable[[bytes, int, int], Checked]
"""Data, width and skip of a bundle → what is known of its entries; called from several threads."""


class Opened(NamedTuple):
    """One entry."""

    event: Event | AiqynError
    """Or why the entry cannot be read."""


@dataclass
class Bundle:
    """The entries of one bundle, from the first one that is new."""

    first: int
    """Position of its first entry."""
    expected: int
    """How many entries there must be."""
    data: bytes
    """As it was served, those before the first new one included."""
    width: int
    skip: int
    checked: Checked
    hashes: bytes
    """What the level-0 tile says the leaves are, 32 bytes each; empty if it is missing or malformed."""
    entries_fault: tuple[str, str] | None = None
    """Rule and reason why entries are missing; those before the fault are there."""
    tile_fault: tuple[str, str] | None = None

    def __len__(self) -> int:
        return len(self.checked)

    @property
    def leaves(self) -> list[bytes]:
        """Hash of each entry."""
        return cut(self.checked.leaves)

    @cached_property
    def raw(self) -> list[bytes]:
        """The entries themselves."""
        return split_bundle(self.data, self.width)[0][self.skip :]

    @property
    def entries(self) -> Iterator[Opened]:
        """The entries, opened; nothing is said of their signatures."""
        for entry in self.raw:
            yield open_entry(entry)


def open_entry(entry: bytes) -> Opened:
    """Read one entry strictly."""
    try:
        return Opened(open_event(entry))
    except AiqynError as error:
        return Opened(error)


def unverified(data: bytes, width: int, skip: int) -> Checked:
    """The :data:`Checker` of who needs no signature verified."""
    return check(data, width, skip, Keys())


def bundles(source: Source, start: int, size: int, checker: Checker = unverified) -> Iterator[Bundle]:
    """Bundles with the entries ``start`` to ``size - 1``, in order.

    Raises :class:`audit.source.SourceError` where the source fails to answer.
    """
    threads = min(AHEAD, max(source.parallel, 2 * (os.cpu_count() or 1) + 2))
    indexes = iter(range(start // WIDTH, (size + WIDTH - 1) // WIDTH))
    under_way: deque[Future[Bundle]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="audit") as pool:
        try:
            while True:
                while len(under_way) < AHEAD and (index := next(indexes, None)) is not None:
                    under_way.append(pool.submit(_read, source, index, start, size, checker))
                if not under_way:
                    return
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _read(source: Source, index: int, start: int, size: int, checker: Checker) -> Bundle:
    width = tile_width(0, index, size)
    skip = max(0, start - index * WIDTH)
    entries_fault = tile_fault = None
    data = hashes = b""
    tile = TilePath(None, index, width)
    try:
        data = read_tile(source, tile)
    except (NotServedError, OversizedError) as error:
        entries_fault = ("tile-missing", f"The entry bundle cannot be had: {error}")
    checked = checker(data, width, skip)
    if checked.reason and entries_fault is None:
        entries_fault = ("tile-malformed", f"{tile.path}: {checked.reason}.")
    tile = TilePath(0, index, width)
    try:
        hashes = cut_tile(read_tile(source, tile), width)
    except (NotServedError, OversizedError) as error:
        tile_fault = ("tile-missing", f"The hash tile cannot be had: {error}")
    else:
        if len(hashes) != width * HASH_SIZE:
            reason = f"a tile of width {width} has {width * HASH_SIZE} bytes, not {len(hashes)}"
            hashes, tile_fault = b"", ("tile-malformed", f"{tile.path}: {reason}.")
    hashes = hashes[skip * HASH_SIZE :]
    return Bundle(
        index * WIDTH + skip, width - skip, data, width, skip, checked, hashes, entries_fault, tile_fault
    )
