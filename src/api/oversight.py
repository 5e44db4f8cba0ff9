"""Queries of oversight councils, and of everybody: figures over appeals, and one case's trail.

Whoever brings the token of an organisation of kind ``council`` sees every number; everybody else sees what
:mod:`projections.suppression` lets through.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from psycopg import AsyncConnection
from pydantic import BeforeValidator
from starlette.responses import Response

from api import oversight_shapes as shapes
from api.openapi import describe
from api.parameters import AppealStream, Cursor, Number, Slug, organisation
from api.problems import RequestError
from api.service import service_of
from api.tables import MEDIA_TYPES, Column, Format, Table, chosen, send
from api.tokens import organisation_of
from ledger.application import NotFoundError
from ledger.domain.appeal import talon_number
from ledger.domain.calendar import ALMATY
from ledger.encoding import b64url, b64url_decode
from ledger.errors import AiqynError
from ledger.events import AppealKind, Category, Channel, Region
from projections import appeal_trail, organisations, oversight
from projections.appeal_case import Origin
from projections.base import CursorInvalidError
from projections.oversight import BreakdownUnknownError, CouncilsOnlyError, Line, Question, Worsening
from projections.oversight_stays import NAMES
from projections.suppression import LEAST

router = APIRouter(tags=["oversight"])

MAX_LINES = 10_000
By = Literal["body", "month", "kind", "category", "region", "channel", "origin"]
FIGURES = (
    *(Column(name) for name in NAMES),
    Column("late_share", "number"),
    Column("median_days"),
    Column("p90_days"),
    Column("suppressed", "flag"),
)
SORTED_BY = frozenset({*NAMES, "late_share", "median_days", "p90_days"})
MEASURED: dict[Worsening, str] = {
    "late_share": "Growth of the part of the answers that came late, of those whose term is known.",
    "median_days": "Growth of the median of the calendar days from registration to answer.",
}


def _order(value: object) -> object:
    if isinstance(value, str) and value != "key" and value.removeprefix("-") not in SORTED_BY:
        raise ValueError("must be key, or a number of the table, with - in front for the largest first")
    return value


Period = Annotated[
    str,
    Query(
        pattern=r"^[0-9]{4}(-(0[1-9]|1[0-2]))?$",
        description="A year or a month of registration.",
        examples=["2026", "2026-03"],
    ),
]
AskedFormat = Annotated[
    Format | None, Query(alias="format", description="Instead of the header `Accept`; JSON by default.")
]


_FILES = "Also as CSV and as Parquet, by `Accept` or `?format=`."
_HELD_BACK = (
    "Counts of fewer than five are held back (null, `suppressed`), and others with them so that none can be "
    "computed; the token of an oversight council shows all."
)


def _describe(
    summary: str,
    text: str,
    *,
    figures: bool = True,
    errors: Iterable[type[AiqynError]],
    **options: Any,  # noqa: ANN401 - as describe takes
) -> dict[str, Any]:
    told = [inspect.cleandoc(text), f"{_FILES} {_HELD_BACK}" if figures else _FILES]
    described = describe(
        summary, "\n\n".join(told), errors=[RequestError, *errors], secured=figures, open_too=True, **options
    )
    binary = {"type": "string", "format": "binary"}
    described["responses"][200]["content"] |= {
        MEDIA_TYPES["csv"].partition(";")[0]: {"schema": {"type": "string"}, "example": shapes.CSV},
        MEDIA_TYPES["parquet"]: {"schema": binary, "example": shapes.PARQUET},
    }
    described["responses"][200]["headers"] = {
        "Aiqyn-As-Of": {
            "description": "Position that the numbers stand at.", "schema": {"type": "integer"},
        }
    }  # fmt: skip
    return described


@router.get(
    "/v1/oversight/appeals",
    **_describe(
        "Count appeals",
        """How many appeals of a year or a month there are by body, month, kind, category, region, channel or
        origin, of all or of one body or one value; answered in time or late, extended, forwarded, with which
        outcome, complained about, and in how many days. One page has `limit` lines (100 as JSON, all of them
        as a file); the answer's header `Link` and the member `next` lead to the next one.""",
        gives=shapes.OversightTable,
        example=shapes.TABLE,
        errors=[BreakdownUnknownError, CouncilsOnlyError, CursorInvalidError],
    ),
)
async def count_appeals(
    request: Request,
    period: Period,
    by: Annotated[By, Query(description="What each line is about.")] = "body",
    body: Annotated[str | None, organisation("Only appeals with this organisation.")] = None,
    kind: Annotated[AppealKind | None, Query(description="Only appeals of this kind.")] = None,
    category: Annotated[Category | None, Query(description="Only appeals about this.")] = None,
    region: Annotated[
        Region | Literal["unknown"] | None, Query(description="Only appeals from this region.")
    ] = None,
    channel: Annotated[Channel | None, Query(description="Only appeals that came this way.")] = None,
    origin: Annotated[
        Origin | None,
        Query(description="Only appeals that were filed here, split off another one, or imported."),
    ] = None,
    sort: Annotated[
        str,
        BeforeValidator(_order),
        Query(description="A number, or `key`; `-` in front puts the largest first. Nulls come last."),
    ] = "key",
    limit: Annotated[Number | None, Query(ge=1, le=MAX_LINES, description="Lines on a page.")] = None,
    cursor: Cursor = None,
    asked: AskedFormat = None,
) -> Response:
    """A table of figures."""
    format_ = chosen(request, asked)
    asked_for = {"kind": kind, "category": category, "region": region, "channel": channel, "origin": origin}
    named = {name: str(value) for name, value in asked_for.items() if value is not None}
    where = ({} if body is None else {"body": body}) | named
    question = Question(period, by, body, tuple(named.items()))  # type: ignore[arg-type]  # names of dimensions
    service = service_of(request)
    async with service.snapshot() as connection:
        council = await _is_council(connection, request)
        found = await oversight.figures(connection, question, council=council, kept=service.figures)
        size = limit or (100 if format_ == "json" else MAX_LINES)
        lines, following = _page(found.lines, sort, cursor, size)
        names = await oversight.names(connection, [line.key for line in lines] if by == "body" else [])
    table = _table(by, lines, names, found.as_of)
    total = _numbers(found.total)
    document = {
        "period": period, "by": by, "where": where,
        "items": table.objects() if format_ == "json" else [], "total": total, "suppressed": not council,
        "next": following, "as_of": found.as_of,
    }  # fmt: skip
    return send(
        request, table, document, format_, name=f"appeals-{period}-by-{by}",
        about={"period": period, "by": by, **where}, private=council, following=following,
    )  # fmt: skip


