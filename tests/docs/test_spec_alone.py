"""The specification suffices: a reader that follows it alone finds good logs good, and broken ones broken.

It runs in a process of its own, which can import nothing of the project. What it reads the project made.
"""

from __future__ import annotations

import ast
import asyncio
import atexit
import hashlib
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from ledger import events
from ledger.encoding import b64url
from ledger.keys import SigningKey
from ledger.receipt import Receipt
from ledger.sample import draw
from ledger.statement import Disclosure, open_event
from ledger.store.database import connect
from ledger.tlog.checkpoint import Checkpoint, cosign_checkpoint, sign_checkpoint
from ledger.tlog.merkle import leaf_hash, root_from_leaves
from ledger.tlog.note import COSIGNATURE, ML_DSA_44, SignedNote, SignerKey
from ledger.tlog.proof import TlogProof
from ledger.tlog.tiles import tiles_for_size
from projections import petition_fold, signatures
from projections.digest import digest
from projections.runner import Runner
from tests.api.services import service
from tests.audit import appeal_cases
from tests.audit.log_builder import (
    BODY,
    MODERATOR,
    NAMES,
    OPERATOR,
    ORIGIN,
    LogBuilder,
    nullifier,
    petition_id,
)
from tests.projections.written import WrittenLedger

FILE = Path(__file__).with_name("spec_reader.py")
COUNCIL = "organisation/council"


@dataclass
class Report:
    """What the reader prints."""

    size: int | None
    root: str | None
    petitions: dict
    unchecked: list[str]
    findings: list[dict]

    @property
    def places(self) -> list:
        return [finding["at"] for finding in self.findings]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The program as anybody calls it."""
    return subprocess.run(
        [sys.executable, "-I", str(FILE), *words], capture_output=True, text=True, timeout=60
    )


_SERVE = """
import contextlib, io, json, runpy, sys
program = runpy.run_path(sys.argv[1])
for line in sys.stdin:
    sys.argv[1:], said = json.loads(line), io.StringIO()
    with contextlib.redirect_stdout(said):
        code = program["main"]()
    print(json.dumps([code, json.loads(said.getvalue())]), flush=True)
"""


@cache
def _isolated() -> subprocess.Popen[str]:
    """One process that runs the program again and again: to start one takes longer than to read a log."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _SERVE, str(FILE)], stdin=pipe, stdout=pipe, text=True
    )
    atexit.register(process.communicate)
    return process


def read(folder: Path, *words: str) -> Report:
    """What the reader says of the log in ``folder``; ``words`` are its other arguments."""
    process = _isolated()
    process.stdin.write(json.dumps([str(folder / "log"), *words]) + "\n")
    process.stdin.flush()
    code, printed = json.loads(process.stdout.readline())
    report = Report(**printed)
    assert code == (1 if report.findings else 0)
    return report


def read_log(log: LogBuilder, folder: Path, entries: list[bytes] | None = None) -> Report:
    return read(log.write(folder, entries), log.vkey)


