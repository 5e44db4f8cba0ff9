"""The eventsourcing library's recorder over the ledger's tables: reads here, appends by the sequencer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventsourcing.persistence import InterfaceError, Notification, OperationalError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.utils import retry
from psycopg.conninfo import conninfo_to_dict

from ledger.store.append import Append
from ledger.store.database import conninfo
from ledger.store.sequencer import Sequencer
from ledger.store.transaction import CHANNEL


def open_datastore(url: str, *, pool_size: int = 2) -> PostgresDatastore:
    """The library's datastore for the ledger's schema, with our session settings."""
    parts = conninfo_to_dict(conninfo(url, application_name="aiqyn repository"))
    datastore = PostgresDatastore(
        dbname=str(parts.pop("dbname")),
        host=str(parts.pop("host", "")),
        port=str(parts.pop("port", "") or ""),
        user=str(parts.pop("user")),
        password=str(parts.pop("password", "") or ""),
        schema="ledger",
        originator_id_type="text",
        pool_size=pool_size,
        max_overflow=pool_size,
    )
    if isinstance(datastore.pool.kwargs, dict):
        datastore.pool.kwargs.update(parts)  # options, sslmode and whatever else the URL says
    return datastore


class LedgerRecorder(PostgresApplicationRecorder):
    """Notification ids are positions plus one: the library counts from 1, the log from 0."""

    def __init__(self, datastore: PostgresDatastore, sequencer: Sequencer) -> None:
        super().__init__(datastore, events_table_name="stored_events")
        self._sequencer = sequencer
        self.channel_name = CHANNEL

    def create_table(self) -> None:
        """Nothing: the tables are made by the migrations."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int]:  # noqa: ANN401
        """Append all events or none; for callers outside the sequencer's event loop."""
        if not stored_events:
            return []
        appended = self._sequencer.append_from_thread(Append(stored_events)).result()
        return [appended.position + 1 + offset for offset in range(appended.count)]

    @retry((InterfaceError, OperationalError), max_attempts=10, wait=0.2)
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Entries in log order; the bounds are notification ids."""
        first = 0 if start is None else start - 1 if inclusive_of_start else start
        last = 2**62 if stop is None else stop - 1
        query = (
            "SELECT position, stream, n, type, entry FROM ledger.entries "
            "WHERE position BETWEEN %s AND %s AND (%s::text[] IS NULL OR type = ANY(%s)) "
            "ORDER BY position LIMIT %s"
        )
        wanted = list(topics) or None
        with self.datastore.get_connection() as connection, connection.cursor() as cursor:
            cursor.execute(query, (first, last, wanted, wanted, limit), prepare=True)
            return [
                Notification(
                    id=row["position"] + 1,
                    originator_id=row["stream"],
                    originator_version=row["n"],
                    topic=row["type"],
                    state=bytes(row["entry"]),
                )
                for row in cursor.fetchall()
            ]

    @retry((InterfaceError, OperationalError), max_attempts=10, wait=0.2)
    def max_notification_id(self) -> int | None:
        """Id of the newest entry; ``None`` for an empty ledger."""
        with self.datastore.get_connection() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT max(position) + 1 AS newest FROM ledger.entries", prepare=True)
            row = cursor.fetchone()
            return None if row is None else row["newest"]
