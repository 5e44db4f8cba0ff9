"""The high-water mark: outside the database, how far this log has been signed.

A database restored from a backup would begin to sign other entries at positions that are already
public. The mark, a file with the newest checkpoint, lets the service notice before it signs. It may
lag behind by a moment (never be ahead), so it is written after the commit and off the append path.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ledger.store.append import LogRolledBackError
from ledger.tlog.checkpoint import Checkpoint, open_checkpoint
from ledger.tlog.merkle import Frontier, ReadNode, frontier_at
from ledger.tlog.note import VerifierKey


class HighWater:
    """The mark of one log on this machine; processes share the file."""

    def __init__(self, path: Path, log_key: VerifierKey) -> None:
        self._path = path
        self._log_key = log_key

    def read(self) -> Checkpoint | None:
        """The newest checkpoint known to have been signed; ``None`` on a machine that never saw one."""
        try:
            note = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return open_checkpoint(note, self._log_key).checkpoint

    def advance(self, size: int, note: bytes) -> None:
        """Move the mark to a newer checkpoint; an older one changes nothing. Durable on return."""
        with self._locked():
            known = self.read()
            if known is not None and known.size >= size:
                return
            fresh = self._path.with_suffix(".new")
            with fresh.open("wb") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def check(self, size: int, read_node: ReadNode) -> None:
        """Raises :class:`LogRolledBackError` unless a log of ``size`` entries contains the mark."""
        mark = self.read()
        if mark is None:
            return
        if size < mark.size:
            raise LogRolledBackError(
                f"The database holds {size} entries, but {mark.size} were signed (see {self._path}). Restore "
                "a newer backup; signing on would fork the log.",
                size=size,
                signed=mark.size,
            )
        if mark.size and not same_root(frontier_at(mark.size, read_node), mark):
            raise LogRolledBackError(
                f"The first {mark.size} entries in the database are not those that were signed (see "
                f"{self._path}). Restore the right database; signing on would fork the log.",
                signed=mark.size,
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def same_root(frontier: Frontier, checkpoint: Checkpoint) -> bool:
    """Whether a tree with that right edge is the one of the checkpoint."""
    return frontier.size == checkpoint.size and frontier.root() == checkpoint.root
