"""``aiqyn serve``: the service."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from api.cosigned import halt
from api.process import set_up_logging
from api.service import Parts
from api.supervisor import supervise
from api.trust import TrustsNobody
from api.witnessing import Contradiction, LogContradictedError, ask_memories
from ledger.config import Settings, load
from ledger.operator import KeysError
from ledger.store.database import connect_async, open_database
from ledger.store.reader import LogReader
from ledger.tlog.policy import Policy


class NotInitialisedError(KeysError):
    """There is no ledger to serve yet."""

    code = "not-initialised"
    title = "The ledger was not begun"


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of AIQYN_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port, instead of AIQYN_PORT; 0 takes a free one.", min=0, max=65_535)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes, instead of AIQYN_WORKERS.", min=1, max=256)
    ] = None,
) -> None:
    """Serve HTTP until Ctrl-C or SIGTERM; what is under way is finished first.

    One more process folds the projections and keeps the law's time. All of them end with this one.
    """
    settings = _with(load().settings, host=host, port=port, workers=workers)
    set_up_logging(settings)
    with closing(open_database(settings)) as urls:
        parts = _parts(settings, urls.url)
        if isinstance(parts.trust, TrustsNobody):
            typer.echo(
                f"No signature is accepted: there is no root certificate in {settings.trust_dir}.", err=True
            )

        def ready(bound: int) -> None:
            base = f"http://{settings.host}:{bound}"
            typer.echo(f"Aiqyn serves {settings.origin} at {base}")
            typer.echo(f"  petitions   {base}/v1/petitions")
            typer.echo(f"  log         {base}/log/checkpoint")
            typer.echo(f"  interface   {base}/openapi.json")
            typer.echo(f"  key         {parts.keys.log.verifier}")

        if parts.policy is not None:
            _ask_witnesses(parts, parts.policy)
        supervise(settings, urls.url, ready=ready)


def _with(settings: Settings, **changes: str | int | None) -> Settings:
    return msgspec.structs.replace(settings, **{k: v for k, v in changes.items() if v is not None})


def _parts(settings: Settings, url: str) -> Parts:
    with LogReader(url) as reader:
        if reader.size() == 0:
            raise NotInitialisedError("There is no ledger in this database yet: run `aiqyn init` first.")
    return Parts.load(settings, url)


def _ask_witnesses(parts: Parts, policy: Policy) -> None:
    """Raises :class:`LogContradictedError` where one proves that this is not the log that was signed.

    Other processes on this database stop signing as well.
    """
    with LogReader(parts.url) as reader:
        for found in ask_memories(policy, parts.keys.log_keys, reader):
            if isinstance(found, str):
                typer.echo(found, err=True)
                continue
            asyncio.run(_halt(parts.url, found))
            raise LogContradictedError(found.said, kind=found.kind)


async def _halt(url: str, found: Contradiction) -> None:
    async with await connect_async(url, application_name="aiqyn serve", autocommit=True) as connection:
        await halt(connection, datetime.now(UTC), found.kind, found.said, [found.note])
