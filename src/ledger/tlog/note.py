"""Signed notes (C2SP signed-note): a text, a blank line, and one line for each signature.

Three types of signature are known: Ed25519 over the text (0x01), and timestamped cosignatures of
checkpoints by Ed25519 (0x04) and by ML-DSA-44 (0x06). Signatures by unknown keys are carried along and
ignored; a wrong signature by a known key spoils the whole note.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from ledger.tlog import cosignature
from ledger.tlog.encoding import from_base64, to_base64
from ledger.tlog.errors import TlogError
from ledger.tlog.head import CheckpointError

ED25519 = 0x01
COSIGNATURE = 0x04
ML_DSA_44 = 0x06
COSIGNATURES = (COSIGNATURE, ML_DSA_44)
"""The types that witnesses sign with."""

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
"""The specification asks readers to accept at least 16."""

_MAX_KEY_CHARS = 3_000
_SEED_BYTES = 32
"""Of an Ed25519 key (RFC 8032) and of an ML-DSA key (FIPS 204 calls it xi)."""
_PUBLIC_KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}
_KEY_ID_BYTES = 4
_PRIVATE = "PRIVATE+KEY+"
_SIGNATURE_PREFIX = "\N{EM DASH} "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")


class NoteError(TlogError):
    """A note or a key of notes is malformed, or a note is not signed as required."""

    code = "note-invalid"
    title = "The signed note is malformed"


class InvalidSignatureError(NoteError):
    """A signature that claims a known key does not verify."""

    code = "note-signature-invalid"
    title = "A signature on the note is wrong"


class UnverifiedNoteError(NoteError):
    """No known key signed the note."""

    code = "note-unverified"
    title = "No known key signed the note"


class AlgorithmUnavailableError(TlogError):
    """The cryptographic library here was built without ML-DSA."""

    code = "algorithm-unavailable"
    title = "This machine has no ML-DSA-44"

    def __init__(self) -> None:
        super().__init__(
            "keys of type 0x06 need ML-DSA-44, which the OpenSSL behind `cryptography` on this machine does "
            "not have: install a wheel of cryptography from its publisher, or leave such keys out"
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who signed, with which key, and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        """Refuse what could not be read back."""
        _check_name(self.name)
        if len(self.key_id) != _KEY_ID_BYTES or not self.signature:
            raise NoteError(
                f"a signature by {self.name[:100]} needs a key id of 4 bytes and at least one byte more"
            )

    def __str__(self) -> str:
        """The line, without its newline."""
        return f"{_SIGNATURE_PREFIX}{self.name} {to_base64(self.key_id + self.signature)}"

    @classmethod
    def parse(cls, line: str) -> Signature:
        """Read one signature line, without its newline."""
        words = line.removeprefix(_SIGNATURE_PREFIX).split(" ")
        if not line.startswith(_SIGNATURE_PREFIX) or len(words) != 2:
            raise NoteError(f"not a signature line: {line[:100]!r}")
        name, encoded = words
        try:
            data = from_base64(encoded)
        except ValueError as error:
            raise NoteError(f"the signature line of {name[:100]!r} is not canonical base64") from error
        return cls(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with the name it signs under; its text form is the *vkey*."""

    name: str
    algorithm: int
    public_key: bytes

    def __post_init__(self) -> None:
        """Refuse what could not be read back."""
        _check_name(self.name)
        _check_algorithm(self.algorithm)
        expected = _PUBLIC_KEY_BYTES[self.algorithm]
        if len(self.public_key) != expected:
            raise NoteError(
                f"a key of type 0x{self.algorithm:02x} has {expected} bytes, not {len(self.public_key)}"
            )
        if self.algorithm == ML_DSA_44 and len(self.name.encode()) > cosignature.MAX_NAME_BYTES:
            raise NoteError(f"the name of an ML-DSA-44 key has at most {cosignature.MAX_NAME_BYTES} bytes")

    @property
    def key_id(self) -> bytes:
        """4 bytes that follow from name, algorithm and key: they tell keys apart and prove nothing."""
        named = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public_key
        return sha256(named).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        """The vkey."""
        material = to_base64(bytes([self.algorithm]) + self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{material}"

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """Read ``name+id+base64(algorithm || key)``; ``NoteError`` if the id does not fit the key."""
        name, key_id, algorithm, material = _split_key(vkey, "verifier key")
        key = cls(name, algorithm, material)
        if key.key_id != key_id:
            raise NoteError(
                f"the verifier key of {name} has id {key_id.hex()}, but its key has {key.key_id.hex()}"
            )
        return key

    def verify(self, text: str, signature: bytes) -> int | None:
        """Check this key's signature of a text: the time of a cosignature in POSIX seconds, else None.

        ``InvalidSignatureError`` if it is wrong, ``AlgorithmUnavailableError`` if nobody can say so here.
        """
        timestamp = None
        try:
            if self.algorithm == ML_DSA_44:
                timestamp, signature = cosignature.unpack(signature, cosignature.ML_DSA_44_SIGNATURE_BYTES)
                message = cosignature.cosigned_message(self.name, text, timestamp)
                MLDSA44PublicKey.from_public_bytes(self.public_key).verify(signature, message)
            else:
                message = text.encode()
                if self.algorithm == COSIGNATURE:
                    timestamp, signature = cosignature.unpack(signature)
                    message = cosignature.signed_message(text, timestamp)
                Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except UnsupportedAlgorithm as error:
            raise AlgorithmUnavailableError from error
        except (InvalidSignature, ValueError, CheckpointError) as error:
            raise InvalidSignatureError(
                f"the signature by {self.name} (key {self.key_id.hex()}) is wrong for this text"
            ) from error
        return timestamp


@dataclass(frozen=True, slots=True)
class SignerKey:
    """A private key with the name it signs under. Only ``to_skey`` shows the secret."""

    verifier: VerifierKey
    _private: Ed25519PrivateKey | MLDSA44PrivateKey = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name it signs under."""
        return self.verifier.name

    @classmethod
    def generate(cls, name: str, algorithm: int = ED25519) -> SignerKey:
        """A new random key."""
        return cls.from_seed(name, os.urandom(_SEED_BYTES), algorithm)

    @classmethod
    def from_seed(cls, name: str, seed: bytes, algorithm: int = ED25519) -> SignerKey:
        """The key that follows from a seed of 32 bytes (RFC 8032; FIPS 204's xi for ML-DSA-44)."""
        _check_algorithm(algorithm)
        if len(seed) != _SEED_BYTES:
            raise NoteError(f"the seed of a signer key has {_SEED_BYTES} bytes, not {len(seed)}")
        private: Ed25519PrivateKey | MLDSA44PrivateKey
        if algorithm == ML_DSA_44:
            try:
                private = MLDSA44PrivateKey.from_seed_bytes(seed)
            except UnsupportedAlgorithm as error:
                raise AlgorithmUnavailableError from error
        else:
            private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(VerifierKey(name, algorithm, private.public_key().public_bytes_raw()), private)

    @classmethod
    def parse(cls, skey: str) -> SignerKey:
        """Read ``PRIVATE+KEY+name+id+base64(algorithm || seed)``; no error repeats the secret."""
        if not skey.startswith(_PRIVATE):
            raise NoteError(f"a signer key starts with {_PRIVATE}")
        name, key_id, algorithm, seed = _split_key(skey.removeprefix(_PRIVATE), "signer key")
        signer = cls.from_seed(name, seed, algorithm)
        if signer.verifier.key_id != key_id:
            raise NoteError(f"the signer key of {name} does not fit its key id {key_id.hex()}")
        return signer

    def to_skey(self) -> str:
        """The secret text form, to be kept in a file that nobody else can read."""
        material = to_base64(bytes([self.verifier.algorithm]) + self._private.private_bytes_raw())
        return f"{_PRIVATE}{self.name}+{self.verifier.key_id.hex()}+{material}"

    def sign(self, text: str) -> Signature:
        """Sign a note's text (keys of algorithm 0x01)."""
        self._require(ED25519)
        _check_text(text)
        return Signature(self.name, self.verifier.key_id, self._private.sign(text.encode()))

    def cosign(self, text: str, timestamp: int) -> Signature:
        """Cosign a checkpoint's text as of a POSIX time in seconds (keys of algorithm 0x04 and 0x06)."""
        self._require(*COSIGNATURES)
        _check_text(text)
        try:
            if self.verifier.algorithm == ML_DSA_44:
                message = cosignature.cosigned_message(self.name, text, timestamp)
            else:
                message = cosignature.signed_message(text, timestamp)
        except ValueError as error:
            raise NoteError(str(error)) from error
        signature = cosignature.pack(timestamp, self._private.sign(message))
        return Signature(self.name, self.verifier.key_id, signature)

    def _require(self, *algorithms: int) -> None:
        if self.verifier.algorithm not in algorithms:
            raise NoteError(
                f"the key of {self.name} makes signatures of type 0x{self.verifier.algorithm:02x}, "
                f"not {_types(algorithms)}"
            )


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A note's text, ending in a newline, and its signatures in the order of their lines."""

    text: str
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        """Refuse what could not be read back."""
        _check_text(self.text)
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise NoteError(f"a note has 1 to {MAX_SIGNATURES} signatures, not {len(self.signatures)}")

    @classmethod
    def parse(cls, data: bytes) -> SignedNote:
        """Read a note without verifying anything."""
        _check_length(data)
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise NoteError(f"the note is not UTF-8 at byte {error.start}") from error
        # The text may contain blank lines itself: the last one ends it.
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise NoteError("a note is a text, a blank line and signature lines, each ending in a newline")
        if lines.count("\n") > MAX_SIGNATURES:
            raise NoteError(f"the note has more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(Signature.parse(line) for line in lines[:-1].split("\n")))

    def to_bytes(self) -> bytes:
        """The note as it is published."""
        lines = "".join(f"{signature}\n" for signature in self.signatures)
        data = f"{self.text}\n{lines}".encode()
        _check_length(data)
        return data

    def with_signatures(self, *signatures: Signature) -> SignedNote:
        """The same note with more signatures after those it has."""
        return SignedNote(self.text, self.signatures + signatures)


class VerifiedSignature(NamedTuple):
    """A key whose signature verified; ``timestamp`` (POSIX seconds) only for cosignatures."""

    key: VerifierKey
    timestamp: int | None


def open_note(data: bytes, verifiers: Iterable[VerifierKey]) -> tuple[str, tuple[VerifiedSignature, ...]]:
    """The text of a note, and the known keys that signed it, each once, in the order of the lines.

    ``InvalidSignatureError`` if any line that claims a known key is wrong, ``UnverifiedNoteError`` if no
    known key signed, ``NoteError`` if the note is malformed.
    """
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in verifiers:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise NoteError(
                f"two different verifier keys share the name {key.name} and id {key.key_id.hex()}"
            )
    note = SignedNote.parse(data)
    verified: dict[VerifierKey, VerifiedSignature] = {}
    for signature in dict.fromkeys(note.signatures):
        signer = known.get((signature.name, signature.key_id))
        if signer is None:
            continue
        timestamp = signer.verify(note.text, signature.signature)
        verified.setdefault(signer, VerifiedSignature(signer, timestamp))
    if not verified:
        raise UnverifiedNoteError(
            f"none of the {len(known)} known keys signed the note{_names(note.signatures)}"
        )
    return note.text, tuple(verified.values())


def _names(signatures: Sequence[Signature]) -> str:
    shown = ", ".join(f"{signature.name[:100]}+{signature.key_id.hex()}" for signature in signatures[:3])
    return f" (signed by {shown}{', …' if len(signatures) > 3 else ''})"


def _split_key(text: str, what: str) -> tuple[str, bytes, int, bytes]:
    match = _KEY.fullmatch(text) if len(text) <= _MAX_KEY_CHARS else None
    if not match:
        raise NoteError(f"a {what} consists of a name, 8 lower-case hex digits and base64, joined by '+'")
    name, key_id, encoded = match.groups()
    try:
        data = from_base64(encoded)
    except ValueError:
        raise NoteError(f"the {what} of {name} is not canonical base64") from None
    return name, bytes.fromhex(key_id), data[0], data[1:]


def _check_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() for c in name) or _CONTROL.search(name):
        raise NoteError(
            f"a key name is not empty and has no spaces, '+' or control characters: {name[:100]!r}"
        )
    _check_unicode(name)


def _check_algorithm(algorithm: int) -> None:
    if algorithm not in _PUBLIC_KEY_BYTES:
        raise NoteError(
            f"signatures of type 0x{algorithm:02x} are not supported, only {_types(_PUBLIC_KEY_BYTES)}"
        )


def _types(algorithms: Iterable[int]) -> str:
    return " or ".join(f"0x{algorithm:02x}" for algorithm in algorithms)


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise NoteError("a note's text ends in a newline")
    if _CONTROL.search(text):
        raise NoteError("a note has no control characters other than newline")
    _check_unicode(text)


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NoteError(f"not valid Unicode at character {error.start}") from error


def _check_length(data: bytes) -> None:
    if len(data) > MAX_NOTE_BYTES:
        raise NoteError(f"a note has at most {MAX_NOTE_BYTES} bytes, not {len(data)}")
