"""Files hold nothing of what was deleted, or it is said which may still do."""

from __future__ import annotations

import os
import subprocess
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from ledger import events
from ledger.store.scrub import pending, scrub
from tests.projections.written import WrittenLedger, person, petition


@pytest.fixture
def ledger(database):
    with WrittenLedger(database.admin_url, database.url) as written:
        written.collecting(petition(1))
        yield written


def erased(ledger, who=1):
    """A name that was disclosed and erased: its text form."""
    position = ledger.sign(petition(1), who)
    ((text,),) = ledger.execute("SELECT disclosure FROM ledger.disclosures WHERE position = %s", position)
    stream = f"signature/{petition(1)}/{person(who)}"
    facts = events.DisclosureErased(of=stream, events=1, ground="demand", names=("name",), data_key=True)
    ledger.add(f"erasure/{stream}/x", facts)
    return text


def files_with(database, text):
    (folder,) = parse_qs(urlsplit(database.admin_url).query)["host"]
    done = subprocess.run(
        ["grep", "-rlaF", text, folder], capture_output=True, text=True, check=False, env={"PATH": os.defpath}
    )
    assert done.returncode in (0, 1), done.stderr
    return [path.removeprefix(folder) for path in done.stdout.split()]


def test_neither_tables_nor_the_write_ahead_log_hold_an_erased_name(ledger, database):
    text = erased(ledger)
    ledger.execute("ANALYZE")
    # A segment with the name in it is put aside, to be used again later.
    for _ in range(3):
        ledger.execute("SELECT pg_logical_emit_message(false, 'tests', '')")
        ledger.execute("SELECT pg_switch_wal()")
    ledger.execute("CHECKPOINT")
    before = files_with(database, text)
    assert any("/pg_wal/" in path for path in before)
    assert any("/base/" in path for path in before)
    steps = []
    done = scrub(database.admin_url, sealed=True, tell=steps.append)
    assert done.left_over == []
    assert files_with(database, text) == []
    assert {table.table for table in done.rewritten} >= {"ledger.disclosures", "ledger.vault"}
    assert done.segments >= 1
    assert "renewing the write-ahead log" in steps
    assert ledger.execute("SHOW wal_recycle") == [("on",)], "as it was"
    assert ledger.execute("SELECT at <= now(), left_over FROM service.scrubs") == [(True, [])]


def test_statistics_keep_no_names(ledger):
    erased(ledger)
    ledger.sign(petition(1), 9, name="Айнұр С.")
    ledger.execute("ANALYZE ledger.disclosures, ledger.data_keys, ledger.persons")
    found = ledger.execute(
        "SELECT attname FROM pg_stats WHERE tablename IN ('disclosures', 'data_keys', 'persons')"
    )
    assert {name for (name,) in found}.isdisjoint({"disclosure", "wrapped", "person"})


def test_a_transaction_that_still_sees_the_rows_is_named(ledger, database):
    with psycopg.connect(database.url, application_name="a long report") as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM ledger.entries")
        text = erased(ledger)
        done = scrub(database.admin_url, patience=0.3)
        assert "a long report" in " ".join(done.left_over)
        assert files_with(database, text), "the rewritten table keeps what may still be read"
    assert scrub(database.admin_url).left_over == []
    assert files_with(database, text) == []


def test_a_table_that_is_in_use_all_the_time_is_named(ledger, database):
    erased(ledger)
    with psycopg.connect(database.admin_url) as user:
        user.execute("LOCK TABLE ledger.disclosures IN SHARE MODE")
        done = scrub(database.admin_url, patience=0.1)
        assert any("ledger.disclosures was in use" in place for place in done.left_over)


def test_without_the_rights_it_says_what_it_could_not_do(ledger, database):
    erased(ledger)
    done = scrub(database.url, patience=0.1)  # as the service, which owns nothing of the ledger
    left = " ".join(done.left_over)
    assert "ledger.disclosures was not rewritten" in left
    assert "pg_read_all_stats" in left
    assert "The write-ahead log was not renewed" in left
    assert [one.table for one in done.rewritten] == ["projections.cabinet"], "what the service owns"


def test_what_is_not_scrubbed_yet_is_counted(ledger, database):
    assert pending(database.admin_url) == 0
    erased(ledger)
    assert pending(database.admin_url) == 1
    ledger.execute("UPDATE ledger.head SET size = %s, frontier = %s", len(ledger.events), b"\0" * 32 * 2)
    scrub(database.url, patience=0.1)
    assert pending(database.admin_url) == 1, "something was left over"
    assert scrub(database.admin_url).left_over == []
    assert pending(database.admin_url) == 0
