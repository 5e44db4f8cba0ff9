"""The next audit goes on where the one before ended, says the same as one from the beginning, and takes over
nothing that it should not trust."""

from __future__ import annotations

import re
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import audit
from audit import aggregates, state
from audit.rules import Rule
from ledger import events
from ledger.keys import SigningKey
from tests.audit import appeal_cases, assurance_cases
from tests.audit.log_builder import BODY, OPERATOR, LogBuilder


def bad_log() -> LogBuilder:
    """Signatures, appeals-free, with a finding of most kinds and something open behind each."""
    builder = LogBuilder().usual()
    builder.sign(1, 2)
    builder.sign(9, 1)
    builder.collecting(3)
    builder.sign(3, 7, at=builder.now - timedelta(seconds=700))
    builder.withdraw(3, 1, n=5)
    builder.register_key(BODY, SigningKey.generate(), "gateway")
    builder.add(OPERATOR, events.OrganisationKeyRevoked(kid=builder.gateway.kid, reason="compromised"))
    builder.sign(3, 8)
    return builder


LOGS = {
    "usual": lambda: LogBuilder().usual(),
    "bad": bad_log,
    "appeals": appeal_cases.a_lawful_life,
    "assurance": assurance_cases.lawful,
}


@pytest.fixture(scope="module")
def logs() -> dict[str, LogBuilder]:
    return {name: make() for name, make in LOGS.items()}


def told(report: audit.Report) -> dict:
    """What must not depend on how many steps it took."""
    passing = ("seconds", "started", "resumed_at", "checkpoint", "warnings")
    fields = msgspec.to_builtins(report)
    return {name: value for name, value in fields.items() if name not in passing}


def run(builder: LogBuilder, folder, kept=None, size: int | None = None, **how) -> audit.Report:
    """Audit the log as it was when it had ``size`` entries."""
    builder.write(folder, builder.entries[:size])
    return audit.run(folder, log_key=how.pop("log_key", builder.vkey), state_file=kept, **how)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(LOGS)), st.data())
def test_an_audit_in_steps_says_what_an_audit_in_one_says(logs, tmp_path_factory, name, data):
    builder = logs[name]
    folder = tmp_path_factory.mktemp("log")
    whole = run(builder, folder)
    sizes = sorted(data.draw(st.sets(st.integers(0, builder.size - 1), min_size=1, max_size=3)))
    for size in (*sizes, builder.size):
        report = run(builder, folder, folder / "state", size)
    assert report.resumed_at == sizes[-1]
    assert told(report) == told(whole)


def test_nothing_old_is_read_again(tmp_path):
    builder = LogBuilder().begin().collecting(1, required=5000)
    for person in range(3, 600):
        builder.sign(1, person)
    run(builder, tmp_path / "log", tmp_path / "state")
    builder.sign(1, 600)
    builder.write(tmp_path / "log")
    (tmp_path / "log" / "log" / "tile" / "entries" / "000").unlink()
    report = audit.run(tmp_path / "log", log_key=builder.vkey, state_file=tmp_path / "state")
    assert (report.status, report.replayed, report.resumed_at) == ("clean", builder.size, builder.size - 1)


def test_a_finding_stays_one(tmp_path):
    builder = LogBuilder().usual()
    position = builder.sign(1, 2)
    for _ in range(3):
        report = run(builder, tmp_path / "log", tmp_path / "state")
        found = [(finding.rule, finding.position) for finding in report.findings]
        assert found == [("signature-once", position)]
        builder.sign(1, 20 + builder.size)


def test_what_passes_is_not_kept(tmp_path):
    builder = LogBuilder().usual()
    numbers = {"items": [], "next": None, "as_of": builder.size - 1}
    served = tmp_path / "log" / "v1"
    builder.write(tmp_path / "log")
    served.mkdir()
    (served / "petitions?limit=100").write_bytes(msgspec.json.encode(numbers))
    report = audit.run(tmp_path / "log", log_key=builder.vkey, state_file=tmp_path / "state")
    assert [finding.rule for finding in report.findings] == ["published-list"]
    (served / "petitions?limit=100").unlink()
    report = audit.run(tmp_path / "log", log_key=builder.vkey, state_file=tmp_path / "state")
    assert report.status == "clean"


