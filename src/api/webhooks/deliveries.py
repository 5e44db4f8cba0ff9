"""The outbox: for each webhook a row for each event that it is to be told, and what became of it.

Whoever changes a webhook's deliveries holds the webhook's row, so that of one stream's messages to one
webhook exactly the earliest that is not finished has a time at which it is due; the database refuses a
second one. Taking in what is new, leasing what is due, writing down what came of it: a transaction each. A
lease that nobody gives back runs out, and the message is sent again under the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import class_row

from api.webhooks.network import Answer

CHANNEL = "webhooks"
"""Notified when a person changed something that the dispatcher should look at."""
_ERROR_CHARACTERS = 200

PAGE = 500
"""Events looked at in one transaction."""
BACKLOG = 20_000
"""Messages of one webhook that wait; with so many, it stands where it is until some are through."""
SCHEDULE = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
)
"""Pauses after the first failure, the second, …: those of the convention. After the last it failed."""
JITTER = 0.1
"""A pause is longer by up to this share of itself: what failed together does not return together."""
LEASE = timedelta(seconds=60)
"""Longer than any attempt takes."""
LONGEST_RETRY_AFTER = timedelta(hours=1)
RESTING_AFTER = 5
"""Failures in a row, of whatever messages, after which a webhook is tried with one message at a time."""
LONGEST_REST = timedelta(seconds=60)
DISABLED_AFTER = timedelta(days=5)
"""Of failures without one success."""
KEPT = timedelta(days=30)
"""How long what is finished can be looked at."""


class Due(NamedTuple):
    """A message to send now, under a lease."""

    webhook: UUID
    url: str
    host: str
    position: int
    attempts: int
    """Before this one."""
    entry: bytes
    lease: UUID
    secrets: tuple[bytes, ...]
    """Wrapped; the current one first."""


async def behind(connection: AsyncConnection[Any]) -> list[UUID]:
    """The webhooks for which something happened that is not in the outbox yet."""
    rows = await connection.execute(
        "SELECT w.id FROM service.webhooks w WHERE w.state = 'active' AND EXISTS (SELECT FROM"
        ' projections.concerns c WHERE c.body = w.organisation COLLATE "C" AND c.position > w.position)'
        " ORDER BY w.served_at NULLS FIRST",
        prepare=True,
    )
    return [row[0] for row in await rows.fetchall()]


async def take_in(connection: AsyncConnection[Any], webhook: UUID, now: datetime) -> int:
    """Write the next page of what concerns its organisation into the outbox; how many events were looked at.

    0 also where another dispatcher has the webhook, or where too many messages wait.
    """
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute(
            "SELECT w.organisation, w.types, w.position FROM service.webhooks w"
            " WHERE w.id = %s AND w.state = 'active' AND (SELECT count(*) FROM (SELECT FROM"
            " service.deliveries d WHERE d.webhook = w.id AND d.state = 'waiting' LIMIT %s) waiting) < %s"
            " FOR UPDATE SKIP LOCKED",
            [webhook, BACKLOG, BACKLOG],
        )
        row = await cursor.fetchone()
        if row is None:
            return 0
        organisation, types, position = row
        await cursor.execute(_CONCERNS, [organisation, position, PAGE], prepare=True)
        page = await cursor.fetchall()
        if not page:
            return 0
        wanted = [one for one in page if wants(types, one[2])]
        if wanted:
            positions, streams, kinds = map(list, zip(*wanted, strict=True))
            values = {"webhook": webhook, "now": now, "at": positions, "streams": streams, "types": kinds}
            await cursor.execute(_TAKE_IN, values, prepare=True)
        # In the transaction that holds the messages: cut off anywhere, none is lost and none is doubled.
        await cursor.execute(
            "UPDATE service.webhooks SET position = %s WHERE id = %s", [page[-1][0], webhook]
        )
        await reckon(cursor, [webhook])
    return len(page)


_CONCERNS = """
    SELECT c.position, e.stream, e.type
    FROM projections.concerns c JOIN ledger.entries e ON e.position = c.position
    WHERE c.body = %s COLLATE "C" AND c.position > %s ORDER BY c.position LIMIT %s"""
# What is there already was told before, and is to be told again.
_TAKE_IN = """
    INSERT INTO service.deliveries AS d (webhook, position, stream, type, created_at, next_at)
    SELECT %(webhook)s, p.position, p.stream, p.type, %(now)s::timestamptz,
        CASE WHEN row_number() OVER (PARTITION BY p.stream ORDER BY p.position) = 1 AND NOT EXISTS (
            SELECT FROM service.deliveries o
            WHERE o.webhook = %(webhook)s AND o.stream = p.stream AND o.state = 'waiting'
        ) THEN %(now)s::timestamptz END
    FROM (
        SELECT u.position, u.stream COLLATE "C" AS stream, u.type COLLATE "C" AS type
        FROM unnest(%(at)s::bigint[], %(streams)s::text[], %(types)s::text[]) AS u (position, stream, type)
    ) p
    ON CONFLICT (webhook, position) DO UPDATE
    SET state = 'waiting', attempts = 0, next_at = excluded.next_at, status = NULL, error = NULL,
        created_at = excluded.created_at, tried_at = NULL, finished_at = NULL
    WHERE d.state <> 'waiting'"""


def wants(types: Sequence[str], type_: str) -> bool:
    """Whether a webhook with these types and prefixes is told an event of that type; without any: all."""
    return not types or any(
        type_ == wanted or (wanted.endswith(".*") and type_.startswith(wanted[:-1])) for wanted in types
    )


async def reckon(cursor: AsyncCursor[Any], webhooks: Sequence[UUID]) -> None:
    """Write down when these webhooks have something to send next; after every change to their deliveries."""
    await cursor.execute(
        "UPDATE service.webhooks w SET due_at = (SELECT CASE WHEN d.next_at IS NOT NULL"
        " THEN greatest(d.next_at, w.rest_until) END FROM (SELECT min(next_at) AS next_at"
        " FROM service.deliveries WHERE webhook = w.id AND next_at IS NOT NULL) d) WHERE w.id = ANY(%s)",
        [list(webhooks)],
        prepare=True,
    )


async def next_due(connection: AsyncConnection[Any], full: Sequence[str]) -> datetime | None:
    """When something is to be sent to any target but these."""
    rows = await connection.execute(
        "SELECT min(due_at) FROM service.webhooks WHERE state = 'active' AND host <> ALL(%s)", [list(full)]
    )
    row = await rows.fetchone()
    found: datetime | None = row[0] if row else None
    return found


async def claim(
    connection: AsyncConnection[Any], now: datetime, *, room: int, per_host: int, busy: Mapping[str, int]
) -> list[Due]:
    """Take leases on up to ``room`` messages that are due, webhook by webhook in turn.

    ``busy``: how many are under way to each host; with these it will have ``per_host`` at most.
    """
    full = [host for host, count in busy.items() if count >= per_host]
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute(_CANDIDATES, [now, full, room], prepare=True)
        candidates = {row[0]: row[1:] for row in await cursor.fetchall()}
        shares = _share(candidates, room, per_host, busy)
        if not shares:
            return []
        lease = uuid4()
        values = {
            "ids": list(shares), "shares": list(shares.values()),
            "now": now, "until": now + LEASE, "lease": lease,
        }  # fmt: skip
        await cursor.execute(_LEASE, values, prepare=True)
        found = await cursor.fetchall()
        await cursor.execute(
            "SELECT webhook, wrapped FROM service.webhook_secrets"
            " WHERE webhook = ANY(%s) AND (expires_at IS NULL OR expires_at > %s) ORDER BY number DESC",
            [list(shares), now],
        )
        secrets: dict[UUID, list[bytes]] = {}
        for webhook, wrapped in await cursor.fetchall():
            secrets.setdefault(webhook, []).append(bytes(wrapped))
        # One that rests is tried with this message alone until it is known what came of it.
        await cursor.execute(
            "UPDATE service.webhooks SET served_at = %s,"
            " rest_until = CASE WHEN failures >= %s THEN %s ELSE rest_until END WHERE id = ANY(%s)",
            [now, RESTING_AFTER, now + LEASE, list(shares)],
        )
        await reckon(cursor, list(shares))
    return [
        Due(webhook, candidates[webhook][0], candidates[webhook][1], position, attempts, bytes(entry), lease,
            tuple(secrets.get(webhook, ())))
        for webhook, position, attempts, entry in sorted(found, key=lambda row: row[1])
    ]  # fmt: skip


_CANDIDATES = """
    SELECT id, url, host, failures FROM service.webhooks
    WHERE state = 'active' AND due_at <= %s AND host <> ALL(%s)
    ORDER BY served_at NULLS FIRST LIMIT %s FOR UPDATE SKIP LOCKED"""
_LEASE = """
    UPDATE service.deliveries d SET lease = %(lease)s, next_at = %(until)s
    FROM unnest(%(ids)s::uuid[], %(shares)s::int[]) AS s (webhook, share)
    CROSS JOIN LATERAL (
        SELECT o.position FROM service.deliveries o
        WHERE o.webhook = s.webhook AND o.next_at <= %(now)s ORDER BY o.next_at, o.position LIMIT s.share
    ) o
    JOIN ledger.entries e ON e.position = o.position
    WHERE d.webhook = s.webhook AND d.position = o.position
    RETURNING d.webhook, d.position, d.attempts, e.entry"""


def _share(
    candidates: Mapping[UUID, tuple[str, str, int]], room: int, per_host: int, busy: Mapping[str, int]
) -> dict[UUID, int]:
    """How many messages each webhook may send now: one each, and again one each while there is room."""
    shares: dict[UUID, int] = {}
    free: dict[str, int] = {}
    for _ in range(per_host):
        for webhook, (_, host, failures) in candidates.items():
            left = free.setdefault(host, per_host - busy.get(host, 0))
            resting = failures >= RESTING_AFTER and webhook in shares
            if room > 0 and left > 0 and not resting:
                shares[webhook] = shares.get(webhook, 0) + 1
                free[host] -= 1
                room -= 1
    return shares


class _Standing(NamedTuple):
    """How a webhook stands before an attempt is written down."""

    state: str
    failures: int
    failing_since: datetime | None


async def record(
    connection: AsyncConnection[Any],
    due: Due,
    answer: Answer,
    now: datetime,
    jitter: Callable[[], float],
) -> str | None:
    """Write down what came of an attempt; returns why the webhook is disabled now, if it is.

    Nothing is written where the lease was lost: the message was sent again meanwhile, or is to be.
    """
    async with connection.transaction(), connection.cursor() as cursor:
        standing = await _hold(cursor, due)
        if standing is None:
            return None
        if answer.ok:
            await _finish(cursor, due, "delivered", answer, now)
            await cursor.execute(
                "UPDATE service.webhooks SET delivered = delivered + 1, last_success_at = %s,"
                " last_status = %s, last_error = NULL, failures = 0, failing_since = NULL, rest_until = NULL"
                " WHERE id = %s",
                [now, answer.status, due.webhook],
            )
            reason = None
        else:
            reason = await _failed(cursor, due, answer, now, jitter, standing)
        await reckon(cursor, [due.webhook])
    return reason


async def postpone(connection: AsyncConnection[Any], due: Due, why: str, now: datetime) -> None:
    """Write down that the message could not be sent for a reason of ours; it counts against nobody."""
    async with connection.transaction(), connection.cursor() as cursor:
        if await _hold(cursor, due) is not None:
            await _later(cursor, due, due.attempts, Answer(error=why), now, now + LEASE)
            await reckon(cursor, [due.webhook])


async def _hold(cursor: AsyncCursor[Any], due: Due) -> _Standing | None:
    """Hold the webhook's row; None where it is gone, or the lease is."""
    await cursor.execute(
        "SELECT state, failures, failing_since FROM service.webhooks"
        " WHERE id = %s AND state <> 'deleted' FOR UPDATE",
        [due.webhook],
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    # Behind the lock, in a statement of its own: what others committed while we waited is seen.
    await cursor.execute(
        "SELECT 1 FROM service.deliveries WHERE webhook = %s AND position = %s AND lease = %s",
        [due.webhook, due.position, due.lease],
    )
    return _Standing(*row) if await cursor.fetchone() else None


async def _failed(
    cursor: AsyncCursor[Any],
    due: Due,
    answer: Answer,
    now: datetime,
    jitter: Callable[[], float],
    standing: _Standing,
) -> str | None:
    since = standing.failing_since or now
    failures = standing.failures + 1
    reason = None
    if standing.state == "disabled":
        pass
    elif answer.status == HTTPStatus.GONE:
        reason = "The receiver answered 410 Gone: it wants no more messages."
    elif now - since >= DISABLED_AFTER:
        reason = f"Every attempt since {since:%Y-%m-%d %H:%M} UTC failed."
    asked = _retry_after(answer)
    given_up = due.attempts >= len(SCHEDULE) and answer.status != HTTPStatus.GONE
    if given_up:
        await _finish(cursor, due, "failed", answer, now)
    else:
        # Where the receiver is gone, nothing is tried before somebody wakes the webhook.
        pause = SCHEDULE[min(due.attempts, len(SCHEDULE) - 1)] * (1 + JITTER * jitter())
        await _later(cursor, due, due.attempts + 1, answer, now, now + max(pause, asked))
    rest = asked
    if failures >= RESTING_AFTER:
        rest = max(rest, min(timedelta(seconds=2 ** min(failures - RESTING_AFTER, 10)), LONGEST_REST))
    await cursor.execute(
        "UPDATE service.webhooks SET failed = failed + %(given_up)s, failures = %(failures)s,"
        " failing_since = %(since)s, last_failure_at = %(now)s, last_status = %(status)s,"
        " last_error = %(error)s, rest_until = %(rest)s,"
        " state = CASE WHEN %(reason)s::text IS NULL THEN state ELSE 'disabled' END,"
        " reason = coalesce(%(reason)s, reason) WHERE id = %(webhook)s",
        {
            "given_up": int(given_up), "failures": failures, "since": since, "now": now,
            "status": answer.status, "error": _visible(answer.error), "rest": now + rest if rest else None,
            "reason": reason, "webhook": due.webhook,
        },
    )  # fmt: skip
    return reason


def _retry_after(answer: Answer) -> timedelta:
    if answer.retry_after is None or answer.status not in (
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ):
        return timedelta()
    return min(timedelta(seconds=answer.retry_after), LONGEST_RETRY_AFTER)


async def _finish(cursor: AsyncCursor[Any], due: Due, state: str, answer: Answer, now: datetime) -> None:
    """Close a delivery, and let the next one of its stream go."""
    await cursor.execute(
        "UPDATE service.deliveries SET state = %s, attempts = attempts + 1, next_at = NULL, lease = NULL,"
        " status = %s, error = %s, tried_at = %s, finished_at = %s"
        " WHERE webhook = %s AND position = %s RETURNING stream",
        [state, answer.status, _visible(answer.error), now, now, due.webhook, due.position],
    )
    row = await cursor.fetchone()
    if row is not None:
        await _promote(cursor, due.webhook, row[0], now)


async def _promote(cursor: AsyncCursor[Any], webhook: UUID, stream: str, now: datetime) -> None:
    """Let the earliest message of a stream that waits be due now."""
    await cursor.execute(
        "UPDATE service.deliveries SET next_at = %s WHERE webhook = %s AND position = (SELECT min(position)"
        " FROM service.deliveries WHERE webhook = %s AND stream = %s AND state = 'waiting')",
        [now, webhook, webhook, stream],
    )


async def _later(
    cursor: AsyncCursor[Any], due: Due, attempts: int, answer: Answer, now: datetime, at: datetime
) -> None:
    await cursor.execute(
        "UPDATE service.deliveries SET attempts = %s, next_at = %s, lease = NULL, status = %s, error = %s,"
        " tried_at = %s WHERE webhook = %s AND position = %s",
        [attempts, at, answer.status, _visible(answer.error), now, due.webhook, due.position],
    )


def _visible(text: str | None) -> str | None:
    if text is None:
        return None
    return "".join(character for character in text if character.isprintable())[:_ERROR_CHARACTERS]


class Totals(msgspec.Struct, frozen=True):
    """Messages of all webhooks that exist."""

    delivered: int
    failed: int
    waiting: int


async def totals(connection: AsyncConnection[Any]) -> Totals:
    """For the metrics; cheap, however many there are."""
    async with connection.cursor(row_factory=class_row(Totals)) as cursor:
        await cursor.execute(
            "SELECT coalesce(sum(delivered), 0)::bigint AS delivered,"
            " coalesce(sum(failed), 0)::bigint AS failed,"
            " (SELECT count(*) FROM service.deliveries WHERE state = 'waiting') AS waiting"
            " FROM service.webhooks WHERE state <> 'deleted'"
        )
        return await cursor.fetchone() or Totals(0, 0, 0)


async def prune(connection: AsyncConnection[Any], now: datetime) -> int:
    """Remove some of what nobody looks at any more; returns how many deliveries that were. 0: all of it."""
    removed = 0
    for query, values in ((_PRUNE_FINISHED, [now - KEPT]), (_PRUNE_DELETED, [])):
        removed += (await connection.execute(query, values)).rowcount
    await connection.execute(
        "DELETE FROM service.webhooks w WHERE state = 'deleted'"
        " AND NOT EXISTS (SELECT FROM service.deliveries d WHERE d.webhook = w.id)"
    )
    await connection.execute("DELETE FROM service.webhook_secrets WHERE expires_at < %s", [now])
    await connection.execute("DELETE FROM service.answers WHERE at < %s", [now - KEPT])
    return removed


_PRUNE_FINISHED = """
    DELETE FROM service.deliveries d USING (
        SELECT webhook, position FROM service.deliveries WHERE finished_at < %s
        ORDER BY finished_at LIMIT 5000 FOR UPDATE SKIP LOCKED
    ) o WHERE d.webhook = o.webhook AND d.position = o.position"""
_PRUNE_DELETED = """
    DELETE FROM service.deliveries d USING (
        SELECT webhook, position FROM service.deliveries
        WHERE webhook IN (SELECT id FROM service.webhooks WHERE state = 'deleted')
        LIMIT 5000 FOR UPDATE SKIP LOCKED
    ) o WHERE d.webhook = o.webhook AND d.position = o.position"""
