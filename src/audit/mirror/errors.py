"""What keeps a mirror from going on."""

from __future__ import annotations

from ledger.errors import AiqynError


class MirrorError(AiqynError):
    """Base of what keeps a mirror from going on."""

    code = "mirror"
    title = "The mirror cannot go on"


class NotACopyError(MirrorError):
    """The database holds a ledger of its own, or nothing that a mirror began."""

    code = "mirror-not-a-copy"
    title = "This database is no mirror"


class AnotherLogError(MirrorError):
    """The database holds a copy of another log."""

    code = "mirror-of-another"
    title = "This is the mirror of another log"


class MirrorRunningError(MirrorError):
    """Another process keeps this mirror at the moment."""

    code = "mirror-running"
    title = "This mirror is being kept by another process"


class UnverifiedError(MirrorError):
    """What the log serves is not what it signed; nothing of it was copied."""

    code = "mirror-unverified"
    title = "The log serves something else than it signed"


class ContradictionError(MirrorError):
    """The log signed something that contradicts what it signed before; both notes are kept."""

    code = "mirror-contradiction"
    title = "The log contradicts itself"


class MalformedPageError(MirrorError):
    """A page of disclosures is not what the interface promises."""

    code = "disclosures-malformed"
    title = "The operator's disclosures cannot be read"
