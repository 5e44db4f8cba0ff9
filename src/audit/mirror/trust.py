"""Whose signatures a checkpoint needs before this mirror believes it."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.tlog.checkpoint import Checkpoint, open_checkpoint
from ledger.tlog.note import ED25519, NoteError, UnverifiedNoteError, VerifierKey
from ledger.tlog.policy import Policy


class Trust:
    """The log's keys, every one of which must have signed, and perhaps a policy that asks for witnesses."""

    def __init__(self, keys: Sequence[VerifierKey], policy: Policy | None = None) -> None:
        """The keys bear the log's origin; one of them is of type 0x01. Raises ``NoteError`` otherwise."""
        plain = [key for key in keys if key.algorithm == ED25519]
        if len(plain) != 1 or len({key.name for key in keys}) != 1:
            raise NoteError(
                "a log has one key of type 0x01 (Ed25519), and perhaps further ones of the same name"
            )
        self.key = plain[0]
        """By which the log is known."""
        self.more = tuple(key for key in keys if key is not self.key)
        self.policy = policy

    @classmethod
    def parse(cls, keys: Sequence[str], policy: bytes | None = None) -> Trust:
        """From vkeys and a policy file (C2SP tlog-policy). Raises ``NoteError`` or ``PolicyError``."""
        parsed = dict.fromkeys(VerifierKey.parse(key) for key in keys)
        return cls(tuple(parsed), None if policy is None else Policy.parse(policy))

    def recall(self, note: bytes) -> Checkpoint:
        """The checkpoint of a note that was believed before, perhaps when less was asked for."""
        return open_checkpoint(note, self.key).checkpoint

    def open(self, note: bytes) -> Checkpoint:
        """The checkpoint of a note that every key signed, and a quorum of the policy cosigned.

        Raises :class:`ledger.tlog.errors.TlogError`.
        """
        opened = open_checkpoint(note, self.key, self.more)
        signed = {cosignature.witness for cosignature in opened.cosignatures}
        for key in self.more:
            if key not in signed:
                raise UnverifiedNoteError(f"the checkpoint is not signed by the log's further key {key}")
        if self.policy is not None:
            self.policy.verify(note, log=self.key)
        return opened.checkpoint
