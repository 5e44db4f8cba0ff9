"""A witness (C2SP tlog-witness) that a council runs: a folder with its keys and its memory, and a server.

Its parts import nothing of the ledger's server: a small machine runs it with the extra ``witness``.
"""

from audit.witness.memory import Memory

__all__ = ["Memory"]
