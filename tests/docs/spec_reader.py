"""A second reader of the ledger: it follows docs/spec.md alone, and imports nothing of the project.

    python -I spec_reader.py [--key VKEY]... FOLDER VKEY [RECEIPT ...]

FOLDER is an exported log: `checkpoint` and `tile/...`. VKEY is the log's Ed25519 key, got from somewhere
other than the log; each `--key` is one more that has to have signed, of the log or of a witness. RECEIPT is a
file with a receipt.

Prints one JSON object: size and root, the counts of every petition, digests that could not be checked, and
findings. Exit status 0 without findings, 1 with. The parts are numbered as the sections of the spec that they
follow. Its tables (types, roles) and the schema of `data` are not copied here: they are read from the spec's
own files, in DOCS.

Not checked is what the law asks beyond the spec: how long terms are, and which step may follow which.
"""

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

DOCS = Path(__file__).resolve().parents[2] / "docs"
T = TypeVar("T")


class WrongError(Exception):
    """Something is not as the spec says; the message says what."""


def need(condition: object, message: str) -> None:
    if not condition:
        raise WrongError(message)


def known(value: T | None, message: str) -> T:
    """The value, or WrongError where there is none."""
    if value is None:
        raise WrongError(message)
    return value


# --- Bytes and their text forms, read strictly --------------------------------------------------------------


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    """Canonical, without padding."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        data = b""
    need(data and b64url(data) == text, f"{text[:40]!r} is not canonical base64url")
    return data


def unb64(text: str) -> bytes:
    """Canonical, with padding."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    need(data and base64.b64encode(data).decode() == text, f"{text[:40]!r} is not canonical base64")
    return data


def decimal(text: str) -> int:
    need(re.fullmatch(r"0|[1-9][0-9]{0,18}", text, re.ASCII), f"{text[:40]!r} is not a decimal number")
    return int(text)


def unjson(data: bytes, *, integers: bool = False) -> Any:
    """JSON in which no object has a name twice; with `integers`, no number is anything else."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(pairs)) == len(pairs), "a name stands twice in one object")
        return dict(pairs)

    def number(text: str) -> float:
        need(not integers, f"{text[:40]} is not written as an integer")
        return float(text)

    try:
        return json.loads(data.decode(), object_pairs_hook=once, parse_float=number, parse_constant=number)
    except (ValueError, RecursionError):
        raise WrongError("not JSON in UTF-8") from None


def is_integer(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def moment(text: str) -> datetime:
    """A date-time of RFC 3339, section 5.6; leap seconds and the day's existence are left to `datetime`."""
    pattern = r"[0-9-]{10}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
    if not re.fullmatch(pattern, text):
        raise ValueError
    return datetime.fromisoformat(text)


# --- 1. The log ---------------------------------------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def tree_hash(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over leaves that are hashed already."""
    if not leaves:
        return sha256(b"")
    complete: list[tuple[int, bytes]] = []  # subtrees of 2^k leaves, the largest first
    for node in leaves:
        size = 1
        while complete and complete[-1][0] == size:
            node, size = node_hash(complete.pop()[1], node), size * 2
        complete.append((size, node))
    _, root = complete.pop()
    while complete:
        root = node_hash(complete.pop()[1], root)
    return root


def root_of_proof(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """Where an inclusion proof leads: RFC 9162, section 2.1.3.2."""
    need(index < size, "the proof is of an entry that its checkpoint does not have")
    at, last, node = index, size - 1, leaf
    for sibling in path:
        need(last > 0, "the proof is too long")
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    need(last == 0, "the proof is too short")
    return node


def tile_name(index: int, width: int) -> str:
    """`x001/x234/067` or `000.p/7`: C2SP tlog-tiles."""
    digits = f"{index:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = re.findall("...", digits)
    path = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
    return path if width == 256 else f"{path}.p/{width}"


def split_bundle(bundle: bytes) -> list[bytes]:
    entries, at = [], 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        need(end <= len(bundle), "the bundle ends within an entry")
        entries.append(bundle[at + 2 : end])
        at = end
    return entries


@dataclass(frozen=True)
class Checkpoint:
    """A signed note (C2SP signed-note) whose text is origin, size and root."""

    text: str
    origin: str
    size: int
    root: bytes
    signatures: list[tuple[str, bytes, bytes]]  # name, id of the key, what it signed

    @classmethod
    def parse(cls, note: str) -> "Checkpoint":
        head, blank, lines = note.rpartition("\n\n")
        parts = head.split("\n")
        need(blank and lines.endswith("\n") and len(parts) == 3, "this is not a checkpoint of three lines")
        signatures = []
        for line in lines[:-1].split("\n"):
            match = known(re.fullmatch("\u2014 ([^ +]+) ([^ ]+)", line), f"{line[:40]!r} is not a signature")
            raw = unb64(match[2])
            signatures.append((match[1], raw[:4], raw[4:]))
        root = unb64(parts[2])
        need(len(root) == 32, "the root of the checkpoint has not 32 bytes")
        return cls(head + "\n", parts[0], decimal(parts[1]), root, signatures)


@dataclass(frozen=True)
class Key:
    """A verifier key, `<name>+<id>+<base64 of type and key>`: of the log (1, 6) or of a witness (4, 6)."""

    name: str
    id: bytes
    type: int
    public: bytes

    @classmethod
    def parse(cls, vkey: str) -> "Key":
        match = known(re.fullmatch(r"([^ +]+)\+([0-9a-f]{8})\+(.+)", vkey), "this is not a verifier key")
        raw = unb64(match[3])
        key_id = sha256(match[1].encode() + b"\n" + raw)[:4]
        need(key_id.hex() == match[2], f"the id of the key of {match[1]} is not that of its bytes")
        need({1: 33, 4: 33, 6: 1313}.get(raw[0]) == len(raw), f"the key of {match[1]} is of no known type")
        return cls(match[1], key_id, raw[0], raw[1:])

    def signed(self, checkpoint: Checkpoint) -> bool:
        """Whether this key signed it; WrongError if a signature in its name is wrong."""
        found = [signature for *who, signature in checkpoint.signatures if who == [self.name, self.id]]
        for signature in found:
            need(self._verifies(signature, checkpoint), f"the signature of {self.name} is wrong")
        return bool(found)

    def _verifies(self, signature: bytes, checkpoint: Checkpoint) -> bool:
        if self.type == 1:
            return ed25519_verifies(self.public, signature, checkpoint.text.encode())
        time, signature = signature[:8], signature[8:]
        if self.type == 4:
            stated = f"cosignature/v1\ntime {int.from_bytes(time, 'big')}\n"
            return ed25519_verifies(self.public, signature, (stated + checkpoint.text).encode())
        name, origin = self.name.encode(), checkpoint.origin.encode()
        try:
            message = b"subtree/v1\n\0" + bytes([len(name)]) + name + time + bytes([len(origin)]) + origin
            message += bytes(8) + checkpoint.size.to_bytes(8, "big") + checkpoint.root
            MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def ed25519_verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True)
