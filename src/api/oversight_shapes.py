"""The JSON of the council's calls, with examples: what every number means stands in :data:`MEANINGS`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from projections.appeal_trail import CaseStep
from projections.oversight import AXES, Worse
from projections.oversight_stays import NAMES

MEANINGS = {
    "received": "Registrations with a body: `forwarded_away + appeals`.",
    "forwarded_away": "Of these, sent on whole to another body.",
    "forwarded_late": "Of these, sent on after the three working days for it.",
    "appeals": "Appeals, each where it lies: `answered + unanswered`.",
    "unanswered": "`open + returned + withdrawn + lapsed + closed`.",
    "open": "Waiting for their answer.",
    "returned": "With the applicant, to be mended.",
    "withdrawn": "Taken back.",
    "lapsed": "Not mended in time.",
    "closed": "Ended without an answer, by what was decided about a complaint.",
    "answered": "With a decision that stands: `in_time + late + term_unknown`, and the sum of the outcomes.",
    "in_time": "Answered before the term ended.",
    "late": "Answered after it; once late is late.",
    "term_unknown": "Answered; the old register says no term.",
    "explained": "Outcome: explained.",
    "satisfied": "Outcome: satisfied.",
    "refused": "Outcome: refused.",
    "noted": "Outcome: taken note of.",
    "terminated": "Outcome: terminated, for a ground of the law.",
    "outcome_unknown": "Outcome: the old register does not say.",
    "returns": "Returns for fixing; an appeal may be returned more than once.",
    "extended": "Whose term was extended.",
    "deemed_refusals": "Whose term of consideration passed without an answer.",
    "forwarded_over_twice": "Appeals that were forwarded three times or more.",
    "reopened": "Opened again by a higher body.",
    "hearings": "Hearings held.",
    "hearings_unattended": "Hearings to which the applicant did not come.",
    "complaints": "Complaints: the sum of the ten numbers from `complaints_pending` on.",
    "complaints_about_silence": "Of these, about silence; the others are about a decision.",
    "complaints_pending": "Complaints not decided yet.",
    "complaints_satisfied": "Complaints that the body itself satisfied in full.",
    "cancelled": "Complaints: the higher body cancelled the decision.",
    "cancelled_anew": "Complaints: it cancelled and decided anew.",
    "obliged": "Complaints: it obliged the body to decide.",
    "dismissed": "Complaints: dismissed.",
    "left_unconsidered": "Complaints: left unconsidered.",
    "remitted": "Complaints: it sent the case back to be decided again.",
    "upheld": "Complaints: it satisfied the complaint.",
    "complaints_unknown": "Complaints decided; the old register does not say how.",
    "complaints_overdue": "Terms that passed: to satisfy a complaint or pass it up, and to decide about one.",
}
"""What each number of the figures is."""
_SHARE = "Part of the answers that came late, of those whose term is known."
_DAYS = "Calendar days from registration to answer, nearest-rank."

OversightLine: Any = msgspec.defstruct(
    "OversightLine",
    [
        *((axis, str | UnsetType, UNSET) for axis in AXES),
        ("name_kk", str | UnsetType | None, UNSET),
        ("name_ru", str | UnsetType | None, UNSET),
        *((name, Annotated[int | None, Meta(description=MEANINGS[name])], None) for name in NAMES),
        ("late_share", Annotated[float | None, Meta(description=_SHARE)], None),
        ("median_days", Annotated[int | None, Meta(description=f"Median. {_DAYS}")], None),
        ("p90_days", Annotated[int | None, Meta(description=f"Ninetieth percentile. {_DAYS}")], None),
        (
            "suppressed",
            Annotated[bool, Meta(description="Numbers are held back that would tell of fewer than five.")],
            False,
        ),
    ],
    kw_only=True,
    module=__name__,
    namespace={"__doc__": "The numbers of one line; what is held back is null."},
)


class OversightTable(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one period, line by line."""

    period: str
    by: str
    where: dict[str, str]
    """What all lines have in common."""
    items: list[OversightLine]
    total: OversightLine
    """Of all lines together, on whatever page they stand."""
    suppressed: bool
    """Whether numbers of fewer than five are held back: for everybody but oversight councils."""
    next: str | None
    """The ``cursor`` of the next page; none on the last one."""
    as_of: int


