"""The report as one HTML file: complete, quiet, and deaf to what the log would like it to do."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import audit
from audit.findings import Finding
from audit.growth import points
from audit.history import Petition
from audit.page import BOTTOM, LEFT, RIGHT, TOP, curve, page
from audit.report import POINTS, Asked, Cosigned, Growth, Report
from tests.audit import assurance_cases
from tests.audit.log_builder import CROWD, LogBuilder, petition_id, serving
from tests.audit.test_auditor import published

VOID = {"meta", "line", "path", "br"}


class Page(HTMLParser):
    """Tags with their attributes, and the text of what is not style."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(data.decode())
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.replace("\N{NARROW NO-BREAK SPACE}", "").split())

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


@pytest.fixture
def usual() -> LogBuilder:
    return LogBuilder().usual()


def report_of(builder: LogBuilder, folder, **how) -> Report:
    return audit.run(builder.write(folder), log_key=builder.vkey, **how)


def test_a_clean_report_says_what_was_checked(usual, tmp_path):
    with serving(usual.write(tmp_path), published(usual)) as server:
        report = audit.run(server.url, log_key=usual.vkey)
    shown = Page(page(report)).words
    for said in (
        "Clean",
        f"All {usual.size} entries are what the log signed",
        "ledger.example/log",
        usual.vkey,
        f"{usual.size} entries, root {report.root}",
        f"0 to {usual.size - 1}",
        f"3 organisations, 2 petitions, {CROWD + 8} signatures counted",
        "the numbers of 2 petitions compared",
        "none was verified",
        "threshold",
        "АППК",
        "spec 6",
    ):
        assert said in shown, said
    assert "Findings" not in shown


def test_findings_stand_with_their_evidence_and_a_command(usual, tmp_path):
    position = usual.sign(1, 2)
    report = report_of(usual, tmp_path)
    shown = Page(page(report)).words
    assert "1 finding in" in shown
    assert f"signature-once This nullifier signed petition/{petition_id(1)} before" in shown
    assert f"aiqyn audit {tmp_path} --log-key {usual.vkey} --entry {position}" in shown
    assert "kid" in shown


def test_each_petitions_growth_is_a_picture_with_a_table_behind_it(usual, tmp_path):
    shown = Page(page(report_of(usual, tmp_path)))
    pictures = [attributes for tag, attributes in shown.tags if tag == "svg"]
    assert len(pictures) == 2
    assert f"{CROWD + 7} signatures from 2026-03-02" in (pictures[0]["aria-label"] or "")
    assert shown.words.count("the same as a table") == 2
    assert (
        f"{CROWD + 7} signatures of {CROWD + 6}, supported; threshold reached at position {usual.reached}"
        in (shown.words)
    )


def test_looks_at_the_evidence_and_cosignatures_are_shown(tmp_path):
    report = report_of(assurance_cases.lawful(), tmp_path)
    cosigned = Cosigned(60, "both", [("north", datetime(2026, 3, 2, tzinfo=UTC))])
    shown = Page(page(msgspec.structs.replace(report, cosigned=cosigned))).words
    assert f"60 of {report.size} entries are under a checkpoint with the quorum both: north" in shown
    assert "not drawn" in shown
    assert assurance_cases.LOOK in shown


def test_an_audit_that_could_not_finish_says_why(tmp_path):
    report = audit.run(tmp_path / "nowhere", log_key=LogBuilder().vkey)
    shown = Page(page(report)).words
    assert "Could not finish" in shown
    assert "Stopped. " in shown
    assert "is no folder" in shown


def test_an_empty_log_has_a_page(tmp_path):
    assert "Clean" in Page(page(report_of(LogBuilder(), tmp_path))).words


def test_the_page_loads_and_runs_nothing(usual, tmp_path):
    usual.sign(1, 2)
    report = report_of(usual, tmp_path)
    shown = Page(page(report))
    assert not shown.names() & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "a",
        "form",
        "base",
        "use",
    }
    for _, attributes in shown.tags:
        assert not attributes.keys() & {"src", "href", "srcset", "action", "style"}
        assert not [name for name in attributes if name.startswith("on")]
    assert b"url(" not in page(report)
    assert b"@import" not in page(report)
    policy = [a["content"] for tag, a in shown.tags if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


NASTY = st.text(alphabet="<>&\"'/=`{}%ab \x00\x1b\u202e\n", min_size=1, max_size=30) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</style><script>",
        "{{ 7 * 7 }}",
        "{% raw %}",
        '" onmouseover="x',
        "-->",
        "]]>",
        "\x1b[2J",
    ]
)


@settings(max_examples=100, deadline=None)
@given(NASTY, NASTY)
def test_what_a_log_says_is_text_and_never_markup(one, other):
    report = Report(
        source=one, started=datetime(2026, 3, 2, tzinfo=UTC), seconds=1.0, log_key=other, log_keys=[other],
        log_key_pinned=False, origin=one, size=1, root=other, checkpoint=one,
        cosigned=Cosigned(1, one, [(other, datetime(2026, 3, 2, tzinfo=UTC))]), resumed_at=0, replayed=1,
        events=1, organisations=1, petitions=1, signatures=1, compared=1,
        rules=[Asked(one, other, one, own=True)],
        evidence=[
            {"stream": one, "by": other, "petition": one}
            | {"asked_at": 1, "sample": 1, "opened": 1, "drawn": True}
        ],
        growth=[Growth(one, other, 1, 1, 1, 1, [(1, 1)])],
        findings=[Finding(rule=one, reason=other, position=1, evidence={one: other}, repeat=one)],
        omitted={other: 3}, warnings=[one], stopped=other,
    )  # fmt: skip
    named = dict.fromkeys(("source", "origin", "root", "checkpoint"), "x")
    plain = msgspec.structs.replace(report, **named)
    shown = Page(page(report))
    assert shown.names() <= Page(page(plain)).names()
    assert not shown.names() & {"script", "b", "a"}
    for _, attributes in shown.tags:
        assert not [name for name in attributes if name.startswith("on")]
    assert "49" not in shown.words.replace("2026", "")
    assert not [c for c in page(report).decode() if ord(c) < 32 and c != "\n"]


# --- curves -------------------------------------------------------------------------------------

changes = st.lists(st.tuples(st.integers(0, 2**33 - 1), st.booleans()), max_size=300)


@settings(max_examples=100, deadline=None)
@given(changes)
def test_a_curve_ends_at_the_count_and_stays_small(changes):
    petition = Petition(0)
    for position, (time, given_) in enumerate(changes):
        petition.change(position, 0 if given_ else 1 << 5, time)
    found = points(petition)
    assert len(found) <= POINTS
    if changes:
        assert found[-1] == (max(time for time, _ in changes), petition.count)
        assert found[0][0] == min(time for time, _ in changes)
        for at, count in found:
            assert count == sum(1 if given_ else -1 for time, given_ in changes if time <= at)


@given(changes, st.none() | st.integers(1, 400))
def test_a_curve_stays_in_its_frame(changes, required):
    petition = Petition(0)
    for position, (time, given_) in enumerate(changes):
        petition.change(position, 0 if given_ else 1 << 5, time)
    growth = Growth("p", "collecting", petition.count, required, None, None, points(petition))
    drawn = curve(growth)
    for place in drawn.path.replace("M", "L").split("H")[0].split("L")[1:]:
        x, y = map(float, place.split())
        assert LEFT <= x <= RIGHT
        assert TOP <= y <= BOTTOM
    if drawn.threshold is not None:
        assert TOP <= drawn.threshold <= BOTTOM
