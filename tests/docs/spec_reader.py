"""A second reader of the ledger, written from docs/spec.md alone; it imports nothing of the project.

    python -I spec_reader.py FOLDER VKEY [RECEIPT ...]

FOLDER is an exported log: `checkpoint` and `tile/...`. VKEY is the verifier key of the log, from elsewhere than the
log; RECEIPT is a file with a receipt. The tables of the spec (types, roles) and the schema of `data` are read from
docs/. Prints one JSON object: size, root, the counts of every petition, findings. Exit 0: none, 1: findings.

Numbers in comments are sections of the spec.
"""

import base64
import binascii
import hashlib
import json
import re
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

DOCS = Path(__file__).parents[2] / "docs"


class Bad(ValueError):
    """Something is not as the spec says; the message says what."""


def need(condition: object, message: str) -> None:
    if not condition:
        raise Bad(message)


# --- bytes, base64, JSON ----------------------------------------------------------------------------------------------


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    """Canonical and without padding, or Bad."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        data = b""
    need(text and b64url(data) == text, "not canonical base64url")
    return data


def unb64(text: str) -> bytes:
    """Canonical, with padding, or Bad."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    need(base64.b64encode(data).decode() == text, "not canonical base64")
    return data


def unjson(data: bytes) -> Any:
    """JSON whose names are given once and whose numbers are integers, or Bad."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(pairs)) == len(pairs), "a name stands twice in one object")
        return dict(pairs)

    def no(token: str) -> None:
        raise Bad(f"{token[:40]} is not an integer")

    try:
        return json.loads(data.decode(), object_pairs_hook=once, parse_float=no, parse_constant=no)
    except Bad:
        raise
    except (ValueError, RecursionError):
        raise Bad("not JSON in UTF-8") from None


def verify_ed25519(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


# --- 1. The log: RFC 6962 hashes, C2SP signed notes, checkpoints, tiles and proofs -------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def tree_hash(hashes: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over leaves that are hashed already."""
    if not hashes:
        return sha256(b"")
    stack: list[tuple[int, bytes]] = []  # complete subtrees, the largest first: (size, hash)
    for one in hashes:
        size = 1
        while stack and stack[-1][0] == size:
            one = node_hash(stack.pop()[1], one)
            size *= 2
        stack.append((size, one))
    root = stack.pop()[1]
    while stack:
        root = node_hash(stack.pop()[1], root)
    return root


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes


@dataclass(frozen=True)
class VerifierKey:
    """A vkey: `<name>+<key id, hex>+<base64 of type and key>`."""

    name: str
    key_id: bytes
    key: bytes

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        name, key_id, material = (text.split("+", 2) + ["", ""])[:3]
        raw = unb64(material)
        need(name and raw[:1] == b"\x01" and len(raw) == 33, "the vkey is not of an Ed25519 key")
        need(sha256(name.encode() + b"\n" + raw)[:4].hex() == key_id, "the key id of the vkey does not fit its key")
        return cls(name, bytes.fromhex(key_id), raw[1:])

    def open(self, note: str) -> Checkpoint:
        """The checkpoint, if this key signed it."""
        text, blank, signatures = note.rpartition("\n\n")
        need(blank and signatures.endswith("\n"), "the checkpoint is not a signed note")
        body, signed = (text + "\n").encode(), False
        for line in signatures[:-1].split("\n"):
            match = re.fullmatch(r"\u2014 ([^\s+]+) (\S+)", line)
            need(match, "the checkpoint has a line that is not a signature")
            assert match
            raw = unb64(match[2])
            if (match[1], raw[:4]) == (self.name, self.key_id):  # others are ignored
                need(verify_ed25519(self.key, raw[4:], body), "the log's signature of the checkpoint is wrong")
                signed = True
        need(signed, f"the checkpoint is not signed by {self.name}")
        origin, size, root = (text.split("\n") + ["", ""])[:3]
        need(origin == self.name, f"the checkpoint is of {origin}, not of {self.name}")
        need(re.fullmatch(r"0|[1-9][0-9]{0,18}", size), "the size in the checkpoint is not a decimal number")
        need(len(unb64(root)) == 32, "the root in the checkpoint is not 32 bytes")
        return Checkpoint(origin, int(size), unb64(root))


