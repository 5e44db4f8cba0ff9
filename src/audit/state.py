"""What one audit leaves to the next, so that nothing is checked twice: one file, plain data.

The file holds everything that rules and recount ask of the past: the tree's right edge, streams and counts,
petitions, appeals and organisations as their lawful events left them, and the findings. It is no evidence for
anybody else; whoever can write it can make the next audit say anything, so keep it as you keep a key.

Form: a line that names the form, the SHA-256 of what follows, and one MessagePack map.
"""

from __future__ import annotations

import os
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from audit.findings import Finding
from audit.replay import Replay
from ledger.errors import AiqynError

_MAGIC = b"aiqyn-audit-state/1\n"
_ANY_MAGIC = b"aiqyn-audit-state/"
_HASH = 32
ANEW = "Move it away, and the next audit begins with the first entry."
_JUDGES = (("ledger.domain", (".py", ".toml")), ("ledger.events", (".py",)), ("audit", (".py",)))
"""Packages whose files decide what is lawful."""


class StateError(AiqynError):
    """A state file that an audit cannot go on from."""

    code = "audit-state-unusable"
    title = "This state of an earlier audit cannot be used"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where an audit came to."""

    rules: str
    """:func:`fingerprint` of this release."""
    own_rules: list[str]
    """Names of the auditor's own rules that were asked."""
    origin: str
    log_keys: list[str]
    """Every vkey that had to sign."""
    pinned: bool
    checkpoint: bytes
    """The signed note up to which everything was checked."""
    size: int
    root: bytes
    replay: dict[str, Any]
    findings: list[Finding]
    """Of the entries; what was found of a server's answers is asked anew."""
    counts: dict[str, int]
    """Rule → findings, those that were not kept included."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode


@cache
def fingerprint() -> str:
    """What the rules of this release are, as one hash: what others judged would have to be judged anew."""
    hashed = sha256()
    for package, endings in _JUDGES:
        for file in sorted(files(package).iterdir(), key=lambda file: file.name):
            if file.name.endswith(endings):
                hashed.update(file.name.encode() + b"\0" + sha256(file.read_bytes()).digest())
    return hashed.hexdigest()


def read(path: Path) -> State | None:
    """The state in a file; None if there is no such file. Raises :class:`StateError`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path} could not be read: {error.strerror}.") from error
    if not data.startswith(_MAGIC):
        if data.startswith(_ANY_MAGIC):
            raise StateError(f"{path} was written by another release of this program. {ANEW}")
        raise StateError(f"{path} is no state of an audit: give another file.")
    body = memoryview(data)[len(_MAGIC) + _HASH :]
    if sha256(body).digest() != data[len(_MAGIC) : len(_MAGIC) + _HASH]:
        raise StateError(f"{path} is damaged: its checksum is wrong. {ANEW}")
    try:
        state = _decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise StateError(f"{path} is damaged: {error}. {ANEW}") from error
    if state.rules != fingerprint():
        raise StateError(f"{path} was written under other rules than those of this release. {ANEW}")
    return state


def write(path: Path, state: State) -> None:
    """Put a state in place of the one before, whole or not at all. Raises :class:`StateError`."""
    body = _encode(state)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for part in (_MAGIC, sha256(body).digest(), body):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise StateError(f"The state was not written to {path}: {error.strerror}.") from error


def load(replay: Replay, state: State) -> None:
    """Let a replay go on from a state. Raises :class:`StateError`."""
    try:
        replay.load(state.replay)
    except (LookupError, TypeError, ValueError, AttributeError, msgspec.MsgspecError, AiqynError) as error:
        raise StateError(f"The state is not as this release writes it: {error!r}. {ANEW}") from error
    if (replay.size, replay.root()) != (state.size, state.root):
        raise StateError(f"The state does not hold the tree that it names. {ANEW}")
