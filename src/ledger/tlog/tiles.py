"""Tiles of C2SP tlog-tiles: the tree and its entries as static files of 256 hashes or entries each.

Hash tile ``(level, index)`` of full width 256 holds the roots of the perfect subtrees of ``256**level``
leaves number ``256 * index`` to ``256 * index + 255``. The rightmost tile of a level may be partial (width 1
to 255). Entry bundles are cut as the tiles of level 0 are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ledger.tlog.encoding import MAX_SIZE
from ledger.tlog.errors import TlogError
from ledger.tlog.merkle import HASH_SIZE, TILE_HEIGHT, ProofError, ReadNode, frontier_at, node_hash

WIDTH = 1 << TILE_HEIGHT
"""Hashes in a full tile, entries in a full bundle."""

MAX_LEVEL = 63
MAX_INDEX = MAX_SIZE >> TILE_HEIGHT
MAX_ENTRY_BYTES = 0xFFFF
"""Largest entry that a bundle can hold: its length is a uint16."""

TILES_KEPT = 64
"""How many tiles ``node_reader`` remembers: about 1 MB."""

ReadTile = Callable[[int, int, int], bytes]
"""``read_tile(level, index, width)``: the ``32 * width`` bytes of one hash tile."""

_PATH = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([0-9]{1,3}))?")


class TileError(TlogError):
    """A tile path, a tile or an entry bundle is not what the specification says."""

    code = "tile-invalid"
    title = "The tile is malformed"


@dataclass(frozen=True, slots=True)
class TilePath:
    """Name of a hash tile, or of an entry bundle (``level`` is None)."""

    level: int | None
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Path below the log's prefix, such as ``tile/0/x001/x234/067.p/44``."""
        if self.level is None:
            return entries_path(self.index, self.width)
        return tile_path(self.level, self.index, self.width)


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """Path of a hash tile; ``TileError`` if a number is out of range."""
    if not 0 <= level <= MAX_LEVEL:
        raise TileError(f"tile level {level} is not between 0 and {MAX_LEVEL}")
    return f"tile/{level}/{_index_path(index, width)}"


def entries_path(index: int, width: int = WIDTH) -> str:
    """Path of an entry bundle; ``TileError`` if a number is out of range."""
    return f"tile/entries/{_index_path(index, width)}"


def parse_tile_path(path: str) -> TilePath:
    """Read a path that ``TilePath.path`` could have written; ``TileError`` for any other spelling."""
    match = _PATH.fullmatch(path)
    if not match:
        raise TileError(f"not a tile path: {path[:100]!r}")
    level, index, width = match.groups()
    tile = TilePath(
        None if level == "entries" else int(level),
        int(index.replace("x", "").replace("/", "")),
        WIDTH if width is None else int(width),
    )
    # One resource has one name: a leading zero, a leading x000 or ".p/256" would give it a second one.
    if tile.path != path:
        raise TileError(f"not the canonical path of a tile: {path!r}, expected {tile.path!r}")
    return tile


def tile_width(level: int, index: int, size: int) -> int:
    """Width of a hash tile in the tree of ``size`` leaves: 0 (no such tile) to 256."""
    return max(0, min(WIDTH, (size >> (TILE_HEIGHT * level)) - index * WIDTH))


def tiles_for_size(size: int) -> Iterator[TilePath]:
    """Every tile of a log of ``size`` entries: the bundles, then the hash tiles level by level."""
    yield from _row(None, size)
    level, hashes = 0, size
    while hashes:
        yield from _row(level, hashes)
        level += 1
        hashes >>= TILE_HEIGHT


def bundle(entries: Sequence[bytes]) -> bytes:
    """Entry bundle of 1 to 256 entries, each after its length as a big-endian uint16."""
    if not 1 <= len(entries) <= WIDTH:
        raise TileError(f"an entry bundle holds 1 to {WIDTH} entries, not {len(entries)}")
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise TileError(f"an entry has at most {MAX_ENTRY_BYTES} bytes, not {len(entry)}")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def parse_bundle(data: bytes, expected_count: int) -> list[bytes]:
    """Entries of a bundle, which must hold ``expected_count`` of them and nothing else."""
    if not 1 <= expected_count <= WIDTH:
        raise TileError(f"an entry bundle holds 1 to {WIDTH} entries, not {expected_count}")
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        if len(entries) == expected_count:
            raise TileError(f"the entry bundle goes on after its {expected_count} entries")
        start = at + 2
        at = start + (data[at] << 8 | data[at + 1]) if start <= len(data) else start
        if at > len(data):
            raise TileError(f"the entry bundle breaks off inside entry {len(entries)}")
        entries.append(data[start:at])
    if len(entries) != expected_count:
        raise TileError(f"the entry bundle has {len(entries)} entries, not {expected_count}")
    return entries


def split_tile(data: bytes, width: int) -> list[bytes]:
    """The hashes of a tile of ``width`` hashes; ``TileError`` if it has another length."""
    if len(data) != width * HASH_SIZE:
        raise TileError(f"a tile of width {width} has {width * HASH_SIZE} bytes, not {len(data)}")
    return [data[i : i + HASH_SIZE] for i in range(0, len(data), HASH_SIZE)]


def node_reader(read_tile: ReadTile, size: int) -> ReadNode:
    """Read nodes of the tree of ``size`` leaves out of its tiles, the partial ones where needed.

    Tiles are taken as they come: what is built from them has to be verified against a checkpoint.
    """

    @lru_cache(maxsize=TILES_KEPT)
    def rows(tile_level: int, tile_index: int) -> list[list[bytes]]:
        width = tile_width(tile_level, tile_index, size)
        rows = [split_tile(read_tile(tile_level, tile_index, width), width)]
        while len(rows) < TILE_HEIGHT and len(rows[-1]) > 1:
            below = rows[-1]
            rows.append(
                [node_hash(left, right) for left, right in zip(below[::2], below[1::2], strict=False)]
            )
        return rows

    def read_node(level: int, index: int) -> bytes:
        if level < 0 or index < 0 or (index + 1) << level > size:
            raise ProofError(f"a tree of size {size} has no perfect subtree {index} at level {level}")
        tile_level, height = divmod(level, TILE_HEIGHT)
        tile_index, at = divmod(index, WIDTH >> height)
        return rows(tile_level, tile_index)[height][at]

    return read_node


def root_from_tiles(read_tile: ReadTile, size: int) -> bytes:
    """Root of the tree of ``size`` leaves, from the tiles of its right edge alone."""
    return frontier_at(size, node_reader(read_tile, size)).root()


def _row(level: int | None, hashes: int) -> Iterator[TilePath]:
    for index in range(hashes // WIDTH):
        yield TilePath(level, index)
    if hashes % WIDTH:
        yield TilePath(level, hashes // WIDTH, hashes % WIDTH)


def _index_path(index: int, width: int) -> str:
    if not 0 <= index <= MAX_INDEX:
        raise TileError(f"tile index {index} is not between 0 and {MAX_INDEX}")
    if not 1 <= width <= WIDTH:
        raise TileError(f"tile width {width} is not between 1 and {WIDTH}")
    path = f"{index % 1000:03}"
    while index := index // 1000:
        path = f"x{index % 1000:03}/{path}"
    return path if width == WIDTH else f"{path}.p/{width}"
