"""Tiles and bundles are cut, named and read as C2SP tlog-tiles says."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.tlog.checkpoint import open_checkpoint
from ledger.tlog.merkle import (
    ProofError,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_from_leaves,
    verify_consistency,
)
from ledger.tlog.note import VerifierKey
from ledger.tlog.tiles import (
    MAX_INDEX,
    TileError,
    TilePath,
    bundle,
    entries_path,
    node_reader,
    parse_bundle,
    parse_tile_path,
    root_from_tiles,
    split_tile,
    tile_path,
    tile_width,
    tiles_for_size,
)
from tests.ledger.tlog.support import VECTORS, mth, needs_vectors, path, read_tile, sizes, subproof, vectors

tile_paths = st.builds(
    TilePath, st.one_of(st.none(), st.integers(0, 63)), st.integers(0, MAX_INDEX), st.integers(1, 256)
)


def test_paths_look_as_in_the_specification():
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(0, 1234067, 44) == "tile/0/x001/x234/067.p/44"
    assert tile_path(1, 0) == "tile/1/000"
    assert entries_path(999, 1) == "tile/entries/999.p/1"
    assert entries_path(1000) == "tile/entries/x001/000"


@given(tile_paths)
def test_a_path_is_read_back_as_it_was_written(tile):
    assert parse_tile_path(tile.path) == tile


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/0",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001",
        "tile/0/x1/000",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p/300",
        "tile/0/000\n",
        "tile/0/٠٠٠",
        "tile/entry/000",
        "tile/entries/../000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/" + "x000/" * 100_000 + "000",
    ],
)
def test_any_other_spelling_of_a_path_is_refused(text):
    with pytest.raises(TileError):
        parse_tile_path(text)


@given(tile_paths, st.data())
def test_a_path_with_one_character_changed_is_another_tile_or_none(tile, data):
    at = data.draw(st.integers(0, len(tile.path) - 1))
    character = data.draw(st.sampled_from("0123456789x/.p-etanrisl \n"))
    changed = tile.path[:at] + character + tile.path[at + 1 :]
    with suppress(TileError):
        assert parse_tile_path(changed).path == changed


@pytest.mark.parametrize(
    ("level", "index", "width"), [(64, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)]
)
def test_no_path_is_made_for_a_tile_that_cannot_be(level, index, width):
    with pytest.raises(TileError):
        tile_path(level, index, width)


@given(st.integers(0, 10**6))
def test_every_entry_and_every_full_tile_is_in_exactly_one_tile(size):
    held: Counter[int | None] = Counter()
    for tile in tiles_for_size(size):
        assert tile.index == held[tile.level] // 256
        if tile.level is not None:
            assert tile.width == tile_width(tile.level, tile.index, size)
        held[tile.level] += tile.width
    expected = {level: size >> (8 * level) for level in range(8) if size >> (8 * level)}
    assert held == ({None: size} | expected if size else {})


@given(sizes)
def test_tiles_give_the_root(size):
    assert root_from_tiles(read_tile, size) == mth(0, size)


@given(sizes, st.data())
def test_proofs_from_tiles_are_the_proofs_from_leaves(size, data):
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    reader = node_reader(read_tile, size)
    assert inclusion_proof(index, size, reader) == path(index, 0, size)
    assert consistency_proof(old, size, reader) == subproof(old, 0, size)


@given(sizes)
def test_a_reader_asks_only_for_tiles_that_the_log_of_this_size_has(size):
    served = {tile for tile in tiles_for_size(size) if tile.level is not None}
    asked = []

    def recording(level, index, width):
        asked.append(TilePath(level, index, width))
        return read_tile(level, index, width)

    reader = node_reader(recording, size)
    for index in {0, size // 2, size - 1}:
        inclusion_proof(index, size, reader)
    assert set(asked) <= served
    assert len(asked) == len(set(asked))


def test_a_reader_refuses_nodes_beyond_the_tree_and_tiles_of_the_wrong_length():
    reader = node_reader(read_tile, 300)
    for level, index in ((0, 300), (8, 1), (9, 0), (-1, 0), (0, -1)):
        with pytest.raises(ProofError):
            reader(level, index)
    with pytest.raises(TileError):
        node_reader(lambda level, index, width: bytes(32 * width - 1), 300)(0, 299)


entry_lists = st.lists(st.binary(max_size=40), min_size=1, max_size=256)


@given(entry_lists)
def test_a_bundle_is_read_back_as_it_was_written(entries):
    assert parse_bundle(bundle(entries), len(entries)) == entries


def test_a_bundle_prefixes_each_entry_with_its_length():
    assert bundle([b"", b"ab"]) == b"\x00\x00\x00\x02ab"
    assert parse_bundle(bundle([bytes(65_535)]), 1) == [bytes(65_535)]


@settings(max_examples=50)
@given(entry_lists, st.binary(min_size=1, max_size=3))
def test_a_bundle_of_another_count_or_length_is_refused(entries, more):
    data = bundle(entries)
    for count in {len(entries) - 1, len(entries) + 1, 0, 257}:
        with pytest.raises(TileError):
            parse_bundle(data, count)
    for broken in (data[:-1], data + more):
        with pytest.raises(TileError):
            parse_bundle(broken, len(entries))


@pytest.mark.parametrize("entries", [[], [b""] * 257, [bytes(65_536)]])
def test_a_bundle_that_nobody_could_read_is_not_written(entries):
    with pytest.raises(TileError):
        bundle(entries)


@needs_vectors
def test_paths_and_shapes_are_those_of_the_vectors():
    cases = vectors("c2sp/tlog-tiles-paths.json")
    for case in cases["entries_path_for_index"]:
        index = case["index"] // 256
        width = tile_width(0, index, case["size"])
        assert entries_path(index, width) == case["path"]
        assert parse_tile_path(case["path"]) == TilePath(None, index, width)
    for case in cases["index_encoding"]:
        assert tile_path(0, case["n"]) == f"tile/0/{case['path']}"
    for case in cases["tree_shapes"]:
        full: Counter[str] = Counter()
        partial = {}
        for tile in tiles_for_size(case["size"]):
            if tile.level is not None and tile.width == 256:
                full[str(tile.level)] += 1
            elif tile.level is not None:
                partial[str(tile.level)] = tile.width
        assert (full, partial) == (case["full"], case["partial"])


@needs_vectors
def test_a_log_written_by_others_is_recomputed_at_every_size():
    log = VECTORS / "tessera-log" / "testdata" / "log"
    key_file = (VECTORS / "tessera-log" / "KEY.txt").read_text()
    vkey = VerifierKey.parse(key_file.split("log vkey (public): ")[1].split("\n")[0])

    def read(level, index, width):
        return (log / tile_path(level, index, width)).read_bytes()

    roots = []
    for size in range(16):
        checkpoint, cosignatures = open_checkpoint((log / f"checkpoint.{size}").read_bytes(), vkey)
        assert (checkpoint.origin, checkpoint.size, cosignatures) == ("example.com/log/testdata", size, ())
        assert root_from_tiles(read, size) == checkpoint.root
        if size:
            data = (log / entries_path(0, size)).read_bytes()
            entries = parse_bundle(data, size)
            hashes = [leaf_hash(each) for each in entries]
            assert bundle(entries) == data
            assert split_tile(read(0, 0, size), size) == hashes
            assert root_from_leaves(hashes) == checkpoint.root
        roots.append(checkpoint.root)
        for old in range(size + 1):
            proof = consistency_proof(old, size, node_reader(read, size))
            verify_consistency(old, roots[old], size, checkpoint.root, proof)
    assert entries[:3] == [b"one", b"two", b"three"]
    assert (log / "checkpoint").read_bytes() == (log / "checkpoint.15").read_bytes()
    assert roots[0] == sha256(b"").digest()
