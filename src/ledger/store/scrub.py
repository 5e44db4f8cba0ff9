"""After an erasure: what PostgreSQL keeps of deleted rows goes as well.

A deleted row stays in its table's file until the place is used again, in the write-ahead log until its
segments are, and in the statistics that ANALYZE collected. Scrubbing rewrites the tables, lets the log go on
in new segments and removes the old ones, looks whether that came about, and says what it could not do.

It takes the owner of the schema to rewrite, and a superuser for the rest. While a table is rewritten, whoever
appends waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege, LockNotAvailable

from ledger.store.database import connect

TABLES = (
    ("ledger", "disclosures"),
    ("ledger", "data_keys"),
    ("ledger", "persons"),
    ("ledger", "petition_secrets"),
    ("projections", "cabinet"),
    ("service", "erasures_waiting"),
    ("pg_catalog", "pg_statistic"),
)
"""Where names, keys and what ties persons to streams stand in the clear."""
SEALED = (("ledger", "vault"), ("ledger", "attachments"))
"""What is encrypted under keys that are gone, and large: nobody can read what is left of it."""
_ROUNDS = 6
_SEGMENT = r"^[0-9A-F]{24}$"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A table whose file is new."""

    table: str
    before: int
    """Bytes, with its indexes."""
    after: int
    seconds: float
    """While it could neither be read nor written."""


@dataclass(slots=True)
class Scrubbed:
    """What was done, and what was not."""

    rewritten: list[Rewritten] = field(default_factory=list)
    segments: int = 0
    """Of the write-ahead log, that were removed or overwritten."""
    left_over: list[str] = field(default_factory=list)
    """Places that may still hold what was erased, each with what to do about it."""