@cache
def reader():
    """The same program as a module, to try parts of it."""
    spec = importlib.util.spec_from_file_location("spec_reader", FILE)
    module = sys.modules["spec_reader"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the reader itself ----------------------------------------------------------------------------


def test_the_reader_imports_nothing_of_ours():
    imported = set()
    for node in ast.walk(ast.parse(FILE.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            assert called not in {"__import__", "import_module", "exec", "eval"}
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_the_reader_knows_every_keyword_of_the_schema_and_every_row_of_the_tables():
    module = reader()
    spec = module.Spec.load(module.DOCS)
    assert spec.forms.keys() == spec.schema["properties"].keys() == events.catalogue.keys()
    keywords = set()

    def walk(schema):
        keywords.update(schema)
        for one in [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]:
            walk(one)
        if "items" in schema:
            walk(schema["items"])

    for definition in spec.schema["$defs"].values():
        walk(definition)
    assert keywords <= module.KEYWORDS.keys()


def test_the_program_prints_a_report_and_its_exit_status_says_whether_it_is_clean(tmp_path):
    log = LogBuilder().usual()
    log.write(tmp_path)
    done = run(str(tmp_path / "log"), log.vkey)
    assert (done.returncode, done.stderr) == (0, "")
    assert Report(**json.loads(done.stdout)) == read(tmp_path, log.vkey)
    (tmp_path / f"log/tile/0/000.p/{log.size}").unlink()
    done = run(str(tmp_path / "log"), log.vkey)
    assert (done.returncode, done.stderr) == (1, "")
    assert [finding["at"] for finding in json.loads(done.stdout)["findings"]] == [f"tile/0/000.p/{log.size}"]
    assert run(str(tmp_path / "log"), "no key").returncode == 2


# --- logs as they should be -----------------------------------------------------------------------


def test_a_usual_history_is_clean_and_recounted(tmp_path):
    log = LogBuilder().usual()
    report = read_log(log, tmp_path)
    assert (report.findings, report.unchecked, report.size) == ([], [], log.size)
    assert report.root == root_from_leaves(map(leaf_hash, log.entries)).hex()
    one, two = (report.petitions[f"petition/{petition_id(number)}"] for number in (1, 2))
    assert one == recount(log, 1)
    assert (one["regions"]["10"], one["regions"]["71"], one["regions"]["75"]) == (2, 1, 1)
    assert two == recount(log, 2) == {"count": 1, "regions": {"79": 1}}


def recount(log: LogBuilder, petition: int) -> dict:
    """What is left of a petition's signatures."""
    left = {}
    for event in map(open_event, log.entries):
        if event.stream.startswith(f"signature/{petition_id(petition)}/"):
            signed = isinstance(event.facts, events.PetitionSigned)
            left[event.stream] = (event.facts.region or "unknown") if signed else None
    regions = Counter(filter(None, left.values()))
    return {"count": regions.total(), "regions": dict(sorted(regions.items()))}


def test_a_history_of_appeals_is_clean(tmp_path):
    assert read_log(appeal_cases.a_lawful_life(), tmp_path).findings == []


def test_an_applicant_on_paper_is_told_by_who_forwarded_the_appeal(tmp_path):
    log = appeal_cases.AppealLog().open()
    log.file(channel="paper", algorithm=None)
    log.say("forwarded", to=appeal_cases.OTHER)
    log.say("applicant_told", of=2, way="post")
    assert read_log(log, tmp_path).findings == []
    at = log.add(
        appeal_cases.ONE, events.AppealApplicantTold(of=2, way="post"),
        iss=appeal_cases.OTHER, key=log.keys[appeal_cases.OTHER],
    )  # fmt: skip
    assert read_log(log, tmp_path).places == [at]


def test_a_log_of_several_tiles_is_clean(tmp_path):
    log = long_log()
    report = read_log(log, tmp_path)
    assert report.findings == []
    assert report.petitions == {f"petition/{petition_id(1)}": recount(log, 1)}
    assert (tmp_path / "log/tile/1/000.p/1").is_file()


def long_log() -> LogBuilder:
    log = LogBuilder().begin().collecting(1, required=1000)
    for person in range(3, 263):
        log.sign(1, person, "71")
    return log


def test_what_a_service_serves_is_clean_and_its_receipts_verify(database, tmp_path):
    async def story():
        async with service(database) as api:
            petition = await api.limited()
            answers = [(await api.sign(number, petition)).json() for number in range(1, 4)]
            log = tmp_path / "log"
            note = (await api.get("/log/checkpoint")).content
            size = int(note.split(b"\n")[1])
            for path in ["checkpoint", *(tile.path for tile in tiles_for_size(size))]:
                (log / path).parent.mkdir(parents=True, exist_ok=True)
                (log / path).write_bytes((await api.get(f"/log/{path}")).content)
            receipts = [tmp_path / f"{number}.json" for number, _ in enumerate(answers)]
            for file, answer in zip(receipts, answers, strict=True):
                file.write_text(json.dumps(answer["receipt"]))
            vkey = (await api.ok("/v1/log"))["vkey"]
            return petition, size, read(tmp_path, vkey, *map(str, receipts))

    petition, size, report = asyncio.run(story())
    assert (report.size, report.findings) == (size, [])
    assert report.petitions == {f"petition/{petition}": {"count": 3, "regions": {"unknown": 3}}}


# --- files that were changed afterwards -----------------------------------------------------------


def test_a_changed_entry_is_found(tmp_path):
    log = LogBuilder().usual()
    bundle = log.write(tmp_path) / f"log/tile/entries/000.p/{log.size}"
    data = bytearray(bundle.read_bytes())
    data[-3] ^= 1
    bundle.write_bytes(data)
    places = read(tmp_path, log.vkey).places
    assert {f"tile/0/000.p/{log.size}", "checkpoint", log.size - 1} <= set(places)


@pytest.mark.parametrize("tile", ["0/000", "0/001.p/{}", "1/000.p/1"])
def test_a_changed_or_missing_tile_is_found(tile, tmp_path):
    log = long_log()
    file = log.write(tmp_path) / "log/tile" / tile.format(log.size % 256)
    *first, last = file.read_bytes()
    file.write_bytes(bytes([*first, last ^ 1]))
    assert read(tmp_path, log.vkey).places == [f"tile/{tile.format(log.size % 256)}"]
    file.unlink()
    assert read(tmp_path, log.vkey).places == [f"tile/{tile.format(log.size % 256)}"]


def test_entries_that_break_off_are_found(tmp_path):
    log = LogBuilder().usual()
    bundle = log.write(tmp_path) / f"log/tile/entries/000.p/{log.size}"
    bundle.write_bytes(bundle.read_bytes()[:-1])
    assert f"tile/entries/000.p/{log.size}" in read(tmp_path, log.vkey).places


def test_a_checkpoint_of_another_key_or_log_is_found(tmp_path):
    log = LogBuilder().usual()
    log.write(tmp_path)
    for other in (SignerKey.generate(ORIGIN), SignerKey.generate("other.example/log")):
        assert read(tmp_path, str(other.verifier)).places == ["checkpoint"]


def test_a_rewritten_history_does_not_have_the_root_that_was_signed(tmp_path):
    log, other = LogBuilder().usual(), LogBuilder().usual()
    log.write(tmp_path)
    note = (tmp_path / "log/checkpoint").read_bytes()
    other.write(tmp_path)
    (tmp_path / "log/checkpoint").write_bytes(note)
    assert read(tmp_path, log.vkey).places == ["checkpoint"]


# --- histories that no honest service would write -------------------------------------------------


def begun() -> LogBuilder:
    """A published petition; three more signatures reach its threshold."""
    log = LogBuilder().begin().collecting(1)
    log.sign(1, 3, "75")
    return log


def ended(log: LogBuilder, fewer: int = 0) -> int:
    """The petition ends unsupported, with fewer signatures than it has."""
    (required,) = (
        event.facts.required
        for event in map(open_event, log.entries)
        if isinstance(event.facts, events.PetitionPublished)
    )
    count, as_of = recount(log, 1)["count"] - fewer, log.size - 1
    return log.step(1, events.PetitionNotSupported(count=count, required=required, as_of=as_of))


def an_issuer_with_another_role():
    log = begun()
    return log, log.sign(1, 4, iss=MODERATOR, key=log.moderator)


def an_issuer_with_the_key_of_another():
    log = begun()
    return log, log.sign(1, 4, iss=MODERATOR, key=log.gateway)


def a_key_that_was_revoked():
    log = begun()
    log.add(OPERATOR, events.OrganisationKeyRevoked(kid=log.gateway.kid, reason="retired"))
    return log, log.sign(1, 4)


def a_key_that_is_registered_again():
    log = begun()
    log.add(OPERATOR, events.OrganisationKeyRevoked(kid=log.gateway.kid, reason="retired"))
    return log, log.register_key(OPERATOR, log.gateway, "gateway")


def a_role_that_is_not_for_this_kind():
    log = begun()
    return log, log.register_key(BODY, SigningKey.generate(), "gateway")


def a_second_operator():
    log = begun()
    facts = events.OrganisationRegistered(
        kind="operator", level="republic", names=NAMES, root_key=SigningKey.generate().public_key
    )
    return log, log.add("organisation/usurper", facts)


def a_signature_that_is_anothers():
    log = begun()
    log.sign(1, 4)
    head, _, _ = log.entries[-1].rpartition(b".")
    log.entries[-1] = head + b"." + b64url(log.moderator.sign(head)).encode() + b"~"
    return log, log.size - 1


def a_gap_in_a_stream():
    log = begun()
    return log, log.withdraw(1, 3, n=3)


def a_stream_that_goes_back_in_time():
    log = begun()
    return log, log.withdraw(1, 3, at=log.now - timedelta(seconds=5))


def an_entry_that_is_dated_hours_before_the_one_ahead():
    log = begun()
    log.now += timedelta(hours=3)
    log.sign(1, 4)
    return log, log.sign(1, 5, at=log.now - timedelta(hours=2, seconds=1))


def a_second_signature():
    log = begun()
    return log, log.sign(1, 3, n=1)


def a_signature_after_one_was_taken_back():
    log = begun()
    log.withdraw(1, 3)
    return log, log.sign(1, 3)


def a_signature_that_is_taken_away_twice():
    log = begun()
    log.withdraw(1, 3)
    return log, log.void(1, 3)


def a_signature_on_a_petition_that_nobody_submitted():
    log = begun()
    return log, log.sign(7, 3)


def a_signature_after_the_time_of_collection():
    log = begun()
    return log, log.sign(1, 4, at=log.now + timedelta(days=400))


def a_threshold_that_was_reached_elsewhere():
    log = begun()
    reached = [log.sign(1, person) for person in range(4, 9)]
    return log, log.support(1, reached[-1])


def a_threshold_that_was_never_reached():
    log = begun()
    return log, log.support(1, log.size - 1)


def a_threshold_that_is_not_the_petitions():
    log = begun()
    return log, log.support(1, log.size - 1, required=3)


def a_count_that_is_not_the_logs():
    log = begun()
    log.now += timedelta(days=400)
    return log, ended(log, fewer=1)


def a_collection_that_is_ended_early():
    log = begun()
    return log, ended(log)


def a_publication_with_too_few_signatures():
    log = LogBuilder().begin()
    log.submit(1)
    log.admit(1)
    log.sign(1, 1)
    return log, log.publish(1)


def a_petition_to_nobody():
    log = begun()
    text = hashlib.sha256(b"text").hexdigest()
    facts = events.PetitionSubmitted(
        body="organisation/nobody", lang="kk", text_hash=text, author=nullifier(0),
        algorithm="RSA-SHA256", moderate_until=log.now,
    )  # fmt: skip
    return log, log.add(f"petition/{petition_id(2)}", facts)


def a_body_that_the_petition_was_not_sent_to():
    log = begun()
    reached = [log.sign(1, person) for person in (4, 5, 6)][-1]
    log.support(1, reached)
    log.step(1, events.PetitionRouted(body=MODERATOR))
    return log, log.step(1, events.PetitionRegistered(number="1", consider_until=log.now))


BROKEN = [
    an_issuer_with_another_role, an_issuer_with_the_key_of_another, a_key_that_was_revoked,
    a_key_that_is_registered_again, a_role_that_is_not_for_this_kind, a_second_operator,
    a_signature_that_is_anothers, a_gap_in_a_stream, a_stream_that_goes_back_in_time,
    an_entry_that_is_dated_hours_before_the_one_ahead, a_second_signature,
    a_signature_after_one_was_taken_back, a_signature_that_is_taken_away_twice,
    a_signature_on_a_petition_that_nobody_submitted, a_signature_after_the_time_of_collection,
    a_threshold_that_was_reached_elsewhere, a_threshold_that_was_never_reached,
    a_threshold_that_is_not_the_petitions, a_count_that_is_not_the_logs, a_collection_that_is_ended_early,
    a_publication_with_too_few_signatures, a_petition_to_nobody, a_body_that_the_petition_was_not_sent_to,
]  # fmt: skip


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.__name__)
def test_the_reader_finds(case, tmp_path):
    log, position = case()
    assert set(read_log(log, tmp_path).places) == {position}


def test_what_is_not_issued_as_it_should_be_is_not_counted(tmp_path):
    log = begun()
    counted = recount(log, 1)
    at = [
        log.sign(1, 4, iss=MODERATOR, key=log.moderator),
        log.sign(1, 3, n=1),
        log.sign(1, 5, at=log.now + timedelta(days=400)),
    ]
    report = read_log(log, tmp_path)
    assert set(report.places) == set(at)
    assert report.petitions == {f"petition/{petition_id(1)}": counted}


LAW = {
    "a_term_a_day_too_long", "a_decision_that_nobody_approved", "a_refusal_without_a_hearing",
    "a_term_said_to_be_over_before_it_is", "a_late_answer_said_to_be_in_time",
    "an_answer_that_is_put_back_into_the_old_register", "an_old_case_that_was_registered_in_the_future",
    "a_moment_that_no_calendar_has",
}  # fmt: skip
"""What takes the law to see, and not the specification: terms, and which step may follow which."""


CASES = {case.__name__: case for _, case in appeal_cases.CASES}


@pytest.mark.parametrize("case", sorted(CASES.keys() - LAW))
def test_of_appeals_the_reader_finds(case, tmp_path):
    log, position = CASES[case]()
    assert read_log(log, tmp_path).places == [position]


# --- entries of another form ----------------------------------------------------------------------


def sealed(log: LogBuilder, *, header=None, raw: bytes | None = None, drop=(), **changed) -> bytes:
    """The next signature as an entry whose header or payload is changed before it is signed."""
    entry = log.seal(
        f"signature/{petition_id(1)}/{nullifier(50)}",
        events.PetitionSigned(lang="kk", algorithm="RSA-SHA256"),
    )[0].entry
    module = reader()
    payload = json.loads(module.unb64url(entry.split(b".")[1].decode())) | changed
    payload = {name: value for name, value in payload.items() if name not in drop}
    head = {"alg": "Ed25519", "typ": "aiqyn-event+sd-jwt", "kid": log.gateway.kid} | (header or {})
    body = json.dumps(payload).encode() if raw is None else json.dumps(payload).encode().replace(*raw)
    signed = f"{b64url(json.dumps(head).encode())}.{b64url(body)}".encode()
    return signed + b"." + b64url(log.gateway.sign(signed)).encode() + b"~"


DIGESTS = [b64url(bytes([number]) * 32) for number in range(4)]


@pytest.mark.parametrize(
    "change",
    [
        {"header": {"alg": "RS256"}},
        {"header": {"typ": "jwt"}},
        {"header": {"crit": []}},
        {"header": {"kid": None}},
        {"more": 1},
        {"drop": ["jti"]},
        {"jti": "a b"},
        {"iat": 2**33},
        {"iat": -1},
        {"n": True},
        {"n": 1.0},
        {"v": 2},
        {"type": "petition.invented"},
        {"type": "petition.withdrawn"},
        {"iss": "petition/operator"},
        {"stream": f"signature/{petition_id(1)}/short"},
        {"stream": f"petition/{petition_id(1)}"},
        {"data": {"lang": "kk"}},
        {"data": {"lang": "en", "algorithm": "RSA-SHA256"}},
        {"data": {"lang": "kk", "algorithm": "RSA-SHA256", "region": "1"}},
        {"data": {"lang": "kk", "algorithm": "RSA-SHA256\n"}},
        {"data": {"lang": "kk", "algorithm": "RSA-SHA256", "more": None}},
        {"_sd": DIGESTS[:3]},
        {"_sd": DIGESTS[::-1]},
        {"_sd": [*DIGESTS[:3], DIGESTS[2]]},
        {"_sd": [*DIGESTS[:3], "short"]},
        {"_sd_alg": "sha-512"},
        {"drop": ["_sd_alg"]},
        {"drop": ["_sd", "_sd_alg"]},
        {"raw": (b'"n": 1', b'"n": 1, "n": 1')},
        {"raw": (b'"n": 1', b'"n": 1e0')},
        {"raw": (b'"lang": "kk"', b'"lang": "kk", "lang": "kk"')},
    ],
    ids=str,
)
def test_an_entry_of_another_form_is_none(change):
    log, module = begun(), reader()
    spec = module.Spec.load(module.DOCS)

    def check(entry):
        spec.check(module.read_entry(0, entry))

    check(sealed(log, _sd=DIGESTS))
    with pytest.raises(module.WrongError):
        check(sealed(log, **change))


@pytest.mark.parametrize("change", [b"", b"~", b" ", b"~WyJhIiwiYiIsMV0~"])
def test_nothing_follows_an_entry(change):
    log, module = begun(), reader()
    entry = sealed(log)
    with pytest.raises(module.WrongError):
        module.read_entry(0, entry + change if change else entry[:-1])
    with pytest.raises(module.WrongError):
        module.read_entry(0, entry.replace(b".", b"=.", 1))


def test_an_issuer_may_space_and_escape_its_json_as_it_likes(tmp_path):
    log = begun()
    spaced = sealed(log, raw=(b'"lang"', b' \n "\\u006cang"'))
    assert read_log(log, tmp_path, [*log.entries, spaced]).findings == []


# --- the log's second key, and witnesses ----------------------------------------------------------


def test_a_checkpoint_is_signed_by_two_keys_and_cosigned(tmp_path):
    log = LogBuilder().usual()
    second = SignerKey.generate(ORIGIN, ML_DSA_44)
    witnesses = [SignerKey.generate(f"witness.example/{type_}", type_) for type_ in (COSIGNATURE, ML_DSA_44)]
    checkpoint = Checkpoint(ORIGIN, log.size, root_from_leaves(map(leaf_hash, log.entries)))
    signed = sign_checkpoint(checkpoint, log.log_key, second, timestamp=7)
    cosigned = SignedNote.parse(signed).with_signatures(
        *(cosign_checkpoint(checkpoint, witness, 1_772_000_000) for witness in witnesses)
    )
    log.write(tmp_path)
    file = tmp_path / "log/checkpoint"
    keys = [word for key in (second, *witnesses) for word in ("--key", str(key.verifier))]
    file.write_bytes(cosigned.to_bytes())
    assert read(tmp_path, log.vkey).findings == []
    assert read(tmp_path, *keys, log.vkey).findings == []
    file.write_bytes(signed)
    assert read(tmp_path, *keys[:2], log.vkey).findings == []
    for key in witnesses:
        assert read(tmp_path, "--key", str(key.verifier), log.vkey).places == ["checkpoint"]
    receipt = tmp_path / "receipt.json"  # a receipt may carry a checkpoint that nobody has cosigned yet
    receipt.write_bytes(
        Receipt(log.entries[9], (), TlogProof(9, log.tree().inclusion_proof(9), signed)).to_bytes()
    )
    file.write_bytes(cosigned.to_bytes())
    assert read(tmp_path, *keys, log.vkey, str(receipt)).findings == []
    lines = cosigned.to_bytes().decode().split("\n")
    for number in range(4, 8):  # one signature after the other, with its last byte changed
        wrong = [*lines]
        name, encoded = lines[number].rsplit(" ", 1)
        wrong[number] = f"{name} {encoded[:-6]}{'AAAA' if encoded[-6:-2] != 'AAAA' else 'BBBB'}{encoded[-2:]}"
        file.write_text("\n".join(wrong))
        assert read(tmp_path, *keys, log.vkey).places == ["checkpoint"]


# --- receipts -------------------------------------------------------------------------------------


def signed_at(log: LogBuilder) -> int:
    """Position of a signature."""
    return next(at for at, disclosed in log.disclosed.items() if "name" in {d.name for d in disclosed})


def receipt_of(log: LogBuilder, position: int, *shown: str) -> dict:
    proof = TlogProof(position, log.tree().inclusion_proof(position), log.checkpoint())
    disclosures = tuple(d for d in log.disclosed[position] if d.name in shown)
    return json.loads(Receipt(log.entries[position], disclosures, proof).to_bytes())


def test_receipts_are_verified(tmp_path):
    log, other = LogBuilder().usual(), LogBuilder().usual()
    signed = signed_at(log)
    good = receipt_of(log, signed, "name")
    iin = next(d.encoded for d in log.disclosed[signed] if d.name == "iin")
    files = {
        "good": good,
        "bare": receipt_of(log, signed),
        "own": {**good, "receipt": "aiqyn/v2", "own": [iin]},
        "own-in-the-first-form": {**good, "own": [iin]},
        "nothing-own": {**good, "receipt": "aiqyn/v2", "own": []},
        "restricted": {**good, "disclosures": [iin]},
        "twice": {**good, "disclosures": good["disclosures"] * 2},
        "anothers-disclosure": {**good, "disclosures": [Disclosure.make("name", "somebody").encoded]},
        "anothers-entry": {**good, "event": log.entries[signed + 1].decode()},
        "another-index": {**good, "proof": good["proof"].replace(f"index {signed}", f"index {signed - 1}")},
        "a-longer-proof": {**good, "proof": good["proof"].replace("\n\n", f"\n{'A' * 43}=\n\n", 1)},
        "another-log": receipt_of(other, signed_at(other)),
        "another-version": {**good, "receipt": "aiqyn/v9"},
        "more-names": {**good, "signer": "somebody"},
        "no-object": [good],
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    report = read(log.write(tmp_path), log.vkey, *(str(tmp_path / name) for name in files))
    assert report.places == [*files][3:]


# --- what the operator binds itself by ------------------------------------------------------------


class AssuredLog(LogBuilder):
    """A log with a council that looks at the evidence."""

    def open(self) -> AssuredLog:
        self.begin().collecting(1, people=range(1, 30), required=1000)
        self.auditor = SigningKey.generate()
        self.add(COUNCIL, events.OrganisationRegistered(kind="council", level="republic", names=NAMES))
        self.register_key(COUNCIL, self.auditor, "auditor")
        return self

    def issuer(self, facts):
        if facts.issuers == {"auditor"}:
            return COUNCIL, self.auditor
        return (OPERATOR, self.clock) if "clock" in facts.issuers else super().issuer(facts)

    def look(
        self, *, opened=None, secret: bytes = bytes(32), shown: bytes = bytes(32), **changed
    ) -> list[int]:
        """A look at five signatures; positions of its entries."""
        stream = f"evidence/{petition_id(9)}"
        commitment = hashlib.sha256(secret).hexdigest()
        asked = events.EvidenceAsked(of=f"petition/{petition_id(1)}", sample=5, commitment=commitment)
        asked_at = self.add(stream, asked)
        signed = [at for at in range(asked_at) if "name" in {d.name for d in self.disclosed[at]}]
        root = root_from_leaves(map(leaf_hash, self.entries[: asked_at + 1]))
        fields = {"asked_at": asked_at, "root": root.hex(), "signatures": len(signed)} | changed
        self.sign(1, 1000)  # what comes later is not looked at
        at = [asked_at, self.add(stream, events.EvidenceDrawn(secret=shown.hex(), **fields))]
        chosen = [signed[index] for index in draw(secret, root, len(signed), 5)] if opened is None else opened
        return at + [self.add(stream, events.EvidenceOpened(position=position)) for position in chosen]

    def erase(self, of: str, n: int, *names: str, stream: str | None = None, **how) -> int:
        facts = events.DisclosureErased(of=of, events=n, ground="demand", names=names, **how)
        return self.add(stream or f"erasure/{of}/abc", facts)

    def commit(self, as_of: int, digest: str, *, name: str = "signatures", fold: int = 1) -> int:
        facts = events.ProjectionCommitted(fold=fold, as_of=as_of, digest=digest)
        return self.add(f"projection/{name}/{as_of}", facts)


def test_a_look_at_the_evidence_is_clean_where_it_follows_the_draw(tmp_path):
    log = AssuredLog().open()
    log.withdraw(1, 3)
    log.look()
    assert read_log(log, tmp_path).findings == []


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"shown": bytes([1]) * 32, "opened": []}, 1),
        ({"signatures": 1, "opened": []}, 1),
        ({"root": "0" * 64, "opened": []}, 1),
        ({"asked_at": 5, "opened": []}, 1),
        ({"opened": [0]}, 2),
    ],
    ids=str,
)
def test_a_look_that_does_not_follow_the_draw_is_found(changed, place, tmp_path):
    log = AssuredLog().open()
    assert read_log(log, tmp_path).findings == []
    at = log.look(**changed)
    assert read_log(log, tmp_path).places == [at[place]]


