"""What a witness remembers: of each log the newest checkpoint that it cosigned, and evidence against logs.

To compare a checkpoint with the newest one, to cosign it and to remember it is one transaction, whichever
process does it; nobody is answered before its commit.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple, Self

from audit.witness.alarms import Alarm, amnesia, examine, forget_unproven, read_alarms, remember_unproven
from audit.witness.folder import Folder, WitnessFolderError
from audit.witness.state import create_state, open_state, transaction
from ledger.errors import AiqynError, FatalError
from ledger.tlog.checkpoint import Checkpoint, cosign_checkpoint, open_checkpoint
from ledger.tlog.merkle import EMPTY_ROOT
from ledger.tlog.note import (
    InvalidSignatureError,
    NoteError,
    SignedNote,
    SignerKey,
    UnverifiedNoteError,
    VerifierKey,
    open_note,
)
from ledger.tlog.policy import LOG_ALGORITHMS
from ledger.tlog.witness import AddCheckpoint, Refusal, Submission, judge

log = logging.getLogger(__name__)

HISTORY: Final = 10_000
"""How many cosigned checkpoints of each log are remembered, to recognise a second root of one size."""
_BACKWARDS_SECONDS = 5


class WitnessRolledBackError(FatalError):
    """The memory of a witness is older than what it cosigned."""

    code = "witness-rolled-back"
    title = "The witness's memory is older than its cosignatures"


class WitnessLogError(AiqynError):
    """A key is not one of a log that this witness can cosign for, or the log's beginning is not wanted."""

    code = "witness-log"
    title = "The witness cannot cosign for this log"


class LogState(NamedTuple):
    """A log that the witness knows, and what it cosigned of it last."""

    origin: str
    vkeys: tuple[VerifierKey, ...]
    """Empty if it cosigns for the log no more."""
    latest: Checkpoint | None
    timestamp: int | None
    """POSIX seconds."""


class Cosigned(NamedTuple):
    """A checkpoint that this witness remembers from now on, and its signature lines."""

    checkpoint: Checkpoint
    note: bytes
    """With the signatures of the log and of the witness."""
    lines: bytes


