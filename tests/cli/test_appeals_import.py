"""Moving in with an old register: mapped and checked on this side, recorded once on the other."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest

from cli.local import LocalService
from cli.main import SERVER_PARTS
from cli.register import client, mapping
from cli.register.cases import Cases, Refusal
from cli.register.csv_source import CsvSource
from cli.register.mapping import CsvForm, Mapper, MappingError, RowError
from cli.register.records import Broken, Record, RegisterError
from cli.register.xes_source import XesSource
from ledger.eds.authority import Authority
from ledger.imports import MAX_ROWS
from tests.cli.registers import (
    FINES,
    JOURNAL,
    MAPPINGS,
    RECEIPT,
    content,
    import_,
    mapped,
    needs_data,
    row,
    run,
    sample,
    some_cases,
    town,
    written,
)  # fmt: skip
from tests.projections.mining import logs

NOW = datetime(2026, 1, 1, tzinfo=UTC)


# --- the mapping ------------------------------------------------------------------------------------


def test_the_example_is_a_mapping_that_is_understood():
    status, printed = run("import", "--example-mapping")
    assert status == 0
    mapper = Mapper.parse(printed)
    assert mapper.csv.encoding == "windows-1251"
    assert {"Номер", "Операция", "Дата", "Срок", "ИИН"} <= mapper.columns


@pytest.mark.parametrize("file", sorted(MAPPINGS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_mappings_of_the_real_logs_are_understood(file):
    assert Mapper.load(file).columns


def without(line):
    return JOURNAL.replace(f"{line}\n", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("register = [", "Invalid"),
        (JOURNAL.replace('"journal"', '"Journal 1"'), "register"),
        (JOURNAL.replace('"paper"', '"fax"'), "[channel] 'fax' is none of electronic, oral"),
        (JOURNAL.replace('"utilities"', '"pipes"'), "[category] 'pipes' is none of"),
        (JOURNAL.replace('"explained"', '"told"'), "outcome"),
        (JOURNAL.replace('"taken"', '"took"'), "activity.steps"),
        (JOURNAL.replace('"В работе"', '"Дело 20190304"'), "'Дело 20190304' cannot stand in the ledger"),
        (JOURNAL.replace('format = "%d', 'zone = "Asia/Atlantis", format = "%d'), "no time zone"),
        (JOURNAL.replace("%d.%m.%Y %H:%M", "dd.mm.yyyy"), "[time] format"),
        (without('case = { column = "номер" }'), "case"),
        (without('time = { column = "дата", format = "%d.%m.%Y %H:%M" }'), "[activity] and [time]"),
        (JOURNAL + '[activity.default]\nstep = "note"\n', "[activity.default]"),
        ("colour = 1\n" + JOURNAL, "colour"),
    ],
)  # fmt: skip
def test_a_mapping_that_is_wrong_says_where(tmp_path, text, said):
    with pytest.raises(MappingError) as wrong:
        Mapper.load(mapped(tmp_path, text))
    assert said in str(wrong.value)
    assert "mapping.toml" in str(wrong.value)


def clock(text, form, zone="Asia/Almaty"):
    return mapping._Clock("time", mapping.Moment(column="t", format=form, zone=zone)).moment({"t": text})


@pytest.mark.parametrize(
    ("text", "form", "moment"),
    [
        ("1153699200.0", "epoch", "2006-07-24T00:00:00"),
        ("1153699200250", "epoch-ms", "2006-07-24T00:00:00.250"),
        ("-1", "epoch", "1969-12-31T23:59:59"),
        ("2011-10-11 13:45:40.276000+02:00", "iso", "2011-10-11T11:45:40.276"),
        ("2024-01-31T10:00:00Z", "iso", "2024-01-31T10:00:00"),
        ("2024-02-29 10:00", "iso", "2024-02-29T04:00:00"),  # UTC+6 until 01.03.2024
        ("2024-03-01 10:00", "iso", "2024-03-01T05:00:00"),
        ("04.03.2019", "%d.%m.%Y", "2019-03-03T18:00:00"),
        ("4/3/19 10:30 +0500", "%d/%m/%y %H:%M %z", "2019-03-04T05:30:00"),
        ("04.03.2019", ("%d.%m.%Y %H:%M", "%d.%m.%Y"), "2019-03-03T18:00:00"),
    ],
)
def test_times_are_read_in_the_form_and_the_zone_that_the_mapping_says(text, form, moment):
    assert clock(text, form) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("31.02.2019", "%d.%m.%Y"), ("today", "iso"), ("1e99", "epoch"), ("NaN", "epoch"), ("", "iso"),
        ("٣", "epoch"), ("9999-12-31T23:59:59-12:00", "iso"), ("0001-01-01", "iso"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text, form):
    with pytest.raises(RowError, match="time"):
        clock(text, form)


def test_a_term_that_is_a_day_ends_with_it():
    mapper = Mapper.parse(JOURNAL + '[due]\ncolumn = "срок"\nformat = "%d.%m.%Y"\n')
    values = {"операция": "Поступило", "дата": "04.03.2019 10:00", "срок": "19.03.2024"}
    assert mapper.steps(values)[0].due == datetime(2024, 3, 19, 19, tzinfo=UTC)


# --- the files ----------------------------------------------------------------------------------------


def records(source):
    return [found for found in source if isinstance(found, Record)]


def broken(source):
    return [(found.line, found.reason) for found in source if isinstance(found, Broken)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "windows-1251", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_is_read_as_its_form_says(tmp_path, encoding, delimiter):
    form = CsvForm(delimiter=delimiter, encoding=encoding.removesuffix("-sig"))
    cells = ("7", f'Сказал: "да{delimiter}нет"\nи ушёл', " x ")
    rows = [cells, ("8", "", "y")]
    names = ("номер", " б ", "в")
    path = written(tmp_path / "r.csv", rows, names, encoding=encoding, delimiter=delimiter)
    first, second = records(CsvSource(path, form))
    assert dict(first.values) == {"номер": "7", "б": cells[1], "в": "x"}
    assert (first.line, second.line) == (2, 4)


def test_rows_that_cannot_be_read_are_named_by_their_line(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(b"a,b\n1,2\n\n3\n4,5,6\n" + "7,ы\n".encode("cp1251") + b'"8"x,9\n10,11\n')
    source = CsvSource(path, CsvForm())
    assert [record.values["a"] for record in records(source)] == ["1", "10"]
    assert broken(source) == [
        (4, "The row has 1 cells, the register 2 columns."),
        (5, "The row has 3 cells, the register 2 columns."),
        (6, "The row has bytes that are not utf-8."),
        (7, "The row cannot be read: ',' expected after '\"'."),
    ]


@pytest.mark.parametrize(
    ("raw", "said"),
    [(b"", "no line of column names"), (b"a,a\n", "same name: a"), (b'"a\n', "no line of column names")],
)
def test_a_csv_without_sound_names_is_refused(tmp_path, raw, said):
    path = tmp_path / "r.csv"
    path.write_bytes(raw)
    with pytest.raises(RegisterError, match=said):
        CsvSource(path, CsvForm())


def test_an_unknown_encoding_is_named(tmp_path):
    with pytest.raises(RegisterError, match="'cp9999'"):
        CsvSource(written(tmp_path / "r.csv", []), CsvForm(encoding="cp9999"))


XES = """<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1.0" xmlns="http://www.xes-standard.org/">
  <global scope="event"><string key="concept:name" value="?"/></global>
  <string key="concept:name" value="log"/>
  <trace>
    <string key="concept:name" value="7"/>
    <list key="l"><values><string key="concept:name" value="inner"/></values></list>
    <event>
      <string key="concept:name" value="Received &amp; noted"><int key="concept:name" value="1"/></string>
      <date key="time:timestamp" value="2019-03-04T05:00:00Z"/>
    </event>
    <event><string key="concept:name" value="Answered"/></event>
    <string key="channel" value="Desk"/>
  </trace>
