"""A log whose entries a test chooses, with the RFC's own recursive definitions; and forks of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256

from ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from ledger.tlog.note import ML_DSA_44, SignerKey
from ledger.tlog.witness import AddCheckpoint


@cache
def _root(leaves: tuple[bytes, ...]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + _root(leaves[:k]) + _root(leaves[k:])).digest()


def _subproof(m: int, leaves: tuple[bytes, ...], known: bool) -> tuple[bytes, ...]:
    if m == len(leaves):
        return () if known else (_root(leaves),)
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if m <= k:
        return (*_subproof(m, leaves[:k], known), _root(leaves[k:]))
    return (*_subproof(m - k, leaves[k:], False), _root(leaves[:k]))


@dataclass(frozen=True)
class SmallLog:
    """A signed log; ``fork(at)`` is what its dishonest operator signs beside it from that entry on."""

    entries: tuple[bytes, ...]
    origin: str = "log.example/petitions"
    seed: bytes = bytes(range(32))
    key: SignerKey = field(init=False)
    pq: SignerKey = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "key", SignerKey.from_seed(self.origin, self.seed))
        object.__setattr__(self, "pq", SignerKey.from_seed(self.origin, self.seed[::-1], ML_DSA_44))

    @classmethod
    def of(cls, size: int, origin: str = "log.example/petitions", seed: bytes = bytes(range(32))) -> SmallLog:
        return cls(tuple(b"entry %d" % i for i in range(size)), origin, seed)

    def fork(self, at: int) -> SmallLog:
        changed = tuple(b"forged" + entry for entry in self.entries[at:])
        return SmallLog(self.entries[:at] + changed, self.origin, self.seed)

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(self.origin, size, _root(self.entries[:size]))

    def note(self, size: int, *, pq: bool = False) -> bytes:
        keys = (self.key, self.pq) if pq else (self.key,)
        return sign_checkpoint(self.checkpoint(size), *keys, timestamp=1_700_000_000 if pq else 0)

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        return _subproof(old, self.entries[:new], True) if 0 < old < new else ()

    def request(self, old: int, new: int, *, pq: bool = False) -> bytes:
        return AddCheckpoint(old, self.proof(old, new), self.note(new, pq=pq)).to_bytes()
