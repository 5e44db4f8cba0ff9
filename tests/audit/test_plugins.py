"""An auditor's own rules, found by the entry points of distributions that are really installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import audit
from audit import plugins
from ledger import events
from tests.audit.log_builder import LogBuilder

GOOD = """
from audit.rules import Rule
from ledger import events


def in_kazakh(position, event, history):
    if event.facts.lang == "kk" and history.petitions:
        yield f"It is in Kazakh, at {event.iat}."


RULES = (Rule("no-kazakh", "No signature in Kazakh.", in_kazakh, (events.PetitionSigned,), article="ours 1"),)
ONE = Rule("no-signatures", "Nobody signs.", lambda *_: ["Somebody signed."], (events.PetitionSigned,))
"""
BAD = """
from audit.rules import RULES, Rule


def breaks_down(position, event, history):
    raise RuntimeError(f"no idea what {event.facts.type} is")


TAKEN = Rule("threshold", "As if it were ours.", breaks_down)
DOWN = Rule("breaks-down", "Breaks down.", breaks_down)
NUMBER = 7
MIXED = ["not a rule", Rule("mixed", "Between others.", lambda *_: ())]
NAMELESS = Rule("", "No name.", breaks_down)
CHECKLESS = Rule("checkless", "No check.", None)
ODD = Rule("odd", "Gives no reasons.", lambda *_: 7)
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution where a package installer would: its module, and its metadata beside it."""

    def install(name: str, source: str, **points: str) -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{point} = {module}:{attribute}" for point, attribute in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{plugins.GROUP}]", *lines, ""]))

    monkeypatch.syspath_prepend(str(tmp_path))
    yield install
    for module in ("council_rules", "broken_rules"):
        sys.modules.pop(module, None)


@pytest.fixture
def log(tmp_path):
    builder = LogBuilder().begin().collecting(1)
    builder.add("signature/x/short", events.PetitionSigned(lang="ru", algorithm="RSA-SHA256"))
    return builder, builder.write(tmp_path / "log")


def test_nothing_is_installed_to_begin_with():
    assert plugins.installed() == ([], [])


def test_an_installed_rule_is_asked_of_every_entry(install, log):
    install("council-rules", GOOD, some="RULES", one="ONE")
    builder, folder = log
    report = audit.run(folder, log_key=builder.vkey)
    found = [finding.rule for finding in report.findings]
    assert (found.count("no-kazakh"), found.count("no-signatures")) == (50, 50)
    assert report.omitted == {"no-signatures": 1}
    own = {rule.name: rule.article for rule in report.rules if rule.own}
    assert own == {"no-kazakh": "ours 1", "no-signatures": ""}
    assert audit.run(folder, log_key=builder.vkey, use_plugins=False).total == 1


def test_a_rule_that_cannot_be_used_is_a_warning_and_no_crash(install):
    install(
        "broken-rules", BAD, taken="TAKEN", number="NUMBER", mixed="MIXED", nameless="NAMELESS", gone="GONE",
        checkless="CHECKLESS",
    )  # fmt: skip
    rules, warnings = plugins.installed()
    assert [rule.name for rule in rules] == ["mixed"]
    told = "\n".join(warnings)
    assert len(warnings) == 6, told
    for said in (
        "another rule is called threshold already",
        "7 is neither a Rule nor an iterable",
        "'not a rule' is no audit.rules.Rule",
        "it has no name",
        "GONE",
        "checkless has no check",
    ):
        assert said in told
    assert told.count("of broken-rules 1.0") == 6


def test_a_module_that_cannot_be_imported_is_a_warning(install):
    install("broken-rules", "import no_such_module_anywhere", point="RULES")
    rules, (warning,) = plugins.installed()
    assert rules == []
    assert "no_such_module_anywhere" in warning


def test_a_rule_that_breaks_down_is_told_once_and_the_audit_goes_on(install, log):
    install("broken-rules", BAD, down="DOWN", odd="ODD")
    builder, folder = log
    report = audit.run(folder, log_key=builder.vkey)
    assert report.replayed == builder.size
    assert [finding.rule for finding in report.findings] == ["signature-open"]
    down, odd = (
        next(w for w in report.warnings if f"The rule {name} " in w) for name in ("breaks-down", "odd")
    )
    assert "position 0: RuntimeError: no idea what organisation.registered is" in down
    assert "'int' object is not iterable" in odd


def test_the_command_lists_installed_rules_and_uses_them(install, log, tmp_path):
    install("council-rules", GOOD, some="RULES")
    builder, folder = log
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "cli.main", "audit"]
    listed = subprocess.run(
        [*command, "--rules"], capture_output=True, text=True, env=environment | {"COLUMNS": "160"}
    )
    assert listed.returncode == 0, listed.stderr
    assert "no-kazakh" in listed.stdout
    assert "ours 1 (your own)" in listed.stdout
    done = subprocess.run(
        [*command, folder, "--log-key", builder.vkey, "--json"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 1, done.stderr
    assert "no-kazakh" in {finding["rule"] for finding in json.loads(done.stdout)["findings"]}
