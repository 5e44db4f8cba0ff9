"""The examples about moving in and about process mining work as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from cli.register.mapping import MappingFile
from tests.cli.registers import run, town

DOCS = Path(__file__).resolve().parents[2] / "docs"


def examples(page, language):
    """The examples of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)


def program(folder, page):
    """The Python program of a page."""
    source = examples(page, "python")[0]
    path = folder / re.match(r"# (\w+\.py)", source)[1]
    path.write_text(source, "utf-8")
    return path


def printed(path, *arguments):
    done = subprocess.run(
        [sys.executable, str(path), *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_register_of_the_page_moves_in_and_is_mined(database, tmp_path):
    register, mapping = tmp_path / "journal.csv", tmp_path / "journal.toml"
    register.write_text(examples("moving-in.md", "csv")[0], "utf-8")
    mapping.write_text(examples("moving-in.md", "toml")[0], "utf-8")
    assert run("import", register, "--mapping", mapping, "--check")[0] == 0
    with town(database, tmp_path) as place:
        options = ("--mapping", mapping, "--url", place.url, "--token-file", place.token)
        status, said = run("import", register, *options)
        assert status == 0, said
        answer = printed(program(tmp_path, "moving-in.md"), place.url, place.token.read_text().strip())
        assert "'status': 201" in answer
        for name in ("appeals.xes.gz", "appeals.jsonocel"):
            assert run("export", tmp_path / name, "--url", place.url)[0] == 0
    mined = printed(program(tmp_path, "process-mining.md"), tmp_path / "appeals.xes.gz")
    assert "3 appeals 7 events" in mined
    assert "1 Поступило → Передано исполнителю → Ответ: разъяснено" in mined


def test_every_table_of_a_mapping_is_explained():
    page = (DOCS / "moving-in.md").read_text("utf-8")
    for name in MappingFile.__struct_fields__:
        assert re.search(rf"`(\[+)?{name}[\]`.]", page), name