def test_the_state_knows_the_logs_key(tmp_path):
    builder = LogBuilder().usual()
    run(builder, tmp_path / "log", tmp_path / "state")
    report = audit.run(tmp_path / "log", state_file=tmp_path / "state")
    assert (report.status, report.log_key, report.log_key_pinned) == ("clean", builder.vkey, True)


def test_aggregates_that_were_put_away_go_on(monkeypatch, tmp_path):
    monkeypatch.setattr(aggregates, "HOT", 2)
    for builder in (appeal_cases.a_lawful_life(), assurance_cases.lawful(), LogBuilder().usual()):
        report = run(builder, tmp_path)
        assert report.status == "clean", report.findings


# --- logs that are not what they were -----------------------------------------------------------


@pytest.fixture
def long_log() -> LogBuilder:
    builder = LogBuilder().begin().collecting(1, required=5000)
    for person in range(3, 400):
        builder.sign(1, person)
    return builder


def test_a_log_that_rewrote_what_was_audited_is_a_fork(long_log, tmp_path):
    run(long_log, tmp_path / "log", tmp_path / "state")
    before = (tmp_path / "state").read_bytes()
    seen = long_log.size
    del long_log.entries[-1]  # a signature that is the only event of its stream: its loss breaks no rule
    for person in range(500, 520):
        long_log.sign(1, person)
    report = run(long_log, tmp_path / "log", tmp_path / "state")
    (finding,) = report.findings
    assert (finding.rule, finding.position, finding.last) == ("fork", 0, seen - 1)
    assert report.exit_code == 1
    for which in ("before", "after"):
        assert str(finding.evidence[which]).startswith("ledger.example/log\n")
    assert (tmp_path / "state").read_bytes() == before, "the evidence is not overwritten"


def test_a_log_of_the_same_size_with_another_root_is_a_fork(long_log, tmp_path):
    run(long_log, tmp_path / "log", tmp_path / "state")
    del long_log.entries[-1]
    long_log.sign(1, 500)
    report = run(long_log, tmp_path / "log", tmp_path / "state")
    assert [finding.rule for finding in report.findings] == ["fork"]


def test_a_log_that_got_shorter_names_what_is_gone(long_log, tmp_path):
    run(long_log, tmp_path / "log", tmp_path / "state")
    report = run(long_log, tmp_path / "log", tmp_path / "state", long_log.size - 5)
    (finding,) = report.findings
    assert finding.rule == "log-shrank"
    assert (finding.position, finding.last) == (long_log.size - 5, long_log.size - 1)


def test_a_fork_whose_tiles_are_kept_back_does_not_make_the_signed_root(long_log, tmp_path):
    run(long_log, tmp_path / "log", tmp_path / "state")
    old = LogBuilder.write(long_log, tmp_path / "old")
    del long_log.entries[5]
    long_log.sign(1, 500)
    long_log.sign(1, 501)
    folder = long_log.write(tmp_path / "log")
    (folder / "log" / "tile" / "0" / "000").write_bytes((old / "log" / "tile" / "0" / "000").read_bytes())
    report = audit.run(folder, log_key=long_log.vkey, state_file=tmp_path / "state")
    assert {finding.rule for finding in report.findings} & {"tree-root", "fork"}
    assert report.exit_code == 1


def test_an_audit_that_broke_off_leaves_the_state_as_it_was(long_log, tmp_path):
    run(long_log, tmp_path / "log", tmp_path / "state")
    before = (tmp_path / "state").read_bytes()
    for person in range(500, 900):
        long_log.sign(1, person)
    folder = long_log.write(tmp_path / "log")
    (folder / "log" / "tile" / "entries" / "002").unlink()
    report = audit.run(folder, log_key=long_log.vkey, state_file=tmp_path / "state")
    assert report.stopped
    assert (tmp_path / "state").read_bytes() == before


