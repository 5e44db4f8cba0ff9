"""The load of ``bench.signing``, a process of its own: posts prepared bodies over keep-alive connections.

``python -m bench.load PORT PATH CONNECTIONS < bodies``: one JSON body a line. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter

import uvloop


async def post_all(port: int, path: str, connections: int, bodies: list[bytes]) -> dict[str, object]:
    """Send every body once; latencies are from the first byte sent to the last byte received."""
    waiting = iter(bodies)
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    ).encode()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in waiting:
            started = time.perf_counter()
            writer.write(head + str(len(body)).encode() + b"\r\n\r\n" + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in answer.split(b"\r\n")
                if line[:15].lower() == b"content-length:"
            )
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - started)
            statuses[answer[9:12].decode()] += 1
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(connections)))
    elapsed = time.perf_counter() - started
    latencies.sort()
    return {
        "rate": len(latencies) / elapsed,
        "seconds": elapsed,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "statuses": dict(statuses),
    }


if __name__ == "__main__":
    port, path, connections = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    bodies = sys.stdin.buffer.read().splitlines()
    print(json.dumps(uvloop.run(post_all(port, path, connections, bodies))))
