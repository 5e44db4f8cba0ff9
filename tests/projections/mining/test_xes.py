"""XES as the standard asks for it, and as a stranger's program reads it."""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from projections.mining import xes
from projections.mining.cases import Case, CaseEvent, Selection, snapshot
from tests.projections.mining import logs

SOURCE = Path(__file__).resolve().parents[3] / "src"
SPACE = "{http://www.xes-standard.org/}"
ORDER = ("extension", "global", "classifier", "string", "int", "trace")


def document(ledger, selection=None):
    with snapshot(ledger.url, selection) as found:
        return b"".join(xes.write(found))


def texts(element):
    return {child.get("key"): child.get("value") for child in element if child.tag != f"{SPACE}event"}


@pytest.mark.parametrize("variant", ["chunk_regex", "iterparse", "line_by_line", "iterparse_20"])
def test_pm4py_reads_every_case_and_every_event(ledger, tmp_path, variant):
    logs.write_town(ledger)
    table = logs.xes_table(ledger.url, tmp_path, variant=variant)
    assert table["case:concept:name"].nunique() == logs.CASES
    assert len(table) == logs.EVENTS
    assert set(table["position"]) == set(range(17)) - {0, 1, 2, 7}
    part = table[table["case:concept:name"] == f"{logs.JT}1-1"]
    assert list(part["concept:name"]) == ["appeal.split_off", "appeal.decided"]
    assert list(part["case:parent"]) == [f"{logs.JT}1"] * 2


def test_an_event_says_what_happened_when_and_who_sealed_it_where(ledger):
    logs.write_town(ledger)
    root = logs.parsed(document(ledger))
    traces = {texts(trace)["concept:name"]: trace for trace in root.iter(f"{SPACE}trace")}
    filed = traces[f"{logs.JT}2"]
    about = texts(filed)
    assert about["body"] == logs.REGION  # forwarded
    assert (about["kind"], about["channel"], about["region"]) == ("application", "paper", "71")
    assert "outcome" not in about
    first, second = (texts(event) for event in filed.iter(f"{SPACE}event"))
    assert (first["concept:name"], first["version"], first["position"]) == ("appeal.submitted", "1", "4")
    assert (second["concept:name"], second["to"], second["late"]) == (
        "appeal.forwarded",
        logs.REGION,
        "false",
    )
    assert first["time:timestamp"] == "2026-03-02T04:00:04.000+00:00"
    for event in (first, second):
        assert event["org:group"] == logs.OPERATOR
        assert event["lifecycle:transition"] == "complete"
        assert len(event["kid"]) == 43


def test_an_imported_step_has_the_word_and_the_time_of_the_old_register(ledger):
    logs.write_town(ledger)
    root = logs.parsed(document(ledger, Selection(imported=True)))
    traces = list(root.iter(f"{SPACE}trace"))
    assert len(traces) == 2
    assert texts(traces[0])["register"] == "journal"
    assert texts(traces[0])["outcome"] == "satisfied"
    steps = [texts(event) for event in traces[0].iter(f"{SPACE}event")]
    assert [step["concept:name"] for step in steps] == ["Received (in person)", "Passed on", "Answered"]
    assert [step["type"] for step in steps] == ["appeal.imported", *["appeal.step_imported"] * 2]
    assert steps[1]["time:timestamp"] == "2019-03-05T06:00:00.276+00:00"


def test_elements_and_names_are_as_the_schema_of_the_standard_has_them(ledger):
    logs.write_town(ledger)
    root = logs.parsed(document(ledger))
    assert root.tag == f"{SPACE}log"
    assert re.fullmatch(r"[0-9.]+", root.get("xes.version"))
    order = [ORDER.index(child.tag.removeprefix(SPACE)) for child in root]
    assert order == sorted(order)
    prefixes = {child.get("prefix") for child in root.iter(f"{SPACE}extension")}
    for trace in root.iter(f"{SPACE}trace"):
        kinds = [child.tag == f"{SPACE}event" for child in trace]
        assert kinds == sorted(kinds)
    for element in root.iter():
        key = element.get("key")
        if key is not None:
            assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(:[a-z]+)?", key)
            prefix, colon, _ = key.partition(":")
            assert not colon or prefix in prefixes
    declared = {child.get("key") for part in root.iter(f"{SPACE}global") for child in part}
    for event in root.iter(f"{SPACE}event"):
        assert declared <= set(texts(event))


