"""A register as CSV (RFC 4180), with a line of names first."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cli.register.mapping import CsvForm
from cli.register.records import Broken, Record, RegisterError, Source

_UNREADABLE = "surrogateescape"


class CsvSource(Source):
    """Reads row by row; a row with too many or too few cells, or bytes of another encoding, is broken."""

    def __init__(self, path: Path, form: CsvForm) -> None:
        """Read the names of the columns. Raises :class:`~cli.register.records.RegisterError`."""
        super().__init__(path)
        self._form = form
        try:
            codecs.lookup(form.encoding)
        except LookupError:
            raise RegisterError(
                f"There is no encoding {form.encoding!r}: see [csv] in the mapping."
            ) from None
        with self._content() as content:
            names = next(self._rows(content), (0, []))[1]
        if not isinstance(names, str):
            names = [name.strip() for name in names]
        if isinstance(names, str) or not any(names):
            raise RegisterError(f"{path} has no line of column names.")
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise RegisterError(f"{path} has columns of the same name: {', '.join(twice)}.")
        self._names = names
        self.columns = frozenset(names)

    def __iter__(self) -> Iterator[Record | Broken]:
        """The rows below the names."""
        with self._content() as content:
            rows = self._rows(content)
            next(rows, None)
            for line, cells in rows:
                if isinstance(cells, str):
                    yield Broken(line, cells)
                elif len(cells) != len(self._names):
                    if cells:
                        yield Broken(
                            line, f"The row has {len(cells)} cells, the register {len(self._names)} columns."
                        )
                elif any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell):
                    yield Broken(line, f"The row has bytes that are not {self._form.encoding}.")
                else:
                    yield Record(line, dict(zip(self._names, (cell.strip() for cell in cells), strict=True)))

    def _rows(self, content: IO[bytes]) -> Iterator[tuple[int, list[str] | str]]:
        """Line and cells of each row, or why it is broken."""
        encoding = "utf-8-sig" if codecs.lookup(self._form.encoding).name == "utf-8" else self._form.encoding
        # Not closed here: its owner closes what it reads from.
        text = io.TextIOWrapper(content, encoding=encoding, errors=_UNREADABLE, newline="")
        try:
            reader = csv.reader(text, delimiter=self._form.delimiter, quotechar=self._form.quote, strict=True)
            while True:
                line = reader.line_num + 1
                try:
                    yield line, next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield line, f"The row cannot be read: {error}."
        except UnicodeError as error:
            raise RegisterError(
                f"{self._path} is not {self._form.encoding}: see [csv] in the mapping."
            ) from error
        finally:
            if not text.closed:
                text.detach()