class Trust:
    """The keys that the reader has from elsewhere, the log's first one in front."""

    keys: list[Key]

    def open(self, note: str, *, cosigned: bool) -> Checkpoint:
        """The checkpoint, if all keys of the log signed it; with `cosigned`, all witnesses as well."""
        checkpoint = Checkpoint.parse(note)
        origin = self.keys[0].name
        need(checkpoint.origin == origin, f"the checkpoint is of {checkpoint.origin}, not of {origin}")
        for key in self.keys:
            if not key.signed(checkpoint) and (cosigned or key.name == origin):
                raise WrongError(f"{key.name}+{key.id.hex()} did not sign the checkpoint")
        return checkpoint


# --- 2. An entry --------------------------------------------------------------------------------------------

NAMES = {"iss", "iat", "jti", "stream", "n", "type", "v", "data"}
STREAM = re.compile(r"(?=.{3,200}\Z)[a-z]+(/[A-Za-z0-9_-]+)+\Z")


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


def read_entry(position: int, entry: bytes) -> Event:
    match = re.fullmatch(rb"([\w-]+)\.([\w-]+)\.([\w-]+)~", entry)
    parts = known(match, "this is not header.payload.signature~").groups()
    header, payload, signature = (unb64url(part.decode()) for part in parts)
    need(len(signature) == 64, "the signature has not 64 bytes")

    head = unjson(header, integers=True)
    need(isinstance(head, dict), "the header is not an object")
    need(head.keys() == {"alg", "typ", "kid"}, "the header is not alg, typ and kid")
    need(head["alg"] in ("Ed25519", "EdDSA"), "alg is not Ed25519")
    need(head["typ"] == "aiqyn-event+sd-jwt", "typ is not aiqyn-event+sd-jwt")
    need(isinstance(head["kid"], str) and len(unb64url(head["kid"])) == 32, "kid is not a thumbprint")

    body = unjson(payload, integers=True)
    need(isinstance(body, dict), "the payload is not an object")
    need(None not in body.values(), "a name of the payload is null")
    sd, sd_alg = body.pop("_sd", None), body.pop("_sd_alg", None)
    need(body.keys() == NAMES, f"the payload has other names than section 2: {sorted(body.keys() ^ NAMES)}")
    for name in ("iss", "jti", "stream", "type"):
        need(isinstance(body[name], str), f"{name} is not a text")
    need(STREAM.match(body["stream"]), "stream is not the name of a stream")
    need(re.match("organisation/", body["iss"]) and STREAM.match(body["iss"]), "iss is not an organisation")
    need(is_integer(body["iat"], 0, 2**33 - 1), "iat is not whole seconds below 2^33")
    need(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", body["jti"]), "jti is not 1 to 64 of A-Z a-z 0-9 _ -")
    need(all(is_integer(body[name], 1, 2**53 - 1) for name in ("n", "v")), "n or v is not a version")
    need(isinstance(body["data"], dict), "data is not an object")

    need((sd, sd_alg) == (None, None) or (sd and sd_alg == "sha-256"), "_sd and _sd_alg do not go together")
    sd = sd or []
    need(isinstance(sd, list) and all(isinstance(one, str) for one in sd), "_sd is not a list of texts")
    need(all(len(unb64url(one)) == 32 for one in sd), "_sd holds what is not a SHA-256 digest")
    need(sd == sorted(set(sd)), "_sd is not sorted, or has a digest twice")
    return Event(position, head["kid"], entry[: entry.rindex(b".")], signature, sd=sd, **body)


# --- 3. Disclosures -----------------------------------------------------------------------------------------


def disclosed_name(event: Event, disclosure: str) -> str:
    """The name in a disclosure that the event commits to."""
    content = unjson(unb64url(disclosure))
    need(isinstance(content, list) and len(content) == 3, "a disclosure is not [salt, name, value]")
    salt, name, _ = content
    need(isinstance(salt, str) and len(salt) >= 22, "a disclosure has no salt of 128 bits")
    need(isinstance(name, str), "a disclosure has no name")
    need(b64url(sha256(disclosure.encode())) in event.sd, f"the event does not commit to this {name}")
    return str(name)


# --- 4. Streams and events ----------------------------------------------------------------------------------

UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
ROOMS = {
    "organisation": "organisation/[A-Za-z0-9_-]+",
    "petition": f"petition/{UUID}",
    "signature": f"signature/{UUID}/[A-Za-z0-9_-]{{43}}",
    "appeal": "appeal/((JT|ZT)-[0-9]{4}-[0-9]{8}|IM-[A-Za-z0-9_-]{22})(-[1-9][0-9]*)*",
    "reading": "reading/.+/[A-Za-z0-9_-]+",
    "erasure": "erasure/.+/[A-Za-z0-9_-]+",
    "evidence": f"evidence/{UUID}",
    "projection": "projection/[A-Za-z0-9_-]+/(0|[1-9][0-9]*)",
}
OTHER_ROOMS = {"petition.signed": "signature", "disclosure.read": "reading", "disclosure.erased": "erasure"}
FIRST = [
    *("organisation.registered", "petition.submitted", "petition.signed", "evidence.asked"),
    *("appeal.submitted", "appeal.split_off", "appeal.imported", "projection.committed"),
    *("disclosure.read", "disclosure.erased"),
]
"""What event 1 of a stream is, and no other."""

TYPES, ROLES = "| type | v | issued by | `data` | public | restricted |", "| kind | roles |"
Schema = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """A row of the table of types."""

    v: int
    roles: set[str]
    public: set[str]
    restricted: set[str]


@dataclass(frozen=True)
class Spec:
    """The tables and the schema, as they stand in the documents."""

    forms: dict[str, Form]
    roles: dict[str, set[str]]  # by kind of organisation
    schema: Schema

    @classmethod
    def load(cls, docs: Path) -> "Spec":
        def rows(head: str, end: str) -> Iterator[list[str]]:
            table = text.partition(f"\n{head}")[2].partition(end)[0]
            for line in table.strip().split("\n")[1:]:
                yield [cell.strip() for cell in line.replace("`", "").strip("|").split("|")]

        def listed(cell: str) -> set[str]:
            return {one.strip() for one in cell.split(",")} - {"—"}

        text = (docs / "spec.md").read_text("utf-8")
        forms, roles = {}, {}
        for name, v, of, _, public, restricted in rows(TYPES, "<!-- catalogue:end"):
            forms[name] = Form(int(v), listed(of), listed(public), listed(restricted))
        for kinds, of in rows(ROLES, "\n\n"):
            roles.update(dict.fromkeys(listed(kinds), listed(of)))
        return cls(forms, roles, json.loads((docs / "events.schema.json").read_text("utf-8")))

    def check(self, event: Event) -> None:
        """What can be said of an event by itself: its type, its stream's name, its data, its disclosures."""
        form = known(self.forms.get(event.type), f"there is no type {event.type}")
        need(event.v == form.v, f"{event.type} has no version {event.v}")
        room = OTHER_ROOMS.get(event.type, event.type.partition(".")[0])
        need(re.fullmatch(ROOMS[room], event.stream), f"{event.type} does not happen to {event.stream}")
        self.check_value(event.data, self.schema["properties"][event.type], "data")
        count = len(form.public | form.restricted)
        need(len(event.sd) == count, f"{event.type} has {count} disclosures, not {len(event.sd)}")

    def check_value(self, value: Any, schema: Schema, at: str) -> None:
        for keyword, argument in schema.items():
            # A keyword that is not there stops the reader: nothing goes unchecked.
            KEYWORDS[keyword](self, value, argument, schema, at)


PYTHON = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int}
Keyword = Callable[[Spec, Any, Any, Schema, str], None]


