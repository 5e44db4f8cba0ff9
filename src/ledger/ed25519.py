"""Ed25519 signatures (RFC 8032) verified as fast as this machine can. Pure.

OpenSSL decides, here and wherever an entry is appended. libsodium, which verifies about twice as fast, is
asked first, and its yes is taken: it accepts nothing that OpenSSL refuses. Its no is not, because it refuses
two things that RFC 8032 allows and OpenSSL accepts: a small-order ``R`` and a small-order key. No signature
that we seal has either (the first gives the private key away, under the second anybody can sign), so for
honest entries the two agree; and whoever seals such a thing on purpose gets the same verdict from everybody.

That libsodium accepts nothing more hangs on its comparing ``R`` itself, as OpenSSL does, and not eight times
it ("cofactored", which RFC 8032 allows as well): builds exist that do. Whether this one does is tried out
below.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = 2**255 - 19
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _P - 1,
        int("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7", 16),
        int("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826", 16),
    }
)
"""The ``y`` of the eight points whose order divides 8."""


def is_key(public_key: bytes) -> bool:
    """Whether somebody can hold the secret of this key, and nobody else can sign under it.

    Its ``y`` is below *p*, as RFC 8032, section 5.1.3, asks and OpenSSL does not; and its order is not small.
    That it is a point of the curve is left to who verifies with it.
    """
    y = int.from_bytes(public_key, "little") & (1 << 255) - 1
    return len(public_key) == KEY_BYTES and y < _P and y not in _SMALL_ORDER


def verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is over ``message`` and by that key (32 bytes, a point)."""
    if _SODIUM_AGREES:
        try:
            crypto_sign_open(signature + message, public_key)
        except (BadSignatureError, ValueError, TypeError):
            pass
        else:
            return True
    return _openssl(public_key, signature, message)


def _openssl(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _sodium_compares_r() -> bool:
    # R is off by a point of order 8: a cofactored verifier does not see it, OpenSSL does.
    public_key = bytes.fromhex("7767a3242dc9b58bbc68488c1265cc6cc5f26c6f3c88a5d55e901b0734dca572")
    signature = bytes.fromhex(
        "5f594a7414d133f7fe042937d3925011d6d32d617499674446b3a994a6b27456"
        "17628f7a06c433f47d43f7a7b9ce88061c9337bb359b3938bc798bb054f59c0f"
    )
    try:
        crypto_sign_open(signature + b"aiqyn", public_key)
    except BadSignatureError:
        return True
    return False


_SODIUM_AGREES = _sodium_compares_r()
