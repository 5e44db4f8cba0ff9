"""The folder of a witness: its keys, its memory, and beside it the high-water marks.

    witness-ed25519.key   witness-ml-dsa-44.key   state.sqlite   high-water/<origin hash>

A mark is the newest checkpoint that this witness cosigned of one log. It is written after the memory and
before the answer, and it is what monitors read, so that no cosignature leaves this machine that the marks do
not know. A memory that is behind its marks was lost, or restored from a backup: it would cosign a second
history.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ledger.errors import AiqynError
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.errors import TlogError
from ledger.tlog.note import COSIGNATURE, ML_DSA_44, NoteError, SignedNote, SignerKey
from ledger.tlog.witness import origin_hash

KEY_FILES = {COSIGNATURE: "witness-ed25519.key", ML_DSA_44: "witness-ml-dsa-44.key"}
STATE_FILE = "state.sqlite"
MARKS = "high-water"


class WitnessFolderError(AiqynError):
    """The folder of a witness is missing, belongs to something else, or lost a file."""

    code = "witness-folder"
    title = "The witness's folder is not in order"


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a witness lives. A new one is made beside its place: :meth:`prepare`, then :meth:`settle`."""

    path: Path

    @property
    def state(self) -> Path:
        """The memory's file."""
        return self.path / STATE_FILE

    @property
    def marks(self) -> Path:
        """The folder of the high-water marks."""
        return self.path / MARKS

    @classmethod
    def prepare(cls, path: Path, keys: Sequence[SignerKey]) -> Self:
        """A folder with the keys that shall be at ``path``, which must not exist or be empty."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if any(path.iterdir()):
                raise WitnessFolderError(
                    f"{path} is not empty. A witness that exists is never made anew: choose another folder."
                )
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = cls(Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent)))
        folder.marks.mkdir(mode=0o700)
        for key in keys:
            _write(folder.path / KEY_FILES[key.verifier.algorithm], f"{key.to_skey()}\n".encode())
        return folder

    def settle(self, path: Path) -> Self:
        """Give a prepared folder its name, whole or not at all. On return it is there for good."""
        _sync(self.path)
        try:
            self.path.rename(path)
        except OSError as error:
            self.discard()
            raise WitnessFolderError(f"{path} cannot be made: {error.strerror}.") from error
        _sync(path.parent)
        return type(self)(path)

    def discard(self) -> None:
        """Remove a prepared folder that was not settled."""
        shutil.rmtree(self.path, ignore_errors=True)

    def read_keys(self) -> tuple[SignerKey, ...]:
        """The witness's keys: Ed25519 first. Raises :class:`WitnessFolderError`."""
        keys = []
        for algorithm, name in KEY_FILES.items():
            try:
                text = (self.path / name).read_text("ascii").strip()
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                raise WitnessFolderError(f"{self.path / name} cannot be read.") from error
            try:
                key = SignerKey.parse(text)
            except NoteError as error:
                raise WitnessFolderError(f"{self.path / name} holds no key: {error}.") from error
            if key.verifier.algorithm != algorithm:
                raise WitnessFolderError(f"{self.path / name} holds a key of another type.")
            keys.append(key)
        if not keys:
            raise WitnessFolderError(f"{self.path} is not the folder of a witness: see `aiqyn witness init`.")
        return tuple(keys)

    def advance_mark(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Move the mark of a log to a newer checkpoint; an older one changes nothing. Durable on return."""
        path = self.marks / origin_hash(checkpoint.origin)
        with self._locked():
            known = self._read_mark(path)
            if known is not None and known[0].size > checkpoint.size:
                return
            fresh = path.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            _write(fresh, note)
            fresh.replace(path)
            _sync(self.marks)

    def read_mark(self, origin_hash: str) -> bytes | None:
        """The newest cosigned checkpoint of the log with that origin hash, as a note."""
        found = self._read_mark(self.marks / origin_hash)
        return None if found is None else found[1]

    def read_marks(self) -> list[tuple[Checkpoint, bytes]]:
        """All marks: the checkpoint and its note. Raises :class:`WitnessFolderError`."""
        if not self.marks.is_dir():
            raise WitnessFolderError(
                f"{self.marks} is gone: without it nobody can tell whether {STATE_FILE} is the newest one."
            )
        marks = [self._read_mark(path) for path in sorted(self.marks.iterdir()) if not path.suffix]
        return [mark for mark in marks if mark is not None]

    @staticmethod
    def _read_mark(path: Path) -> tuple[Checkpoint, bytes] | None:
        try:
            note = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return Checkpoint.parse(SignedNote.parse(note).text), note
        except TlogError as error:
            raise WitnessFolderError(f"The high-water mark {path} is damaged: {error}.") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / f"{MARKS}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _write(path: Path, data: bytes) -> None:
    """A new file that its owner alone reads, durable but for its name."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
