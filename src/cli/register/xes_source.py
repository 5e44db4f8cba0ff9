"""A register as XES (IEEE 1849), read as it comes in, trace by trace.

What stands in a trace is a column whose name begins with ``case:``. Attributes within attributes are passed
over. A document type is refused: with it, an XML file can read others, or grow without bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn
from xml.parsers import expat

from cli.register.records import Broken, Record, RegisterError, Source

OF_THE_CASE = "case:"
_VALUES = frozenset({"string", "date", "int", "float", "boolean", "id"})
_PIECE = 65_536


class XesSource(Source):
    """Reads event by event."""

    def __iter__(self) -> Iterator[Record | Broken]:
        """The events of all traces. Raises :class:`~cli.register.records.RegisterError`."""
        with self._content() as content:
            reader = _Reader()
            try:
                while piece := content.read(_PIECE):
                    yield from reader.feed(piece)
                yield from reader.feed(b"", last=True)
            except expat.ExpatError as error:
                raise RegisterError(
                    f"{self._path}:{error.lineno}: this is not XML: {expat.ErrorString(error.code)}."
                ) from error
            except _RefusedError as error:
                raise RegisterError(f"{self._path}:{error.line}: {error}") from error


class _RefusedError(Exception):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


class _Reader:
    def __init__(self) -> None:
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._path: list[str] = []
        self._case: dict[str, str] = {}
        self._events: list[tuple[int, dict[str, str]]] = []
        self._ready: list[Record] = []

    def feed(self, piece: bytes, *, last: bool = False) -> list[Record]:
        """The events of the traces that ended in this piece."""
        self._parser.Parse(piece, last)
        ready, self._ready = self._ready, []
        return ready

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(" ")[2]
        if not self._path and name != "log":
            raise _RefusedError(self._parser.CurrentLineNumber, f"an XES log was expected, not <{name}>.")
        match self._path:
            case ["log"] if name == "trace":
                self._case, self._events = {}, []
            case ["log", "trace"] if name == "event":
                self._events.append((self._parser.CurrentLineNumber, {}))
            case ["log", "trace"] if name in _VALUES:
                self._case[OF_THE_CASE + attributes.get("key", "")] = attributes.get("value", "").strip()
            case ["log", "trace", "event"] if name in _VALUES:
                self._events[-1][1][attributes.get("key", "")] = attributes.get("value", "").strip()
            case _:
                pass
        self._path.append(name)

    def _end(self, name: str) -> None:
        self._path.pop()
        if self._path == ["log"] and name.rpartition(" ")[2] == "trace":
            self._ready += [Record(line, {**self._case, **values}) for line, values in self._events]

    def _refuse_doctype(self, *_: object) -> NoReturn:
        raise _RefusedError(
            self._parser.CurrentLineNumber, "a document type is not read: take it out of the file."
        )
