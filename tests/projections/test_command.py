"""``aiqyn projections``, as an operator types it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cli.projections import app
from projections import ALL
from projections.digest import published
from projections.runner import Runner
from tests.projections.written import petition


@pytest.fixture
def aiqyn(ledger, tmp_path):
    """Run a subcommand against the test's database; returns its exit status and what it printed."""
    ledger.collecting(petition(1))
    ledger.sign(petition(1), 1, "75")
    Runner(ledger.url).catch_up()
    environment = {"AIQYN_DATABASE_URL": ledger.url, "AIQYN_HOME": str(tmp_path), "COLUMNS": "200"}

    def run(*arguments):
        done = CliRunner().invoke(app, arguments, env=environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout

    return run


def test_status_says_where_each_projection_stands(aiqyn, ledger):
    ledger.sign(petition(1), 2)
    code, printed = aiqyn("status", "--json", "--digest")
    petitions, *others = json.loads(printed)
    assert (code, len(others)) == (0, len(ALL) - 1)
    assert [one["name"] for one in others if "digest" not in one] == ["cabinet"]
    assert (petitions["name"], petitions["position"], petitions["head"], petitions["lag"]) == (
        "petitions",
        3,
        4,
        1,
    )
    assert len(petitions["digest"]["sha256"]) == 64
    assert "stands still" not in aiqyn("status")[1]


def test_status_fails_and_gives_the_reason_where_one_stands_still(aiqyn, ledger):
    bad = ledger.add_entry(b"not an event", "petition/x", 1, "petition.signed")
    with pytest.raises(Exception, match="stands still"):
        Runner(ledger.url).catch_up()
    code, printed = aiqyn("status")
    assert code == 1
    assert f"petitions stands still: Entry {bad}: It is not an event" in printed


def test_verify_succeeds_where_all_is_right_and_names_the_row_that_is_not(aiqyn, ledger):
    code, printed = aiqyn("verify")
    assert (code, printed.count("right at 3, sha256")) == (0, len(published(ALL)))
    assert "cabinet: right at 3\n" in printed
    ledger.execute("UPDATE projections.trails SET n = 7 WHERE position = 3")
    code, printed = aiqyn("verify", "trails", "petitions")
    assert code == 1
    assert "trails: the tables differed at 3, first in trails" in printed
    assert "petitions: right at 3" in printed


def test_rebuild_repairs_and_says_what_was_wrong(aiqyn, ledger):
    ledger.execute("UPDATE projections.trails SET n = 7 WHERE position = 3")
    code, printed = aiqyn("rebuild", "trails", "--compare", "--json")
    (result,) = json.loads(printed)
    assert (code, result["swapped"], result["comparison"]["difference"]["table"]) == (0, True, "trails")
    assert aiqyn("verify", "trails")[0] == 0


def test_an_unknown_name_is_answered_with_the_known_ones(aiqyn):
    with pytest.raises(Exception, match="choose from petitions, signatures, trails, organisations"):
        aiqyn("rebuild", "petition")
