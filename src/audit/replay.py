"""The replay: from entry 0 to a signed checkpoint, every hash, every signature, every rule.

A replay can be carried on to a later checkpoint of the same log. That the log only grew in between needs
no proof then: the later root is computed over the leaves that were seen, the old ones included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from audit.bundles import Bundle, Opened, bundles, verifies
from audit.findings import Finding, Findings
from audit.history import History
from audit.rules import Rulebook
from audit.source import NotServedError, OversizedError, Source, cut_tile, read_tile
from audit.tree import Tree
from ledger.errors import AiqynError
from ledger.keys import MalformedKeyError, UnauthorisedIssuerError
from ledger.statement import Event
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.tiles import WIDTH, TileError, TilePath, root_from_tiles, split_tile, tile_width


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
    ) -> None:
        self.history = History(operator)
        self._source = source
        self._findings = findings
        self._rulebook = rulebook or Rulebook()
        self._on_progress = on_progress
        # One tree over what the entries hash to, one over what the log says they hash to: where they
        # differ, the signed root tells which of the two was changed.
        self._entries = Tree()
        self._tiles = Tree()
        self._differs: list[tuple[int, int, str, str]] = []
        self.broken_off: str | None = None
        """Why the replay could not reach the checkpoint, if so."""

    @property
    def size(self) -> int:
        """Entries replayed so far."""
        return self._entries.size

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
        for bundle in bundles(self._source, start, checkpoint.size, self.history.directory.key):
            self._take(bundle, known)
            self._on_progress(Progress(self.size, checkpoint.size, len(self._findings)))
            if bundle.entries_fault is not None:
                rule, reason = bundle.entries_fault
                last = bundle.first + bundle.expected - 1
                missing = min(bundle.first + len(bundle.entries), last)
                self._find(rule, reason, missing, last)
                self.broken_off = (
                    f"Only the first {self.size} of {checkpoint.size} entries could be replayed. {reason}"
                )
                break
        self._check_tiles_above(start, checkpoint.size)
        self._check_root(checkpoint)

    # --- hashes ------------------------------------------------------------------------------

    def _take(self, bundle: Bundle, known: Mapping[int, bytes]) -> None:
        if bundle.tile_fault is not None:
            rule, reason = bundle.tile_fault
            self._find(rule, reason, bundle.first, bundle.first + bundle.expected - 1)
        leaves = bundle.leaves
        said = bundle.hashes or leaves
        for at, (leaf, hashed) in enumerate(zip(leaves, said, strict=False)):
            if leaf != hashed:
                self._differs.append((bundle.first + at, bundle.first + at, leaf.hex(), hashed.hex()))
                self._join_differences()
        cuts = sorted(
            {size - bundle.first for size in known if bundle.first < size <= bundle.first + len(leaves)}
        )
        done = 0
        for cut in (*cuts, len(leaves)):
            self._entries.extend(leaves[done:cut])
            self._tiles.extend(said[done:cut])
            done = cut
            if self.size in known and known[self.size] not in (self._entries.root(), self._tiles.root()):
                self._find(
                    "fork",
                    f"A root that was seen for the first {self.size} entries is not theirs: "
                    "the log does not continue what was published before.",
                    0,
                    self.size - 1,
                    seen=known[self.size].hex(),
                    recomputed=self._entries.root().hex(),
                )
        for at, opened in enumerate(bundle.entries):
            self._replay(bundle.first + at, opened)

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
            self._find("tile-missing", reason, first, first + tile.width * span - 1)
            return
        except TileError as error:
            self._find("tile-malformed", f"{tile.path}: {error}.", first, first + tile.width * span - 1)
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

    def _replay(self, position: int, opened: Opened) -> None:
        event = opened.event
        if isinstance(event, AiqynError):
            self._find("entry-format", str(event), position)
            return
        try:
            key = self.history.directory.authorise(event)
        except (UnauthorisedIssuerError, MalformedKeyError) as error:
            self._find("issuer", str(error), position, event=event)
            return
        if not (verifies(event, key) if opened.verified is None else opened.verified):
            self._find(
                "event-signature",
                f"Event {event.n} of {event.stream} is not signed by the key it names.",
                position,
                event=event,
            )
            return
        lawful = True
        for rule, reason in self._rulebook.broken(position, event, self.history):
            self._find(rule.name, reason, position, event=event)
            lawful = lawful and not rule.annuls
        self.history.apply(position, event, lawful=lawful)

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


def known_roots(checkpoints: Iterable[Checkpoint]) -> dict[int, bytes]:
    """Roots by size, without the empty tree, which every log grew from."""
    return {checkpoint.size: checkpoint.root for checkpoint in checkpoints if checkpoint.size}
