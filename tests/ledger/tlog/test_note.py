"""Signed notes and their keys are read strictly and verified as C2SP signed-note says."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ledger.tlog.note import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE_BYTES,
    InvalidSignatureError,
    NoteError,
    Signature,
    SignedNote,
    SignerKey,
    UnverifiedNoteError,
    VerifierKey,
    open_note,
)
from tests.ledger.tlog.support import needs_vectors, vectors

LOG = SignerKey.from_seed("log.example/petitions", bytes(range(32)))
WITNESS = SignerKey.from_seed("witness.example/w1", bytes(range(1, 33)), COSIGNATURE)
STRANGER = SignerKey.from_seed("stranger.example", bytes(range(2, 34)))
TEXT = "Мәтін мен қол\n\nсоңғы жол\n"

SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

names = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="+"), min_size=1, max_size=30
)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n")).map(
    lambda s: s + "\n"
)
signatures = st.builds(
    Signature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=90)
)
notes = st.builds(SignedNote, texts, st.lists(signatures, min_size=1, max_size=5).map(tuple))


def signed(text=TEXT, *signers):
    return SignedNote(text, tuple(signer.sign(text) for signer in signers or (LOG,))).to_bytes()


def test_the_example_of_the_specification_verifies():
    key = VerifierKey.parse(SPEC_VKEY)
    text, verified = open_note(SPEC_NOTE.encode(), [key])
    assert text == "This is an example message.\n"
    assert [(each.key.name, each.timestamp) for each in verified] == [("example.com/foo", None)]
    assert (key.algorithm, key.key_id.hex(), str(key)) == (ED25519, "530d903a", SPEC_VKEY)


@given(notes)
def test_a_note_is_read_back_as_it_was_written(note):
    assert SignedNote.parse(note.to_bytes()) == note


@given(texts, st.binary(min_size=32, max_size=32), names)
def test_what_one_signs_anybody_can_verify(text, seed, name):
    signer = SignerKey.from_seed(name, seed)
    data = SignedNote(text, (signer.sign(text),)).to_bytes()
    opened, verified = open_note(data, [signer.verifier])
    assert (opened, [each.key for each in verified]) == (text, [signer.verifier])


def test_every_flipped_bit_of_a_signed_note_is_found():
    data = signed()
    for at in range(len(data)):
        for bit in range(8):
            broken = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            with pytest.raises(NoteError):
                open_note(broken, [LOG.verifier])


def test_signatures_of_strangers_are_ignored():
    _, verified = open_note(signed(TEXT, STRANGER, LOG), [LOG.verifier])
    assert [each.key for each in verified] == [LOG.verifier]
    with pytest.raises(UnverifiedNoteError, match=r"stranger\.example"):
        open_note(signed(TEXT, STRANGER), [LOG.verifier])
    with pytest.raises(UnverifiedNoteError):
        open_note(signed(), [])


def test_the_same_name_with_another_key_is_a_stranger():
    impostor = SignerKey.generate(LOG.name)
    with pytest.raises(UnverifiedNoteError):
        open_note(signed(TEXT, impostor), [LOG.verifier])


def test_one_wrong_signature_of_a_known_key_spoils_the_note():
    good = LOG.sign(TEXT)
    wrong = LOG.sign("another text\n")
    for order in ((good, wrong), (wrong, good)):
        with pytest.raises(InvalidSignatureError, match=r"log\.example/petitions"):
            open_note(SignedNote(TEXT, order).to_bytes(), [LOG.verifier])


def test_a_key_that_signed_twice_counts_once():
    _, verified = open_note(signed(TEXT, LOG, LOG), [LOG.verifier, LOG.verifier])
    assert len(verified) == 1


def test_two_keys_that_cannot_be_told_apart_are_refused():
    class Colliding(VerifierKey):
        key_id = LOG.verifier.key_id

    other = Colliding(LOG.name, ED25519, STRANGER.verifier.public_key)
    with pytest.raises(NoteError, match="share the name"):
        open_note(signed(), [LOG.verifier, other])


def test_a_cosignature_covers_time_and_text():
    line = WITNESS.cosign(TEXT, 1_700_000_000)
    timestamp, signature = line.signature[:8], line.signature[8:]
    assert int.from_bytes(timestamp, "big") == 1_700_000_000
    public = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))).public_key()
    public.verify(signature, b"cosignature/v1\ntime 1700000000\n" + TEXT.encode())
    named = b"witness.example/w1\n\x04" + public.public_bytes_raw()
    assert line.key_id == sha256(named).digest()[:4]
    _, verified = open_note(SignedNote(TEXT, (line,)).to_bytes(), [WITNESS.verifier])
    assert verified == ((WITNESS.verifier, 1_700_000_000),)


@pytest.mark.parametrize("at", range(72))
def test_every_changed_byte_of_a_cosignature_is_found(at):
    line = WITNESS.cosign(TEXT, 1_700_000_000)
    changed = line.signature[:at] + bytes([line.signature[at] ^ 0x80]) + line.signature[at + 1 :]
    with pytest.raises(InvalidSignatureError):
        WITNESS.verifier.verify(TEXT, changed)


@pytest.mark.parametrize("length", [0, 8, 64, 71, 73])
def test_a_cosignature_of_another_length_is_wrong(length):
    with pytest.raises(InvalidSignatureError):
        WITNESS.verifier.verify(TEXT, bytes(length))


def test_a_key_makes_only_its_own_type_of_signature():
    with pytest.raises(NoteError, match="0x04"):
        WITNESS.sign(TEXT)
    with pytest.raises(NoteError, match="0x01"):
        LOG.cosign(TEXT, 1)
    for timestamp in (-1, 2**63):
        with pytest.raises(NoteError, match="timestamp"):
            WITNESS.cosign(TEXT, timestamp)
    assert WITNESS.cosign(TEXT, 2**63 - 1).signature[:8].hex() == "7fffffffffffffff"


LINE = str(LOG.sign("text\n"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        b"text\n",
        b"text\n\n",
        b"text\n\n\n",
        f"text\n{LINE}\n".encode(),
        f"text\n\n{LINE}".encode(),
        f"text\n\n{LINE}\r\n".encode(),
        f"text\r\n\n{LINE}\n".encode(),
        f"te\txt\n\n{LINE}\n".encode(),
        f"te\0xt\n\n{LINE}\n".encode(),
        f"text\n\n{LINE} \n".encode(),
        f"text\n\n{LINE} x\n".encode(),
        f"text\n\n {LINE}\n".encode(),
        f"text\n\n{LINE[2:]}\n".encode(),
        f"text\n\n-{LINE[1:]}\n".encode(),
        f"text\n\n{LINE}\nmore\n".encode(),
        "text\n\n—  AAAAAAA=\n".encode(),
        "text\n\n— a+b AAAAAAA=\n".encode(),
        "text\n\n— a\u00a0b AAAAAAA=\n".encode(),
        "text\n\n— a\u2003b AAAAAAA=\n".encode(),
        "text\n\n— name AAAAAA==\n".encode(),
        "text\n\n— name AAAAAAB=\n".encode(),
        "text\n\n— name AAAAAAA\n".encode(),
        "text\n\n— name AAAA AAA=\n".encode(),
        "text\n\n— name AAAAAA_=\n".encode(),
        "text\n\n— name ААААААА=\n".encode(),
        b"t\xffxt\n\n" + LINE.encode() + b"\n",
        b"t\xed\xa0\x80xt\n\n" + LINE.encode() + b"\n",
        b"text\n\n" + LINE.encode() * 101 + b"\n",
        ("text\n\n" + f"{LINE}\n" * 101).encode(),
        b"a" * MAX_NOTE_BYTES + f"\n\n{LINE}\n".encode(),
    ],
)
def test_a_malformed_note_is_refused(data):
    with pytest.raises(NoteError):
        SignedNote.parse(data)


def test_up_to_a_hundred_signatures_are_read():
    note = SignedNote.parse(("text\n\n" + f"{LINE}\n" * 100).encode())
    assert len(note.signatures) == 100
    assert len(note.with_signatures().signatures) == 100
    with pytest.raises(NoteError, match="1 to 100"):
        note.with_signatures(LOG.sign("text\n"))


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "\ud800\n"])
def test_a_text_that_could_not_be_a_note_is_not_signed(text):
    with pytest.raises(NoteError):
        LOG.sign(text)
    with pytest.raises(NoteError):
        SignedNote(text, (LOG.sign(TEXT),))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2028b", "a\nb", "a\x01b", "\ud800"])
def test_a_name_that_would_break_the_line_is_refused(name):
    with pytest.raises(NoteError):
        SignerKey.generate(name)
    with pytest.raises(NoteError):
        Signature(name, bytes(4), b"s")


@given(names, st.sampled_from([ED25519, COSIGNATURE]))
def test_keys_are_read_back_as_they_were_written(name, algorithm):
    signer = SignerKey.generate(name, algorithm)
    assert VerifierKey.parse(str(signer.verifier)) == signer.verifier
    again = SignerKey.parse(signer.to_skey())
    assert (again, again.to_skey()) == (signer, signer.to_skey())


def test_no_text_of_a_signer_key_shows_its_secret():
    secret = LOG.to_skey().split("+")[-1]
    assert secret not in repr(LOG) + str(LOG)
    with pytest.raises(NoteError) as caught:
        SignerKey.parse(LOG.to_skey().replace("log.", "lug."))
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "skey",
    [
        "",
        LOG.to_skey()[8:],
        LOG.to_skey() + "A",
        LOG.to_skey() + "\n",
        str(LOG.verifier),
        f"PRIVATE+KEY+{LOG.verifier}",
        "PRIVATE+KEY+name+00000000+AQ==",
        "PRIVATE+KEY+name+00000000+",
    ],
)
def test_a_malformed_signer_key_is_refused(skey):
    with pytest.raises(NoteError):
        SignerKey.parse(skey)


@pytest.mark.parametrize("vkey", [SPEC_VKEY, str(WITNESS.verifier)])
def test_no_part_of_a_vkey_and_no_typo_in_it_is_a_vkey(vkey):
    parts = {vkey[i:j] for i in range(len(vkey)) for j in range(i, len(vkey) + 1)} - {vkey}
    typos = {vkey[:i] + chr(c) + vkey[i + 1 :] for i in range(len(vkey)) for c in range(128)} - {vkey}
    for text in parts | typos:
        with pytest.raises(NoteError):
            VerifierKey.parse(text)


@pytest.mark.parametrize(
    "vkey", ["", "++", "a+00000000+AQ==", "name+0000000g+AAAA", SPEC_VKEY * 100, "\ud800+0+A"]
)
def test_a_malformed_vkey_is_refused(vkey):
    with pytest.raises(NoteError):
        VerifierKey.parse(vkey)


def note_cases():
    return [pytest.param(case, id=case["desc"]) for case in vectors("c2sp/signed-note.json").get("notes", [])]


@pytest.mark.parametrize("case", note_cases())
def test_note_vector(case):
    data = b64decode(case["note_b64"]) if "note_b64" in case else case["note"].encode()
    if "seed_hex" in case:
        signer = SignerKey.from_seed(case["name"], bytes.fromhex(case["seed_hex"]))
        keys, verified_names = [signer.verifier], [case["name"]]
        text = SignedNote.parse(data).text
        assert SignedNote(text, (signer.sign(text),)).to_bytes() == data
    else:
        keys = [VerifierKey.parse(vkey) for vkey in case["vkeys"]]
        verified_names = case.get("verified")
    if case["ok"]:
        _, verified = open_note(data, keys)
        assert [each.key.name for each in verified] == verified_names
    else:
        kinds = {"unverified": UnverifiedNoteError, "invalid signature": InvalidSignatureError}
        with pytest.raises(NoteError) as caught:
            open_note(data, keys)
        assert type(caught.value) is kinds.get(case["error"], NoteError)


@needs_vectors
def test_all_note_vectors_are_there():
    assert len(note_cases()) == 15


@needs_vectors
def test_key_vectors():
    cases = vectors("c2sp/signed-note.json")
    for case in cases["vkeys"]:
        if case.get("ok"):
            assert str(VerifierKey.parse(case["vkey"])) == case["vkey"]
        elif "vkey" in case:
            with pytest.raises(NoteError):
                VerifierKey.parse(case["vkey"])
    for case in cases["signers"]:
        signer = SignerKey.parse(case["skey"])
        assert str(signer.verifier) == case["vkey"]
        assert f"{signer.sign(case['text'])}\n" == case["sigline"]