</log>
"""


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("text", [XES, XES.replace(' xmlns="http://www.xes-standard.org/"', "")])
def test_an_xes_is_read_with_the_traces_attributes_in_each_row(tmp_path, text, packed):
    path = tmp_path / ("r.xes.gz" if packed else "r.xes")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    first, second = records(XesSource(path))
    assert dict(first.values) == {
        "case:concept:name": "7", "case:channel": "Desk", "concept:name": "Received & noted",
        "time:timestamp": "2019-03-04T05:00:00Z",
    }  # fmt: skip
    assert (first.line, second.line) == (8, 12)


BOMB = (
    '<!DOCTYPE log [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'
    '<log><trace><string key="concept:name" value="&b;"/></trace></log>'
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, ":1: a document type is not read"),
        ('<!DOCTYPE log SYSTEM "file:///etc/passwd"><log/>', "a document type is not read"),
        (XES[:300], "this is not XML"),
        ("номер,дата\n", "this is not XML"),
        ("<html></html>", "an XES log was expected"),
    ],
)
def test_a_file_that_is_no_sound_xes_is_refused(tmp_path, text, said):
    path = tmp_path / "r.xes"
    path.write_text(text, "utf-8")
    with pytest.raises(RegisterError, match=said):
        list(XesSource(path))


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:-20], lambda raw: raw[:40] + b"x" * 40 + raw[80:], lambda _: b"x"]
)
def test_a_packed_file_that_is_not_whole_is_refused(tmp_path, spoil):
    path = tmp_path / "r.xes.gz"
    path.write_bytes(spoil(gzip.compress(XES.encode())))
    with pytest.raises(RegisterError, match="cannot be"):
        list(XesSource(path))


# --- cases --------------------------------------------------------------------------------------------


def cases_of(rows, text=JOURNAL):
    """What is ready, and what is refused, of rows by their line."""
    mapper = Mapper.parse(text)
    found = Cases(mapper, NOW)
    columns = ("номер", "операция", "дата", "тема", "ФИО", "ИИН", "срок")
    for line, cells in enumerate(rows, 2):
        found.add(line, dict(zip(columns, (*cells, *[""] * (len(columns) - len(cells))), strict=True)))
    found.check()
    ready = {case.number: json.loads(case.content) for case in found.ready()}
    refused = list(found.refusals())
    found.close()
    return ready, refused


def test_rows_are_put_together_by_case_and_ordered_by_time():
    rows = some_cases(3)
    random.Random(7).shuffle(rows)  # noqa: S311 - an order, not a secret
    ready, refused = cases_of(rows)
    assert refused == []
    assert set(ready) == {"0", "1", "2"}
    for case in ready.values():
        assert [step["step"] for step in case["rows"]] == ["registered", "taken", "decided"]
        assert case["rows"][0]["happened"] == "2019-03-04T10:00:00+06:00"
        assert case["category"] == "utilities"


def test_rows_of_the_same_moment_keep_the_order_of_the_file():
    ready, _ = cases_of([row(1, "В работе"), row(1, "Поступило")])
    assert [step["activity"] for step in ready["1"]["rows"]] == ["В работе", "Поступило"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (row(1, "Утеряно"), "'операция': 'Утеряно' is not in [activity.steps]"),
        (row(1, time="вчера"), "'дата': 'вчера' is no time of the form %d.%m.%Y %H:%M"),
        (row(1, time=""), "'дата' has no time"),
        (row(1, time="04.03.2039 10:00"), "has not come yet"),
    ],
)
def test_a_row_that_is_refused_takes_its_case_with_it_and_no_other(wrong, said):
    ready, (refusal,) = cases_of([row(1), row(2), wrong, row(2, "Ответ")])
    assert set(ready) == {"2"}
    assert (refusal.line, refusal.case) == (4, "1")
    assert said in refusal.reason


def test_what_is_personal_is_not_repeated_in_a_reason():
    ready, (refusal,) = cases_of([row(1, name="Қасымова Айжан", iin="90010130001")])
    assert ready == {}
    assert refusal.reason == "'ИИН' does not have the 12 digits of an IIN or a BIN."


def test_a_row_without_a_number_belongs_to_no_case():
    _, (refusal,) = cases_of([row("")])
    assert refusal == Refusal(2, None, "row-refused", "'номер' has no number of a case.")


def test_a_case_that_begins_with_an_outcome_or_never_ends_is_refused():
    long = [row(2, "В работе", f"04.03.2019 10:{n % 60:02}") for n in range(MAX_ROWS + 1)]
    ready, refused = cases_of([row(1, "Ответ"), *long])
    assert ready == {}
    assert [refusal.line for refusal in refused] == [2, 3]
    assert f"at most {MAX_ROWS} rows" in refused[1].reason


def test_a_term_is_told_where_it_is_new():
    terms = ("19.03.2019", "", "19.03.2019", "19.04.2019")
    rows = [(*row(1, "В работе", f"0{n}.03.2019 10:00"), due) for n, due in enumerate(terms, 4)]
    text = JOURNAL + '[due]\ncolumn = "срок"\nformat = "%d.%m.%Y"\n'
    ready, _ = cases_of(rows, text)
    found = [step.get("due") for step in ready["1"]["rows"]]
    assert found == ["2019-03-20T00:00:00+06:00", None, None, "2019-04-20T00:00:00+06:00"]


STAGES = (
    JOURNAL.partition("time =")[0]
    + """\
