"""Tables for people with spreadsheets and notebooks: the same rows as JSON, CSV and Parquet.

CSV is RFC 4180 in UTF-8 with a header line; a text that a spreadsheet would take for a formula begins with an
apostrophe there. Parquet has typed columns. Every answer says as of which position its numbers stand: in the
header ``Aiqyn-As-Of``, and within the file as the member, the column or the schema's metadata ``as_of``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.codec import FRESH, JSON, NEVER, respond

Format = Literal["json", "csv", "parquet"]
Kind = Literal["text", "integer", "number", "flag", "time"]
MEDIA_TYPES: dict[Format, str] = {
    "json": JSON,
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
AS_OF = "Aiqyn-As-Of"
VARY = "Accept, Authorization"
_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a cell begins with that a spreadsheet reads as a formula, full-width forms included."""


class Column(NamedTuple):
    """One column of a table."""

    name: str
    kind: Kind = "integer"


class Table(NamedTuple):
    """Rows of values, in the order of the columns; what is absent or held back is None."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    as_of: int

    def objects(self) -> list[msgspec.Struct]:
        """The rows as they stand in JSON."""
        # Thousands of rows with dozens of columns: a struct is made and encoded much faster than a dict.
        row_of = _row_type(*(column.name for column in self.columns))
        return [row_of(*row) for row in self.rows]


@lru_cache(maxsize=64)
def _row_type(*names: str) -> type[msgspec.Struct]:
    return msgspec.defstruct("Row", names, gc=False)


def chosen(request: Request, asked: Format | None) -> Format:
    """The format that was asked for by name, or else the one that ``Accept`` likes best; JSON by default."""
    if asked is not None:
        return asked
    best: tuple[float, Format] = (0.0, "json")
    for part in request.headers.get("accept", "").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        for format_ in get_args(Format):
            if name == MEDIA_TYPES[format_].partition(";")[0] and (weight := _weight(parameters)) > best[0]:
                best = (weight, format_)
    return best[1]


def send(
    request: Request,
    table: Table,
    document: Any,  # noqa: ANN401 - what msgspec encodes
    format_: Format,
    *,
    name: str,
    about: Mapping[str, str],
    private: bool = False,
    following: str | None = None,
) -> Response:
    """``document`` as JSON, or the table as a file of that ``name``; with its validator.

    ``about`` goes with a Parquet file. ``following`` is the cursor of the next page.
    """
    match format_:
        case "json":
            body = msgspec.json.encode(document)
        case "csv":
            body = to_csv(table)
        case "parquet":
            body = to_parquet(table, about)
    answer = respond(request, body, MEDIA_TYPES[format_], cache=NEVER if private else FRESH)
    answer.headers[AS_OF] = str(table.as_of)
    answer.headers["vary"] = VARY
    if format_ != "json":
        answer.headers["content-disposition"] = f'attachment; filename="{name}.{format_}"'
    if following is not None:
        next_page = request.url.include_query_params(cursor=following)
        answer.headers["link"] = f'<{next_page.path}?{next_page.query}>; rel="next"'
    return answer


def to_csv(table: Table) -> bytes:
    """With the position in a column of its own, the last one."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow([*(column.name for column in table.columns), "as_of"])
    written_as = [(i, _CELLS[column.kind]) for i, column in enumerate(table.columns) if column.kind in _CELLS]
    for row in table.rows:
        cells = [*row, table.as_of]
        for index, text_of in written_as:
            if cells[index] is not None:
                cells[index] = text_of(cells[index])
        writer.writerow(cells)
    return written.getvalue().encode()


def to_parquet(table: Table, about: Mapping[str, str]) -> bytes:
    """With the position in the schema's metadata, beside what else is told ``about`` the table."""
    # Takes a tenth of a second and many megabytes: only who asks for Parquet pays for it.
    import pyarrow
    from pyarrow import parquet

    types = {
        "text": pyarrow.string(),
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "flag": pyarrow.bool_(),
        "time": pyarrow.timestamp("us", tz="UTC"),
    }
    schema = pyarrow.schema(
        [(column.name, types[column.kind]) for column in table.columns],
        metadata={**about, "as_of": str(table.as_of)},
    )
    columns = list(zip(*table.rows, strict=True)) if table.rows else [() for _ in table.columns]
    arrays = [pyarrow.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
    written = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), written, compression="zstd")
    return written.getvalue()


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_RISKY) else text


def _instant(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


_CELLS: dict[Kind, Callable[[Any], str]] = {
    "text": _safe,
    "flag": lambda flag: "true" if flag else "false",
    "time": _instant,
}
"""How values of a kind are written in CSV; the others as they are, and None as nothing."""


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
