"""Builders: a town's appeals of every sort, and pm4py as the stranger who reads what is exported."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta
from xml.etree import ElementTree

from ledger import events
from projections.mining import ocel, xes
from projections.mining.cases import Selection, snapshot
from tests.projections.written import START

__all__ = ["START"]

OPERATOR = "organisation/operator"
TOWN = "organisation/town"
REGION = "organisation/region"
JT = "appeal/JT-2026-0000000"
BEGUN = datetime(2026, 3, 2, 5, 0, tzinfo=UTC)
IM = "appeal/IM-abcdefghijklmnopqrstu"
LATER = BEGUN + timedelta(days=30)


def organisation(name):
    return events.OrganisationRegistered(
        kind="akimat", level="district", region="71", names=events.Names(kk=name, ru=name)
    )


def submitted(body=TOWN, **more):
    fields = {"kind": "application", "applicant": "person", "channel": "electronic", "category": "housing"}
    return events.AppealSubmitted(
        **{**fields, **more}, body=body, lang="kk", registered_on=date(2026, 3, 2), forward_until=LATER,
        due=LATER, algorithm="RSA-SHA256",
    )  # fmt: skip


def split_off(parent, body=REGION):
    return events.AppealSplitOff(
        kind="application", applicant="person", channel="electronic", category="roads-transport", lang="kk",
        body=body, registered_on=date(2026, 3, 2), forward_until=LATER, due=LATER, parent=parent,
    )  # fmt: skip


def forwarded(to=REGION):
    return events.AppealForwarded(
        to=to, late=False, registered_on=date(2026, 3, 3), forward_until=LATER, due=LATER, tell_until=LATER
    )


def decided(outcome="explained"):
    return events.AppealDecided(outcome=outcome, late=True, complain_until=LATER)


def remitted():
    return events.AppealComplaintDecided(outcome="remit", late=False, due=LATER)


def imported(number, activities, start=datetime(2019, 3, 4, 5, 0, 0, 276_000, tzinfo=UTC)):
    """The facts of one case of an old register."""
    first, *others = activities
    yield events.AppealImported(
        register="journal", kind="complaint", applicant="person", body=TOWN, channel="paper",
        category="land", lang="ru", registered_on=start.date(), step="registered", activity=first,
        happened=start + timedelta(days=number),
    )  # fmt: skip
    for hours, activity in enumerate(others, 1):
        outcome = "satisfied" if activity == "Answered" else None
        yield events.AppealStepImported(
            step="decided" if outcome else "note", activity=activity, outcome=outcome,
            happened=start + timedelta(days=number, hours=hours),
        )  # fmt: skip


def write_town(ledger):
    """Five appeals, two of them imported, among other streams."""
    for stream in (OPERATOR, TOWN, REGION):
        ledger.add(stream, organisation(stream))
    ledger.add(f"{JT}1", submitted())
    ledger.add(f"{JT}2", submitted(channel="paper", region="71"))
    ledger.add(f"{JT}1", events.AppealForwardedInPart(to=REGION, number=1, late=False, tell_until=LATER))
    ledger.add(f"{JT}1-1", split_off(f"{JT}1"))
    ledger.add("reading/appeal/JT-2026-00000001/a", events.DisclosureRead(
        of=f"{JT}1", events=2, purpose="consideration"
    ))  # fmt: skip
    ledger.add(f"{JT}2", forwarded())
    ledger.add(f"{JT}1", decided())
    ledger.add(f"{JT}1-1", decided("refused"))
    for number in (1, 2):
        for facts in imported(number, ("Received (in person)", "Passed on", "Answered")):
            ledger.add(f"{IM}{number}", facts)


CASES, EVENTS = 5, 13
"""What :func:`write_town` leaves in the room of appeals."""


def exported(url, write, file, selection=None):
    """The event log in a file."""
    with snapshot(url, selection or Selection()) as found:
        file.write_bytes(b"".join(write(found)))
    return file


def parsed(content):
    """The elements of an XML document of our own."""
    return ElementTree.fromstring(content)  # noqa: S314 - written here


def read_xes(path, **options):
    """As pm4py's table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pm4py

        return pm4py.read_xes(str(path), **options)


def read_ocel(path):
    """As pm4py's log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pm4py

        return pm4py.read_ocel2_json(str(path))


def xes_table(url, folder, **options):
    """Exported and read again."""
    return read_xes(exported(url, xes.write, folder / "appeals.xes"), **options)


def ocel_log(url, folder, selection=None):
    """Exported and read again."""
    return read_ocel(exported(url, ocel.write, folder / "appeals.jsonocel", selection))
