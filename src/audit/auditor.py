"""One audit from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from audit import plugins, published, state
from audit.compare import compare
from audit.findings import Finding, Findings, repeat
from audit.growth import growth
from audit.published import Listing, LogInfo, MalformedAnswerError, Numbers
from audit.replay import OnProgress, Replay, known_roots
from audit.report import CURVES, Asked, Cosigned, Report
from audit.rules import BEFORE_RULES, Rule, Rulebook
from audit.source import NotServedError, Source, SourceError, open_source, read_checkpoint, read_newest
from audit.state import State, StateError
from ledger.errors import AiqynError
from ledger.tlog.checkpoint import Checkpoint, open_checkpoint
from ledger.tlog.errors import TlogError
from ledger.tlog.note import VerifierKey
from ledger.tlog.policy import Policy, QuorumError


class NoLogKeyError(AiqynError):
    """Without the log's key nothing can be verified."""

    code = "log-key-missing"
    title = "The log's key is not known"


class _BrokenOffError(Exception):
    """What was found makes it pointless to go on."""


Key = str | VerifierKey


def run(
    place: Source | str | Path,
    *,
    log_key: Key | Sequence[Key] | None = None,
    known: Iterable[bytes] = (),
    policy: Policy | None = None,
    state_file: Path | None = None,
    more_rules: Iterable[Rule] = (),
    use_plugins: bool = True,
    processes: int | None = None,
    progress: OnProgress = lambda _: None,
) -> Report:
    """Audit the log at an address, in a folder or in a source of your own.

    ``log_key`` is the log's vkey, got from somewhere else than the log, or several, each of which must have
    signed; ``known`` are signed checkpoints that were seen earlier, which the log must still contain;
    ``policy`` asks for the cosignatures of a quorum. With ``state_file`` the audit goes on where the one
    before it ended, and leaves its own state there. ``more_rules`` are your own, beside those that are
    installed (:mod:`audit.plugins`) unless ``use_plugins`` is false. ``processes`` check long logs: by
    default one for each core.

    Never raises for what is wrong with the log, its server or the state: the report says it. Raises
    :class:`ledger.tlog.note.NoteError` for a malformed key.
    """
    keys = _keys(log_key)
    started, clock = datetime.now(UTC), time.monotonic()
    installed, warnings = plugins.installed() if use_plugins else ([], [])
    audit = _Audit(
        Rulebook((*installed, *more_rules)), progress, keys, policy, state_file, processes, warnings
    )
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
    except (SourceError, NoLogKeyError, StateError) as error:
        stopped = str(error)
    except _BrokenOffError:
        pass
    return audit.report(name, started, time.monotonic() - clock, stopped)


def _keys(given: Key | Sequence[Key] | None) -> list[VerifierKey]:
    several = [given] if isinstance(given, str | VerifierKey) else given or ()
    parsed = (VerifierKey.parse(key) if isinstance(key, str) else key for key in several)
    return list(dict.fromkeys(parsed))


