"""Looks at the evidence behind a random sample of signatures, for oversight councils."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request
from msgspec import Meta
from starlette.responses import Response

from api import examples
from api.citizens import READING_ERRORS, record
from api.codec import FRESH, NEVER, answer, decode, require_json
from api.idempotency import command_id
from api.openapi import describe
from api.parameters import MAX_POSITION
from api.service import authenticated, service_of
from api.shapes import RecordedDocument, Uuid
from ledger.application import NotFoundError
from ledger.domain.aggregate import NotAllowedError
from ledger.events import MAX_SAMPLE, Sha256
from ledger.evidence import MAX_OPENED, LookUndrawnError, NotInSampleError
from ledger.keys import UnauthorisedIssuerError

router = APIRouter(tags=["oversight"])

_ID = "0b5f6a1e-93d4-4c3f-9a37-5b0a3a8f5c11"
Id = Annotated[str, Path(alias="id", description="Of the look at the evidence.", examples=[_ID])]


class EvidenceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which signatures are to be looked at."""

    petition: Uuid
    sample: Annotated[int, Meta(ge=1, le=MAX_SAMPLE)]
    """How many signatures; all of them where there are no more."""
    commitment: Sha256
    """SHA-256 over the 32 bytes of a secret of yours, hex."""


class SecretRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The secret that was committed to."""

    secret: Sha256
    """32 bytes, hex."""


class OpeningRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which signatures of the sample are to be opened."""

    positions: Annotated[
        list[Annotated[int, Meta(ge=0, le=MAX_POSITION)]], Meta(min_length=1, max_length=MAX_OPENED)
    ]


class OpenedSignature(msgspec.Struct, frozen=True):
    """A signature with everything that it discloses."""

    position: int
    entry: str
    disclosures: tuple[str, ...]
    """Public and restricted ones (``cms``, ``iin``, ``full_name``)."""
    erased: bool
    """Nothing restricted is left. The log has the ``disclosure.erased``, after the announcement; what was
    erased before it is not drawn."""


class OpenedSignatures(msgspec.Struct, frozen=True):
    """The openings, each of which is in the ledger now."""

    items: list[OpenedSignature]


class EvidenceDocument(msgspec.Struct, frozen=True):
    """A look at the evidence, for everybody."""

    id: str
    state: str
    petition: str
    """Its stream."""
    by: str
    sample: int
    commitment: str
    opened: list[int]
    """Positions."""
    asked_at: int | None = None
    """Position of the ``evidence.asked``, once the sample was drawn."""
    root: str | None = None
    signatures: int | None = None
    """From how many signatures the sample was drawn: those not erased before ``asked_at``."""
    secret: str | None = None


_ASKED = {"petition": examples.PETITION, "sample": 300, "commitment": "9f" * 32}
_DOCUMENT = {
    "id": _ID, "state": "drawn", "petition": examples.STREAM, "by": "organisation/council", "sample": 300,
    "commitment": "9f" * 32, "asked_at": 1050, "root": "5b" * 32, "signatures": 812, "secret": "c4" * 32,
    "opened": [17, 42],
}  # fmt: skip
_ERRORS = [*READING_ERRORS, NotFoundError, NotAllowedError, UnauthorisedIssuerError]


@router.post(
    "/v1/evidence",
    **describe(
        "Ask to see the evidence",
        """Announces that you will look at the evidence (the CMS) behind a random sample of a petition's
        signatures. Make a secret of 32 random bytes, send its hash, and keep it: the sample will follow from
        it and from the root of the log at this announcement, so that nobody can choose it. For councils, one
        look at a petition after the other: draw the earlier one first.""",
        status=201,
        gives=RecordedDocument,
        example=examples.SIGNED,
        takes={"application/json": (EvidenceRequest, _ASKED)},
        errors=[*_ERRORS, LookUndrawnError],
        secured=True,
    ),
)
async def ask(request: Request) -> Response:
    """Commit to a secret."""
    require_json(request)
    service, organisation = await authenticated(request)
    body = await request.body()
    asked = decode(body, EvidenceRequest)
    command = command_id(request, body, f"evidence {organisation}")
    work = service.evidence.ask(organisation, asked.petition, asked.sample, asked.commitment, command=command)
    return await record(service, command, work)


@router.post(
    "/v1/evidence/{id}/draw",
    **describe(
        "Draw the sample",
        """Shows the secret. From the answer's event everybody can compute which signatures are looked at, and
        that you and the operator had no say in it.""",
        status=201,
        gives=RecordedDocument,
        example=examples.SIGNED,
        takes={"application/json": (SecretRequest, {"secret": "c4" * 32})},
        errors=_ERRORS,
        secured=True,
    ),
)
async def draw(request: Request, id: Id) -> Response:
    """Show the secret."""
    require_json(request)
    service, organisation = await authenticated(request)
    body = await request.body()
    asked = decode(body, SecretRequest)
    command = command_id(request, body, f"evidence {id}")
    return await record(
        service, command, service.evidence.draw(organisation, id, asked.secret, command=command)
    )


@router.post(
    "/v1/evidence/{id}/openings",
    **describe(
        "Open signatures of the sample",
        f"""Up to {MAX_OPENED} at a time. Each opening is recorded in the ledger before it is shown; asked for
        again, it is shown again. What was erased cannot be shown.""",
        gives=OpenedSignatures,
        example={
            "items": [
                {
                    "position": 42,
                    "entry": examples.ENTRY,
                    "disclosures": [examples.DISCLOSURE],
                    "erased": False,
                }
            ]
        },
        takes={"application/json": (OpeningRequest, {"positions": [42]})},
        errors=[*_ERRORS, NotInSampleError],
        secured=True,
    ),
)
async def open_signatures(request: Request, id: Id) -> Response:
    """Record, then show."""
    require_json(request)
    service, organisation = await authenticated(request)
    asked = decode(await request.body(), OpeningRequest)
    opened = await service.evidence.open(organisation, id, asked.positions)
    items = [
        OpenedSignature(
            one.position, one.entry.decode("ascii"), tuple(d.encoded for d in one.disclosures), one.erased
        )
        for one in opened
    ]
    return answer(request, OpenedSignatures(items), cache=NEVER)


@router.get(
    "/v1/evidence/{id}",
    **describe(
        "Read a look at the evidence",
        """Who looks at which petition's signatures, how the sample was drawn, and what was opened. Nothing of
        what was opened is shown.""",
        gives=EvidenceDocument,
        example=_DOCUMENT,
        errors=[NotFoundError],
    ),
)
async def read(request: Request, id: Id) -> Response:
    """For everybody."""
    evidence = await service_of(request).evidence.load(id)
    document = EvidenceDocument(
        id, evidence.state, evidence.of, evidence.by, evidence.sample, evidence.commitment,
        opened=sorted(evidence.opened),
    )  # fmt: skip
    if evidence.state == "drawn":
        drawn = evidence.drawn
        document = msgspec.structs.replace(
            document, asked_at=drawn.asked_at, root=drawn.root, signatures=drawn.signatures,
            secret=drawn.secret,
        )  # fmt: skip
    return answer(request, document, cache=FRESH)
