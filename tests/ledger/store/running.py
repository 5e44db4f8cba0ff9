"""A sequencer on an event loop in a thread, for tests that call it from ordinary code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ledger.store.sequencer import Sequencer


@contextmanager
def running(sequencer: Sequencer) -> Iterator[Sequencer]:
    """Start it, run its event loop in a thread, stop both afterwards."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(sequencer.start(), loop).result(30)
        yield sequencer
        asyncio.run_coroutine_threadsafe(sequencer.close(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
