"""A thousand of ten thousand signers are forgotten: no table, file or dump holds their names afterwards.

Everything real: a service that runs meanwhile, the command line, a power cut in the middle, the files of
PostgreSQL. ``AIQYN_TEST_SIGNERS`` sets another number.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from psycopg import sql
from rich.console import Console

from api.service import Parts
from cli.local import LocalService
from cli.petition_story import PetitionStory
from ledger import events
from ledger.config import load
from ledger.domain.aggregate import Issuance, happen
from ledger.domain.signature import Signature, signature_stream
from ledger.eds.authority import Authority
from ledger.encoding import b64url
from ledger.receipt import Receipt
from ledger.statement import Disclosure
from ledger.store import embedded
from ledger.store.append import Append
from ledger.store.database import find_database
from ledger.tlog.note import VerifierKey
from projections import ALL
from projections.digest import digests, published

SIGNERS = int(os.environ.get("AIQYN_TEST_SIGNERS", "10000"))
FORGOTTEN = SIGNERS // 10
AT_ONCE = 500


@dataclass
class Known:
    """What there was about one signer."""

    stream: str
    name: str
    full_name: str
    iin: str


def people(petition):
    """Invented signers; the numbers in their names make each findable."""
    made = {}
    for number in range(SIGNERS):
        stream = signature_stream(petition, b64url(number.to_bytes(32, "big")))
        made[stream] = Known(
            stream, f"Жасанды{number:05} Ө.", f"ӨЗГЕ{number:05} ЖАСАНДЫ{number:05}", f"9999{number:08}"
        )
    return made


async def sign(parts, signers):
    """As the gateway does for people whose certificates it verified."""
    ledger = parts.ledger()
    await ledger.start()
    try:
        facts = events.PetitionSigned(lang="kk", algorithm="RSA-SHA256", region="71")
        pending = []
        for one in signers.values():
            values = {"name": one.name, "full_name": one.full_name, "iin": one.iin, "cms": "a CMS" * 300}
            made = tuple(Disclosure.make(name, value) for name, value in values.items())
            by = Issuance(ledger.operator, ledger.keys.gateway.kid, ledger.now(), made)
            (happened,) = happen(Signature, one.stream, None, facts, by).collect_events()
            pending.append(await ledger.seal(happened))
            if len(pending) == AT_ONCE:
                await ledger.sequencer.append(Append(pending))
                pending = []
        if pending:
            await ledger.sequencer.append(Append(pending))
    finally:
        await ledger.stop()


# --- what may be left -----------------------------------------------------------------------------


def traces(admin, signers):
    """Texts and bytes that stand for these signers, by what they are, as files and tables would hold them."""
    streams = list(signers)
    disclosures = admin.execute(
        "SELECT disclosure FROM ledger.disclosures JOIN ledger.entries e USING (position)"
        " WHERE e.stream = ANY(%s)",
        [streams],
    ).fetchall()
    keys = admin.execute("SELECT wrapped FROM ledger.data_keys WHERE stream = ANY(%s)", [streams]).fetchall()
    persons = admin.execute(
        "SELECT person FROM ledger.persons JOIN ledger.entries e USING (position) WHERE e.stream = ANY(%s)",
        [streams],
    ).fetchall()
    return {
        "name": [one.name.encode() for one in signers.values()],
        "full name": [one.full_name.encode() for one in signers.values()],
        "iin": [one.iin.encode() for one in signers.values()],
        "disclosure": [text.encode() for (text,) in disclosures],
        "wrapped key": [_line(bytes(wrapped)) for (wrapped,) in keys],
        "pseudonym": [_line(bytes(person)) for (person,) in persons],
        "wrapped key in hex": [bytes(wrapped).hex().encode() for (wrapped,) in keys],
        "pseudonym in hex": [bytes(person).hex().encode() for (person,) in persons],
    }


def _line(raw):
    """The longest part that grep takes for one pattern."""
    return max(re.split(rb"[\n\x00]", raw), key=len)


def found(patterns, places, folder):
    """How many times each kind of pattern stands in these files and folders, by grep: bytes are bytes."""
    kinds = {text: kind for kind, texts in patterns.items() for text in texts if len(text) >= 8}
    listed = folder / "patterns"
    listed.write_bytes(b"\n".join(kinds))
    done = subprocess.run(
        ["grep", "-raoFhf", listed, *map(str, places)],
        capture_output=True,
        check=False,
        env={"LC_ALL": "C", "PATH": os.defpath},
    )
    assert done.returncode in (0, 1), done.stderr
    listed.unlink()
    counts = Counter(kinds[text] for text in done.stdout.split(b"\n") if text)
    return {kind: counts[kind] for kind in patterns}


def copied(admin, folder):
    """Every column of every table, as text and as bytes; what is base64 in them also decoded."""
    tables = admin.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'r'"
    ).fetchall()
    texts, raw, decoded = (folder / name for name in ("texts", "raw", "decoded"))
    with texts.open("wb") as text, raw.open("wb") as bytes_, decoded.open("wb") as clear:
        for schema, name in tables:
            table = sql.Identifier(schema, name)
            with admin.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(table)) as rows:
                text.writelines(rows)
            if schema in ("pg_catalog", "information_schema"):
                continue  # some of its types have no binary form, and none holds bytes
            with admin.cursor().copy(sql.SQL("COPY {} TO STDOUT (FORMAT BINARY)").format(table)) as rows:
                for row in map(bytes, rows):
                    bytes_.write(row)
                    for run in re.findall(rb"[A-Za-z0-9_-]{24,}", row):
                        for part in (run[start:] for start in range(4)):  # a length may stand before it
                            whole = part[: len(part) & ~3]
                            clear.write(base64.urlsafe_b64decode(whole) + b"\n")
    return [texts, raw, decoded]


def dumped(url, folder, *options):
    """By pg_dump, as a backup would."""
    dump = folder / "dump.sql"
    programs = embedded._find_programs()
    with dump.open("wb") as file:
        subprocess.run([programs / "pg_dump", *options, "--dbname", url], stdout=file, check=True)
    return [dump]


def kept_for_ever():
    """What docs/erasure.md leaves out of the dumps that are kept for ever."""
    page = Path(__file__).parents[2] / "docs" / "erasure.md"
    return re.findall(r"--exclude-table-data=[a-z_.]+", page.read_text("utf-8"))


# --- the story ------------------------------------------------------------------------------------


def state(service, petition, admin):
    """The published numbers, and digests of tables that erasing does not add rows to."""
    shown = httpx.get(f"{service.url}/v1/petitions/{petition}").json()
    numbers = {name: shown[name] for name in ("count", "signed", "withdrawn", "voided", "by_region")}
    named = [projection for projection in published(ALL) if projection.name != "trails"]
    return numbers, {one.name: one.sha256 for one in digests(admin, named)}


def settled(admin):
    """Wait until everything is folded."""
    for _ in range(600):
        (behind,) = admin.execute(
            "SELECT (SELECT size FROM ledger.head) - 1 - min(position) FROM projections.positions"
        ).fetchone()
        if behind == 0:
            return
        time.sleep(0.1)
    raise AssertionError("the projections do not follow")


def halves(admin, streams):
    """Of each stream: whether an erasure stands in the log, and which of its rows are left."""
    return admin.execute(
        "SELECT e.stream, EXISTS (SELECT FROM ledger.entries x WHERE x.stream > 'erasure/' || e.stream || '/'"
        " AND x.stream < 'erasure/' || e.stream || '0'),"
        " (SELECT count(*) FROM ledger.disclosures d WHERE d.position = e.position)"
        " + (SELECT count(*) FROM ledger.data_keys k WHERE k.stream = e.stream)"
        " + (SELECT count(*) FROM ledger.vault v WHERE v.position = e.position)"
        " + (SELECT count(*) FROM ledger.persons p WHERE p.position = e.position)"
        " FROM ledger.entries e WHERE e.stream = ANY(%s) ORDER BY e.position",
        [streams],
    ).fetchall()


def erase_and_cut(service, streams, admin):
    """`aiqyn erase`, killed when some are done."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "erase", "--yes", *streams],
        env=service.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None:
        (done,) = admin.execute(
            "SELECT count(*) FROM ledger.entries WHERE type = 'disclosure.erased'"
        ).fetchone()
        if done >= len(streams) // 5:
            process.kill()
            break
        time.sleep(0.005)
    process.wait()
    assert process.returncode == -9, "it was killed in the middle"


