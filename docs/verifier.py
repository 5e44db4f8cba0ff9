"""Verify an Aiqyn receipt: one file, made for reading. Needs Python 3.11 and `cryptography` alone.

    python verifier.py FILE VKEY [VKEY ...] [--quorum K]

FILE is the receipt. The first VKEY is the log's verifier key, got from somewhere other than the log's
operator; the others are further keys of the log, or of witnesses. All keys of the log that are given must
have signed, and at least K of the witnesses (by default all that are given).

What is checked, in this order, and why a reader may believe it:

1. The receipt holds an *entry* (the sealed event, as the log holds it), *disclosures*, and a *proof*.
2. Each disclosure's hash stands in the event: what it says is what the event's issuer committed to.
3. The entry hashes to a leaf; the proof's hashes lead from that leaf, at its position, to the root of a tree.
4. A checkpoint names that root and the tree's size, and the log's key signed it.
5. Witnesses signed the same checkpoint: they saw the log grow only, so all others see the same log.

Not checked, because a receipt cannot show it: that the key which sealed the event was entitled to. The log's
other entries say so; `aiqyn audit` checks it. Formats: docs/spec.md, sections 1, 2, 3 and 7.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LOG, COSIGNATURE, ML_DSA_44 = 0x01, 0x04, 0x06
"""Types of keys: an Ed25519 signature of a log, a timestamped one of a witness, ML-DSA-44 of either."""


class WrongError(Exception):
    """The receipt does not verify; says why."""


def require(condition: bool, why: str) -> None:
    """One check."""
    if not condition:
        raise WrongError(why)


def from_base64(text: str, *, url: bool = False) -> bytes:
    """Base64 with padding, or base64url without; only in the one form that encoding gives back."""
    try:
        if url:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            same = base64.urlsafe_b64encode(data).decode().rstrip("=") == text
        else:
            data = base64.b64decode(text, validate=True)
            same = base64.b64encode(data).decode() == text
    except ValueError:
        same = False
    require(same, f"this is not canonical base64: {text[:40]!r}")
    return data


def to_number(text: str) -> int:
    """Decimal digits without a sign or leading zeros."""
    good = text.isascii() and text.isdigit() and len(text) < 20 and (text == "0" or text[0] != "0")
    require(good, f"this is no number: {text[:40]!r}")
    return int(text)


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object, in which no name may stand twice: two readers could see different things."""
    names = dict(pairs)
    require(len(names) == len(pairs), "a name stands twice in one JSON object")
    return names


def read_json(data: str | bytes) -> object:
    """Any JSON value."""
    try:
        return json.loads(data, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise WrongError(f"this is not JSON: {error}") from error


# --- keys -----------------------------------------------------------------------------------------


class Key:
    """A verifier key: ``name+id+base64(type ‖ public key)`` (C2SP signed-note)."""

    def __init__(self, vkey: str) -> None:
        parts = vkey.strip().split("+", 2)
        require(len(parts) == 3, f"this is no verifier key: {vkey[:60]!r}")
        self.name, shown_id, material = parts
        data = from_base64(material)
        require(len(data) > 1, f"this is no verifier key: {vkey[:60]!r}")
        self.type, self.public = data[0], data[1:]
        self.id = hashlib.sha256(self.name.encode() + b"\n" + data).digest()[:4]
        require(self.id.hex() == shown_id, f"the id of the key of {self.name} is {self.id.hex()}")
        require(self.type in (LOG, COSIGNATURE, ML_DSA_44), f"keys of type {self.type} are not known here")
        require(len(self.public) == (1312 if self.type == ML_DSA_44 else 32), "the key's length is wrong")

    def verify(self, signature: bytes, checkpoint: Checkpoint) -> int | None:
        """Check a signature over a checkpoint; its time, in seconds since 1970, where it has one."""
        time = None
        message = checkpoint.text.encode()
        if self.type != LOG:
            require(len(signature) > 8, f"the cosignature of {self.name} is too short")
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = f"cosignature/v1\ntime {time}\n".encode() + message
        try:
            if self.type == ML_DSA_44:
                from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

                name, origin = self.name.encode(), checkpoint.origin.encode()
                message = b"subtree/v1\n\0" + bytes([len(name)]) + name + struct.pack(">Q", time)
                message += bytes([len(origin)]) + origin + struct.pack(">QQ", 0, checkpoint.size)
                message += checkpoint.root
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, message)
            else:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise WrongError(f"the signature of {self.name} is wrong for this checkpoint") from error
        return time


