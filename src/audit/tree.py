"""The tree over the leaves seen so far, kept as the rows of its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from audit.checking import cut
from ledger.tlog.merkle import HASH_SIZE
from ledger.tlog.tiles import WIDTH, TilePath, root_from_tiles


class Tree:
    """Grows leaf by leaf; of level 0 only the last tile is kept, so a million leaves take 130 kB."""

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[bytes] = []
        self._rows: list[list[bytes]] = []

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes in order."""
        self.size += len(leaves)
        self._edge += leaves
        while len(self._edge) >= WIDTH:
            self._complete(0, _root(self._edge[:WIDTH]))
            del self._edge[:WIDTH]

    def _complete(self, level: int, root: bytes) -> None:
        if level == len(self._rows):
            self._rows.append([])
        row = self._rows[level]
        row.append(root)
        if len(row) % WIDTH == 0:
            self._complete(level + 1, _root(row[-WIDTH:]))

    def hashes(self, tile: TilePath) -> list[bytes]:
        """Hashes of a tile of level 1 or above, or of level 0's last tile; fewer if they are not there."""
        if not tile.level:
            return self._edge[: tile.width]
        row = self._rows[tile.level - 1] if tile.level <= len(self._rows) else []
        start = tile.index * WIDTH
        return row[start : start + tile.width]

    def root(self) -> bytes:
        """Root at the present size."""
        return root_from_tiles(lambda *tile: b"".join(self.hashes(TilePath(*tile))), self.size)

    # --- from one audit to the next --------------------------------------------------------------

    def copy(self) -> Tree:
        """Another tree over the same leaves."""
        tree = Tree()
        tree.load(self.dump())
        return tree

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {"size": self.size, "edge": b"".join(self._edge), "rows": [b"".join(r) for r in self._rows]}

    def load(self, dumped: dict[str, Any]) -> None:
        """Take over what :meth:`dump` gave."""
        self.size = dumped["size"]
        self._edge = cut(dumped["edge"])
        self._rows = [cut(row) for row in dumped["rows"]]


def _root(hashes: Sequence[bytes]) -> bytes:
    """Root over a full tile."""
    row = b"".join(hashes)
    while len(row) > HASH_SIZE:
        pairs = range(0, len(row), 2 * HASH_SIZE)
        row = b"".join([sha256(b"\x01" + row[at : at + 2 * HASH_SIZE]).digest() for at in pairs])
    return row