@router.get(
    "/v1/oversight/bodies/{slug}",
    **_describe(
        "See how a body answers",
        """One body's year as `total`, and its months. As a file, the months alone.""",
        gives=shapes.OversightBody,
        example=shapes.BODY,
        errors=[NotFoundError],
    ),
)
async def read_body(
    request: Request,
    slug: Slug,
    period: Annotated[
        str | None, Query(pattern=r"^[0-9]{4}$", description="A year; the current one by default.")
    ] = None,
    asked: AskedFormat = None,
) -> Response:
    """One body's page."""
    format_ = chosen(request, asked)
    service = service_of(request)
    year = period or f"{service.ledger.now().astimezone(ALMATY).year:04}"
    body = f"organisation/{slug}"
    async with service.snapshot() as connection:
        council = await _is_council(connection, request)
        names = await oversight.names(connection, [body])
        if body not in names:
            raise NotFoundError(f"There is no organisation {slug!r}.")
        found = await oversight.of_body(connection, body, year, council=council, kept=service.figures)
    table = _table("month", found.lines, {}, found.as_of)
    document = {
        "body": body, "name_kk": names[body].name_kk, "name_ru": names[body].name_ru, "period": year,
        "total": _numbers(found.total), "months": table.objects(), "suppressed": not council,
        "as_of": found.as_of,
    }  # fmt: skip
    about = {"period": year, "by": "month", "body": body}
    return send(
        request, table, document, format_, name=f"appeals-{slug}-{year}", about=about, private=council
    )


@router.get(
    "/v1/oversight/worsening",
    **_describe(
        "See which bodies get worse",
        """Bodies whose part of late answers, or whose median time to answer, grew most against the year or
        month before, by how much it did. Only bodies with at least `min_cases` answers in both. Months are
        told to councils only.""",
        gives=shapes.WorseTable,
        example=shapes.WORSE,
        errors=[CouncilsOnlyError],
    ),
)
async def read_worsening(
    request: Request,
    period: Period,
    measure: Annotated[Worsening, Query(description="What grew.")] = "late_share",
    min_cases: Annotated[Number, Query(ge=LEAST, le=10**6, description="Answers in each period.")] = 20,
    limit: Annotated[Number, Query(ge=1, le=MAX_LINES, description="Lines at most.")] = 50,
    asked: AskedFormat = None,
) -> Response:
    """Which bodies get worse."""
    format_ = chosen(request, asked)
    service = service_of(request)
    async with service.snapshot() as connection:
        council = await _is_council(connection, request)
        found = await oversight.worsening(
            connection, period, measure, min_cases, council=council, kept=service.figures
        )
        items = found.items[:limit]
        names = await oversight.names(connection, [item.body for item in items])
    columns = [Column("body", "text"), Column("name_kk", "text"), Column("name_ru", "text")]
    columns += [
        Column(name, "number" if name in {"change", "late_share", "late_share_before"} else "integer")
        for name in oversight.Worse.__struct_fields__[1:]
    ]
    rows = [(item.body, *_names(names, item.body), *msgspec.structs.astuple(item)[1:]) for item in items]
    table = Table(columns, rows, found.as_of)
    document = {
        "period": period, "before": found.before, "measure": measure, "measured": MEASURED[measure],
        "min_cases": min_cases, "items": table.objects(), "suppressed": not council, "as_of": found.as_of,
    }  # fmt: skip
    return send(
        request, table, document, format_, name=f"worsening-{period}",
        about={"period": period, "before": found.before, "measure": measure, "min_cases": str(min_cases)},
        private=council,
    )  # fmt: skip


