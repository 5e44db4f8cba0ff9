"""One event, sealed and opened: an SD-JWT that can be read in one way only."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import nullcontext
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import events, statement
from ledger.encoding import b64url
from ledger.errors import AiqynError
from ledger.events import MalformedEventError, UnknownEventTypeError
from ledger.keys import SigningKey, VerifyingKey
from ledger.statement import (
    MAX_ENTRY_BYTES,
    TYP,
    Disclosure,
    DisclosureMismatchError,
    SignatureInvalidError,
    disclosed,
    open_event,
    seal,
    split_presentation,
)
from tests.ledger.facts import any_facts, moments

KEY = SigningKey.from_seed(b64url(bytes(range(32))))
PUBLIC = VerifyingKey(KEY.public_key)
AT = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
ISS = "organisation/operator"
VOIDED = events.SignatureVoided(reason="forged")


def made(facts, value="мән"):
    return tuple(Disclosure.make(name, value) for name in sorted(facts.public | facts.restricted))


def sealed(facts=VOIDED, *, stream=None, n=1, disclosures=None, **how):
    stream = stream or f"{facts.room}/one"
    given = made(facts) if disclosures is None else disclosures
    return seal(facts, iss=ISS, stream=stream, n=n, at=AT, key=KEY, disclosures=given, **how)


PAYLOAD = {
    "iss": ISS, "iat": 1_772_424_000, "jti": "j-1", "stream": "signature/p/x", "n": 1,
    "type": "signature.voided", "v": 1, "data": {"reason": "forged"},
}  # fmt: skip
DIGESTS = tuple(f"{letter * 42}A" for letter in "ABCD")


def signed_payload(digests=DIGESTS):
    """The payload of a signature, which has four disclosures."""
    return PAYLOAD | {
        "type": "petition.signed", "data": {"lang": "kk", "algorithm": "RSA-SHA256"},
        "_sd": sorted(digests), "_sd_alg": "sha-256",
    }  # fmt: skip


HEADER = {"alg": "Ed25519", "typ": TYP, "kid": KEY.kid}


def written(payload=PAYLOAD, header=HEADER, *, tail="~", signature=None):
    """An entry as another library would write it: JSON as given, or as ``json.dumps`` spaces it."""

    def segment(value):
        text = value if isinstance(value, str) else json.dumps(value)
        return b64url(text.encode("utf-8", "surrogatepass"))

    signed = f"{segment(header)}.{segment(payload)}"
    signature = KEY.sign(signed.encode()) if signature is None else signature
    return f"{signed}.{b64url(signature)}{tail}".encode()


# --- sealing and opening ---------------------------------------------------------------------


@given(
    any_facts(),
    st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True),
    st.integers(1, 2**53 - 1),
    moments(1971, 2240),
    st.recursive(st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner, max_size=3)),
)
def test_what_is_sealed_is_what_is_opened(facts, name, n, at, value):
    disclosures = made(facts, value)
    event = seal(facts, iss=ISS, stream=f"{facts.room}/{name}", n=n, at=at, key=KEY, disclosures=disclosures)
    again = open_event(event.entry)
    assert again == event
    assert (again.facts, again.stream, again.n) == (facts, f"{facts.room}/{name}", n)
    assert again.at == at.replace(microsecond=0)
    again.verify(PUBLIC)
    again.check_disclosures([Disclosure.parse(d.encoded) for d in disclosures], complete=True)


def test_each_event_and_each_disclosure_is_unlike_every_other():
    assert sealed().jti != sealed().jti
    assert Disclosure.make("name", "A").digest != Disclosure.make("name", "A").digest


@pytest.mark.parametrize(
    "wrong",
    [
        {"stream": "petition/one"},
        {"stream": "signature/Айгүл"},
        {"n": 0},
        {"jti": "Айгүл Ахметова"},
        {"facts": events.SignatureVoided(reason="just so")},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_could_not_be_opened_again_is_not_sealed(wrong):
    with pytest.raises(MalformedEventError):
        sealed(**wrong)


def test_an_event_has_at_most_65535_bytes():
    file = events.File(sha256="0" * 64, size=1, media_type="a/b")
    one, two = (
        len(sealed(events.PetitionDecided(outcome="refused", files=(file,) * n)).entry) for n in (1, 4)
    )
    fits = (MAX_ENTRY_BYTES - one) * 3 // (two - one) + 1
    longest = sealed(events.PetitionDecided(outcome="refused", files=(file,) * fits)).entry
    assert MAX_ENTRY_BYTES - 200 < len(longest) <= MAX_ENTRY_BYTES
    with pytest.raises(MalformedEventError, match="at most 65535 bytes"):
        sealed(events.PetitionDecided(outcome="refused", files=(file,) * (fits + 1)))
    with pytest.raises(MalformedEventError, match="at most 65535 bytes"):
        open_event(written(json.dumps(PAYLOAD) + " " * 50_000))


# --- reading strictly ------------------------------------------------------------------------


def test_an_event_of_another_library_is_read_whatever_its_white_space_and_order():
    for alg in ("Ed25519", "EdDSA"):
        payload = json.dumps(dict(reversed(PAYLOAD.items())), indent=2, ensure_ascii=True)
        event = open_event(written(payload, {"typ": TYP, "kid": KEY.kid, "alg": alg}))
        event.verify(PUBLIC)
        assert event.facts == VOIDED


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(PAYLOAD)[:-1] + ', "n": 1}',
        json.dumps(PAYLOAD).replace('"iss"', '"iss": "organisation/a", "iss"'),
        json.dumps(PAYLOAD).replace('"reason"', '"reason": "under-age", "reason"'),
        json.dumps(PAYLOAD, separators=(",", ":")).replace('"reason"', '"reason":"under-age","reason"'),
        json.dumps(PAYLOAD).replace('"reason"', '"reason": "under-age", "re\\u0061son"'),
    ],
    ids=["at the end", "at the start", "in the data", "in canonical data", "spelt with an escape"],
)
def test_a_name_that_stands_twice_is_refused(payload):
    with pytest.raises(MalformedEventError, match="same name twice"):
        open_event(written(payload))


def test_a_name_that_stands_twice_in_the_header_is_refused():
    with pytest.raises(MalformedEventError, match="same name twice"):
        open_event(written(header=json.dumps(HEADER).replace('"alg"', '"alg": "none", "alg"')))


@pytest.mark.parametrize(
    "header",
    [
        HEADER | {"alg": "none"},
        HEADER | {"alg": "ES256"},
        HEADER | {"alg": "ed25519"},
        HEADER | {"typ": "JWT"},
        HEADER | {"typ": "dc+sd-jwt"},
        HEADER | {"kid": "Айгүл Ахметова"},
        HEADER | {"crit": []},
        HEADER | {"jwk": {}},
        {"alg": "Ed25519", "typ": TYP},
        [],
        "",
        "{",
    ],
)
def test_a_header_other_than_ours_is_refused(header):
    for _ in range(2):  # nothing that was refused is remembered as good
        with pytest.raises(MalformedEventError):
            open_event(written(header=header))


@pytest.mark.parametrize(
    "change",
    [
        {"n": 0},
        {"n": -1},
        {"n": 1.0},
        {"n": "1"},
        {"n": True},
        {"n": 2**53},
        {"iat": -1},
        {"iat": 1.5},
        {"iat": 10**17},
        {"iat": None},
        {"stream": "petition/p"},
        {"stream": "signature"},
        {"stream": "signature/"},
        {"stream": "signature/../x y"},
        {"stream": "signature/p\n"},
        {"iss": "Айгүл Ахметова"},
        {"jti": "Айгүл Ахметова"},
        {"jti": ""},
        {"jti": "x" * 65},
        {"data": {"reason": "forged", "note": "x"}},
        {"data": {"reason": "I know her"}},
        {"data": {}},
        {"data": []},
        {"data": None},
        {"_sd": ["Айгүл Ахметова"], "_sd_alg": "sha-256"},
        {"_sd": ["A" * 43, "A" * 43], "_sd_alg": "sha-256"},
        {"_sd": ["A" * 43]},
        {"_sd": ["A" * 43], "_sd_alg": "sha-512"},
        {"_sd_alg": "md5"},
        {"cnf": {}},
        {"exp": 1},
    ],
    ids=str,
)
def test_a_payload_that_breaks_the_form_is_refused(change):
    with pytest.raises(MalformedEventError):
        open_event(written(PAYLOAD | change))


@pytest.mark.parametrize(
    "change",
    [
        {"_sd": list(reversed(DIGESTS))},
        {"_sd": [DIGESTS[0], *DIGESTS[:3]]},
        {"_sd": list(DIGESTS[:3])},
        {"_sd": [*DIGESTS, "E" * 42 + "A"]},
        {"_sd": [*DIGESTS[:3], "D" * 42 + "B"]},
        {"_sd": []},
        {"_sd": None},
        {"_sd_alg": None},
        {"_sd_alg": "sha-512"},
    ],
    ids=str,
)
def test_digests_are_sorted_canonical_and_as_many_as_the_type_has(change):
    open_event(written(signed_payload()))
    with pytest.raises(MalformedEventError):
        open_event(written(signed_payload() | change))


@pytest.mark.parametrize(
    "change", [{"_sd": []}, {"_sd": None}, {"_sd_alg": None}, {"_sd_alg": "sha-256"}], ids=str
)
def test_where_nothing_is_disclosed_there_are_no_digests(change):
    with pytest.raises(MalformedEventError):
        open_event(written(PAYLOAD | change))


@pytest.mark.parametrize("alike", [lambda text: text, lambda text: json.dumps(json.loads(text))])
@pytest.mark.parametrize(
    "time",
    [
        "2026-05-01 00:00:00+05:00", "2026-05-01t00:00:00+05:00", "2026-05-01T00:00:00z",
        "2026-05-01T00:00:00+0500", "2026-05-01T00:00:00", "2026-05-01T24:00:00Z", "2026-05-01T23:59:60Z",
    ],
)  # fmt: skip
def test_a_time_is_written_in_one_way(time, alike):
    payload = PAYLOAD | {"type": "petition.overdue", "stream": "petition/p"}
    for until, form in (
        ("2026-05-01T00:00:00+05:00", nullcontext()),
        (time, pytest.raises(MalformedEventError)),
    ):
        text = json.dumps(payload | {"data": {"step": "moderation", "due": until}}, separators=(",", ":"))
        with form:
            open_event(written(alike(text)))


def test_a_key_has_one_id():
    other = KEY.kid[:-1] + chr(ord(KEY.kid[-1]) + 1)
    with pytest.raises(MalformedEventError):
        open_event(written(header=HEADER | {"kid": other}))


@pytest.mark.parametrize("change", [{"type": "signature.blessed"}, {"v": 2}])
def test_an_unknown_type_or_version_is_told_apart(change):
    with pytest.raises(UnknownEventTypeError):
        open_event(written(PAYLOAD | change))


@pytest.mark.parametrize("missing", PAYLOAD)
def test_a_payload_without_one_of_its_names_is_refused(missing):
    with pytest.raises(MalformedEventError):
        open_event(written({name: value for name, value in PAYLOAD.items() if name != missing}))


@pytest.mark.parametrize(
    "data", ["[" * 40_000, '{"a":' * 9_000 + "1" + "}" * 9_000, "1" * 40_000, '"\\ud800"']
)
def test_hostile_json_is_refused_like_any_other(data):
    with pytest.raises(MalformedEventError):
        open_event(written(json.dumps(PAYLOAD).replace('{"reason": "forged"}', data)))
    with pytest.raises(MalformedEventError):
        Disclosure.parse(b64url(f'["{"s" * 22}","name",{data}'.encode()))


def test_nothing_may_stand_before_between_or_after_the_parts():
    entry = written()
    head, body, tail = entry.split(b".")
    for wrong in (
        b"",
        b"~",
        b"..~",
        entry[:-1],
        entry + b"~",
        entry + b"\n",
        b" " + entry,
        entry + made(events.PetitionRejected(ground="unclear"))[0].encoded.encode() + b"~",
        head + b"." + body + b"=." + tail,
        head + b"." + body + b"." + tail[:-2] + b"~",
        head + b"." + tail,
        entry.replace(b".", b"..", 1),
        entry.decode().replace(".", "。", 1).encode(),
    ):
        with pytest.raises(MalformedEventError):
            open_event(wrong)


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_has_64_bytes(size):
    with pytest.raises(MalformedEventError, match="64 bytes"):
        open_event(written(signature=b"s" * size))


def test_no_other_byte_anywhere_is_accepted():
    entry = sealed(events.PetitionSigned(lang="kk", algorithm="RSA-SHA256", region="71")).entry
    for at in range(len(entry)):
        for flipped in (entry[at] ^ 1, entry[at] ^ 0x20, ord("A"), ord("."), 0):
            mutated = entry[:at] + bytes([flipped]) + entry[at + 1 :]
            if mutated != entry:
                with pytest.raises(AiqynError):
                    open_event(mutated).verify(PUBLIC)


@settings(max_examples=200)
@given(st.data())
def test_no_cut_and_no_insertion_is_accepted(data):
    entry = sealed().entry
    start = data.draw(st.integers(0, len(entry)))
    end = data.draw(st.integers(start, len(entry)))
    mutated = entry[:start] + data.draw(st.binary(max_size=4)) + entry[end:]
    if mutated != entry:
        with pytest.raises(AiqynError):
            open_event(mutated).verify(PUBLIC)


def test_another_key_did_not_sign_it_nor_the_same_key_under_another_id():
    other = SigningKey.generate()
    with pytest.raises(SignatureInvalidError, match="not signed by key"):
        sealed().verify(VerifyingKey(other.public_key))
    stolen = written(header=HEADER | {"kid": other.kid})
    with pytest.raises(SignatureInvalidError):
        open_event(stolen).verify(PUBLIC)


def test_headers_that_strangers_pad_are_not_remembered():
    before = len(statement._known_headers)
    open_event(written(header=json.dumps(HEADER) + " " * 1000))
    assert len(statement._known_headers) == before


# --- disclosures -----------------------------------------------------------------------------

REJECTED = events.PetitionRejected(ground="unclear")
SUBMITTED = events.PetitionSigned(lang="kk", algorithm="RSA-SHA256")


def test_a_disclosure_of_another_event_is_refused():
    event = sealed(REJECTED)
    with pytest.raises(DisclosureMismatchError, match="No digest"):
        event.check_disclosures(made(REJECTED), complete=False)


def test_a_disclosure_that_the_type_does_not_have_or_that_comes_twice_is_refused():
    name, second = Disclosure.make("name", "Айгүл А."), Disclosure.make("name", "Асель А.")
    nickname, cms = Disclosure.make("nickname", "x"), Disclosure.make("cms", "x")
    event = open_event(written(signed_payload(d.digest for d in (name, second, nickname, cms))))
    event.check_disclosures([name, cms], complete=False)
    for wrong in ([nickname], [name, second], [name, name]):
        with pytest.raises(DisclosureMismatchError, match="has no disclosure"):
            event.check_disclosures(wrong, complete=False)


def test_an_issuer_must_hand_over_all_of_them_a_reader_need_not():
    disclosures = made(SUBMITTED)
    event = sealed(SUBMITTED, disclosures=disclosures)
    event.check_disclosures((), complete=False)
    with pytest.raises(DisclosureMismatchError, match="needs the disclosures cms") as error:
        event.check_disclosures(disclosures[1:], complete=True)
    assert error.value.details == {"missing": ["cms"]}
    for wrong in (disclosures[1:], (*disclosures, Disclosure.make("more", "x"))):
        with pytest.raises(DisclosureMismatchError):
            sealed(SUBMITTED, disclosures=wrong)


@pytest.mark.parametrize(
    "encoded",
    [
        b64url(b'["short","name","x"]'),
        b64url(b'["' + b"s" * 21 + b'","name","x"]'),
        b64url(b'["' + b"s" * 22 + b'","name"]'),
        b64url(b'["' + b"s" * 22 + b'",1,"x"]'),
        b64url(b'["' + b"s" * 22 + b'","name","x","y"]'),
        b64url(b"{}"),
        b64url(b"\xff"),
        "=",
        "Айгүл",
        "",
    ],
)
def test_what_is_no_disclosure_is_refused(encoded):
    with pytest.raises(MalformedEventError):
        Disclosure.parse(encoded)


def test_values_never_reach_a_log_line():
    disclosures = made(SUBMITTED, "АХМЕТОВА АЙГҮЛ")
    event = sealed(SUBMITTED, disclosures=disclosures)
    for shown in (repr(disclosures), str(disclosures[0]), repr(event), f"{event}"):
        assert "АХМЕТОВА" not in shown
        assert disclosures[0].encoded not in shown


def test_a_presentation_is_split_and_put_together_again():
    disclosures = made(REJECTED)
    event = sealed(REJECTED, disclosures=disclosures)
    text = event.entry.decode() + "".join(f"{d.encoded}~" for d in disclosures)
    assert split_presentation(text + "\n") == (event.entry, disclosures)
    assert split_presentation(event.entry.decode()) == (event.entry, ())
    assert disclosed(disclosures) == {"reason": "мән"}
    for wrong in (text[:-1], text + "~", text.replace(".", "。"), ""):
        with pytest.raises(MalformedEventError):
            open_event(split_presentation(wrong)[0])


# --- RFC 9901, checked by hand ---------------------------------------------------------------


def test_an_entry_is_an_sd_jwt_that_anybody_can_check_without_us():
    disclosures = made(SUBMITTED)
    entry = sealed(SUBMITTED, disclosures=disclosures).entry.decode()
    assert entry.endswith("~")  # section 4: an SD-JWT without disclosures and without key binding
    head, body, signature = entry[:-1].split(".")

    def decoded(text):
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    header, payload = json.loads(decoded(head)), json.loads(decoded(body))
    assert header == {"alg": "Ed25519", "typ": "aiqyn-event+sd-jwt", "kid": KEY.kid}
    assert payload["_sd_alg"] == "sha-256"  # section 4.1.1
    # section 4.2.3: the digest is taken over the ASCII bytes of the base64url text
    digests = [
        base64.urlsafe_b64encode(hashlib.sha256(d.encoded.encode()).digest()).decode().rstrip("=")
        for d in disclosures
    ]
    assert payload["_sd"] == sorted(digests)  # their order tells nothing
    assert [json.loads(decoded(d.encoded))[1:] for d in disclosures] == [[d.name, "мән"] for d in disclosures]
    assert all(len(decoded(json.loads(decoded(d.encoded))[0])) == 16 for d in disclosures)
    assert not {d.name for d in disclosures} & {"_sd", "..."}  # section 4.2.1
    PUBLIC._key.verify(decoded(signature), f"{head}.{body}".encode())


def test_the_digest_of_a_disclosure_is_the_one_computed_by_hand():
    # printf '%s' '["c2FsdHNhbHRzYWx0c2FsdA","name","Айгүл А."]' | basenc --base64url | tr -d '=\n'
    # printf '%s' … | sha256sum, as base64url
    encoded = b64url('["c2FsdHNhbHRzYWx0c2FsdA","name","Айгүл А."]'.encode())
    assert encoded == "WyJjMkZzZEhOaGJIUnpZV3gwYzJGc2RBIiwibmFtZSIsItCQ0LnQs9Kv0Lsg0JAuIl0"
    disclosure = Disclosure.parse(encoded)
    assert (disclosure.name, disclosure.value) == ("name", "Айгүл А.")
    assert disclosure.digest == "8zHBnSg0b-WqoQub7U0WKthnYpdanIOFV6X63mbyrBs"
