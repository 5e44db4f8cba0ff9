"""The base of every error of the log's formats and proofs."""

from __future__ import annotations

from ledger.errors import AiqynError


class TlogError(AiqynError):
    """Something of a transparency log is malformed or does not verify."""

    code = "tlog-invalid"
    title = "The log's data do not verify"