def pending(url: str) -> int:
    """How many erasures of the log were not scrubbed yet, or not wholly."""
    with connect(url, application_name="aiqyn scrub", autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM ledger.entries WHERE type = 'disclosure.erased' AND position >= coalesce("
            " (SELECT max(size) FROM service.scrubs WHERE left_over = '{}'), 0)"
        ).fetchone()
    return 0 if row is None else int(row[0])


def scrub(
    url: str, *, sealed: bool = False, patience: float = 60.0, tell: Callable[[str], None] | None = None
) -> Scrubbed:
    """Rewrite what holds erased rows; ``url`` connects as the owner of the schema.

    ``sealed``: the vault and the attachments too. ``patience``: seconds to wait for transactions that may
    still see the rows, and for each table's lock. ``tell`` is told what is done next.
    """
    with connect(url, application_name="aiqyn scrub", autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0; SET lock_timeout = '2s'")
        return _Scrub(connection, patience, tell or (lambda step: None)).run(
            TABLES + SEALED if sealed else TABLES
        )


class _Scrub:
    def __init__(
        self, connection: psycopg.Connection[Any], patience: float, tell: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._patience = patience
        self._tell = tell
        self._done = Scrubbed()
        self._superuser = bool(self._one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"))

    def run(self, tables: Sequence[tuple[str, str]]) -> Scrubbed:
        size = self._one("SELECT size FROM ledger.head")
        self._await_snapshots()
        for schema, name in tables:
            self._rewrite(schema, name)
        self._renew_log()
        self._look_elsewhere()
        self._connection.execute(
            "INSERT INTO service.scrubs (size, at, left_over) VALUES (%s, now(), %s)"
            " ON CONFLICT (size) DO UPDATE SET at = excluded.at, left_over = excluded.left_over",
            [size, self._done.left_over],
        )
        return self._done

    # --- tables ---------------------------------------------------------------------------------------

    def _await_snapshots(self) -> None:
        """A rewrite keeps rows that an open transaction may still see: wait until there is none."""
        self._tell("waiting for older transactions")
        if not (self._superuser or self._one("SELECT pg_has_role('pg_read_all_stats', 'USAGE')")):
            self._left(
                "Other sessions' transactions are hidden from this role: those older than the erasures keep"
                " the rows. Grant it pg_read_all_stats."
            )
            return
        now = self._one("SELECT pg_current_xact_id()::xid::text")
        deadline = time.monotonic() + self._patience
        while older := self._rows(_OLDER, now):
            if time.monotonic() > deadline:
                names = ", ".join(sorted({str(who) for (who,) in older}))
                self._left(
                    f"Transactions older than the erasures are open ({names}), so that rewritten tables may"
                    " keep the rows. End them, and scrub again."
                )
                return
            time.sleep(0.1)

    def _rewrite(self, schema: str, name: str) -> None:
        table = sql.Identifier(schema, name)
        shown = f"{schema}.{name}"
        found = self._rows(
            "SELECT pg_get_userbyid(relowner), pg_relation_filenode(oid), pg_total_relation_size(oid)"
            " FROM pg_class WHERE oid = to_regclass(%s)", shown,
        )  # fmt: skip
        if not found:
            return
        owner, file, before = found[0]
        self._tell(f"rewriting {shown} ({before / 1e6:,.0f} MB)")
        started = time.monotonic()
        try:
            if not self._superuser and schema != "pg_catalog":
                self._connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))
            self._vacuum(table)
            if name == "cabinet":
                self._connection.execute(sql.SQL("ANALYZE {}").format(table))  # it samples persons
        except InsufficientPrivilege:
            pass  # told below: some versions only warn
        except LockNotAvailable:
            self._left(f"{shown} was in use all the time: scrub again at a quiet hour.")
            return
        finally:
            self._connection.execute("RESET ROLE")
        fresh, after = self._rows(
            "SELECT pg_relation_filenode(oid), pg_total_relation_size(oid)"
            " FROM pg_class WHERE oid = to_regclass(%s)", shown,
        )[0]  # fmt: skip
        if fresh == file:
            self._left(f"{shown} was not rewritten: that takes its owner, {owner}, or a superuser.")
        else:
            self._done.rewritten.append(Rewritten(shown, before, after, time.monotonic() - started))

    def _vacuum(self, table: sql.Identifier) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._connection.execute(sql.SQL("VACUUM (FULL) {}").format(table))
                return
            except LockNotAvailable:
                # Those who queue behind us may go first.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    # --- the write-ahead log --------------------------------------------------------------------------

    def _renew_log(self) -> None:
        """End the current segment, and get rid of all up to it, and of old ones kept to be used again."""
        self._tell("renewing the write-ahead log")
        try:
            before = self._segments()
            recycles = self._stop_recycling()
            try:
                for _ in range(_ROUNDS):
                    self._connection.execute("CHECKPOINT")
                    # Those of later names were used before and renamed: to walk through them overwrites them.
                    stale = before & self._segments()
                    if not stale:
                        break
                    self._walk_behind(max(stale))
                stale = before & self._segments()
            finally:
                if recycles:
                    self._connection.execute("ALTER SYSTEM RESET wal_recycle")
                    self._connection.execute("SELECT pg_reload_conf()")
        except InsufficientPrivilege:
            self._left(
                "The write-ahead log was not renewed: that takes a superuser. Its segments hold what was"
                " erased until the server has used them again."
            )
            return
        self._done.segments = len(before - stale)
        if stale:
            self._left(f"{len(stale)} old segments of the write-ahead log are still kept: {self._keepers()}.")

    def _stop_recycling(self) -> bool:
        """Old segments are removed from now on, not renamed for later use with their content."""
        if self._one("SHOW wal_recycle") == "off":
            return False
        self._connection.execute("ALTER SYSTEM SET wal_recycle = off")
        self._connection.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            # A new session knows it once all processes were told, the checkpointer among them.
            with psycopg.connect(self._connection.info.dsn, password=self._connection.info.password) as fresh:
                row = fresh.execute("SHOW wal_recycle").fetchone()
                if row is not None and row[0] == "off":
                    break
            time.sleep(0.05)
        return True

    def _walk_behind(self, last: str) -> None:
        """Fill segments, used ones included, until the log is written behind ``last``."""
        while self._one(_CURRENT) <= last:
            self._connection.execute("SELECT pg_logical_emit_message(false, 'aiqyn', '')")
            self._connection.execute("SELECT pg_switch_wal()")

    def _segments(self) -> set[str]:
        return {str(name) for (name,) in self._rows(_SEGMENTS, _SEGMENT)}

    def _keepers(self) -> str:
        reasons = [
            f"replication slot {name}"
            for (name,) in self._rows(
                "SELECT slot_name FROM pg_replication_slots WHERE restart_lsn IS NOT NULL"
            )
        ]
        if self._one("SHOW wal_keep_size") != "0":
            reasons.append("wal_keep_size")
        if self._one("SHOW archive_mode") != "off":
            reasons.append("archiving that is late")
        return ", ".join(reasons) or "scrub again"

    # --- beyond this server ---------------------------------------------------------------------------

    def _look_elsewhere(self) -> None:
        if self._one("SHOW archive_mode") != "off":
            self._left("The write-ahead log is archived: the archive holds what was erased until it expires.")
        if replicas := self._one("SELECT count(*) FROM pg_stat_replication"):
            self._left(
                f"{replicas} replicas follow: their tables are rewritten as these, their old segments of the"
                " write-ahead log are removed at their own restart points."
            )

    # --- asking ---------------------------------------------------------------------------------------

    def _left(self, what: str) -> None:
        self._done.left_over.append(what)

    def _rows(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.encode(), parameters).fetchall()

    def _one(self, query: str) -> Any:  # noqa: ANN401 - a database value
        return self._rows(query)[0][0]


_OLDER = """
    SELECT who FROM (
        SELECT coalesce(nullif(application_name, ''), backend_type),
               greatest(age(backend_xmin), age(backend_xid))
        FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        UNION ALL SELECT 'prepared transaction ' || gid, age(transaction)
        FROM pg_prepared_xacts WHERE database = current_database()
        UNION ALL SELECT 'replication slot ' || slot_name, age(xmin) FROM pg_replication_slots
        UNION ALL SELECT 'replica ' || application_name, age(backend_xmin) FROM pg_stat_replication
    ) AS open (who, age) WHERE age > age(%s::xid)"""
_CURRENT = "SELECT pg_walfile_name(pg_current_wal_insert_lsn())"
_SEGMENTS = "SELECT name FROM pg_ls_waldir() WHERE name ~ %s"
