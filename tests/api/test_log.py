"""The log's own endpoints answer as clients of C2SP tlog-tiles expect, headers included."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from ledger.tlog.checkpoint import open_checkpoint
from ledger.tlog.tiles import TilePath, parse_bundle, root_from_tiles, tiles_for_size
from tests.api.services import service

GOLDEN = Path(__file__).resolve().parents[2] / ".." / "shared/vectors/sunlight/cmd/skylight/skylight_test.txt"

# Which of the golden file's addresses are ours by another name.
SAME = {
    "/checkpoint": "/log/checkpoint",
    "/tile/0/000": "/log/tile/0/000",
    "/tile/0/001.p/44": "/log/tile/0/001.p/4",
    "/tile/bogus": "/log/tile/bogus",
    "/tile/": "/log/tile/",
    "/tile/data": "/log/tile/data",
    "/unknown": "/log/unknown",
}
HOST = "rome2026h1.example.org"


async def larger_than_a_tile(api):
    """260 entries."""
    petition = await api.limited()
    while (missing := 260 - api.world.counted()) > 0:
        first = api.world.counted()
        await api.signed(range(first, first + missing), petition)


def test_every_file_of_the_log_is_served_and_gives_its_root(database):
    async def story():
        async with service(database) as api:
            await larger_than_a_tile(api)
            note = (await api.get("/log/checkpoint")).content
            checkpoint = open_checkpoint(note, api.world.keys.log.verifier).checkpoint
            assert checkpoint.size == 260
            files = {}
            for tile in tiles_for_size(checkpoint.size):
                answer = await api.get(f"/log/{tile.path}")
                assert answer.status_code == 200, tile
                files[tile.level, tile.index, tile.width] = answer.content

            assert root_from_tiles(lambda *tile: files[tile], checkpoint.size) == checkpoint.root
            entries = [
                entry
                for (level, _, width), data in sorted(files.items(), key=lambda item: item[0][1])
                if level is None
                for entry in parse_bundle(data, width)
            ]
            assert len(entries) == 260
            partial = await api.get(f"/log/{TilePath(0, 0, 7).path}")
            assert partial.content == files[0, 0, 256][: 7 * 32]

    asyncio.run(story())


MISSING = [
    "tile/0/001",
    "tile/0/001.p/5",
    "tile/0/000.p/256",
    "tile/0/000.p/007",
    "tile/0/x000/000",
    "tile/00/000",
    "tile/0%2F000",
    "tile/entries/002",
    "tile/2/000",
    "tile/64/000",
    "tile/%2e%2e/checkpoint",
    "tile/",
]


def test_what_the_log_does_not_have_is_not_found_and_not_cached(database):
    async def story():
        async with service(database) as api:
            for path in MISSING:
                answer = await api.get(f"/log/{path}")
                assert answer.status_code == 404, path
                assert answer.headers["content-type"] == "text/plain; charset=utf-8"
                assert "cache-control" not in answer.headers
            assert (await api.client.post("/log/checkpoint")).status_code == 405

    asyncio.run(story())


def golden():
    """(method, path, [(header, operator, value)], code) of each request that has a twin here."""
    for block in re.split(r"\n\s*\n", GOLDEN.read_text()):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        match = re.fullmatch(rf"(GET|HEAD|POST) https://{re.escape(HOST)}(\S+)", lines[0]) if lines else None
        if match is None or match[2] not in SAME or any(line.startswith("reqheader") for line in lines):
            continue
        code, headers = 200, []
        for line in lines[1:]:
            if found := re.fullmatch(r"header (\S+) (==|~) (.+)", line):
                headers.append(found.groups())
            elif found := re.fullmatch(r"code == (\d+)", line):
                code = int(found[1])
        yield match[1], match[2], headers, code


def test_the_headers_are_those_of_the_golden_file(database):
    if not GOLDEN.exists():
        pytest.skip(f"the golden file of another log's HTTP answers is not here: {GOLDEN}")

    async def story():
        async with service(database) as api:
            await larger_than_a_tile(api)
            checked = 0
            for method, path, headers, code in golden():
                answer = await api.client.request(method, SAME[path])
                assert answer.status_code == code, (method, path)
                for name, operator, value in headers:
                    found = answer.headers.get(name, "")
                    assert found == value if operator == "==" else re.search(value, found), (
                        path,
                        name,
                        found,
                    )
                    checked += 1
            assert checked >= 9

    asyncio.run(story())
