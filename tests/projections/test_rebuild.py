"""Rebuilt beside, compared, swapped in; and nothing left behind."""

from __future__ import annotations

import threading

import pytest

from ledger.store.database import connect
from projections import ALL, petitions
from projections.beside import Beside, RebuildRunningError
from projections.digest import digest
from projections.positions import status
from projections.rebuild import SwapTimeoutError, rebuild, verify
from projections.runner import Runner
from projections.signatures import Signatures
from projections.trails import Trails
from tests.projections.written import VOIDED, ask, petition


@pytest.fixture
def history(ledger):
    """A petition with signatures of all kinds, folded."""
    ledger.collecting(petition(1), required=5)
    for who in range(12):
        ledger.sign(petition(1), who, ["75", "71", None][who % 3])
    ledger.remove(petition(1), 3)
    ledger.remove(petition(1), 4, VOIDED)
    Runner(ledger.url).catch_up()
    return ledger


def digests(ledger):
    with connect(ledger.url, application_name="tests", autocommit=True) as connection:
        return {p.name: digest(connection, p).sha256 for p in ALL}


def positions_of(ledger):
    with connect(ledger.url, application_name="tests") as connection:
        return {s.name: (s.version, s.position) for s in status(connection, ALL)}


def schemas(ledger):
    query = "SELECT nspname FROM pg_namespace WHERE nspname ~ '^(rebuild|retired)'"
    return [name for (name,) in ledger.execute(query)]


def layout(ledger):
    """Columns, constraints, indexes and privileges of the live tables."""
    return (
        ledger.execute(
            "SELECT table_name, column_name, data_type, is_nullable, collation_name"
            " FROM information_schema.columns WHERE table_schema = 'projections' ORDER BY 1, ordinal_position"
        ),
        ledger.execute(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'projections'::regnamespace ORDER BY 1, 2"
        ),
        ledger.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = 'projections' ORDER BY 1"),
        ledger.execute(
            "SELECT table_name, grantee, privilege_type FROM information_schema.table_privileges"
            " WHERE table_schema = 'projections' ORDER BY 1, 2, 3"
        ),
    )


def test_a_rebuild_gives_the_same_rows_layout_and_position(history):
    history.execute("GRANT SELECT ON projections.petitions TO PUBLIC")
    before = digests(history), positions_of(history), layout(history)
    told = []
    results = rebuild(history.url, ALL, progress=lambda *where: told.append(where), compare=True, batch=4)
    assert (digests(history), positions_of(history), layout(history)) == before
    assert [r.name for r in results] == [p.name for p in ALL]
    assert all(r.swapped and r.comparison.difference is None for r in results)
    assert told[-1] == (history.head, history.head)
    assert schemas(history) == []


def test_a_rebuild_repairs_what_somebody_changed(history):
    right = digests(history)
    history.execute("UPDATE projections.petitions SET signed = signed + 1, count = count + 1")
    history.execute("DELETE FROM projections.signatures WHERE position = 5")
    results = {r.name: r for r in rebuild(history.url, ALL, compare=True)}
    assert results["petitions"].comparison.difference.table == "petitions"
    assert results["signatures"].comparison.difference is not None
    assert results["trails"].comparison.difference is None
    assert digests(history) == right


def test_a_verification_names_the_first_row_that_differs_and_changes_nothing(history):
    history.execute("UPDATE projections.petition_regions SET signed = signed + 1 WHERE region = '75'")
    wrong = digests(history)
    results = {r.name: r for r in verify(history.url, ALL)}
    found = results["petitions"].comparison
    assert found.live != found.rebuilt
    assert found.difference.table == "petition_regions"
    assert found.difference.live.split("\t")[1:] == ["75", "5", "1", "0"]
    assert found.difference.rebuilt.split("\t")[1:] == ["75", "4", "1", "0"]
    assert results["signatures"].comparison.difference is None
    assert not any(r.swapped for r in results.values())
    assert digests(history) == wrong
    assert schemas(history) == []


def test_a_missing_row_and_a_row_too_many_are_differences(history):
    history.execute(
        "DELETE FROM projections.trails WHERE position = (SELECT max(position) FROM projections.trails)"
    )
    history.execute("INSERT INTO projections.removals VALUES (gen_random_uuid(), 1, 2, 'withdrawn', NULL, 0)")
    results = {r.name: r for r in verify(history.url, ALL)}
    assert results["trails"].comparison.difference.live is None
    assert results["signatures"].comparison.difference.table == "removals"


def test_projections_at_different_positions_are_each_verified_at_their_own(history):
    history.sign(petition(1), 20)
    Runner(history.url, (Trails(),)).catch_up()
    history.sign(petition(1), 21)
    found = {r.name: r.comparison for r in verify(history.url, ALL)}
    assert found["trails"].position == found["petitions"].position + 1
    assert all(comparison.difference is None for comparison in found.values())