@router.get(
    "/v1/oversight/appeals/{number}/trail",
    **_describe(
        "Follow one case",
        """Every step of an appeal: who took it, in which role, when, how many days after the step before, and
        which term ran from then on. All of it stands in the log's entries, which name nobody; so nothing is
        held back here.""",
        figures=False,
        gives=shapes.AppealTrail,
        example=shapes.TRAIL,
        errors=[NotFoundError],
    ),
)
async def read_case(request: Request, number: AppealStream, asked: AskedFormat = None) -> Response:
    """The trail of a case."""
    format_ = chosen(request, asked)
    async with service_of(request).snapshot() as connection:
        trail = await appeal_trail.of(connection, number)
    if not trail.items:
        raise NotFoundError("There is no such appeal (a new one is shown within seconds).")
    shown = talon_number(trail.stream)
    kinds = {"n": "integer", "position": "integer", "days": "integer"} | dict.fromkeys(_TIMES, "time")
    columns = [
        Column(name, kinds.get(name, "text"))  # type: ignore[arg-type]
        for name in appeal_trail.CaseStep.__struct_fields__
    ]
    rows = [
        [
            msgspec.json.encode(value, order="sorted").decode() if isinstance(value, dict) else value
            for value in msgspec.structs.astuple(step)
        ]
        for step in trail.items
    ]
    document = {"number": shown, "stream": trail.stream, "items": trail.items, "as_of": trail.as_of}
    return send(
        request, Table(columns, rows, trail.as_of), document, format_,
        name=trail.stream.replace("/", "-"), about={"number": shown},
    )  # fmt: skip


_TIMES = ("time", "recorded", "due")


async def _is_council(connection: AsyncConnection[Any], request: Request) -> bool:
    """Whether a council asks. Raises for a token that is not valid: its owner expects to see more."""
    if "authorization" not in request.headers:
        return False
    found = await organisations.get(connection, await organisation_of(connection, request))
    return found is not None and found.kind == "council"


# --- lines, pages, tables -----------------------------------------------------------------------------


def _table(by: str, lines: Iterable[Line], names: dict[str, oversight.Names], as_of: int) -> Table:
    columns = [Column(by, "text")]
    if by == "body":
        columns += [Column("name_kk", "text"), Column("name_ru", "text")]
    rows = [(line.key, *(_names(names, line.key) if by == "body" else ()), *_values(line)) for line in lines]
    return Table([*columns, *FIGURES], rows, as_of)


def _values(line: Line) -> tuple[Any, ...]:
    return (*line.numbers, line.late_share, line.median_days, line.p90_days, line.suppressed)


def _numbers(line: Line) -> dict[str, Any]:
    return dict(zip((column.name for column in FIGURES), _values(line), strict=True))


def _names(names: dict[str, oversight.Names], body: str) -> tuple[str | None, str | None]:
    found = names.get(body)
    return (None, None) if found is None else (found.name_kk, found.name_ru)


def _page(lines: Sequence[Line], sort: str, cursor: str | None, limit: int) -> tuple[list[Line], str | None]:
    """The lines behind a cursor, in order, and the cursor of what follows. Raises ``CursorInvalidError``."""
    name = sort.removeprefix("-")
    falls = sort.startswith("-")

    def place(value: float | None, key: str) -> tuple[bool, float, str]:
        return value is None, -(value or 0) if falls else value or 0, key

    def placed(line: Line) -> tuple[bool, float, str]:
        return place(_value(line, name), line.key)

    ordered = sorted(lines, key=placed)
    if cursor is not None:
        after = place(*_parse(cursor, sort))
        ordered = [line for line in ordered if placed(line) > after]
    page = ordered[:limit]
    if len(ordered) <= limit:
        return page, None
    return page, b64url(msgspec.json.encode([sort, _value(page[-1], name), page[-1].key]))


def _value(line: Line, name: str) -> float | None:
    """What a line is sorted by, before its key."""
    if name == "key":
        return 0
    found: float | None = getattr(line, name) if name in _DERIVED else line[name]
    return found


_DERIVED = frozenset({"late_share", "median_days", "p90_days"})


def _parse(cursor: str, sort: str) -> tuple[float | None, str]:
    try:
        if re.fullmatch(r"[A-Za-z0-9_-]+", cursor, re.ASCII) is None:
            raise ValueError
        order, value, key = msgspec.json.decode(b64url_decode(cursor), type=tuple[str, float | None, str])
        if order != sort:
            raise ValueError
    except (ValueError, msgspec.MsgspecError):
        raise CursorInvalidError from None
    return value, key
