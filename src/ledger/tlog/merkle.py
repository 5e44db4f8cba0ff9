"""The Merkle tree of RFC 6962 (SHA-256): hashing, growing, proving, verifying.

A *node* is a perfect subtree, named by ``(level, index)``: it spans the leaves
``index * 2**level .. (index + 1) * 2**level``. A tree of any size is a row of perfect subtrees, one for
each bit of the size; that row is its ``Frontier`` and all that growing needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger.tlog.encoding import MAX_SIZE
from ledger.tlog.errors import TlogError

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 section 2.1)."""

TILE_HEIGHT = 8
"""A tile holds 8 levels of the tree: 2**8 hashes and what follows from them."""

ReadNode = Callable[[int, int], bytes]
"""``read_node(level, index)``: the 32-byte hash of one perfect subtree (leaves are level 0)."""


class ProofError(TlogError):
    """A proof is malformed, cannot be built, or does not lead to the expected root."""

    code = "proof-invalid"
    title = "The proof does not verify"


def leaf_hash(entry: bytes) -> bytes:
    """Hash of an entry as a leaf: SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def root_from_leaves(hashes: Iterable[bytes]) -> bytes:
    """Root over leaf hashes in order; ``EMPTY_ROOT`` for none."""
    row = list(hashes)
    if not row:
        return EMPTY_ROOT
    while len(row) > 1:
        above = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=False)]
        if len(row) % 2:
            above.append(row[-1])
        row = above
    return row[0]


def _fold(hashes: Sequence[bytes]) -> bytes:
    node = hashes[-1]
    for left in reversed(hashes[:-1]):
        node = node_hash(left, node)
    return node


def _levels_of(size: int) -> list[int]:
    """Levels of the perfect subtrees of a tree, big to small: the bits of its size."""
    return [k for k in reversed(range(size.bit_length())) if size >> k & 1]


def _check_hashes(hashes: Iterable[bytes]) -> None:
    for value in hashes:
        if len(value) != HASH_SIZE:
            raise ProofError(f"a hash has {HASH_SIZE} bytes, not {len(value)}")


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree: the roots of its perfect subtrees, from left to right (big to small)."""

    size: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Refuse hashes that do not fit the size."""
        if not 0 <= self.size <= MAX_SIZE:
            raise ProofError(f"tree size {self.size} is not between 0 and {MAX_SIZE}")
        if len(self.hashes) != self.size.bit_count():
            raise ProofError(
                f"a tree of size {self.size} has {self.size.bit_count()} perfect subtrees, "
                f"not {len(self.hashes)}"
            )
        _check_hashes(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> Frontier:
        """Read what ``to_bytes`` wrote for a tree of ``size`` leaves."""
        if len(data) % HASH_SIZE:
            raise ProofError(f"a frontier of {len(data)} bytes is not a whole number of hashes")
        return cls(size, tuple(data[i : i + HASH_SIZE] for i in range(0, len(data), HASH_SIZE)))

    def to_bytes(self) -> bytes:
        """The hashes one after another; their number follows from ``size``."""
        return b"".join(self.hashes)

    def root(self) -> bytes:
        """Root of the tree."""
        return _fold(self.hashes) if self.hashes else EMPTY_ROOT


EMPTY_FRONTIER = Frontier(0, ())


class GrowingTree:
    """A tree that grows from a frontier at ``start`` leaves and can prove every leaf added since.

    Keeps all nodes made since ``start``: take a new one from ``frontier()`` for each group of entries.
    """

    __slots__ = ("_edge", "_levels", "_origin")

    def __init__(self, frontier: Frontier = EMPTY_FRONTIER) -> None:
        self._origin = frontier
        # _levels[k] holds consecutive nodes of level k, from index start >> (k + 1) << 1 on: the frontier's
        # node where there is one, then the new ones. The first index is even, so nodes 2i and 2i + 1 of a
        # list are always siblings.
        self._levels: list[list[bytes]] = [[] for _ in range(max(1, frontier.size.bit_length()))]
        for level, node in zip(_levels_of(frontier.size), frontier.hashes, strict=True):
            self._levels[level].append(node)
        self._edge: tuple[list[bytes], list[bytes], list[int]] | None = None

    @property
    def start(self) -> int:
        """Number of leaves of the frontier it grew from."""
        return self._origin.size

    @property
    def size(self) -> int:
        """Number of leaves now."""
        return (self._origin.size & ~1) + len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash; for more than one ``extend`` is faster."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes in order: all of them, or (``ProofError``) none."""
        added = list(leaves)
        _check_hashes(added)
        if not added:
            return
        self._edge = None
        start, levels = self._origin.size, self._levels
        levels[0] += added
        level = 0
        while True:
            row = levels[level]
            level += 1
            if level == len(levels):
                levels.append([])
            above = levels[level]
            hashed = 2 * (len(above) - (start >> level & 1))
            if len(row) - hashed < 2:
                return
            pairs = zip(row[hashed::2], row[hashed + 1 :: 2], strict=False)
            above += [sha256(b"\x01" + left + right).digest() for left, right in pairs]

    def root(self) -> bytes:
        """Root at the current size."""
        if self.size == self.start:
            return self._origin.root()
        return self._right_edge()[0][-1]

    def frontier(self) -> Frontier:
        """Frontier at the current size."""
        size = self.size
        return Frontier(size, tuple(self._node(k, (size >> k) - 1) for k in _levels_of(size)))

    def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """Proof that a leaf added since ``start`` is in the tree of the current size.

        ``ProofError`` for older leaves: their siblings are in the tiles.
        """
        start, last = self._origin.size, self.size - 1
        if not start <= index <= last:
            raise ProofError(f"leaf {index} is not among the new leaves {start} to {last}")
        edge, lefts, lefts_from = self._right_edge()
        path = []
        level = 0
        while index != last:
            sibling = index ^ 1
            first = start >> (level + 1) << 1
            path.append(edge[level] if sibling == last else self._levels[level][sibling - first])
            index >>= 1
            last >>= 1
            level += 1
        # From here on the path runs along the right edge, the same for every leaf that joins it.
        return (*path, *lefts[lefts_from[level] :])

    def new_nodes(self) -> list[tuple[int, int, bytes]]:
        """Tile-level nodes completed since ``start``: ``(tile_level >= 1, index, hash)``.

        Each is the root of a perfect subtree of ``256**tile_level`` leaves, hence hash ``index`` of that
        tile level (C2SP tlog-tiles).
        """
        nodes = []
        for level in range(TILE_HEIGHT, len(self._levels), TILE_HEIGHT):
            first = self.start >> level
            fresh = self._levels[level][first & 1 :]
            nodes += [(level // TILE_HEIGHT, first + i, node) for i, node in enumerate(fresh)]
        return nodes

    def _node(self, level: int, index: int) -> bytes:
        return self._levels[level][index - (self._origin.size >> (level + 1) << 1)]

    def _right_edge(self) -> tuple[list[bytes], list[bytes], list[int]]:
        """What all proofs of one size share, once the tree has grown.

        ``edge[k]`` is the hash over the last, perhaps partial, subtree of level ``k`` (so ``edge[-1]`` is
        the root); ``lefts[lefts_from[k]:]`` are the siblings to its left from level ``k`` up.
        """
        if self._edge is None:
            last = self.size - 1
            node = self._levels[0][-1]
            edge, lefts, lefts_from = [node], list[bytes](), [0]
            level = 0
            while last:
                if last & 1:
                    left = self._node(level, last - 1)
                    lefts.append(left)
                    node = node_hash(left, node)
                last >>= 1
                level += 1
                edge.append(node)
                lefts_from.append(len(lefts))
            self._edge = edge, lefts, lefts_from
        return self._edge


def frontier_at(size: int, read_node: ReadNode) -> Frontier:
    """Frontier of the tree of ``size`` leaves, read node by node."""
    return Frontier(size, tuple(read_node(k, (size >> k) - 1) for k in _levels_of(size)))


def inclusion_proof(index: int, size: int, read_node: ReadNode) -> tuple[bytes, ...]:
    """Proof of leaf ``index`` in the tree of ``size`` leaves (RFC 6962 section 2.1.1), leaf side first."""
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of size {size}")
    return _climb(0, index, size, read_node)


def consistency_proof(old: int, new: int, read_node: ReadNode) -> tuple[bytes, ...]:
    """Proof that the first ``old`` of ``new`` leaves make the older tree (RFC 6962 section 2.1.2).

    Empty for ``old == 0`` and ``old == new``, where there is nothing to show.
    """
    if not 0 <= old <= new:
        raise ProofError(f"a tree of size {new} did not grow from one of size {old}")
    if old in (0, new):
        return ()
    # The proof climbs from the last perfect subtree of the old tree. If that is the whole old tree, the
    # verifier has its hash already: it is the old root.
    level = (old & -old).bit_length() - 1
    index = (old >> level) - 1
    seed = (read_node(level, index),) if index else ()
    return seed + _climb(level, index, new, read_node)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check an inclusion proof of a leaf hash (RFC 9162 section 2.1.3.2); ``ProofError`` if it fails."""
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of size {size}")
    _check_hashes((leaf, root, *proof))
    node, last = leaf, size - 1
    for sibling in proof:
        if last == 0:
            raise ProofError(
                f"the proof of leaf {index} has more hashes than a tree of size {size} has levels"
            )
        if index & 1 or index == last:
            node = node_hash(sibling, node)
            while index and not index & 1:
                index >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        index >>= 1
        last >>= 1
    if last:
        raise ProofError(f"the inclusion proof is too short for a tree of size {size}")
    if node != root:
        raise ProofError(f"the inclusion proof leads to root {node.hex()}, not to {root.hex()}")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check a consistency proof (RFC 9162 section 2.1.4.2); ``ProofError`` if it fails.

    Equal sizes need equal roots and an empty proof; nothing is hashed. The RFC leaves size 0 open: every
    tree grew from the empty one, so ``old_size == 0`` is accepted with an empty proof and ``EMPTY_ROOT`` as
    the old root, as a witness that meets a log for the first time needs it. It says nothing about
    ``new_root``.
    """
    if not 0 <= old_size <= new_size:
        raise ProofError(f"a tree of size {new_size} did not grow from one of size {old_size}")
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise ProofError(f"{old_root.hex()} is not the root of the empty tree")
    if old_size in (0, new_size) and proof:
        raise ProofError(f"from size {old_size} to {new_size} the consistency proof must be empty")
    if old_size == new_size:
        if old_root != new_root:
            raise ProofError(f"two roots for size {old_size}: {old_root.hex()} and {new_root.hex()}")
        return
    _check_hashes((old_root, new_root, *proof))
    if old_size == 0:
        return
    if not proof:
        raise ProofError(f"the consistency proof from size {old_size} to {new_size} is empty")
    old_node, new_node = implied_roots(old_size, old_root, new_size, proof)
    if old_node != old_root:
        raise ProofError(f"the consistency proof leads to old root {old_node.hex()}, not to {old_root.hex()}")
    if new_node != new_root:
        raise ProofError(f"the consistency proof leads to new root {new_node.hex()}, not to {new_root.hex()}")


def implied_roots(
    old_size: int, old_root: bytes, new_size: int, proof: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Old and new root that a consistency proof leads to, for ``0 < old_size < new_size``.

    Where the old size is a power of two the proof leaves its root out: then it is ``old_root``.
    """
    hashes = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    index, last = old_size - 1, new_size - 1
    while index & 1:
        index >>= 1
        last >>= 1
    old_node = new_node = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofError(f"the consistency proof has too many hashes for a tree of size {new_size}")
        if index & 1 or index == last:
            old_node = node_hash(sibling, old_node)
            new_node = node_hash(sibling, new_node)
            while index and not index & 1:
                index >>= 1
                last >>= 1
        else:
            new_node = node_hash(new_node, sibling)
        index >>= 1
        last >>= 1
    if last:
        raise ProofError(f"the consistency proof is too short for a tree of size {new_size}")
    return old_node, new_node


def _climb(level: int, index: int, size: int, read_node: ReadNode) -> tuple[bytes, ...]:
    """Siblings on the way from node ``(level, index)`` up to the root of the tree of ``size`` leaves."""
    path = []
    last = (size - 1) >> level
    while last:
        sibling = index ^ 1
        if sibling <= last:
            path.append(_subtree(level, sibling, size, read_node))
        index >>= 1
        last >>= 1
        level += 1
    return tuple(path)


def _subtree(level: int, index: int, size: int, read_node: ReadNode) -> bytes:
    """Hash of a subtree cut off at ``size``: one node if it is perfect, else folded from its frontier."""
    if (index + 1) << level <= size:
        return read_node(level, index)
    rest = size - (index << level)
    return _fold([read_node(k, (size >> k) - 1) for k in _levels_of(rest)])