class Memory:
    """The memory of one witness. Threads share it; processes open it each."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Open the witness in the folder ``path``.

        Raises :class:`WitnessFolderError`, ``WitnessStateLostError`` without a memory, and
        :class:`WitnessRolledBackError` if the memory is older than what was cosigned.
        """
        self.folder = Folder(path)
        self.keys: tuple[SignerKey, ...] = self.folder.read_keys()
        self._clock = clock
        self._lock = threading.Lock()
        self._connection = open_state(self.folder.state, _vkeys(self.keys))
        try:
            self._check_marks()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, path: Path, keys: Sequence[SignerKey]) -> None:
        """Make a witness with these keys, which knows no log yet. Raises :class:`WitnessFolderError`."""
        folder = Folder.prepare(path, keys)
        try:
            create_state(folder.state, _vkeys(keys))
            folder.settle(path)
        except BaseException:
            folder.discard()
            raise

    @classmethod
    def recover(cls, path: Path) -> list[Checkpoint]:
        """Bring the memory to what the witness's own cosignatures prove that it cosigned.

        A memory that is gone is made anew. Returns the checkpoints that it learned. Nobody may serve the
        witness meanwhile. Raises :class:`WitnessFolderError`.
        """
        folder = Folder(path)
        keys = folder.read_keys()
        notes = [note for _, note in folder.read_marks()]
        if not notes and not folder.state.exists():
            raise WitnessFolderError(
                f"{folder.state} is gone, and there is no high-water mark: nobody knows what this witness "
                "cosigned. Retire its name and its keys, and make another witness."
            )
        create_state(folder.state, _vkeys(keys))
        with closing(open_state(folder.state, _vkeys(keys))) as connection, transaction(connection):
            notes += [
                AddCheckpoint.parse(alarm.request).checkpoint
                for alarm in read_alarms(connection)
                if alarm.kind == "forgotten"
            ]
            learned = [_learn(connection, note, keys) for note in notes]
        return [checkpoint for checkpoint in learned if checkpoint is not None]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The witness's name."""
        return self.keys[0].name

    @property
    def vkeys(self) -> tuple[VerifierKey, ...]:
        """Its public keys."""
        return tuple(key.verifier for key in self.keys)

    # --- logs -------------------------------------------------------------------------------------

    def add_log(self, vkey: VerifierKey) -> None:
        """Cosign from now on what this key of a log signs; the key's name is the log's origin."""
        if vkey.algorithm not in LOG_ALGORITHMS:
            raise WitnessLogError(
                f"The key of {vkey.name} is of type 0x{vkey.algorithm:02x}; a log signs with 0x01 or 0x06."
            )
        # On a machine without the algorithm this says so, rather than every request later.
        with contextlib.suppress(InvalidSignatureError):
            vkey.verify(Checkpoint(vkey.name, 0, EMPTY_ROOT).to_text(), bytes(2428))
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO logs (vkey, origin, added) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [str(vkey), vkey.name, int(self._clock())],
            )

    def remove_log(self, vkey: VerifierKey) -> None:
        """Cosign no more what this key signs. What was cosigned stays remembered."""
        with self._writing() as connection:
            if not connection.execute("DELETE FROM logs WHERE vkey = ?", [str(vkey)]).rowcount:
                raise WitnessLogError(f"This witness does not know the key {vkey}: see `witness log list`.")

    def begin_at(self, note: bytes) -> Checkpoint:
        """Cosign a log's signed checkpoint, which its owner verified, as the first one of that log.

        Raises :class:`WitnessLogError` if no known key signed it or the log was cosigned already.
        """
        origin = Checkpoint.parse(SignedNote.parse(note).text).origin
        keys = self.keys_of(origin)
        if not keys:
            raise WitnessLogError(f"This witness does not know the log {origin}.")
        try:
            _, verified = open_note(note, keys)
        except UnverifiedNoteError as error:
            raise WitnessLogError(f"The checkpoint is not signed by its log: {error}.") from error
        checkpoint = open_checkpoint(note, verified[0].key).checkpoint
        signed = SignedNote.parse(note)
        lines = tuple(s for s in signed.signatures if any(s.key_id == v.key.key_id for v in verified))
        with self._writing() as connection:
            if _head(connection, origin) is not None:
                raise WitnessLogError(f"This witness has cosigned {origin} already, and goes on from there.")
            cosigned = self._cosign(connection, checkpoint, SignedNote(signed.text, lines), None)
        self.folder.advance_mark(cosigned.checkpoint, cosigned.note)
        return checkpoint

    def keys_of(self, origin: str) -> list[VerifierKey]:
        """The trusted keys of a log; none for an unknown one."""
        with self._reading() as connection:
            rows = connection.execute("SELECT vkey FROM logs WHERE origin = ? ORDER BY rowid", [origin])
            return [VerifierKey.parse(vkey) for (vkey,) in rows]

    def logs(self) -> list[LogState]:
        """All logs by origin, those known no more but once cosigned as well."""
        keys: dict[str, list[VerifierKey]] = {}
        with self._reading() as connection:
            for origin, vkey in connection.execute("SELECT origin, vkey FROM logs ORDER BY rowid"):
                keys.setdefault(origin, []).append(VerifierKey.parse(vkey))
            for (origin,) in connection.execute("SELECT origin FROM heads"):
                keys.setdefault(origin, [])
            heads = {origin: _head(connection, origin) for origin in keys}
        return [
            LogState(origin, tuple(keys[origin]), head and head.checkpoint, head and head.timestamp)
            for origin, head in sorted(heads.items())
        ]

    # --- requests ---------------------------------------------------------------------------------

    def add_checkpoint(self, submission: Submission) -> Cosigned | Refusal:
        """Cosign a checkpoint that contains the newest one, or refuse it; what must not be is remembered."""
        now = int(self._clock())
        with self._writing() as connection:
            head = _head(connection, submission.origin)
            latest = None if head is None else head.checkpoint
            fork = examine(connection, submission, latest, now)
            verdict = amnesia(connection, submission.origin, latest) or judge(submission, latest)
            if isinstance(verdict, Refusal):
                grew = latest is not None and 0 < latest.size < submission.size
                if verdict.status == 422 and grew and not fork and latest is not None:
                    remember_unproven(connection, submission, latest, now)
                return verdict
            cosigned = self._cosign(connection, verdict, submission.note, head)
        self.folder.advance_mark(cosigned.checkpoint, cosigned.note)
        return cosigned

    def alarms(self) -> list[Alarm]:
        """What was seen that must not be, in the order in which it was."""
        with self._reading() as connection:
            return read_alarms(connection)

    def _cosign(
        self, connection: sqlite3.Connection, checkpoint: Checkpoint, note: SignedNote, head: _Head | None
    ) -> Cosigned:
        timestamp = self._time(head)
        signatures = [cosign_checkpoint(checkpoint, key, timestamp) for key in self.keys]
        data = note.with_signatures(*signatures).to_bytes()
        _keep(connection, _Head(checkpoint, timestamp), data, note)
        forget_unproven(connection, checkpoint)
        return Cosigned(checkpoint, data, "".join(f"{line}\n" for line in signatures).encode())

    def _time(self, head: _Head | None) -> int:
        """Now in POSIX seconds, but never before the last cosignature of the log."""
        now = max(1, int(self._clock()))
        if head is None or now >= head.timestamp:
            return now
        if head.timestamp - now > _BACKWARDS_SECONDS:
            log.error(
                "ALARM clock: it is %d s behind the last cosignature of %s, whose time is used again",
                head.timestamp - now,
                head.checkpoint.origin,
            )
        return head.timestamp

    # --- the file ---------------------------------------------------------------------------------

    def _check_marks(self) -> None:
        """Refuse a memory that is behind its marks; move the marks that are behind."""
        # The marks first: another process may go on meanwhile, and moves the memory before the mark.
        marks = {mark.origin: mark for mark, _ in self.folder.read_marks()}
        with self._reading() as connection:
            rows = connection.execute("SELECT origin, size, root, note FROM heads").fetchall()
        heads = {origin: (Checkpoint(origin, size, root), note) for origin, size, root, note in rows}
        for origin, mark in marks.items():
            held = heads[origin][0] if origin in heads else None
            if held is None or held.size < mark.size or (held.size == mark.size and held.root != mark.root):
                remembered = "nothing of it" if held is None else f"size {held.size}"
                raise WitnessRolledBackError(
                    f"This witness cosigned {origin} at size {mark.size}, but {self.folder.state} remembers "
                    f"{remembered}: an old copy took its place. Run `aiqyn witness recover`."
                )
        for origin, (head, note) in heads.items():
            if origin not in marks or marks[origin].size < head.size:
                self.folder.advance_mark(head, note)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection, transaction(connection):
            yield connection

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise WitnessFolderError(f"{self.folder.state} cannot be used: {error}.") from error


