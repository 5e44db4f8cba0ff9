"""The law replayed over the copy: every signature, every issuer, every rule, and every hash once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from audit.findings import Finding, Findings
from audit.mirror.progress import OnProgress, Progress
from audit.mirror.store import Store
from audit.replay import Progress as Step
from audit.replay import Replay
from audit.rules import Rule, Rulebook
from audit.source import NotServedError, OversizedError
from audit.state import fingerprint
from ledger.store.reader import LogReader, NotInLogError
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.merkle import frontier_at
from ledger.tlog.tiles import TileError, parse_tile_path

SAVED_EVERY = 200_000
"""Entries after which a replay is saved; it is saved at the end as well."""


class CopySource:
    """The copy's own database, read as if it were served."""

    name = "this copy"
    parallel = 4

    def __init__(self, url: str) -> None:
        self._reader = LogReader(url, pool_size=self.parallel)

    def read(self, path: str, limit: int) -> bytes:
        """The checkpoint, a tile or a bundle."""
        try:
            if path == "log/checkpoint":
                data = self._reader.checkpoint()
            else:
                tile = parse_tile_path(path.removeprefix("log/"))
                if tile.level is None:
                    data = self._reader.entry_bundle(tile.index, tile.width)
                else:
                    data = self._reader.tile(tile.level, tile.index, tile.width)
        except (NotInLogError, TileError) as error:
            raise NotServedError(f"{path} is not in this copy: {error}", path=path) from error
        if len(data) > limit:
            raise OversizedError(f"{path} has more than {limit} bytes.", path=path)
        return data

    def root(self, size: int) -> bytes:
        """Over the first ``size`` entries."""
        return frontier_at(size, self._reader.read_node(size)).root()

    def close(self) -> None:
        """Give the connections back."""
        self._reader.close()


class Checker:
    """Replays what was copied, and goes on from where the last one was saved, if the rules are the same."""

    def __init__(self, store: Store, on_progress: OnProgress, more_rules: Iterable[Rule] = ()) -> None:
        self._store = store
        self._on_progress = on_progress
        self._source = CopySource(store.url)
        rules = tuple(more_rules)
        self._judged_by = f"{fingerprint()} {','.join(rule.name for rule in rules)}"
        self._replay = Replay(
            self._source,
            _Kept(partial(store.find, replayed=True)),
            rulebook=Rulebook(rules),
            on_progress=self._tell,
        )
        self._saved = self._total = 0
        self._load()

    def advance(self, checkpoint: Checkpoint) -> None:
        """Replay up to a checkpoint whose tree is whole here; findings are kept as they are made."""
        if self._replay.size == 0:
            self._store.replay_anew()
        self._total = checkpoint.size
        while self._replay.size < checkpoint.size and self._replay.broken_off is None:
            size = min(self._replay.size + SAVED_EVERY, checkpoint.size)
            root = checkpoint.root if size == checkpoint.size else self._source.root(size)
            self._replay.advance(Checkpoint(checkpoint.origin, size, root))
            self._store.set(replayed=self._replay.size)
            if self._replay.size - self._saved >= SAVED_EVERY:
                self._save()

    def close(self) -> None:
        """Save what is known, and let go of the connections."""
        if self._replay.size > self._saved:
            self._save()
        self._source.close()

    def _save(self) -> None:
        if self._replay.broken_off is None:
            state = msgspec.msgpack.encode(self._replay.dump())
            self._store.save_replay(self._judged_by, self._replay.size, self._replay.root(), state)
            self._saved = self._replay.size

    def _load(self) -> None:
        saved = self._store.saved_replay(self._judged_by)
        if saved is None:
            return
        size, root, state = saved
        if 0 < size <= self._store.head().size and self._source.root(size) == root:
            self._replay.load(msgspec.msgpack.decode(state, type=dict[str, Any]))
            self._saved = size

    def _tell(self, step: Step) -> None:
        self._on_progress(Progress("replaying", step.done, self._total))


class _Kept(Findings):
    """Findings that are written down at once."""

    def __init__(self, keep: Callable[[Finding], object]) -> None:
        super().__init__()
        self._keep = keep

    def add(self, finding: Finding) -> None:
        """One more."""
        super().add(finding)
        self._keep(finding)