def keyword(kind: type, says: str, holds: Callable[[Any, Any], object]) -> Keyword:
    """A keyword that asks something of the values of one JSON type."""

    def check(_spec: Spec, value: Any, argument: Any, _schema: Schema, at: str) -> None:
        need(not isinstance(value, kind) or holds(value, argument), f"{at} {says}")

    return check


def check_any_of(spec: Spec, value: Any, schemas: list[Schema], _schema: Schema, at: str) -> None:
    reasons = []
    for one in schemas:
        try:
            return spec.check_value(value, one, at)
        except WrongError as wrong:
            reasons.append(str(wrong))
    raise WrongError(", and ".join(reasons))


def check_properties(spec: Spec, value: Any, schemas: Schema, schema: Schema, at: str) -> None:
    if isinstance(value, dict):
        further = value.keys() - schemas.keys()
        need(schema["additionalProperties"] or not further, f"{at} has further names: {sorted(further)}")
        for name in value.keys() & schemas.keys():
            spec.check_value(value[name], schemas[name], f"{at}.{name}")


def check_items(spec: Spec, value: Any, one: Schema, _schema: Schema, at: str) -> None:
    for index, item in enumerate(value if isinstance(value, list) else []):
        spec.check_value(item, one, f"{at}[{index}]")


def matches(pattern: str, value: str) -> object:
    """As ECMA-262 has it, where `$` is the very end."""
    return re.search(re.sub(r"\$$", r"\\Z", pattern), value)


def is_format(value: str, name: str) -> bool:
    try:
        if name == "date-time":
            moment(value)
        else:
            date.fromisoformat(value if name == "date" and len(value) == 10 else "")
    except ValueError:
        return False
    return True


def check_ref(spec: Spec, value: Any, ref: str, _schema: Schema, at: str) -> None:
    spec.check_value(value, spec.schema["$defs"][ref.removeprefix("#/$defs/")], at)


