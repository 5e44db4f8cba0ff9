"""The operator's keys: what a service needs to hold to run a ledger.

They live in ``home/keys``, one file each, readable by their owner alone. Back them up apart from the
database: the log cannot go on without ``log.key``, and nobody can be read again without ``vault.key``.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ledger.config import Settings
from ledger.errors import AiqynError
from ledger.keys import MalformedKeyError, SigningKey
from ledger.tlog.note import ML_DSA_44, NoteError, SignerKey, VerifierKey

_MLDSA = "log-mldsa.key"


class KeysError(AiqynError):
    """The operator's keys are missing, exist already or cannot be read."""

    code = "operator-keys"
    title = "The operator's keys are not in order"


@dataclass(frozen=True, slots=True)
class OperatorKeys:
    """All secrets of one ledger."""

    log: SignerKey
    """Signs checkpoints (Ed25519)."""
    root: SigningKey
    """Registers organisations and keys; in the ledger's first entry."""
    gateway: SigningKey
    """Says what citizens did, and seals for organisations that post plain JSON."""
    clock: SigningKey
    """Says what time and numbers brought about."""
    vault: bytes = field(repr=False)
    """32 bytes that wrap the vault's keys."""
    log_mldsa: SignerKey | None = None
    """Signs checkpoints as well (ML-DSA-44); None in a ledger that was begun without."""

    @property
    def log_keys(self) -> tuple[VerifierKey, ...]:
        """Public halves of all keys that sign checkpoints, the first one first."""
        return tuple(key.verifier for key in (self.log, *self.more_log_keys))

    @property
    def more_log_keys(self) -> tuple[SignerKey, ...]:
        """What signs checkpoints beside ``log``."""
        return () if self.log_mldsa is None else (self.log_mldsa,)

    def signing(self) -> dict[str, SigningKey]:
        """The keys that seal events, by their ids."""
        return {key.kid: key for key in (self.root, self.gateway, self.clock)}

    @classmethod
    def generate(cls, origin: str, vault: bytes | None = None) -> Self:
        """Fresh keys for a log with that origin."""
        return cls(
            SignerKey.generate(origin),
            SigningKey.generate(),
            SigningKey.generate(),
            SigningKey.generate(),
            vault or os.urandom(32),
            SignerKey.generate(origin, ML_DSA_44),
        )

    @classmethod
    def complete(cls, settings: Settings) -> Self:
        """The keys of a ledger that is about to begin: a missing file is made, the others are read.

        May be interrupted anywhere and repeated. Never call it where the ledger has entries: what is
        missing then must be restored.
        """
        fresh = cls.generate(settings.origin)
        for path, text in fresh._files(settings).items():
            if not path.exists():
                _write(path, text)
        return cls.load(settings)

    def save(self, settings: Settings) -> Path:
        """Write the files; a key that exists is never overwritten. Returns their folder."""
        folder = keys_folder(settings)
        files = self._files(settings)
        for path in files:
            if path.exists():
                raise KeysError(f"{path} exists: these keys belong to a ledger already.")
        for path, text in files.items():
            _write(path, text)
        return folder

    def _files(self, settings: Settings) -> dict[Path, str]:
        folder = keys_folder(settings)
        texts = {
            "log.key": self.log.to_skey(),
            "operator.key": self.root.seed(),
            "gateway.key": self.gateway.seed(),
            "clock.key": self.clock.seed(),
        }
        if self.log_mldsa is not None:
            texts[_MLDSA] = self.log_mldsa.to_skey()
        files = {folder / name: text for name, text in texts.items()}
        if not settings.vault_key:
            files[settings.vault_key_file] = base64.b64encode(self.vault).decode("ascii")
        return files

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Read the files. Raises :class:`KeysError` or :class:`ledger.config.ConfigError`."""
        folder = keys_folder(settings)

        def read(name: str) -> str:
            try:
                return (folder / name).read_text("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise KeysError(f"{folder / name} cannot be read: run `aiqyn init` first.") from error

        try:
            log = SignerKey.parse(read("log.key"))
            log_mldsa = SignerKey.parse(read(_MLDSA)) if (folder / _MLDSA).exists() else None
            root, gateway, clock = (
                SigningKey.from_seed(read(name)) for name in ("operator.key", "gateway.key", "clock.key")
            )
        except (NoteError, MalformedKeyError) as error:
            raise KeysError(f"A key in {folder} cannot be read: {error}") from error
        if log.name != settings.origin:
            raise KeysError(
                f"log.key signs for {log.name!r}, but the configured origin is {settings.origin!r}; "
                "an origin never changes."
            )
        if log_mldsa is not None and log_mldsa.name != log.name:
            raise KeysError(f"{_MLDSA} signs for {log_mldsa.name!r}, and log.key for {log.name!r}.")
        return cls(log, root, gateway, clock, settings.read_vault_key(), log_mldsa)


def keys_folder(settings: Settings) -> Path:
    """Where the keys are."""
    return settings.home / "keys"


def _write(path: Path, text: str) -> None:
    """Whole or not at all, durable, never over an existing file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)
    finally:
        unfinished.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