class _Head(NamedTuple):
    checkpoint: Checkpoint
    timestamp: int


def _vkeys(keys: Sequence[SignerKey]) -> str:
    return "\n".join(str(key.verifier) for key in keys)


def _head(connection: sqlite3.Connection, origin: str) -> _Head | None:
    row = connection.execute("SELECT size, root, timestamp FROM heads WHERE origin = ?", [origin]).fetchone()
    return None if row is None else _Head(Checkpoint(origin, row[0], row[1]), row[2])


def _keep(connection: sqlite3.Connection, head: _Head, note: bytes, signed: SignedNote) -> None:
    """Remember a cosigned checkpoint; ``signed`` is the note with the log's own signatures alone."""
    origin, size, root = head.checkpoint.origin, head.checkpoint.size, head.checkpoint.root
    connection.execute(
        """
        INSERT INTO heads (origin, size, root, timestamp, note) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (origin) DO UPDATE SET
            size = excluded.size, root = excluded.root, timestamp = excluded.timestamp, note = excluded.note
        """,
        [origin, size, root, head.timestamp, note],
    )
    # One signature is enough to hold the log to its word.
    evidence = SignedNote(signed.text, signed.signatures[:1]).to_bytes()
    connection.execute(
        "INSERT INTO cosigned (origin, size, root, note) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [origin, size, root, evidence],
    )
    connection.execute(
        "DELETE FROM cosigned WHERE origin = ?1 AND size <"
        " (SELECT size FROM cosigned WHERE origin = ?1 ORDER BY size DESC LIMIT 1 OFFSET ?2)",
        [origin, HISTORY - 1],
    )


def _learn(connection: sqlite3.Connection, note: bytes, keys: Sequence[SignerKey]) -> Checkpoint | None:
    """Remember a checkpoint that bears our own cosignature, if it is newer than what is remembered."""
    try:
        _, verified = open_note(note, [key.verifier for key in keys])
    except NoteError as error:
        raise WitnessFolderError(
            f"A high-water mark bears no cosignature of this witness: {error}."
        ) from error
    parsed = SignedNote.parse(note)
    checkpoint = Checkpoint.parse(parsed.text)
    head = _head(connection, checkpoint.origin)
    if head is not None and head.checkpoint.size >= checkpoint.size:
        return None
    timestamp = max(*(v.timestamp or 1 for v in verified), 1 if head is None else head.timestamp)
    ours = {(key.name, key.verifier.key_id) for key in keys}
    signed = tuple(line for line in parsed.signatures if (line.name, line.key_id) not in ours)
    _keep(
        connection, _Head(checkpoint, timestamp), note, SignedNote(parsed.text, signed or parsed.signatures)
    )
    return checkpoint
