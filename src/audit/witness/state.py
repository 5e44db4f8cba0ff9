"""The file behind a witness's memory: SQLite, which guards by itself that a head only grows."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from audit.witness.folder import WitnessFolderError
from ledger.errors import FatalError

AlarmKind = Literal["fork", "unproven", "forgotten", "two-faced"]
"""``fork``: the log signed two histories; this is proven. ``unproven``: the log signed a checkpoint, and the
proof sent with it does not show that it contains the cosigned one. ``forgotten``: a cosignature of this
witness itself of a larger tree than it remembers. ``two-faced``: one of another tree than it remembers.
"""

_VERSION = 1
_LOCK_SECONDS = 30.0
_SCHEMA = (
    "CREATE TABLE witness (one integer PRIMARY KEY CHECK (one = 1), vkeys text NOT NULL) STRICT",
    "CREATE TABLE logs (vkey text PRIMARY KEY, origin text NOT NULL, added integer NOT NULL) STRICT",
    """
    CREATE TABLE heads (
        origin text PRIMARY KEY,
        size integer NOT NULL CHECK (size >= 0),
        root blob NOT NULL CHECK (length(root) = 32),
        timestamp integer NOT NULL CHECK (timestamp > 0),
        note blob NOT NULL
    ) STRICT
    """,
    """
    CREATE TRIGGER heads_only_grow BEFORE UPDATE ON heads
    WHEN new.origin <> old.origin OR new.size < old.size OR new.timestamp < old.timestamp
        OR (new.size = old.size AND new.root <> old.root)
    BEGIN SELECT raise(ABORT, 'a head only grows'); END
    """,
    """
    CREATE TRIGGER heads_stay BEFORE DELETE ON heads
    BEGIN SELECT raise(ABORT, 'a head is never forgotten'); END
    """,
    """
    CREATE TABLE cosigned (
        origin text NOT NULL,
        size integer NOT NULL CHECK (size >= 0),
        root blob NOT NULL CHECK (length(root) = 32),
        note blob NOT NULL,
        PRIMARY KEY (origin, size)
    ) STRICT
    """,
    """
    CREATE TRIGGER cosigned_stays BEFORE UPDATE ON cosigned
    BEGIN SELECT raise(ABORT, 'what was cosigned does not change'); END
    """,
    f"""
    CREATE TABLE alarms (
        id integer PRIMARY KEY,
        origin text NOT NULL,
        kind text NOT NULL CHECK (kind IN ({", ".join(f"'{kind}'" for kind in get_args(AlarmKind))})),
        size integer NOT NULL CHECK (size >= 0),
        root blob NOT NULL CHECK (length(root) = 32),
        seen integer NOT NULL,
        request blob NOT NULL,
        remembered blob,
        UNIQUE (origin, kind, size, root)
    ) STRICT
    """,
    f"PRAGMA user_version = {_VERSION}",
)


class WitnessStateLostError(FatalError):
    """The memory of a witness is gone: without it, it would cosign anything."""

    code = "witness-state-lost"
    title = "The witness lost its memory"


def create_state(path: Path, vkeys: str) -> None:
    """A new file for the witness with these keys; nothing if there is one already."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    with _errors(path), contextlib.closing(_connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction(connection):
            if _version(connection) == 0:
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute("INSERT INTO witness (one, vkeys) VALUES (1, ?)", [vkeys])


def open_state(path: Path, vkeys: str) -> sqlite3.Connection:
    """Open the file, which must exist and belong to these keys; threads may share the connection.

    Raises :class:`WitnessStateLostError` or :class:`WitnessFolderError`.
    """
    lost = WitnessStateLostError(
        f"{path} is gone or empty. A witness that forgot what it cosigned would cosign a second history, so "
        "this one serves nobody. Run `aiqyn witness recover`."
    )
    if not path.exists():
        raise lost
    with _errors(path):
        connection = _connect(path)
        try:
            version = _version(connection)
            if version == 0:
                raise lost
            if version != _VERSION:
                raise WitnessFolderError(
                    f"{path} was written by another version of this program ({version})."
                )
            (owner,) = connection.execute("SELECT vkeys FROM witness").fetchone()
            if owner != vkeys:
                raise WitnessFolderError(
                    f"{path} is the memory of another witness, or a key file is missing."
                )
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, durable on return. No other process writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise WitnessFolderError(f"{path} cannot be used: {error}.") from error


def _connect(path: Path) -> sqlite3.Connection:
    # Never `rwc`: a file that is missing must stay so.
    connection = sqlite3.connect(
        f"file:{_quoted(path)}?mode=rw",
        uri=True,
        timeout=_LOCK_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _quoted(path: Path) -> str:
    return path.absolute().as_uri().removeprefix("file://")
