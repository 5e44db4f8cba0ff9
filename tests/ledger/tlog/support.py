"""What the tests of the log share: the RFC's own recursive definitions, and where the vectors are.

The definitions are slow and plain on purpose: they are what the fast code is compared with.
"""

from __future__ import annotations

import json
import warnings
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

VECTORS = Path(__file__).resolve().parents[4] / "shared" / "vectors"
ABSENT = "conformance vectors are not beside the repository (../shared/vectors): these tests did not run"

if not VECTORS.is_dir():
    warnings.warn(ABSENT, stacklevel=1)

needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason=ABSENT)


def vectors(name: str) -> Any:
    """One JSON file of vectors; an empty dict where there are none."""
    path = VECTORS / name
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def entry(i: int) -> bytes:
    return b"entry %d" % i


@cache
def leaf(i: int) -> bytes:
    return sha256(b"\x00" + entry(i)).digest()


def _split(n: int) -> int:
    """The largest power of two smaller than n."""
    return 1 << (n - 1).bit_length() - 1


@cache
def mth(a: int, b: int) -> bytes:
    """MTH(D[a:b]) of RFC 6962 section 2.1."""
    if a == b:
        return sha256(b"").digest()
    if b - a == 1:
        return leaf(a)
    k = _split(b - a)
    return sha256(b"\x01" + mth(a, a + k) + mth(a + k, b)).digest()


def path(m: int, a: int, b: int) -> tuple[bytes, ...]:
    """PATH(m, D[a:b]) of RFC 6962 section 2.1.1."""
    if b - a == 1:
        return ()
    k = _split(b - a)
    if m < k:
        return (*path(m, a, a + k), mth(a + k, b))
    return (*path(m - k, a + k, b), mth(a, a + k))


def subproof(m: int, a: int, b: int, known: bool = True) -> tuple[bytes, ...]:
    """SUBPROOF(m, D[a:b], known) of RFC 6962 section 2.1.2; with ``known`` it is PROOF(m, D[a:b])."""
    if m == b - a:
        return () if known else (mth(a, b),)
    k = _split(b - a)
    if m <= k:
        return (*subproof(m, a, a + k, known), mth(a + k, b))
    return (*subproof(m - k, a + k, b, False), mth(a, a + k))


def read_node(level: int, index: int) -> bytes:
    return mth(index << level, (index + 1) << level)


def read_tile(level: int, index: int, width: int) -> bytes:
    """A hash tile straight from the definition in C2SP tlog-tiles."""
    span = 256**level
    first = index * 256
    return b"".join(mth(i * span, (i + 1) * span) for i in range(first, first + width))


sizes = st.one_of(
    st.integers(1, 600),
    st.sampled_from([1, 2, 3, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537, 65791, 65792, 66000]),
)


def mutations(proof: tuple[bytes, ...]) -> st.SearchStrategy[tuple[bytes, ...]]:
    """Proofs that differ from ``proof`` by one flipped bit, or one hash lost, added, doubled or swapped."""
    n = len(proof)
    places = st.integers(0, n - 1)

    def flip(at: int, bit: int) -> tuple[bytes, ...]:
        changed = int.from_bytes(proof[at], "big") ^ 1 << bit
        return (*proof[:at], changed.to_bytes(32, "big"), *proof[at + 1 :])

    def swap(i: int, j: int) -> tuple[bytes, ...]:
        hashes = list(proof)
        hashes[i], hashes[j] = hashes[j], hashes[i]
        return tuple(hashes)

    def insert(at: int, value: bytes) -> tuple[bytes, ...]:
        return (*proof[:at], value, *proof[at:])

    changes = [st.builds(insert, st.integers(0, n), st.sampled_from([*proof, leaf(0), bytes(32)]))]
    if n:
        changes += [
            st.builds(flip, places, st.integers(0, 255)),
            st.builds(lambda at: (*proof[:at], *proof[at + 1 :]), places),
            st.builds(swap, places, places),
            st.builds(lambda at: (*proof[:at], proof[at][:-1], *proof[at + 1 :]), places),
        ]
    return st.one_of(changes).filter(lambda mutated: mutated != proof)
