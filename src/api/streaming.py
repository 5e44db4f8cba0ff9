"""Long answers: how many of them at once, and what is given back when one ends, however it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ledger.errors import AiqynError


class Slots:
    """How many requests of a kind this process works on at once, because each holds much memory."""

    def __init__(self, number: int, full: Callable[[], AiqynError]) -> None:
        """``full`` makes the error for who comes when all are taken."""
        self._left = number
        self._full = full

    def take(self) -> None:
        """Raises the error where none is left. Whoever takes one gives it back."""
        if not self._left:
            raise self._full()
        self._left -= 1

    def give_back(self) -> None:
        """Let the next one in."""
        self._left += 1

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take one to prepare an answer: given back where the block fails, else by who ends the answer."""
        self.take()
        try:
            yield
        except BaseException:
            self.give_back()
            raise


class Held(StreamingResponse):
    """A streaming answer; ``done`` is called once it is out, or nobody wants it any more."""

    def __init__(self, content: AsyncIterator[bytes], done: Callable[[], None], **options: Any) -> None:  # noqa: ANN401
        """``options`` are those of Starlette's response."""
        super().__init__(content, **options)
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._done()
