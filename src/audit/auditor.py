"""One audit from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from audit import published
from audit.compare import compare
from audit.findings import Finding, Findings
from audit.published import Listing, LogInfo, MalformedAnswerError, Numbers
from audit.replay import OnProgress, Replay, known_roots
from audit.report import Report
from audit.rules import Rule, Rulebook
from audit.source import Source, SourceError, open_source, read_checkpoint
from ledger.errors import AiqynError
from ledger.tlog.checkpoint import Checkpoint, open_checkpoint
from ledger.tlog.errors import TlogError
from ledger.tlog.note import VerifierKey


class NoLogKeyError(AiqynError):
    """Without the log's key nothing can be verified."""

    code = "log-key-missing"
    title = "The log's key is not known"


class _BrokenOffError(Exception):
    """What was found makes it pointless to go on."""


def run(
    place: Source | str | Path,
    *,
    log_key: str | VerifierKey | None = None,
    known: Iterable[bytes] = (),
    more_rules: Iterable[Rule] = (),
    progress: OnProgress = lambda _: None,
) -> Report:
    """Audit the log at an address, in a folder or in a source of your own.

    ``log_key`` is the log's vkey, got from somewhere else than the log; ``known`` are signed checkpoints
    that were seen earlier, which the log must still contain; ``more_rules`` are your own.

    Never raises for what is wrong with the log or its server: the report says it. Raises
    :class:`ledger.tlog.note.NoteError` for a malformed key.
    """
    key = VerifierKey.parse(log_key) if isinstance(log_key, str) else log_key
    started, clock = datetime.now(UTC), time.monotonic()
    audit = _Audit(Rulebook(more_rules), progress, key)
    stopped: str | None = None
    name = str(getattr(place, "name", place))
    try:
        source = open_source(place) if isinstance(place, str | Path) else place
        name = source.name
        try:
            audit.run(source, known)
        finally:
            if isinstance(place, str | Path):
                source.close()
    except (SourceError, NoLogKeyError) as error:
        stopped = str(error)
    except _BrokenOffError:
        pass
    return audit.report(name, started, time.monotonic() - clock, stopped)


