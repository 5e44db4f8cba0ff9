"""One entry bundle checked by itself: hashed, opened strictly, every signature verified. Pure.

This is the part of an audit that takes the time, and needs nothing of what came before but public keys. It
may be done in any order and in any process, so what comes out is small: columns with a value for each entry,
which is all that is said of a signature that a person gave; most of a long log are those. Of any other entry
there is what it says beside the columns.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from hashlib import sha256
from typing import get_args

import msgspec

from ledger import ed25519
from ledger.errors import AiqynError
from ledger.events import (
    EvidenceAsked,
    Fact,
    OrganisationKeyRegistered,
    OrganisationRegistered,
    PetitionSigned,
    Region,
    SignatureVoided,
    SignatureWithdrawn,
    decode,
)
from ledger.keys import MalformedKeyError, VerifyingKey
from ledger.statement import Event, open_signed
from ledger.tlog.merkle import HASH_SIZE, leaf_hash
from ledger.tlog.tiles import WIDTH, TileError, parse_bundle

REGIONS = (*get_args(Region), "unknown")
REGION_INDEX: dict[str | None, int] = {region: index for index, region in enumerate(REGIONS)}
REGION_INDEX[None] = REGION_INDEX["unknown"]

SIGNED, WITHDRAWN, VOIDED = range(3)
KIND = 5
"""A change of a count is one byte: the region in the low five bits, then its kind."""
REGION_MASK = (1 << KIND) - 1

OTHER = 0x80
"""Codes from here on: an entry that is opened again, and one of the following."""
VERIFIED, FORGED, UNKNOWN_KEY, MALFORMED = (OTHER + verdict for verdict in range(4))
ASKED = 0x40
"""Added to the code of an ``evidence.asked``: the root of the tree that ends with it matters."""


SIGNATURE_STREAM = re.compile(r"signature/([A-Za-z0-9_-]+)/[A-Za-z0-9_-]{43}")
_REMOVED = WITHDRAWN << KIND
_KINDS: dict[type[Fact], tuple[int, int]] = {
    PetitionSigned: (SIGNED << KIND, 1),
    SignatureWithdrawn: (WITHDRAWN << KIND, 2),
    SignatureVoided: (VOIDED << KIND, 2),
}
"""Code of the change without its region, and the version that it has where everything is usual."""
_NO_KIND = (0, 0)


NAME_SIZE = 16


def stream_name(stream: str) -> bytes:
    """16 bytes that stand for a stream's name: two names with the same would cost 2**64 hashes to find,
    and earn whoever finds them a finding."""
    return sha256(stream.encode()).digest()[:NAME_SIZE]


class Other(msgspec.Struct, array_like=True, gc=False):
    """An entry that is no usual signature, opened; where it stands in its bundle, instead of its bytes."""

    first: int
    size: int
    iss: str
    kid: str
    iat: int
    jti: str
    stream: str
    n: int
    type: str
    version: int
    facts: bytes
    digests: list[str]

    @classmethod
    def of(cls, event: Event, first: int) -> Other:
        """``first`` is the offset of the entry in its bundle."""
        facts = event.facts
        return cls(
            first, len(event.entry), event.iss, event.kid, event.iat, event.jti, event.stream, event.n,
            facts.type, facts.version, _encode(facts), sorted(event.digests),
        )  # fmt: skip

    def event(self, bundle: bytes) -> Event:
        """The event again."""
        return Event(
            self.iss, self.kid, self.iat, self.jti, self.stream, self.n,
            decode(self.type, self.version, self.facts), frozenset(self.digests),
            bundle[self.first : self.first + self.size],
        )  # fmt: skip


_encode = msgspec.json.Encoder().encode


class Checked(msgspec.Struct, array_like=True, gc=False):
    """What is known of a bundle's entries without what stands before them; one value for each entry."""

    reason: str
    """What is wrong with the bundle; those entries that could be cut out of it are here."""
    leaves: bytes
    """32 bytes each."""
    codes: bytes
    """Below :data:`OTHER`: kind and region of a signature given or removed, verified, whose version is the
    usual one. Else :data:`VERIFIED` and its neighbours, perhaps with :data:`ASKED`."""
    keys: bytes
    """16 bytes each: :func:`stream_name` of a signature's stream."""
    times: bytes
    """8 bytes each: ``iat`` of a signature."""
    petitions: list[str]
    """Streams of the petitions that are signed here."""
    petition_of: bytes
    """Index in ``petitions``."""
    issuers: list[tuple[str, str]]
    """``iss`` and ``kid`` of those who say that they were signed."""
    issuer_of: bytes
    """Index in ``issuers``."""
    others: list[Other]
    """One for each code from :data:`OTHER` on that is not :data:`MALFORMED`."""

    def __len__(self) -> int:
        return len(self.codes)


