"""How far a mirror is with what it does at the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

Phase = Literal["copying", "disclosures", "replaying", "folding", "comparing"]


class Progress(NamedTuple):
    """One phase."""

    phase: Phase
    done: int
    total: int


OnProgress = Callable[[Progress], None]
