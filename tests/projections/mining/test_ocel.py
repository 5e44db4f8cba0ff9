"""OCEL 2.0 as the specification asks for it, and as a stranger's program reads it."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from datetime import datetime

from projections.mining import ocel
from projections.mining.cases import Selection, snapshot
from tests.projections.mining import logs
from tests.projections.mining.test_xes import Told, case_of

TYPES = {"string": str, "time": str, "integer": int, "boolean": bool}


def document(ledger, selection=None):
    with snapshot(ledger.url, selection) as found:
        return json.loads(b"".join(ocel.write(found)))


def by_id(items):
    found = {item["id"]: item for item in items}
    assert len(found) == len(items)
    return found


def ties(item):
    return [(tie["objectId"], tie["qualifier"]) for tie in item["relationships"]]


def test_pm4py_reads_every_case_and_every_event(ledger, tmp_path):
    logs.write_town(ledger)
    log = logs.ocel_log(ledger.url, tmp_path)
    assert len(log.events) == logs.EVENTS
    types = log.objects["ocel:type"].value_counts()
    assert types["appeal"] == logs.CASES
    assert types["organisation"] == 3
    assert types["key"] == 1
    assert {"Passed on", "appeal.submitted"} <= set(log.events["ocel:activity"])


def test_every_value_is_declared_and_every_tie_has_its_object(ledger):
    logs.write_town(ledger)
    found = document(ledger)
    objects = by_id(found["objects"])
    by_id(found["events"])
    for items, kinds in (("events", "eventTypes"), ("objects", "objectTypes")):
        declared = {kind["name"]: {a["name"]: a["type"] for a in kind["attributes"]} for kind in found[kinds]}
        assert len(declared) == len(found[kinds])
        for item in found[items]:
            for attribute in item["attributes"]:
                assert type(attribute["value"]) is TYPES[declared[item["type"]][attribute["name"]]]
                datetime.fromisoformat(attribute.get("time", "1970-01-01T00:00:00Z"))
            for other, qualifier in ties(item):
                assert other in objects
                assert qualifier


def test_an_event_names_the_appeal_the_bodies_and_the_key(ledger):
    logs.write_town(ledger)
    events = by_id(document(ledger)["events"])
    kid = ties(events["3"])[2][0]
    assert ties(events["3"]) == [
        (f"{logs.JT}1", "of"), (logs.OPERATOR, "by"), (kid, "sealed with"), (logs.TOWN, "to"),
    ]  # fmt: skip
    assert (logs.REGION, "to") in ties(events["8"])
    assert events["12"]["type"] == "Passed on"
    assert events["12"]["time"] == "2019-03-05T06:00:00.276000Z"


def test_a_part_stays_tied_to_the_whole(ledger):
    logs.write_town(ledger)
    found = document(ledger)
    events, objects = by_id(found["events"]), by_id(found["objects"])
    assert (f"{logs.JT}1-1", "part") in ties(events["5"])
    assert (f"{logs.JT}1", "parent") in ties(events["6"])
    assert (f"{logs.JT}1", "part of") in ties(objects[f"{logs.JT}1-1"])


def test_an_appeal_knows_with_whom_it_was_and_since_when(ledger):
    logs.write_town(ledger)
    appeal = by_id(document(ledger)["objects"])[f"{logs.JT}2"]
    bodies = [(a["value"], a["time"]) for a in appeal["attributes"] if a["name"] == "body"]
    assert bodies == [(logs.TOWN, ocel.ALWAYS), (logs.REGION, "2026-03-02T04:00:08Z")]
    assert ties(appeal) == [(logs.TOWN, "was with"), (logs.REGION, "with")]
    constant = {a["name"]: a["value"] for a in appeal["attributes"] if a["time"] == ocel.ALWAYS}
    assert (constant["kind"], constant["channel"], constant["region"]) == ("application", "paper", "71")


def test_an_outcome_that_a_complaint_opened_again_is_none_any_more(ledger):
    stream = f"{logs.JT}1"
    ledger.add(stream, logs.submitted())
    ledger.add(stream, logs.decided())
    ledger.add(stream, logs.remitted())
    appeal = by_id(document(ledger)["objects"])[stream]
    assert [a["value"] for a in appeal["attributes"] if a["name"] == "outcome"] == ["explained", ""]
    with snapshot(ledger.url) as found:
        (case,) = found.cases()
        assert [change.value for change in case.outcomes] == ["explained", ""]


def test_what_is_tied_to_an_appeal_that_was_not_chosen_is_known_by_its_name(ledger):
    logs.write_town(ledger)
    found = document(ledger, Selection(body=logs.REGION))
    objects = by_id(found["objects"])
    assert objects[f"{logs.JT}1"]["attributes"] == []
    assert objects[f"{logs.JT}2"]["attributes"] != []


def test_the_log_names_the_position_at_which_it_stands(ledger):
    logs.write_town(ledger)
    assert document(ledger)["log"]["as_of"] == ledger.head


def test_an_empty_ledger_is_an_empty_log(ledger):
    found = document(ledger)
    assert (found["events"], found["objects"], found["eventTypes"]) == ([], [], [])


def test_a_log_of_any_length_is_written_in_little_memory():
    case = case_of(logs.imported(1, ("Received", "Passed on", "Answered")))
    count = 3000
    tracemalloc.start()
    size = sum(map(len, ocel.write(Told(replace(case, stream=f"appeal/{n}") for n in range(count)))))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 1000 * count
    assert peak < size / 2
