"""What every source of records gives: rows of an old register as texts by column, with their line."""

from __future__ import annotations

import gzip
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ledger.errors import AiqynError


class RegisterError(AiqynError):
    """The register's file cannot be read as what it says to be."""

    code = "register-unreadable"
    title = "The register cannot be read"


@dataclass(frozen=True, slots=True)
class Record:
    """One row. What a row does not say is an empty text."""

    line: int
    """Where it begins, from 1."""
    values: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that cannot be read, so that nobody knows whose case it belongs to."""

    line: int
    reason: str


class Source(ABC):
    """A register's file."""

    columns: frozenset[str] | None = None
    """Names of all columns; None where each row may have others."""

    def __init__(self, path: Path) -> None:
        """``path``: packed where it ends with ``.gz``."""
        self._path = path
        self._file: IO[bytes] | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[Record | Broken]:
        """Its rows, as they stand. Raises :class:`RegisterError`."""

    def done(self) -> int:
        """Bytes of the file that were read."""
        return self._file.tell() if self._file is not None else self._path.stat().st_size

    @contextmanager
    def _content(self) -> Iterator[IO[bytes]]:
        """What stands in the file, unpacked."""
        try:
            with self._path.open("rb") as self._file:
                if self._path.suffix != ".gz":
                    yield self._file
                    return
                with gzip.open(self._file) as content:
                    yield content  # type: ignore[misc]  # GzipFile reads as any file does
        except OSError as error:
            raise RegisterError(f"{self._path} cannot be read: {error.strerror or error}.") from error
        except (EOFError, zlib.error) as error:
            raise RegisterError(
                f"{self._path} cannot be unpacked: it breaks off, or is not as it was packed."
            ) from error
        finally:
            self._file = None
