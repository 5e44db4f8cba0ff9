"""The bytes of a timestamped cosignature (C2SP tlog-cosignature, Ed25519: ``cosignature/v1``).

A witness signs the whole checkpoint text together with the time, so that a cosignature says: at this
time, this was the largest consistent tree I had seen of this log.
"""

from __future__ import annotations

from ledger.tlog.encoding import MAX_SIZE

MAX_TIMESTAMP = MAX_SIZE
"""Seconds since the epoch fit in a signed 64-bit integer."""

_TIMESTAMP_BYTES = 8
_ED25519_SIGNATURE_BYTES = 64


def signed_message(text: str, timestamp: int) -> bytes:
    """What is signed: a header line, the time in POSIX seconds, the checkpoint's text."""
    if not 0 <= timestamp <= MAX_TIMESTAMP:
        raise ValueError(f"timestamp {timestamp} is not between 0 and {MAX_TIMESTAMP}")
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def pack(timestamp: int, signature: bytes) -> bytes:
    """``timestamped_signature``: a big-endian uint64, then the Ed25519 signature (72 bytes)."""
    return timestamp.to_bytes(_TIMESTAMP_BYTES, "big") + signature


def unpack(data: bytes) -> tuple[int, bytes]:
    """Time and Ed25519 signature of a ``timestamped_signature``; ``ValueError`` if it is malformed."""
    if len(data) != _TIMESTAMP_BYTES + _ED25519_SIGNATURE_BYTES:
        raise ValueError(f"a timestamped signature has 72 bytes, not {len(data)}")
    timestamp = int.from_bytes(data[:_TIMESTAMP_BYTES], "big")
    if timestamp > MAX_TIMESTAMP:
        raise ValueError(f"timestamp {timestamp} is above {MAX_TIMESTAMP}")
    return timestamp, data[_TIMESTAMP_BYTES:]
