"""The vault: restricted disclosures, each person's encrypted under a key of their own.

A stream's data key (AES-256) is wrapped by the key from the configuration; the disclosures of each
event are sealed under the data key, bound to the entry they belong to. Destroying a data key erases
the person and changes no hash.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.errors import AiqynError
from ledger.statement import Disclosure

KEY_BYTES = 32
_NONCE_BYTES = 12


class VaultError(AiqynError):
    """What is in the vault cannot be opened with the configured key."""

    code = "vault"
    title = "The vault cannot be opened"


class Vault:
    """Wraps keys and seals disclosures; holds no data."""

    def __init__(self, key: bytes) -> None:
        """``key``: 32 bytes from the configuration."""
        if len(key) != KEY_BYTES:
            raise VaultError(f"The vault key has {KEY_BYTES} bytes, not {len(key)}.")
        self._wrapping = AESGCM(key)
        self._persons = hmac.digest(key, b"aiqyn: persons", "sha256")
        self._requests = hmac.digest(key, b"aiqyn: requests", "sha256")

    def person(self, number: str) -> bytes:
        """What stands for a person in this operator's own tables: 32 bytes, without the key nothing.

        ``number``: an IIN, or a company's BIN.
        """
        return hmac.digest(self._persons, number.encode(), "sha256")

    def request(self, digest: bytes) -> bytes:
        """What is kept of a request, by its SHA-256, to know it again: 32 bytes.

        A request holds what is personal. Whoever has the tables without the key cannot try texts, numbers
        of persons or codes of talons against it.
        """
        return hmac.digest(self._requests, digest, "sha256")

    def wrap(self, purpose: str, owner: str, key: bytes) -> bytes:
        """Encrypt a key for storage. ``purpose`` and ``owner`` must be the same when it is unwrapped."""
        return _encrypt(self._wrapping, key, f"{purpose}:{owner}".encode())

    def unwrap(self, purpose: str, owner: str, wrapped: bytes) -> bytes:
        """The key. Raises :class:`VaultError`."""
        return _decrypt(self._wrapping, wrapped, f"{purpose}:{owner}".encode())

    def new_key(self, purpose: str, owner: str) -> tuple[bytes, bytes]:
        """A fresh key of 32 bytes, plain and wrapped."""
        key = os.urandom(KEY_BYTES)
        return key, self.wrap(purpose, owner, key)

    @staticmethod
    def seal_file(id_: bytes, content: bytes) -> tuple[bytes, bytes]:
        """A fresh key, and the file under it. ``id_`` must be the same when it is opened."""
        key = os.urandom(KEY_BYTES)
        return key, _encrypt(AESGCM(key), content, id_)

    @staticmethod
    def open_file(key: bytes, id_: bytes, sealed: bytes) -> bytes:
        """The file again. Raises :class:`VaultError`."""
        return _decrypt(AESGCM(key), sealed, id_)

    @staticmethod
    def seal(data_key: bytes, entry: bytes, disclosures: Iterable[Disclosure]) -> bytes:
        """Encrypt the restricted disclosures of one entry."""
        plain = "~".join(disclosure.encoded for disclosure in disclosures).encode("ascii")
        return _encrypt(AESGCM(data_key), plain, hashlib.sha256(entry).digest())

    @staticmethod
    def open(data_key: bytes, entry: bytes, sealed: bytes) -> tuple[Disclosure, ...]:
        """The disclosures again. Raises :class:`VaultError`."""
        plain = _decrypt(AESGCM(data_key), sealed, hashlib.sha256(entry).digest()).decode("ascii")
        return tuple(Disclosure.parse(encoded) for encoded in plain.split("~") if encoded)


def _encrypt(cipher: AESGCM, plain: bytes, context: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, context)


def _decrypt(cipher: AESGCM, sealed: bytes, context: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError) as error:
        raise VaultError(
            "The vault key in the configuration is not the one this was encrypted with, or it was altered."
        ) from error