def test_the_log_names_the_position_at_which_it_stands(ledger):
    logs.write_town(ledger)
    about = texts(logs.parsed(document(ledger)))
    assert about["as_of"] == str(ledger.head)


def test_what_is_appended_meanwhile_is_not_in_it(ledger):
    logs.write_town(ledger)
    with snapshot(ledger.url) as found:
        pieces = xes.write(found)
        as_of = found.as_of
        ledger.add(f"{logs.JT}3", logs.submitted())
        content = b"".join(pieces)
        assert found.as_of == as_of == ledger.head - 1
    assert content.count(b"<trace>") == logs.CASES
    assert document(ledger).count(b"<trace>") == logs.CASES + 1


@pytest.mark.parametrize(
    ("selection", "streams"),
    [
        (Selection(body=logs.REGION), {f"{logs.JT}2", f"{logs.JT}1-1"}),
        (Selection(since=logs.START), {f"{logs.JT}1", f"{logs.JT}1-1", f"{logs.JT}2"}),
        (Selection(until=logs.START), {logs.IM + "1", logs.IM + "2"}),
        (Selection(until=logs.START, since=logs.START), set()),
        (Selection(body=logs.TOWN, imported=True), {logs.IM + "1", logs.IM + "2"}),
        (Selection(body="organisation/elsewhere"), set()),
    ],
)
def test_appeals_are_chosen_by_body_and_by_when_they_began(ledger, selection, streams):
    logs.write_town(ledger)
    with snapshot(ledger.url, selection) as found:
        assert {case.stream for case in found.cases()} == streams


def test_the_program_itself_knows_nothing_of_pm4py():
    # Its licence (AGPL) would become ours.
    for file in SOURCE.rglob("*.py"):
        assert "pm4py" not in file.read_text("utf-8"), file


def test_an_empty_ledger_is_an_empty_log(ledger):
    root = logs.parsed(document(ledger))
    assert texts(root)["as_of"] == "-1"
    assert not list(root.iter(f"{SPACE}trace"))


def case_of(facts):
    """A case without a database."""
    events = [
        CaseEvent(
            n, n, logs.TOWN, "k" * 43, "appeal.imported", getattr(fact, "activity", "x"), fact.happened, fact
        )
        for n, fact in enumerate(facts, 1)
    ]
    return Case("appeal/IM-abcdefghijklmnopqrstuv", tuple(events))


class Told:
    """A snapshot that is told its cases."""

    origin, root, as_of, selection = "log.example", "x", 1, Selection()

    def __init__(self, cases):
        self._cases = cases

    def cases(self):
        yield from self._cases

    def organisations(self):
        return {}


@pytest.mark.parametrize("word", ["'Received'", "Алынды / (қолма-қол)", "a, b: c-d."])
def test_a_word_of_the_register_comes_out_as_it_went_in(word, tmp_path):
    case = case_of(logs.imported(1, (word, word)))
    file = tmp_path / "words.xes"
    file.write_bytes(b"".join(xes.write(Told([case]))))
    for event in logs.parsed(file.read_bytes()).iter(f"{SPACE}event"):
        assert texts(event)["concept:name"] == word
    assert set(logs.read_xes(file, variant="iterparse")["concept:name"]) == {word}


def test_text_that_xml_has_no_characters_for_does_not_break_the_log(tmp_path):
    case = case_of(logs.imported(1, ("Word",)))
    odd = replace(case.events[0], activity="<&\"'> \x00\ufffe\ud800 end")
    content = b"".join(xes.write(Told([replace(case, events=(odd,))])))
    event = next(logs.parsed(content).iter(f"{SPACE}event"))
    assert texts(event)["concept:name"] == "<&\"'> \ufffd\ufffd\ufffd end"


def test_a_log_of_any_length_is_written_in_little_memory():
    case = case_of(logs.imported(1, ("Received", "Passed on", "Answered")))
    count = 3000
    tracemalloc.start()
    size = sum(map(len, xes.write(Told(replace(case, stream=f"appeal/{n}") for n in range(count)))))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 1000 * count
    assert peak < size / 2
