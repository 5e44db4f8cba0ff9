"""What is read from the log is what any client of the specifications expects."""

from __future__ import annotations

import asyncio
import struct

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent

from ledger.statement import Disclosure
from ledger.store.append import (
    Append,
    CommandId,
    CommandReusedError,
    SealedEvent,
    StoreUnavailableError,
)
from ledger.store.reader import LogReader, NotInLogError
from ledger.store.sequencer import Sequencer
from ledger.tlog.checkpoint import open_checkpoint
from ledger.tlog.merkle import leaf_hash, root_from_leaves, verify_consistency, verify_inclusion
from ledger.tlog.note import SignerKey
from tests.conftest import fresh
from tests.ledger.store.check import check_log

KEY = SignerKey.generate("test.example/log")
SIZES = (1, 5, 250, 256, 300, 520)


def entry(i):
    return b"entry %d" % i


def written(url, *requests):
    async def write():
        sequencer = Sequencer(url, KEY.name, KEY)
        await sequencer.start()
        try:
            return [await sequencer.append(request) for request in requests]
        finally:
            await sequencer.close()

    return asyncio.run(write())


@pytest.fixture(scope="module")
def log(postgres, migrated):
    """520 entries, with a checkpoint at each of ``SIZES``."""
    groups = [
        Append([StoredEvent(f"s/{i}", 1, "t", entry(i)) for i in range(old, new)])
        for old, new in zip((0, *SIZES), SIZES, strict=False)
    ]
    with fresh(postgres, migrated) as database:
        written(database.url, *groups)
        check_log(database.admin_url, KEY.verifier)
        with LogReader(database.url) as reader:
            yield reader


LEAVES = [leaf_hash(entry(i)) for i in range(520)]


def test_an_empty_log_says_so(database):
    with LogReader(database.url) as reader:
        assert reader.size() == 0
        with pytest.raises(NotInLogError, match="aiqyn init"):
            reader.checkpoint()
        for read in (lambda: reader.proof(0), lambda: reader.first_proof(0), lambda: reader.tile(0, 0, 1)):
            with pytest.raises(NotInLogError):
                read()
        assert reader.entries(0, 10) == []


def test_the_newest_checkpoint_is_that_of_all_entries(log):
    checkpoint = open_checkpoint(log.checkpoint(), KEY.verifier).checkpoint
    assert (checkpoint.size, checkpoint.root) == (520, root_from_leaves(LEAVES))
    assert log.size() == 520


def test_tiles_hold_the_hashes_of_their_level(log):
    assert log.tile(0, 0) == b"".join(LEAVES[:256])
    assert log.tile(0, 1) == b"".join(LEAVES[256:512])
    assert log.tile(0, 2, 8) == b"".join(LEAVES[512:])
    assert log.tile(0, 1, 3) == b"".join(LEAVES[256:259])
    assert log.tile(1, 0, 2) == root_from_leaves(LEAVES[:256]) + root_from_leaves(LEAVES[256:512])


@pytest.mark.parametrize("tile", [(0, 2, 9), (0, 2), (0, 3, 1), (1, 0, 3), (2, 0, 1), (0, 2**60, 1)])
def test_a_tile_that_is_not_there_yet_is_not_made_up(log, tile):
    with pytest.raises(NotInLogError):
        log.tile(*tile)


def test_a_bundle_holds_each_entry_after_its_length(log):
    expected = b"".join(struct.pack(">H", len(entry(i))) + entry(i) for i in range(512, 520))
    assert log.entry_bundle(2, 8) == expected
    for wrong in ((2, 9), (2,), (3, 1)):
        with pytest.raises(NotInLogError):
            log.entry_bundle(*wrong)


def test_entries_are_read_in_order_and_no_more_than_there_are(log):
    assert log.entries(518, 10) == [(518, entry(518)), (519, entry(519))]
    assert log.position("s/7", 1) == 7
    assert log.position("s/7", 2) is None


@pytest.mark.parametrize("position", [0, 4, 5, 255, 256, 511, 519])
def test_every_entry_is_proved_in_the_newest_checkpoint_and_in_its_first(log, position):
    for proof, size in (
        (log.proof(position), 520),
        (log.first_proof(position), min(size for size in SIZES if size > position)),
    ):
        checkpoint = open_checkpoint(proof.checkpoint, KEY.verifier).checkpoint
        assert (proof.index, checkpoint.size) == (position, size)
        verify_inclusion(LEAVES[position], position, size, proof.hashes, checkpoint.root)


def test_an_entry_that_is_not_there_has_no_proof(log):
    for read in (log.proof, log.first_proof):
        with pytest.raises(NotInLogError, match="position 520"):
            read(520)


@pytest.mark.parametrize("old", SIZES)
def test_the_log_of_today_begins_with_the_log_of_any_earlier_day(log, old):
    proof = log.consistency(old, 520)
    verify_consistency(old, root_from_leaves(LEAVES[:old]), 520, root_from_leaves(LEAVES), proof)


def test_what_was_written_beside_an_entry_is_found(database):
    public = (Disclosure.make("title", "T"), Disclosure.make("text", "x"))
    command = CommandId("scope", "k1", b"r" * 32)
    event = SealedEvent(
        "petition/p", 1, "petition.submitted", b"e",
        public=public, sealed=b"blob", data_key=b"wrapped", secret=b"secret",
    )  # fmt: skip
    later = SealedEvent("organisation/a", 1, "organisation.registered", b"o")
    written(database.url, Append([event], command=command), Append([later]))
    with LogReader(database.url) as reader:
        assert set(reader.public_disclosures(0)) == set(public)
        assert reader.public_disclosures(1) == ()
        assert reader.petition_keys("petition/p") == (b"e", reader.public_disclosures(0), b"secret")
        with pytest.raises(NotInLogError, match="petition/q"):
            reader.petition_keys("petition/q")
        assert reader.data_key("petition/p") == b"wrapped"
        assert reader.data_key("petition/q") is None
        assert reader.command(command) == (0, 1)
        assert reader.command(CommandId("other scope", "k1", b"r" * 32)) is None
        with pytest.raises(CommandReusedError):
            reader.command(CommandId("scope", "k1", b"x" * 32))
        assert reader.organisations(-1) == [(1, b"o")]
        assert reader.organisations(1) == []


def test_reading_goes_on_after_the_server_ended_its_connections(database):
    with LogReader(database.url, pool_size=3) as reader:
        reader.size()
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'aiqyn reader'"
            )
        assert reader.size() == 0


def test_a_database_that_is_gone_is_said_to_be_gone(database):
    with LogReader(database.url) as reader:
        reader.size()
        with pytest.raises(StoreUnavailableError, match="does not answer"):
            reader._rows("SELECT pg_terminate_backend(pg_backend_pid())", ())