@dataclass(slots=True)
class _Audit:
    rulebook: Rulebook
    progress: OnProgress
    key: VerifierKey | None
    findings: Findings = field(default_factory=Findings)
    warnings: list[str] = field(default_factory=list)
    replay: Replay | None = None
    checkpoint: Checkpoint | None = None
    signed_checkpoint: bytes = b""
    pinned: bool = True
    compared: int = 0

    def run(self, source: Source, known: Iterable[bytes]) -> None:
        """Numbers first, then a checkpoint: then the log is longer than what was counted."""
        info = self._info(source)
        key = self._choose_key(info)
        listing, numbers = self._listed(source)
        roots = known_roots(self._seen(known, key))
        if info is not None and info.size:
            roots.setdefault(info.size, info.root_hash)
        replay = self.replay = Replay(
            source,
            self.findings,
            operator=info.operator if info else None,
            rulebook=self.rulebook,
            on_progress=self.progress,
        )
        replay.advance(self._read_checkpoint(source, key), roots)
        if listing is None:
            self.warnings.append("No numbers are published here: nothing was compared with the recount.")
            return
        numbers += self._unlisted(source, replay, listing)
        if max((said.as_of for said in numbers), default=-1) >= replay.size:
            replay.advance(self._read_checkpoint(source, key))  # the log grew meanwhile
        self._compare(replay, numbers)

    def _info(self, source: Source) -> LogInfo | None:
        try:
            info = published.log_info(source)
            if info is not None:
                _ = info.root_hash
        except MalformedAnswerError as error:
            self._find("published-malformed", str(error))
            return None
        return info

    def _choose_key(self, info: LogInfo | None) -> VerifierKey:
        if self.key is not None:
            if info is not None and info.vkey != str(self.key):
                self._find(
                    "log-key",
                    "The operator names another key of its log than the one this audit was given.",
                    published=info.vkey,
                    given=str(self.key),
                )
            return self.key
        if info is None:
            raise NoLogKeyError("The log's key is not known: give it with --log-key.")
        self.pinned = False
        self.warnings.append(
            "The log's key was taken from the very server that is audited, so a false log passes as well: "
            f"compare {info.vkey} with a copy from elsewhere, and give it with --log-key."
        )
        try:
            self.key = VerifierKey.parse(info.vkey)
        except TlogError as error:
            self._find("published-malformed", f"/v1/log names a key that is none: {error}.")
            raise _BrokenOffError from error
        return self.key

    def _seen(self, known: Iterable[bytes], key: VerifierKey) -> Iterator[Checkpoint]:
        for data in known:
            try:
                yield open_checkpoint(data, key).checkpoint
            except TlogError as error:
                raise SourceError(
                    f"The checkpoint that you saw earlier is not one of this log: {error}."
                ) from error

    def _listed(self, source: Source) -> tuple[Listing | None, list[Numbers]]:
        """The public list, and the numbers on it and on the listed petitions' own pages."""
        try:
            listing = published.listed(source)
            if listing is None:
                return None, []
            pages = published.petitions(source, dict.fromkeys(n.id for n in listing.numbers))
            return listing, listing.numbers + [numbers for _, numbers in pages if numbers is not None]
        except MalformedAnswerError as error:
            self._find("published-malformed", str(error))
            return None, []

    def _read_checkpoint(self, source: Source, key: VerifierKey) -> Checkpoint:
        data = read_checkpoint(source)
        try:
            checkpoint = open_checkpoint(data, key).checkpoint
        except TlogError as error:
            self._find("checkpoint", f"The log's checkpoint does not verify: {error}.")
            raise _BrokenOffError from error
        self.checkpoint, self.signed_checkpoint = checkpoint, data
        return checkpoint

    def _unlisted(self, source: Source, replay: Replay, listing: Listing) -> list[Numbers]:
        """Petitions that the log knows and the list does not show: limited ones have a page of their own."""
        shown = {numbers.id for numbers in listing.numbers}
        others = {
            petition: recount
            for stream, recount in replay.history.petitions.items()
            if (petition := stream.removeprefix("petition/")) not in shown
        }
        for petition, recount in others.items():
            if recount.published_at is not None and recount.published_at <= listing.as_of:
                self._find(
                    "published-list",
                    f"Petition {petition} was published at position {recount.published_at}, but the public "
                    f"list as of {listing.as_of} leaves it out.",
                    position=recount.published_at,
                    petition=petition,
                )
        try:
            return [found for _, found in published.petitions(source, others) if found is not None]
        except MalformedAnswerError as error:
            self._find("published-malformed", str(error))
            return []

    def _compare(self, replay: Replay, numbers: list[Numbers]) -> None:
        compared = set()
        for said in numbers:
            if said.as_of < replay.size:
                compared.add(said.id)
                for finding in compare(said, replay.history.petitions.get(f"petition/{said.id}")):
                    self.findings.add(finding)
            elif self.checkpoint is not None and said.as_of >= self.checkpoint.size:
                self._find(
                    "log-size",
                    f"The numbers of petition {said.id} count up to position {said.as_of}, "
                    f"but the signed log ends at {self.checkpoint.size - 1}.",
                    position=said.as_of,
                )
        self.compared = len(compared)

    def _find(
        self, rule: str, reason: str, *, position: int | None = None, **evidence: str | int | None
    ) -> None:
        self.findings.add(Finding(rule=rule, reason=reason, position=position, evidence=evidence))

    def report(self, name: str, started: datetime, seconds: float, stopped: str | None) -> Report:
        """What came out of it."""
        history = self.replay.history if self.replay else None
        broken_off = self.replay.broken_off if self.replay else None
        return Report(
            source=name,
            started=started,
            seconds=round(seconds, 3),
            log_key=str(self.key) if self.key else None,
            log_key_pinned=self.key is not None and self.pinned,
            origin=self.checkpoint.origin if self.checkpoint else None,
            size=self.checkpoint.size if self.checkpoint else None,
            root=self.checkpoint.root.hex() if self.checkpoint else None,
            checkpoint=self.signed_checkpoint.decode() if self.checkpoint else None,
            replayed=self.replay.size if self.replay else 0,
            events=history.events if history else 0,
            organisations=history.organisations if history else 0,
            petitions=len(history.petitions) if history else 0,
            signatures=sum(p.count for p in history.petitions.values()) if history else 0,
            compared=self.compared,
            findings=self.findings.kept(),
            omitted=self.findings.omitted(),
            warnings=self.warnings,
            stopped=stopped or broken_off,
        )