def check(data: bytes, width: int, skip: int, keys: Keys) -> Checked:
    """Check the entries of a bundle but the first ``skip``."""
    entries, reason = split_bundle(data, width)
    leaves: list[bytes] = []
    codes, petition_of, issuer_of = bytearray(), bytearray(), bytearray()
    names: list[bytes] = []
    times: list[int] = []
    petitions: dict[str, int] = {}
    issuers: dict[tuple[str, str], int] = {}
    others: list[Other] = []
    end = 0
    verifies, signature_of = keys.verifies, SIGNATURE_STREAM.fullmatch
    for number, entry in enumerate(entries):
        end += 2 + len(entry)
        if number < skip:
            continue
        leaves.append(leaf_hash(entry))
        name, iat, petition, issuer = _NO_NAME, 0, 0, 0
        try:
            event, signature, signed = open_signed(entry)
        except AiqynError:
            code = MALFORMED
        else:
            facts, stream = event.facts, event.stream
            verified = verifies(event.kid, signature, signed)
            kind, version = _KINDS.get(type(facts), _NO_KIND)
            found = signature_of(stream) if event.n == version and verified else None
            if found:
                code = kind if kind >= _REMOVED else REGION_INDEX[facts.region]  # type: ignore[attr-defined]
                name = stream_name(stream)
                iat = event.iat
                petition = petitions.setdefault(found[1], len(petitions))
                issuer = issuers.setdefault((event.iss, event.kid), len(issuers))
            else:
                code = UNKNOWN_KEY if verified is None else VERIFIED if verified else FORGED
                code |= ASKED if isinstance(facts, EvidenceAsked) else 0
                keys.learn_from(event)
                others.append(Other.of(event, end - len(entry)))
        codes.append(code)
        names.append(name)
        times.append(iat)
        petition_of.append(petition)
        issuer_of.append(issuer)
    return Checked(
        reason, b"".join(leaves), bytes(codes), b"".join(names), array("Q", times).tobytes(),
        [f"petition/{id_}" for id_ in petitions], bytes(petition_of), list(issuers), bytes(issuer_of), others,
    )  # fmt: skip


_NO_NAME = bytes(NAME_SIZE)


class Keys:
    """Public keys by their ids. Whether a key may issue something is not asked here."""

    def __init__(self) -> None:
        self._known: dict[str, VerifyingKey] = {}

    def learn(self, public_keys: Iterable[str]) -> None:
        """Keys in their text form; what is none is passed over."""
        for public_key in public_keys:
            try:
                key = VerifyingKey(public_key)
            except MalformedKeyError:
                continue
            self._known.setdefault(key.kid, key)

    def learn_from(self, event: Event) -> None:
        """Keys that are registered by an event; who says so is no matter, as an id is its key's own hash."""
        facts = event.facts
        if isinstance(facts, OrganisationKeyRegistered):
            self.learn([facts.key])
        elif isinstance(facts, OrganisationRegistered) and facts.root_key is not None:
            self.learn([facts.root_key])

    def verifies(self, kid: str, signature: bytes, signed: bytes) -> bool | None:
        """Whether the key of that id signed; None if it is not known here."""
        key = self._known.get(kid)
        return None if key is None else ed25519.verifies(key.raw, signature, signed)


def cut(row: bytes, size: int = HASH_SIZE) -> list[bytes]:
    """A row of hashes, or of whatever else has that size, one by one."""
    return [row[at : at + size] for at in range(0, len(row), size)]


def split_bundle(data: bytes, width: int) -> tuple[list[bytes], str]:
    """The first ``width`` entries of a bundle, and what is wrong with it (empty if nothing is).

    A full bundle may stand in for a partial one, which is its beginning. In a broken bundle the entries
    before the break are still evidence.
    """
    reason = ""
    try:
        return parse_bundle(data, width), reason
    except TileError as error:
        reason = str(error)
    entries: list[bytes] = []
    at = 0
    while at + 2 <= len(data) and len(entries) <= WIDTH:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            break
        entries.append(data[at + 2 : end])
        at = end
    if at == len(data) and len(entries) == WIDTH:
        reason = ""
    return entries[:width], reason
