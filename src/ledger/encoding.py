"""Text forms of bytes, read strictly: whatever does not re-encode to itself is refused."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64encode


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str | bytes) -> bytes:
    """The bytes behind canonical base64url without padding; :class:`ValueError` for any other text."""
    raw = text.encode("ascii") if isinstance(text, str) else text
    try:
        standard = raw.translate(_TO_STANDARD, delete=b"+/=")
        if len(standard) != len(raw):
            raise ValueError("not base64url")
        data = binascii.a2b_base64(standard + b"=" * (-len(raw) % 4), strict_mode=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if urlsafe_b64encode(data).rstrip(b"=") != raw:
        raise ValueError("not canonical base64url")
    return data


_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
