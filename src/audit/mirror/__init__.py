"""A mirror: a copy of a ledger that was verified entry by entry while it was copied.

It has a database of its own with the ledger's own schema, so that what reads the ledger reads the copy, and
rebuilds all public tables with the same code. It holds no key of the operator's and appends nothing.
"""

from audit.mirror.errors import MirrorError
from audit.mirror.mirror import Mirror, Options, Round
from audit.mirror.trust import Trust

__all__ = ["Mirror", "MirrorError", "Options", "Round", "Trust"]
