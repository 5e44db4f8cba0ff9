"""Cosignatures: the witnesses of the policy are asked for them, off the append path, and heeded.

All witnesses are asked about one checkpoint at a time, the target; only so can a quorum come together while
the log grows. Each is asked by a task of its own, so that a slow one holds up nobody. A checkpoint with a
quorum is kept and served; the next target is the newest checkpoint then.

A witness remembers what it cosigned. When what it remembers, signed by this log's own key, is not in this
database, then the database was rolled back or the log was forked: that is proven, an alarm is kept, and the
head is halted, so that no process signs anything more. What a witness merely claims stops nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool

from api.cosigned import AlarmKind, halt
from ledger.errors import FatalError
from ledger.store.append import StoreUnavailableError
from ledger.store.database import DatabaseUnavailableError, conninfo
from ledger.store.reader import LogReader
from ledger.tlog.checkpoint import Checkpoint, open_checkpoint
from ledger.tlog.encoding import from_decimal
from ledger.tlog.errors import TlogError
from ledger.tlog.merkle import frontier_at
from ledger.tlog.note import MAX_NOTE_BYTES, Signature, SignedNote, VerifierKey
from ledger.tlog.policy import Policy, PolicyError
from ledger.tlog.witness import AddCheckpoint, origin_hash

log = logging.getLogger(__name__)

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
TARGET_SECONDS = 30.0
"""How long a target waits for its quorum before the newest checkpoint takes its place."""
REFRESH_SECONDS = 3600.0
"""A log that does not grow is cosigned again after this, so that everybody sees that its witnesses live."""
BACKOFF_SECONDS = (1.0, 300.0)
POLL_SECONDS = 1.0
PAUSE_SECONDS = 0.05
"""Between two looks at which checkpoint is the newest."""
WHOLE_SECONDS = 30.0
"""For a whole answer of a witness."""
START_SECONDS = 10.0
"""The same, before the service starts."""
AHEAD_SECONDS = 300
"""How far the clock of a witness may be ahead of ours."""
LOCK = 731_005
"""Key of the advisory lock by which one collector works at a time."""


class LogContradictedError(FatalError):
    """A witness proved that this database is not the log that was signed."""

    code = "log-contradicted"
    title = "A witness proves that this is not the log that was signed"


class _WitnessError(Exception):
    """This witness did not do what was asked; says what it did instead."""


class Contradiction(NamedTuple):
    """What a witness remembers, and this database does not hold."""

    kind: AlarmKind
    said: str
    note: bytes


def signed_by_log(note: bytes, log_keys: Sequence[VerifierKey]) -> Checkpoint:
    """A checkpoint that one of the log's keys signed. Raises :class:`TlogError` for any other.

    One is enough: whoever submits checkpoints to a witness may leave out the lines of the others.
    """
    for key in log_keys[:-1]:
        with contextlib.suppress(TlogError):
            return open_checkpoint(note, key).checkpoint
    return open_checkpoint(note, log_keys[-1]).checkpoint


def contradiction(note: bytes, log_keys: Sequence[VerifierKey], reader: LogReader) -> Contradiction | None:
    """What a remembered checkpoint proves against this database, if anything.

    Raises :class:`TlogError` for one that this log did not sign: it proves nothing.
    """
    remembered = signed_by_log(note, log_keys)
    size = reader.size()  # read after the note came: whatever was signed before is in the database by now
    if remembered.size > size:
        return Contradiction(
            "rolled-back",
            f"A witness holds a checkpoint of {remembered.size} entries that this log signed; the database "
            f"has {size}. It was rolled back: restore the newest state, from a mirror if need be.",
            note,
        )
    if remembered.size == 0:
        return None
    ours = frontier_at(remembered.size, reader.read_node(remembered.size)).root()
    if ours != remembered.root:
        return Contradiction(
            "forked",
            f"A witness holds a checkpoint of {remembered.size} entries with root {remembered.root.hex()} "
            f"that this log signed; here these entries have root {ours.hex()}. The log was forked.",
            note,
        )
    return None


def load_policy(path: Path, log_key: VerifierKey) -> Policy | None:
    """The policy in a file; None where there is no file. Raises ``PolicyError``."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyError(f"The policy {path} cannot be read: {error.strerror}.") from error
    policy = Policy.parse(data)
    if policy.logs and log_key not in {one.vkey for one in policy.logs}:
        raise PolicyError(f"The policy {path} names other logs than this one, whose key is {log_key}.")
    if policy.satisfied_by(()):
        raise PolicyError(f"The policy {path} asks for no cosignature: name a quorum, or remove the file.")
    return policy


