"""Text forms of bytes, read strictly: whatever does not re-encode to itself is refused."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import msgspec

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_FOREIGN = ord("!")
"""Stands for every byte that is not in the alphabet: no base64 decoder takes it."""


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str | bytes) -> bytes:
    """The bytes behind canonical base64url without padding; :class:`ValueError` for any other text."""
    raw = text.encode("ascii") if isinstance(text, str) else text
    over = len(raw) & 3
    # A character holds 6 bits; those of the last one that no byte needs are zero.
    if raw and raw[-1] not in _LAST[over]:
        raise ValueError("not canonical base64url")
    try:
        return _decode(b'"' + raw.translate(_TO_STANDARD) + _CLOSING[over])
    except msgspec.DecodeError as error:
        raise ValueError("not base64url") from error


# As the value of a JSON string, base64 is decoded three times as fast as by binascii. Nothing that could end
# or escape that string is left over by the table.
_decode = msgspec.json.Decoder(bytes).decode
_CLOSING = (b'"', b'"', b'=="', b'="')
_LAST = (frozenset(_ALPHABET), frozenset[int](), frozenset(_ALPHABET[::16]), frozenset(_ALPHABET[::4]))
"""By the length modulo 4: the characters that may stand last."""
_TO_STANDARD = bytes(byte if byte in _ALPHABET else _FOREIGN for byte in range(256)).translate(
    bytes.maketrans(b"-_", b"+/")
)
