"""Whatever a superuser changes in the table of entries, an audit finds it and names a position."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from audit import auditor
from audit.source import NotServedError
from ledger.store.reader import LogReader, NotInLogError
from ledger.tlog.merkle import leaf_hash
from ledger.tlog.tiles import parse_tile_path
from tests.conftest import fresh
from tests.ledger.ledgers import scene

SIGNERS = 60


class InTransaction(LogReader):
    """The log as one open transaction sees it, served to the auditor as the API would."""

    name = "database"
    parallel = 1

    def __init__(self, connection):
        self._connection = connection

    def _rows(self, query, parameters):
        return self._connection.execute(query, parameters).fetchall()

    def close(self):
        pass

    def read(self, path, limit):
        try:
            if path == "log/checkpoint":
                return self.checkpoint()
            if path.startswith("log/tile/"):
                tile = parse_tile_path(path.removeprefix("log/"))
                if tile.level is None:
                    return self.entry_bundle(tile.index, tile.width)
                return self.tile(tile.level, tile.index, tile.width)
        except NotInLogError as missing:
            raise NotServedError(str(missing)) from None
        raise NotServedError(path)


async def signed_by_many(database):
    """A ledger with one petition; its log key and size."""
    async with scene(database) as s:
        petition = await s.limited()
        for number in range(SIGNERS):
            await s.sign(number, petition, region="71")
        return str(s.ledger.keys.log.verifier), s.ledger.reader.size()


@pytest.fixture(scope="module")
def ledger(postgres, migrated):
    """A finished little ledger: its database's admin URL, its log key and its size."""
    with fresh(postgres, migrated) as database:
        yield database.admin_url, *asyncio.run(signed_by_many(database))


def audit(connection, key):
    return auditor.run(InTransaction(connection), log_key=key)


def test_the_untouched_ledger_is_clean(ledger):
    url, key, size = ledger
    with psycopg.connect(url) as connection:
        report = audit(connection, key)
        assert (report.status, report.replayed) == ("clean", size)
        assert report.signatures == SIGNERS


def _row(connection, position):
    query = "SELECT stream, n, type, entry, leaf FROM ledger.entries WHERE position = %s"
    return connection.execute(query, [position]).fetchone()


def _put(connection, position, row):
    connection.execute("DELETE FROM ledger.entries WHERE position = %s", [position])
    connection.execute("INSERT INTO ledger.entries VALUES (%s, %s, %s, %s, %s, %s)", [position, *row])


def flip(connection, size, at, other, byte, rehash):
    """Change one byte of one entry."""
    stream, n, type_, entry, leaf = _row(connection, at)
    changed = bytearray(entry)
    changed[byte % len(entry)] ^= 1 + byte % 255
    changed = bytes(changed)
    _put(connection, at, (stream, n, type_, changed, leaf_hash(changed) if rehash else leaf))


def swap(connection, size, at, other, byte, rehash):
    """Exchange two entries."""
    other = other if other != at else (at + 1) % size
    one, two = _row(connection, at), _row(connection, other)
    for position in (at, other):
        connection.execute("DELETE FROM ledger.entries WHERE position = %s", [position])
    for position, row, keep in ((at, two, one), (other, one, two)):
        _put(connection, position, (*row[:4], row[4] if rehash else keep[4]))


def remove(connection, size, at, other, byte, rehash):
    """Take one entry out; with ``rehash`` the later ones move up."""
    connection.execute("DELETE FROM ledger.entries WHERE position = %s", [at])
    if rehash:
        for position in range(at + 1, size):
            connection.execute(
                "UPDATE ledger.entries SET position = position - 1 WHERE position = %s", [position]
            )


def insert(connection, size, at, other, byte, rehash):
    """Put a copy of an entry, under another name, before one."""
    copy = _row(connection, other)
    for position in range(size - 1, at - 1, -1):
        connection.execute(
            "UPDATE ledger.entries SET position = position + 1 WHERE position = %s", [position]
        )
    _put(connection, at, ("forged/1", 1, *copy[2:]))


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(
    change=st.sampled_from([flip, swap, remove, insert]),
    at=st.integers(0, 10_000),
    other=st.integers(0, 10_000),
    byte=st.integers(0, 100_000),
    rehash=st.booleans(),
)
@example(change=remove, at=10_000, other=0, byte=0, rehash=True)
@example(change=flip, at=0, other=0, byte=0, rehash=True)
def test_any_single_change_in_the_entries_is_found_with_a_position(ledger, change, at, other, byte, rehash):
    url, key, size = ledger
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")  # a superuser switches triggers off
        change(connection, size, at % size, other % size, byte, rehash)
        report = audit(connection, key)
        connection.rollback()
    assert report.status == "findings", f"{change.__name__} at {at % size} was not found: {report.stopped}"
    assert any(finding.position is not None for finding in report.findings)
