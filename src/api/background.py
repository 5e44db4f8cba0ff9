"""The one process beside those that serve: it folds the projections, runs the clock, sends webhooks, and asks
the witnesses.

Folding takes a whole core while much happens; in a process of its own it never makes a signer wait.
"""

from __future__ import annotations

import asyncio
import logging

from api.process import stop_signal
from api.service import Parts, folding

log = logging.getLogger(__name__)


async def run(parts: Parts) -> None:
    """Until the process is told to stop; what is under way is finished."""
    stop = stop_signal()
    ledger = parts.ledger()
    await ledger.start()
    try:
        steward = parts.steward(ledger)
        async with (
            folding(parts.url),
            parts.dispatcher().running(),
            parts.collector(ledger),
            parts.committer(ledger).running(),
        ):
            clock = asyncio.create_task(steward.run(), name="clock")
            waiting = asyncio.create_task(stop.wait(), name="stop")
            done, _ = await asyncio.wait({clock, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if clock in done:
                log.critical("the clock stopped", exc_info=clock.exception())
                # Folding goes on: what is in the log is to be read, whatever keeps it from growing.
                await stop.wait()
            clock.cancel()
            await asyncio.gather(clock, waiting, return_exceptions=True)
    finally:
        await ledger.stop()
