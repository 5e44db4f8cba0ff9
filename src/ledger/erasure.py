"""Being forgotten: what is personal in a stream is destroyed; its entries, their hashes and the counts stay.

An erasure is an event of the log, ``disclosure.erased``, and the database does what it says in the
transaction that appends it (``migrations/0010.erasures.sql``): after a power cut either both happened or
neither. So nothing here deletes anything. It finds out what there is to erase, and has the events appended.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self, cast, get_args

import psycopg
from psycopg import AsyncConnection

from ledger.application import ATTEMPTS, PETITION_SECRET, InvalidCommandError, Ledger, NotFoundError
from ledger.domain import retention
from ledger.domain.aggregate import Issuance, NotAllowedError, happen
from ledger.domain.assurance import Erasure
from ledger.domain.calendar import ALMATY
from ledger.domain.signature import nullifier, signature_stream
from ledger.encoding import b64url
from ledger.events import DisclosureErased, catalogue
from ledger.events.assurance import ErasureGround
from ledger.store.append import Append, StreamConflictError
from ledger.store.database import connect_async

log = logging.getLogger(__name__)

PERSONAL: dict[str, tuple[str, ...]] = {"signature": ("name",), "petition": ("author",)}
"""Public disclosures that are about the person, by the room of the stream. All others are a petition's own
words, or a body's: they go by the order of a court alone."""
AT_ONCE = 64
"""Erasures under way together: they share the groups of the sequencer."""
_LOOKED_AT_ONCE = 1000


class NotOverError(NotAllowedError):
    """The matter goes on: what is personal in it is still needed to answer it."""

    code = "matter-not-over"
    title = "The matter is not over yet"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants erased in one stream."""

    stream: str
    ground: ErasureGround
    names: tuple[str, ...] | None = None
    """Public disclosures; None: those that are about the person."""
    data_key: bool = True
    """Whether everything restricted goes."""
    version: int | None = None
    """How many events the stream had when this was decided; else whatever it has now."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, and what is not."""

    erasures: tuple[DisclosureErased, ...]
    done: tuple[Wish, ...]
    """Nothing of these is left."""
    kept: tuple[tuple[Wish, NotOverError], ...]
    """These have to stay for now, and why."""


def forget(cursor: psycopg.Cursor[Any], facts: DisclosureErased) -> int:
    """Remove the public disclosures that an erasure names; returns how many there still were.

    For whoever holds a copy. Who may not delete them needs the erasure's entry in ``ledger.entries`` first.
    """
    if not facts.names:
        return 0
    cursor.execute("SELECT ledger.forget(%s, %s, %s)", (facts.of, facts.events, list(facts.names)))
    row = cursor.fetchone()
    return 0 if row is None else int(row[0] if isinstance(row, tuple) else next(iter(row.values())))


