"""What is due to go: streams whose matter ended long enough ago, and that still hold something personal.

When a matter ended follows from the projections, how long its data are kept from
:mod:`ledger.domain.retention`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString

from psycopg import AsyncConnection

from ledger.domain import retention
from ledger.domain.retention import Data
from ledger.erasure import Wish

LIMIT = 200_000
"""Streams of each kind that one look finds, chosen at random: they are erased among each other."""

_QUERIES: dict[Data, LiteralString] = {
    "signature": """
        SELECT concat('signature/', s.petition, '/', s.nullifier) AS stream, NULL::bigint AS n
        FROM projections.petitions t JOIN projections.signatures s ON s.petition = t.id
        WHERE t.state = ANY (%(states)s)
          AND (CASE t.state WHEN 'rejected' THEN t.rejected_time WHEN 'decided' THEN t.decided_time
               ELSE t.ended_time END) <@ tstzrange(%(since)s, %(until)s)
          AND (EXISTS (SELECT FROM ledger.data_keys k
                       WHERE k.stream = concat('signature/', s.petition, '/', s.nullifier))
               OR EXISTS (SELECT FROM ledger.disclosures d WHERE d.position = s.position AND d.name = 'name'))
        ORDER BY random() LIMIT %(limit)s""",
    "petition": """
        SELECT concat('petition/', t.id) AS stream, NULL::bigint AS n
        FROM projections.petitions t
        WHERE t.state = ANY (%(states)s)
          AND (CASE t.state WHEN 'rejected' THEN t.rejected_time WHEN 'decided' THEN t.decided_time
               ELSE t.ended_time END) <@ tstzrange(%(since)s, %(until)s)
          AND (EXISTS (SELECT FROM ledger.data_keys k WHERE k.stream = concat('petition/', t.id))
               OR EXISTS (SELECT FROM ledger.petition_secrets p WHERE p.petition = concat('petition/', t.id))
               OR EXISTS (SELECT FROM ledger.disclosures d
                          WHERE d.position = t.submitted_position AND d.name = 'author'))
        ORDER BY random() LIMIT %(limit)s""",
    "appeal": """
        SELECT c.stream, c.n
        FROM projections.cases c
        WHERE c.state = ANY (%(states)s) AND c.last_time >= %(since)s AND c.last_time < %(until)s
          AND EXISTS (SELECT FROM ledger.data_keys k WHERE k.stream = c.stream)
        ORDER BY random() LIMIT %(limit)s""",
}


async def expired(connection: AsyncConnection[Any], now: datetime, *, limit: int = LIMIT) -> list[Wish]:
    """What is due at a moment, at most ``limit`` streams of each kind; an empty list: nothing is."""
    found: list[Wish] = []
    for data, query in _QUERIES.items():
        for due in retention.due(data, now):
            asked = {"states": list(due.states), "since": due.since, "until": due.until, "limit": limit}
            rows = await (await connection.execute(query, asked)).fetchall()
            found += [Wish(stream, "retention", version=n) for stream, n in rows]
    return found
