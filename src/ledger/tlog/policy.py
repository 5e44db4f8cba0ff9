"""Whom to trust, as a file (C2SP tlog-policy): known logs, known witnesses, and the quorum of them.

A checkpoint is valid if one of the logs signed it and the witnesses that cosigned it make the quorum.
The file is octets: names and URLs that are not UTF-8 stand in ``str`` with surrogate escapes, so that
two names are equal exactly if their octets are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from ledger.tlog.checkpoint import Checkpoint, OpenedCheckpoint, open_checkpoint
from ledger.tlog.errors import TlogError
from ledger.tlog.note import (
    COSIGNATURES,
    ED25519,
    ML_DSA_44,
    NoteError,
    SignedNote,
    UnverifiedNoteError,
    VerifierKey,
    open_note,
)

MAX_POLICY_BYTES = 1_000_000
NONE = "none"
"""The predefined name of a quorum that asks for no cosignature."""

LOG_ALGORITHMS = (ED25519, ML_DSA_44)

_FORBIDDEN = re.compile(rb"[^\x09\x0a\x20-\x7e\x80-\xff]")
_SPACES = re.compile(r"[ \t]+")
_WORD = re.compile(r"[^\x00-\x20\x7f]+")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


class PolicyError(TlogError):
    """A policy breaks a rule of the specification; the message names the line of the file."""

    code = "policy-invalid"
    title = "The trust policy is malformed"


class QuorumError(TlogError):
    """A checkpoint is signed by its log, but too few of the policy's witnesses cosigned it."""

    code = "quorum-missing"
    title = "Too few witnesses cosigned the checkpoint"


