"""The witness over HTTP: ``add-checkpoint`` for logs, checkpoints for monitors, a page for people."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from audit.witness.memory import Cosigned, Memory
from ledger.errors import AiqynError
from ledger.tlog.witness import MAX_REQUEST_BYTES, TEXT_TYPE, Refusal, read

log = logging.getLogger(__name__)

_HASH = re.compile(r"[0-9a-f]{64}")
_OPEN = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache"}
_HELP = """\
This is a witness of transparency logs, by the C2SP tlog-witness protocol. It remembers the newest
checkpoint of each log below and cosigns another one only with a proof that the log just grew. Nobody,
not even who runs the log, can then show one history here and another one elsewhere.

"""


def create_app(memory: Memory) -> Starlette:
    """The ASGI application; the caller closes the memory after it."""

    async def add_checkpoint(request: Request) -> Response:
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return _refused(Refusal(413, f"a request has at most {MAX_REQUEST_BYTES} bytes"))
        answer = await run_in_threadpool(_answer, memory, body)
        if isinstance(answer, Refusal):
            return _refused(answer)
        return Response(answer.lines, headers={"Content-Type": TEXT_TYPE})

    async def checkpoint(request: Request) -> Response:
        origin_hash = request.path_params["origin_hash"]
        note = None
        if _HASH.fullmatch(origin_hash):
            note = await run_in_threadpool(memory.folder.read_mark, origin_hash)
        if note is None:
            return PlainTextResponse("This witness never cosigned a log with that origin hash.\n", 404)
        return Response(note, headers={"Content-Type": TEXT_TYPE, **_OPEN})

    async def page(request: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(_page, memory), headers=_OPEN)

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/{origin_hash}/checkpoint", checkpoint),
            Route("/", page),
        ],
        exception_handlers={AiqynError: _failed, OSError: _failed},
    )


async def _failed(_: Request, error: Exception) -> Response:
    log.error("a request was not answered: %s", error)
    return _refused(Refusal(503, "the witness cannot do this now; its owner can see why in its log"))


def _answer(memory: Memory, body: bytes) -> Cosigned | Refusal:
    submission = read(body, memory.keys_of, memory.vkeys)
    return submission if isinstance(submission, Refusal) else memory.add_checkpoint(submission)


async def _body(request: Request) -> bytes | None:
    """The request's body; None if it is too long."""
    parts: list[bytes] = []
    length = 0
    async for part in request.stream():
        length += len(part)
        if length > MAX_REQUEST_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def _refused(refusal: Refusal) -> Response:
    # Set as a header: the framework would add a charset to a media type of text.
    return Response(refusal.body, status_code=refusal.status, headers={"Content-Type": refusal.content_type})


def _page(memory: Memory) -> str:
    lines = [_HELP, f"Name: {memory.name}\n", *(f"Key:  {vkey}\n" for vkey in memory.vkeys)]
    forked = {alarm.origin for alarm in memory.alarms() if alarm.kind == "fork"}
    for state in memory.logs():
        lines.append(f"\nLog {state.origin}\n")
        if state.latest is None or state.timestamp is None:
            lines.append("    nothing cosigned yet\n")
        else:
            when = datetime.fromtimestamp(state.timestamp, UTC).isoformat(timespec="seconds")
            lines.append(f"    cosigned at size {state.latest.size} on {when}\n")
        if not state.vkeys:
            lines.append("    cosigned no more\n")
        if state.origin in forked:
            lines.append(
                "    ALARM: this log signed two histories; the owner of this witness holds the proof\n"
            )
    return "".join(lines)
