"""The one hot call: a person signs a petition. A plain route, decoded and encoded by msgspec."""

from __future__ import annotations

from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from api import examples
from api.citizens import READING_ERRORS, SIGNATURE_ERRORS, record
from api.codec import decode, media_type
from api.idempotency import command_id
from api.openapi import describe
from api.problems import MediaTypeError, RequestError
from api.routes import NamedRoute
from api.service import service_of
from api.shapes import RecordedDocument, SigningRequest
from ledger.application import NotFoundError
from ledger.citizens import AlreadySignedError, SignerTooYoungError
from ledger.domain.petition import PetitionClosedError
from ledger.domain.wording import is_petition_id
from ledger.errors import AiqynError
from ledger.events import Region
from ledger.store.append import StreamConflictError

CMS_TYPES = ("application/pkcs7-signature", "application/cms", "application/pkcs7-mime")
_BINARY = {"type": "string", "format": "binary"}


async def sign_petition(request: Request) -> Response:
    """Record a signature and answer with its receipt."""
    service = service_of(request)
    petition: str = request.path_params["id"]
    try:
        if not is_petition_id(petition):
            raise NotFoundError("A petition's id is a lower-case UUID.")
        body = await request.body()
        cms, region = _read(request, body)
        command = command_id(request, body, f"citizen {request.scope['path']}")
        work = service.desk.sign(petition, cms, region=region, command=command)
        answer = await record(service, command, work)
    except AiqynError as error:
        service.metrics.signings.labels(error.code).inc()
        raise
    service.metrics.signings.labels(
        "recorded" if "idempotency-replayed" not in answer.headers else "repeated"
    ).inc()
    return answer


def _read(request: Request, body: bytes) -> tuple[bytes | str, Region | None]:
    kind = media_type(request)
    if kind == "application/json":
        asked = decode(body, SigningRequest)
        return asked.cms, asked.region
    if kind not in CMS_TYPES:
        raise MediaTypeError(f"Send JSON, or the CMS itself as {CMS_TYPES[0]} or {CMS_TYPES[1]}.")
    region = request.query_params.get("region")
    if region is not None and region not in get_args(Region):
        raise RequestError("region is two digits of ISO 3166-2:KZ, such as 71, or left out.")
    return body, region  # type: ignore[return-value]  # checked the line before


ROUTE = NamedRoute(
    "/v1/petitions/{id}/signatures",
    sign_petition,
    "POST",
    tags=["citizens"],
    parameters=[
        {
            "name": "id",
            "in": "path",
            "required": True,
            "description": "Lower-case UUID of the petition.",
            "schema": {"type": "string", "format": "uuid"},
            "example": examples.PETITION,
        },
        {
            "name": "region",
            "in": "query",
            "description": "The signer's own declaration, where the body is the CMS itself.",
            "schema": {"type": "string", "enum": list(get_args(Region))},
        },
    ],
    described=describe(
        "Sign a petition",
        """Takes a CMS over the statement of `GET /v1/petitions/{id}/statement`, made with a natural person's
        signing certificate, as JSON or as the CMS itself. Counted once for each person. The answer is the
        receipt: the signature stands in the log, under a signed checkpoint.""",
        status=201,
        gives=RecordedDocument,
        example=examples.SIGNED,
        takes={
            "application/json": (SigningRequest, examples.SIGNING_REQUEST),
            **dict.fromkeys(CMS_TYPES, (_BINARY, "DER or PEM of the CMS")),
        },
        errors=[
            *READING_ERRORS, *SIGNATURE_ERRORS, NotFoundError, PetitionClosedError, AlreadySignedError,
            SignerTooYoungError, StreamConflictError,
        ],
    ),
)  # fmt: skip
