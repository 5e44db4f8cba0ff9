"""What was changed after it was logged, or on its way, never gets into a copy, and its position is named."""

from __future__ import annotations

import time

import pytest

from audit.mirror.errors import UnverifiedError
from ledger import events
from ledger.keys import SigningKey
from ledger.statement import seal
from tests.audit.log_builder import OPERATOR, LogBuilder, nullifier, petition_id
from tests.audit.log_builder import serving as serving_files
from tests.audit.mirror.operators import between, found, mirroring, run

# ruff: noqa: SIM117


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr("audit.mirror.authentic.PAUSE", 0.01)
    monkeypatch.setattr("audit.mirror.copying.PAUSE", 0.01)


@pytest.fixture(scope="module")
def three_tiles() -> LogBuilder:
    builder = LogBuilder().begin().collecting(1, required=10_000)
    for person in range(1000, 1000 + 512 + 101 - builder.size):
        builder.sign(1, person, "71")
    return builder


def turned(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_bundle_changed_on_its_way_is_not_copied_and_the_entry_is_named(
    operator, mirror_database, tmp_path
):
    keys = [part for key in operator.vkeys for part in ("--log-key", key)]

    def change(path, status, body):
        return status, turned(body, 100_000) if path.startswith("/log/tile/entries/000") else body

    with operator.served() as url:
        bundle, at = b"", 0
        with between(url, change) as way:
            code, said = run(
                "mirror",
                way,
                *keys,
                "--once",
                "--compare-limit",
                "0",
                home=tmp_path,
                database=mirror_database,
            )
            assert code == 1, said
            assert "does not hash to what the signed tree holds" in said
        with mirroring(mirror_database, url, *operator.vkeys, compare=False) as mirror:
            bundle = mirror._source.read("log/tile/entries/000", 1 << 24)
            position = 0
            while (at := at + 2 + int.from_bytes(bundle[at : at + 2], "big")) <= 100_000:
                position += 1
            assert found(mirror) == {("entry-hash", position)}
            assert mirror.store.head().size == 0
            # On another way the log is whole: it is copied, and the finding stays as one of the past.
            assert mirror.round().clean
            (finding,) = mirror.store.findings()
            assert (finding.rule, finding.position, finding.over_at is None) == (
                "entry-hash",
                position,
                False,
            )


def test_a_bundle_that_is_wrong_once_is_read_again(still, address, mirror_database):
    wrong = 1

    def change(path, status, body):
        nonlocal wrong
        if path.startswith("/log/tile/entries/000") and wrong:
            wrong -= 1
            return status, turned(body, 5000)
        return status, body

    with between(address, change) as way:
        with mirroring(mirror_database, way, *still.vkeys, compare=False) as mirror:
            assert mirror.round().clean
            assert wrong == 0


@pytest.mark.parametrize(
    ("path", "at", "rule", "position"),
    [
        ("tile/0/001", 32 * 9, "tile-hash", 256 + 9),
        ("tile/0/002.p/101", 32 * 100, "tile-hash", 512 + 100),
        ("tile/1/000.p/2", 0, "tile-hash", 0),
        ("tile/1/000.p/2", 40, "tile-hash", 256),
    ],
)
def test_a_wrong_hash_is_named_and_the_right_entries_are_copied(
    three_tiles, mirror_database, tmp_path, path, at, rule, position
):
    folder = three_tiles.write(tmp_path)
    assert three_tiles.size == 512 + 101
    file = folder / "log" / path
    file.write_bytes(turned(file.read_bytes(), at))
    with serving_files(folder) as server:
        with mirroring(mirror_database, server.url, three_tiles.vkey, compare=False) as mirror:
            done = mirror.round()
            assert (done.size, done.clean) == (three_tiles.size, False)
            assert found(mirror) == {(rule, position)}


def test_a_missing_tile_is_told_and_made_out_of_the_entries(three_tiles, mirror_database, tmp_path):
    folder = three_tiles.write(tmp_path)
    (folder / "log/tile/0/001").unlink()
    with serving_files(folder) as server:
        with mirroring(mirror_database, server.url, three_tiles.vkey, compare=False) as mirror:
            assert mirror.round().size == three_tiles.size
            assert found(mirror) == {("tile-missing", 256)}


def test_an_entry_changed_together_with_its_tile_is_named_as_closely_as_can_be(
    three_tiles, mirror_database, tmp_path
):
    entries = list(three_tiles.entries)
    entries[300] = turned(entries[300], -20)
    folder = three_tiles.write(tmp_path)
    changed = three_tiles.write(tmp_path / "changed", entries)
    for path in ("tile/0/001", "tile/entries/001"):
        (folder / "log" / path).write_bytes((changed / "log" / path).read_bytes())
    with serving_files(folder) as server:
        with mirroring(mirror_database, server.url, three_tiles.vkey, compare=False) as mirror:
            with pytest.raises(UnverifiedError):
                mirror.round()
            (finding,) = mirror.store.findings()
            assert (finding.rule, finding.position, finding.last) == ("tile-hash", 256, 511)
            assert mirror.store.head().size == 0


def test_files_that_do_not_make_the_signed_root_are_not_copied(three_tiles, mirror_database, tmp_path):
    entries = list(three_tiles.entries)
    entries[7] = turned(entries[7], -20)
    folder = three_tiles.write(tmp_path, entries, sign=False)
    (folder / "log/checkpoint").write_bytes(three_tiles.checkpoint())
    with serving_files(folder) as server:
        with mirroring(mirror_database, server.url, three_tiles.vkey, compare=False) as mirror:
            with pytest.raises(UnverifiedError):
                mirror.round()
            assert found(mirror) == {("tree-root", 0)}


def test_who_was_there_before_names_the_entry_that_was_changed(three_tiles, mirror_database, tmp_path):
    """A double change behind the log's back: with a copy of before it is more than a range."""
    half = LogBuilder(log_key=three_tiles.log_key, entries=three_tiles.entries[:400])
    with serving_files(half.write(tmp_path / "half")) as server:
        with mirroring(mirror_database, server.url, three_tiles.vkey, compare=False) as mirror:
            mirror.round()
    entries = list(three_tiles.entries)
    entries[300] = turned(entries[300], -20)
    folder = three_tiles.write(tmp_path / "whole", entries, sign=False)
    (folder / "log/checkpoint").write_bytes(three_tiles.checkpoint())
    with serving_files(folder) as server:
        with mirroring(mirror_database, server.url, three_tiles.vkey, compare=False) as mirror:
            done = mirror.round()
            # The copy had what is wrong there now, and went on without it.
            assert done.size == three_tiles.size
            assert {("tile-hash", 300), ("tile-hash", 256), ("entry-hash", 300)} == found(mirror)
            assert not mirror.store.contradictions()


# --- what the operator's own hands change ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "rule", "position"),
    [
        ("UPDATE ledger.entries SET entry = overlay(entry PLACING '\\x41' FROM 90) WHERE position = 33",
         "entry-hash", 33),
        ("UPDATE ledger.entries SET leaf = sha256(leaf) WHERE position = 33", "tile-hash", 33),
        ("UPDATE ledger.entries SET leaf = sha256(leaf) WHERE position = 300", "tile-hash", 300),
        ("UPDATE ledger.nodes SET hash = sha256(hash)", "tile-hash", 0),
        ("DELETE FROM ledger.nodes", "tile-missing", 0),
        ("DELETE FROM ledger.entries WHERE position = 300", "tile-missing", 256),
        ("UPDATE ledger.checkpoints SET note = overlay(note PLACING '\\x41' FROM 30)", "checkpoint", None),
        ("DELETE FROM ledger.disclosures WHERE position = (SELECT max(position) FROM ledger.disclosures)",
         "disclosure-missing", "max"),
        ("UPDATE ledger.disclosures SET disclosure = (SELECT disclosure FROM ledger.disclosures"
         " WHERE position = 100 AND name = 'name') WHERE position = 101 AND name = 'name'",
         "disclosure-digest", 101),
    ],
)  # fmt: skip
def test_a_change_in_any_table_of_the_log_is_found(operator, mirror_database, change, rule, position):
    if position == "max":
        ((position,),) = operator.execute("SELECT max(position) FROM ledger.disclosures")
    assert operator.execute(change)
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys, compare=False) as mirror:
        try:
            mirror.round()
        except UnverifiedError:
            assert mirror.store.head().size == 0
        assert (rule, position) in found(mirror)


