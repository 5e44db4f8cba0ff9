"""Petitions: their state, their count and what it is made of, read from the projection.

Titles, texts, the author's masked name and the messages of decisions are joined from the ledger's public
disclosures when they are read; where one was taken down, it is absent and everything else stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row, tuple_row

from ledger.events import File
from ledger.statement import Disclosure
from projections.petition_fold import FIELDS, UNKNOWN, Petitions, Row, State

__all__ = [
    "UNKNOWN", "Breakdown", "Hour", "Hours", "Page", "Petition", "Petitions", "Region", "Regions", "State",
    "Summary", "by_hour", "by_region", "get", "list_page",
]  # fmt: skip

ALMATY = ZoneInfo("Asia/Almaty")
"""The country's time: its days begin five hours (before March 2024: six) ahead of UTC's."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list shows of a petition."""

    id: str
    state: State
    body: str
    lang: str
    title: str | None
    count: int
    needed: int | None
    required: int | None
    submitted_time: datetime
    limited_until: datetime | None
    published_time: datetime | None
    collect_until: datetime | None
    number: str | None
    outcome: str | None
    position: int
    """Of the last event that changed it: its version for caches."""


class Page(msgspec.Struct, frozen=True):
    """Some petitions, the newest published first."""

    items: tuple[Summary, ...]
    next: int | None
    """The ``cursor`` of the next page; none on the last one."""
    as_of: int


class Petition(Row, frozen=False, kw_only=True):
    """Everything public about one petition: the columns of its row (see the migration) and what is disclosed."""

    title: str | None = None
    text: str | None = None
    author: str | None = None
    """Masked name."""
    reason: str | None = None
    """Why moderation refused it."""
    draft_kk: str | None = None
    draft_ru: str | None = None
    message_kk: str | None = None
    message_ru: str | None = None
    as_of: int = -1
