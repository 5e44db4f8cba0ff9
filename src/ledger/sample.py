"""Which signatures are looked at: a sample that follows from a secret and a root, chosen by nobody. Pure.

Whoever asks commits to the secret before the root exists, and the log signs the root before it knows the
secret: neither can try out what would be drawn (:class:`ledger.events.EvidenceAsked`).
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import count

SECRET_BYTES = 32
_ROOT_BYTES = 32
_LABEL = b"aiqyn/sample/v1\n"
_WORD = 8
"""Bytes of each number taken from the stream: 64 bits, big-endian."""
_WORDS = 1 << 8 * _WORD


def draw(secret: bytes, root: bytes, population: int, sample: int) -> list[int]:
    """``sample`` distinct numbers of ``0 … population - 1``, sorted; all of them where there are no more.

    ``secret`` and ``root`` have 32 bytes each. The stream is SHA-256 in counter mode: block *i* is the hash
    of ``"aiqyn/sample/v1\\n" ‖ secret ‖ root ‖ i``, *i* = 0, 1, … as 8 bytes big-endian, read as four 64-bit
    numbers, big-endian. A number at or above the largest multiple of ``population`` is passed over, so that
    none is likelier than another; any other stands for its remainder; what was drawn before is passed over.
    Raises :class:`ValueError` for a secret, root or number out of range.
    """
    if len(secret) != SECRET_BYTES or len(root) != _ROOT_BYTES:
        raise ValueError("a secret and a root have 32 bytes each")
    if not 0 <= population < _WORDS or sample < 0:
        raise ValueError(f"no sample of {sample} can be drawn from {population}")
    if sample >= population:
        return list(range(population))
    fair = _WORDS - _WORDS % population
    drawn: set[int] = set()
    numbers = _numbers(_LABEL + secret + root)
    while len(drawn) < sample:
        number = next(numbers)
        if number < fair:
            drawn.add(number % population)
    return sorted(drawn)


def _numbers(seed: bytes) -> Iterator[int]:
    for block in count():
        digest = sha256(seed + block.to_bytes(8, "big")).digest()
        for at in range(0, len(digest), _WORD):
            yield int.from_bytes(digest[at : at + _WORD], "big")
