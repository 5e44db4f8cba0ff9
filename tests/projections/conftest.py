"""A ledger that a test writes itself, entry by entry, as its owner."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.projections.written import WrittenLedger


@pytest.fixture
def ledger(database) -> Iterator[WrittenLedger]:
    with WrittenLedger(database.admin_url, database.url) as written:
        yield written
