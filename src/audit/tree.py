"""The tree over the leaves seen so far, kept as the rows of its tiles."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.tlog.merkle import root_from_leaves
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
            self._complete(0, root_from_leaves(self._edge[:WIDTH]))
            del self._edge[:WIDTH]

    def _complete(self, level: int, root: bytes) -> None:
        if level == len(self._rows):
            self._rows.append([])
        row = self._rows[level]
        row.append(root)
        if len(row) % WIDTH == 0:
            self._complete(level + 1, root_from_leaves(row[-WIDTH:]))

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
