"""What every source of records gives: rows of an old register as texts by column, with their line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

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


class Source(Protocol):
    """A register's file."""

    columns: frozenset[str] | None
    """Names of all columns; None where each row may have others."""

    def __iter__(self) -> Iterator[Record | Broken]:
        """Its rows, as they stand."""

    def done(self) -> int:
        """Bytes of the file that were read."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file as it is, and its content, which is the same unless it is packed (``.gz``)."""
    try:
        with path.open("rb") as file:
            if path.suffix != ".gz":
                yield file, file
                return
            with gzip.open(file) as content:
                yield file, content  # type: ignore[misc]  # GzipFile reads as any file does
    except OSError as error:
        raise RegisterError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (EOFError, zlib.error) as error:
        raise RegisterError(
            f"{path} cannot be unpacked: it breaks off, or is not as it was packed."
        ) from error
