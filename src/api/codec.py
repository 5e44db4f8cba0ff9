"""Reading requests and writing answers: strict JSON in, cacheable JSON out."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.problems import JsonInvalidError, MediaTypeError, RequestError

T = TypeVar("T")
JSON = "application/json"

FRESH = "public, max-age=2, stale-while-revalidate=10"
"""For numbers: a crowd's questions are answered by a cache, and nobody sees them older than seconds."""
STEADY = "public, max-age=60"
"""For what hardly changes: an entry with its disclosures, which may be taken away."""
NEVER = "no-store"
"""For commands, and for what one person alone asked."""
PRIVATE = "private, no-cache"
"""For what one organisation asks again and again: it may keep the answer, and asks whether it still holds."""


def media_type(request: Request) -> str:
    """The body's media type in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(request: Request) -> None:
    """Raises :class:`MediaTypeError` for a body that says to be something else."""
    if media_type(request) != JSON:
        raise MediaTypeError(f"Send the body as {JSON}, with this Content-Type.")


def decode(body: bytes, kind: type[T]) -> T:
    """A JSON body as ``kind``. Raises :class:`JsonInvalidError` or :class:`RequestError`."""
    try:
        value = msgspec.json.decode(body, type=kind)
        if not _plainly_unique(body, value):
            json.loads(body, object_pairs_hook=_unique)
        return value
    except msgspec.ValidationError as error:
        raise RequestError(f"The body is not as described: {error}.") from None
    except RecursionError:
        raise JsonInvalidError("The body is nested too deeply.") from None
    except (ValueError, msgspec.MsgspecError) as error:
        raise JsonInvalidError(f"The body cannot be read as JSON: {_reason(error)}.") from None


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _plainly_unique(body: bytes, value: object) -> bool:
    """Whether a flat object of texts has no room for a second value of any name.

    Each name and each text has two quotes. Looking closer takes longer than all other decoding of a
    signature, and is needed for other bodies only.
    """
    texts = [text for text in _fields(value) if text is not None]
    flat = all(isinstance(text, str) for text in texts)
    return flat and b"\\" not in body and body.count(b'"') == 4 * len(texts)


def _fields(value: object) -> tuple[object, ...]:
    return msgspec.structs.astuple(value) if isinstance(value, msgspec.Struct) else (value,)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return names


def answer(
    request: Request,
    value: Any,  # noqa: ANN401 - what msgspec encodes
    *,
    cache: str = FRESH,
    etag: str | None = None,
) -> Response:
    """``value`` as JSON, or 304 where the client has it already.

    ``etag`` is the opaque tag without quotes; by default a digest of the body, so that an answer whose
    disclosed texts were taken away is never taken for the same.
    """
    return respond(request, msgspec.json.encode(value), JSON, cache=cache, etag=etag)


def respond(
    request: Request, body: bytes, media_type: str, *, cache: str, etag: str | None = None
) -> Response:
    """Any body with its validator (RFC 9110, section 13.1.2)."""
    tag = f'"{etag or hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": cache}
    if request.method in ("GET", "HEAD") and _known(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)


def created(
    value: Any,  # noqa: ANN401 - what msgspec encodes
    location: str,
    *,
    version: int | None = None,
    replayed: bool = False,
) -> Response:
    """201 for a recorded command."""
    headers = {"location": location, "cache-control": NEVER}
    if version is not None:
        headers["etag"] = f'"{version}"'
    if replayed:
        headers["idempotency-replayed"] = "true"
    return Response(msgspec.json.encode(value), 201, headers=headers, media_type=JSON)


def _known(header: str | None, tag: str) -> bool:
    if header is None:
        return False
    return header.strip() == "*" or tag in {part.strip().removeprefix("W/") for part in header.split(",")}