def test_the_sample_is_the_one_that_the_specification_gives():
    module = reader()
    secret, root = bytes(range(32)), bytes(range(32, 64))
    drawn = sorted(module.draw(secret, root, 1000, 3))
    assert f"it is {', '.join(map(str, drawn))}." in " ".join(
        (module.DOCS / "spec.md").read_text("utf-8").split()
    )
    for population, sample in ((0, 3), (1, 1), (3, 3), (1000, 3), (7, 5), (2**63 + 1, 40)):
        assert sorted(module.draw(secret, root, population, sample)) == draw(secret, root, population, sample)


def test_an_erasure_is_clean_and_one_that_says_something_else_is_found(tmp_path):
    log = AssuredLog().open()
    signature = f"signature/{petition_id(1)}/{nullifier(1)}"
    log.erase(signature, 1, "name", data_key=True)
    log.erase(f"petition/{petition_id(1)}", 3, "author", "text", "title")
    assert read_log(log, tmp_path).findings == []
    wrong = [
        log.erase(signature, 2, "name", stream=f"erasure/{signature}/b"),
        log.erase(signature, 1, stream=f"erasure/{signature}/c"),
        log.erase(signature, 1, "iin", stream=f"erasure/{signature}/d"),
        log.erase(signature, 1, "name", stream=f"erasure/petition/{petition_id(1)}/e"),
        log.erase(signature, 1, "name", "author", stream=f"erasure/{signature}/f"),
        log.erase(f"signature/{petition_id(1)}/{nullifier(77)}", 1, "name"),
    ]
    assert read_log(log, tmp_path).places == wrong


