"""The sample is fair, follows from its inputs alone, and anybody can draw it again."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.sample import draw

SECRET, ROOT = bytes(range(32)), bytes(range(32, 64))
hashes = st.binary(min_size=32, max_size=32)


@given(hashes, hashes, st.integers(0, 5000), st.integers(0, 1000))
def test_a_sample_is_sorted_distinct_and_of_the_population(secret, root, population, sample):
    drawn = draw(secret, root, population, sample)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == min(sample, population)
    assert all(0 <= index < population for index in drawn)
    assert draw(secret, root, population, sample) == drawn


@given(hashes, hashes, st.integers(1, 2**63), st.integers(1, 50))
def test_a_larger_sample_contains_the_smaller_one(secret, root, population, sample):
    assert set(draw(secret, root, population, sample)) <= set(draw(secret, root, population, sample + 1))


def test_the_sample_is_the_one_drawn_by_hand():
    # printf 'aiqyn/sample/v1\n' | cat - secret root counter | sha256sum, the first 16 hex digits
    first = hashlib.sha256(b"aiqyn/sample/v1\n" + SECRET + ROOT + bytes(8)).hexdigest()
    assert first[:16] == "8bdb9afed6e8d37d"
    assert draw(SECRET, ROOT, 1_000_003, 1) == [0x8BDB9AFED6E8D37D % 1_000_003]
    words = [int(first[at : at + 16], 16) for at in range(0, 64, 16)]
    assert draw(SECRET, ROOT, 1_000_003, 4) == sorted(word % 1_000_003 for word in words)


def test_another_secret_or_root_draws_others():
    assert draw(SECRET, ROOT, 10**6, 10) != draw(ROOT, SECRET, 10**6, 10)


def test_no_index_is_likelier_than_another():
    counts = Counter[int]()
    for trial in range(6000):
        secret = hashlib.sha256(b"%d" % trial).digest()
        counts.update(draw(secret, ROOT, 6, 2))
    # 2000 each; the standard deviation is 37
    assert all(abs(counts[index] - 2000) < 190 for index in range(6)), counts


def test_a_number_beyond_the_last_whole_multiple_is_passed_over():
    # Of 2**64 numbers a population of 2**63 + 1 leaves almost half over: the first five here.
    population = 2**63 + 1
    seed = b"aiqyn/sample/v1\n" + SECRET + ROOT
    numbers = [
        int.from_bytes(hashlib.sha256(seed + block.to_bytes(8, "big")).digest()[at : at + 8], "big")
        for block in range(8)
        for at in range(0, 32, 8)
    ]
    fair = [number for number in numbers if number < population]
    assert 0 < len(fair) < len(numbers)
    assert draw(SECRET, ROOT, population, len(fair)) == sorted(fair)


@pytest.mark.parametrize(
    ("secret", "root", "population", "sample"),
    [(SECRET[1:], ROOT, 1, 1), (SECRET, ROOT[1:], 1, 1), (SECRET, ROOT, -1, 1), (SECRET, ROOT, 1, -1)],
)
def test_what_is_out_of_range_is_refused(secret, root, population, sample):
    with pytest.raises(ValueError, match=r"32 bytes|can be drawn"):
        draw(secret, root, population, sample)