@dataclass(slots=True)
class _Audit:
    rulebook: Rulebook
    progress: OnProgress
    keys: list[VerifierKey]
    policy: Policy | None
    state_file: Path | None
    processes: int | None
    warnings: list[str]
    findings: Findings = field(default_factory=Findings)
    replay: Replay | None = None
    checkpoint: Checkpoint | None = None
    signed_checkpoint: bytes = b""
    cosigned: Cosigned | None = None
    pinned: bool = True
    compared: int = 0
    resumed_at: int = 0

    def run(self, source: Source, known: Iterable[bytes]) -> None:
        """Numbers first, then a checkpoint: then the log is longer than what was counted."""
        before = self._earlier()
        info = self._info(source)
        self._choose_keys(info)
        if before is not None:
            self._check_same_log(before)
        listing, numbers = self._listed(source)
        roots = known_roots(self._seen(known))
        if info is not None and info.size:
            roots.setdefault(info.size, info.root_hash)
        replay = Replay(
            source,
            self.findings,
            operator=info.operator if info else None,
            rulebook=self.rulebook,
            on_progress=self.progress,
            processes=self.processes,
        )
        if before is not None:
            state.load(replay, before)
            self.findings.load(before.findings, before.counts)
            self.resumed_at = before.size
        self.replay = replay
        cosigned, newest = self._read_checkpoints(source)
        if cosigned is not None and cosigned.size:
            roots.setdefault(cosigned.size, cosigned.root)
        if before is not None:
            self._check_growth(before, newest, replay)
        replay.advance(newest, roots)
        if listing is None:
            self.warnings.append("No numbers are published here: nothing was compared with the recount.")
        else:
            numbers += self._unlisted(source, replay, listing)
            if max((said.as_of for said in numbers), default=-1) >= replay.size:
                replay.advance(self._read_checkpoints(source)[1])  # the log grew meanwhile
            self._compare(replay, numbers)
        self._keep(replay)

    # --- the audit before this one -----------------------------------------------------------------

    def _earlier(self) -> State | None:
        if self.state_file is None or (before := state.read(self.state_file)) is None:
            return None
        if not self.keys:
            self.keys = [VerifierKey.parse(key) for key in before.log_keys]
            self.pinned = before.pinned
        own = [rule.name for rule in self.rulebook.own()]
        if before.own_rules != own:
            raise StateError(
                f"{self.state_file} was written by an audit with other rules of its own "
                f"({', '.join(before.own_rules) or 'none'}) than this one ({', '.join(own) or 'none'}): "
                f"what they would have found is not known. {state.ANEW}"
            )
        return before

    def _check_same_log(self, before: State) -> None:
        if set(before.log_keys) != {str(key) for key in self.keys}:
            raise StateError(
                f"{self.state_file} is the state of the log {before.origin} under the key "
                f"{' and '.join(before.log_keys)}, not of this one: give this log's state, or a new file."
            )

    def _check_growth(self, before: State, newest: Checkpoint, replay: Replay) -> None:
        """That the log continues what the audit before this one saw."""
        evidence: dict[str, str | int | None] = {
            "before": before.checkpoint.decode(), "after": self.signed_checkpoint.decode(),
        }  # fmt: skip
        if newest.size < before.size:
            self._find(
                "log-shrank",
                f"The log has {newest.size} entries now; it had {before.size} at the audit before this one.",
                position=newest.size,
                last=before.size - 1,
                **evidence,
            )
            raise _BrokenOffError
        if not replay.contains_earlier(newest):
            self._find(
                "fork",
                f"The log does not continue the {before.size} entries that the audit before this one saw: "
                "two checkpoints that it signed contradict each other.",
                position=0,
                last=before.size - 1,
                **evidence,
            )
            raise _BrokenOffError

    def _keep(self, replay: Replay) -> None:
        """Leave a state to the next audit, if this one came to its end."""
        if self.state_file is None or replay.broken_off is not None or self.checkpoint is None:
            return
        if self.findings.has("tree-root") or self.findings.has("fork") or self.findings.has("log-shrank"):
            self.warnings.append(
                f"The state was not written to {self.state_file}: these entries are not what the log signed."
            )
            return
        lasting, counts = self.findings.lasting()
        own = [rule.name for rule in self.rulebook.own()]
        kept = State(
            rules=state.fingerprint(),
            own_rules=own,
            origin=self.checkpoint.origin,
            log_keys=[str(key) for key in self.keys],
            pinned=self.pinned,
            checkpoint=self.signed_checkpoint,
            size=replay.size,
            root=replay.root(),
            replay=replay.dump(),
            findings=lasting,
            counts=counts,
        )
        try:
            state.write(self.state_file, kept)
        except StateError as error:
            self.warnings.append(str(error))

    # --- the log and its keys ----------------------------------------------------------------------

    def _info(self, source: Source) -> LogInfo | None:
        try:
            info = published.log_info(source)
            if info is not None:
                _ = info.root_hash
        except MalformedAnswerError as error:
            self._find("published-malformed", str(error))
            return None
        return info

    def _choose_keys(self, info: LogInfo | None) -> None:
        if not self.keys and self.policy is not None:
            # A log that signs with two keys has a line for each; lines of other logs are another matter.
            names = {log.vkey.name for log in self.policy.logs}
            if len(names) == 1:
                self.keys = [log.vkey for log in self.policy.logs]
        if self.keys:
            given = {str(key) for key in self.keys}
            if info is not None and (info.vkey not in given or not given <= {info.vkey, *info.more_keys}):
                self._find(
                    "log-key",
                    "The operator names another key of its log than the one this audit was given.",
                    published=" ".join((info.vkey, *info.more_keys)),
                    given=" ".join(map(str, self.keys)),
                )
            return
        if info is None:
            raise NoLogKeyError("The log's key is not known: give it with --log-key.")
        self.pinned = False
        self.warnings.append(
            "The log's key was taken from the very server that is audited, so a false log passes as well: "
            f"compare {info.vkey} with a copy from elsewhere, and give it with --log-key."
        )
        try:
            self.keys = [VerifierKey.parse(key) for key in (info.vkey, *info.more_keys)]
        except TlogError as error:
            self._find("published-malformed", f"/v1/log names a key that is none: {error}.")
            raise _BrokenOffError from error

    def _open(self, note: bytes) -> Checkpoint:
        """A checkpoint that every key of the log signed. Raises ``TlogError``."""
        checkpoints = [open_checkpoint(note, key, origin=self.keys[0].name).checkpoint for key in self.keys]
        return checkpoints[0]

    def _seen(self, known: Iterable[bytes]) -> Iterator[Checkpoint]:
        for data in known:
            try:
                # One key is enough: a second one may have been added since.
                yield open_checkpoint(data, self.keys[0]).checkpoint
            except TlogError as error:
                raise SourceError(
                    f"The checkpoint that you saw earlier is not one of this log: {error}."
                ) from error

    def _read_checkpoints(self, source: Source) -> tuple[Checkpoint | None, Checkpoint]:
        """The one that is served to everybody, perhaps cosigned, and the newest one, which is audited."""
        missing: NotServedError | None = None
        served = b""
        try:
            served = read_checkpoint(source)
        except NotServedError as error:
            missing = error
        newest = read_newest(source)
        if newest is None:
            if missing is not None:
                raise missing
            newest = served
        cosigned = None
        try:
            checkpoint = self._open(newest)
            if served and served != newest:
                cosigned = self._open(served)
        except TlogError as error:
            self._find("checkpoint", f"The log's checkpoint does not verify: {error}.")
            raise _BrokenOffError from error
        self.checkpoint, self.signed_checkpoint = checkpoint, newest
        if self.policy is not None:
            self._check_quorum(served or newest, self.policy)
        return cosigned, checkpoint

    def _check_quorum(self, note: bytes, policy: Policy) -> None:
        listed = {log.vkey for log in policy.logs}
        key = next((key for key in self.keys if key in listed), self.keys[0])
        names = {witness.vkey: witness.name for witness in policy.witnesses}
        try:
            opened = policy.verify(note, log=key, origin=self.keys[0].name)
        except QuorumError as error:
            self.cosigned = None
            if not self.findings.has("cosignatures"):
                self._find("cosignatures", f"{_sentence(error)}.")
            return
        except TlogError as error:
            self._find("cosignatures", f"The checkpoint does not verify under the policy: {error}.")
            raise _BrokenOffError from error
        self.cosigned = Cosigned(
            opened.checkpoint.size,
            _text(policy.quorum),
            [
                (_text(names[found.witness]), datetime.fromtimestamp(found.timestamp, UTC))
                for found in opened.cosignatures
            ],
        )

    # --- what is published -------------------------------------------------------------------------

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
        self,
        rule: str,
        reason: str,
        *,
        position: int | None = None,
        last: int | None = None,
        **evidence: str | int | None,
    ) -> None:
        self.findings.add(Finding(rule=rule, reason=reason, position=position, last=last, evidence=evidence))

    def report(self, name: str, started: datetime, seconds: float, stopped: str | None) -> Report:
        """What came out of it."""
        history = self.replay.history if self.replay else None
        broken_off = self.replay.broken_off if self.replay else None
        keys = [str(key) for key in self.keys]
        size = self.checkpoint.size if self.checkpoint else None
        for rule, how in self.rulebook.failed.items():
            self.warnings.append(f"The rule {rule} of your own broke down {how}. It was not asked any more.")
        shown = keys if self.pinned else []
        return Report(
            source=name,
            started=started,
            seconds=round(seconds, 3),
            log_key=keys[0] if keys else None,
            log_keys=keys,
            log_key_pinned=bool(keys) and self.pinned,
            origin=self.checkpoint.origin if self.checkpoint else None,
            size=size,
            root=self.checkpoint.root.hex() if self.checkpoint else None,
            checkpoint=self.signed_checkpoint.decode() if self.checkpoint else None,
            cosigned=self.cosigned,
            replayed=self.replay.size if self.replay else 0,
            resumed_at=self.resumed_at,
            events=history.events if history else 0,
            organisations=history.organisations if history else 0,
            petitions=len(history.petitions) if history else 0,
            signatures=sum(p.count for p in history.petitions.values()) if history else 0,
            compared=self.compared,
            rules=self._asked(),
            evidence=history.assurance.looks() if history else [],
            growth=growth(history.petitions, CURVES) if history else [],
            findings=[
                msgspec.structs.replace(finding, repeat=repeat(finding, name, shown, size))
                for finding in self.findings.kept()
            ],
            omitted=self.findings.omitted(),
            warnings=self.warnings,
            stopped=stopped or broken_off,
        )

    def _asked(self) -> list[Asked]:
        own = {rule.name for rule in self.rulebook.own()}
        return [Asked(*before) for before in BEFORE_RULES] + [
            Asked(rule.name, rule.says, rule.article, rule.name in own) for rule in self.rulebook.rules
        ]


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


def _text(octets: str) -> str:
    """A name of a policy, which may be no UTF-8, to be shown."""
    return octets.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