@dataclass(frozen=True, slots=True)
class Log:
    """A log whose checkpoints count: its key bears the log's origin as its name."""

    vkey: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness; ``name`` has a meaning within its policy only, ``url`` is its submission prefix."""

    name: str
    vkey: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Witnesses a checkpoint as soon as ``threshold`` of its members do."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(slots=True)
class _Rules:
    """What the specification asks of a policy, checked line by line; ``PolicyError`` without the line."""

    logs: list[Log] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    quorum: str | None = None
    _names: set[str] = field(default_factory=lambda: {NONE})
    _members: set[str] = field(default_factory=set)

    def add_log(self, log: Log) -> None:
        _check_type(log.vkey, LOG_ALGORITHMS, "log")
        _check_url(log.url)
        for other in self.logs:
            if other.vkey.public_key == log.vkey.public_key:
                raise PolicyError(f"the key of log {log.vkey.name} is there already, as {other.vkey.name}")
        self.logs.append(log)

    def add_witness(self, witness: Witness) -> None:
        _check_type(witness.vkey, COSIGNATURES, "witness")
        _check_url(witness.url)
        for other in self.witnesses:
            if other.vkey.public_key == witness.vkey.public_key:
                raise PolicyError(f"the key of witness {witness.name} is there already, as {other.name}")
        self._define(witness.name)
        self.witnesses.append(witness)

    def add_group(self, group: Group) -> None:
        if not group.members:
            raise PolicyError(f"group {group.name} has no members")
        if not 1 <= group.threshold <= len(group.members):
            raise PolicyError(
                f"group {group.name} has {len(group.members)} members, of which {group.threshold} cannot be "
                "required"
            )
        members = set(self._members)
        for name in group.members:
            self._find(name, "a member of a group")
            if name == NONE:
                raise PolicyError("none is not a member of a group: it stands for no witness at all")
            if name in members:
                raise PolicyError(f"{name} is a member of a group already: a witness counts in one way only")
            members.add(name)
        self._define(group.name)
        self._members = members
        self.groups.append(group)

    def set_quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise PolicyError(f"the quorum is {self.quorum} already: there is exactly one")
        self._find(name, "the quorum")
        self.quorum = name

    def _define(self, name: str) -> None:
        if not _is_word(name):
            raise PolicyError(f"{name!r} is no name: it has a space or a control character, or is empty")
        if name in self._names:
            raise PolicyError(f"the name {name} is taken already")
        self._names.add(name)

    def _find(self, name: str, what: str) -> None:
        if name not in self._names:
            raise PolicyError(f"{name} is {what}, but no line before this one defines it")


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that follows every rule of the specification; ``PolicyError`` otherwise.

    ``quorum`` is the name of a witness or group, or ``NONE``. Groups stand after those that they contain.
    """

    logs: tuple[Log, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    def __post_init__(self) -> None:
        """Refuse what could not be read back."""
        rules = _Rules()
        for log in self.logs:
            rules.add_log(log)
        for witness in self.witnesses:
            rules.add_witness(witness)
        for group in self.groups:
            rules.add_group(group)
        rules.set_quorum(self.quorum)

    @classmethod
    def parse(cls, data: bytes) -> Policy:
        """Read a policy file."""
        rules = _Rules()
        for number, words in _lines(data):
            try:
                _read_line(words, rules)
            except (PolicyError, NoteError) as error:
                raise PolicyError(f"line {number} of the policy: {error}", line=number) from error
        if rules.quorum is None:
            raise PolicyError("the policy has no quorum line: write `quorum none` to ask for no cosignatures")
        return cls(tuple(rules.logs), tuple(rules.witnesses), tuple(rules.groups), rules.quorum)

    def to_text(self) -> str:
        """The policy as a file's text, which ``parse`` reads as the same policy.

        Names that are not UTF-8 hold surrogate escapes: ``to_bytes`` writes them.
        """
        lines = [" ".join(filter(None, ("log", str(log.vkey), log.url))) for log in self.logs]
        lines += [" ".join(filter(None, ("witness", w.name, str(w.vkey), w.url))) for w in self.witnesses]
        lines += [f"group {g.name} {_threshold(g)} {' '.join(g.members)}" for g in self.groups]
        return "".join(f"{line}\n" for line in [*lines, f"quorum {self.quorum}"])

    def to_bytes(self) -> bytes:
        """The policy file."""
        return self.to_text().encode("utf-8", "surrogateescape")

    def satisfied_by(self, keys: Collection[VerifierKey]) -> bool:
        """Whether cosignatures by these keys make the quorum; keys of nobody in the policy do not count."""
        witnessed = {NONE: True} | {w.name: w.vkey in keys for w in self.witnesses}
        for group in self.groups:
            witnessed[group.name] = sum(witnessed[name] for name in group.members) >= group.threshold
        return witnessed[self.quorum]

    def verify(
        self, note: bytes, *, log: VerifierKey | None = None, origin: str | None = None
    ) -> OpenedCheckpoint:
        """The checkpoint of a note that a listed log signed and a quorum cosigned.

        ``log`` is the log's key where it is known otherwise: it must have signed, and be listed unless the
        policy lists no log at all. ``origin`` is the only log that is accepted. Raises ``QuorumError``,
        ``NoteError`` (malformed, a known key's signature is wrong, no listed log signed) or
        ``CheckpointError`` (malformed text, another origin).
        """
        key = self._log_of(note) if log is None else log
        if log is not None and self.logs and all(log != listed.vkey for listed in self.logs):
            raise UnverifiedNoteError(f"the policy does not list the log's key {log}")
        if log is None and origin is None:
            origin = key.name
        opened = open_checkpoint(note, key, [witness.vkey for witness in self.witnesses], origin=origin)
        cosigned = {cosignature.witness for cosignature in opened.cosignatures}
        if not self.satisfied_by(cosigned):
            names = [witness.name for witness in self.witnesses if witness.vkey in cosigned]
            raise QuorumError(
                f"the checkpoint of {opened.checkpoint.origin[:100]} at size {opened.checkpoint.size} is "
                f"cosigned by {', '.join(names) or 'no witness of the policy'}: no quorum ({self.quorum})"
            )
        return opened

    def _log_of(self, note: bytes) -> VerifierKey:
        """The listed log key that signed the note; none of its name may have signed it wrongly."""
        origin = Checkpoint.parse(SignedNote.parse(note).text).origin
        # A key of another name has nothing to say about this log.
        keys = [log.vkey for log in self.logs if log.vkey.name == origin]
        if not keys:
            raise UnverifiedNoteError(f"the policy lists no log of the name {origin[:100]!r}")
        _, verified = open_note(note, keys)
        return verified[0].key


def _lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Numbers (from 1) and words of the lines that say something."""
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"a policy has at most {MAX_POLICY_BYTES} bytes, not {len(data)}")
    lines = data.split(b"\n")
    unfinished = lines.pop()
    if unfinished:
        raise PolicyError(f"line {len(lines) + 1} of the policy does not end in a newline")
    for number, line in enumerate(lines, 1):
        if found := _FORBIDDEN.search(line):
            raise PolicyError(
                f"line {number} of the policy has the control character 0x{found[0][0]:02x}", line=number
            )
        words = _SPACES.split(line.decode("utf-8", "surrogateescape").strip(" \t"))
        if words[0] and not words[0].startswith("#"):
            yield number, words


def _read_line(words: list[str], rules: _Rules) -> None:
    keyword, *rest = words
    match keyword, rest:
        case "log", [vkey] | [vkey, _]:
            rules.add_log(Log(VerifierKey.parse(vkey), *rest[1:]))
        case "witness", [name, vkey] | [name, vkey, _]:
            rules.add_witness(Witness(name, VerifierKey.parse(vkey), *rest[2:]))
        case "group", [name, threshold, *members]:
            rules.add_group(Group(name, _read_threshold(threshold, len(members)), tuple(members)))
        case "quorum", [name]:
            rules.set_quorum(name)
        case (("log" | "witness" | "group" | "quorum"), _):
            raise PolicyError(f"a {keyword} line is `{_FORMS[keyword]}`")
        case _:
            raise PolicyError(f"{keyword[:100]!r} is not log, witness, group or quorum")


_FORMS = {
    "log": "log VKEY [URL]",
    "witness": "witness NAME VKEY [URL]",
    "group": "group NAME all|any|K MEMBER...",
    "quorum": "quorum NAME",
}


def _read_threshold(text: str, members: int) -> int:
    if text == "any":
        return 1
    if text == "all":
        return members
    if not _NUMBER.fullmatch(text):
        raise PolicyError(f"{text[:100]!r} is not all, any, or how many members of the group are required")
    return int(text)


def _threshold(group: Group) -> str:
    if group.threshold == len(group.members):
        return "all"
    return "any" if group.threshold == 1 else str(group.threshold)


def _check_type(vkey: VerifierKey, algorithms: tuple[int, ...], what: str) -> None:
    if vkey.algorithm not in algorithms:
        expected = " or ".join(f"0x{algorithm:02x}" for algorithm in algorithms)
        raise PolicyError(
            f"the key of {what} {vkey.name} is of type 0x{vkey.algorithm:02x}: a {what} signs with {expected}"
        )


def _check_url(url: str | None) -> None:
    if url is not None and not _is_word(url):
        raise PolicyError(f"{url!r} is no URL: it has a space or a control character, or is empty")


def _is_word(text: str) -> bool:
    """Whether a file can hold it as one item, and gives it back."""
    try:
        again = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return again == text and _WORD.fullmatch(text) is not None
