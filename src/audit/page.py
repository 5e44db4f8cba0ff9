"""A report as one HTML file: no script, nothing to be loaded, nothing of the log's that could be markup."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from unicodedata import category

from jinja2 import Environment, StrictUndefined, Template

from audit.report import Growth, Report
from audit.summary import VERDICT, number, verdict

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 80, 710, 16, 212


@dataclass(frozen=True)
class Curve:
    """One petition's growth as a picture."""

    growth: Growth
    path: str
    """Numbers and letters of an SVG path; empty if nobody signed."""
    most: int
    """What the highest line stands for."""
    threshold: float | None
    """Height of the threshold's line; None where it lies above the picture."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM

    @property
    def first(self) -> int:
        """Seconds since 1970 of the first change."""
        return self.growth.points[0][0]

    @property
    def last(self) -> int:
        """Seconds since 1970 of the last change."""
        return self.growth.points[-1][0]

    @property
    def rows(self) -> Iterator[tuple[int, int]]:
        """The points at which the count is another than before."""
        before = None
        for at, signatures in self.growth.points:
            if signatures != before:
                yield at, signatures
            before = signatures


def curve(growth: Growth) -> Curve:
    """Time to the right, signatures upwards; the threshold is shown once a tenth of it is reached."""
    highest = max((signatures for _, signatures in growth.points), default=0)
    if highest == 0:
        return Curve(growth, "", 0, None)
    required = growth.required
    shown = required is not None and highest * 10 >= required
    most = max(highest, required) if required is not None and shown else highest
    first, last = growth.points[0][0], growth.points[-1][0]
    span = max(1, last - first)

    def height(signatures: int) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * max(0, signatures) / most, 1)

    places = [
        f"{round(LEFT + (RIGHT - LEFT) * (at - first) / span, 1)} {height(signatures)}"
        for at, signatures in growth.points
    ]
    path = f"M{places[0]}" + "".join(f"L{place}" for place in places[1:])
    if len(places) == 1:
        path += f"H{RIGHT}"
    return Curve(growth, path, most, height(required) if required is not None and shown else None)


def page(report: Report) -> bytes:
    """The whole file, UTF-8."""
    text = _template().render(
        report=report,
        verdict=VERDICT[report.status][0].partition(" ")[2],
        said=verdict(report),
        first=report.resumed_at,
        curves=[curve(growth) for growth in report.growth],
    )
    return text.encode()


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, finalize=_shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "moment": _moment, "day": _day}
    return environment.from_string(files("audit").joinpath("report.html.jinja").read_text("utf-8"))


def _shown(value: object) -> object:
    """What a log says, without characters that are not seen but work; it is escaped after this."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(
        c if c == "\n" or category(c) not in _UNSEEN else "\N{REPLACEMENT CHARACTER}" for c in value
    )


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _time(moment: datetime | int) -> datetime | None:
    try:
        return moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _moment(moment: datetime | int) -> str:
    at = _time(moment)
    return f"second {moment}" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _day(moment: int) -> str:
    at = _time(moment)
    return f"second {moment}" if at is None else f"{at:%Y-%m-%d}"
