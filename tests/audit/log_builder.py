"""A small real log for tests: organisations, keys, petitions, signatures, tiles, a signed checkpoint.

Events are sealed with real keys; nothing checks whether they are allowed, so that a test can write
history that no honest service would.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from ledger import events
from ledger.domain import terms
from ledger.encoding import b64url
from ledger.keys import SigningKey
from ledger.statement import Disclosure, Event, seal
from ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from ledger.tlog.merkle import GrowingTree, leaf_hash, root_from_leaves
from ledger.tlog.note import SignerKey
from ledger.tlog.tiles import TilePath, bundle, tiles_for_size

ORIGIN = "ledger.example/log"
OPERATOR, MODERATOR, BODY = "organisation/operator", "organisation/ministry", "organisation/akimat"
NAMES = events.Names(kk="Мекеме", ru="Организация")
BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CROWD = 48
"""People without a region who sign every petition in its limited stage, behind those that a test names: the
law wants fifty. Thresholds are given without them."""
REQUIRED = 6


def petition_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def nullifier(person: int) -> str:
    return b64url(hashlib.sha256(b"person %d" % person).digest())


@dataclass
class LogBuilder:
    log_key: SignerKey = field(default_factory=lambda: SignerKey.generate(ORIGIN))
    entries: list[bytes] = field(default_factory=list)
    now: datetime = BEGIN
    versions: dict[str, int] = field(default_factory=dict)
    root: SigningKey = field(default_factory=SigningKey.generate)
    gateway: SigningKey = field(default_factory=SigningKey.generate)
    clock: SigningKey = field(default_factory=SigningKey.generate)
    moderator: SigningKey = field(default_factory=SigningKey.generate)
    body: SigningKey = field(default_factory=SigningKey.generate)
    disclosed: dict[int, tuple[Disclosure, ...]] = field(default_factory=dict)
    population: int = 100 * (CROWD + REQUIRED)
    """Of the akimat; one in a hundred is its threshold."""

    @property
    def next(self) -> datetime:
        """When the next event will be."""
        return self.now + timedelta(seconds=1)

    @property
    def vkey(self) -> str:
        return str(self.log_key.verifier)

    @property
    def size(self) -> int:
        return len(self.entries)

    def issuer(self, facts: events.Fact) -> tuple[str, SigningKey]:
        (role,) = facts.issuers
        return {
            "operator": (OPERATOR, self.root),
            "gateway": (OPERATOR, self.gateway),
            "clock": (OPERATOR, self.clock),
            "moderator": (MODERATOR, self.moderator),
            "body": (BODY, self.body),
        }[role]

    def seal(
        self,
        stream: str,
        facts: events.Fact,
        *,
        n: int | None = None,
        iss: str | None = None,
        key: SigningKey | None = None,
        at: datetime | None = None,
    ) -> tuple[Event, tuple[Disclosure, ...]]:
        self.now += timedelta(seconds=1)
        usual_iss, usual_key = self.issuer(facts)
        disclosures = tuple(
            Disclosure.make(name, f"invented {name}") for name in sorted(facts.public | facts.restricted)
        )
        sealed = seal(
            facts,
            iss=iss or usual_iss,
            stream=stream,
            n=self.versions.get(stream, 0) + 1 if n is None else n,
            at=at or self.now,
            key=key or usual_key,
            disclosures=disclosures,
        )
        return sealed, disclosures

    def add(self, stream: str, facts: events.Fact, **how) -> int:
        """Append one event; its position."""
        sealed, disclosures = self.seal(stream, facts, **how)
        self.versions[stream] = max(self.versions.get(stream, 0), sealed.n)
        self.disclosed[self.size] = disclosures
        self.entries.append(sealed.entry)
        return self.size - 1

    # --- chapters of a usual history ---------------------------------------------------------

    def begin(self) -> LogBuilder:
        """The operator, the authorised body and one akimat, with their keys."""
        self.add(
            OPERATOR,
            events.OrganisationRegistered(
                kind="operator", level="republic", names=NAMES, root_key=self.root.public_key
            ),
        )
        self.register_key(OPERATOR, self.gateway, "gateway")
        self.register_key(OPERATOR, self.clock, "clock")
        for stream, kind, level, population, key, role in (
            (MODERATOR, "authorised-body", "republic", None, self.moderator, "moderator"),
            (BODY, "akimat", "oblast", self.population, self.body, "body"),
        ):
            facts = events.OrganisationRegistered(kind=kind, level=level, names=NAMES, population=population)
            self.add(stream, facts)
            self.register_key(stream, key, role)
        return self

    def register_key(self, stream: str, key: SigningKey, *roles: events.Role) -> int:
        return self.add(
            stream, events.OrganisationKeyRegistered(key=key.public_key, roles=roles, custody="gateway")
        )

    def submit(self, petition: int) -> int:
        return self.add(
            f"petition/{petition_id(petition)}",
            events.PetitionSubmitted(
                body=BODY,
                lang="kk",
                text_hash=hashlib.sha256(b"text").hexdigest(),
                author=nullifier(0),
                algorithm="RSA-SHA256",
                moderate_until=terms.moderate_until(self.next),
            ),
        )

    def admit(self, petition: int, needed: int = 50) -> int:
        return self.add(
            f"petition/{petition_id(petition)}",
            events.PetitionAdmitted(needed=needed, limited_until=terms.limited_until(self.next)),
        )

    def publish(self, petition: int, required: int = REQUIRED) -> int:
        population = 100 * (CROWD + required)
        if population != self.population:
            self.population = population
            facts = events.OrganisationPopulationRecorded(population=population, counted_on=self.now.date())
            self.add(BODY, facts)
        return self.add(
            f"petition/{petition_id(petition)}",
            events.PetitionPublished(
                required=CROWD + required,
                collect_until=terms.collect_until(self.next),
                population=population,
            ),
        )

    def sign(self, petition: int, person: int, region: str | None = None, **how) -> int:
        return self.add(
            f"signature/{petition_id(petition)}/{nullifier(person)}",
            events.PetitionSigned(lang="kk", algorithm="RSA-SHA256", region=region),
            **how,
        )

    def withdraw(self, petition: int, person: int, **how) -> int:
        return self.add(
            f"signature/{petition_id(petition)}/{nullifier(person)}",
            events.SignatureWithdrawn(algorithm="RSA-SHA256"),
            **how,
        )

    def void(self, petition: int, person: int, **how) -> int:
        return self.add(
            f"signature/{petition_id(petition)}/{nullifier(person)}",
            events.SignatureVoided(reason="forged"),
            **how,
        )

    def step(self, petition: int, facts: events.Fact, **how) -> int:
        return self.add(f"petition/{petition_id(petition)}", facts, **how)

    def support(self, petition: int, reached_at: int, required: int = REQUIRED) -> int:
        facts = events.PetitionSupported(required=CROWD + required, reached_at=reached_at)
        return self.step(petition, facts)

    def end(self, petition: int, count: int, as_of: int, required: int = REQUIRED) -> int:
        facts = events.PetitionNotSupported(count=CROWD + count, required=CROWD + required, as_of=as_of)
        return self.step(petition, facts)

    def limited(self, petition: int, people: Sequence[int] = (1, 2)) -> LogBuilder:
        """A petition that enough people signed to be published."""
        self.submit(petition)
        self.admit(petition)
        for person in people:
            self.sign(petition, person, "71")
        for person in range(CROWD):
            self.sign(petition, 100_000 + person)
        return self

    def collecting(
        self, petition: int, people: Sequence[int] = (1, 2), required: int = REQUIRED
    ) -> LogBuilder:
        """A petition up to its publication."""
        self.limited(petition, people)
        self.publish(petition, required)
        return self

    def usual(self) -> LogBuilder:
        """Two petitions: one supported with removals in between, one in its limited stage."""
        self.begin().collecting(1)
        self.sign(1, 3, "75")
        self.sign(1, 4)
        self.withdraw(1, 3)
        self.sign(1, 5, "75")
        self.void(1, 1)
        self.sign(1, 6)
        self.sign(1, 7)
        self.reached = self.sign(1, 8, "10")
        self.sign(1, 9, "10")
        self.support(1, self.reached)
        self.submit(2)
        self.admit(2)
        self.sign(2, 1, "79")
        return self

    # --- the log's files ---------------------------------------------------------------------

    def tree(self, entries: Sequence[bytes] | None = None) -> GrowingTree:
        tree = GrowingTree()
        tree.extend(map(leaf_hash, self.entries if entries is None else entries))
        return tree

    def checkpoint(self, size: int | None = None) -> bytes:
        size = self.size if size is None else size
        root = root_from_leaves(map(leaf_hash, self.entries[:size]))
        return sign_checkpoint(Checkpoint(ORIGIN, size, root), self.log_key)

    def write(self, folder: Path, entries: Sequence[bytes] | None = None, *, sign: bool = True) -> Path:
        """All files as a server would show them, under ``folder/log``."""
        entries = self.entries if entries is None else entries
        write_tiles(folder, entries)
        if sign:
            root = root_from_leaves(map(leaf_hash, entries))
            note = sign_checkpoint(Checkpoint(ORIGIN, len(entries), root), self.log_key)
            (folder / "log" / "checkpoint").write_bytes(note)
        return folder


def write_tiles(folder: Path, entries: Sequence[bytes]) -> None:
    shutil.rmtree(folder / "log" / "tile", ignore_errors=True)
    (folder / "log").mkdir(parents=True, exist_ok=True)
    for tile in tiles_for_size(len(entries)):
        file = folder / "log" / tile.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(tile_bytes(tile, entries))


def tile_bytes(tile: TilePath, entries: Sequence[bytes]) -> bytes:
    first = tile.index * 256
    if tile.level is None:
        return bundle(entries[first : first + tile.width])
    span = 256**tile.level
    return b"".join(
        root_from_leaves(map(leaf_hash, entries[at * span : (at + 1) * span]))
        for at in range(first, first + tile.width)
    )


def info(builder: LogBuilder) -> dict:
    return {
        "origin": ORIGIN,
        "vkey": builder.vkey,
        "operator": OPERATOR,
        "size": builder.size,
        "root": root_from_leaves(map(leaf_hash, builder.entries)).hex(),
    }


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args, answers, asked, **how) -> None:
        self.answers, self.asked = answers, asked
        super().__init__(*args, **how)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.asked.append(self.path)
        answer = self.answers.get(self.path, self.answers.get(path))
        if callable(answer):
            answer = answer()
        if isinstance(answer, int):
            self.send_error(answer)
        elif answer is not None:
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        else:
            super().do_GET()

    def log_message(self, *_) -> None:
        pass


@dataclass
class Server:
    url: str
    answers: dict
    """Path → JSON value, bytes, a status, or a function that gives one; other paths are files."""
    asked: list[str]


@contextmanager
def serving(folder: Path, answers: dict | None = None) -> Iterator[Server]:
    """A real HTTP server on the loopback interface."""
    answers, asked = answers if answers is not None else {}, []
    handler = partial(_Handler, directory=str(folder), answers=answers, asked=asked)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{server.server_port}", answers, asked)
        finally:
            server.shutdown()
            thread.join()
