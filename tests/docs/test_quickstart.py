"""The programs in the quickstart work as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
from rich.console import Console

from cli.local import LocalService
from cli.petition_story import PetitionStory
from ledger.eds.authority import Authority

QUICKSTART = Path(__file__).resolve().parents[2] / "docs" / "quickstart.md"


def program(folder, number):
    """The ``number``-th Python program of the page, written into ``folder``."""
    source = re.findall(r"```python\n(.*?)```", QUICKSTART.read_text("utf-8"), re.DOTALL)[number]
    path = folder / re.match(r"# (\w+\.py)", source)[1]
    path.write_text(source)
    return path


def test_an_organisation_seals_with_its_own_key(short_path):
    authority = Authority.create("ecdsa")
    with LocalService(short_path, authority) as service:
        story = PetitionStory(Console(quiet=True), service, authority, 0)
        petition = story.file()

        def run(path, *arguments):
            return subprocess.run(
                [sys.executable, str(path), *arguments],
                cwd=short_path,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()

        public_key = run(program(short_path, 0))
        service.run("organisation", "add-key", "culture", public_key, "--role", "moderator")
        assert run(program(short_path, 1), service.url, petition).startswith("201 ")
        story.wait_for("limited")
        trail = httpx.get(f"{service.url}/v1/petitions/{petition}/trail").json()
        assert [step["type"] for step in trail["items"]] == ["petition.submitted", "petition.admitted"]
