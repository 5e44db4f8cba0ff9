"""How the counts of petitions grew, in as few points as a picture needs."""

from __future__ import annotations

from collections.abc import Mapping

from audit.history import Petition
from audit.report import POINTS, Growth


def growth(petitions: Mapping[str, Petition], most: int) -> list[Growth]:
    """The petitions with most signatures, by the recount."""
    ordered = sorted(petitions.items(), key=lambda item: (-item[1].count, item[1].submitted_at))
    return [_growth(stream, petition) for stream, petition in ordered[:most]]


def _growth(stream: str, petition: Petition) -> Growth:
    return Growth(
        petition=stream.removeprefix("petition/"),
        state=petition.state,
        count=petition.count,
        required=petition.required,
        published_at=petition.published_at,
        reached_at=petition.enough_at(2**63 - 1),
        points=points(petition),
    )


def points(petition: Petition) -> list[tuple[int, int]]:
    """Times and counts, at equal distances of time between the first change and the last."""
    if not petition.times:
        return []
    first, last = min(petition.times), max(petition.times)
    if first == last:
        return [(first, petition.count)]
    steps, span = POINTS - 1, last - first
    changed = [0] * (steps + 1)
    for time, change in zip(petition.times, petition.signs(), strict=True):
        changed[-(-(time - first) * steps // span)] += change
    found, count = [], 0
    for step, change in enumerate(changed):
        count += change
        found.append((first + span * step // steps, count))
    return found