# --- the log: checkpoint and proof ------------------------------------------------------------------


class Checkpoint:
    """A signed note: origin, size, root; a blank line; signatures (C2SP tlog-checkpoint)."""

    def __init__(self, note: str) -> None:
        head, blank, signatures = note.rpartition("\n\n")
        require(bool(blank), "the checkpoint has no signatures")
        self.text = head + "\n"
        lines = head.split("\n")
        require(len(lines) >= 3, "the checkpoint needs an origin, a size and a root")
        self.origin = lines[0]
        self.size, self.root = to_number(lines[1]), from_base64(lines[2])
        self.signatures: list[tuple[str, bytes, bytes]] = []
        for line in signatures.removesuffix("\n").split("\n"):
            dash, name, data = [*line.split(" "), "", "", ""][:3]
            require(dash == "\N{EM DASH}" and line.count(" ") == 2, f"not a signature line: {line[:60]!r}")
            raw = from_base64(data)
            self.signatures.append((name, raw[:4], raw[4:]))

    def signed_by(self, key: Key) -> tuple[bool, int | None]:
        """Whether a key signed, and when. A wrong signature under its name is an error."""
        named = [line[2] for line in self.signatures if line[:2] == (key.name, key.id)]
        times = [key.verify(signature, self) for signature in named]
        return bool(times), times[0] if times else None


