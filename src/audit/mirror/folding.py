"""The public tables, folded by the same code, and compared with every digest that the operator committed.

Folding stops at each position that a ``projection.committed`` names, and there the tables must be the same,
bit by bit. A digest of a position that was passed before its event arrived is compared with tables that are
folded once more, from the first entry on, beside the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from audit.findings import Finding
from audit.mirror.entries import opened
from audit.mirror.progress import OnProgress, Progress
from audit.mirror.store import Store
from ledger.events import ProjectionCommitted
from projections import ALL
from projections.base import Projection
from projections.batch import UnreadableEntryError
from projections.beside import RebuildRunningError
from projections.digest import Digest, digest, published
from projections.positions import status
from projections.rebuild import digests_at, rebuild
from projections.runner import Runner, StandstillError

PUBLIC = published(ALL)
_BY_NAME = {projection.name: projection for projection in PUBLIC}
STEP = 20_000
"""Entries between two words about how far it is."""

_COMMITTED = """
    SELECT e.position, e.entry FROM ledger.entries e
    WHERE e.stream > 'projection/' AND e.stream < 'projection0'
      AND NOT EXISTS (SELECT FROM mirror.digests d WHERE d.position = e.position)
    ORDER BY e.position"""
Outcome = Literal["same", "different", "not-compared"]


class Commitment(NamedTuple):
    """A digest that the operator committed."""

    position: int
    """Of the event."""
    name: str
    facts: ProjectionCommitted


class Folding:
    """Moves this mirror's own tables on."""

    def __init__(self, store: Store, on_progress: OnProgress) -> None:
        self._store = store
        self._on_progress = on_progress
        self._runner = Runner(store.url, PUBLIC)

    @property
    def position(self) -> int:
        """Where the tables stand; -1 before the first entry. One that stands still does not count."""
        found = status(self._store.connection, PUBLIC)
        moving = [one.position for one in found if one.error is None]
        return min(moving, default=max(one.position for one in found))

    def renew(self) -> None:
        """Fold anew what was folded by another version of the program.

        Raises :class:`projections.beside.RebuildRunningError`.
        """
        found = status(self._store.connection, PUBLIC)
        if old := [_BY_NAME[one.name] for one in found if one.version != one.program]:
            rebuild(self._store.url, old, progress=self._tell)

    def to(self, target: int) -> None:
        """Fold up to position ``target``, comparing what is committed on the way."""
        passed = []
        for commitment in sorted(self._committed(), key=lambda c: c.facts.as_of):
            if (reason := _incomparable(commitment)) is not None:
                self._settle(commitment, "not-compared", reason)
            elif commitment.facts.as_of >= commitment.position:
                self._differ(commitment, None)
            elif commitment.facts.as_of > target:
                continue
            elif commitment.facts.as_of < self.position:
                passed.append(commitment)
            else:
                self._fold(commitment.facts.as_of)
                self._compare(commitment)
        self._fold(target)
        self._compare_passed(passed)

    # --- folding --------------------------------------------------------------------------------------

    def _fold(self, target: int) -> None:
        start = self.position
        for end in (*range(start + STEP, target, STEP), target):
            if end <= start:
                continue
            try:
                self._runner.catch_up(end)
            except StandstillError:
                self._tell_standstill()
            self._tell(end, target)

    def _tell(self, position: int, target: int) -> None:
        self._on_progress(Progress("folding", position + 1, target + 1))

    def _tell_standstill(self) -> None:
        for one in status(self._store.connection, PUBLIC):
            if one.error is not None:
                self._store.find(
                    Finding(
                        rule="projection-standstill",
                        reason=f"Projection {one.name} cannot be folded on: {one.error}",
                        position=one.error_position,
                    )
                )

    # --- comparing ------------------------------------------------------------------------------------

    def _committed(self) -> Iterator[Commitment]:
        """Those that were not looked at yet."""
        for position, entry in self._store.connection.execute(_COMMITTED).fetchall():
            event = opened(bytes(entry))
            if event is not None and isinstance(event.facts, ProjectionCommitted):
                yield Commitment(position, event.stream.split("/")[1], event.facts)

    def _compare(self, commitment: Commitment) -> None:
        found = digest(self._store.connection, _BY_NAME[commitment.name])
        if found.position != commitment.facts.as_of:
            self._settle(commitment, "not-compared", f"the copy's own tables stand at {found.position}")
        else:
            self._judge(commitment, found)

    def _compare_passed(self, passed: Sequence[Commitment]) -> None:
        if not passed:
            return
        wanted = [(_BY_NAME[commitment.name], commitment.facts.as_of) for commitment in passed]
        found = digests_at(self._store.url, wanted, progress=self._tell)
        try:
            for commitment, one in zip(passed, found, strict=True):
                self._judge(commitment, one)
        except RebuildRunningError:
            return  # somebody verifies or rebuilds: the next round looks again
        except UnreadableEntryError as error:
            for commitment in passed:
                self._settle(commitment, "not-compared", str(error))

    def _judge(self, commitment: Commitment, found: Digest) -> None:
        if found.sha256 == commitment.facts.digest:
            self._settle(commitment, "same", found.sha256)
        else:
            self._differ(commitment, found.sha256)

    def _differ(self, commitment: Commitment, ours: str | None) -> None:
        facts = commitment.facts
        said = (
            f"the log up to there gives {ours}"
            if ours
            else "which does not stand before the entry that says so"
        )
        self._store.find(
            Finding(
                rule="projection-digest",
                reason=f"The operator committed that projection {commitment.name} has the digest "
                f"{facts.digest} as of {facts.as_of}; {said}.",
                position=commitment.position,
                evidence={
                    "projection": commitment.name,
                    "as_of": facts.as_of,
                    "committed": facts.digest,
                    "rebuilt": ours,
                },
            )
        )
        self._settle(commitment, "different", ours or "")

    def _settle(self, commitment: Commitment, outcome: Outcome, said: str) -> None:
        self._store.connection.execute(
            "INSERT INTO mirror.digests (position, name, as_of, outcome, said) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [commitment.position, commitment.name, commitment.facts.as_of, outcome, said],
        )


def _incomparable(commitment: Commitment) -> str | None:
    """Why this program cannot say anything about a digest."""
    projection: Projection | None = _BY_NAME.get(commitment.name)
    if projection is None:
        return "this program knows no public projection of that name: upgrade it"
    if projection.version != commitment.facts.fold:
        return (
            f"it is of version {commitment.facts.fold} of the fold, this program has {projection.version}: "
            "use the operator's version"
        )
    return None
