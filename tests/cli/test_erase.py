"""``aiqyn erase`` as an operator types it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import closing

import psycopg
import pytest
from typer.testing import CliRunner

from api.service import Parts
from cli.local import LocalService, LocalServiceError
from cli.main import app
from ledger import events
from ledger.config import load
from ledger.domain import terms, wording
from ledger.domain.aggregate import Issuance, happen
from ledger.domain.petition import Petition
from ledger.domain.signature import Signature, nullifier, petition_stream, signature_stream
from ledger.eds.authority import Authority
from ledger.statement import Disclosure
from ledger.store.append import Append
from ledger.store.database import open_database

ID = "00000000-0000-4000-8000-000000000001"
AUTHOR, SIGNER, OTHER = "999900000001", "999900000002", "999900000003"


async def written(parts):
    """A petition and two signatures, as the gateway records them; their streams."""
    ledger = parts.ledger()
    await ledger.start()
    try:
        at, stream = ledger.now(), petition_stream(ID)
        secret, wrapped = ledger.vault.new_key("petition-secret", stream)

        def by(iin, **public):
            values = {"iin": iin, "full_name": "ТЕГІ АТЫ", "cms": "a CMS", **public}
            made = tuple(Disclosure.make(name, value) for name, value in values.items())
            return Issuance(ledger.operator, ledger.keys.gateway.kid, at, made)

        facts = events.PetitionSubmitted(
            body="organisation/aqbulaq", lang="kk", text_hash=wording.text_hash("Тақырып", "Мәтін"),
            author=nullifier(secret, AUTHOR), algorithm="RSA-SHA256", moderate_until=terms.moderate_until(at),
        )  # fmt: skip
        filed = by(AUTHOR, title="Тақырып", text="Мәтін", author="Аты Т.")
        await ledger.record(stream, facts, filed, secret=wrapped)
        signed = []
        for iin in (SIGNER, OTHER):
            signed.append(signature_stream(ID, nullifier(secret, iin)))
            happened = happen(
                Signature, signed[-1], None, events.PetitionSigned(lang="kk", algorithm="RSA-SHA256"),
                by(iin, name="Аты Т."),
            )  # fmt: skip
            pending = [await ledger.seal(event) for event in happened.collect_events()]
            await ledger.sequencer.append(Append(pending))
        assert isinstance(await ledger.load(stream), Petition)
        return signed
    finally:
        await ledger.stop()


@pytest.fixture
def operator(short_path):
    """An operator's machine with a small ledger, and somebody who looks at its tables."""
    service = LocalService(short_path, Authority.create("ecdsa"))
    service.init()
    settings = load(service.environment).settings
    with (
        closing(open_database(settings)) as urls,
        psycopg.connect(urls.admin_url, autocommit=True) as admin,
    ):
        signed = asyncio.run(written(Parts.load(settings, urls.url)))
        yield service, admin, signed


def counted(admin, table):
    return admin.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def misused(*arguments):
    """What is said about a wrong usage, before anything is opened."""
    done = CliRunner().invoke(app, ["erase", *arguments])
    assert done.exit_code == 2
    return " ".join(done.output.replace("│", " ").split())


def refused(service, *arguments):
    with pytest.raises(LocalServiceError) as error:
        service.run("erase", *arguments)
    return " ".join(str(error.value).replace("│", " ").split())


def test_what_cannot_be_meant_is_refused_and_a_dry_run_or_a_no_destroys_nothing(operator):
    service, admin, signed = operator
    before = counted(admin, "ledger.entries"), counted(admin, "ledger.disclosures")
    assert "name streams, or choose one" in misused()
    assert "name streams, or choose one" in misused(signed[0], "--expired")
    assert "exactly 12 digits" in misused("--person", "12345")
    assert "nothing would be left" in misused(signed[0], "--keep-public", "--keep-key")
    assert "leave the other choices away" in misused("--expired", "--ground", "court")
    assert "There is no signature/x/y" in refused(service, "signature/x/y", "--yes")
    assert "order of a court" in refused(service, f"petition/{ID}", "--names", "title", "--yes")

    said = service.run("erase", *signed, "--dry-run")
    assert "2 to erase: 2 of room signature; 2 data keys, 2 of name." in said
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "erase", signed[0]],
        env=service.environment, input="n\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert (counted(admin, "ledger.entries"), counted(admin, "ledger.disclosures")) == before


def test_an_operator_forgets_people_and_the_rest_stays(operator):
    service, admin, signed = operator
    # A person is erased where that can be and the rest is named.
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "erase", "--person", "-", "--yes", "--no-scrub"],
        env=service.environment, input=f"{AUTHOR}\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "needed until it is over" in " ".join(done.stdout.split())
    assert AUTHOR not in done.stdout + done.stderr
    said = service.run("erase", "--person", AUTHOR, "--ground", "court", "--yes", "--no-scrub")
    assert "1 to erase: 1 of room petition; 1 data keys, 1 of author." in said
    assert "1 erasures wait to be scrubbed" in said
    assert counted(admin, "ledger.petition_secrets") == 1
    assert "No file of this database holds" in service.run("erase", "--scrub")

    # Who waits is erased by a later run.
    said = service.run("erase", "--person", SIGNER, "--with-next-run", "--days", "1")
    assert "1 wait, each for one of the next 1 days." in said
    assert counted(admin, "service.erasures_waiting") == 1
    said = service.run("erase", "--expired", "--yes")
    assert "1 erased" in said
    assert "No file of this database holds what was erased" in said
    assert counted(admin, "service.erasures_waiting") == 0
    assert "Nothing to erase" in service.run("erase", signed[0], "--yes")

    # A court takes words down and leaves the evidence.
    keys = counted(admin, "ledger.data_keys")
    service.run(
        "erase", f"petition/{ID}", "--ground", "court", "--names", "title,text", "--keep-key", "--yes",
        "--no-scrub",
    )  # fmt: skip
    assert counted(admin, "ledger.data_keys") == keys
    left = admin.execute("SELECT name FROM ledger.disclosures ORDER BY name").fetchall()
    assert left == [("name",)]

    # After a restore the log is obeyed again.
    backup = admin.execute("SELECT * FROM ledger.data_keys WHERE stream = %s", [signed[1]]).fetchone()
    service.run("erase", signed[1], "--yes", "--no-scrub")
    assert counted(admin, "ledger.data_keys") == 0
    admin.execute("INSERT INTO ledger.data_keys VALUES (%s, %s, %s)", backup)
    assert "1 rows went" in service.run("erase", "--again")
    assert counted(admin, "ledger.data_keys") == 0
    assert "0 rows went" in service.run("erase", "--again")