# --- what was signed by the wrong one, or breaks a rule --------------------------------------------------


def test_what_breaks_a_rule_is_copied_and_told(mirror_database, tmp_path):
    builder = LogBuilder().usual()
    expected = {("signature-once", builder.sign(1, 9))}
    forged = builder.sign(1, 20, key=SigningKey.generate())
    expected.add(("issuer", forged))
    builder.entries.append(b"not an event")
    expected |= {("entry-format", builder.size - 1), ("projection-standstill", builder.size - 1)}
    with serving_files(builder.write(tmp_path)) as server:
        with mirroring(mirror_database, server.url, builder.vkey, compare=False) as mirror:
            done = mirror.round()
            assert (done.size, done.clean) == (builder.size, False)
            assert found(mirror) >= expected
            again = mirror.store.findings()
        # What is found once is found once, however often it is looked for.
        with mirroring(mirror_database, server.url, builder.vkey, compare=False) as mirror:
            mirror.round()
            assert mirror.store.findings() == again


def test_two_entries_that_say_to_be_the_same_event_are_both_copied(mirror_database, tmp_path):
    builder = LogBuilder().usual()
    builder.sign(1, 30)
    repeated = builder.sign(1, 30, n=1)
    builder.entries.append(builder.entries[repeated])
    builder.sign(1, 31)
    with serving_files(builder.write(tmp_path)) as server:
        with mirroring(mirror_database, server.url, builder.vkey, compare=False) as mirror:
            assert mirror.round().size == builder.size
            assert {("stream-order", repeated), ("stream-order", repeated + 1)} <= found(mirror)
            rows = mirror.store.connection.execute(
                "SELECT stream FROM ledger.entries WHERE position >= %s ORDER BY position", [repeated - 1]
            ).fetchall()
    stream = f"signature/{petition_id(1)}/{nullifier(30)}"
    assert [row[0] for row in rows[:3]] == [stream, f"repeated/{repeated}", f"repeated/{repeated + 1}"]


def test_an_erasure_of_another_streams_name_stops_nothing(mirror_database, tmp_path):
    builder = LogBuilder().usual()
    facts = events.DisclosureErased(
        of=f"petition/{petition_id(1)}", events=1, ground="court", names=("title",)
    )
    sealed = seal(
        facts, iss=OPERATOR, stream="erasure/petition/another/1", n=1, at=builder.now, key=builder.root
    )
    builder.entries.append(sealed.entry)
    with serving_files(builder.write(tmp_path)) as server:
        with mirroring(mirror_database, server.url, builder.vkey, compare=False) as mirror:
            assert mirror.round().size == builder.size


def test_a_slow_server_is_waited_for(three_tiles, mirror_database, tmp_path):
    folder = three_tiles.write(tmp_path)
    failures = [503, 503]

    def stumbling():
        time.sleep(0.01)
        return failures.pop() if failures else (folder / "log/tile/0/001").read_bytes()

    with serving_files(folder, {"/log/tile/0/001": stumbling}) as server:
        with mirroring(mirror_database, server.url, three_tiles.vkey, compare=False) as mirror:
            assert mirror.round().clean
