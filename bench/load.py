"""The load of ``bench.signing``, a process of its own: posts prepared bodies over keep-alive connections.

``python -m bench.load PORT PATH CONNECTIONS < bodies``: one JSON body a line. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import uvloop


class _Connection(asyncio.Protocol):
    """One keep-alive connection: sends the next body as soon as the last was answered."""

    def __init__(self, head: bytes, waiting: Iterator[bytes], result: _Result) -> None:
        self._head = head
        self._waiting = waiting
        self._result = result
        self._answer = bytearray()
        self._needed = 0
        self._started = 0.0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """Collect until the answer is whole."""
        self._answer += data
        if not self._needed:
            end = self._answer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._answer[:end]).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._needed = end + 4 + int(length)
        if len(self._answer) >= self._needed:
            self._result.latencies.append(time.perf_counter() - self._started)
            self._result.statuses[self._answer[9:12].decode()] += 1
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits, if this was not the end."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionResetError("the service closed the connection"))

    def _next(self) -> None:
        body = next(self._waiting, None)
        if body is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._answer.clear()
        self._needed = 0
        self._started = time.perf_counter()
        self._transport.write(self._head + str(len(body)).encode() + b"\r\n\r\n" + body)


@dataclass
class _Result:
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


async def post_all(port: int, path: str, connections: int, bodies: list[bytes]) -> dict[str, object]:
    """Send every body once; latencies are from the first byte sent to the last byte received."""
    waiting = iter(bodies)
    result = _Result()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    ).encode()
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    opened = [
        await loop.create_connection(lambda: _Connection(head, waiting, result), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in opened))
    elapsed = time.perf_counter() - started
    latencies = sorted(result.latencies)
    return {
        "rate": len(latencies) / elapsed,
        "seconds": elapsed,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "statuses": dict(result.statuses),
    }


if __name__ == "__main__":
    port, path, connections = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    bodies = sys.stdin.buffer.read().splitlines()
    print(json.dumps(uvloop.run(post_all(port, path, connections, bodies))))
