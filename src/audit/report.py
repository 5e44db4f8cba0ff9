"""The result of an audit."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from audit.findings import Finding

CURVES = 100
"""Petitions whose growth is shown: those with most signatures."""


class Asked(msgspec.Struct, frozen=True):
    """One rule that was asked."""

    name: str
    says: str
    article: str
    own: bool = False
    """Of the auditor's own."""


class Cosigned(msgspec.Struct, frozen=True):
    """How far the cosignatures of witnesses reach."""

    size: int
    """Entries of the newest checkpoint with a quorum."""
    quorum: str
    """As the policy names it."""
    witnesses: list[tuple[str, datetime]]
    """Who cosigned that checkpoint, and when."""


class Growth(msgspec.Struct, frozen=True):
    """How the count of one petition grew."""

    petition: str
    state: str
    count: int
    required: int | None
    published_at: int | None
    reached_at: int | None
    """Position from which on the threshold was reached."""
    points: list[tuple[int, int]]
    """Seconds since 1970 and the count from then on; no more than :data:`POINTS`."""


POINTS = 120
EXIT_CODES = {"clean": 0, "findings": 1, "unfinished": 2}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked, how far, and what was found."""

    source: str
    started: datetime
    seconds: float
    log_key: str | None
    """The vkey that checkpoints were verified with; the first, if there were several."""
    log_keys: list[str]
    """All of them: each had to sign."""
    log_key_pinned: bool
    """False: it came from the audited server itself."""
    origin: str | None
    size: int | None
    """Entries that the checkpoint signs for; None if there was none to read."""
    root: str | None
    """Hexadecimal."""
    checkpoint: str | None
    """The signed note: keep it and give it to a later audit as ``known``."""
    cosigned: Cosigned | None
    """None where no policy was given, or its quorum is missing."""
    replayed: int
    """Entries hashed and checked, from position 0 on."""
    resumed_at: int
    """How many of these were checked by an earlier audit, whose state was taken over."""
    events: int
    """Entries whose form, issuer and signature were right."""
    organisations: int
    petitions: int
    signatures: int
    """Counted at the end, over all petitions."""
    compared: int
    """Petitions whose published numbers were compared with the recount."""
    rules: list[Asked]
    """What was asked of every entry."""
    evidence: list[dict[str, str | int | bool]]
    """Looks at the evidence: who asked, of which petition, how many of the sample were opened."""
    growth: list[Growth]
    """The petitions with most signatures."""
    findings: list[Finding]
    omitted: dict[str, int]
    """Rule → how many more findings there are than listed."""
    warnings: list[str]
    stopped: str | None
    """Why the audit did not reach its end; None if it did."""

    @property
    def status(self) -> Literal["clean", "findings", "unfinished"]:
        """``unfinished``: nothing is wrong as far as it was read, but it was not read to the end."""
        if self.findings:
            return "findings"
        return "clean" if self.stopped is None else "unfinished"

    @property
    def exit_code(self) -> int:
        """0 clean, 1 findings, 2 could not finish."""
        return EXIT_CODES[self.status]

    @property
    def total(self) -> int:
        """Findings, those not listed included."""
        return len(self.findings) + sum(self.omitted.values())

    def to_json(self) -> bytes:
        """One JSON object: ``format``, ``status``, and every field by its name."""
        fields = {"format": "aiqyn-audit/v1", "status": self.status} | msgspec.structs.asdict(self)
        return msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n"
