"""Where a log is read from: a server, or a folder that holds the same files.

A source gives bytes and judges nothing. What it could not give is told apart by who is to blame: the
answer "there is no such file" is a fact about the log (:class:`NotServedError`), an answer that never came
is not (:class:`SourceError`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import httpx

from ledger.errors import AiqynError
from ledger.tlog.merkle import HASH_SIZE
from ledger.tlog.note import MAX_NOTE_BYTES
from ledger.tlog.tiles import MAX_ENTRY_BYTES, WIDTH, TilePath

MAX_BUNDLE_BYTES = WIDTH * (2 + MAX_ENTRY_BYTES)
MAX_JSON_BYTES = 10_000_000

ATTEMPTS = 5
FIRST_PAUSE = 0.25
"""Seconds before the second attempt; each later pause is twice as long."""
TIMEOUT = httpx.Timeout(30.0, connect=10.0)


class SourceError(AiqynError):
    """The log could not be read; nothing is known about it."""

    code = "source-unreadable"
    title = "The log could not be read"


class NotServedError(SourceError):
    """There is no such file, and the source says so."""

    code = "source-not-served"
    title = "The log does not serve this file"


class OversizedError(SourceError):
    """The file is longer than any valid one."""

    code = "source-oversized"
    title = "The log serves more bytes than this file can have"


class Source(Protocol):
    """Files by their path, such as ``log/checkpoint`` or ``v1/log``."""

    name: str
    """What a person calls it: an address or a path."""
    parallel: int
    """How many reads at a time make sense."""

    def read(self, path: str, limit: int) -> bytes:
        """At most ``limit`` bytes. Raises :class:`SourceError`; may be called from several threads."""

    def close(self) -> None:
        """Let go of connections."""


class HttpSource:
    """A server's address; ``log/`` and ``v1/`` stand below it."""

    parallel = 8

    def __init__(self, url: str, *, first_pause: float = FIRST_PAUSE) -> None:
        if not url.startswith(("https://", "http://")):
            raise SourceError(f"{url!r} is no address: it starts with https:// or http://.")
        self.name = url.rstrip("/")
        self._pause = first_pause
        self._client = httpx.Client(
            timeout=TIMEOUT,
            follow_redirects=True,
            limits=httpx.Limits(max_connections=self.parallel, max_keepalive_connections=self.parallel),
        )

    def read(self, path: str, limit: int) -> bytes:
        """GET, repeated with growing pauses while the server is out of reach or answers 429 or 5xx."""
        url = f"{self.name}/{path}"
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1))
            try:
                with self._client.stream("GET", url) as response:
                    status = response.status_code
                    if status == httpx.codes.OK:
                        return _bounded(response, url, limit)
                    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
                        raise NotServedError(f"{url} is not there (HTTP {status}).", url=url)
                    reason = f"HTTP {status}"
                    if status < 500 and status != httpx.codes.TOO_MANY_REQUESTS:
                        break
            except (httpx.TransportError, httpx.DecodingError) as error:
                reason = str(error) or type(error).__name__
            except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
                reason = str(error)
                break
        raise SourceError(f"{url} could not be read: {reason}.", url=url)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _bounded(response: httpx.Response, url: str, limit: int) -> bytes:
    # Counted after decompression: a short answer may unfold to any length.
    parts, length = [], 0
    for part in response.iter_bytes():
        length += len(part)
        if length > limit:
            raise OversizedError(f"{url} has more than {limit} bytes.", url=url)
        parts.append(part)
    return b"".join(parts)


class FolderSource:
    """An exported log: ``checkpoint`` and ``tile/`` in a folder, or in ``log/`` below it."""

    parallel = 2

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self._root = Path(path)
        if not self._root.is_dir():
            raise SourceError(f"{self.name} is no folder: give a folder with an exported log, or an address.")
        self._log = self._root / "log" if (self._root / "log").is_dir() else self._root

    def read(self, path: str, limit: int) -> bytes:
        """The file's bytes."""
        room, _, rest = path.partition("/")
        file = self._log / rest if room == "log" else self._root / path
        try:
            with file.open("rb") as stream:
                data = stream.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotServedError(f"{file} is not there.", path=str(file)) from error
        except OSError as error:
            raise SourceError(f"{file} could not be read: {error.strerror}.", path=str(file)) from error
        if len(data) > limit:
            raise OversizedError(f"{file} has more than {limit} bytes.", path=str(file))
        return data

    def close(self) -> None:
        """Nothing is held open."""


def open_source(place: str | Path) -> Source:
    """A source by address or path."""
    if isinstance(place, str) and "://" in place:
        return HttpSource(place)
    return FolderSource(place)


def read_checkpoint(source: Source) -> bytes:
    """The log's checkpoint for everybody: the newest, or the newest that a quorum of witnesses cosigned."""
    return source.read("log/checkpoint", MAX_NOTE_BYTES)


def read_newest(source: Source) -> bytes | None:
    """The newest checkpoint, cosigned or not; None where the log does not tell it apart."""
    try:
        return source.read("v1/log/checkpoint", MAX_NOTE_BYTES)
    except NotServedError:
        return None


def read_tile(source: Source, tile: TilePath) -> bytes:
    """A hash tile or an entry bundle.

    A log may drop a partial tile once the full one exists (C2SP tlog-tiles): then the full one is
    returned, and the reader takes from its beginning what it needs.
    """
    limit = MAX_BUNDLE_BYTES if tile.level is None else WIDTH * HASH_SIZE
    try:
        return source.read(f"log/{tile.path}", limit)
    except NotServedError as missing:
        if tile.width == WIDTH:
            raise
        try:
            return source.read(f"log/{TilePath(tile.level, tile.index).path}", limit)
        except NotServedError:
            raise missing from None


def cut_tile(data: bytes, width: int) -> bytes:
    """The first ``width`` hashes where a full tile stands in for a partial one; else what was served."""
    return data[: width * HASH_SIZE] if len(data) == WIDTH * HASH_SIZE else data
