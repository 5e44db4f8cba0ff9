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
from ledger.tlog.note import NoteError, SignerKey


class KeysError(AiqynError):
    """The operator's keys are missing, exist already or cannot be read."""

    code = "operator-keys"
    title = "The operator's keys are not in order"


@dataclass(frozen=True, slots=True)
class OperatorKeys:
    """All secrets of one ledger."""

    log: SignerKey
    """Signs checkpoints."""
    root: SigningKey
    """Registers organisations and keys; in the ledger's first entry."""
    gateway: SigningKey
    """Says what citizens did, and seals for organisations that post plain JSON."""
    clock: SigningKey
    """Says what time and numbers brought about."""
    vault: bytes = field(repr=False)
    """32 bytes that wrap the vault's keys."""

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
        )

    def save(self, settings: Settings) -> Path:
        """Write the files; a key that exists is never overwritten. Returns their folder."""
        folder = keys_folder(settings)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        texts = {
            "log.key": self.log.to_skey(),
            "operator.key": self.root.seed(),
            "gateway.key": self.gateway.seed(),
            "clock.key": self.clock.seed(),
        }
        files = {folder / name: text for name, text in texts.items()}
        if not settings.vault_key:
            files[settings.vault_key_file] = base64.b64encode(self.vault).decode("ascii")
        for path in files:
            if path.exists():
                raise KeysError(f"{path} exists: these keys belong to a ledger already.")
        for path, text in files.items():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
        for parent in {path.parent for path in files}:  # a power cut must not lose the names either
            descriptor = os.open(parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return folder

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
        return cls(log, root, gateway, clock, settings.read_vault_key())


def keys_folder(settings: Settings) -> Path:
    """Where the keys are."""
    return settings.home / "keys"
