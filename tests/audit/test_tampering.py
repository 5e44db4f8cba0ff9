"""Any single change of the entries is found, and the position is named."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import audit
from audit.report import Report
from ledger.statement import open_event
from ledger.tlog.tiles import bundle, tiles_for_size
from tests.audit.log_builder import LogBuilder, tile_bytes

few = settings(max_examples=40)


@cache
def honest() -> LogBuilder:
    """A history of 290 entries: two bundles, one of them partial."""
    builder = LogBuilder().usual()
    for person in range(10, 250):
        builder.sign(1, person, "71")
    for person in range(10, 30):
        builder.withdraw(1, person)
    return builder


size = honest().size
positions = st.integers(0, size - 1)


class Entries(list[bytes]):
    """A whole log's entries, shown in a failing example as the one change that was made."""

    change = "none"
    at = 0

    def __repr__(self) -> str:
        return f"<{self.change}>"


@st.composite
def flips(draw):
    entries = Entries(honest().entries)
    at = draw(positions)
    changed = bytearray(entries[at])
    byte, bit = draw(st.integers(0, len(changed) - 1)), draw(st.integers(0, 7))
    changed[byte] ^= 1 << bit
    entries[at] = bytes(changed)
    entries.change, entries.at = f"bit {bit} of byte {byte} of entry {at}", at
    return entries


@st.composite
def swaps(draw):
    entries = Entries(honest().entries)
    one, other = draw(st.lists(positions, min_size=2, max_size=2, unique=True))
    entries[one], entries[other] = entries[other], entries[one]
    entries.change = f"entries {one} and {other} swapped"
    return entries


@st.composite
def removals(draw):
    entries = Entries(honest().entries)
    at = draw(positions)
    del entries[at]
    entries.change = f"entry {at} removed"
    return entries


@st.composite
def copies(draw):
    entries = Entries(honest().entries)
    to, of = draw(st.integers(0, size)), draw(positions)
    entries.insert(to, honest().entries[of])
    entries.change = f"entry {of} copied to {to}"
    return entries


@st.composite
def inventions(draw):
    """A new event under a key of somebody who may not issue it."""
    entries = Entries(honest().entries)
    stranger = LogBuilder().begin()
    stranger.sign(1, 1000 + draw(positions))
    to = draw(st.integers(0, size))
    entries.insert(to, stranger.entries[-1])
    entries.change, entries.at = f"a stranger's event at {to}", to
    return entries


changes = st.one_of(flips(), swaps(), removals(), copies(), inventions())


def first_change(entries: list[bytes]) -> int:
    pairs = zip(entries, honest().entries, strict=False)
    return next((at for at, (now, then) in enumerate(pairs) if now != then), min(len(entries), size - 1))


def run(entries: list[bytes], *, rehash: bool, sign: bool, known: bool = False) -> Report:
    builder = honest()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if sign:
            builder.write(folder, entries)
        else:
            builder.write(folder)
            for tile in tiles_for_size(size):  # the checkpoint still signs for the old size
                if tile.level is None:
                    part = entries[tile.index * 256 :]
                    part = part[:256] if tile.width == 256 else part  # too many or too few in the last one
                    data = b"".join(bundle([entry]) for entry in part)
                else:
                    data = tile_bytes(tile, entries if rehash else builder.entries)
                (folder / "log" / tile.path).write_bytes(data)
        return audit.run(folder, log_key=builder.vkey, known=[builder.checkpoint()] if known else [])


def covers(report: Report, position: int) -> bool:
    return any(
        finding.position is not None and finding.position <= position <= (finding.last or finding.position)
        for finding in report.findings
    )


def test_the_honest_log_is_clean():
    assert run(honest().entries, rehash=False, sign=False).status == "clean"


@few
@given(changes)
def test_a_change_of_the_entries_alone_is_found_at_its_exact_position(entries):
    at = first_change(entries)
    report = run(entries, rehash=False, sign=False)
    if len(entries) < size and at == size - 1:
        assert covers(report, at)  # the last entry is gone: the bundle breaks off there
    elif entries[:size] != honest().entries:
        assert ("entry-hash", at) in [(finding.rule, finding.position) for finding in report.findings]
    assert report.exit_code == 1


@few
@given(changes)
def test_a_change_with_all_tiles_rehashed_does_not_fit_the_signed_checkpoint(entries):
    report = run(entries, rehash=True, sign=False)
    assert report.exit_code == 1
    assert covers(report, first_change(entries))


@few
@given(st.one_of(flips(), inventions()))
def test_a_change_by_a_holder_of_the_logs_key_is_found_by_the_issuers_signatures(entries):
    report = run(entries, rehash=True, sign=True)
    assert entries.at in [finding.position for finding in report.findings]


@few
@given(copies())
def test_a_repeated_event_is_found_at_its_second_place(entries):
    report = run(entries, rehash=True, sign=True)
    doubled = next(at for at, entry in enumerate(entries) if entry in entries[:at])
    # A copy of an organisation's event put before its time is no repetition: its first place is wrong.
    assert report.exit_code == 1
    assert covers(report, doubled) or covers(report, entries.index(entries[doubled]))


@few
@given(st.data())
def test_the_loss_of_an_event_that_others_follow_is_found_in_its_stream(data):
    entries = honest().entries
    streams = [open_event(entry).stream for entry in entries]
    at = data.draw(st.sampled_from([i for i, s in enumerate(streams) if s in streams[i + 1 :]]))
    report = run([*entries[:at], *entries[at + 1 :]], rehash=True, sign=True)
    next_of_stream = streams.index(streams[at], at + 1) - 1
    assert next_of_stream in [f.position for f in report.findings] or covers(report, at)


@few
@given(changes)
def test_whoever_kept_a_checkpoint_finds_every_change_even_under_the_logs_key(entries):
    report = run(entries, rehash=True, sign=True, known=True)
    rules = {finding.rule for finding in report.findings}
    assert rules & {"fork", "log-shrank"} or entries[:size] == honest().entries
    assert report.exit_code == 1
