"""Published numbers against the recount at the same position."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from audit.findings import Finding
from audit.history import Petition
from audit.published import Numbers


def compare(numbers: Numbers, petition: Petition | None) -> Iterator[Finding]:
    """Findings for everything that one answer says otherwise than the log up to its ``as_of``.

    ``petition`` is the recount; None if the log knows no such petition. The log must have been replayed
    beyond ``numbers.as_of``.
    """
    as_of = numbers.as_of
    state = None if petition is None else petition.state_at(as_of)
    if petition is None or state is None:
        yield _finding("published-petition", numbers, "a petition", numbers.id, "no such petition")
        return
    recount = petition.counted(as_of)
    said: list[tuple[str, str, object, object]] = [
        ("published-count", "signatures", numbers.count, recount.count),
        ("published-count", "signatures given", numbers.signed, recount.signed),
        ("published-count", "signatures withdrawn", numbers.withdrawn, recount.withdrawn),
        ("published-count", "signatures voided", numbers.voided, recount.voided),
        ("published-state", "the state", numbers.state, state),
    ]
    published = petition.published_at is not None and petition.published_at <= as_of
    required = petition.required if published else None
    said.append(("published-threshold", "the threshold", numbers.required, required))
    # That the threshold is reached is published once it is announced, which comes a moment later.
    if numbers.reached_at is not None and numbers.reached_at is not UNSET:
        reached = petition.enough_at(as_of)
        what = "the position at which the threshold was reached"
        said.append(("published-threshold", what, numbers.reached_at, reached))
    for rule, what, published_value, recounted in said:
        if published_value is not UNSET and published_value != recounted:
            yield _finding(rule, numbers, what, published_value, recounted)
    if numbers.by_region is not UNSET:
        yield from _regions(numbers, numbers.by_region, recount.by_region)


def _regions(numbers: Numbers, published: dict[str, int], recounted: dict[str, int]) -> Iterator[Finding]:
    for region in sorted(published.keys() | recounted.keys()):
        ours, theirs = recounted.get(region, 0), published.get(region, 0)
        if ours != theirs:
            yield _finding("published-region", numbers, f"signatures from region {region}", theirs, ours)
    if (total := sum(published.values())) != numbers.count:
        yield Finding(
            rule="published-total",
            reason=f"The regions of petition {numbers.id} add up to {total}, its total is {numbers.count}.",
            position=numbers.as_of if numbers.as_of >= 0 else None,
            evidence={"petition": numbers.id, "total": numbers.count, "sum": total},
        )


def _finding(rule: str, numbers: Numbers, what: str, published: object, recounted: object) -> Finding:
    return Finding(
        rule=rule,
        reason=(
            f"Published for petition {numbers.id} as of {numbers.as_of}: {what} = {published}; "
            f"the log up to there gives {recounted}."
        ),
        position=numbers.as_of if numbers.as_of >= 0 else None,
        evidence={"petition": numbers.id, "published": str(published), "recounted": str(recounted)},
    )
