"""What ``docs/integrators.md`` says of the states of an appeal and of the commands about it, from the code.

``python -m tests.docs.integrators`` writes it anew.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import msgspec

from ledger import events
from ledger.appeals import _FACTS as ACTS
from ledger.application import OWN_CALLS, SPOKEN_FOR
from ledger.domain.aggregate import Issuance, happen
from ledger.domain.appeal import Appeal, filing_terms, numbered
from projections.appeal_case import State
from tests.docs.catalogue import DOCS

PAGE = DOCS / "integrators.md"
BEGIN, END = "<!-- {}:begin -->\n", "<!-- {}:end -->"
WHOSE = {
    events.AppealAssignmentAnswered: " of the body that was asked",
    events.AppealComplaintDecided: " of the higher body",
    events.AppealApplicantTold: " of the body that has to tell",
}
"""Where it is not the body that the appeal lies with."""


def of_appeals():
    """Every fact that can happen to an appeal that has begun, in the order of its life."""
    return [
        cls for type_, cls in events.catalogue.items() if type_ in Appeal.transitions and cls not in OWN_CALLS
    ]


def commands():
    """What bodies post."""
    return [cls for cls in of_appeals() if cls.issuers <= SPOKEN_FOR]


def act_of(cls):
    """The act by which an applicant takes this step, if it is theirs."""
    return next((act for act, fact in ACTS.items() if fact is cls), None)


def states():
    """What can happen next, state by state, and who does it."""
    rows = ["| state | the bodies | the applicant | by itself |", "|---|---|---|---|"]
    for state in get_args(State):
        here = [cls for cls in of_appeals() if state in Appeal.transitions[cls.type]]
        bodies = [_short(cls) for cls in here if cls.issuers <= SPOKEN_FOR]
        applicant = [f"`{act_of(cls)}`" for cls in here if act_of(cls)]
        clock = [_short(cls) for cls in here if cls.issuers == {"clock"}]
        rows.append(f"| **{state}** | {_all(bodies)} | {_all(applicant)} | {_all(clock)} |")
    return "\n".join(rows) + "\n"


def table():
    """Each command: who posts it, when, and with what."""
    rows = [
        "| `appeal.…` | what | role | when | `data` | may be left out | `disclosures` |",
        "|---|---|---|---|---|---|---|",
    ]
    for cls in commands():
        filled = computed(cls)
        said = [field for field in msgspec.structs.fields(cls) if field.name not in filled]
        known = [field for field in msgspec.structs.fields(cls) if field.name in filled]
        rows.append(
            f"| {_short(cls)} | {_what(cls)} | {_role(cls)} | {_when(cls)} "
            f"| {_all(f'`{f.name}`' + ('' if f.required else '?') for f in said)} "
            f"| {_all(f'`{f.name}`' for f in known)} | {_texts(cls)} |"
        )
    return "\n".join(rows) + "\n"


def words():
    """The values of fields that take one of some words."""
    rows = ["| field | of | values |", "|---|---|---|"]
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for cls in commands():
        for field in msgspec.structs.fields(cls):
            for kind in (field.type, *get_args(field.type)):
                if type(kind).__name__ == "_LiteralGenericAlias":
                    found.setdefault((field.name, get_args(kind)), []).append(_short(cls))
    for (name, values), of in found.items():
        rows.append(f"| `{name}` | {', '.join(of)} | {', '.join(f'`{value}`' for value in values)} |")
    return "\n".join(rows) + "\n"


def computed(cls):
    """The fields that the service fills in where they are left out: what the law gives, and what follows."""
    at = datetime(2026, 3, 2, 6, tzinfo=UTC)
    facts = events.AppealSubmitted(
        kind="application", applicant="person", body="organisation/water", channel="paper", lang="kk",
        category="utilities", **filing_terms("application", at),
    )  # fmt: skip
    appeal = happen(Appeal, numbered("person", 2026, 1), None, facts, Issuance("organisation/office", "", at))
    appeal.state = min(Appeal.transitions[cls.type])
    for procedure, steps in Appeal.conditions.get(cls.type, {}).items():
        setattr(appeal, procedure, min(steps))
    names = set()
    for draft in (None, ("explained", None), ("terminated", "court-case")):
        appeal.draft = draft
        for outcome in (None, *get_args(events.ComplaintOutcome)):
            names |= set(appeal.lawful(cls, at, {"outcome": outcome} if outcome else {}))
    return names


def rewritten(page):
    """The page with its tables as the code has them."""
    for name, made in (("states", states()), ("commands", table()), ("words", words())):
        before, _, rest = page.partition(BEGIN.format(name))
        _, _, after = rest.partition(END.format(name))
        page = f"{before}{BEGIN.format(name)}{made}{END.format(name)}{after}"
    return page


def _what(cls):
    """The first sentence of what the catalogue says of it."""
    return (
        " ".join(cls.__doc__.split("\n\n")[0].split()).partition(". ")[0].partition(" (")[0].rstrip(".") + "."
    )


def _role(cls):
    return ", ".join(sorted(cls.issuers)) + WHOSE.get(cls, "")


def _when(cls):
    conditions = [
        f"`{procedure}` {' or '.join(f'`{step}`' for step in sorted(steps))}"
        for procedure, steps in Appeal.conditions.get(cls.type, {}).items()
    ]
    in_order = [state for state in get_args(State) if state in Appeal.transitions[cls.type]]
    return "; ".join([", ".join(in_order), *conditions])


def _texts(cls):
    names = sorted((cls.public | cls.restricted) - {"attachments"})
    return _all([f"`{name}`" for name in names] + ["`attachments`?"] * ("attachments" in cls.restricted))


def _short(cls):
    return f"`{cls.type.removeprefix('appeal.')}`"


def _all(items):
    return ", ".join(items) or "—"


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text("utf-8")), "utf-8")
