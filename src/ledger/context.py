"""Rules that need more than one stream: who a body is, and what the law says of it.

An aggregate knows its own events only. What stands in another stream is looked up here, in the
:class:`~ledger.keys.Directory`, before an event is appended; the streams that it was read from must not
change until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ledger import events
from ledger.domain import terms
from ledger.domain.aggregate import Issuance, LedgerAggregate, NotAllowedError, require
from ledger.domain.petition import Petition
from ledger.events import Fact, OrganisationKind, OrganisationRegistered
from ledger.keys import Directory

_BODIES: frozenset[OrganisationKind] = frozenset({"authorised-body", "central", "akimat", "maslikhat"})
ADDRESSED: dict[str, frozenset[OrganisationKind]] = {
    "petition": _BODIES,
    "appeal": _BODIES | {"institution"},
}
"""Kinds of organisations that petitions and appeals are addressed to."""

YEARS = range(1900, 2200)
"""What every calendar, database and reader of an export can show, in any time zone."""


class UnknownBodyError(NotAllowedError):
    """No such organisation is registered, or it is none that these are addressed to."""

    code = "body-unknown"
    title = "This is not a body that can be addressed"


def require_body(directory: Directory, stream: str, room: str) -> OrganisationRegistered:
    """The organisation that a petition or an appeal may be addressed to. Raises :class:`UnknownBodyError`."""
    found = directory.organisation(stream)
    if found is None or found.kind not in ADDRESSED[room]:
        raise UnknownBodyError(f"{stream} is not a body that {room}s are addressed to.", body=stream)
    return found


def check(directory: Directory, facts: Fact, by: Issuance, aggregate: LedgerAggregate | None) -> set[str]:
    """Raises ``NotAllowedError`` for what the aggregate cannot know to be wrong.

    Returns the streams of organisations that must not change until the event is appended.
    """
    _require_years(facts)
    match facts:
        case events.PetitionRouted():
            require_body(directory, facts.body, "petition")
        case events.PetitionRegistered():
            lawful = terms.consider_until(by.at, require_body(directory, by.iss, "petition"))
            require(
                facts.consider_until == lawful,
                f"The term of consideration ends at {lawful.isoformat()}.",
                lawful=lawful.isoformat(),
            )
        case events.PetitionPublished() if isinstance(aggregate, Petition):
            required, population = terms.threshold(require_body(directory, aggregate.body, "petition"), by.at)
            require(
                (facts.required, facts.population) == (required, population),
                f"The threshold of this petition is {required}.",
            )
            return {aggregate.body}
        case events.AppealSubmitted() | events.AppealSplitOff() | events.AppealImported():
            require_body(directory, facts.body, "appeal")
        case (
            events.AppealForwarded()
            | events.AppealForwardedInPart()
            | events.AppealAssigned()
            | events.AppealComplaintPassedUp()
        ):
            require_body(directory, facts.to, "appeal")
        case _:
            pass
    return set()


def _require_years(facts: Fact) -> None:
    for name in events.dated(type(facts)):
        if (value := getattr(facts, name)) is not None:
            require(value.year in YEARS, f"{name} lies between the years {YEARS[0]} and {YEARS[-1]}.")


def lawful(
    directory: Directory,
    facts: type[Fact],
    by: Issuance,
    aggregate: LedgerAggregate | None,
    said: Mapping[str, Any],
) -> dict[str, Any]:
    """Fields of ``facts`` that the law decides, which may be left out of what is ``said``."""
    if facts is events.PetitionRegistered:
        return {"consider_until": terms.consider_until(by.at, require_body(directory, by.iss, "petition"))}
    return aggregate.lawful(facts, by.at, said) if aggregate is not None else {}