# --- files that are not used --------------------------------------------------------------------


@pytest.fixture
def audited(tmp_path):
    builder = LogBuilder().usual()
    run(builder, tmp_path / "log", tmp_path / "state")
    return builder, tmp_path / "log", tmp_path / "state"


def refused(audited, match: str, **how) -> None:
    builder, folder, kept = audited
    before = kept.read_bytes()
    report = audit.run(folder, log_key=how.pop("log_key", builder.vkey), state_file=kept, **how)
    assert (report.exit_code, report.replayed) == (2, 0)
    assert re.search(match, report.stopped or ""), report.stopped
    assert kept.read_bytes() == before


def test_the_state_of_another_log_is_refused(audited):
    refused(audited, "not of this one: give this log's state", log_key=LogBuilder().vkey)


@pytest.mark.parametrize("at", [0.3, 0.6, 0.99])
def test_a_damaged_state_is_refused(audited, at):
    data = bytearray(audited[2].read_bytes())
    data[int(len(data) * at)] ^= 1
    audited[2].write_bytes(data)
    refused(audited, "damaged: its checksum is wrong. Move it away")


def test_a_state_that_was_cut_off_is_refused(audited):
    audited[2].write_bytes(audited[2].read_bytes()[:-1])
    refused(audited, "damaged")


def test_an_older_form_is_refused(audited):
    audited[2].write_bytes(b"aiqyn-audit-state/0\n" + audited[2].read_bytes()[20:])
    refused(audited, "another release of this program. Move it away")


def test_what_is_no_state_is_refused(audited):
    audited[2].write_bytes(b"Dear diary")
    refused(audited, "no state of an audit")


def test_a_state_under_other_rules_is_refused(audited, monkeypatch):
    monkeypatch.setattr(state, "fingerprint", lambda: "f" * 64)
    refused(audited, "other rules than those of this release. Move it away")


def test_a_state_without_an_own_rule_is_refused_by_an_audit_with_it(audited):
    rule = Rule("mine", "A rule of my own.", lambda *_: ())
    refused(audited, r"other rules of its own \(none\) than this one \(mine\)", more_rules=[rule])


def test_a_state_of_another_shape_is_refused(audited):
    """With a right checksum: written by somebody who did not know how."""
    found = state.read(audited[2])
    state.write(audited[2], msgspec.structs.replace(found, replay={"entries": {}}))
    refused(audited, "not as this release writes it")
    state.write(audited[2], msgspec.structs.replace(found, size=found.size - 1))
    refused(audited, "does not hold the tree that it names")


def test_a_state_that_cannot_be_written_is_a_warning_and_the_old_one_stays(audited):
    builder, folder, kept = audited
    before = kept.read_bytes()
    builder.sign(1, 99)
    builder.write(folder)
    elsewhere = kept.with_name("no-such-folder") / "state"
    report = audit.run(folder, log_key=builder.vkey, state_file=elsewhere)
    assert report.status == "clean"
    assert any("was not written" in warning for warning in report.warnings)
    assert kept.read_bytes() == before
    assert sorted(path.name for path in kept.parent.iterdir()) == ["log", "state"]


def test_a_state_is_for_its_owners_eyes(audited):
    assert audited[2].stat().st_mode & 0o077 == 0


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.text()
        | st.datetimes()
        | st.dates(),
        lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    )
    | st.frozensets(st.text())
    | st.sets(st.integers(0, 99))
)
def test_attributes_of_aggregates_survive_being_put_away(value):
    packed = msgspec.msgpack.encode(aggregates._plain(value))
    again = aggregates._value(msgspec.msgpack.decode(packed))
    assert again == value
    assert type(again) is type(value)
