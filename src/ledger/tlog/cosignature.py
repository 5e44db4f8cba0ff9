"""The bytes of a timestamped cosignature (C2SP tlog-cosignature).

A witness signs a checkpoint together with the time, so that a cosignature says: at this time, this was
the largest consistent tree I had seen of this log. The Ed25519 form (``cosignature/v1``) signs the
checkpoint's whole text; the ML-DSA-44 form (``subtree/v1``) signs origin, size and root with the
cosigner's name, and nothing of extension lines.
"""

from __future__ import annotations

from ledger.tlog.encoding import MAX_SIZE
from ledger.tlog.head import read_head

MAX_TIMESTAMP = MAX_SIZE
"""Seconds since the epoch fit in a signed 64-bit integer."""

ED25519_SIGNATURE_BYTES = 64
ML_DSA_44_SIGNATURE_BYTES = 2420
MAX_NAME_BYTES = 255
"""Of a cosigner's name and a log's origin in a ``cosigned_message``."""

_TIMESTAMP_BYTES = 8
_LABEL = b"subtree/v1\n\0"


def signed_message(text: str, timestamp: int) -> bytes:
    """What Ed25519 signs: a header line, the time in POSIX seconds, the checkpoint's text."""
    _check_timestamp(timestamp)
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def cosigned_message(name: str, text: str, timestamp: int) -> bytes:
    """What ML-DSA-44 signs: the ``cosigned_message`` of the whole tree of a checkpoint's text.

    A timestamp of 0 states no time. ``CheckpointError`` if the text is no checkpoint, ``ValueError`` if the
    structure cannot hold the name, the origin or the timestamp.
    """
    _check_timestamp(timestamp)
    head = read_head(text)
    return b"".join(
        (
            _LABEL,
            _opaque(name, "cosigner's name"),
            _uint64(timestamp),
            _opaque(head.origin, "log's origin"),
            _uint64(0),
            _uint64(head.size),
            head.root,
        )
    )


def pack(timestamp: int, signature: bytes) -> bytes:
    """``timestamped_signature``: a big-endian uint64, then the signature."""
    return _uint64(timestamp) + signature


def unpack(data: bytes, signature_bytes: int = ED25519_SIGNATURE_BYTES) -> tuple[int, bytes]:
    """Time and signature of a ``timestamped_signature``; ``ValueError`` if it is malformed."""
    if len(data) != _TIMESTAMP_BYTES + signature_bytes:
        raise ValueError(
            f"a timestamped signature has {_TIMESTAMP_BYTES + signature_bytes} bytes, not {len(data)}"
        )
    timestamp = int.from_bytes(data[:_TIMESTAMP_BYTES], "big")
    _check_timestamp(timestamp)
    return timestamp, data[_TIMESTAMP_BYTES:]


def _uint64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _opaque(text: str, what: str) -> bytes:
    """``opaque<1..2^8-1>``."""
    data = text.encode()
    if not 1 <= len(data) <= MAX_NAME_BYTES:
        raise ValueError(f"for ML-DSA-44 a {what} has 1 to {MAX_NAME_BYTES} bytes, not {len(data)}")
    return len(data).to_bytes(1, "big") + data


def _check_timestamp(timestamp: int) -> None:
    if not 0 <= timestamp <= MAX_TIMESTAMP:
        raise ValueError(f"timestamp {timestamp} is not between 0 and {MAX_TIMESTAMP}")