@dataclass
class _Witness:
    """One submission prefix and the keys behind it."""

    url: str
    keys: tuple[VerifierKey, ...]
    size: int = 0
    """That it cosigned last: never what it merely claims."""
    asked: int = -1
    """Size that it cosigned last."""
    asked_at: float = 0.0
    failures: int = 0


class _Target(NamedTuple):
    size: int
    note: SignedNote
    since: float
    """By the loop's clock."""
    chosen: datetime
    """When it was the newest: entries behind it are younger."""


@dataclass
class Collector:
    """Collects cosignatures by a policy. Belongs to one event loop."""

    url: str
    """Connects as the service's role."""
    log_keys: Sequence[VerifierKey]
    """All keys of the log; the first one names it."""
    policy: Policy
    countersign: Callable[[bytes], bytes] = lambda note: note
    """Adds the log's further signatures to a checkpoint."""
    interval: float = 10.0
    """Seconds between two targets."""
    late: float = 60.0
    """Seconds without a quorum after which it is said to be late."""
    clock: Callable[[], float] = time.time
    retry: tuple[float, float] = BACKOFF_SECONDS
    _target: _Target | None = field(init=False, default=None)
    _quorum: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _overtaken: bool = field(init=False, default=False)
    """Somebody else showed a witness a newer checkpoint than the target."""
    _look: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _moved: asyncio.Condition = field(init=False, default_factory=asyncio.Condition)
    _warned: bool = field(init=False, default=False)
    _behind_since: datetime | None = field(init=False, default=None)
    _cosigned: int | None = field(init=False, default=None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run beside the block."""
        task = asyncio.create_task(self.run(), name="witnesses")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def run(self) -> None:
        """For ever; outlives the database's restarts. Ends once the log is halted."""
        while True:
            try:
                async with self._opened() as (pool, reader, client):
                    if await self._collect(pool, reader, client):
                        return
            except* (psycopg.Error, DatabaseUnavailableError, StoreUnavailableError, OSError) as errors:
                names = ", ".join(sorted({type(error).__name__ for error in errors.exceptions}))
                log.warning("witnesses wait for the database: %s", names)
            except* Exception:
                log.exception("the collector of cosignatures begins again")
            await asyncio.sleep(self.retry[0])

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[_Pool, LogReader, httpx.AsyncClient]]:
        reader = await asyncio.to_thread(LogReader, self.url)
        try:
            pool: _Pool = AsyncConnectionPool(
                conninfo(self.url, application_name="aiqyn witnesses"),
                min_size=1,
                max_size=2,
                kwargs={"autocommit": True},
                open=False,
            )
            async with pool, httpx.AsyncClient(timeout=TIMEOUT, headers=_PLAIN) as client:
                yield pool, reader, client
        finally:
            await asyncio.to_thread(reader.close)

    async def _collect(self, pool: _Pool, reader: LogReader, client: httpx.AsyncClient) -> bool:
        """Until something breaks, or the log is halted: then True."""
        async with pool.connection() as holding:
            while not await _locked(holding):  # noqa: ASYNC110 - another process collects
                await asyncio.sleep(self.interval)
            await self._heed_policy(holding)
            witnesses = await self._read_witnesses(holding)
            halted = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._attend(witness, pool, reader, client, halted))
                    for witness in witnesses
                ]
                tasks.append(group.create_task(self._aim(pool)))
                await halted.wait()
                for task in tasks:
                    task.cancel()
        return True

    async def _read_witnesses(self, connection: AsyncConnection[Any]) -> list[_Witness]:
        by_url: dict[str, list[VerifierKey]] = {}
        for one in self.policy.witnesses:
            if one.url is None:
                log.warning("witness %s has no address in the policy: it is never asked", one.name)
            else:
                by_url.setdefault(one.url.rstrip("/"), []).append(one.vkey)
        cursor = connection.cursor(row_factory=tuple_row)
        await cursor.execute("SELECT url, size FROM service.witnesses")
        sizes: dict[str, int] = dict(await cursor.fetchall())
        return [_Witness(url, tuple(keys), sizes.get(url, 0)) for url, keys in by_url.items()]

    async def _heed_policy(self, connection: AsyncConnection[Any]) -> None:
        """Where the policy is another than before, forget what has no quorum by it."""
        policy = hashlib.sha256(self.policy.to_bytes()).hexdigest()
        cursor = connection.cursor(binary=True, row_factory=tuple_row)
        await cursor.execute("SELECT policy FROM service.witnessing WHERE policy = %s", [policy])
        if await cursor.fetchone() is not None:
            return
        keys = {(one.vkey.name, one.vkey.key_id): one.vkey for one in self.policy.witnesses}
        await cursor.execute("SELECT size, note FROM service.cosigned")
        without = []
        for size, note in await cursor.fetchall():
            lines = SignedNote.parse(bytes(note)).signatures  # each was verified when it was kept
            signed = {keys[line.name, line.key_id] for line in lines if (line.name, line.key_id) in keys}
            if not self.policy.satisfied_by(signed):
                without.append(size)
        async with connection.transaction():
            await connection.execute("DELETE FROM service.cosigned WHERE size = ANY(%s)", [without])
            await connection.execute("DELETE FROM service.cosignatures")
            await connection.execute("UPDATE service.witnessing SET policy = %s", [policy])

    # --- which checkpoint ------------------------------------------------------------------------

    async def _aim(self, pool: _Pool) -> None:
        """Choose target after target."""
        while True:
            async with pool.connection() as connection:
                await self._choose(connection)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._look.wait()
            self._look.clear()
            await asyncio.sleep(self.interval if self._quorum.is_set() else PAUSE_SECONDS)

    async def _choose(self, connection: AsyncConnection[Any]) -> None:
        cursor = connection.cursor(binary=True, row_factory=tuple_row)
        await cursor.execute(
            "SELECT p.size, p.note, c.size, c.at FROM ledger.checkpoints p"
            " LEFT JOIN (SELECT size, at FROM service.cosigned ORDER BY size DESC LIMIT 1) c ON true"
            " ORDER BY p.size DESC LIMIT 1"
        )
        row = await cursor.fetchone()
        if row is None:
            return
        size, note, cosigned, cosigned_at = row
        await self._watch(connection, size, cosigned)
        now = asyncio.get_running_loop().time()
        target = self._target
        if target is not None:
            if self._quorum.is_set():
                fresh = cosigned_at is not None and self.clock() - cosigned_at.timestamp() < REFRESH_SECONDS
                if size == target.size and fresh:
                    return
            elif size == target.size or not (self._overtaken or now - target.since >= TARGET_SECONDS):
                return
            if size == target.size:  # the witnesses are to say once more that they live
                await connection.execute("DELETE FROM service.cosignatures WHERE size = %s", [size])
        signed = await asyncio.to_thread(self.countersign, bytes(note))
        async with self._moved:
            self._target = _Target(size, SignedNote.parse(signed), now, self._now())
            self._overtaken = False
            self._quorum.clear()
            self._moved.notify_all()

    async def _watch(self, connection: AsyncConnection[Any], size: int, cosigned: int | None) -> None:
        """Remember since when entries wait for a quorum, and warn once they wait too long."""
        since = self._behind_since
        if cosigned is not None and cosigned >= size:
            since = None
        elif since is None:
            since = self._now()
        elif cosigned != self._cosigned and self._target is not None:
            since = self._target.chosen  # what waits now came after that one
        if since != self._behind_since or self._target is None:
            await connection.execute("UPDATE service.witnessing SET behind_since = %s", [since])
        if self._warned and (since is None or cosigned != self._cosigned):
            log.warning("the quorum of witnesses is there again")
            self._warned = False
        self._behind_since, self._cosigned = since, cosigned
        if since is not None and not self._warned and (self._now() - since).total_seconds() >= self.late:
            self._warned = True
            log.error(
                "the quorum of witnesses is late: entries wait for it since %s. See `aiqyn log status`.",
                since.isoformat(timespec="seconds"),
            )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    # --- one witness -----------------------------------------------------------------------------

    async def _attend(
        self,
        witness: _Witness,
        pool: _Pool,
        reader: LogReader,
        client: httpx.AsyncClient,
        halted: asyncio.Event,
    ) -> None:
        """Ask one witness about each target; ``halted`` is set once it proved something."""
        while True:
            target = await self._next_target(witness)
            try:
                found = await self._ask(witness, target, pool, reader, client)
            except (psycopg.Error, DatabaseUnavailableError, StoreUnavailableError):
                raise
            except Exception as error:
                # Whatever one witness sends must not reach the others.
                known = isinstance(error, _WitnessError | httpx.HTTPError | TlogError | TimeoutError)
                said = str(error) if known else ""
                await self._failed(witness, pool, said or type(error).__name__)
                continue
            if found is not None:
                await self._halt(witness, found, pool)
                halted.set()
                return
            witness.failures = 0

    async def _next_target(self, witness: _Witness) -> _Target:
        async with self._moved:
            await self._moved.wait_for(
                lambda: (
                    self._target is not None
                    and (witness.asked, witness.asked_at) != (self._target.size, self._target.since)
                )
            )
            assert self._target is not None  # noqa: S101 - waited for
            return self._target

    async def _ask(
        self, witness: _Witness, target: _Target, pool: _Pool, reader: LogReader, client: httpx.AsyncClient
    ) -> Contradiction | None:
        """One cosignature; or what the witness proves instead. Raises what it did wrong."""
        old = witness.size
        for _ in range(3):
            if old > target.size:
                break
            proof: Sequence[bytes] = ()
            if 0 < old < target.size:
                proof = await asyncio.to_thread(reader.consistency, old, target.size)
            body = AddCheckpoint(old, tuple(proof), target.note.to_bytes()).to_bytes()
            status, answer = await _fetch(client, "POST", f"{witness.url}/add-checkpoint", body)
            match status:
                case 200:
                    lines = [Signature.parse(line) for line in answer.decode("utf-8").splitlines() if line]
                    await self._keep(witness, target.size, target.note, lines, pool)
                    witness.asked, witness.asked_at = target.size, target.since
                    return None
                case 409:
                    size = _size(answer)
                    if size == old:
                        raise _WitnessError(f"says that it remembers {size} entries, and refuses to go on")
                    old = size
                case 422:
                    what = "refuses the consistency proof"
                    return await self._remembered(witness, target, pool, reader, client, what)
                case _:
                    said = answer[:200].decode("utf-8", "replace").strip()
                    raise _WitnessError(f"answers {status} {said!r}")
        if old <= target.size:
            raise _WitnessError("names another size each time that it is asked")
        what = f"remembers {old} entries"
        return await self._remembered(witness, target, pool, reader, client, what)

    async def _remembered(
        self, witness: _Witness, target: _Target, pool: _Pool, reader: LogReader, client: httpx.AsyncClient,
        what: str,
    ) -> Contradiction | None:  # fmt: skip
        """What the checkpoint that the witness remembers proves.

        Anybody may show a witness our newest checkpoints, so it may well be ahead of the target: then its
        cosignature is kept as if we had asked, and a newer target is chosen.
        """
        origin = origin_hash(self.log_keys[0].name)
        status, note = await _fetch(client, "GET", f"{witness.url}/{origin}/checkpoint")
        if status != 200:
            raise _WitnessError(f"{what}, and shows no checkpoint to prove it (status {status})")
        found = await asyncio.to_thread(contradiction, note, self.log_keys, reader)
        if found is not None:
            return found
        size = signed_by_log(note, self.log_keys).size
        if size < target.size:
            raise _WitnessError(f"{what}, but the checkpoint that it shows is in the log: it is out of order")
        shown = SignedNote.parse(note)
        await self._keep(witness, size, shown, shown.signatures, pool)
        async with self._moved:
            witness.asked, witness.asked_at = target.size, target.since
            if size > target.size:
                self._overtaken = True
                self._look.set()
        return None

    async def _keep(
        self, witness: _Witness, size: int, note: SignedNote, lines: Sequence[Signature], pool: _Pool
    ) -> None:
        """The witness's cosignatures among ``lines``, over the checkpoint of ``size`` entries in ``note``."""
        known = {(key.name, key.key_id): key for key in witness.keys}
        fresh: list[tuple[VerifierKey, Signature, datetime]] = []
        for line in dict.fromkeys(lines):
            key = known.get((line.name, line.key_id))
            if key is None:
                continue
            timestamp = key.verify(note.text, line.signature)
            if not timestamp or timestamp > self.clock() + AHEAD_SECONDS:
                raise _WitnessError(f"dates its cosignature {timestamp}, which is ahead of our clock")
            fresh.append((key, line, datetime.fromtimestamp(timestamp, UTC)))
        if not fresh:
            raise _WitnessError("answers with a cosignature of none of its keys in the policy")
        async with pool.connection() as connection, connection.transaction():
            for key, line, at in fresh:
                await connection.execute(
                    "INSERT INTO service.cosignatures (size, key, line, at) VALUES (%s, %s, %s, %s)"
                    " ON CONFLICT (size, key) DO UPDATE SET line = excluded.line, at = excluded.at",
                    [size, str(key), str(line), at],
                )
            witness.size = max(witness.size, size)
            await self._note_state(connection, witness, max(at for _, _, at in fresh), None)
            await self._settle(connection, size)

    async def _settle(self, connection: AsyncConnection[Any], size: int) -> None:
        """Keep the checkpoint with all its cosignatures once they make a quorum."""
        cursor = connection.cursor(row_factory=tuple_row, binary=True)
        await cursor.execute("SELECT key, line FROM service.cosignatures WHERE size = %s", [size])
        lines: dict[str, str] = dict(await cursor.fetchall())
        keys = [one.vkey for one in self.policy.witnesses if str(one.vkey) in lines]
        if not self.policy.satisfied_by(keys):
            return
        await cursor.execute("SELECT note FROM ledger.checkpoints WHERE size = %s", [size])
        row = await cursor.fetchone()
        if row is None:
            return  # a size that was never published: its note proves it, and the witness will be asked
        signed = SignedNote.parse(await asyncio.to_thread(self.countersign, bytes(row[0])))
        note = signed.with_signatures(*(Signature.parse(lines[str(key)]) for key in keys))
        await connection.execute(
            "INSERT INTO service.cosigned (size, note, at) VALUES (%s, %s, %s)"
            " ON CONFLICT (size) DO UPDATE SET note = excluded.note, at = excluded.at",
            [size, note.to_bytes(), self._now()],
        )
        await connection.execute(_THIN, {"size": size, "now": self._now()})
        await connection.execute("DELETE FROM service.cosignatures WHERE size < %s", [size])
        if self._target is not None and size >= self._target.size:
            self._quorum.set()
            self._look.set()

    async def _failed(self, witness: _Witness, pool: _Pool, error: str) -> None:
        witness.failures += 1
        if witness.failures in (1, 10, 100) or witness.failures % 1000 == 0:
            log.warning("witness %s: %s (%d times in a row)", witness.url, error, witness.failures)
        async with pool.connection() as connection:
            await self._note_state(connection, witness, None, error[:500])
        first, longest = self.retry
        await asyncio.sleep(min(first * 2.0 ** min(witness.failures - 1, 20), longest))

    @staticmethod
    async def _note_state(
        connection: AsyncConnection[Any], witness: _Witness, at: datetime | None, error: str | None
    ) -> None:
        await connection.execute(
            """
            INSERT INTO service.witnesses AS w (url, size, cosigned_at, failures, error)
            VALUES (%(url)s, %(size)s, %(at)s, %(failures)s, %(error)s)
            ON CONFLICT (url) DO UPDATE SET size = excluded.size, failures = excluded.failures,
                error = excluded.error, cosigned_at = coalesce(excluded.cosigned_at, w.cosigned_at)
            """,
            {
                "url": witness.url,
                "size": witness.size,
                "at": at,
                "failures": witness.failures if error else 0,
                "error": error,
            },
        )

    async def _halt(self, witness: _Witness, found: Contradiction, pool: _Pool) -> None:
        log.critical("witness %s proves: %s Nothing more is signed.", witness.url, found.said)
        async with pool.connection() as connection:
            await halt(connection, self._now(), found.kind, found.said, [found.note])


