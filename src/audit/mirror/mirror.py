"""A mirror from round to round: believe a checkpoint, copy, check, fold, compare.

What the log signs must never contradict what it signed before. Everything else that is wrong is kept as a
finding and stops nothing but itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from audit.findings import Finding
from audit.mirror.authentic import Authentic, Own, first_difference
from audit.mirror.checking import Checker
from audit.mirror.comparing import Ask, Compared, Comparison
from audit.mirror.copying import BUNDLES, COPYING_RULES, Copier
from audit.mirror.disclosing import Disclosures
from audit.mirror.errors import ContradictionError, UnverifiedError
from audit.mirror.folding import Folding
from audit.mirror.progress import OnProgress
from audit.mirror.store import Store
from audit.mirror.trust import Trust
from audit.rules import Rule
from audit.source import NotServedError, Source, SourceError, read_checkpoint
from ledger.store.reader import LogReader
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.errors import TlogError
from ledger.tlog.merkle import EMPTY_ROOT, frontier_at
from ledger.tlog.note import MAX_NOTE_BYTES
from ledger.tlog.policy import QuorumError
from ledger.tlog.tiles import WIDTH

log = logging.getLogger(__name__)

BACKOFF_SECONDS = (1.0, 60.0)
CHECKPOINT_RULES = ("checkpoint", "quorum")


@dataclass(frozen=True)
class Options:
    """What a person may choose."""

    compare_limit: int = 1000
    """Most published answers in one comparison; 0 for none."""
    compare_every: timedelta = timedelta(hours=1)
    poll: float = 10.0
    """Seconds between two looks at the log; each new checkpoint is kept, of some thousand bytes."""
    patience: float = 10.0
    """Seconds for which a log may show an older checkpoint than before: a cache may still have it."""
    more_rules: Iterable[Rule] = ()


class Round(NamedTuple):
    """What one round brought."""

    size: int
    """Entries of the log that are here, under a signed checkpoint."""
    copied: int
    """Entries of this round."""
    compared: Compared | None
    clean: bool
    """Whether nothing that was ever found still holds."""
    undisclosed: str | None
    """Why what is public beside the entries could not be had, if so."""


class Mirror:
    """Keeps one copy. Not to be shared between threads; close it."""

    def __init__(
        self,
        store: Store,
        source: Source,
        trust: Trust,
        *,
        ask: Ask | None = None,
        options: Options | None = None,
        on_progress: OnProgress = lambda _: None,
    ) -> None:
        """``store`` was begun for this log. ``ask`` answers from the copy; without it nothing is compared."""
        self._store = store
        self._source = source
        self._trust = trust
        self._ask = ask
        self._options = options or Options()
        self._on_progress = on_progress
        self._reader = LogReader(store.url, pool_size=2)
        self._disclosures = Disclosures(store, source, on_progress)
        self._copier = Copier(store, source, self._disclosures, on_progress)
        self._checker = Checker(store, on_progress, self._options.more_rules)
        self._folding = Folding(store, on_progress)
        self._folding.renew()

    def close(self) -> None:
        """Let go of the connections."""
        self._checker.close()
        self._reader.close()

    # --- rounds ---------------------------------------------------------------------------------------

    def follow(self, stop: threading.Event, on_round: Callable[[Round], None]) -> None:
        """Round after round until ``stop`` is set; a log that does not answer is asked again.

        Raises :class:`ContradictionError`.
        """
        shortest, longest = BACKOFF_SECONDS
        pause = shortest
        while not stop.is_set():
            try:
                done = self.round()
            except (SourceError, UnverifiedError) as error:
                log.warning("%s To be tried again in %.0f s.", error, pause)
                stop.wait(pause)
                pause = min(pause * 2, longest)
                continue
            pause = shortest
            on_round(done)
            if done.copied < BUNDLES * WIDTH:
                stop.wait(self._options.poll)

    def round(self, *, compare: bool | None = None) -> Round:
        """Bring the copy to the log's newest checkpoint, check it, fold it, and compare what is published.

        ``compare``: whether to, rather than when it is time for it. Raises :class:`ContradictionError`,
        :class:`UnverifiedError`, or :class:`audit.source.SourceError`.
        """
        copied = self._copy()
        checkpoint = self._newest()
        self._disclosures.fill_up()
        self._disclosures.settle()
        compared = None
        if checkpoint is not None:
            self._checker.advance(checkpoint)
            self._folding.to(checkpoint.size - 1)
            if self._is_time_to_compare() if compare is None else compare:
                compared = self._compare()
        newest = self._newest()
        if newest is not None:
            self._folding.to(newest.size - 1)
        return Round(
            newest.size if newest else 0, copied, compared, self._store.is_clean(), self._disclosures.fault
        )

    # --- copying --------------------------------------------------------------------------------------

    def _copy(self) -> int:
        """Copy what the newest checkpoint has; returns how many entries that were."""
        note, checkpoint = self._believed()
        head = self._store.head()
        if checkpoint.size == 0:
            return 0
        copied = 0
        if checkpoint.size > head.size:
            found: list[Finding] = []
            try:
                tree = Authentic(self._source, checkpoint, found.append, self._own())
                self._check_growth(note, checkpoint, tree)
                self._store.saw(note)
                copied = self._copier.copy(checkpoint, tree, found)
            except UnverifiedError:
                for finding in found:
                    self._store.find(finding, blocking=True)
                raise
            self._store.over(COPYING_RULES)
            for finding in found:
                self._store.find(finding)
        else:
            self._store.saw(note)
        self._store.complete(checkpoint, note, cosigned=self._trust.policy is not None)
        return copied

    def _newest(self) -> Checkpoint | None:
        """The newest checkpoint whose tree is whole here."""
        seen = self._store.origin.seen
        if seen is None:
            return None
        checkpoint = self._trust.recall(seen)
        return checkpoint if 0 < checkpoint.size <= self._store.head().size else None

    def _own(self) -> Own:
        return Own(self._store.head().size, self._reader.tile)

    # --- believing ------------------------------------------------------------------------------------

    def _believed(self) -> tuple[bytes, Checkpoint]:
        """The log's newest checkpoint, signed as it must be, and as far as that can be told without its tree
        no contradiction."""
        end = time.monotonic() + self._options.patience
        while True:
            note, checkpoint = self._read()
            seen = self._store.origin.seen
            if seen is None:
                return note, checkpoint
            before = self._trust.recall(seen)
            if checkpoint.size > before.size:
                return note, checkpoint
            if checkpoint.size == before.size:
                if checkpoint.root != before.root:
                    self._contradict_fork(seen, before, note, checkpoint)
                return note, checkpoint
            head = self._store.head().size
            if checkpoint.size <= head and self._own_root(checkpoint.size) != checkpoint.root:
                self._contradict_fork(seen, before, note, checkpoint)
            if time.monotonic() > end:
                self._contradict_rollback(seen, before, note, checkpoint)
            time.sleep(1)

    def _read(self) -> tuple[bytes, Checkpoint]:
        note = read_checkpoint(self._source)
        try:
            checkpoint = self._trust.open(note)
        except TlogError as error:
            rule = "quorum" if isinstance(error, QuorumError) else "checkpoint"
            reason = f"The log's checkpoint does not verify: {error}."
            evidence: dict[str, str | int | None] = {"note": note.decode("utf-8", "replace")}
            self._store.find(Finding(rule=rule, reason=reason, evidence=evidence), blocking=True)
            raise UnverifiedError(f"{self._source.name}: {reason}") from error
        self._store.over(CHECKPOINT_RULES)
        return note, checkpoint

    def _own_root(self, size: int) -> bytes:
        return frontier_at(size, self._reader.read_node(size)).root() if size else EMPTY_ROOT

    def _check_growth(self, note: bytes, checkpoint: Checkpoint, tree: Authentic) -> None:
        """That the new tree contains what was believed before, and what was copied of it so far."""
        head = self._store.head()
        seen = self._store.origin.seen
        if seen is None:
            return
        before = self._trust.recall(seen)
        if tree.frontier(head.size) != head or (
            before.size and tree.frontier(before.size).root() != before.root
        ):
            self._contradict_fork(seen, before, note, checkpoint, tree)

    def _contradict_fork(
        self, seen: bytes, before: Checkpoint, note: bytes, after: Checkpoint, tree: Authentic | None = None
    ) -> None:
        """Keep both notes, name the first entry that differs where that can be told, and stop."""
        own = self._own()
        position = None
        try:
            tree = tree or Authentic(self._source, after, lambda _: None, own)
            position = first_difference(tree, own, min(own.size, after.size))
        except (UnverifiedError, SourceError, TlogError):
            pass  # the two notes are proof enough
        where = f"; entry {position} is the first that differs" if position is not None else ""
        said = (
            f"The log signed two histories: {before.size} entries with root {before.root.hex()}, and "
            f"{after.size} entries with root {after.root.hex()}, which do not continue each other{where}."
        )
        self._store.contradict("fork", said, seen, note)
        last = None if position is None else min(own.size, after.size) - 1
        evidence: dict[str, str | int | None] = {
            "before": seen.decode("utf-8", "replace"), "after": note.decode("utf-8", "replace"),
        }  # fmt: skip
        self._store.find(Finding(rule="fork", reason=said, position=position, last=last, evidence=evidence))
        raise ContradictionError(said, position=position)

    def _contradict_rollback(self, seen: bytes, before: Checkpoint, note: bytes, after: Checkpoint) -> None:
        said = (
            f"The log went back: it signed {before.size} entries, and shows {after.size} now. "
            f"Entries {after.size} to {before.size - 1} are missing there."
        )
        self._store.contradict("rollback", said, seen, note)
        evidence: dict[str, str | int | None] = {
            "before": seen.decode("utf-8", "replace"), "after": note.decode("utf-8", "replace"),
        }  # fmt: skip
        self._store.find(
            Finding(
                rule="log-shrank", reason=said, position=after.size, last=before.size - 1, evidence=evidence
            )
        )
        raise ContradictionError(said, position=after.size)

    # --- comparing ------------------------------------------------------------------------------------

    def _is_time_to_compare(self) -> bool:
        last = self._store.origin.compared_at
        return last is None or datetime.now(UTC) - last >= self._options.compare_every

    def _compare(self) -> Compared | None:
        if self._ask is None or not self._options.compare_limit:
            return None
        comparison = Comparison(
            self._store,
            self._source,
            self._ask,
            self._folding,
            self._copy_up_to,
            self._signed,
            self._on_progress,
        )
        compared = comparison.run(self._options.compare_limit)
        self._store.set(compared_at=datetime.now(UTC), compared=compared.answers)
        return compared

    def _copy_up_to(self, position: int) -> bool:
        """Bring the copy beyond a position; False where the log, as it is believed here, ends before."""
        if position >= self._store.head().size:
            self._copy()
            checkpoint = self._newest()
            if checkpoint is not None:
                self._checker.advance(checkpoint)
        return position < self._store.head().size

    def _signed(self) -> int:
        """Size of the newest checkpoint that the log's key signed, whether it was cosigned or not."""
        try:
            note = self._source.read("v1/log/checkpoint", MAX_NOTE_BYTES)
        except NotServedError:
            note = read_checkpoint(self._source)
        try:
            return self._trust.recall(note).size
        except TlogError:
            return 0
