"""The one exception tree of the ledger.

Each error says what is wrong, with which value, and what to do. ``code`` is stable: it is the last
part of the ``type`` of the problem document that an HTTP client gets for it.
"""

from __future__ import annotations

from typing import Any, ClassVar


class AiqynError(Exception):
    """Base of every error that this project raises on purpose.

    ``code`` names the kind of error (kebab-case, never changes once published), ``title`` says it in
    a few words that do not depend on the values, ``details`` carries machine-readable values.
    """

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, message: str, **details: Any) -> None:  # noqa: ANN401 - any JSON value
        super().__init__(message)
        self.details = details


class FatalError(AiqynError):
    """Going on would harm the ledger: the process must stop signing and a person must look."""

    code = "fatal"
    title = "The ledger must not go on"