KEYWORDS: dict[str, Keyword] = {
    **dict.fromkeys(("title", "description", "default", "additionalProperties"), lambda *_: None),
    "$ref": check_ref,
    "anyOf": check_any_of,
    "properties": check_properties,
    "items": check_items,
    "type": keyword(object, "is of another type", lambda value, name: type(value) is PYTHON[name]),
    "enum": keyword(object, "is not one of the choices", lambda value, choices: value in choices),
    "required": keyword(dict, "lacks a name", lambda value, names: set(names) <= value.keys()),
    "minItems": keyword(list, "has too few items", lambda value, least: len(value) >= least),
    "minimum": keyword(int, "is too small", lambda value, least: value >= least),
    "maximum": keyword(int, "is too large", lambda value, most: value <= most),
    "minLength": keyword(str, "is too short", lambda value, least: len(value) >= least),
    "maxLength": keyword(str, "is too long", lambda value, most: len(value) <= most),
    "pattern": keyword(str, "does not match its pattern", lambda value, pattern: matches(pattern, value)),
    "format": keyword(str, "is not a date or time of RFC 3339", is_format),
}


@dataclass
class Streams:
    """The last event of every stream."""

    last: dict[str, Event] = field(default_factory=dict)
    latest: int = 0  # iat of all streams

    def size(self, stream: str) -> int:
        return self.last[stream].n if stream in self.last else 0

    def see(self, event: Event) -> Iterator[str]:
        last = self.last.get(event.stream)
        due = self.size(event.stream) + 1
        if event.n != due:
            yield f"event {event.n} of {event.stream}, where event {due} is due"
        if (event.n == 1) != (event.type in FIRST):
            yield f"{event.type} is not event {event.n} of a stream"
        if last and event.iat < last.iat:
            yield f"iat {event.iat} in {event.stream}, behind {last.iat}"
        elif event.iat < self.latest - 7200:
            yield f"iat {event.iat}, hours before {self.latest}, which stands ahead of it"
        self.latest = max(self.latest, event.iat)
        self.last[event.stream] = event


# --- 5. Who may issue what ----------------------------------------------------------------------------------

P = 2**255 - 19
SMALL_ORDER = {
    *(0, 1, P - 1),
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
}  # y of the eight points of Ed25519 whose order divides 8


Who = tuple[str, str]
"""The stream of an organisation, and the `kid` of a key of its."""


