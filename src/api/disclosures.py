"""What is disclosed beside many entries at once: for whoever keeps a copy of the log."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from psycopg.rows import tuple_row
from starlette.responses import Response

from api import examples
from api.codec import FRESH, answer
from api.openapi import describe
from api.parameters import MAX_POSITION, Number
from api.problems import RequestError
from api.service import service_of

router = APIRouter(tags=["log"])

MAX_ENTRIES = 4096
MAX_BYTES = 4_000_000
"""Of disclosures on a page, those of its last entry not counted."""


class DisclosedEntry(msgspec.Struct, frozen=True):
    """What is public beside one entry."""

    position: int
    disclosures: tuple[str, ...]
    """Each base64url of ``[salt, name, value]``; its SHA-256 stands in the entry."""


class DisclosurePage(msgspec.Struct, frozen=True):
    """What is public beside consecutive entries; those without are left out."""

    items: tuple[DisclosedEntry, ...]
    next: int
    """Ask ``from`` here for the rest: everything below it was looked at."""
    size: int
    """Entries in the log."""


_EXAMPLE = {
    "items": [{"position": 10, "disclosures": [examples.DISCLOSURE]}], "next": 1044, "size": 1044,
}  # fmt: skip
_PAGE = """
    SELECT h.size, d.position, d.disclosures, d.entries
    FROM ledger.head h LEFT JOIN (
        SELECT position, array_agg(disclosure ORDER BY name) AS disclosures, count(*) OVER () AS entries,
               sum(sum(octet_length(disclosure))) OVER (ORDER BY position)
               - sum(octet_length(disclosure)) AS before
        FROM ledger.disclosures WHERE position >= %(first)s AND position < %(last)s GROUP BY position
    ) d ON d.before < %(bytes)s
    ORDER BY d.position"""


@router.get(
    "/v1/disclosures",
    **describe(
        "Read what is disclosed beside entries",
        """The public disclosures of the entries at positions from `from` on, at most `limit` of them: a
        petition's title and text, a signer's masked name. Each belongs to its entry if its SHA-256 stands in
        the entry's `_sd`. What was taken away is not there any more, and the log holds a `disclosure.erased`
        that says so: whoever keeps a copy has to obey it.""",
        gives=DisclosurePage,
        example=_EXAMPLE,
        errors=[RequestError],
    ),
)
async def read_disclosures(
    request: Request,
    first: Annotated[
        Number, Query(alias="from", ge=0, le=MAX_POSITION, description="Position of the first entry.")
    ] = 0,
    limit: Annotated[
        Number, Query(ge=1, le=MAX_ENTRIES, description="Entries at most, with disclosures or without.")
    ] = 1024,
) -> Response:
    """One page, by position."""
    last = min(first + limit, MAX_POSITION)
    async with service_of(request).pool.connection() as connection:
        cursor = connection.cursor(row_factory=tuple_row)
        await cursor.execute(_PAGE, {"first": first, "last": last, "bytes": MAX_BYTES}, prepare=True)
        rows = await cursor.fetchall()
    size = rows[0][0] if rows else 0
    items = tuple(DisclosedEntry(row[1], tuple(row[2])) for row in rows if row[1] is not None)
    if items and rows[0][3] > len(items):
        last = items[-1].position + 1  # more than fits on a page
    return answer(request, DisclosurePage(items, max(first, min(last, size)), size), cache=FRESH)
