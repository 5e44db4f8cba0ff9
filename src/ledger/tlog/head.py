"""The text of a checkpoint (C2SP tlog-checkpoint): origin, size and root of a log's tree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from ledger.tlog.encoding import MAX_SIZE, from_base64, from_decimal, to_base64
from ledger.tlog.errors import TlogError
from ledger.tlog.merkle import EMPTY_ROOT, HASH_SIZE

_LINE = re.compile(r"[^\x00-\x1f]+")


class CheckpointError(TlogError):
    """A checkpoint's text is malformed, or it is the checkpoint of another log."""

    code = "checkpoint-invalid"
    title = "The checkpoint is malformed"


class Head(NamedTuple):
    """The lines of a checkpoint as values. Of size 0 the root may be a wrong one."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...]


def read_head(text: str) -> Head:
    """Read a note's text, without asking whether such a tree can be."""
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() != "":
        raise CheckpointError("a checkpoint has an origin, a size and a root, each line ending in a newline")
    origin, size, root, *extensions = lines
    for line in (origin, *extensions):
        _check_line(line)
    try:
        head = Head(origin, from_decimal(size), from_base64(root), tuple(extensions))
    except ValueError as error:
        raise CheckpointError(
            f"the checkpoint of {origin[:100]!r} has a malformed size or root: {error}"
        ) from error
    _check_root(head.root)
    return head


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Root of the log ``origin`` at ``size`` entries.

    The root is always a SHA-256 hash; a size is at most 2**63 - 1; the root of size 0 is ``EMPTY_ROOT``.
    Extensions are opaque lines, which nobody audits: Aiqyn's own log writes none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be read back."""
        for line in (self.origin, *self.extensions):
            _check_line(line)
        if not 0 <= self.size <= MAX_SIZE:
            raise CheckpointError(f"tree size {self.size} is not between 0 and {MAX_SIZE}")
        _check_root(self.root)
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise CheckpointError(f"{self.root.hex()} is not the root of the empty tree")

    def to_text(self) -> str:
        """The note's text: what is signed."""
        lines = (self.origin, str(self.size), to_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note's text; ``parse(text).to_text() == text``."""
        return cls(*read_head(text))


def _check_line(line: str) -> None:
    if not _LINE.fullmatch(line):
        raise CheckpointError("lines of a checkpoint are not empty and have no control characters")


def _check_root(root: bytes) -> None:
    if len(root) != HASH_SIZE:
        raise CheckpointError(f"a root hash has {HASH_SIZE} bytes, not {len(root)}")
