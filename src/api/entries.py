"""Queries about the log as JSON: what it is, one entry, one receipt. The log itself is under ``/log/``."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import examples
from api.codec import FRESH, STEADY, answer
from api.cosigned import read_state
from api.follower import Entry, read_entries
from api.openapi import describe
from api.parameters import Position
from api.problems import RequestError
from api.service import Service, service_of
from api.shapes import EntryDocument, LogDocument, ReceiptDocument, opened
from ledger.receipt import Receipt
from ledger.statement import Disclosure, disclosed, open_event
from ledger.store.reader import NotInLogError
from ledger.tlog.checkpoint import open_checkpoint
from ledger.tlog.encoding import to_base64

router = APIRouter(tags=["log"])


@router.get(
    "/v1/log",
    **describe(
        "Read what the log is",
        """Its origin, verifier keys, operator, size and root, and how far the cosignatures of its witnesses
        reach. Compare the keys with those that you got another way: whoever could forge the log could forge
        this answer.""",
        gives=LogDocument,
        example=examples.LOG,
        errors=[NotInLogError],
    ),
)
async def read_log(request: Request) -> Response:
    """From the newest checkpoint."""
    service = service_of(request)
    ledger = service.ledger
    verifier = ledger.keys.log.verifier
    note = await asyncio.to_thread(ledger.reader.checkpoint)
    checkpoint = open_checkpoint(note, verifier).checkpoint
    witnessing = None
    if service.policy is not None:
        async with service.snapshot() as connection:
            witnessing = await read_state(connection)
    document = LogDocument(
        checkpoint.origin, str(verifier), ledger.operator, checkpoint.size, to_base64(checkpoint.root),
        tuple(str(key.verifier) for key in ledger.keys.more_log_keys), witnessing,
        service.mirror_of,
    )  # fmt: skip
    return answer(request, document)


@router.get(
    "/v1/entries/{position}",
    **describe(
        "Read an entry",
        """The exact text of the sealed event (an SD-JWT), its public disclosures, and both opened to read.
        Whoever wants certainty verifies `entry` and `disclosures`; the rest follows from them.""",
        gives=EntryDocument,
        example=examples.ENTRY_DOCUMENT,
        errors=[NotInLogError, RequestError],
    ),
)
async def read_entry(request: Request, position: Position) -> Response:
    """One leaf of the tree."""
    found = await _entry(service_of(request), position)
    public = [Disclosure.parse(encoded) for encoded in found.disclosures]
    document = EntryDocument(
        position, found.entry, found.disclosures, dict(disclosed(public)),
        opened(open_event(found.entry.encode("ascii"))), f"/v1/entries/{position}/receipt",
    )  # fmt: skip
    return answer(request, document, cache=STEADY)


@router.get(
    "/v1/entries/{position}/receipt",
    **describe(
        "Get a receipt",
        """For anybody: the event, what is public about it, and its proof in a checkpoint: the first one
        with the cosignatures of a quorum, as soon as there is one, else the newest.
        Save it as a file and check it offline: `aiqyn receipt verify FILE --log-key VKEY`.""",
        gives=ReceiptDocument,
        example=examples.RECEIPT,
        errors=[NotInLogError, RequestError],
    ),
)
async def read_receipt(request: Request, position: Position) -> Response:
    """Public data only."""
    service = service_of(request)
    found = await _entry(service, position)
    proof = await service.ledger.proof(position)
    public = tuple(Disclosure.parse(encoded) for encoded in found.disclosures)
    receipt = Receipt(found.entry.encode("ascii"), public, proof)
    return answer(request, ReceiptDocument.of(receipt), cache=FRESH)


async def _entry(service: Service, position: int) -> Entry:
    async with service.pool.connection() as connection:
        found = await read_entries(connection, position, 1)
    if not found:
        raise NotInLogError(f"The log has no entry at position {position}.")
    return found[0]
