"""Builders: small registers in files, a town's service on loopback, and the command as a person runs it."""

from __future__ import annotations

import asyncio
import csv
import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from api.app import create_app
from api.process import make_server
from cli.appeals import appeals
from tests.api.moving_in import moved
from tests.ledger.test_imports import TOWN

MAPPINGS = Path(__file__).parent / "mappings"
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
FINES = DATA / "traffic-fines" / "traffic_fines_10k.csv"
RECEIPT = DATA / "permit-receipt" / "receipt.csv"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real event logs are not beside the repository: ../shared/data"
)

JOURNAL = """\
register = "journal"
kind = "application"
applicant = "person"
channel = "paper"
lang = "ru"
category = { column = "тема", values = { "ЖКХ" = "utilities" }, default = "other" }
case = { column = "номер" }
time = { column = "дата", format = "%d.%m.%Y %H:%M" }
full_name = { column = "ФИО" }
iin = { column = "ИИН" }
[activity]
column = "операция"
[activity.steps]
"Поступило" = "registered"
"В работе" = "taken"
"Ответ" = { step = "decided", outcome = "explained" }
"""
COLUMNS = ("номер", "операция", "дата", "тема", "ФИО", "ИИН")
"""Of :data:`JOURNAL`."""


def written(path, rows, columns=COLUMNS, *, encoding="utf-8", **form):
    """A register as CSV."""
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, **form)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def row(number, activity="Поступило", time="04.03.2019 10:00", topic="ЖКХ", name="", iin=""):
    return (str(number), activity, time, topic, name, iin)


def some_cases(count, prefix=""):
    """Cases of three rows, the rows of all cases mixed."""
    steps = (
        ("Поступило", "04.03.2019 10:00"),
        ("В работе", "05.03.2019 10:00"),
        ("Ответ", "06.03.2019 10:00"),
    )
    return [row(f"{prefix}{number}", *step) for step in steps for number in range(count)]


def mapped(folder, text=JOURNAL):
    """A mapping file."""
    path = folder / "mapping.toml"
    path.write_text(text, "utf-8")
    return path


@dataclass
class Town:
    """A service, and the token of a town that moves in."""

    url: str
    token: Path
    database: object

    def counted(self, table="entries"):
        with psycopg.connect(self.database.admin_url) as connection:
            return connection.execute(f"SELECT count(*) FROM ledger.{table}").fetchone()[0]

    def import_(self, register, mapping, *options):
        """Exit status, report and what was said."""
        return import_(register, mapping, "--url", self.url, "--token-file", self.token, *options)


@contextmanager
def town(database, folder):
    """The town's service, in a thread of its own."""
    ready, stop, found = threading.Event(), [], []

    async def serve():
        world = await moved(database)
        server = make_server(create_app(world.parts()))
        stop.append(server)
        with socket.create_server(("127.0.0.1", 0)) as bound:
            found.append((f"http://127.0.0.1:{bound.getsockname()[1]}", world.tokens[TOWN]))
            task = asyncio.create_task(server.serve(sockets=[bound]))
            while not server.started:
                await asyncio.sleep(0.01)
            ready.set()
            await task

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(60)
        url, token = found[0]
        file = folder / "token"
        file.write_text(token + "\n")
        yield Town(url, file, database)
    finally:
        stop[0].should_exit = True
        thread.join()


def run(*arguments, **options):
    """`aiqyn appeals …`: exit status and what was said."""
    done = CliRunner().invoke(appeals, [str(argument) for argument in arguments], **options)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def import_(register, mapping, *options):
    """Exit status, report and what was said."""
    file = register.with_name(register.name + ".report.json")
    file.unlink(missing_ok=True)
    status, said = run("import", register, "--mapping", mapping, "--report", file, *options)
    report = json.loads(file.read_bytes()) if file.exists() else None
    return status, report, said


def sample(path, folder, column, cases):
    """The first cases of a register, in a file of their own."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = list(dict.fromkeys(row[column] for row in rows))[:cases]
    kept = [row for row in rows if row[column] in set(chosen)]
    return written(folder / path.name, [list(row.values()) for row in kept], list(rows[0]))


def content(path, column):
    """Number of cases and rows."""
    with path.open(encoding="utf-8", newline="") as file:
        found = [row[column] for row in csv.DictReader(file)]
    return len(set(found)), len(found)
