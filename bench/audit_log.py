"""A log of a country's year, sealed and written as the files that a server shows: for auditing it.

Petitions collect most of the entries, appeals the rest; everything is lawful, and in the order of time.
Planning is one pass, because a threshold is announced with the position of the exact signature; sealing takes
all cores.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from bench.appeal_lives import OFFICE, OPERATOR, Happening, bodies, in_order, lives
from ledger import events
from ledger.domain import terms
from ledger.encoding import b64url, b64url_decode
from ledger.keys import SigningKey
from ledger.statement import Disclosure, seal
from ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from ledger.tlog.merkle import leaf_hash, root_from_leaves
from ledger.tlog.note import SignerKey
from ledger.tlog.tiles import WIDTH, bundle, entries_path, tile_path

ORIGIN = "bench.example/log"
YEAR = 2026
MODERATOR = "organisation/ministry-of-culture"
BODIES = 200
REGIONS = ("71", "75", "11", "39", None)
CHUNK = 2_000
REMOVED = 0.01
ROLES: tuple[events.Role, ...] = ("body", "registrar", "executor", "controller", "head")
NAMES = events.Names(kk="Мекеме", ru="Учреждение")


class Written(NamedTuple):
    """A log in a folder."""

    folder: Path
    vkey: str
    appeals: int
    """Entries that are about appeals."""
    keys: dict[str, bytes]
    """Public keys that seal, by their ids."""


class Log:
    """Writes entries as they come; may sign a checkpoint at any size, and go on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signer = SignerKey.generate(ORIGIN)
        self.leaves: list[bytes] = []
        self._pending: list[bytes] = []
        self._made: set[Path] = set()

    def extend(self, entries: Sequence[bytes]) -> None:
        """Append; full bundles are written at once."""
        self._pending += entries
        self.leaves += map(leaf_hash, entries)
        while len(self._pending) >= WIDTH:
            index = (len(self.leaves) - len(self._pending)) // WIDTH
            self._write(entries_path(index), bundle(self._pending[:WIDTH]))
            del self._pending[:WIDTH]

    def sign(self, size: int) -> None:
        """Tiles and checkpoint of the first ``size`` entries; the bundles are all written."""
        if self._pending:
            index = len(self.leaves) // WIDTH
            for width in {len(self._pending), size % WIDTH if size // WIDTH == index else 0} - {0}:
                self._write(entries_path(index, width), bundle(self._pending[:width]))
        row, level = self.leaves[:size], 0
        while row:
            for at in range(0, len(row), WIDTH):
                part = row[at : at + WIDTH]
                self._write(tile_path(level, at // WIDTH, len(part)), b"".join(part))
            row = [
                root_from_leaves(row[at : at + WIDTH]) for at in range(0, len(row) // WIDTH * WIDTH, WIDTH)
            ]
            level += 1
        if size // WIDTH < len(self.leaves) // WIDTH and size % WIDTH:
            whole = (self.folder / "log" / entries_path(size // WIDTH)).read_bytes()
            end = 0
            for _ in range(size % WIDTH):
                end += 2 + int.from_bytes(whole[end : end + 2], "big")
            self._write(entries_path(size // WIDTH, size % WIDTH), whole[:end])
        root = root_from_leaves(self.leaves[:size])
        self._write("checkpoint", sign_checkpoint(Checkpoint(ORIGIN, size, root), self.signer))

    def _write(self, path: str, data: bytes) -> None:
        file = self.folder / "log" / path
        if file.parent not in self._made:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(file.parent)
        file.write_bytes(data)


def write(folder: Path, size: int, *, appeals: float = 0.15) -> tuple[Log, Written]:
    """A log of ``size`` entries in ``folder/log``, about the part ``appeals`` of them about appeals."""
    log = Log(folder)
    keys = {stream: SigningKey.generate().seed() for stream in (OPERATOR, OFFICE, MODERATOR, *bodies(BODIES))}
    count = 0
    planned = islice(_counted(_plan(size, appeals, keys)), size)
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_hold, initargs=(keys,)) as sealers:
        waiting: list[Future[list[bytes]]] = []
        while True:
            while len(waiting) < 6 and (chunk := list(islice(planned, CHUNK))):
                count += sum(happening.facts.room == "appeal" for happening in chunk)
                waiting.append(sealers.submit(_sealed, chunk))
            if not waiting:
                break
            log.extend(waiting.pop(0).result())
    if len(log.leaves) != size:
        raise SystemExit(f"The year has only {len(log.leaves)} entries, not {size}.")
    signers = [SigningKey.from_seed(seed) for seed in (*keys.values(), _working(keys[OPERATOR]))]
    public = {signer.kid: b64url_decode(signer.public_key) for signer in signers}
    return log, Written(folder, str(log.signer.verifier), count, public)


# --- what happens ---------------------------------------------------------------------------------


def _plan(size: int, appeals: float, keys: dict[str, str]) -> Iterator[Happening]:
    # 5.8 events are an appeal's whole life; some are cut off by the end of the year.
    begun = int(size * appeals / 5.8) + 1
    number = max(2, size // 50_000)
    signed = int(size * (1.02 - appeals) / number / (1 + REMOVED)) + 60
    yield from _organisations(keys)
    petitions = [_petition(index, signed) for index in range(number)]
    yield from heapq.merge(
        in_order(lives(begun, bodies(BODIES), YEAR)), *petitions, key=lambda happening: happening.at
    )


def _organisations(keys: dict[str, str]) -> Iterator[Happening]:
    at = datetime(YEAR, 1, 2, 4, tzinfo=UTC)
    for stream, seed in keys.items():
        key = SigningKey.from_seed(seed).public_key
        kind: events.OrganisationKind = "central"
        roles: tuple[events.Role, ...] = ROLES
        if stream == OPERATOR:
            kind, roles = "operator", ("gateway", "clock")
        elif stream == OFFICE:
            kind, roles = "front-office", ("front-office",)
        elif stream == MODERATOR:
            kind, roles = "authorised-body", ("moderator",)
        facts = events.OrganisationRegistered(
            kind=kind, level="republic", names=NAMES, root_key=key if stream == OPERATOR else None
        )
        yield Happening(at, stream, 1, OPERATOR, facts)
        if stream == OPERATOR:  # its root key registers; another one works
            key = SigningKey.from_seed(_working(seed)).public_key
        yield Happening(
            at, stream, 2, OPERATOR,
            events.OrganisationKeyRegistered(key=key, roles=roles, custody="gateway"),
        )  # fmt: skip


def _petition(index: int, signatures: int) -> Iterator[Happening]:
    """Half of all begin in January; some people take their signature back."""
    chance = random.Random(index)  # noqa: S311
    id_ = f"00000000-0000-4000-8000-{index:012}"
    stream = f"petition/{id_}"
    at = datetime(YEAR, 1, 5, 4, tzinfo=UTC) + timedelta(minutes=chance.randint(0, 200_000))
    body = chance.choice(bodies(BODIES))
    yield Happening(
        at, stream, 1, OPERATOR,
        events.PetitionSubmitted(
            body=body, lang="kk", text_hash=hashlib.sha256(id_.encode()).hexdigest(),
            author=_person(index, 0), algorithm="RSA-SHA256", moderate_until=terms.moderate_until(at),
        ),
    )  # fmt: skip
    at += timedelta(days=2)
    needed = terms.petition_terms(at).limited_signatures
    facts = events.PetitionAdmitted(needed=needed, limited_until=terms.limited_until(at))
    yield Happening(at, stream, 2, MODERATOR, facts)
    for person in range(needed):
        at += timedelta(seconds=1)
        yield _signed(at, id_, index, person, chance)
    at += timedelta(seconds=1)
    until = terms.collect_until(at)
    yield Happening(at, stream, 3, OPERATOR, events.PetitionPublished(required=50_000, collect_until=until))
    # Most sign in the first days: the curve that a petition has.
    span = (min(until, datetime(YEAR, 12, 30, tzinfo=UTC)) - at).total_seconds() - 10
    moments = sorted(span * chance.random() ** 3 for _ in range(signatures - needed))
    for person, moment in enumerate(moments, needed):
        when = (at + timedelta(seconds=moment)).replace(microsecond=0)
        yield _signed(when, id_, index, person, chance)
        if chance.random() < REMOVED:
            facts_: events.Fact = events.SignatureWithdrawn(algorithm="RSA-SHA256")
            yield Happening(when, f"signature/{id_}/{_person(index, person)}", 2, OPERATOR, facts_)


def _person(petition: int, person: int) -> str:
    return b64url(hashlib.sha256(b"%d %d" % (petition, person)).digest())


def _signed(at: datetime, id_: str, index: int, person: int, chance: random.Random) -> Happening:
    facts = events.PetitionSigned(
        lang=chance.choice(("kk", "ru")),  # type: ignore[arg-type]
        algorithm="RSA-SHA256",
        region=chance.choice(REGIONS),  # type: ignore[arg-type]
    )
    return Happening(at, f"signature/{id_}/{_person(index, person)}", 1, OPERATOR, facts)


def _counted(planned: Iterator[Happening]) -> Iterator[Happening]:
    """With support announced behind the very signature that reached the threshold."""
    counts: dict[str, int] = {}
    position = 0
    for happening in planned:
        yield happening
        position += 1
        room, _, rest = happening.stream.partition("/")
        if room != "signature":
            continue
        petition = rest.partition("/")[0]
        counts[petition] = counts.get(petition, 0) + (1 if happening.n == 1 else -1)
        if counts[petition] == 50_000 and happening.n == 1:
            counts[petition] += 10**9  # once
            facts = events.PetitionSupported(required=50_000, reached_at=position - 1)
            yield Happening(happening.at, f"petition/{petition}", 4, OPERATOR, facts)
            position += 1


# --- sealing, in processes of its own -------------------------------------------------------------

_held: dict[str, SigningKey] = {}


def _working(seed: str) -> str:
    return b64url(hashlib.sha256(seed.encode()).digest())


def _hold(seeds: dict[str, str]) -> None:
    _held.update({stream: SigningKey.from_seed(seed) for stream, seed in seeds.items()})
    _held["works"] = SigningKey.from_seed(_working(seeds[OPERATOR]))


def _sealed(chunk: Sequence[Happening]) -> list[bytes]:
    found = []
    for at, stream, n, iss, facts in chunk:
        made = [Disclosure.make(name, "мәтін") for name in sorted(facts.public | facts.restricted)]
        key = _held["works" if iss == OPERATOR and facts.room != "organisation" else iss]
        found.append(seal(facts, iss=iss, stream=stream, n=n, at=at, key=key, disclosures=made).entry)
    return found
