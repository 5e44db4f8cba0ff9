"""The append transaction: the one way anything enters the ledger.

Lock the head, check the guards, give positions and hash, write, sign the checkpoint, commit. Whoever
lost a race is told so one by one; the rest of the group goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from ledger.events import DisclosureErased
from ledger.store.append import (
    Append,
    Appended,
    ClockSkewError,
    CommandId,
    CommandReusedError,
    LogHaltedError,
    LogRolledBackError,
    SealedEvent,
    StreamConflictError,
    conflict,
)
from ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from ledger.tlog.merkle import Frontier, GrowingTree, leaf_hash
from ledger.tlog.note import SignerKey

CHANNEL = "ledger"
"""Notified once for each group, by ``_HEAD``."""

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"  # each statement sees what was committed before it
_ROOT = "SELECT root FROM ledger.checkpoints WHERE size = %s"
_LOCK = "SELECT size, frontier, halted FROM ledger.head FOR UPDATE"
_VERSIONS = """
    SELECT s.stream, e.n FROM unnest(%b::text[]) AS s (stream) CROSS JOIN LATERAL (
        SELECT n FROM ledger.entries WHERE stream = s.stream ORDER BY n DESC LIMIT 1) AS e"""
_COMMANDS = """
    SELECT c.scope, c.key, c.request, c.position, c.events
    FROM ledger.commands c JOIN unnest(%b::text[], %b::text[]) AS k (scope, key) USING (scope, key)"""
_QUIET = """
    SELECT EXISTS (SELECT FROM ledger.entries WHERE position > %s AND starts_with(stream, %s))"""
_SAME = "SELECT position, entry FROM ledger.entries WHERE stream = %s AND n = %s"
_COPY = "COPY ledger.entries (position, stream, n, type, entry, leaf) FROM STDIN (FORMAT BINARY)"
_COPY_TYPES = ["int8", "text", "int8", "text", "bytea", "bytea"]
_DISCLOSURES = """
    INSERT INTO ledger.disclosures SELECT * FROM unnest(%b::int8[], %b::text[], %b::text[])"""
_DATA_KEYS = """
    INSERT INTO ledger.data_keys (stream, wrapped, position)
    SELECT * FROM unnest(%b::text[], %b::bytea[], %b::int8[])"""
_KNOWN_KEYS = "SELECT stream, wrapped FROM ledger.data_keys WHERE stream = ANY(%b::text[])"
_VAULT = "INSERT INTO ledger.vault SELECT * FROM unnest(%b::int8[], %b::text[], %b::bytea[])"
_SECRETS = "INSERT INTO ledger.petition_secrets SELECT * FROM unnest(%b::text[], %b::bytea[])"
_PERSONS = "INSERT INTO ledger.persons SELECT * FROM unnest(%b::int8[], %b::bytea[])"
_TAKE_UP = """
    UPDATE ledger.attachments a SET position = f.position
    FROM unnest(%b::uuid[], %b::int8[]) AS f (id, position) WHERE a.id = f.id AND a.position IS NULL"""
_NODES = "INSERT INTO ledger.nodes SELECT * FROM unnest(%b::int2[], %b::int8[], %b::bytea[])"
_REMEMBER = """
    INSERT INTO ledger.commands (scope, key, request, position, events)
    SELECT * FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::int8[], %b::int4[])"""
_HEAD = """
    WITH head AS (UPDATE ledger.head SET size = %b, frontier = %b RETURNING size),
         signed AS (INSERT INTO ledger.checkpoints (size, root, note) SELECT size, %b, %b FROM head)
    SELECT pg_notify('ledger', '')"""

Outcome = Appended | Exception


@dataclass(slots=True)
class _Accepted:
    request: int
    position: int


class AppendTransaction:
    """Runs groups of requests over one connection (in autocommit mode)."""

    def __init__(
        self,
        origin: str,
        signer: SignerKey,
        *,
        clock: Callable[[], float],
        skew: int,
    ) -> None:
        self._origin = origin
        self._signer = signer
        self._clock = clock
        self._skew = skew
        self.committed = Frontier(0, ())
        """The newest tree this process saw committed; what it finds must not be older."""

    async def run(
        self, connection: psycopg.AsyncConnection[Any], requests: Sequence[Append]
    ) -> list[Outcome]:
        """Append what can be appended; the outcomes stand in the order of the requests.

        Raises what psycopg raises; then nothing is known to be committed.
        """
        async with connection.cursor(binary=True) as cursor:
            found = await self._lock_and_look(connection, cursor, requests)
            if not await self._continues(cursor, found.frontier):
                raise LogRolledBackError(
                    f"The database went back behind {self.committed.size} entries while the service ran; it "
                    f"holds {found.frontier.size}. Restore the newest one; signing on would fork the log.",
                    size=found.frontier.size,
                    signed=self.committed.size,
                )
            outcomes: list[Outcome | None] = [None] * len(requests)
            accepted: list[_Accepted] = []
            position = found.frontier.size
            for number, request in enumerate(requests):
                try:
                    repeated = await self._decide(cursor, request, found)
                except psycopg.Error:
                    raise
                except Exception as refused:
                    outcomes[number] = refused
                    continue
                if repeated is not None:
                    outcomes[number] = repeated
                    continue
                accepted.append(_Accepted(number, position))
                position += len(request.events)
                found.remember(request, position - len(request.events))
            if accepted:
                await self._write(connection, cursor, requests, accepted, found.frontier, outcomes)
            else:
                await cursor.execute("ROLLBACK")
            return [outcome for outcome in outcomes if outcome is not None]

    async def _continues(self, cursor: psycopg.AsyncCursor[Any], found: Frontier) -> bool:
        """Whether the log found is the one this process saw last, or has grown from it."""
        if found.size <= self.committed.size:
            return found == self.committed
        if self.committed.size == 0:
            return True
        await cursor.execute(_ROOT, (self.committed.size,), prepare=True)
        row = await cursor.fetchone()
        return row is not None and bytes(row[0]) == self.committed.root()

    async def _lock_and_look(
        self,
        connection: psycopg.AsyncConnection[Any],
        cursor: psycopg.AsyncCursor[Any],
        requests: Sequence[Append],
    ) -> _Found:
        streams = {event.originator_id for request in requests for event in request.events}
        streams.update(stream for request in requests for stream in request.guards)
        commands = [command for request in requests for command in request.commands]
        under = {
            str(event.originator_id)
            for request in requests
            for event in request.events
            if isinstance(event, SealedEvent) and event.under is not None
        }
        async with connection.pipeline():
            await cursor.execute(_BEGIN)
            head = connection.cursor(binary=True)
            await head.execute(_LOCK, prepare=True)
            versions = connection.cursor(binary=True)
            await versions.execute(_VERSIONS, ([str(stream) for stream in streams],), prepare=True)
            known = connection.cursor(binary=True)
            if commands:
                await known.execute(
                    _COMMANDS, ([c.scope for c in commands], [c.key for c in commands]), prepare=True
                )
            keys = connection.cursor(binary=True)
            if under:
                await keys.execute(_KNOWN_KEYS, (list(under),), prepare=True)
        row = await head.fetchone()
        if row is None:
            raise LogRolledBackError("The row that holds the head of the log is gone.")
        if row[2] is not None:
            raise LogHaltedError(row[2])
        return _Found(
            Frontier.from_bytes(row[0], bytes(row[1])),
            dict(await versions.fetchall()),
            {(r[0], r[1]): tuple(r[2:]) for r in await known.fetchall()} if commands else {},
            {r[0]: bytes(r[1]) for r in await keys.fetchall()} if under else {},
        )

    async def _decide(
        self, cursor: psycopg.AsyncCursor[Any], request: Append, found: _Found
    ) -> Appended | None:
        """``None``: to be appended. Raises the reason for a refusal."""
        for command in request.commands:
            if (done := found.commands.get(_key(command))) is not None:
                asked, position, events = done
                if bytes(asked) != command.request:
                    raise CommandReusedError(command.key)
                return Appended(position, events, found.frontier.size, b"", None, repeated=True)
        try:
            self._check_streams(request, found)
        except StreamConflictError:
            if request.uncertain and (done_before := await self._find_same(cursor, request, found)):
                return done_before
            raise
        now = self._clock()
        for event in request.events:
            if isinstance(event, SealedEvent) and event.iat is not None and abs(now - event.iat) > self._skew:
                raise ClockSkewError(
                    f"The event says iat {event.iat}, here it is {int(now)}: more than {self._skew} seconds "
                    "apart. Set your clock and seal the event again.",
                    iat=event.iat,
                    now=int(now),
                )
        if request.quiet is not None:
            await cursor.execute(_QUIET, (request.quiet.after, request.quiet.prefix), prepare=True)
            row = await cursor.fetchone()
            if row is None or row[0] or found.touched(request.quiet.prefix):
                raise StreamConflictError(
                    f"Something happened under {request.quiet.prefix} after position {request.quiet.after}: "
                    "count again."
                )
        return None

    def _check_streams(self, request: Append, found: _Found) -> None:
        for stream, expected in request.guards.items():
            if found.versions.get(stream, 0) != expected:
                raise conflict(stream, expected, found.versions.get(stream))
        next_versions: dict[str, int] = {}
        for event in request.events:
            stream = str(event.originator_id)
            last = next_versions.get(stream, found.versions.get(stream))
            if last is None and isinstance(event, SealedEvent):
                last = 0  # the library lets a stream begin anywhere, the ledger does not
            if last is not None and event.originator_version != last + 1:
                raise conflict(stream, event.originator_version - 1, last)
            next_versions[stream] = event.originator_version
            if (
                isinstance(event, SealedEvent)
                and event.under is not None
                and found.keys.get(stream) != event.under
            ):
                raise StreamConflictError(
                    f"What was known of {stream} was erased in the meantime: repeat the command.",
                    stream=stream,
                )

    async def _find_same(
        self, cursor: psycopg.AsyncCursor[Any], request: Append, found: _Found
    ) -> Appended | None:
        """What an earlier, unacknowledged commit of the very same bytes brought about."""
        positions = []
        for event in request.events:
            await cursor.execute(_SAME, (event.originator_id, event.originator_version), prepare=True)
            row = await cursor.fetchone()
            if row is None or bytes(row[1]) != event.state:
                return None
            positions.append(row[0])
        return Appended(positions[0], len(positions), found.frontier.size, b"", None, repeated=True)

    async def _write(
        self,
        connection: psycopg.AsyncConnection[Any],
        cursor: psycopg.AsyncCursor[Any],
        requests: Sequence[Append],
        accepted: Sequence[_Accepted],
        before: Frontier,
        outcomes: list[Outcome | None],
    ) -> None:
        events = [event for item in accepted for event in requests[item.request].events]
        leaves = [leaf_hash(event.state) for event in events]
        tree = GrowingTree(before)
        tree.extend(leaves)
        frontier = tree.frontier()
        root = frontier.root()
        note = sign_checkpoint(Checkpoint(self._origin, frontier.size, root), self._signer)
        async with cursor.copy(_COPY) as copy:
            copy.set_types(_COPY_TYPES)
            for position, (event, leaf) in enumerate(zip(events, leaves, strict=True), before.size):
                await copy.write_row(
                    (
                        position,
                        event.originator_id,
                        event.originator_version,
                        event.topic,
                        event.state,
                        leaf,
                    )
                )
        async with connection.pipeline():
            for statement, rows in self._side_rows(requests, accepted, events, tree):
                if rows:
                    columns = [list(column) for column in zip(*rows, strict=True)]
                    await cursor.execute(statement, columns, prepare=True)
            await cursor.execute(_HEAD, (frontier.size, frontier.to_bytes(), root, note), prepare=True)
            await cursor.execute("COMMIT")
        self.committed = frontier
        for item in accepted:
            count = len(requests[item.request].events)
            outcomes[item.request] = Appended(item.position, count, frontier.size, note, tree)

    @staticmethod
    def _side_rows(
        requests: Sequence[Append],
        accepted: Sequence[_Accepted],
        events: Sequence[Any],
        tree: GrowingTree,
    ) -> list[tuple[str, list[tuple[Any, ...]]]]:
        disclosures, data_keys, vault, secrets, persons, files = [], [], [], [], [], []
        for position, event in enumerate(events, tree.start):
            if not isinstance(event, SealedEvent):
                continue
            stream = event.originator_id
            disclosures += [(position, d.name, d.encoded) for d in event.public]
            if event.data_key is not None:
                data_keys.append((stream, event.data_key, position))
            if event.sealed is not None:
                vault.append((position, stream, event.sealed))
            if event.secret is not None:
                secrets.append((stream, event.secret))
            if event.person is not None:
                persons.append((position, event.person))
            files += [(file, position) for file in event.attachments]
        commands = [
            (c.scope, c.key, c.request, item.position, len(requests[item.request].events))
            for item in accepted
            for c in requests[item.request].commands
        ]
        return [
            (_DISCLOSURES, disclosures),
            (_DATA_KEYS, data_keys),
            (_VAULT, vault),
            (_SECRETS, secrets),
            (_PERSONS, persons),
            (_TAKE_UP, files),
            (_NODES, tree.new_nodes()),
            (_REMEMBER, commands),
        ]


class _Found:
    """What the transaction found under its lock, kept current while the group is decided."""

    def __init__(
        self,
        frontier: Frontier,
        versions: dict[str, int],
        commands: dict[tuple[str, str], tuple[Any, ...]],
        keys: dict[str, bytes],
    ) -> None:
        self.frontier = frontier
        self.versions = versions
        self.commands = commands
        self.keys = keys
        self._fresh: set[str] = set()

    def remember(self, request: Append, position: int) -> None:
        for event in request.events:
            self.versions[str(event.originator_id)] = event.originator_version
            self._fresh.add(str(event.originator_id))
            if event.topic == DisclosureErased.type:
                # erasure/<of>/<id>: what follows in this group cannot be sealed under that stream's key
                self.keys.pop(str(event.originator_id).split("/", 1)[1].rpartition("/")[0], None)
        for command in request.commands:
            self.commands[_key(command)] = (command.request, position, len(request.events))

    def touched(self, prefix: str) -> bool:
        return any(stream.startswith(prefix) for stream in self._fresh)


def _key(command: CommandId) -> tuple[str, str]:
    return command.scope, command.key