class Eraser:
    """Erases in a started ledger; ``connection`` is one of the service's role, in autocommit mode."""

    def __init__(self, ledger: Ledger, connection: AsyncConnection[Any]) -> None:
        self._ledger = ledger
        self.connection = connection

    def now(self) -> datetime:
        """By the ledger's clock."""
        return self._ledger.now()

    @classmethod
    @asynccontextmanager
    async def open(cls, ledger: Ledger, url: str) -> AsyncIterator[Self]:
        """With a connection of its own."""
        async with await connect_async(url, application_name="aiqyn erase", autocommit=True) as connection:
            yield cls(ledger, connection)

    # --- whose, and what ------------------------------------------------------------------------------

    async def of_person(self, iin: str) -> list[str]:
        """The streams in which this ledger knows something about a person, or a company by its BIN.

        By what the ledger keeps beside their events, and by trying the person on every petition: who was
        erased and withdrew the signature afterwards is found too.
        """
        vault = self._ledger.vault
        rows = await self._rows(
            "SELECT DISTINCT e.stream FROM ledger.persons p JOIN ledger.entries e USING (position)"
            " WHERE p.person = %s",
            [vault.person(iin)],
        )
        known = {stream for (stream,) in rows}
        wrapped = await self._rows("SELECT petition, wrapped FROM ledger.petition_secrets", [])
        tried = [
            signature_stream(
                petition.removeprefix("petition/"),
                nullifier(vault.unwrap(PETITION_SECRET, petition, bytes(secret)), iin),
            )
            for petition, secret in wrapped
        ]
        signed = await self._rows(
            "SELECT stream FROM ledger.entries WHERE stream = ANY(%s) AND n = 1", [tried]
        )
        return sorted(known | {stream for (stream,) in signed})

    async def with_parts(self, streams: Iterable[str]) -> list[str]:
        """The same, and the parts of an appeal that went to other bodies with the applicant's data."""
        named = sorted(set(streams))
        rows = await self._rows(
            "SELECT DISTINCT e.stream FROM unnest(%s::text[]) AS s (stream) JOIN ledger.entries e"
            " ON e.stream > s.stream || '-' AND e.stream < s.stream || '.'"  # a full stop follows the dash
            " WHERE starts_with(s.stream, 'appeal/')",
            [named],
        )
        return sorted({*named, *(stream for (stream,) in rows)})

    async def plan(self, wishes: Sequence[Wish]) -> Plan:
        """What is left to erase.

        Raises :class:`ledger.application.NotFoundError` for a stream that does not exist, and
        ``InvalidCommandError`` or ``NotAllowedError`` for names that are not to be erased so.
        """
        for wish in wishes:
            _check(wish)
        erasures: list[DisclosureErased] = []
        done: list[Wish] = []
        kept: list[tuple[Wish, NotOverError]] = []
        planned: dict[str, set[str | None]] = {}
        """By stream: the names that go, and None where the data key does."""
        for start in range(0, len(wishes), _LOOKED_AT_ONCE):
            some = wishes[start : start + _LOOKED_AT_ONCE]
            rows = await self._look_up(_LEFT, [[w.stream for w in some], [w.ground for w in some]])
            left = {row[:2]: row[2:] for row in rows}
            for wish in some:
                events, restricted, public = left[wish.stream, wish.ground]
                if events is None:
                    raise NotFoundError(f"There is no {wish.stream}.", stream=wish.stream)
                goes = planned.setdefault(wish.stream, set())
                wanted = _wanted(wish) - goes
                names = tuple(name for name in sorted(public or ()) if name in wanted)
                data_key = wish.data_key and restricted and None not in goes
                reason = None
                if not names and not data_key:
                    done.append(wish)
                elif wish.version is not None and wish.version != events:
                    reason = NotOverError(f"Something happened to {wish.stream} meanwhile.")
                else:
                    reason = await self._needed(wish, data_key)
                    if reason is None:
                        goes.update(names, [None] if data_key else [])
                        erasures.append(
                            DisclosureErased(
                                of=wish.stream,
                                events=events,
                                ground=wish.ground,
                                names=names,
                                data_key=data_key,
                            )
                        )
                if reason is not None:
                    kept.append((wish, reason))
        return Plan(tuple(erasures), tuple(done), tuple(kept))

    async def _needed(self, wish: Wish, data_key: bool) -> NotOverError | None:
        room = wish.stream.partition("/")[0]
        if wish.ground != "demand" or not data_key or room not in ("petition", "appeal"):
            return None
        state = (await self._ledger.load(wish.stream)).state
        if state in retention.over(cast("retention.Data", room)):
            return None
        return NotOverError(
            f"{wish.stream} is {state}: what is personal in it is needed until it is over. Let the demand "
            "wait for that, or act on the order of a court.",
            state=state,
        )

    # --- doing it -------------------------------------------------------------------------------------

    async def erase(self, plan: Plan, progress: Callable[[int], None] | None = None) -> int:
        """Append the erasures, each an event of its own, in random order; returns how many there were.

        The order ties nobody's streams together. ``progress`` is told how many are done. When it is
        interrupted, what is done is done; :meth:`plan` finds the rest. Raises what the append raises.
        """
        mixed = random.SystemRandom().sample(plan.erasures, len(plan.erasures))
        await self._ledger.refresh()
        waiting = iter(mixed)
        done = 0

        async def work() -> None:
            nonlocal done
            for facts in waiting:
                await self._append(facts)
                done += 1
                if progress is not None:
                    progress(done)

        workers = [asyncio.create_task(work()) for _ in range(min(AT_ONCE, len(mixed)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        settled = [(facts.of, facts.ground) for facts in mixed]
        settled += [(wish.stream, wish.ground) for wish in plan.done]
        await self._rows(
            "DELETE FROM service.erasures_waiting w"
            " USING unnest(%s::text[], %s::text[]) AS e (stream, ground)"
            " WHERE (w.stream, w.ground) = (e.stream, e.ground)",
            [[stream for stream, _ in settled], [ground for _, ground in settled]],
        )
        return done

    async def _append(self, facts: DisclosureErased) -> None:
        ledger = self._ledger
        key = ledger.keys.clock if facts.ground == "retention" else ledger.keys.root
        stream = f"erasure/{facts.of}/{b64url(secrets.token_bytes(12))}"
        for attempt in range(ATTEMPTS):
            by = Issuance(ledger.operator, key.kid, ledger.now())
            ledger.authorise(by, DisclosureErased)
            happened = happen(Erasure, stream, None, facts, by).collect_events()
            pending = [await ledger.seal(event) for event in happened]
            guards = {facts.of: facts.events, **ledger.issuer_guard(by.iss, stream)}
            try:
                await ledger.sequencer.append(Append(pending, guards))
                return
            except StreamConflictError as lost:
                if attempt == ATTEMPTS - 1:
                    raise
                await ledger.refresh()
                if lost.details.get("stream") == facts.of:
                    # Meanwhile the signature was taken back, or whatever else: that goes as well.
                    facts = DisclosureErased(
                        of=facts.of, events=int(lost.details["actual"]), ground=facts.ground,
                        names=facts.names, data_key=facts.data_key,
                    )  # fmt: skip

    # --- among others, later --------------------------------------------------------------------------

    async def wait(self, wishes: Sequence[Wish], days: int) -> None:
        """Keep wishes for later runs, each for a random one of the next ``days``: one person's are apart."""
        today = self.now().astimezone(ALMATY).date()
        mixed = random.SystemRandom().sample(wishes, len(wishes))
        async with self.connection.transaction(), self.connection.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO service.erasures_waiting AS w (stream, ground, names, data_key, not_before)"
                " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (stream, ground) DO UPDATE"
                " SET names = excluded.names, data_key = w.data_key OR excluded.data_key",
                [
                    (
                        wish.stream,
                        wish.ground,
                        None if wish.names is None else list(wish.names),
                        wish.data_key,
                        today + timedelta(days=secrets.randbelow(max(1, days))),
                    )
                    for wish in mixed
                ],
            )

    async def waiting(self) -> list[Wish]:
        """Wishes whose day has come."""
        rows = await self._rows(
            "SELECT stream, ground, names, data_key FROM service.erasures_waiting WHERE not_before <= %s",
            [self.now().astimezone(ALMATY).date()],
        )
        return [
            Wish(stream, ground, None if names is None else tuple(names), data_key)
            for stream, ground, names, data_key in rows
        ]

    # --- after a restore ------------------------------------------------------------------------------

    async def again(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Obey every erasure of the log that this database, or a part of it, is older than.

        Returns how many rows went. Cheap where there is nothing to do: one query over the erasures.
        """
        found = [position for (position,) in await self._look_up(_NOT_OBEYED, [])]
        gone = 0
        for number, position in enumerate(found, 1):
            rows = await self._rows("SELECT ledger.obey(%s)", [position])
            gone += int(rows[0][0])
            if progress is not None:
                progress(number, len(found))
        if found:
            log.warning("%d erasures of the log were carried out again", len(found))
        return gone

    async def _look_up(self, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Few rows of large tables, by their indexes, whatever the statistics say."""
        async with self.connection.transaction():
            await self.connection.execute("SET LOCAL enable_seqscan = off")
            return await self._rows(query, parameters)

    async def _rows(self, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        cursor = await self.connection.execute(query.encode(), parameters, prepare=True)
        return await cursor.fetchall() if cursor.description else []


_LEFT = """
    SELECT s.stream, s.ground, e.events,
           EXISTS (SELECT FROM ledger.data_keys k WHERE k.stream = s.stream)
           OR s.ground = 'retention'
              AND EXISTS (SELECT FROM ledger.petition_secrets p WHERE p.petition = s.stream)
           OR EXISTS (SELECT FROM ledger.vault v WHERE v.position = ANY (e.positions))
           OR EXISTS (SELECT FROM ledger.persons p WHERE p.position = ANY (e.positions))
           OR EXISTS (SELECT FROM ledger.attachments a WHERE a.position = ANY (e.positions)),
           (SELECT array_agg(DISTINCT d.name) FROM ledger.disclosures d WHERE d.position = ANY (e.positions))
    FROM unnest(%s::text[], %s::text[]) AS s (stream, ground) CROSS JOIN LATERAL (
        SELECT max(n) AS events, array_agg(position) AS positions FROM ledger.entries WHERE stream = s.stream
    ) AS e"""
_NOT_OBEYED = """
    WITH read AS MATERIALIZED (
        SELECT position, ledger.erasure_said(entry) AS said
        FROM ledger.entries WHERE type = 'disclosure.erased'
    ), x AS MATERIALIZED (
        SELECT position, said #>> '{data,of}' AS of, said #> '{data,names}' AS names,
               (said #>> '{data,events}')::bigint AS events,
               coalesce((said #>> '{data,data_key}')::boolean, false) AS data_key,
               said #>> '{data,ground}' AS ground
        FROM read
    )
    SELECT x.position FROM x CROSS JOIN LATERAL (
        SELECT array_agg(f.position) AS about FROM ledger.entries f
        WHERE f.stream = x.of AND f.n <= x.events AND f.position + 0 < x.position  -- + 0: not by that index
    ) AS f
    WHERE EXISTS (SELECT FROM ledger.disclosures d WHERE d.position = ANY (f.about) AND x.names ? d.name)
       OR x.data_key AND (
          EXISTS (SELECT FROM ledger.data_keys k
                  WHERE k.stream = x.of AND (k.position IS NULL OR k.position = ANY (f.about)))
          OR EXISTS (SELECT FROM ledger.vault v WHERE v.position = ANY (f.about))
          OR EXISTS (SELECT FROM ledger.persons p WHERE p.position = ANY (f.about))
          OR EXISTS (SELECT FROM ledger.attachments a WHERE a.position = ANY (f.about))
          OR x.ground = 'retention'
             AND EXISTS (SELECT FROM ledger.petition_secrets s WHERE s.petition = x.of))
    ORDER BY x.position"""


def _wanted(wish: Wish) -> frozenset[str]:
    return frozenset(PERSONAL.get(wish.stream.partition("/")[0], ()) if wish.names is None else wish.names)


def _check(wish: Wish) -> None:
    room = wish.stream.partition("/")[0]
    if wish.ground not in get_args(ErasureGround):
        raise InvalidCommandError(f"The ground is one of {', '.join(get_args(ErasureGround))}.")
    known = {name for facts in catalogue.values() if facts.room == room for name in facts.public}
    if unknown := _wanted(wish) - known:
        raise InvalidCommandError(
            f"Nothing public of {wish.stream} is called {', '.join(sorted(unknown))}; "
            + (f"there are {', '.join(sorted(known))}." if known else "nothing public is disclosed there.")
        )
    words = _wanted(wish) - set(PERSONAL.get(room, ()))
    if words and wish.ground != "court":
        raise NotAllowedError(
            f"{', '.join(sorted(words))} of {wish.stream} is about a matter, not about a person: it is taken "
            "down by the order of a court."
        )