def root_of(leaf: bytes, index: int, size: int, hashes: list[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2)."""
    require(index < size, f"position {index} is not in a tree of {size} entries")
    node, last, at = leaf, size - 1, index
    for sibling in hashes:
        require(last > 0, "the proof has too many hashes")
        if at & 1 or at == last:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        at, last = at >> 1, last >> 1
    require(last == 0, "the proof has too few hashes")
    return node


def read_proof(text: str) -> tuple[int, list[bytes], Checkpoint]:
    """Position, hashes and checkpoint of a C2SP tlog-proof."""
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    require(bool(blank) and lines[0] == "c2sp.org/tlog-proof@v1", "this is not a tlog-proof")
    if len(lines) > 1 and lines[1].startswith("extra "):
        del lines[1]
    require(len(lines) > 1 and lines[1].startswith("index "), "the proof names no position")
    index = to_number(lines[1].removeprefix("index "))
    hashes = [from_base64(line) for line in lines[2:]]
    require(all(len(value) == 32 for value in hashes), "a hash of the proof is not 32 bytes long")
    return index, hashes, Checkpoint(note)


def read_event(entry: str) -> dict[str, object]:
    """The payload of a sealed event: ``header.payload.signature~`` (an SD-JWT)."""
    require(entry.isascii() and entry.endswith("~") and entry.count(".") == 2, "this is not a sealed event")
    header, payload, signature = (from_base64(part, url=True) for part in entry[:-1].split("."))
    names = read_json(header)
    require(
        isinstance(names, dict) and names.get("typ") == "aiqyn-event+sd-jwt" and len(signature) == 64,
        "this is not an event of Aiqyn",
    )
    event = read_json(payload)
    require(isinstance(event, dict), "the event is no object")
    return event  # type: ignore[return-value]  # that is what was just required


def read_disclosures(texts: list[str], event: dict[str, object]) -> dict[str, object]:
    """What the disclosures say, once each one's hash was found in the event."""
    digests = event.get("_sd", [])
    said: dict[str, object] = {}
    require(len(set(texts)) == len(texts), "a disclosure stands twice in the receipt")
    for text in texts:
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        require(isinstance(digests, list) and digest in digests, "a disclosure is not the event's")
        value = read_json(from_base64(text, url=True))
        require(isinstance(value, list) and len(value) == 3, "a disclosure is [salt, name, value]")
        said[str(value[1])] = value[2]  # type: ignore[index]
    return said


def verify(data: bytes, vkeys: list[str], quorum: int | None = None) -> list[str]:
    """What the receipt proves, line by line. Raises :class:`WrongError`."""
    file = read_json(data)
    personal = (
        isinstance(file, dict) and file.get("receipt") == "aiqyn/v2"
    )  # with what only its holder may see
    names = {"receipt", "event", "disclosures", "proof"} | ({"own"} if personal else set())
    require(isinstance(file, dict) and set(file) == names, f"a receipt has exactly the names {sorted(names)}")
    require(personal or file["receipt"] == "aiqyn/v1", "only the forms aiqyn/v1 and aiqyn/v2 are known here")
    require(isinstance(file["event"], str) and isinstance(file["proof"], str), "a receipt holds texts")
    lists = names & {"disclosures", "own"}
    require(
        all(isinstance(file[n], list) and all(isinstance(one, str) for one in file[n]) for n in lists),
        "disclosures are a list of texts",
    )
    event = read_event(file["event"])
    disclosed = read_disclosures([one for n in sorted(lists) for one in file[n]], event)
    index, hashes, checkpoint = read_proof(file["proof"])
    leaf = hashlib.sha256(b"\x00" + file["event"].encode()).digest()
    require(
        root_of(leaf, index, checkpoint.size, hashes) == checkpoint.root,
        "the proof does not lead from this event to the root that was signed",
    )
    log, *others = [Key(vkey) for vkey in vkeys]
    require(log.type == LOG, "the first key is the log's own Ed25519 key")
    require(log.name == checkpoint.origin, f"the checkpoint is of the log {checkpoint.origin!r}")
    require(checkpoint.signed_by(log)[0], f"the log's key {log.name}+{log.id.hex()} did not sign")
    told = [
        f"event       {event.get('type')}, number {event.get('n')} of {event.get('stream')}",
        f"said by     {event.get('iss')}, {show_time(event.get('iat'))}",
        *(f"disclosed   {name} = {value!r}" for name, value in disclosed.items()),
        f"position    {index} in the log {checkpoint.origin} of {checkpoint.size} entries",
        f"signed by   the log's key {log.id.hex()}",
    ]
    names, keys = set(), set()  # one witness may have several keys, and is still one
    for key in others:
        signed, time = checkpoint.signed_by(key)
        of_log = key.name == log.name
        require(signed or not of_log, f"the log's key {key.id.hex()} did not sign")
        require(of_log or key.type != LOG, f"the key of {key.name} is no witness's key")
        if signed:
            told.append(f"signed by   {key.name}, key {key.id.hex()}, {show_time(time)}")
            names |= {key.name} - {log.name}
            keys |= set() if of_log else {key.public}
    seen = min(len(names), len(keys))
    needed = len({key.name for key in others if key.name != log.name}) if quorum is None else quorum
    require(seen >= needed, f"{seen} of the given witnesses signed, {needed} are required")
    return told


def show_time(seconds: object) -> str:
    """A moment, in UTC."""
    try:
        return f"{datetime.fromtimestamp(int(str(seconds)), UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"at {seconds}"


def main(words: list[str]) -> int:
    """0 it verifies, 1 it does not, 2 not understood."""
    quorum = None
    try:
        if "--quorum" in words:
            at = words.index("--quorum")
            quorum = to_number("".join(words[at + 1 : at + 2]))
            del words[at : at + 2]
        if len(words) < 2:
            print(__doc__)
            return 2
        with open(words[0], "rb") as file:
            told = verify(file.read(5_000_000), words[1:], quorum)
    except OSError as error:
        print(f"{words[0]} cannot be read: {error.strerror}.")
        return 2
    except (WrongError, UnicodeError) as wrong:
        print(f"NOT VERIFIED: {wrong}.".encode("ascii", "backslashreplace").decode())
        return 1
    for line in told:  # what a log says must not steer the terminal
        print(line if line.isprintable() else line.encode("unicode_escape").decode())
    print("VERIFIED: the log holds this event, and cannot drop or change it without being caught.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