@dataclass
class Directory:
    """Organisations and their keys, as the ledger registers and revokes them."""

    spec: Spec
    operator: str = ""
    kinds: dict[str, str] = field(default_factory=dict)
    keys: dict[Who, tuple[bytes, set[str]]] = field(default_factory=dict)  # with their roles
    revoked: set[Who] = field(default_factory=set)

    def authorise(self, event: Event) -> None:
        if not self.kinds:
            first = event.type == "organisation.registered" and event.data["kind"] == "operator"
            key = event.data.get("root_key")
            need(first and key and event.iss == event.stream, "the log does not begin with its operator")
            self.operator = event.stream
            self._add(event.stream, str(key), {"operator"})
        who = (event.iss, event.kid)
        need(self._holds(who), f"{event.kid} is no key of {event.iss} at this position")
        public, roles = self.keys[who]
        allowed = self.spec.forms[event.type].roles
        need(roles & allowed, f"{event.type} takes a key that is {sorted(allowed)}, not {sorted(roles)}")
        need(ed25519_verifies(public, event.signature, event.signed), "the signature of the entry is wrong")

    def _holds(self, who: Who) -> bool:
        return who in self.keys and who not in self.revoked

    def see(self, event: Event) -> None:
        data, stream = event.data, event.stream
        if event.type == "organisation.registered":
            need(stream not in self.kinds, f"{stream} is registered already")
            operator = (data["kind"] == "operator", data.get("root_key") is not None)
            need(operator == (event.position == 0,) * 2, "the first entry, and no other, is of the operator")
            self.kinds[stream] = data["kind"]
        elif event.room == "organisation":
            kind = known(self.kinds.get(stream), f"{stream} is not registered")
            if event.type == "organisation.key_registered":
                excess = set(data["roles"]) - self.spec.roles[kind]
                need(not excess, f"a key of a {kind} is not {sorted(excess)}")
                self._add(stream, data["key"], set(data["roles"]))
            elif event.type == "organisation.key_revoked":
                who = (stream, data["kid"])
                need(self._holds(who), f"{data['kid']} is no key of {stream}")
                self.revoked.add(who)

    def _add(self, stream: str, key: str, roles: set[str]) -> None:
        public = unb64url(key)
        y = int.from_bytes(public, "little") % 2**255
        need(len(public) == 32 and y < P and y not in SMALL_ORDER, f"{key} is no key")
        kid = b64url(sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{key}"}}'.encode()))
        need((stream, kid) not in self.keys, f"{kid} was a key of {stream} before")
        self.keys[stream, kid] = (public, roles)

    def may_be_sent(self, room: str, stream: str) -> Iterator[str]:
        """What is wrong with addressing a petition or an appeal there."""
        kind = self.kinds.get(stream, "")
        if "body" not in self.spec.roles.get(kind, ()) and (room, kind) != ("appeal", "institution"):
            yield f"{room}s are not addressed to {stream}"


# --- 6. Counting petitions ----------------------------------------------------------------------------------


@dataclass
class Petition:
    body: str
    open: bool = False
    until: float = 0.0  # signatures are taken before it
    needed: int = 0
    required: int | None = None
    reached: int | None = None  # the first position from publication on with at least `required`
    supported: bool = False
    most: int = 0
    regions: Counter[str] = field(default_factory=Counter)
    counts: list[tuple[int, int]] = field(default_factory=list)  # position, count from there on
    signed_at: list[int] = field(default_factory=list)  # of each `petition.signed`

    @property
    def count(self) -> int:
        return self.regions.total()

    def at(self, position: int) -> int:
        return next((count for since, count in reversed(self.counts) if since <= position), 0)

    def reach(self, position: int) -> None:
        if self.required is not None and self.reached is None and self.count >= self.required:
            self.reached = position


@dataclass
class Petitions:
    spec: Spec
    directory: Directory
    petitions: dict[str, Petition] = field(default_factory=dict)  # by stream
    signatures: dict[str, Event] = field(default_factory=dict)  # `petition.signed` by stream
    removals: dict[str, Event] = field(default_factory=dict)  # by the same

    def see(self, event: Event) -> Iterator[str]:
        if event.room == "signature":
            self._sign(event)
        elif event.type == "petition.submitted":
            need(event.stream not in self.petitions, f"{event.stream} was submitted before")
            self.petitions[event.stream] = Petition(event.data["body"])
            yield from self.directory.may_be_sent("petition", event.data["body"])
        elif event.room == "petition":
            petition = known(self.petitions.get(event.stream), f"nobody submitted {event.stream}")
            yield from self._step(event, petition)

    def _sign(self, event: Event) -> None:
        stream = "petition/" + event.stream.split("/")[1]
        petition = known(self.petitions.get(stream), f"nobody submitted {stream}")
        in_time = petition.open and event.iat < petition.until
        need(in_time or event.type == "signature.voided", f"{stream} takes no signatures then")
        if event.type == "petition.signed":
            need(event.stream not in self.signatures, "this person signed before")
            self.signatures[event.stream] = event
            petition.signed_at.append(event.position)
            petition.regions[region_of(event)] += 1
        else:
            need(event.stream in self.signatures, "there is no signature to take away")
            need(event.stream not in self.removals, "this signature was taken away before")
            self.removals[event.stream] = event
            petition.regions[region_of(self.signatures[event.stream])] -= 1
        petition.counts.append((event.position, petition.count))
        petition.most = max(petition.most, petition.count)
        petition.reach(event.position)

    def _step(self, event: Event, petition: Petition) -> Iterator[str]:
        data = event.data
        if self.spec.forms[event.type].roles == {"body"} and event.iss != petition.body:
            yield f"the petition lies with {petition.body}, not with {event.iss}"
        if petition.required is not None and data.get("required", petition.required) != petition.required:
            yield f"the threshold is {petition.required}, not {data['required']}"
        match event.type:
            case "petition.admitted":
                petition.open, petition.needed = True, data["needed"]
                petition.until = moment(data["limited_until"]).timestamp()
            case "petition.published":
                if petition.most < petition.needed:
                    yield f"published with {petition.most} signatures, where {petition.needed} are needed"
                petition.required = data["required"]
                petition.until = moment(data["collect_until"]).timestamp()
                petition.reach(event.position)
            case "petition.supported":
                if petition.supported:
                    yield "petition.supported stands twice"
                petition.supported = True
                if data["reached_at"] != petition.reached:
                    yield f"the threshold was reached at {petition.reached}, not at {data['reached_at']}"
            case "petition.lapsed" | "petition.not_supported":
                yield from self._close(event, petition)
            case "petition.withdrawn":
                petition.open = False
            case "petition.routed":
                petition.open, petition.body = False, data["body"]
                yield from self.directory.may_be_sent("petition", data["body"])

    def _close(self, event: Event, petition: Petition) -> Iterator[str]:
        as_of, count = event.data["as_of"], event.data["count"]
        if not (as_of < event.position and count == petition.at(as_of) == petition.count):
            yield f"the count at {as_of} is {petition.at(as_of)}, and {petition.count} here: not {count}"
        enough = petition.needed if event.type == "petition.lapsed" else petition.required or 0
        if count >= enough or petition.reached is not None:
            yield f"{count} signatures, of {enough}; the threshold was reached at {petition.reached}"
        if event.iat < petition.until:
            yield "ended before its time"
        petition.open = False


def region_of(signed: Event) -> str:
    return str(signed.data.get("region") or "unknown")


# --- 7. A receipt -------------------------------------------------------------------------------------------


def check_receipt(receipt: Any, trust: Trust, spec: Spec, leaves: list[bytes]) -> None:
    """`leaves` are those of the log that was read: the receipt must be of the same."""
    need(isinstance(receipt, dict), "the receipt is not an object")
    names = {"receipt", "event", "disclosures", "proof"}
    need(receipt.keys() in (names, names | {"own"}), "the receipt has other names than section 7")
    form, text, proof, public = (receipt[name] for name in ("receipt", "event", "proof", "disclosures"))
    own = receipt.get("own", [])
    need(form == ("aiqyn/v2" if "own" in receipt else "aiqyn/v1"), "the receipt is of another form")
    need(isinstance(text, str) and isinstance(proof, str), "event or proof is not a text")
    need(isinstance(public, list) and isinstance(own, list), "disclosures are not a list")
    need(all(isinstance(one, str) for one in (*public, *own)), "a disclosure is not a text")
    need(own or "own" not in receipt, "the person's own receipt has nothing of that person's own")

    head, _, note = proof.partition("\n\n")
    title, *lines = head.split("\n")
    need(title == "c2sp.org/tlog-proof@v1", "the proof is not a tlog-proof")
    lines = lines[1:] if lines and lines[0].startswith("extra ") else lines
    need(lines and lines[0].startswith("index "), "the proof names no index")
    index = decimal(lines[0].removeprefix("index "))
    checkpoint = trust.open(note, cosigned=False)
    path = [unb64(line) for line in lines[1:]]
    root = root_of_proof(index, checkpoint.size, leaf_hash(text.encode()), path)
    need(root == checkpoint.root, "the proof does not lead to the root of its checkpoint")

    event = read_entry(index, text.encode())
    spec.check(event)
    names_of = spec.forms[event.type]
    for disclosures, allowed in ((public, names_of.public), (own, names_of.restricted)):
        given = [disclosed_name(event, disclosure) for disclosure in disclosures]
        need(len(set(given)) == len(given), "a disclosure is given twice")
        need(allowed.issuperset(given), f"{sorted(set(given) - allowed)} does not belong there")
    if checkpoint.size <= len(leaves):
        ours = tree_hash(leaves[: checkpoint.size])
        need(ours == checkpoint.root, "the receipt is of another log than the folder")


# --- 9. Appeals ---------------------------------------------------------------------------------------------

PREFIXES = {"person": "JT", "company": "ZT"}


@dataclass
class Appeal:
    body: str
    data: dict[str, Any]  # of its first event
    issuers: dict[int, str] = field(default_factory=dict)  # by the number of the event
    assignments: int = 0
    asked: dict[int, str] = field(default_factory=dict)  # assignments that nobody has answered, and who is to
    higher: str = ""
    with_higher: bool = False
    parts: int = 0


@dataclass
class Appeals:
    spec: Spec
    directory: Directory
    streams: Streams
    appeals: dict[str, Appeal] = field(default_factory=dict)
    numbers: Counter[str] = field(default_factory=Counter)  # how many there are, by `JT-2026`
    due: tuple[int, str, str, str] | None = None  # the part that begins next: position, stream, parent, body

    def see(self, event: Event) -> Iterator[str]:
        due, self.due = self.due, None
        if event.type == "appeal.split_off":
            if due != (event.position, event.stream, event.data["parent"], event.data["body"]):
                yield f"the entry before does not forward {event.stream} so"
        elif due:
            yield f"the entry before forwards {due[1]}, which does not begin here"
        if event.type == "disclosure.read":
            yield from self._read(event)
        if event.room != "appeal":
            return
        if event.type in FIRST:
            self.appeals[event.stream] = Appeal(event.data["body"], event.data)
            yield from self._begin(event)
        appeal = known(self.appeals.get(event.stream), f"{event.stream} has not begun")
        yield from self._step(event, appeal)
        appeal.issuers[event.n] = event.iss

    def _begin(self, event: Event) -> Iterator[str]:
        data, name = event.data, event.stream.removeprefix("appeal/")
        series, _, number = name.rpartition("-")
        if event.type == "appeal.submitted":
            of = f"{PREFIXES[data['applicant']]}-{data['registered_on'][:4]}"
            if (series, number) != (of, f"{self.numbers[of] + 1:08}"):
                yield f"the number is {name}, where {of}-{self.numbers[of] + 1:08} is due"
            if series == of:
                self.numbers[of] = max(self.numbers[of], int(number))
            if (data["channel"] == "electronic") != (data.get("algorithm") is not None):
                yield "what came electronically was signed, and nothing else was"
        elif event.type == "appeal.imported":
            need(name.startswith("IM-"), f"{name} is not the number of an old case")
            need(len(unb64url(name[3:])) == 16, f"{name} is not the number of an old case")
        else:
            whole = known(self.appeals.get(data["parent"]), f"there is no {data['parent']}")
            if any(data[name] != whole.data[name] for name in ("kind", "applicant", "channel")):
                yield f"{event.stream} is of another kind, applicant or channel than {data['parent']}"

    def _step(self, event: Event, appeal: Appeal) -> Iterator[str]:
        data, stream = event.data, event.stream
        for to in data.keys() & {"body", "to"}:
            yield from self.directory.may_be_sent("appeal", data[to])
        if data.get("algorithm") is not None and event.iss != self.directory.operator:
            yield "only the gateway says what an applicant signed"
        acts = appeal.body
        match event.type:
            case "appeal.forwarded":
                appeal.body = data["to"]
            case "appeal.forwarded_in_part":
                appeal.parts += 1
                if data["number"] != appeal.parts:
                    yield f"part {data['number']}, where part {appeal.parts} is due"
                self.due = (event.position + 1, f"{stream}-{data['number']}", stream, data["to"])
            case "appeal.assigned":
                appeal.assignments += 1
                if data["assignment"] != appeal.assignments:
                    yield f"assignment {data['assignment']}, where {appeal.assignments} is due"
                appeal.asked[data["assignment"]] = data["to"]
            case "appeal.assignment_answered":
                acts = appeal.asked.pop(data["assignment"], "nobody")
            case "appeal.applicant_told":
                acts = appeal.issuers.get(data["of"], "nobody")
            case "appeal.decided":
                appeal.asked.clear()
            case "appeal.complaint_passed_up":
                appeal.higher, appeal.with_higher = data["to"], True
            case "appeal.complaint_decided":
                acts, appeal.with_higher = appeal.higher or appeal.body, False
        said_by_body = not self.spec.forms[event.type].roles & {"gateway", "clock"}
        if said_by_body and event.iss != acts:
            yield f"{event.type} is for {acts} to say, not for {event.iss}"

    def _read(self, event: Event) -> Iterator[str]:
        of = event.data["of"]
        if event.stream.rpartition("/")[0] != f"reading/{of}":
            yield f"{event.stream} is not a reading of {of}"
        if event.data["events"] != self.streams.size(of):
            yield f"{of} has {self.streams.size(of)} events here, not {event.data['events']}"
        if appeal := self.appeals.get(of):
            higher = {appeal.higher} if appeal.with_higher else set()
            if event.iss not in {appeal.body, *appeal.asked.values(), *higher}:
                yield f"{event.iss} read {of}, which lay with {appeal.body}"


# --- 10. Committed digests ----------------------------------------------------------------------------------


@dataclass
class Digests:
    petitions: Petitions
    unchecked: list[str] = field(default_factory=list)

    def see(self, event: Event) -> Iterator[str]:
        if event.type != "projection.committed":
            return
        _, name, as_of = event.stream.split("/")
        if event.data["as_of"] != int(as_of) or int(as_of) >= event.position:
            yield f"{event.stream} is as of {event.data['as_of']}, not before its entry"
        elif (name, event.data["fold"]) != ("signatures", 1):
            self.unchecked.append(event.stream)
        elif event.data["digest"] != sha256(self._signatures(int(as_of)).encode()).hex():
            yield "the digest is not that of the signatures in the log"

    def _signatures(self, as_of: int) -> str:
        signed, removed = [], []
        for stream, one in self.petitions.signatures.items():
            _, petition, nullifier = stream.split("/")
            signed.append((petition, one.position, nullifier, one.data.get("region"), one.iat))
        for stream, one in self.petitions.removals.items():
            petition, kind = stream.split("/")[1], one.type.removeprefix("signature.")
            at = self.petitions.signatures[stream].position
            removed.append((petition, at, one.position, kind, one.data.get("reason"), one.iat))
        lines = ["signatures\tpetition\tposition\tnullifier\tregion\tiat"]
        lines += ["\t".join(map(column, row)) for row in sorted(signed) if row[1] <= as_of]
        lines += ["removals\tpetition\tsignature\tposition\tkind\treason\tiat"]
        lines += ["\t".join(map(column, row)) for row in sorted(removed) if row[2] <= as_of]
        return "".join(line + "\n" for line in lines)


def column(value: str | int | None) -> str:
    return "\\N" if value is None else str(value)


# --- 11. Erasures -------------------------------------------------------------------------------------------


@dataclass
class Erasures:
    spec: Spec
    streams: Streams

    def see(self, event: Event) -> Iterator[str]:
        if event.type != "disclosure.erased":
            return
        data, names = event.data, event.data.get("names", [])
        if event.stream.rpartition("/")[0] != f"erasure/{data['of']}":
            yield f"{event.stream} is not an erasure in {data['of']}"
        if data["events"] != self.streams.size(data["of"]):
            yield f"{data['of']} has {self.streams.size(data['of'])} events here, not {data['events']}"
        if names != sorted(set(names)) or not (names or data.get("data_key")):
            yield "nothing is erased, or names are not sorted"
        public = set().union(*(form.public for form in self.spec.forms.values()))
        if not public.issuperset(names):
            yield f"{', '.join(sorted(set(names) - public))} was never disclosed to the public"


# --- 12. Looks at the evidence ------------------------------------------------------------------------------


@dataclass
class Look:
    asked: Event
    sample: set[int] | None = None  # positions
    opened: set[int] = field(default_factory=set)


@dataclass
class Evidence:
    petitions: Petitions
    leaves: list[bytes]
    looks: dict[str, Look] = field(default_factory=dict)
    erased: dict[str, list[int]] = field(default_factory=dict)  # stream -> positions of its erasures

    def see(self, event: Event) -> Iterator[str]:
        if event.type == "disclosure.erased" and event.data.get("data_key"):
            self.erased[event.data["of"]] = [*self.erased.get(event.data["of"], []), event.position]
        if event.type == "evidence.asked":
            for look in self.looks.values():
                if look.sample is None and (look.asked.iss, look.asked.data["of"]) == (
                    event.iss,
                    event.data["of"],
                ):
                    yield f"{look.asked.stream} was not drawn yet"
            self.looks[event.stream] = Look(event)
            if event.data["of"] not in self.petitions.petitions:
                yield f"there is no {event.data['of']}"
        elif event.room == "evidence":
            look = known(self.looks.get(event.stream), f"{event.stream} was not asked")
            yield from self._draw(event, look) if event.type == "evidence.drawn" else self._open(event, look)

    def _draw(self, event: Event, look: Look) -> Iterator[str]:
        asked, data = look.asked, event.data
        secret, root = bytes.fromhex(data["secret"]), tree_hash(self.leaves[: asked.position + 1])
        signed_at = known(self.petitions.petitions.get(asked.data["of"]), "nothing can be drawn").signed_at
        gone = {
            one.position
            for stream, one in self.petitions.signatures.items()
            if any(one.position < at <= asked.position for at in self.erased.get(stream, []))
        }
        signed_at = [at for at in signed_at if at <= asked.position and at not in gone]
        if look.sample is not None or event.iss != asked.iss:
            yield f"it is for {asked.iss} to draw, once"
        if sha256(secret).hex() != asked.data["commitment"]:
            yield "this is not the secret that was committed to"
        said = (data["asked_at"], data["root"], data["signatures"])
        if said != (asked.position, root.hex(), len(signed_at)):
            yield f"there are {len(signed_at)} signatures up to {asked.position}, the root is {root.hex()}"
        numbers = draw(secret, root, len(signed_at), asked.data["sample"])
        look.sample = {signed_at[number] for number in numbers}

    def _open(self, event: Event, look: Look) -> Iterator[str]:
        position = event.data["position"]
        if position not in (look.sample or ()):
            yield f"{position} does not belong to the sample"
        if position in look.opened:
            yield f"{position} was opened before"
        look.opened.add(position)


def draw(secret: bytes, root: bytes, population: int, sample: int) -> set[int]:
    """Which of the signatures 0 … `population` - 1 are looked at."""
    if sample >= population:
        return set(range(population))
    drawn: set[int] = set()
    block = 0
    while True:
        numbers = sha256(b"aiqyn/sample/v1\n" + secret + root + block.to_bytes(8, "big"))
        for at in range(0, 32, 8):
            number = int.from_bytes(numbers[at : at + 8], "big")
            if number < 2**64 - 2**64 % population:
                drawn.add(number % population)
            if len(drawn) == sample:
                return drawn
        block += 1


# --- The whole ----------------------------------------------------------------------------------------------


class Reader:
    def __init__(self, spec: Spec, folder: Path, trust: Trust) -> None:
        self.spec, self.folder, self.trust = spec, folder, trust
        self.findings: list[dict[str, Any]] = []
        self.checkpoint: Checkpoint | None = None
        self.leaves: list[bytes] = []
        self.streams, self.directory = Streams(), Directory(spec)
        self.petitions = Petitions(spec, self.directory)
        self.digests = Digests(self.petitions)
        appeals = Appeals(spec, self.directory, self.streams)
        erasures, evidence = Erasures(spec, self.streams), Evidence(self.petitions, self.leaves)
        books = (self.directory, self.petitions, appeals, self.digests, erasures, evidence, self.streams)
        self.see: list[Callable[[Event], Iterable[str] | None]] = [book.see for book in books]

    def find(self, at: object, finding: object) -> None:
        self.findings.append({"at": at, "finding": str(finding)})

    def read(self) -> None:
        try:
            note = (self.folder / "checkpoint").read_bytes().decode()
            self.checkpoint = self.trust.open(note, cosigned=True)
        except (WrongError, OSError, UnicodeDecodeError) as error:
            self.find("checkpoint", error)
            return
        entries = self._entries(self.checkpoint.size)
        self.leaves.extend(map(leaf_hash, entries))
        self._check_tiles(self.leaves)
        if tree_hash(self.leaves) != self.checkpoint.root:
            self.find("checkpoint", "its root is not that of the entries")
        for position, entry in enumerate(entries):
            self._event(position, entry)

    def _tile(self, path: str) -> bytes:
        try:
            return (self.folder / "tile" / path).read_bytes()
        except OSError:
            return b""

    def _entries(self, size: int) -> list[bytes]:
        entries: list[bytes] = []
        for start in range(0, size, 256):
            width = min(256, size - start)
            path = f"entries/{tile_name(start // 256, width)}"
            try:
                found = split_bundle(self._tile(path))
                need(len(found) == width, f"it holds {len(found)} entries, not {width}")
            except WrongError as wrong:
                self.find(f"tile/{path}", wrong)
                break
            entries += found
        return entries

    def _check_tiles(self, leaves: list[bytes]) -> None:
        """Every hash tile of every level against the entries."""
        level, hashes = 0, leaves
        while hashes:
            for start in range(0, len(hashes), 256):
                row = hashes[start : start + 256]
                path = f"{level}/{tile_name(start // 256, len(row))}"
                if self._tile(path) != b"".join(row):
                    self.find(f"tile/{path}", "it is not there, or its hashes are not those of the entries")
            whole = range(0, len(hashes) - 255, 256)
            level, hashes = level + 1, [tree_hash(hashes[start : start + 256]) for start in whole]

    def _event(self, position: int, entry: bytes) -> None:
        try:
            event = read_entry(position, entry)
            self.spec.check(event)
            self.directory.authorise(event)
        except WrongError as wrong:
            self.find(position, wrong)  # and it counts for nothing
            return
        for see in self.see:  # the streams come last: until then the event is not in its stream
            try:
                for finding in see(event) or ():
                    self.find(position, finding)
            except WrongError as wrong:
                self.find(position, wrong)

    def receipt(self, file: Path) -> None:
        try:
            check_receipt(unjson(file.read_bytes()), self.trust, self.spec, self.leaves)
        except (WrongError, OSError, UnicodeError) as error:
            self.find(file.name, error)

    def report(self) -> dict[str, Any]:
        return {
            "size": self.checkpoint.size if self.checkpoint else None,
            "root": self.checkpoint.root.hex() if self.checkpoint else None,
            "petitions": {
                stream: {
                    "count": petition.count,
                    "regions": {k: n for k, n in sorted(petition.regions.items()) if n},
                }
                for stream, petition in self.petitions.petitions.items()
            },
            "unchecked": self.digests.unchecked,
            "findings": self.findings,
        }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--key", action="append", default=[], metavar="VKEY")
    parser.add_argument("folder", type=Path)
    parser.add_argument("vkey")
    parser.add_argument("receipts", type=Path, nargs="*", metavar="receipt")
    given = parser.parse_args()
    try:
        trust = Trust([Key.parse(vkey) for vkey in (given.vkey, *given.key)])
        need(trust.keys[0].type == 1, "the first key is the log's Ed25519 key")
    except WrongError as wrong:
        parser.error(str(wrong))
    reader = Reader(Spec.load(DOCS), given.folder, trust)
    reader.read()
    for receipt in given.receipts:
        reader.receipt(receipt)
    sys.stdout.write(json.dumps(reader.report(), indent=1) + "\n")
    return 1 if reader.findings else 0


if __name__ == "__main__":
    sys.exit(main())
