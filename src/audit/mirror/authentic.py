"""Hash tiles that lead to a signed root: verified from the root down, before anything is copied by them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from audit.bundles import split_bundle
from audit.findings import Finding
from audit.mirror.errors import UnverifiedError
from audit.source import NotServedError, OversizedError, Source, cut_tile, read_tile
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.merkle import HASH_SIZE, TILE_HEIGHT, Frontier, frontier_at, leaf_hash, root_from_leaves
from ledger.tlog.tiles import WIDTH, TileError, TilePath, node_reader, root_from_tiles, split_tile, tile_width

ATTEMPTS = 3
"""How often something is read again that is not what was signed: a cache may be the culprit."""
PAUSE = 0.2
"""Seconds before it is."""
KEPT = 256
"""Tiles in memory, about 10 kB each."""

_Hashes = list[bytes]
_WRONG = (NotServedError, OversizedError, TileError)


class Own(NamedTuple):
    """What this mirror copied before."""

    size: int
    """Entries."""
    tile: Callable[[int, int, int], bytes]
    """Level, index and width of a tile, which must be there, to its bytes."""

    def hash(self, level: int, index: int) -> bytes | None:
        """Of one subtree of a tile; None where it is not whole here."""
        if (index + 1) << (TILE_HEIGHT * level) > self.size:
            return None
        at = index % WIDTH
        return self.tile(level, index // WIDTH, at + 1)[at * HASH_SIZE :]


class Authentic:
    """The tiles of the tree that one checkpoint signs for. For several threads.

    A tile that does not lead to the signed root is reported, and made anew out of our own copy and of what is
    below it where that does; else :class:`UnverifiedError` is raised.
    """

    def __init__(
        self, source: Source, checkpoint: Checkpoint, report: Callable[[Finding], None], own: Own
    ) -> None:
        """``own`` gives the hash of a tile's subtree that was copied before."""
        self._source = source
        self._checkpoint = checkpoint
        self._report = report
        self._own = own
        self._kept: OrderedDict[tuple[int, int], _Hashes] = OrderedDict()
        self._lock = threading.Lock()
        self._edge = self._authentic_edge()

    def tile(self, level: int, index: int) -> _Hashes:
        """All hashes of a tile, as many as the tree has. Raises :class:`UnverifiedError`."""
        if (edge := self._edge.get(level)) is not None and index == self._last(level):
            return edge
        with self._lock:
            if (kept := self._kept.get((level, index))) is not None:
                self._kept.move_to_end((level, index))
                return kept
        expected = self.tile(level + 1, index >> TILE_HEIGHT)[index % WIDTH]
        found = self._full(level, index, expected)
        with self._lock:
            self._kept[level, index] = found
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def frontier(self, size: int) -> Frontier:
        """The right edge of this tree when it had ``size`` leaves."""

        def read(level: int, index: int, width: int) -> bytes:
            return b"".join(self.tile(level, index)[:width])

        return frontier_at(size, node_reader(read, self._checkpoint.size))

    # --- the right edge -------------------------------------------------------------------------------

    def _last(self, level: int) -> int:
        return (self._checkpoint.size >> (TILE_HEIGHT * level)) // WIDTH

    def _authentic_edge(self) -> dict[int, _Hashes]:
        """The partial tiles, level by level: they alone make the root."""
        paths = []
        for level in range((self._checkpoint.size.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT):
            width = tile_width(level, self._last(level), self._checkpoint.size)
            if width:
                paths.append(TilePath(level, self._last(level), width))
        faults: dict[int, str] = {}
        for attempt in range(ATTEMPTS):
            time.sleep(PAUSE * attempt)
            served: dict[int, _Hashes] = {}
            faults.clear()
            for tile in paths:
                try:
                    served[tile.level or 0] = self._fetch(tile)
                except _WRONG as wrong:
                    faults[tile.level or 0] = str(wrong)
            if not faults and self._makes_root(served):
                return served
        return self._mend_edge(paths, served, faults)

    def _makes_root(self, edge: dict[int, _Hashes]) -> bool:
        def read(level: int, _index: int, width: int) -> bytes:
            return b"".join(edge[level][:width])

        return root_from_tiles(read, self._checkpoint.size) == self._checkpoint.root

    def _mend_edge(
        self, paths: list[TilePath], served: dict[int, _Hashes], faults: dict[int, str]
    ) -> dict[int, _Hashes]:
        mended = {tile.level or 0: self._mended(tile, served.get(tile.level or 0)) for tile in paths}
        for tile in paths:
            level = tile.level or 0
            self._tell(tile, served.get(level), mended[level], faults.get(level))
        if not self._makes_root(mended):
            size = self._checkpoint.size
            finding = Finding(
                rule="tree-root",
                reason=f"The log's files do not make the root that the log signed for {size} entries: "
                "entries were changed, added, removed or put in another order after they were logged.",
                position=min(self._own.size, size - 1),
                last=size - 1,
                evidence={"signed": self._checkpoint.root.hex()},
            )
            self._report(finding)
            raise UnverifiedError(f"{self._source.name}: {finding.reason}")
        return mended

    # --- full tiles -----------------------------------------------------------------------------------

    def _full(self, level: int, index: int, expected: bytes) -> _Hashes:
        tile = TilePath(level, index)
        served: _Hashes | None = None
        fault: str | None = None
        for attempt in range(ATTEMPTS):
            time.sleep(PAUSE * attempt)
            try:
                served, fault = self._fetch(tile), None
            except _WRONG as wrong:
                served, fault = None, str(wrong)
                continue
            if root_from_leaves(served) == expected:
                return served
        mended = self._mended(tile, served)
        if root_from_leaves(mended) == expected:
            self._tell(tile, served, mended, fault)
            return mended
        span = WIDTH**level
        first = index * WIDTH * span
        finding = Finding(
            rule="tile-hash",
            reason=f"{tile.path} does not lead to the signed root"
            + (f": {fault}." if fault else ", and what is below it does not either."),
            position=first,
            last=first + WIDTH * span - 1,
            evidence={"tile": tile.path, "expected": expected.hex()},
        )
        self._report(finding)
        raise UnverifiedError(f"{self._source.name}: {finding.reason}")

    def _fetch(self, tile: TilePath) -> _Hashes:
        return split_tile(cut_tile(read_tile(self._source, tile), tile.width), tile.width)

    # --- mending --------------------------------------------------------------------------------------

    def _mended(self, tile: TilePath, served: _Hashes | None) -> _Hashes:
        """What a tile should be by our own copy and what is below it; as served where neither can be had."""
        level = tile.level or 0
        entries: list[bytes] = []
        if level == 0:
            with suppress(*_WRONG):
                data = read_tile(self._source, TilePath(None, tile.index, tile.width))
                entries, _ = split_bundle(data, tile.width)
        found = []
        for at in range(tile.width):
            hashed = self._better(level, tile.index * WIDTH + at)
            if hashed is None and at < len(entries):
                hashed = leaf_hash(entries[at])
            found.append(hashed or (served[at] if served is not None else bytes(HASH_SIZE)))
        return found

    def _better(self, level: int, index: int) -> bytes | None:
        """A hash by our own copy, or else by the tile below, where that is ours as far as we have it."""
        own = self._own.hash(level, index)
        if own is not None or level == 0:
            return own
        try:
            hashes = self._fetch(TilePath(level - 1, index))
        except _WRONG:
            return None
        for at, served in enumerate(hashes):
            below = index * WIDTH + at
            if below << (TILE_HEIGHT * (level - 1)) >= self._own.size:
                break
            ours = self._better(level - 1, below)
            if ours is not None and ours != served:
                self._tell_hash(TilePath(level - 1, index), at, served, ours)
                hashes[at] = ours
        return root_from_leaves(hashes)

    def _tell(self, tile: TilePath, served: _Hashes | None, mended: _Hashes, fault: str | None) -> None:
        """Findings for what was served otherwise than it should be."""
        if served is None:
            first = tile.index * WIDTH ** ((tile.level or 0) + 1)
            last = first + tile.width * WIDTH ** (tile.level or 0) - 1
            reason = f"The hash tile cannot be had: {fault}."
            self._report(Finding(rule="tile-missing", reason=reason, position=first, last=last))
            return
        for at, (ours, theirs) in enumerate(zip(mended, served, strict=True)):
            if ours != theirs:
                self._tell_hash(tile, at, theirs, ours)

    def _tell_hash(self, tile: TilePath, at: int, served: bytes, ours: bytes) -> None:
        span = WIDTH ** (tile.level or 0)
        first = (tile.index * WIDTH + at) * span
        self._report(
            Finding(
                rule="tile-hash",
                reason=f"Hash {at} of {tile.path} is not what was signed before, or what is below it gives.",
                position=first,
                last=first + span - 1,
                evidence={"served": served.hex(), "recomputed": ours.hex()},
            )
        )


def first_difference(tree: Authentic, own: Own, size: int) -> int | None:
    """The first of ``size`` positions at which a signed tree has another entry than our own copy."""
    level = max(0, (size.bit_length() - 1) // TILE_HEIGHT)
    first, last = 0, size >> (TILE_HEIGHT * level)
    while True:
        index = next((i for i in range(first, last) if _differs(tree, own, level, i)), None)
        if level == 0:
            return index
        level -= 1
        # Either within the first subtree that differs, or behind the last whole one.
        first, last = (
            (last * WIDTH, size >> (TILE_HEIGHT * level))
            if index is None
            else (index * WIDTH, index * WIDTH + WIDTH)
        )


def _differs(tree: Authentic, own: Own, level: int, index: int) -> bool:
    return tree.tile(level, index // WIDTH)[index % WIDTH] != own.hash(level, index)
