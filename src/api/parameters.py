"""What calls take in their path and their query, read strictly, and everywhere in the same way."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BeforeValidator

from api import examples
from ledger.application import NotFoundError
from ledger.domain.appeal import appeal_stream
from ledger.domain.wording import is_petition_id

MAX_POSITION = 2**63 - 1
MAX_PAGE = 100


def decimal(value: object) -> object:
    """``value``, unless it is text that is no plain number: then :class:`ValueError`."""
    # What int() accepts besides ("+1", " 1", "1_0", other scripts' digits) would give one page two names.
    if isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,18}", value, re.ASCII) is None:
        raise ValueError("must be decimal digits without sign or leading zero")
    return value


def _moment(value: object) -> object:
    # What pydantic takes besides (seconds since 1970, no offset) would give one moment several meanings.
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)"
    if isinstance(value, str) and re.fullmatch(form, value, re.ASCII) is None:
        raise ValueError("must be a moment such as 2026-03-02T06:00:00Z")
    return value


def _day(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII) is None:
        raise ValueError("must be a day such as 2026-03-02")
    return value


def _flag(value: object) -> object:
    if isinstance(value, str) and value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value


def _petition(value: object) -> object:
    if not isinstance(value, str) or not is_petition_id(value):
        raise NotFoundError("There is no such petition: its id is a lower-case UUID.")
    return value


def _appeal(value: object) -> object:
    stream = appeal_stream(value) if isinstance(value, str) else None
    if stream is None:
        raise NotFoundError("There is no such appeal: its number is such as ЖТ-2026-00000001.")
    return stream


Number = Annotated[int, BeforeValidator(decimal)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Day = Annotated[date, BeforeValidator(_day)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Position = Annotated[Number, Path(ge=0, le=MAX_POSITION, description="Position of an entry in the log.")]
AppealStream = Annotated[
    str,
    BeforeValidator(_appeal),
    Path(
        alias="number",
        description="Number of the talon; Latin JT and ZT are taken too, a part's stroke is a dash.",
        examples=["ЖТ-2026-00000001"],
    ),
]
Below = Annotated[
    Number | None,
    Query(ge=0, le=MAX_POSITION, description="Only what stands at positions below this one."),
]
Limit = Annotated[Number, Query(ge=1, le=MAX_PAGE, description="Length of the page.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the page before, as it is.")]
PetitionId = Annotated[
    str,
    BeforeValidator(_petition),
    Path(
        description="Lower-case UUID of the petition.",
        json_schema_extra={"format": "uuid"},
        examples=["6f1e9a52-8c1d-4b39-9a57-0d1f0f6f2a11"],
    ),
]
Slug = Annotated[
    str,
    Path(pattern=r"^[A-Za-z0-9_-]{1,100}$", description="Behind `organisation/`.", examples=["village"]),
]


def organisation(description: str) -> Any:  # noqa: ANN401 - as FastAPI's Query gives it
    """The query's name of an organisation, by which a list is narrowed."""
    return Query(
        max_length=200,
        pattern=r"^organisation/[A-Za-z0-9_-]+$",
        description=description,
        examples=[examples.BODY],
    )