def test_the_digest_that_postgresql_gives_is_the_one_that_the_reader_gives(database, tmp_path):
    log = LogBuilder().usual()
    module = reader()
    with WrittenLedger(database.admin_url, database.url) as ledger:
        for position, entry in enumerate(log.entries):
            event = module.read_entry(position, entry)
            ledger.add_entry(entry, event.stream, event.n, event.type)
        Runner(ledger.url).catch_up()
        with connect(ledger.url, application_name="tests", autocommit=True) as connection:
            ours = digest(connection, signatures.Signatures())
            others = digest(connection, petition_fold.Petitions())
    last = ours.position
    assert last == log.size - 1
    bound = AssuredLog(**{name: getattr(log, name) for name in log.__dataclass_fields__})
    bound.commit(last, ours.sha256, fold=ours.version)
    bound.commit(last, others.sha256, name="petitions", fold=others.version)
    bound.sign(2, 5)
    report = read_log(bound, tmp_path)
    assert (report.findings, report.unchecked) == ([], [f"projection/petitions/{last}"])
    wrong = [
        bound.commit(last - 4, ours.sha256),
        bound.commit(bound.size, ours.sha256),
        bound.add(
            "projection/signatures/3", events.ProjectionCommitted(fold=1, as_of=last, digest=ours.sha256)
        ),
    ]
    assert read_log(bound, tmp_path).places == wrong
