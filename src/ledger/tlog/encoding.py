"""Strict text forms of numbers and bytes, shared by notes, checkpoints and proofs.

There is one text for each value: what parses here prints again as the same characters. Otherwise two
different texts would stand for one signed fact.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

MAX_SIZE = 2**63 - 1
"""Largest tree size and index read or written: what a signed 64-bit column holds."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


def to_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 section 4)."""
    return b64encode(data).decode("ascii")


def from_base64(text: str) -> bytes:
    """The bytes behind canonical base64; ``ValueError`` for any other spelling of them."""
    data = b64decode(text, validate=True)
    # The decoder lets stray low bits in the last character pass; only the round trip shows them.
    if to_base64(data) != text:
        raise ValueError("base64 is not canonical")
    return data


def from_decimal(text: str) -> int:
    """An ASCII decimal 0..``MAX_SIZE`` without sign or leading zeros; ``ValueError`` for anything else."""
    if not _DECIMAL.fullmatch(text) or (number := int(text)) > MAX_SIZE:
        raise ValueError(f"expected a decimal number from 0 to {MAX_SIZE} without leading zeros")
    return number