def test_no_table_file_or_dump_holds_the_names_of_who_was_forgotten(short_path, tmp_path):
    authority = Authority.create("ecdsa", pool=2)
    with LocalService(short_path, authority) as service:
        story = PetitionStory(Console(quiet=True), service, authority, 0)
        story.open_collection()
        petition = story.signing_path.split("/")[3]
        signers = people(petition)
        settings = load(service.environment).settings
        with (
            closing(find_database(settings)) as urls,
            psycopg.connect(urls.admin_url, autocommit=True) as admin,
        ):
            asyncio.run(sign(Parts.load(settings, urls.url), signers))
            settled(admin)
            chosen = random.SystemRandom().sample(sorted(signers), FORGOTTEN)
            gone = {stream: signers[stream] for stream in chosen}
            patterns = traces(admin, gone)
            assert {len(texts) for texts in patterns.values()} == {FORGOTTEN}
            before = state(service, petition, admin)
            key = httpx.get(f"{service.url}/v1/log").json()["vkey"]
            (position,) = admin.execute(
                "SELECT position FROM ledger.entries WHERE stream = %s", [chosen[0]]
            ).fetchone()
            receipt = httpx.get(f"{service.url}/v1/entries/{position}/receipt").content

            # The search can find: this is what a table, the files and a dump hold of them. Some of the log's
            # segments already wait to be used again, with what they hold.
            for _ in range(6):
                admin.execute("SELECT pg_logical_emit_message(false, 'tests', '')")
                admin.execute("SELECT pg_switch_wal()")
            admin.execute("CHECKPOINT")
            admin.execute("ANALYZE")
            there = found(patterns, copied(admin, tmp_path), tmp_path)
            for kind in ("name", "disclosure", "wrapped key", "wrapped key in hex", "pseudonym"):
                assert there[kind] >= FORGOTTEN, there
            files = found(patterns, [short_path], tmp_path)
            for kind in ("disclosure", "wrapped key", "pseudonym"):
                assert files[kind] >= FORGOTTEN, files
            assert found(patterns, dumped(urls.admin_url, tmp_path), tmp_path)["disclosure"] >= FORGOTTEN
            nothing = dict.fromkeys(patterns, 0)
            long_lived = dumped(urls.admin_url, tmp_path, *kept_for_ever())
            assert found(patterns, long_lived, tmp_path) == nothing, "even of those who are not forgotten"
            assert long_lived[0].stat().st_size > 1000 * SIGNERS, "the log is in it"
            assert files["full name"] == files["iin"] == there["full name"] == 0, "the vault is encrypted"

            erase_and_cut(service, chosen, admin)
            rows = halves(admin, chosen)
            assert 0 < sum(erased for _, erased, _ in rows) < FORGOTTEN
            assert {left for _, erased, left in rows if erased} == {0}
            assert {left for _, erased, left in rows if not erased} == {4}
            said = service.run("erase", "--yes", *chosen)
            assert "No file of this database holds what was erased" in said, said
            assert {row[1:] for row in halves(admin, chosen)} == {(True, 0)}
            (erasures,) = admin.execute(
                "SELECT count(*) FROM ledger.entries WHERE type = 'disclosure.erased'"
            ).fetchone()
            assert erasures == FORGOTTEN, "each is said once"
            assert "Nothing to erase" in service.run("erase", "--yes", *chosen)

            admin.execute("ANALYZE")
            assert found(patterns, copied(admin, tmp_path), tmp_path) == nothing
            assert found(patterns, dumped(urls.admin_url, tmp_path), tmp_path) == nothing
            assert found(patterns, [short_path], tmp_path) == nothing

            settled(admin)
            assert state(service, petition, admin) == before
            newest = admin.execute("SELECT max(position) FROM ledger.entries WHERE type = 'petition.signed'")
            shown = httpx.get(
                f"{service.url}/v1/petitions/{petition}/signatures",
                params={"limit": 100, "before": newest.fetchone()[0] + 1},
            ).json()["items"]
            by_position = dict(
                admin.execute(
                    "SELECT position, stream FROM ledger.entries WHERE type = 'petition.signed'"
                ).fetchall()
            )
            assert len(shown) == min(100, len(shown))
            for item in shown:
                erased = by_position[item["position"]] in gone
                assert (item["name"] is None, item["erased"] is not None) == (erased, erased)
                assert item["state"] == "counted"
            assert any(item["erased"] for item in shown)

        held = Receipt.parse(receipt)
        assert held.verify(VerifierKey.parse(key)).position == position, "a receipt kept still proves it"
        report = json.loads(service.run("audit", service.url, "--log-key", key, "--json"))
        assert report["findings"] == [], report
