"""``aiqyn webhook``, as an operator types it."""

from __future__ import annotations

import asyncio
import json
import os
import re

import pytest
from typer.testing import CliRunner

from cli.webhook import webhook
from ledger.errors import AiqynError
from tests.api.services import VILLAGE, begin


@pytest.fixture
def aiqyn(database, tmp_path):
    """Run a subcommand against a ledger with a village; its status and what it printed."""
    world = asyncio.run(begin(database))
    world.keys.save(world.parts().settings)
    environment = dict.fromkeys(name for name in os.environ if name.startswith("AIQYN_")) | {
        "AIQYN_HOME": str(world.home),
        "AIQYN_DATABASE_URL": database.url,
        "AIQYN_ADMIN_DATABASE_URL": database.admin_url,
        "AIQYN_WEBHOOKS_ALLOW_PRIVATE": "true",
    }

    def run(*arguments, **variables):
        done = CliRunner().invoke(webhook, arguments, env=environment | variables)
        told = str(done.exception) if isinstance(done.exception, AiqynError) else ""
        return done.exit_code, done.output + told

    return run


def test_an_operator_adds_looks_wakes_and_removes(aiqyn):
    code, said = aiqyn("add", "village", "http://127.0.0.1:9/hook", "--type", "petition.*")
    assert code == 0, said
    assert re.search(r"^whsec_[A-Za-z0-9+/]{43}=$", said, re.MULTILINE)
    code, said = aiqyn("list", "--json")
    (one,) = json.loads(said)
    assert (code, one["organisation"], one["types"], one["state"]) == (0, VILLAGE, ["petition.*"], "active")
    assert "whsec_" not in said
    assert one["id"] in aiqyn("list", "village")[1]
    assert aiqyn("list", "culture") == (0, "")
    assert aiqyn("retry", one["id"])[0] == 0
    code, said = aiqyn("retry", one["id"], "--position", "3")
    assert (code, "no message about position 3" in said) == (1, True)
    code, said = aiqyn("retry", one["id"], "--from", "5")
    assert (code, "stands at -1" in said) == (1, True)
    assert aiqyn("retry", one["id"], "--from", "5", "--position", "3")[0] == 2
    assert aiqyn("remove", one["id"]) == (0, f"{one['id']} is removed.\n")
    assert aiqyn("list") == (0, "")
    code, said = aiqyn("remove", one["id"])
    assert (code, "no such webhook" in said) == (1, True)


def test_an_operator_is_told_what_is_wrong(aiqyn):
    code, said = aiqyn("add", "nowhere", "http://127.0.0.1:9/hook")
    assert (code, "There is no organisation/nowhere" in said) == (1, True)
    code, said = aiqyn("add", "village", "http://127.0.0.1:9/", AIQYN_WEBHOOKS_ALLOW_PRIVATE="false")
    assert (code, "begins with https" in said) == (1, True)
    code, said = aiqyn("add", "village", "http://127.0.0.1:9/hook", "--type", "petitoin.*")
    assert (code, "petitoin" in said) == (1, True)