class OversightBody(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one body in a year."""

    body: str
    name_kk: str | None
    name_ru: str | None
    period: str
    total: OversightLine
    months: list[OversightLine]
    suppressed: bool
    as_of: int


class WorseBody(Worse, frozen=True, kw_only=True):
    """A body whose answers got worse."""

    name_kk: str | None
    name_ru: str | None


class WorseTable(msgspec.Struct, frozen=True, kw_only=True):
    """Bodies that got worse, the worst first."""

    period: str
    before: str
    """The period compared with."""
    measure: str
    measured: str
    """The same in words."""
    min_cases: int
    items: list[WorseBody]
    suppressed: bool
    as_of: int


class AppealTrail(msgspec.Struct, frozen=True, kw_only=True):
    """One case, step by step."""

    number: str
    stream: str
    items: list[CaseStep]
    as_of: int


# --- examples ---------------------------------------------------------------------------------------

_COUNTED = {
    "received": 1042, "forwarded_away": 41, "forwarded_late": 7, "appeals": 1001, "unanswered": 101,
    "open": 60, "returned": 12, "withdrawn": 14, "lapsed": 9, "closed": 6, "answered": 900, "in_time": 819,
    "late": 81, "explained": 512, "satisfied": 301, "refused": 60, "noted": 20, "terminated": 7,
    "returns": 21, "extended": 95, "deemed_refusals": 88, "forwarded_over_twice": 6, "reopened": 5,
    "hearings": 58, "hearings_unattended": 11, "complaints": 44, "complaints_about_silence": 17,
    "complaints_pending": 9,
    "complaints_satisfied": 10, "dismissed": 13, "remitted": 5, "upheld": 7, "complaints_overdue": 6,
}  # fmt: skip
NUMBERS: dict[str, Any] = dict.fromkeys(NAMES, 0) | _COUNTED | {
    "late_share": 0.09, "median_days": 11, "p90_days": 19, "suppressed": False,
}  # fmt: skip
_NAMED = {"body": "organisation/village", "name_kk": "Ауыл әкімдігі", "name_ru": "Акимат села"}
TABLE = {
    "period": "2026", "by": "body", "where": {}, "items": [_NAMED | NUMBERS], "total": NUMBERS,
    "suppressed": False, "next": None, "as_of": 1043,
}  # fmt: skip
BODY = _NAMED | {
    "period": "2026", "total": NUMBERS, "months": [{"month": "2026-01"} | NUMBERS], "suppressed": False,
    "as_of": 1043,
}  # fmt: skip
WORSE = {
    "period": "2026", "before": "2025", "measure": "late_share",
    "measured": "Growth of the part of the answers that came late.", "min_cases": 20,
    "items": [_NAMED | {
        "change": 0.05, "answered": 900, "answered_before": 870, "late_share": 0.09,
        "late_share_before": 0.04, "median_days": 11, "median_days_before": 9,
    }],
    "suppressed": False, "as_of": 1043,
}  # fmt: skip
TRAIL = {
    "number": "ЖТ-2026-00000001", "stream": "appeal/JT-2026-00000001",
    "items": [{
        "n": 1, "position": 12, "time": "2026-03-02T06:00:00Z", "recorded": "2026-03-02T06:00:00Z",
        "days": None, "issuer": "organisation/operator", "role": "gateway", "type": "appeal.submitted",
        "facts": {"kind": "application", "body": "organisation/village", "category": "housing"},
        "state": "registered", "term": "consideration", "due": "2026-03-27T19:00:00Z",
    }],
    "as_of": 1043,
}  # fmt: skip
CSV = "month,received,forwarded_away,as_of\r\n2026-01,1042,41,1043\r\n"
PARQUET = "PAR1…PAR1"
