"""Two verifiers, one verdict: whatever libsodium accepts OpenSSL accepts, and OpenSSL decides the rest."""

from __future__ import annotations

import hashlib
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from ledger import ed25519
from ledger.encoding import b64url
from ledger.keys import MalformedKeyError, SigningKey, VerifyingKey

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

# --- the curve, in a few lines: to make signatures that no library makes --------------------------


def recovered(y: int) -> int | None:
    squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(squared, (P + 3) // 8, P)
    for root in (x, x * pow(2, (P - 1) // 4, P) % P):
        if root * root % P == squared:
            return root
    return None


def add(one, two):
    (x1, y1), (x2, y2) = one, two
    t = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def times(number: int, point):
    total = (0, 1)
    while number:
        if number & 1:
            total = add(total, point)
        point, number = add(point, point), number >> 1
    return total


def encoded(point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


BASE_Y = 4 * pow(5, -1, P) % P
BASE_X = recovered(BASE_Y)
BASE = (BASE_X if BASE_X % 2 == 0 else P - BASE_X, BASE_Y)


@cache
def torsion() -> list:
    """The eight points whose order divides 8."""
    for y in range(2, 100):
        if (x := recovered(y)) is not None and times(4, point := times(L, (x, y))) != (0, 1):
            return [times(k, point) for k in range(8)]
    raise AssertionError


def hashed(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


SECRET, NONCE = 0x1234567890ABCDEF, 0xFEDCBA0987654321
PUBLIC, COMMITTED = times(SECRET, BASE), times(NONCE, BASE)


def forged(message: bytes, public: bytes, committed: bytes, *, secret=SECRET, nonce=NONCE) -> bytes:
    s = (nonce + hashed(committed, public, message) * secret) % L
    return committed + s.to_bytes(32, "little")


def openssl(public: bytes, signature: bytes, message: bytes) -> bool:
    return ed25519._openssl(public, signature, message)


def sodium(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True


# --- agreement --------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_what_we_seal_verifies_under_both(seed, message):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert openssl(public, signature, message)
    assert sodium(public, signature, message)
    assert ed25519.verifies(public, signature, message)
    assert ed25519.is_key(public)


@settings(max_examples=200)
@given(st.data())
def test_a_changed_bit_anywhere_is_refused(data):
    parts = [encoded(PUBLIC), forged(b"message", encoded(PUBLIC), encoded(COMMITTED)), b"message"]
    assert ed25519.verifies(*parts)
    which = data.draw(st.integers(0, 2))
    changed = bytearray(parts[which])
    bit = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(changed)
    assert not ed25519.verifies(*parts)


def crafted() -> list[tuple[bytes, bytes, bytes]]:
    """Signatures with small-order parts in every place, by somebody who wants verifiers to disagree."""
    found = []
    for point in torsion():
        for message in (b"%d" % n for n in range(8)):
            for public in (encoded(add(PUBLIC, point)), encoded(point)):
                for committed in (encoded(COMMITTED), encoded(add(COMMITTED, point)), encoded(point)):
                    nonce = 0 if committed == encoded(point) else NONCE
                    secret = 0 if public == encoded(point) else SECRET
                    signature = forged(message, public, committed, secret=secret, nonce=nonce)
                    found.append((public, signature, message))
    public, honest = encoded(PUBLIC), forged(b"m", encoded(PUBLIC), encoded(COMMITTED))
    s = int.from_bytes(honest[32:], "little")
    found += [(public, honest[:32] + (s + k * L).to_bytes(32, "little"), b"m") for k in range(1, 8)]
    return found


def test_libsodium_accepts_nothing_that_openssl_refuses():
    assert ed25519._SODIUM_AGREES
    verdicts = {(openssl(*case), sodium(*case)) for case in crafted()}
    assert (False, True) not in verdicts
    assert {(True, True), (False, False), (True, False)} <= verdicts, "the cases tell them apart"


def test_the_verdict_is_openssls_whatever_was_crafted():
    for case in crafted():
        assert ed25519.verifies(*case) == openssl(*case)


def test_the_trial_tells_a_cofactored_verifier():
    """The vector of the trial: its equation holds eight times over, and not once."""
    point = next(point for point in torsion() if times(4, point) != (0, 1))
    public, committed = encoded(PUBLIC), add(COMMITTED, point)
    signature = forged(b"aiqyn", public, encoded(committed))
    assert not openssl(public, signature, b"aiqyn")
    s, k = int.from_bytes(signature[32:], "little"), hashed(signature[:32], public, b"aiqyn")
    left, right = times(s, BASE), add(committed, times(k, PUBLIC))
    assert left != right
    assert times(8, left) == times(8, right)


def test_without_libsodium_the_verdicts_stay(monkeypatch):
    before = [ed25519.verifies(*case) for case in crafted()]
    monkeypatch.setattr(ed25519, "_SODIUM_AGREES", False)
    assert [ed25519.verifies(*case) for case in crafted()] == before


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(size):
    assert not ed25519.verifies(encoded(PUBLIC), bytes(size), b"m")


# --- keys -------------------------------------------------------------------------------------


def test_a_key_under_which_anybody_could_sign_is_refused():
    small = {encoded(point) for point in torsion()}
    assert len(small) == 8
    signs = {bytes([*key[:31], key[31] ^ 0x80]) for key in small}
    for key in small | signs:
        assert not ed25519.is_key(key)
        with pytest.raises(MalformedKeyError):
            VerifyingKey(b64url(key))


def test_a_key_in_another_spelling_is_refused():
    for y in range(19):  # RFC 8032, section 5.1.3: y is below p
        key = (P + y).to_bytes(32, "little")
        assert not ed25519.is_key(key)
        with pytest.raises(MalformedKeyError):
            VerifyingKey(b64url(key))


def test_a_usual_key_is_taken():
    key = SigningKey.generate()
    assert VerifyingKey(key.public_key).verifies(key.sign(b"m"), b"m")