def tile_path(index: int, width: int) -> str:
    """`x001/x234/067` of C2SP tlog-tiles, with `.p/<W>` for a partial one."""
    text = f"{index:03}"
    text = text.zfill(-(-len(text) // 3) * 3)
    groups = [text[i : i + 3] for i in range(0, len(text), 3)]
    return "/".join(["x" + group for group in groups[:-1]] + groups[-1:]) + (f".p/{width}" if width < 256 else "")


def tiles(count: int) -> Iterator[tuple[str, int, int]]:
    """The tiles that hold `count` hashes or entries: path, start and end in them."""
    for index in range(-(-count // 256)):
        start, end = index * 256, min(index * 256 + 256, count)
        yield tile_path(index, end - start), start, end


def split_bundle(bundle: bytes) -> list[bytes]:
    entries, at = [], 0
    while at < len(bundle):
        need(at + 2 <= len(bundle), "an entry bundle ends within a length")
        (length,) = struct.unpack_from(">H", bundle, at)
        need(at + 2 + length <= len(bundle), "an entry bundle ends within an entry")
        entries.append(bundle[at + 2 : at + 2 + length])
        at += 2 + length
    return entries


def verify_inclusion(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """The root that the path leads to: RFC 9162, section 2.1.3.2."""
    need(index < size, "the proof is of an entry outside its checkpoint")
    fn, sn, root = index, size - 1, leaf
    for step in path:
        need(sn, "the proof is too long")
        if fn & 1 or fn == sn:
            root = node_hash(step, root)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = node_hash(root, step)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0, "the proof is too short")
    return root


# --- 2. An entry ------------------------------------------------------------------------------------------------------

STREAM = re.compile(r"[a-z]+(/[A-Za-z0-9_-]+)+", re.ASCII)
KID_INPUT = '{{"crv":"Ed25519","kty":"OKP","x":"{}"}}'
MAX_INTEGER = 2**53 - 1


@dataclass(frozen=True)
class Event:
    """What an entry says, and what its signature covers."""

    position: int
    kid: str
    signed: bytes
    signature: bytes
    iss: str
    iat: int
    jti: str
    stream: str
    n: int
    type: str
    v: int
    data: dict[str, Any]
    sd: list[str]

    @property
    def room(self) -> str:
        return self.stream.partition("/")[0]


def is_integer(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def read_entry(position: int, entry: bytes) -> Event:
    need(entry.isascii(), "the entry is not ASCII")
    text = entry.decode()
    match = re.fullmatch(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)~", text)
    need(match, "the entry is not an SD-JWT without disclosures")
    assert match
    header, payload, signature = unjson(unb64url(match[1])), unjson(unb64url(match[2])), unb64url(match[3])

    need(isinstance(header, dict) and header.keys() == {"alg", "typ", "kid"}, "the header is not alg, typ, kid")
    need(header["alg"] in ("Ed25519", "EdDSA"), "alg is not Ed25519")
    need(header["typ"] == "aiqyn-event+sd-jwt", "typ is not aiqyn-event+sd-jwt")
    need(isinstance(header["kid"], str) and len(unb64url(header["kid"])) == 32, "kid is not a thumbprint")
    need(len(signature) == 64, "the signature is not 64 bytes")

    required = {"iss", "iat", "jti", "stream", "n", "type", "v", "data"}
    need(isinstance(payload, dict), "the payload is not an object")
    names = payload.keys() - {"_sd", "_sd_alg"}
    need(names == required, f"the payload's names are not those of section 2: {sorted(names ^ required)}")
    for name in ("iss", "jti", "stream", "type"):
        need(isinstance(payload[name], str), f"{name} is not a string")
    for name in ("iss", "stream"):
        need(STREAM.fullmatch(payload[name]), f"{name} is not the name of a stream")
    need(payload["iss"].startswith("organisation/"), "iss is not the stream of an organisation")
    need(is_integer(payload["iat"], 0, 2**33 - 1), "iat is not whole seconds before 2^33")
    need(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", payload["jti"]), "jti is not 1 to 64 of A-Z a-z 0-9 _ -")
    need(is_integer(payload["n"], 1, MAX_INTEGER), "n is not a version")
    need(is_integer(payload["v"], 1, MAX_INTEGER), "v is not a version")
    need(isinstance(payload["data"], dict), "data is not an object")

    need(("_sd" in payload) == ("_sd_alg" in payload), "_sd and _sd_alg do not stand together")
    sd = payload.get("_sd", [])
    if "_sd" in payload:
        need(payload["_sd_alg"] == "sha-256", "_sd_alg is not sha-256")
        need(isinstance(sd, list) and sd and all(isinstance(one, str) for one in sd), "_sd is not a list of digests")
        need(all(len(unb64url(one)) == 32 for one in sd), "a digest in _sd is not of SHA-256")
        need(sd == sorted(set(sd)), "_sd is not sorted, or has a digest twice")
    fields = {name: payload[name] for name in required}
    return Event(position, header["kid"], entry[: entry.rindex(b".")], signature, sd=sd, **fields)


# --- 3. Disclosures ---------------------------------------------------------------------------------------------------


def disclosed_name(event: Event, disclosure: str) -> str:
    """The name of a disclosure that the event commits to."""
    content = unjson(unb64url(disclosure))
    need(
        isinstance(content, list) and len(content) == 3 and all(isinstance(one, str) for one in content[:2]),
        "a disclosure is not [salt, name, value]",
    )
    need(len(unb64url(content[0])) >= 16, "the salt of a disclosure is shorter than 128 bits")
    need(b64url(sha256(disclosure.encode())) in event.sd, f"the event does not commit to the disclosure {content[1]}")
    return str(content[1])


# --- 4. Streams and events: the catalogue of the spec, and the schema of `data` -----------------------------------------


def cells(line: str) -> list[str]:
    return [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]


def listed(cell: str) -> set[str]:
    return set() if cell.startswith(("—", "none")) else {one.strip() for one in cell.split(",")}


@dataclass(frozen=True)
class Form:
    """A row of the catalogue."""

    v: int
    roles: set[str]
    public: set[str]
    restricted: set[str]


@dataclass(frozen=True)
class Spec:
    """What the reader takes from the documents as it stands there."""

    forms: dict[str, Form]
    roles: dict[str, set[str]]  # kind of organisation: what its keys may be
    schema: dict[str, Any]

    @classmethod
    def load(cls, docs: Path) -> "Spec":
        text = (docs / "spec.md").read_text()
        catalogue = text.partition("<!-- catalogue:begin -->")[2].partition("<!-- catalogue:end -->")[0]
        forms = {}
        for line in catalogue.strip().split("\n")[2:]:
            name, v, roles, _data, public, restricted = cells(line)
            forms[name] = Form(int(v), listed(roles), listed(public), listed(restricted))
        roles_of = {}
        for line in text.partition("| kind | roles |\n|---|---|\n")[2].partition("\n\n")[0].split("\n"):
            kinds, roles = cells(line)
            roles_of.update(dict.fromkeys(listed(kinds), listed(roles)))
        return cls(forms, roles_of, json.loads((docs / "events.schema.json").read_text()))

    def check(self, event: Event) -> None:
        """The form of an event: its type, the form of its data, how many disclosures it commits to."""
        need(event.type in self.forms, f"{event.type} is not a type of event")
        form = self.forms[event.type]
        need(event.v == form.v, f"{event.type} has no version {event.v}")
        self._check(event.data, self.schema["properties"][event.type], "data")
        disclosures = len(form.public) + len(form.restricted)
        need(len(event.sd) == disclosures, f"{event.type} commits to {len(event.sd)} disclosures, not {disclosures}")

    def _check(self, value: Any, schema: dict[str, Any], at: str) -> None:
        for keyword, argument in schema.items():
            KEYWORDS[keyword](self, value, argument, schema, at)


# The keywords of JSON Schema that events.schema.json has. One that is not here stops the reader with a KeyError, so that
# nothing goes unchecked.

TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: is_integer(value, -MAX_INTEGER, MAX_INTEGER),
}


def _any_of(spec: Spec, value: Any, schemas: list[dict[str, Any]], _schema: dict[str, Any], at: str) -> None:
    said = []
    for schema in schemas:
        try:
            return spec._check(value, schema, at)
        except Bad as bad:
            said.append(str(bad))
    raise Bad("; ".join(said))


def _properties(spec: Spec, value: Any, schemas: dict[str, Any], _schema: dict[str, Any], at: str) -> None:
    if isinstance(value, dict):
        for name in value.keys() & schemas.keys():
            spec._check(value[name], schemas[name], f"{at}.{name}")


def _items(spec: Spec, value: Any, schema: dict[str, Any], _schema: dict[str, Any], at: str) -> None:
    if isinstance(value, list):
        for i, one in enumerate(value):
            spec._check(one, schema, f"{at}[{i}]")


def _format(_spec: Spec, value: Any, name: str, _schema: dict[str, Any], at: str) -> None:
    try:
        if name == "date":
            need(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value), f"{at} is not a date of RFC 3339")
            date.fromisoformat(value)
        else:
            need(name == "date-time" and moment(value), f"{at} is not a time of RFC 3339")
    except ValueError:
        raise Bad(f"{at} is not a {name} of RFC 3339") from None


def moment(text: str) -> datetime:
    """A date-time of RFC 3339, section 5.6."""
    pattern = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
    need(re.fullmatch(pattern, text), f"{text[:40]} is not a time of RFC 3339")
    return datetime.fromisoformat(text)


def _saying(words: str, holds: Callable[[Any, Any], bool]) -> Callable[[Spec, Any, Any, dict[str, Any], str], None]:
    def check(_spec: Spec, value: Any, argument: Any, _schema: dict[str, Any], at: str) -> None:
        need(holds(value, argument), f"{at} {words} {argument if len(str(argument)) < 80 else ''}".rstrip())

    return check


KEYWORDS: dict[str, Callable[[Spec, Any, Any, dict[str, Any], str], None]] = {
    **dict.fromkeys(("title", "description", "default"), lambda *_: None),
    "$ref": lambda spec, value, ref, _, at: spec._check(value, spec.schema["$defs"][ref.removeprefix("#/$defs/")], at),
    "anyOf": _any_of,
    "properties": _properties,
    "items": _items,
    "format": _format,
    "type": _saying("is not of type", lambda value, name: TYPES[name](value)),
    "enum": _saying("is none of", lambda value, choices: value in choices),
    "required": _saying("lacks one of", lambda value, names: not isinstance(value, dict) or set(names) <= value.keys()),
    "additionalProperties": lambda spec, value, allowed, schema, at: need(
        allowed or not isinstance(value, dict) or value.keys() <= schema["properties"].keys(), f"{at} has further names"
    ),
    "minItems": _saying("has fewer items than", lambda value, least: not isinstance(value, list) or len(value) >= least),
    "minimum": _saying("is less than", lambda value, least: not isinstance(value, int) or value >= least),
    "maximum": _saying("is more than", lambda value, most: not isinstance(value, int) or value <= most),
    "minLength": _saying("is shorter than", lambda value, least: not isinstance(value, str) or len(value) >= least),
    "maxLength": _saying("is longer than", lambda value, most: not isinstance(value, str) or len(value) <= most),
    "pattern": _saying("does not match", lambda value, p: not isinstance(value, str) or re.search(p, value) is not None),
}


# --- 5. Who may issue what ----------------------------------------------------------------------------------------------


@dataclass
class Keys:
    """The organisations and their keys, as the ledger registers and revokes them."""

    spec: Spec
    kinds: dict[str, str] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[bytes, set[str]]] = field(default_factory=dict)  # (iss, kid): key, roles

    def check(self, event: Event) -> None:
        if event.position == 0:
            self._begin(event)
        found = self.keys.get((event.iss, event.kid))
        need(found, f"no key {event.kid} is registered for {event.iss} here")
        assert found
        key, roles = found
        need(verify_ed25519(key, event.signature, event.signed), "the signature of the entry is wrong")
        allowed = self.spec.forms[event.type].roles
        need(roles & allowed, f"{event.type} is issued by {', '.join(sorted(allowed))}, the key is {sorted(roles)}")

    def _begin(self, event: Event) -> None:
        data = event.data
        need(
            event.type == "organisation.registered"
            and data["kind"] == "operator"
            and event.iss == event.stream
            and data.get("root_key"),
            "the first entry is not the operator, registering itself with a root key",
        )
        self._add(event.stream, data["root_key"], {"operator"})

    def _add(self, stream: str, key: str, roles: set[str]) -> None:
        self.keys[stream, b64url(sha256(KID_INPUT.format(key).encode()))] = (unb64url(key), roles)

    def fold(self, event: Event) -> None:
        data = event.data
        if event.type == "organisation.registered":
            self.kinds[event.stream] = data["kind"]
        elif event.type == "organisation.key_registered":
            kind = self.kinds.get(event.stream, "none")
            may = self.spec.roles.get(kind, set())
            need(set(data["roles"]) <= may, f"a key of kind {kind} is not {sorted(set(data['roles']) - may)}")
            self._add(event.stream, data["key"], set(data["roles"]))
        elif event.type == "organisation.key_revoked":
            gone = self.keys.pop((event.stream, data["kid"]), None)
            need(gone, f"{data['kid']} is not a key of {event.stream}")


# --- 4 and 2. Streams: rooms, versions, time ------------------------------------------------------------------------------

UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
ROOMS = {
    "organisation": r"organisation/[A-Za-z0-9_-]+",
    "petition": f"petition/{UUID}",
    "signature": f"signature/{UUID}/[A-Za-z0-9_-]{{43}}",
    "appeal": r"appeal/((JT|ZT)-[0-9]{4}-[0-9]{8}(-[1-9][0-9]*)*|IM-[A-Za-z0-9_-]{22})",
    "reading": r"reading/.+/[A-Za-z0-9_-]+",
}


@dataclass
class Streams:
    last: dict[str, Event] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def check(self, event: Event) -> Iterator[str]:
        """What is wrong with the event's place; afterwards it is the last of its stream."""
        room = ROOMS.get(event.room)
        if room and not re.fullmatch(room, event.stream):
            yield f"{event.stream} is not a name of its room"
        last = self.last.get(event.stream)
        due = last.n + 1 if last else 1
        if event.n != due:
            yield f"version {event.n} of {event.stream} where {due} is due"
        if last and event.iat < last.iat:
            yield f"iat goes back in {event.stream}: {event.iat} after {last.iat}"
        if event.jti in self.ids:
            yield f"jti {event.jti} stands twice"
        self.last[event.stream] = event
        self.ids.add(event.jti)


# --- 6. Counting petitions ------------------------------------------------------------------------------------------------


@dataclass
class Petition:
    regions: Counter[str] = field(default_factory=Counter)
    history: list[tuple[int, int]] = field(default_factory=list)  # (position, the count from there on)
    required: int | None = None
    reached: int | None = None  # the first position from publication on with at least `required`
    supported: bool = False

    @property
    def count(self) -> int:
        return self.regions.total()

    def at(self, position: int) -> int:
        return next((count for p, count in reversed(self.history) if p <= position), 0)


@dataclass
class Petitions:
    petitions: dict[str, Petition] = field(default_factory=dict)  # by stream
    signed: dict[str, str] = field(default_factory=dict)  # stream of a signature that counts: its region

    def fold(self, event: Event) -> None:
        if event.room == "signature":
            self._sign(event, self._petition("petition/" + event.stream.split("/")[1]))
        elif event.room == "petition":
            self._claim(event, self._petition(event.stream))

    def _petition(self, stream: str) -> Petition:
        return self.petitions.setdefault(stream, Petition())

    def _sign(self, event: Event, petition: Petition) -> None:
        if event.type == "petition.signed":
            need(event.stream not in self.signed, "a second signature of the same person")
            region = event.data.get("region") or "unknown"
            self.signed[event.stream] = region
            petition.regions[region] += 1
        elif event.type in ("signature.withdrawn", "signature.voided"):
            region = self.signed.pop(event.stream, "")
            need(region, "there is no signature to take away")
            petition.regions[region] -= 1
        petition.history.append((event.position, petition.count))
        self._reach(event, petition)

    def _reach(self, event: Event, petition: Petition) -> None:
        if petition.required is not None and petition.reached is None and petition.count >= petition.required:
            petition.reached = event.position

    def _claim(self, event: Event, petition: Petition) -> None:
        data = event.data
        if event.type == "petition.published":
            petition.required = data["required"]
            self._reach(event, petition)
        elif event.type == "petition.supported":
            need(not petition.supported, "petition.supported stands twice")
            petition.supported = True
            need(data["required"] == petition.required, f"the threshold was {petition.required}")
            need(data["reached_at"] == petition.reached, f"the threshold was reached at {petition.reached}")
        elif event.type in ("petition.lapsed", "petition.not_supported"):
            need(data["as_of"] < event.position, "as_of is not before the entry")
            count = petition.at(data["as_of"])
            need(data["count"] == count, f"the count at {data['as_of']} was {count}")
            if event.type == "petition.not_supported":
                need(data["required"] == petition.required, f"the threshold was {petition.required}")
                need(petition.reached is None, f"the threshold was reached at {petition.reached}")


# --- 9. Appeals: numbers, and who acts --------------------------------------------------------------------------------------


@dataclass
class Appeal:
    body: str
    issuers: list[str] = field(default_factory=list)  # by version, from 1
    asked: dict[int, str] = field(default_factory=dict)  # assignment: the body that was asked
    passed_up: str = ""
    parts: int = 0


@dataclass
class Appeals:
    numbers: Counter[tuple[str, str]] = field(default_factory=Counter)  # (prefix, year): how many
    appeals: dict[str, Appeal] = field(default_factory=dict)
    part: tuple[int, str, str, str] | None = None  # the part that the next entry begins: position, stream, parent, body

    def fold(self, event: Event) -> None:
        due, self.part = self.part, None
        if event.type == "appeal.split_off":
            need(due == (event.position, event.stream, event.data["parent"], event.data["body"]), "no such part is due")
        else:
            need(due is None, f"the part {due and due[1]} is not the next entry")
        if event.room != "appeal":
            return
        if event.n == 1:
            self._begin(event)
        appeal = self.appeals.get(event.stream)
        need(appeal, "the appeal has no beginning")
        assert appeal
        appeal.issuers.append(event.iss)
        self._acts(event, appeal)

    def _begin(self, event: Event) -> None:
        data, name = event.data, event.stream.removeprefix("appeal/")
        self.appeals[event.stream] = Appeal(data.get("body", ""))
        if event.type == "appeal.submitted":
            prefix, year, number = name.split("-", 2)
            need(prefix == {"person": "JT", "company": "ZT"}[data["applicant"]], f"{name} is not of a {data['applicant']}")
            need(year == data["registered_on"][:4], f"{name} is registered on {data['registered_on']}")
            self.numbers[prefix, year] += 1
            need(number == f"{self.numbers[prefix, year]:08}", f"{name} where {self.numbers[prefix, year]} is due")
        elif event.type == "appeal.imported":
            need(len(unb64url(name.removeprefix("IM-"))) == 16, f"{name} is not the number of an old case")
        else:
            need(event.type == "appeal.split_off", f"{event.type} begins no appeal")

    def _acts(self, event: Event, appeal: Appeal) -> None:
        data, expected = event.data, appeal.body
        if event.type == "appeal.assignment_answered":
            expected = appeal.asked.get(data["assignment"], "")
        elif event.type == "appeal.complaint_decided":
            expected = appeal.passed_up
        elif event.type == "appeal.applicant_told":
            expected = appeal.issuers[data["of"] - 1] if data["of"] <= len(appeal.issuers) else ""
        by_body = not SPEC_FORMS[event.type].roles & {"gateway", "clock"}
        need(not by_body or event.iss == expected, f"{event.type} is issued by {event.iss}, not by {expected}")
        if event.type == "appeal.assigned":
            appeal.asked[data["assignment"]] = data["to"]
        elif event.type == "appeal.complaint_passed_up":
            appeal.passed_up = data["to"]
        elif event.type == "appeal.forwarded":
            appeal.body = data["to"]
        elif event.type == "appeal.forwarded_in_part":
            appeal.parts += 1
            need(data["number"] == appeal.parts, f"part {data['number']} where {appeal.parts} is due")
            self.part = (event.position + 1, f"{event.stream}-{data['number']}", event.stream, data["to"])


SPEC_FORMS: dict[str, Form] = {}


# --- 9. Readings --------------------------------------------------------------------------------------------------------------


def check_reading(event: Event, streams: Streams) -> None:
    if event.type == "disclosure.read":
        of = event.data["of"]
        need(re.fullmatch(re.escape(f"reading/{of}/") + "[A-Za-z0-9_-]+", event.stream), f"{event.stream} is not of {of}")
        last = streams.last.get(of)
        need(last and event.data["events"] <= last.n, f"{of} has not {event.data['events']} events here")


# --- the whole ------------------------------------------------------------------------------------------------------------------


class Reader:
    def __init__(self, spec: Spec, folder: Path, vkey: VerifierKey) -> None:
        self.spec, self.folder, self.vkey = spec, folder, vkey
        self.findings: list[dict[str, Any]] = []
        self.leaves: list[bytes] = []
        self.checkpoint = Checkpoint("", 0, b"")
        self.keys, self.streams, self.petitions, self.appeals = Keys(spec), Streams(), Petitions(), Appeals()

    def find(self, where: object, message: str) -> None:
        self.findings.append({"at": where, "finding": message})

    def try_(self, where: object, check: Callable[[], None]) -> bool:
        try:
            check()
        except Bad as bad:
            self.find(where, str(bad))
            return False
        return True

    def read(self) -> None:
        def open_checkpoint() -> None:
            self.checkpoint = self.vkey.open((self.folder / "checkpoint").read_text())

        if self.try_("checkpoint", open_checkpoint):
            entries = self._entries()
            self._tiles(entries)
            for position, entry in enumerate(entries):
                self._entry(position, entry)

    def _file(self, path: str) -> bytes:
        file = self.folder / "tile" / path
        if not file.is_file():
            self.find(f"tile/{path}", "missing")
            return b""
        return file.read_bytes()

    def _entries(self) -> list[bytes]:
        entries: list[bytes] = []
        for path, start, end in tiles(self.checkpoint.size):
            bundle: list[bytes] = []
            self.try_(f"tile/entries/{path}", lambda p=path, b=bundle: b.extend(split_bundle(self._file(f"entries/{p}"))))
            if len(bundle) != end - start:
                self.find(f"tile/entries/{path}", f"holds {len(bundle)} entries, not {end - start}")
            entries += bundle
        return entries

    def _tiles(self, entries: list[bytes]) -> None:
        """Every tile of every level against the entries, and the root."""
        hashes = self.leaves = [leaf_hash(entry) for entry in entries]
        level = 0
        while hashes:
            for path, start, end in tiles(len(hashes)):
                if self._file(f"{level}/{path}") != b"".join(hashes[start:end]):
                    self.find(f"tile/{level}/{path}", "its hashes are not those of the entries")
            hashes = [tree_hash(hashes[i : i + 256]) for i in range(0, len(hashes) - 255, 256)]
            level += 1
        if tree_hash(self.leaves) != self.checkpoint.root:
            self.find("checkpoint", "its root is not that of the entries")

    def _entry(self, position: int, entry: bytes) -> None:
        """An event that is badly formed or badly issued has no effect, except on the version of its stream."""
        try:
            event = read_entry(position, entry)
        except Bad as bad:
            self.find(position, str(bad))
            return
        lawful = self.try_(position, lambda: self.spec.check(event)) and self.try_(position, lambda: self.keys.check(event))
        for message in self.streams.check(event):
            self.find(position, message)
        if lawful:
            self.try_(position, lambda: self.keys.fold(event))
            self.try_(position, lambda: self.petitions.fold(event))
            self.try_(position, lambda: self.appeals.fold(event))
            self.try_(position, lambda: check_reading(event, self.streams))

    # --- 7. Receipts

    def receipt(self, path: Path) -> None:
        self.try_(path.name, lambda: self._receipt(unjson(path.read_bytes())))

    def _receipt(self, receipt: Any) -> None:
        names = {"receipt", "event", "disclosures", "proof"}
        need(isinstance(receipt, dict) and receipt.keys() == names, "a receipt has exactly the names of section 7")
        need(receipt["receipt"] == "aiqyn/v1", "not a receipt of aiqyn/v1")
        need(isinstance(receipt["event"], str) and isinstance(receipt["proof"], str), "event or proof is not text")
        need(isinstance(receipt["disclosures"], list), "disclosures is not a list")
        head, blank, note = receipt["proof"].partition("\n\n")
        lines = head.split("\n")
        need(blank and lines.pop(0) == "c2sp.org/tlog-proof@v1", "the proof is not a tlog-proof")
        if lines and lines[0].startswith("extra "):
            lines.pop(0)
        match = re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines.pop(0) if lines else "")
        need(match, "the proof names no index")
        assert match
        index, entry = int(match[1]), receipt["event"].encode()
        checkpoint = self.vkey.open(note)
        leaf = leaf_hash(entry)
        root = verify_inclusion(index, checkpoint.size, leaf, [unb64(line) for line in lines])
        need(root == checkpoint.root, "the proof does not lead to the root of its checkpoint")
        event = read_entry(index, entry)
        self.spec.check(event)
        for disclosure in receipt["disclosures"]:
            need(isinstance(disclosure, str), "a disclosure is not text")
            name = disclosed_name(event, disclosure)
            need(name in self.spec.forms[event.type].public, f"{name} is not a public disclosure of {event.type}")
        if checkpoint.size <= len(self.leaves):
            need(tree_hash(self.leaves[: checkpoint.size]) == checkpoint.root, "the receipt is of another log than this")

    def report(self) -> dict[str, Any]:
        return {
            "size": self.checkpoint.size,
            "root": base64.b64encode(self.checkpoint.root).decode(),
            "petitions": {
                stream: {"count": petition.count, "regions": {k: c for k, c in sorted(petition.regions.items()) if c}}
                for stream, petition in sorted(self.petitions.petitions.items())
            },
            "findings": self.findings,
        }


def main(folder: str, vkey: str, *receipts: str) -> int:
    spec = Spec.load(DOCS)
    SPEC_FORMS.update(spec.forms)
    reader = Reader(spec, Path(folder), VerifierKey.parse(vkey))
    reader.read()
    for receipt in receipts:
        reader.receipt(Path(receipt))
    json.dump(reader.report(), sys.stdout, ensure_ascii=False, indent=1)
    print()
    return 1 if reader.findings else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