_Pool = AsyncConnectionPool[AsyncConnection[Any]]
_PLAIN = {"Accept-Encoding": "identity"}
_THIN = """
    DELETE FROM service.cosigned c
    WHERE c.size < %(size)s AND c.at < %(now)s - interval '1 hour' AND EXISTS (
        SELECT FROM service.cosigned n WHERE n.size > c.size
        AND date_bin('10 minutes', n.at, 'epoch') = date_bin('10 minutes', c.at, 'epoch'))"""


async def _locked(connection: AsyncConnection[Any]) -> bool:
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute("SELECT pg_try_advisory_lock(%s, 0)", [LOCK])
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def _fetch(
    client: httpx.AsyncClient, method: str, url: str, body: bytes | None = None
) -> tuple[int, bytes]:
    """Status and body. Raises ``httpx.HTTPError``, ``TimeoutError``, or :class:`_WitnessError`."""
    async with asyncio.timeout(WHOLE_SECONDS), client.stream(method, url, content=body) as response:
        parts, length = [], 0
        async for part in response.aiter_raw():  # as it came: what was packed may unfold to any length
            length += len(part)
            if length > MAX_NOTE_BYTES:
                raise _WitnessError(f"answers with more than {MAX_NOTE_BYTES} bytes")
            parts.append(part)
    client.cookies.clear()
    return response.status_code, b"".join(parts)


