"""Verification in the service's event loop: who signed one of several statements."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from ledger.eds.certificates import TrustStore
from ledger.eds.errors import DigestMismatchError, EdsError, StatementMismatchError
from ledger.eds.verify import Signer, verify

VERIFIED_IN_A_TURN = 16
"""CMS verifications between two looks of the event loop at its sockets: some milliseconds."""


class Verifier:
    """Verifies a few signatures in each turn of the event loop.

    In a crowd, verifying everybody who is at the door would hold up the appends of those who were verified
    already.
    """

    def __init__(self, trust: TrustStore) -> None:
        self._trust = trust
        self._this_turn = 0
        self._turn_over = asyncio.Event()

    async def signer(self, cms: bytes | str, statements: Sequence[bytes], at: datetime) -> tuple[Signer, int]:
        """Who signed one of ``statements``, and which. Raises an ``EdsError``."""
        while self._this_turn >= VERIFIED_IN_A_TURN:
            await self._turn_over.wait()
        if self._this_turn == 0:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._this_turn += 1
        mismatch: EdsError | None = None
        for number, statement in enumerate(statements):
            try:
                return verify(cms, content=statement, trust=self._trust, at=at), number
            except StatementMismatchError as error:  # the CMS carries another text
                mismatch = mismatch or error
            except DigestMismatchError as error:  # it carries none, or its digest is not that of its text
                mismatch = error
        raise mismatch or AssertionError("unreachable")

    def _next_turn(self) -> None:
        self._this_turn = 0
        self._turn_over.set()
        self._turn_over = asyncio.Event()