registered_on = { column = "дата", format = "%d.%m.%Y" }
[[stages]]
activity = "Поступило"
step = "registered"
time = { column = "дата", format = "%d.%m.%Y" }
[[stages]]
activity = "Ответ дан"
step = "decided"
time = { column = "срок", format = "%d.%m.%Y" }
outcome = { column = "тема", values = { "ЖКХ" = "satisfied" }, default = "noted" }
"""
)


def test_a_register_with_one_line_for_each_case_has_a_step_for_each_of_its_dates():
    rows = [(*row(n, time="04.03.2019"), due) for n, due in ((1, "19.03.2019"), (2, ""))]
    ready, refused = cases_of([*rows, row(3, time="")], STAGES)
    assert [(s["activity"], s.get("outcome")) for s in ready["1"]["rows"]] == [
        ("Поступило", None), ("Ответ дан", "satisfied"),
    ]  # fmt: skip
    assert [s["step"] for s in ready["2"]["rows"]] == ["registered"]
    assert ready["1"]["registered_on"] == date(2019, 3, 4).isoformat()
    assert refused[0].line == 4


# --- the command ----------------------------------------------------------------------------------------


def test_a_check_reads_everything_and_needs_no_service(tmp_path):
    register = written(tmp_path / "r.csv", [*some_cases(5), row(9, "Утеряно")])
    status, report, said = import_(register, mapped(tmp_path), "--check")
    assert status == 1
    assert (report["status"], report["lines"], report["cases"], report["refused"]) == ("checked", 16, 6, 1)
    assert (report["rows"], report["not_sent"], report["service"]) == (15, 5, None)
    assert report["refusals"] == [
        {"line": 17, "case": "9", "code": "row-refused",
         "reason": "'операция': 'Утеряно' is not in [activity.steps] of the mapping."}
    ]  # fmt: skip
    assert f"{register}:17: 'операция': 'Утеряно'" in said
    assert import_(written(register, some_cases(5)), mapped(tmp_path), "--check")[0] == 0


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        (("номер", "операция", "дата"), ("--check",), "has no column 'ИИН', 'ФИО', 'тема'"),
        (None, (), "--url"),
        (None, ("--url", "http://127.0.0.1:1"), "A token is needed"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_read(tmp_path, monkeypatch, columns, options, said):
    monkeypatch.delenv("AIQYN_TOKEN", raising=False)
    register = written(tmp_path / "r.csv", [], *([columns] if columns else []))
    status, report, printed = import_(register, mapped(tmp_path), *options)
    assert (status, report) == (2, None)
    assert said in printed


def test_a_register_moves_in_once_however_often_it_is_sent(database, tmp_path):
    with town(database, tmp_path) as place:
        register, mapping_ = written(tmp_path / "r.csv", some_cases(700)), mapped(tmp_path)
        before = place.counted()
        status, report, said = place.import_(register, mapping_)
        assert (status, report["status"]) == (0, "complete"), said
        assert (report["cases"], report["imported"], report["rows"]) == (700, 700, 2100)
        assert place.counted() == before + 2100
        status, report, _ = place.import_(register, mapping_)
        assert (status, report["unchanged"], report["imported"]) == (0, 700, 0)
        more = [*some_cases(700)[:-100], *some_cases(50, "new ")]
        status, report, _ = place.import_(written(register, some_cases(700)[:1400] + more[1400:]), mapping_)
        assert (status, report["refused"], report["unchanged"], report["imported"]) == (1, 100, 600, 50)
        assert {refusal["code"] for refusal in report["refusals"]} == {"import-conflict"}
        assert place.counted() == before + 2100 + 150


def test_the_service_refuses_with_the_line_of_the_register(database, tmp_path):
    with town(database, tmp_path) as place:
        register = written(tmp_path / "r.csv", some_cases(3))
        assert place.import_(register, mapped(tmp_path))[0] == 0
        rows = some_cases(3)
        rows[4] = row(1, "В работе", "05.03.2019 11:00")
        status, report, said = place.import_(written(register, rows), mapped(tmp_path))
        assert status == 1
        assert (report["unchanged"], report["refused"]) == (2, 1)
        (refusal,) = report["refusals"]
        assert (refusal["line"], refusal["case"], refusal["code"]) == (3, "1", "import-conflict")
        assert "Row 2 of this case" in refusal["reason"]
        assert f"{register}:3: Row 2" in said


def test_rows_that_belong_to_no_case_stop_the_import_before_anything_is_sent(database, tmp_path):
    with town(database, tmp_path) as place:
        before = place.counted()
        register = written(tmp_path / "r.csv", [*some_cases(2), ("x",), row("")])
        status, report, said = place.import_(register, mapped(tmp_path))
        assert (status, report["status"], report["strays"], report["not_sent"]) == (2, "unfinished", 2, 2)
        assert "--leave-out-strays" in said
        assert place.counted() == before
        status, report, _ = place.import_(register, mapped(tmp_path), "--leave-out-strays")
        assert (status, report["status"], report["imported"]) == (1, "refused", 2)


def test_a_token_that_is_not_valid_stops_the_import(database, tmp_path):
    with town(database, tmp_path) as place:
        place.token.write_text("aiqyn_" + "x" * 43)
        register = written(tmp_path / "r.csv", some_cases(2))
        status, report, said = place.import_(register, mapped(tmp_path))
        assert (status, report["not_sent"]) == (2, 2)
        assert "This token is unknown here or was revoked" in said


def test_a_service_that_does_not_answer_is_waited_for_and_then_given_up(tmp_path, unused_port, monkeypatch):
    monkeypatch.setattr(client, "PAUSES", (0.01, 0.01))
    monkeypatch.setenv("AIQYN_TOKEN", "aiqyn_x")
    register = written(tmp_path / "r.csv", some_cases(2))
    url = f"http://127.0.0.1:{unused_port}"
    status, report, said = import_(register, mapped(tmp_path), "--url", url)
    assert (status, report["not_sent"], report["status"]) == (2, 2, "unfinished")
    assert "does not answer (ConnectError). Run the import again later" in said


def test_an_export_is_a_register_that_moves_in_again(database, tmp_path):
    with town(database, tmp_path) as place:
        register = written(tmp_path / "r.csv", some_cases(20))
        assert place.import_(register, mapped(tmp_path))[0] == 0
        out = tmp_path / "out.xes.gz"
        status, said = run("export", out, "--url", place.url, "--imported", "--body", "town")
        assert status == 0, said
        text = JOURNAL.replace('"journal"', '"again"').replace('"номер"', '"case:concept:name"')
        text = text.replace('"операция"', '"concept:name"').replace('"тема"', '"case:category"')
        text = text.replace('column = "дата", format = "%d.%m.%Y %H:%M"', 'column = "time:timestamp"')
        status, report, _ = place.import_(out, mapped(tmp_path, text))
        assert (status, report["cases"], report["imported"], report["lines"]) == (0, 20, 20, 60)


def test_a_body_needs_no_part_of_the_server_to_move_in(tmp_path):
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {sorted(SERVER_PARTS)!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from cli.main import main\n"
        "main()\n"
    )
    register = written(tmp_path / "r.csv", some_cases(2))
    command = [
        sys.executable,
        "-c",
        program,
        "appeals",
        "import",
        register,
        "--mapping",
        mapped(tmp_path),
        "--check",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.csv.report.json").read_bytes())["cases"] == 2


# --- power cuts -------------------------------------------------------------------------------------------


def test_neither_the_death_of_the_service_nor_of_the_importer_loses_or_doubles_a_case(short_path):
    service = LocalService(short_path, Authority.create("ecdsa"))
    service.init()
    service.run(
        "organisation", "add", "town", "--kind", "akimat", "--level", "district", "--name-kk", "Қала",
        "--name-ru", "Город", "--role", "registrar",
    )  # fmt: skip
    token = short_path / "token"
    token.write_text(service.run("token", "create", "town", "--label", "moving in"))
    register, report = written(short_path / "r.csv", some_cases(800)), short_path / "report.json"
    command = [
        sys.executable, "-m", "cli.main", "appeals", "import", str(register), "--mapping",
        str(mapped(short_path)), "--url", service.url, "--token-file", str(token), "--report", str(report),
    ]  # fmt: skip
    service.start()
    try:
        importer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        recorded(service, at_least=100)
        importer.send_signal(signal.SIGKILL)
        importer.wait()
        assert not report.exists()

        importer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        recorded(service, at_least=1200)
        service.kill()
        service.start()
        assert importer.wait(120) == 0
        found = json.loads(report.read_bytes())
        assert found["imported"] + found["unchanged"] == found["cases"] == 800
        assert found["unchanged"] > 0

        file = short_path / "all.xes"
        service.run("appeals", "export", str(file))
        content = file.read_bytes()
        assert (content.count(b"<trace>"), content.count(b"<event>")) == (800, 2400)
        key = httpx.get(f"{service.url}/v1/log").json()["vkey"]
        service.run("audit", service.url, "--log-key", key)
    finally:
        service.stop()


def recorded(service, *, at_least):
    """Wait until so many entries are in the log."""
    deadline = time.monotonic() + 60
    while httpx.get(f"{service.url}/v1/log").json()["size"] < at_least:
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


# --- real logs --------------------------------------------------------------------------------------------


REAL = [
    pytest.param(FINES, MAPPINGS / "traffic_fines.toml", "case_id", id="traffic fines"),
    pytest.param(RECEIPT, MAPPINGS / "permit_receipt.toml", "case:concept:name", id="permit receipts"),
]


def comes_back(place, register, mapping_, column, folder):
    """Imported whole, and exported as it came: from the service as OCEL, from the database as XES."""
    cases, rows = content(register, column)
    status, report, said = place.import_(register, mapping_)
    assert (status, report["status"]) == (0, "complete"), said
    assert (report["lines"], report["rows"]) == (rows, rows)
    assert (report["cases"], report["imported"], report["refused"]) == (cases, cases, 0)

    out = folder / "appeals.jsonocel"
    status, said = run("export", out, "--url", place.url)
    assert status == 0, said
    log = logs.read_ocel(out)
    assert len(log.events) == rows
    assert (log.objects["ocel:type"] == "appeal").sum() == cases

    out = folder / "appeals.xes.gz"
    environment = {
        "AIQYN_DATABASE_URL": place.database.url,
        "AIQYN_ADMIN_DATABASE_URL": place.database.admin_url,
    }
    status, said = run("export", out, env=environment | {"AIQYN_HOME": str(folder)})
    assert status == 0, said
    table = logs.read_xes(out)
    assert (table["case:concept:name"].nunique(), len(table)) == (cases, rows)
    return table


COLUMNS = {
    "traffic_fines": ("activity", "timestamp", "epoch"),
    "permit_receipt": ("concept:name", "time:timestamp", "iso"),
}


def happened(register, mapping_):
    """Each activity of a register with its time, in order."""
    activity, time_, form = COLUMNS[mapping_.stem]
    rows = records(CsvSource(register, CsvForm()))
    return sorted((row.values[activity], clock(row.values[time_], form).timestamp()) for row in rows)


@needs_data
@pytest.mark.parametrize(("register", "mapping_", "column"), REAL)
def test_some_cases_of_a_real_log_come_back_as_they_came(database, tmp_path, register, mapping_, column):
    some = sample(register, tmp_path, column, 300)
    with town(database, tmp_path) as place:
        table = comes_back(place, some, mapping_, column, tmp_path)
    times = (moment.timestamp() for moment in table["time:timestamp"])
    assert sorted(zip(table["concept:name"], times, strict=True)) == happened(some, mapping_)


@needs_data
@pytest.mark.parametrize(("register", "mapping_", "column"), REAL)
def test_every_case_of_a_real_log_is_accounted_for(database, tmp_path, register, mapping_, column):
    whole = tmp_path / register.name
    whole.write_bytes(Path(register).read_bytes())
    with town(database, tmp_path) as place:
        table = comes_back(place, whole, mapping_, column, tmp_path)
    words = Counter(word for word, _ in happened(whole, mapping_))
    assert Counter(table["concept:name"]) == words
