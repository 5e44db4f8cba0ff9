"""Whole audits of honest and of broken logs, from folders and over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import audit
from audit.source import HttpSource
from ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from ledger.tlog.note import SignerKey
from ledger.tlog.tiles import TilePath, entries_path
from tests.audit.log_builder import (
    CROWD,
    OPERATOR,
    ORIGIN,
    REQUIRED,
    LogBuilder,
    info,
    petition_id,
    serving,
    tile_bytes,
)


def published(builder: LogBuilder) -> dict:
    """What an honest operator shows of ``LogBuilder.usual``."""
    as_of = builder.size - 1
    one, two = petition_id(1), petition_id(2)
    first = {"id": one, "state": "supported", "count": CROWD + 7, "required": CROWD + REQUIRED}
    pages = {
        one: first
        | {"signed": CROWD + 9, "withdrawn": 1, "voided": 1, "reached_at": builder.reached, "as_of": as_of}
        | {"by_region": {"10": 2, "71": 1, "75": 1, "unknown": CROWD + 3}},
        two: {"id": two, "state": "limited", "count": 1, "required": None, "reached_at": None}
        | {"signed": 1, "withdrawn": 0, "voided": 0, "by_region": {"79": 1}, "as_of": as_of},
    }
    return {
        "/v1/log": info(builder),
        "/v1/petitions": {"items": [first], "next": None, "as_of": as_of},
    } | {f"/v1/petitions/{id_}": page for id_, page in pages.items()}


@pytest.fixture
def usual() -> LogBuilder:
    return LogBuilder().usual()


@pytest.fixture(scope="module")
def long_log() -> LogBuilder:
    """More than two bundles."""
    builder = LogBuilder().begin().collecting(1, required=1000)
    for person in range(3, 560):
        builder.sign(1, person, "71")
    return builder


def test_an_honest_log_in_a_folder_is_clean(usual, tmp_path):
    report = audit.run(usual.write(tmp_path), log_key=usual.vkey)
    assert (report.status, report.exit_code, report.findings) == ("clean", 0, [])
    assert (report.size, report.replayed, report.events) == (usual.size,) * 3
    assert (report.organisations, report.petitions, report.signatures) == (3, 2, CROWD + 8)
    assert report.compared == 0
    assert any("No numbers" in warning for warning in report.warnings)


def test_an_honest_server_is_clean_and_its_numbers_are_compared(usual, tmp_path):
    with serving(usual.write(tmp_path), published(usual)) as server:
        report = audit.run(server.url, log_key=usual.vkey)
    assert (report.status, report.findings, report.warnings) == ("clean", [], [])
    assert report.compared == 2


def test_a_long_log_is_replayed_over_http_with_progress(long_log, tmp_path):
    steps = []
    with serving(long_log.write(tmp_path)) as server:
        report = audit.run(server.url, log_key=long_log.vkey, progress=steps.append)
    assert (report.status, report.replayed) == ("clean", long_log.size)
    assert [step.done for step in steps] == [256, 512, long_log.size]
    assert {step.total for step in steps} == {long_log.size}


def test_an_empty_log_is_clean(tmp_path):
    builder = LogBuilder()
    report = audit.run(builder.write(tmp_path), log_key=builder.vkey)
    assert (report.status, report.size, report.findings) == ("clean", 0, [])


def test_without_a_pinned_key_the_report_warns(usual, tmp_path):
    with serving(usual.write(tmp_path), published(usual)) as server:
        report = audit.run(server.url)
    assert report.status == "clean"
    assert not report.log_key_pinned
    assert "--log-key" in report.warnings[0]


def test_a_folder_without_a_key_cannot_be_audited(usual, tmp_path):
    report = audit.run(usual.write(tmp_path))
    assert (report.status, report.exit_code) == ("unfinished", 2)
    assert "--log-key" in (report.stopped or "")


def test_a_checkpoint_under_another_key_is_a_finding(usual, tmp_path):
    other = SignerKey.generate(ORIGIN)
    report = audit.run(usual.write(tmp_path), log_key=str(other.verifier))
    assert [finding.rule for finding in report.findings] == ["checkpoint"]
    assert report.exit_code == 1


def test_an_operator_who_names_another_key_than_the_pinned_one_is_found(usual, tmp_path):
    answers = published(usual)
    answers["/v1/log"]["vkey"] = str(SignerKey.generate(ORIGIN).verifier)
    with serving(usual.write(tmp_path), answers) as server:
        report = audit.run(server.url, log_key=usual.vkey)
    assert [finding.rule for finding in report.findings] == ["log-key"]


def test_an_operator_stream_that_the_log_does_not_begin_with_is_found(usual, tmp_path):
    answers = published(usual)
    answers["/v1/log"]["operator"] = "organisation/somebody-else"
    with serving(usual.write(tmp_path), answers) as server:
        report = audit.run(server.url, log_key=usual.vkey)
    assert ("issuer", 0) in [(finding.rule, finding.position) for finding in report.findings]


# --- growth -----------------------------------------------------------------------------------


def test_a_log_that_grows_during_the_audit_is_followed(usual, tmp_path):
    checkpoint = usual.checkpoint()
    answers = published(usual) | {"/log/checkpoint": checkpoint}
    usual.sign(2, 2, "79")
    late = answers[f"/v1/petitions/{petition_id(2)}"]
    late |= {"count": 2, "signed": 2, "by_region": {"79": 2}, "as_of": usual.size - 1}
    checkpoints = iter([checkpoint, usual.checkpoint()])
    answers["/log/checkpoint"] = lambda: next(checkpoints)
    with serving(usual.write(tmp_path), answers) as server:
        # A real server still has the smaller partial tiles, or builds them when asked.
        for tile in (TilePath(None, 0, usual.size - 1), TilePath(0, 0, usual.size - 1)):
            answers[f"/log/{tile.path}"] = tile_bytes(tile, usual.entries)
        report = audit.run(server.url, log_key=usual.vkey)
    assert (report.status, report.findings) == ("clean", [])
    assert (report.size, report.compared) == (usual.size, 2)


def test_a_full_tile_stands_in_for_a_partial_one(long_log, tmp_path):
    folder = long_log.write(tmp_path)
    (folder / "log" / "checkpoint").write_bytes(long_log.checkpoint(300))
    above = folder / "log" / "tile" / "1"  # no full tile can stand in for this one yet
    (above / "000.p" / "1").write_bytes((above / "000.p" / "2").read_bytes()[:32])
    report = audit.run(folder, log_key=long_log.vkey)
    assert (report.status, report.findings, report.replayed) == ("clean", [], 300)


def test_numbers_beyond_the_signed_log_are_found(usual, tmp_path):
    answers = published(usual)
    answers["/v1/petitions"]["as_of"] = usual.size
    with serving(usual.write(tmp_path), answers) as server:
        report = audit.run(server.url, log_key=usual.vkey)
    assert [(finding.rule, finding.position) for finding in report.findings] == [("log-size", usual.size)]


def test_a_checkpoint_seen_earlier_must_still_be_contained(usual, tmp_path):
    seen = usual.checkpoint(20)
    report = audit.run(usual.write(tmp_path), log_key=usual.vkey, known=[seen])
    assert report.status == "clean"
    del usual.entries[18]  # a signature that is the only event of its stream: its loss breaks no rule
    usual.write(tmp_path)
    report = audit.run(tmp_path, log_key=usual.vkey, known=[seen])
    fork = next(finding for finding in report.findings if finding.rule == "fork")
    assert (fork.position, fork.last) == (0, 19)


def test_a_log_shorter_than_a_checkpoint_seen_earlier_is_found(usual, tmp_path):
    seen = usual.checkpoint()
    usual.entries.pop()
    report = audit.run(usual.write(tmp_path), log_key=usual.vkey, known=[seen])
    assert "log-shrank" in [finding.rule for finding in report.findings]


def test_the_root_that_the_operator_shows_must_be_the_logs(usual, tmp_path):
    answers = published(usual)
    answers["/v1/log"] |= {"size": 12, "root": "00" * 32}
    with serving(usual.write(tmp_path), answers) as server:
        report = audit.run(server.url, log_key=usual.vkey)
    assert [(finding.rule, finding.last) for finding in report.findings] == [("fork", 11)]


def test_a_known_checkpoint_of_another_log_stops_the_audit(usual, tmp_path):
    stranger = SignerKey.generate("other.example/log")
    seen = sign_checkpoint(Checkpoint("other.example/log", 1, bytes(32)), stranger)
    report = audit.run(usual.write(tmp_path), log_key=usual.vkey, known=[seen])
    assert (report.exit_code, report.replayed) == (2, 0)


# --- files that are missing or broken ---------------------------------------------------------


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "log").rglob("*") if path.is_file())


def test_every_missing_truncated_or_garbled_file_is_told(long_log, tmp_path):
    folder = long_log.write(tmp_path)
    damages = {
        "missing": lambda path, data: path.unlink(),
        "truncated": lambda path, data: path.write_bytes(data[:-1]),
        "empty": lambda path, data: path.write_bytes(b""),
        "longer": lambda path, data: path.write_bytes(data + b"\0"),
        "garbage": lambda path, data: path.write_bytes(b"\xff" * len(data)),
    }
    for path in files(folder):
        data = path.read_bytes()
        for name, damage in damages.items():
            damage(path, data)
            report = audit.run(folder, log_key=long_log.vkey)
            path.write_bytes(data)
            assert report.exit_code != 0, (path, name)
            if path.name != "checkpoint":
                assert report.findings[0].position is not None, (path, name)
                assert report.exit_code == 1
    assert audit.run(folder, log_key=long_log.vkey).status == "clean"


def test_a_missing_bundle_names_the_first_position_that_is_lost(long_log, tmp_path):
    folder = long_log.write(tmp_path)
    (folder / "log" / entries_path(1)).unlink()
    report = audit.run(folder, log_key=long_log.vkey)
    (finding,) = report.findings
    assert (finding.rule, finding.position, finding.last) == ("tile-missing", 256, 511)
    assert report.replayed == 256
    assert "256" in (report.stopped or "")


def test_a_bundle_that_breaks_off_names_the_entry(long_log, tmp_path):
    folder = long_log.write(tmp_path)
    path = folder / "log" / entries_path(1)
    keep = sum(2 + len(entry) for entry in long_log.entries[256:300])
    path.write_bytes(path.read_bytes()[: keep + 100])
    report = audit.run(folder, log_key=long_log.vkey)
    assert [(f.rule, f.position) for f in report.findings] == [("tile-malformed", 300)]


def test_a_server_that_fails_leaves_the_audit_unfinished(long_log, tmp_path):
    answers = {f"/log/{entries_path(1)}": 503}
    with serving(long_log.write(tmp_path), answers) as server:
        source = HttpSource(server.url, first_pause=0.001)
        report = audit.run(source, log_key=long_log.vkey)
        source.close()
    assert (report.status, report.exit_code, report.replayed) == ("unfinished", 2, 256)
    assert "503" in (report.stopped or "")


def test_a_server_that_stumbles_once_is_asked_again(usual, tmp_path):
    stumbles = iter([500, 429])
    checkpoint = usual.checkpoint()
    answers = {"/log/checkpoint": lambda: next(stumbles, checkpoint)}
    with serving(usual.write(tmp_path), answers) as server:
        source = HttpSource(server.url, first_pause=0.001)
        assert audit.run(source, log_key=usual.vkey).status == "clean"
        source.close()


def test_a_server_that_is_not_there_leaves_the_audit_unfinished(usual, tmp_path):
    with serving(tmp_path) as server:
        url = server.url
    source = HttpSource(url, first_pause=0.001)
    report = audit.run(source, log_key=usual.vkey)
    source.close()
    assert (report.exit_code, report.replayed) == (2, 0)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/log", b"<html>"),
        ("/v1/log", {"origin": ORIGIN, "vkey": "x", "operator": OPERATOR, "size": -1, "root": ""}),
        ("/v1/log", {"origin": ORIGIN, "vkey": "x", "operator": OPERATOR, "size": 1, "root": "zz"}),
        ("/v1/petitions", {"items": [{"id": "../x", "state": "s", "count": 1}], "as_of": 1}),
        ("/v1/petitions", {"items": []}),
        (f"/v1/petitions/{petition_id(1)}", {"id": petition_id(2), "state": "s", "count": 1, "as_of": 1}),
    ],
)
def test_a_malformed_answer_is_a_finding(usual, tmp_path, path, answer):
    with serving(usual.write(tmp_path), published(usual) | {path: answer}) as server:
        report = audit.run(server.url, log_key=usual.vkey)
    assert "published-malformed" in [finding.rule for finding in report.findings]
    assert report.replayed == usual.size


def test_an_answer_without_end_is_cut_off(usual, tmp_path):
    with serving(usual.write(tmp_path), {"/v1/log": b" " * 10_000_001}) as server:
        report = audit.run(server.url, log_key=usual.vkey)
    assert report.exit_code == 2


def test_the_report_for_machines_says_everything(usual, tmp_path):
    usual.sign(1, 2)
    document = json.loads(audit.run(usual.write(tmp_path), log_key=usual.vkey).to_json())
    assert document["format"] == "aiqyn-audit/v1"
    assert document["status"] == "findings"
    assert document["checkpoint"].startswith(ORIGIN)
    assert {"rule", "reason", "position", "evidence"} <= document["findings"][0].keys()
