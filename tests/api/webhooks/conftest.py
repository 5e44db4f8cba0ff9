"""An outbox for each test."""

from __future__ import annotations

import pytest

from tests.api.webhooks.receivers import Outbox
from tests.projections.written import WrittenLedger


@pytest.fixture
def outbox(database):
    with WrittenLedger(database.admin_url, database.url) as ledger:
        yield Outbox(ledger, database.url)
