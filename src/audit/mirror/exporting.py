"""The copy as a plain folder of files (C2SP tlog-tiles), for any static server and for `aiqyn audit`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from audit.mirror.errors import AnotherLogError
from ledger.store.reader import LogReader
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.note import SignedNote
from ledger.tlog.tiles import WIDTH, TileError, parse_tile_path, tile_width, tiles_for_size

CHECKPOINT = "checkpoint"


class Exported(NamedTuple):
    """What stands in the folder now."""

    checkpoint: Checkpoint
    written: int
    """Files that were not there before."""


def export(reader: LogReader, folder: Path, progress: Callable[[int, int], None]) -> Exported:
    """Write what is missing in ``folder``, the checkpoint last; whatever interrupts it, it can go on.

    A file is there whole or not at all, and full tiles never change, so that a second export writes what came
    since. ``progress`` is told entries done and entries in all. Raises :class:`AnotherLogError` where the
    folder has another log, and :class:`ledger.store.reader.NotInLogError` for a copy without a checkpoint.
    """
    note = reader.checkpoint()
    checkpoint = _read(note)
    present = folder / CHECKPOINT
    if present.exists() and (other := _read(present.read_bytes())).origin != checkpoint.origin:
        raise AnotherLogError(f"{folder} has the log {other.origin}: choose another folder.")
    written = 0
    done = 0
    for tile in tiles_for_size(checkpoint.size):
        file = folder / tile.path
        if not file.exists():
            if tile.level is None:
                data = reader.entry_bundle(tile.index, tile.width)
            else:
                data = reader.tile(tile.level, tile.index, tile.width)
            _write(file, data)
            written += 1
        if tile.level is None:
            done += tile.width
            progress(done, checkpoint.size)
    _write(present, note)
    _remove_superseded(folder, checkpoint.size)
    return Exported(checkpoint, written)


def _read(note: bytes) -> Checkpoint:
    return Checkpoint.parse(SignedNote.parse(note).text)


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all, and durable."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.new")
    with unfinished.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)


def _remove_superseded(folder: Path, size: int) -> None:
    """Partial tiles of earlier exports: nobody reads them by this checkpoint."""
    for partial in folder.glob("tile/**/*.p/*"):
        try:
            tile = parse_tile_path(partial.relative_to(folder).as_posix())
        except TileError:
            continue
        if tile.width != tile_width(tile.level or 0, tile.index, size) % WIDTH:
            partial.unlink()
            if not any(partial.parent.iterdir()):
                partial.parent.rmdir()
