"""Entries on their way in: bundles fetched, hashed, opened and verified ahead of the replay.

The work is done by threads that run some bundles ahead. Ed25519 verification happens outside the
interpreter lock, so they keep all cores busy; the replay itself takes the results in order.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from audit.source import NotServedError, OversizedError, Source, cut_tile, read_tile
from ledger.errors import AiqynError
from ledger.keys import VerifyingKey
from ledger.statement import Event, SignatureInvalidError, open_event
from ledger.tlog.merkle import leaf_hash
from ledger.tlog.tiles import WIDTH, TileError, TilePath, parse_bundle, split_tile, tile_width

AHEAD = 16
"""Bundles under way at a time: about 4 MB of usual entries."""

FindKey = Callable[[str], VerifyingKey | None]
"""A public key by its id; an id is the key's own hash, so any key found under it is the right one."""


@dataclass(slots=True)
class Opened:
    """One entry and what is known of it without what came before it."""

    event: Event | AiqynError
    """Or why the entry cannot be read."""
    verified: bool | None
    """None: the key was not known yet when this was read."""


@dataclass(slots=True)
class Bundle:
    """The entries of one bundle, from the first one that is new."""

    first: int
    """Position of its first entry."""
    expected: int
    """How many entries there must be."""
    entries: list[Opened] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    """What the level-0 tile says the leaves are; empty if it is missing or malformed."""
    entries_fault: tuple[str, str] | None = None
    """Rule and reason why entries are missing; those before the fault are there."""
    tile_fault: tuple[str, str] | None = None


def bundles(source: Source, start: int, size: int, find_key: FindKey) -> Iterator[Bundle]:
    """Bundles with the entries ``start`` to ``size - 1``, in order.

    Raises :class:`audit.source.SourceError` where the source fails to answer.
    """
    workers = max(source.parallel, os.cpu_count() or 1)
    indexes = iter(range(start // WIDTH, (size + WIDTH - 1) // WIDTH))
    under_way: deque[Future[Bundle]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="audit") as pool:
        try:
            while True:
                while len(under_way) < AHEAD and (index := next(indexes, None)) is not None:
                    under_way.append(pool.submit(_read, source, index, start, size, find_key))
                if not under_way:
                    return
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _read(source: Source, index: int, start: int, size: int, find_key: FindKey) -> Bundle:
    width = tile_width(0, index, size)
    skip = max(0, start - index * WIDTH)
    bundle = Bundle(index * WIDTH + skip, width - skip)
    tile = TilePath(None, index, width)
    try:
        data = read_tile(source, tile)
    except (NotServedError, OversizedError) as error:
        bundle.entries_fault = ("tile-missing", f"The entry bundle cannot be had: {error}")
    else:
        entries, reason = split_bundle(data, width)
        if reason:
            bundle.entries_fault = ("tile-malformed", f"{tile.path}: {reason}.")
        bundle.leaves = [leaf_hash(entry) for entry in entries[skip:]]
        bundle.entries = [_open(entry, find_key) for entry in entries[skip:]]
    tile = TilePath(0, index, width)
    try:
        bundle.hashes = split_tile(cut_tile(read_tile(source, tile), width), width)[skip:]
    except (NotServedError, OversizedError) as error:
        bundle.tile_fault = ("tile-missing", f"The hash tile cannot be had: {error}")
    except TileError as error:
        bundle.tile_fault = ("tile-malformed", f"{tile.path}: {error}.")
    return bundle


def _open(entry: bytes, find_key: FindKey) -> Opened:
    try:
        event = open_event(entry)
    except AiqynError as error:
        return Opened(error, None)
    key = find_key(event.kid)
    return Opened(event, None if key is None else verifies(event, key))


def verifies(event: Event, key: VerifyingKey) -> bool:
    """Whether the event is signed by that key."""
    try:
        event.verify(key)
    except SignatureInvalidError:
        return False
    return True


def split_bundle(data: bytes, width: int) -> tuple[list[bytes], str]:
    """The first ``width`` entries of a bundle, and what is wrong with it (empty if nothing is).

    A full bundle may stand in for a partial one, which is its beginning. In a broken bundle the entries
    before the break are still evidence.
    """
    reason = ""
    try:
        return parse_bundle(data, width), reason
    except TileError as error:
        reason = str(error)
    entries: list[bytes] = []
    at = 0
    while at + 2 <= len(data) and len(entries) <= WIDTH:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            break
        entries.append(data[at + 2 : end])
        at = end
    if at == len(data) and len(entries) == WIDTH:
        reason = ""
    return entries[:width], reason