def _size(answer: bytes) -> int:
    try:
        return from_decimal(answer[:30].decode("ascii").removesuffix("\n"))
    except ValueError as error:
        raise _WitnessError("answers 409 without a size") from error


# --- before the service starts --------------------------------------------------------------------


def ask_memories(
    policy: Policy, log_keys: Sequence[VerifierKey], reader: LogReader
) -> Iterator[str | Contradiction]:
    """Ask all witnesses what they remember, before anything is signed.

    Yields why one could not be asked, and what one proves: a backup was restored, perhaps, on a machine
    whose high-water mark is gone as well.
    """
    origin = origin_hash(log_keys[0].name)
    urls = dict.fromkeys(one.url.rstrip("/") for one in policy.witnesses if one.url is not None)
    with httpx.Client(timeout=httpx.Timeout(3.0), headers=_PLAIN) as client:
        for url in urls:
            try:
                status, note = _fetch_now(client, f"{url}/{origin}/checkpoint")
                if status == httpx.codes.NOT_FOUND:
                    continue  # it never cosigned this log
                found = contradiction(note, log_keys, reader)
            except (httpx.HTTPError, httpx.InvalidURL, TlogError, _WitnessError) as error:
                yield f"{url} cannot be asked what it remembers: {error or type(error).__name__}"
                continue
            if found is not None:
                yield found


def _fetch_now(client: httpx.Client, url: str) -> tuple[int, bytes]:
    deadline = time.monotonic() + START_SECONDS
    with client.stream("GET", url) as response:
        parts, length = [], 0
        for part in response.iter_raw():
            length += len(part)
            if length > MAX_NOTE_BYTES or time.monotonic() > deadline:
                raise _WitnessError("its answer is too long, or takes too long")
            parts.append(part)
    return response.status_code, b"".join(parts)
