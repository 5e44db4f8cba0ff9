"""Entries as a mirror handles them: verified, and opened where they can be read."""

from __future__ import annotations

from typing import NamedTuple

from ledger.errors import AiqynError
from ledger.statement import Event, open_event


class Copied(NamedTuple):
    """One verified entry."""

    position: int
    entry: bytes
    leaf: bytes
    event: Event | None
    """None where it is none; it belongs into the tree all the same."""


def opened(entry: bytes) -> Event | None:
    """The event in an entry, if it can be read."""
    try:
        return open_event(entry)
    except AiqynError:
        return None
