"""The verifier of one file says the same about a receipt as the program does."""

from __future__ import annotations

import ast
import base64
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import AiqynError
from ledger.receipt import Receipt
from ledger.tlog.checkpoint import cosign_checkpoint, open_checkpoint
from ledger.tlog.note import COSIGNATURE, ML_DSA_44, SignedNote, SignerKey
from ledger.tlog.proof import TlogProof
from tests.ledger.test_receipt import POSITION, document, log, receipt

FILE = Path(__file__).parents[2] / "docs/verifier.py"


def _load():
    spec = importlib.util.spec_from_file_location("receipt_verifier", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


verifier = _load()
VKEY = str(log().log_key.verifier)


def test_it_is_short_and_needs_cryptography_alone():
    text = FILE.read_text("utf-8")
    assert len(text.splitlines()) < 300
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_it_reads_every_receipt_of_a_log():
    for position in range(log().size):
        told = verifier.verify(receipt(position).to_bytes(), [VKEY])
        assert any(line.startswith(f"position    {position} in the log") for line in told)


def test_it_runs_as_a_program_of_its_own(tmp_path):
    file = tmp_path / "a.receipt.json"
    file.write_bytes(receipt().to_bytes())

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-I", FILE, *map(str, words)], capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout

    status, said = run(file, VKEY)
    assert status == 0
    assert "petition.signed" in said
    assert "invented name" in said
    assert "VERIFIED" in said
    other = SignerKey.generate(log().log_key.name)
    status, said = run(file, other.verifier)
    assert status == 1
    assert said.startswith("NOT VERIFIED")
    assert run(file, VKEY, "--quorum")[0] == 1
    assert run(tmp_path / "missing.json", VKEY)[0] == 2
    assert run()[0] == 2


class TestWitnesses:
    def cosigned(self, *witnesses: SignerKey, at: int = 1_800_000_000) -> bytes:
        note = log().checkpoint()
        checkpoint = open_checkpoint(note, log().log_key.verifier).checkpoint
        signatures = [cosign_checkpoint(checkpoint, key, at) for key in witnesses]
        cosigned = SignedNote.parse(note).with_signatures(*signatures).to_bytes()
        proof = TlogProof(POSITION, receipt().proof.hashes, cosigned)
        return Receipt(receipt().entry, receipt().disclosures, proof).to_bytes()

    @pytest.mark.parametrize("algorithm", [COSIGNATURE, ML_DSA_44])
    def test_their_cosignatures_are_checked(self, algorithm):
        w1, w2 = (SignerKey.generate(f"witness.example/w{n}", algorithm) for n in (1, 2))
        keys = [VKEY, str(w1.verifier), str(w2.verifier)]
        told = verifier.verify(self.cosigned(w1, w2), keys)
        assert sum("witness.example" in line for line in told) == 2
        with pytest.raises(verifier.WrongError, match="1 of the given witnesses signed, 2 are required"):
            verifier.verify(self.cosigned(w1), keys)
        verifier.verify(self.cosigned(w1), keys, quorum=1)

    def test_the_log_may_sign_with_two_keys(self):
        second = SignerKey.generate(log().log_key.name, ML_DSA_44)
        told = verifier.verify(self.cosigned(second), [VKEY, str(second.verifier)])
        assert sum(line.startswith("signed by") for line in told) == 2
        with pytest.raises(verifier.WrongError, match="the log's key"):
            verifier.verify(receipt().to_bytes(), [VKEY, str(second.verifier)], quorum=0)

    @pytest.mark.parametrize("algorithm", [COSIGNATURE, ML_DSA_44])
    def test_a_wrong_cosignature_spoils_the_receipt(self, algorithm):
        witness = SignerKey.generate("witness.example/w1", algorithm)
        data = json.loads(self.cosigned(witness))
        head, line = data["proof"].rstrip("\n").rsplit(" ", 1)
        raw = bytearray(base64.b64decode(line))
        raw[7] ^= 1  # of the time, which is signed too
        data["proof"] = f"{head} {base64.b64encode(raw).decode()}\n"
        with pytest.raises(verifier.WrongError, match="wrong for this checkpoint"):
            verifier.verify(json.dumps(data).encode(), [VKEY, str(witness.verifier)])


def test_it_reads_a_personal_receipt():
    own = tuple(d for d in log().disclosed[POSITION] if d.name == "full_name")
    held = Receipt(receipt().entry, receipt().disclosures, receipt().proof, own)
    assert any("full_name" in line for line in verifier.verify(held.to_bytes(), [VKEY]))


def _agrees(data: bytes) -> None:
    try:
        Receipt.parse(data).verify(log().log_key.verifier)
        ours = True
    except AiqynError:
        ours = False
    try:
        verifier.verify(data, [VKEY])
        theirs = True
    except verifier.WrongError:
        theirs = False
    # The program refuses more: unknown types of events, disclosures that are not public, forms of the note.
    assert ours is theirs or (theirs and not ours)


@given(st.data())
def test_it_never_takes_what_was_changed(data):
    original = receipt().to_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != original[at]))
    _agrees(bytes(changed))
    try:
        told = verifier.verify(bytes(changed), [VKEY])
    except verifier.WrongError:
        return
    assert told == verifier.verify(original, [VKEY])  # a space, or another spelling of the same JSON


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("receipt", "aiqyn/v2"), ("receipt", "aiqyn/v3"), ("own", []),
        ("event", ""), ("event", "a.b.c~"), ("event", 5), ("disclosures", {}),
        ("disclosures", [5]), ("disclosures", ["W10"]), ("proof", ""),
        ("proof", "c2sp.org/tlog-proof@v1\n\n"),
        ("proof", "c2sp.org/tlog-proof@v1\nindex " + "9" * 5000 + "\n\nx"), ("more", 1),
    ],
)  # fmt: skip
def test_what_is_no_receipt_is_refused_with_a_reason(name, value):
    with pytest.raises(verifier.WrongError):
        verifier.verify(json.dumps(document() | {name: value}).encode(), [VKEY])


def test_what_is_no_key_is_refused_with_a_reason():
    for vkey in ("", "a", "a+b", "a+00000000+", "a+00000000+AQ==", VKEY[:-4], "a+zz+!!"):
        with pytest.raises(verifier.WrongError):
            verifier.verify(receipt().to_bytes(), [vkey])
