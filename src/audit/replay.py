"""The replay: from entry 0 to a signed checkpoint, every hash, every signature, every rule.

A replay can be carried on to a later checkpoint of the same log. That the log only grew in between needs
no proof then: the later root is computed over the leaves that were seen, the old ones included.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from audit.bundles import Bundle, Checker, bundles, open_entry
from audit.checking import ASKED, FORGED, KIND, MALFORMED, NAME_SIZE, OTHER, VERIFIED, Keys, check, cut
from audit.findings import Finding, Findings
from audit.history import History
from audit.rules import Rulebook
from audit.source import NotServedError, OversizedError, Source, cut_tile, read_tile
from audit.tree import Tree
from audit.workers import Workers
from ledger.errors import AiqynError
from ledger.events import (
    Fact,
    OrganisationKeyRegistered,
    OrganisationRegistered,
    PetitionSigned,
    Role,
    SignatureVoided,
    SignatureWithdrawn,
)
from ledger.keys import MalformedKeyError, UnauthorisedIssuerError, VerifyingKey
from ledger.statement import Event, SignatureInvalidError
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.merkle import frontier_at
from ledger.tlog.tiles import WIDTH, TileError, TilePath, node_reader, root_from_tiles, split_tile, tile_width

PROCESSES_FROM = 20_000
"""Entries from which on it is worth while to start processes that check them: a third of a second each."""
_ISSUERS: tuple[frozenset[Role], ...] = (
    PetitionSigned.issuers,
    SignatureWithdrawn.issuers,
    SignatureVoided.issuers,
)
"""Who may say that a signature was given, withdrawn, voided."""


class Progress(NamedTuple):
    """How far a replay is."""

    done: int
    """Entries replayed."""
    total: int
    findings: int


OnProgress = Callable[[Progress], None]


class Replay:
    """The state of one audit; :meth:`advance` moves it on."""

    def __init__(
        self,
        source: Source,
        findings: Findings,
        *,
        operator: str | None = None,
        rulebook: Rulebook | None = None,
        on_progress: OnProgress = lambda _: None,
        processes: int | None = None,
    ) -> None:
        """``processes`` check long logs; by default as many as there are cores, none where there is one."""
        self.history = History(operator)
        self._source = source
        self._findings = findings
        self._rulebook = rulebook or Rulebook()
        self._on_progress = on_progress
        cores = os.cpu_count() or 1
        self._processes = (cores if cores > 1 else 0) if processes is None else processes
        self._keys = Keys()
        self._public_keys: list[str] = []
        self._workers: Workers | None = None
        # One tree over what the entries hash to, one over what the log says they hash to: where they
        # differ, the signed root tells which of the two was changed.
        # As long as they never differed, they are one.
        self._entries = self._tiles = Tree()
        self._differs: list[tuple[int, int, str, str]] = []
        self.broken_off: str | None = None
        """Why the replay could not reach the checkpoint, if so."""

    @property
    def size(self) -> int:
        """Entries replayed so far."""
        return self._entries.size

    def root(self) -> bytes:
        """Root over the entries replayed so far."""
        return self._entries.root()

    # --- from one audit to the next --------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Everything that is known of the past, as plain data."""
        return {
            "entries": self._entries.dump(),
            "tiles": None if self._tiles is self._entries else self._tiles.dump(),
            "history": self.history.dump(),
            "public_keys": self._public_keys,
        }

    def load(self, dumped: dict[str, Any]) -> None:
        """Take over what :meth:`dump` gave: go on from there."""
        self.history.load(dumped["history"])
        self._entries.load(dumped["entries"])
        if dumped["tiles"] is not None:
            self._tiles = Tree()
            self._tiles.load(dumped["tiles"])
        self._public_keys = dumped["public_keys"]
        self._keys.learn(self._public_keys)

    def contains_earlier(self, checkpoint: Checkpoint) -> bool:
        """Whether the tree that a checkpoint signs for begins with the entries replayed so far.

        As far as the log's tiles at its right edge tell: True where they cannot be read, because then the
        replay will say so.
        """
        if not 0 < self.size <= checkpoint.size:
            return True
        if checkpoint.size == self.size:
            return checkpoint.root in (self._entries.root(), self._tiles.root())

        def read(level: int, index: int, width: int) -> bytes:
            return cut_tile(read_tile(self._source, TilePath(level, index, width)), width)

        try:
            frontier = frontier_at(self.size, node_reader(read, checkpoint.size))
            if root_from_tiles(read, checkpoint.size) != checkpoint.root:
                return True  # these tiles are not what was signed: no proof of anything
        except (TileError, NotServedError, OversizedError):
            return True
        return frontier.root() in (self._entries.root(), self._tiles.root())

    # --- forward ---------------------------------------------------------------------------------

    def advance(self, checkpoint: Checkpoint, known: Mapping[int, bytes] | None = None) -> None:
        """Replay up to ``checkpoint``, whose signature was verified.

        ``known`` are roots by tree size that were seen elsewhere: the log must have grown from each of
        them. Raises :class:`audit.source.SourceError` where the log fails to answer.
        """
        if self.broken_off is not None:
            return
        start, known = self.size, known or {}
        if (before := max(start, *known, 0)) > checkpoint.size:
            self._find("log-shrank", f"The log has {checkpoint.size} entries now; it had {before} before.")
        if checkpoint.size < start:
            return
        with ExitStack() as stack:
            checker = self._checker(checkpoint.size - start, stack)
            for bundle in bundles(self._source, start, checkpoint.size, checker):
                self._take(bundle, known)
                self._on_progress(Progress(self.size, checkpoint.size, len(self._findings)))
                if bundle.entries_fault is not None:
                    rule, reason = bundle.entries_fault
                    last = bundle.first + bundle.expected - 1
                    missing = min(bundle.first + len(bundle), last)
                    path = TilePath(None, bundle.first // WIDTH, bundle.width).path
                    self._find(rule, reason, missing, last, path=path)
                    self.broken_off = (
                        f"Only the first {self.size} of {checkpoint.size} entries could be replayed. {reason}"
                    )
                    break
        self._check_tiles_above(start, checkpoint.size)
        self._check_root(checkpoint)

    def _checker(self, entries: int, stack: ExitStack) -> Checker:
        """Checks bundles in processes where there is much to do, else in the threads that read them."""
        if self._processes and entries >= PROCESSES_FROM:
            workers = self._workers = stack.enter_context(Workers(self._processes, self._public_keys))
            stack.callback(setattr, self, "_workers", None)
            return workers.check
        return lambda data, width, skip: check(data, width, skip, self._keys)

    # --- hashes ------------------------------------------------------------------------------

    def _take(self, bundle: Bundle, known: Mapping[int, bytes]) -> None:
        if bundle.tile_fault is not None:
            rule, reason = bundle.tile_fault
            path = TilePath(0, bundle.first // WIDTH, bundle.width).path
            self._find(rule, reason, bundle.first, bundle.first + bundle.expected - 1, path=path)
        hashes = bundle.checked.leaves
        said = bundle.hashes or hashes
        leaves = cut(hashes)
        same = hashes == said
        tiles = leaves if same else cut(said)
        if not same:
            if self._tiles is self._entries:
                self._tiles = self._entries.copy()
            for at, (leaf, hashed) in enumerate(zip(leaves, tiles, strict=False), bundle.first):
                if leaf != hashed:
                    self._differs.append((at, at, leaf.hex(), hashed.hex()))
                    self._join_differences()
        asked = {at + 1 for at, code in enumerate(bundle.checked.codes) if code >= OTHER and code & ASKED}
        seen = {size - bundle.first for size in known if bundle.first < size <= bundle.first + len(leaves)}
        done = 0
        for end in (*sorted(seen | asked), len(leaves)):
            self._entries.extend(leaves[done:end])
            if self._tiles is not self._entries:
                self._tiles.extend(tiles[done:end])
            done = end
            if end in asked:
                self.history.assurance.root(self.size - 1, self._entries.root())
            if end in seen and known[self.size] not in (self._entries.root(), self._tiles.root()):
                self._find(
                    "fork",
                    f"A root that was seen for the first {self.size} entries is not theirs: "
                    "the log does not continue what was published before.",
                    0,
                    self.size - 1,
                    seen=known[self.size].hex(),
                    recomputed=self._entries.root().hex(),
                )
        self._replay_all(bundle)

    def _join_differences(self) -> None:
        # Everything behind a lost or added entry differs: that is one fact, not a million.
        if len(self._differs) > 1 and self._differs[-2][1] + 1 == self._differs[-1][0]:
            first, _, leaf, hashed = self._differs[-2]
            self._differs[-2:] = [(first, self._differs[-1][1], leaf, hashed)]

    def _report_differences(self, guilty: str) -> None:
        for first, last, leaf, hashed in self._differs:
            what = f"Entry {first} does" if first == last else f"Entries {first} to {last} do"
            self._find(
                "entry-hash",
                f"{what} not hash to what the log's tile holds; {guilty}.",
                first,
                last,
                leaf=leaf,
                tile=hashed,
            )
        self._differs.clear()

    def _check_tiles_above(self, start: int, size: int) -> None:
        """Each hash of level 1 and above is the root over the 256 hashes below it."""
        level = 1
        while size >> (8 * level):
            for index in range((start >> (8 * level)) // WIDTH, ((size >> (8 * level)) + WIDTH - 1) // WIDTH):
                self._check_tile(TilePath(level, index, tile_width(level, index, size)))
            level += 1

    def _check_tile(self, tile: TilePath) -> None:
        level = tile.level or 0
        span = 256**level
        first = tile.index * WIDTH * span
        try:
            hashes = split_tile(cut_tile(read_tile(self._source, tile), tile.width), tile.width)
        except (NotServedError, OversizedError) as error:
            reason = f"The hash tile cannot be had: {error}"
            self._find("tile-missing", reason, first, first + tile.width * span - 1, path=tile.path)
            return
        except TileError as error:
            last = first + tile.width * span - 1
            self._find("tile-malformed", f"{tile.path}: {error}.", first, last, path=tile.path)
            return
        # Where the replay broke off, there are fewer hashes to compare with.
        for at, (served, below) in enumerate(zip(hashes, self._tiles.hashes(tile), strict=False)):
            if served != below:
                self._find(
                    "tile-hash",
                    f"Hash {at} of {tile.path} is not the root over the tile below it: "
                    "this hash, or those entries with their hashes, were rewritten.",
                    first + at * span,
                    first + (at + 1) * span - 1,
                    path=tile.path,
                    served=served.hex(),
                    recomputed=below.hex(),
                )

    def _check_root(self, checkpoint: Checkpoint) -> None:
        entries: bytes | None = None
        if self.broken_off is not None:
            tiles = self._root_of_tiles(checkpoint.size)
        else:
            entries, tiles = self._entries.root(), self._tiles.root()
        if tiles == checkpoint.root:
            guilty = (
                "the signed checkpoint vouches for the tile, so the entry was changed after it was logged"
            )
        elif entries == checkpoint.root:
            guilty = "the signed checkpoint vouches for the entry, so the tile is wrong"
        else:
            guilty = "either the entry or the tile was changed after it was logged"
        self._report_differences(guilty)
        if checkpoint.root not in (entries, tiles):
            recomputed = entries or tiles
            self._find(
                "tree-root",
                f"The log's files do not make the root that the log signed for {checkpoint.size} entries: "
                "entries were changed, added, removed or put in another order after they were logged.",
                0 if checkpoint.size else None,
                checkpoint.size - 1 if checkpoint.size else None,
                signed=checkpoint.root.hex(),
                recomputed=recomputed.hex() if recomputed else None,
            )

    def _root_of_tiles(self, size: int) -> bytes | None:
        """What the hash tiles at the log's right edge make; None if they cannot be read."""

        def read(level: int, index: int, width: int) -> bytes:
            return cut_tile(read_tile(self._source, TilePath(level, index, width)), width)

        try:
            return root_from_tiles(read, size)
        except (TileError, NotServedError, OversizedError):
            return None

    # --- events ------------------------------------------------------------------------------

    def _replay_all(self, bundle: Bundle) -> None:
        checked, history = bundle.checked, self.history
        usual = history.usual if self._rulebook.usual() else None
        petitions = [history.petitions.get(stream) for stream in checked.petitions]
        may = [self._may(issuer) for issuer in checked.issuers]
        others = iter(checked.others)
        columns = zip(
            range(bundle.first, bundle.first + len(checked)),
            checked.codes,
            checked.petition_of,
            checked.issuer_of,
            array("Q", checked.times),
            cut(checked.keys, NAME_SIZE),
            strict=True,
        )
        for position, code, petition_at, issuer_at, iat, key in columns:
            if code < OTHER and usual is not None:
                petition = petitions[petition_at]
                if (
                    petition is not None
                    and may[issuer_at][code >> KIND]
                    and usual(position, code, key, petition, iat)
                ):
                    continue
            if code < OTHER or code == MALFORMED:
                event = open_entry(bundle.raw[position - bundle.first]).event
            else:
                event = next(others).event(bundle.data)
            room = self._replay(position, event, VERIFIED if code < OTHER else code & ~ASKED)
            if room in ("organisation", "petition"):  # one may be new, or a key revoked
                petitions = [history.petitions.get(stream) for stream in checked.petitions]
                may = [self._may(issuer) for issuer in checked.issuers]

    def _may(self, issuer: tuple[str, str]) -> tuple[bool, bool, bool]:
        """Whether this key may say, in this name, that a signature was given, withdrawn, voided."""
        roles = self.history.directory.roles(*issuer)
        given, withdrawn, voided = _ISSUERS
        return bool(roles & given), bool(roles & withdrawn), bool(roles & voided)

    def _replay(self, position: int, event: Event | AiqynError, code: int) -> str | None:
        """The room of an event that was folded; None if it was not."""
        if isinstance(event, AiqynError):
            self._find("entry-format", str(event), position)
            return None
        try:
            key = self.history.directory.authorise(event)
        except (UnauthorisedIssuerError, MalformedKeyError) as error:
            self._find("issuer", str(error), position, event=event)
            self.history.pass_over(position, event)
            return None
        if code == FORGED or (code != VERIFIED and not signed_by(event, key)):
            self._find(
                "event-signature",
                f"Event {event.n} of {event.stream} is not signed by the key it names.",
                position,
                event=event,
            )
            self.history.pass_over(position, event)
            return None
        lawful = True
        for rule, reason in self._rulebook.broken(position, event, self.history):
            self._find(rule.name, reason, position, event=event)
            lawful = lawful and not rule.annuls
        self.history.apply(position, event, lawful=lawful)
        room = event.facts.room
        if lawful and room == "organisation":
            self._learn(event.facts)
        return room

    def _learn(self, facts: Fact) -> None:
        """Keys that whoever checks bundles does not know yet."""
        key = None
        if isinstance(facts, OrganisationKeyRegistered):
            key = facts.key
        elif isinstance(facts, OrganisationRegistered):
            key = facts.root_key
        if key is not None:
            self._public_keys.append(key)
            self._keys.learn([key])
            if self._workers is not None:
                self._workers.learn(key)

    def _find(
        self,
        rule: str,
        reason: str,
        position: int | None = None,
        last: int | None = None,
        event: Event | None = None,
        **evidence: str | int | None,
    ) -> None:
        if event is not None:
            evidence |= {"stream": event.stream, "n": event.n, "type": event.facts.type, "kid": event.kid}
        self._findings.add(Finding(rule=rule, reason=reason, position=position, last=last, evidence=evidence))


def signed_by(event: Event, key: VerifyingKey) -> bool:
    """Whether the event is signed by that key."""
    try:
        event.verify(key)
    except SignatureInvalidError:
        return False
    return True


def known_roots(checkpoints: Iterable[Checkpoint]) -> dict[int, bytes]:
    """Roots by size, without the empty tree, which every log grew from."""
    return {checkpoint.size: checkpoint.root for checkpoint in checkpoints if checkpoint.size}