def test_an_empty_ledger_is_rebuilt_and_verified(ledger):
    assert all(r.swapped and r.position == -1 for r in rebuild(ledger.url, ALL))
    assert all(r.comparison.difference is None for r in verify(ledger.url, ALL))


def test_events_that_arrive_while_it_is_rebuilt_are_neither_lost_nor_counted_twice(history):
    stop = threading.Event()
    runner = threading.Thread(target=Runner(history.url).run, args=[stop], daemon=True)
    runner.start()
    newcomers = iter(range(100, 1000))

    def sign(*_):
        history.sign(petition(1), next(newcomers))

    try:
        for _ in range(3):
            rebuild(history.url, ALL, progress=sign, batch=5)
    finally:
        stop.set()
        runner.join(10)
    arrived = next(newcomers) - 100
    assert arrived > 9
    assert ask(history, petitions.get, petition(1)).count == 10 + arrived
    assert all(r.comparison.difference is None for r in verify(history.url, ALL))


def test_published_numbers_never_go_back_to_an_older_position(history, monkeypatch):
    index = Beside.make_indexes

    def slowly(beside):
        index(beside)
        history.sign(petition(1), 50)
        Runner(history.url).catch_up()

    monkeypatch.setattr(Beside, "make_indexes", slowly)
    results = rebuild(history.url, ALL)
    assert {r.position for r in results} == {history.head}
    assert {position for _, position in positions_of(history).values()} == {history.head}


def test_an_interrupted_rebuild_leaves_the_live_tables_and_the_next_one_cleans_up(history):
    class Interrupted(Signatures):
        def project(self, cursor, batch):
            if batch.last > 6:
                raise KeyboardInterrupt
            super().project(cursor, batch)

    before = digests(history), positions_of(history)
    history.execute("CREATE SCHEMA rebuild_signatures AUTHORIZATION aiqyn_service")
    history.execute("CREATE TABLE rebuild_signatures.left_behind (id int)")
    history.execute("ALTER TABLE rebuild_signatures.left_behind OWNER TO aiqyn_service")
    with pytest.raises(KeyboardInterrupt):
        rebuild(history.url, (Interrupted(),), batch=3)
    assert (digests(history), positions_of(history)) == before
    assert schemas(history) == []
    rebuild(history.url, (Signatures(),))
    assert digests(history) == before[0]


def test_two_rebuilds_of_one_projection_do_not_meet(history):
    with Beside(history.url, (Trails(),)):
        with pytest.raises(RebuildRunningError, match="trails is being rebuilt or verified by somebody else"):
            rebuild(history.url, ALL)
        rebuild(history.url, (Signatures(),))
    rebuild(history.url, ALL)


def test_a_reader_who_never_ends_lets_the_rebuild_give_up(history, monkeypatch):
    monkeypatch.setattr("projections.rebuild.SWAP_LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr("projections.rebuild.SWAP_TRIES", 2)
    before = digests(history)
    with connect(history.url, application_name="tests") as reader:
        reader.execute("SELECT FROM projections.trails")
        with pytest.raises(SwapTimeoutError, match="readers held its live tables"):
            rebuild(history.url, (Trails(),))
    assert digests(history) == before
    assert schemas(history) == []


def test_a_newer_fold_is_rebuilt_under_its_version_and_then_followed(history):
    class Newer(Signatures):
        version = 2

    (found,) = verify(history.url, (Newer(),))
    assert found.comparison is None
    rebuild(history.url, (Newer(),), compare=True)
    assert positions_of(history)["signatures"] == (2, history.head)
    history.sign(petition(1), 50)
    Runner(history.url, (Newer(),)).catch_up()
    assert positions_of(history)["signatures"] == (2, history.head)


def test_a_digest_does_not_depend_on_the_settings_of_the_session(history):
    expected = digests(history)
    options = "-c DateStyle=German,DMY -c TimeZone=Asia/Almaty -c IntervalStyle=sql_standard"
    separator = "&" if "?" in history.url else "?"
    strange = f"{history.url}{separator}options={options.replace(' ', '%20').replace('=', '%3D')}"
    with connect(strange, application_name="tests", autocommit=True) as connection:
        connection.execute("SET TimeZone = 'Asia/Almaty'; SET DateStyle = 'German, DMY'")
        assert connection.execute("SHOW DateStyle").fetchone() == ("German, DMY",)
        connection.execute("SET client_encoding = 'WIN1251'")
        assert {p.name: digest(connection, p).sha256 for p in ALL} == expected


def test_forgetting_a_name_changes_no_digest(history):
    before = digests(history)
    history.forget(5)
    assert digests(history) == before
    assert all(r.comparison.difference is None for r in verify(history.url, ALL))
