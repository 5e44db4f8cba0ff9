"""The evidence behind a random sample of a petition's signatures, checked without trusting anybody.

The log is read up to the announcement, and its root recomputed; from that root and the auditor's own secret
follows which signatures are looked at. Each one that is shown must be the entry that the log holds at that
position; its CMS is verified against the certificate authority, over the very statement that the petition's
text gives; and then it is said what this proves of all the others.

The server's word is taken for nothing. Erased is what the log said to be erased before the announcement: it
is left out, and counted. Whatever else cannot be shown is wrong.

What was done is kept in a folder, so that an interruption costs nothing: the secret above all.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import httpx
import msgspec

from audit.bundles import bundles
from audit.source import HttpSource, NotServedError, SourceError, read_checkpoint
from audit.tree import Tree
from ledger.domain import wording
from ledger.eds.certificates import TrustStore
from ledger.eds.errors import EdsError
from ledger.eds.verify import verify
from ledger.encoding import b64url_decode
from ledger.errors import AiqynError
from ledger.events import (
    DisclosureErased,
    EvidenceAsked,
    Fact,
    Language,
    PetitionSigned,
    PetitionSubmitted,
)
from ledger.sample import draw
from ledger.statement import Disclosure, Event, disclosed, open_event
from ledger.tlog.checkpoint import Checkpoint, open_checkpoint
from ledger.tlog.merkle import HASH_SIZE, leaf_hash
from ledger.tlog.note import VerifierKey
from ledger.tlog.policy import Policy

CONFIDENCE = 0.95
LIMITS = (
    "The bound is for signatures whose evidence does not verify, among those not erased before the "
    "announcement. Copies are not covered: a second signature of one person shows only if both are in the "
    "sample."
)
"""What a sample does not show."""
_CHUNK = 50
_NAME = 16
"""Bytes of a hash that tells streams apart."""
_STATE = "evidence.json"


class EvidenceRefusedError(AiqynError):
    """The ledger does not let this auditor look, or answers otherwise than it promises."""

    code = "evidence-refused"
    title = "The ledger does not open the evidence"


class SampleDisputedError(AiqynError):
    """The ledger says another root or number of signatures than its own log gives, or gave before."""

    code = "sample-disputed"
    title = "The sample does not follow from the log"


class _State(msgspec.Struct):
    """What is kept between two runs."""

    url: str
    petition: str
    sample: int
    secret: str
    id: str | None = None
    asked_at: int | None = None
    note: str | None = None
    """The checkpoint by which the log was read before the secret was shown; with it the next three."""
    root: str | None = None
    signatures: int | None = None
    chosen: list[int] | None = None
    """The positions that are looked at."""
    drawn: bool = False
    opened: dict[int, tuple[str, list[str], bool]] = {}
    """Position → entry, disclosures, whether the ledger says that they were erased."""


@dataclass(frozen=True, slots=True)
class _Log:
    """What the log says of the petition."""

    note: bytes
    """The checkpoint up to which it was read."""
    root: bytes
    """Over everything up to the announcement."""
    positions: array[int]
    """Of the signatures that the sample is drawn from."""
    leaves: bytes
    """Their leaf hashes, 32 bytes each, in that order."""
    erased: int
    """How many signatures were left out, as erased before the announcement."""
    erased_later: dict[str, int]
    """Stream of a signature → position of the erasure that came after the announcement."""
    submitted: Event


class Checked(msgspec.Struct, frozen=True):
    """One signature of the sample."""

    position: int
    verdict: str
    """``genuine`` or ``wrong``."""
    reason: str | None = None


class EvidenceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the sample shows."""

    petition: str
    evidence: str
    """The stream that everybody can read: who looked, how the sample was drawn, what was opened."""
    asked_at: int
    root: str
    signatures: int
    """From how many the sample was drawn: those not erased before the announcement."""
    checked: list[Checked]
    genuine: int
    erased: int
    """Signatures that the log said to be erased before the announcement: nothing is known of them."""
    wrong: int
    confidence: float
    at_most: float | None
    """With that confidence the evidence of fewer than this part of ``signatures`` does not verify; None if
    nothing was seen."""
    limits: str = LIMITS

    @property
    def exit_code(self) -> int:
        """0 nothing wrong, 1 something is, 2 nothing could be seen."""
        return 1 if self.wrong else 0 if self.genuine else 2

    def to_json(self) -> bytes:
        """One JSON object."""
        fields = {"format": "aiqyn-evidence/v1"} | msgspec.structs.asdict(self)
        return msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n"


def at_most(wrong: int, seen: int, confidence: float = CONFIDENCE) -> float:
    """The upper bound of a part, from ``wrong`` in a random sample of ``seen`` (Clopper-Pearson, one-sided).

    With probability ``confidence`` or more, the true part is below it. Without anything wrong it is
    ``1 - (1 - confidence) ** (1 / seen)``: 0.994 % for 300.
    """
    if not 0 <= wrong <= seen or seen < 1:
        raise ValueError(f"{wrong} of {seen} is no sample")
    if wrong == seen:
        return 1.0
    low, high = wrong / seen, 1.0
    while low < (middle := (low + high) / 2) < high:
        if _at_most_wrong(wrong, seen, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most_wrong(wrong: int, seen: int, part: float) -> float:
    """Probability of ``wrong`` or fewer in a sample, where this part is."""
    # By logarithms: the single terms may be smaller than any number.
    all_ways = math.lgamma(seen + 1)
    return math.fsum(
        math.exp(
            all_ways - math.lgamma(k + 1) - math.lgamma(seen - k + 1)
            + k * math.log(part) + (seen - k) * math.log1p(-part)
        )
        for k in range(wrong + 1)
    )  # fmt: skip


@dataclass
class Look:
    """One look at the evidence, from announcement to report; may be carried on after any interruption."""

    url: str
    petition: str
    token: str = field(repr=False)
    log_key: VerifierKey
    trust: TrustStore
    folder: Path
    sample: int = 300
    policy: Policy | None = None
    """Who must have cosigned the checkpoint."""
    patience: float = 120.0
    """Seconds to wait for such a checkpoint."""
    progress: Callable[[str, int, int], None] = lambda what, done, total: None

    def run(self) -> EvidenceReport:
        """Everything.

        Raises :class:`EvidenceRefusedError`, :class:`SampleDisputedError` or ``SourceError``.
        """
        source = HttpSource(self.url)
        client = httpx.Client(
            base_url=self.url.rstrip("/"),
            timeout=60.0,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        try:
            state = self._state()
            commitment = hashlib.sha256(bytes.fromhex(state.secret)).hexdigest()
            if state.id is None or state.asked_at is None:
                asked = {"petition": self.petition, "sample": state.sample, "commitment": commitment}
                recorded = self._post(client, "/v1/evidence", asked, key=f"ask-{commitment[:32]}")
                state.id = str(recorded["stream"]).removeprefix("evidence/")
                state.asked_at = int(recorded["position"])
                self._save(state)
            log = self._read_log(source, state, commitment)
            secret = bytes.fromhex(state.secret)
            numbers = draw(secret, log.root, len(log.positions), state.sample)
            chosen = [log.positions[number] for number in numbers]
            self._keep(state, log, chosen)
            if not state.drawn:
                self._draw(client, state, log.root, len(log.positions))
            self._open(client, state, chosen)
            statements = self._statements(client, log.submitted)
            leaves = [log.leaves[n * HASH_SIZE : (n + 1) * HASH_SIZE] for n in numbers]
            checked = [
                self._check(position, leaf, state, statements, log.erased_later)
                for position, leaf in zip(chosen, leaves, strict=True)
            ]
            return self._report(state, log, checked)
        finally:
            client.close()
            source.close()

    # --- what was done -----------------------------------------------------------------------------

    def _state(self) -> _State:
        path = self.folder / _STATE
        try:
            state = msgspec.json.decode(path.read_bytes(), type=_State)
        except FileNotFoundError:
            self.folder.mkdir(parents=True, exist_ok=True)
            state = _State(self.url, self.petition, self.sample, secrets.token_bytes(32).hex())
            self._save(state)
            return state
        except msgspec.MsgspecError as error:
            raise EvidenceRefusedError(f"{path} cannot be read: {error}. Choose another folder.") from error
        if (state.url, state.petition) != (self.url, self.petition):
            raise EvidenceRefusedError(
                f"{self.folder} holds a look at petition {state.petition} of {state.url}: "
                "choose another folder."
            )
        return state

    def _save(self, state: _State) -> None:
        path = self.folder / _STATE
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def _keep(self, state: _State, log: _Log, chosen: list[int]) -> None:
        """What the log gave before the secret was shown it must give ever after."""
        now = (log.root.hex(), len(log.positions), chosen)
        if state.note is None:
            state.note = log.note.decode("utf-8")
            state.root, state.signatures, state.chosen = now
            self._save(state)
        elif (state.root, state.signatures, state.chosen) != now:
            raise SampleDisputedError(
                f"The log gave the root {state.root} over {state.signatures} signatures before the secret "
                f"was shown, and gives {now[0]} over {now[1]} now. Keep {self.folder}: the checkpoint in it "
                "is signed by the log."
            )

    # --- the ledger --------------------------------------------------------------------------------

    def _post(
        self, client: httpx.Client, path: str, body: dict[str, Any], *, key: str | None = None
    ) -> dict[str, Any]:
        try:
            answer = client.post(path, json=body, headers={"Idempotency-Key": key} if key else {})
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise SourceError(f"{self.url}{path} could not be asked: {error}.") from error
        if answer.status_code >= 400:
            said = document.get("detail") or document.get("title") if isinstance(document, dict) else None
            raise EvidenceRefusedError(
                f"{path} answers {answer.status_code}: {said}", status=answer.status_code
            )
        if not isinstance(document, dict):
            raise EvidenceRefusedError(f"{path} answers no object.")
        return document

    def _read_log(self, source: HttpSource, state: _State, commitment: str) -> _Log:
        """The petition's signatures up to the announcement, and the root over everything up to there.

        Everything is read up to a checkpoint that the log signed, and a quorum cosigned: so it is their log
        that the root belongs to. It must go on from the checkpoint by which it was read before.
        """
        asked_at = state.asked_at
        if asked_at is None:
            raise ValueError("nothing was announced")
        before = None
        if state.note is not None:
            before = open_checkpoint(state.note.encode("utf-8"), self.log_key).checkpoint
        note, checkpoint = self._checkpoint(source, max(asked_at + 1, before.size if before else 0))
        tree = Tree()
        root = root_before = b""
        positions, leaves, names = array("Q"), bytearray(), bytearray()
        erased: dict[bytes, int] = {}
        erased_later: dict[str, int] = {}
        submitted: Event | None = None
        announced: Fact | None = None
        prefix, stream = f"signature/{self.petition}/", f"petition/{self.petition}"
        for bundle in bundles(source, 0, checkpoint.size):
            if bundle.entries_fault is not None:
                raise SourceError(f"The log cannot be read: {bundle.entries_fault[1]}")
            hashes, done = bundle.leaves, 0
            for size in sorted({asked_at + 1, before.size if before else 0, bundle.first + len(hashes)}):
                upto = size - bundle.first
                if done < upto <= len(hashes):
                    tree.extend(hashes[done:upto])
                    done = upto
                    if size == asked_at + 1:
                        root = tree.root()
                    if before is not None and size == before.size:
                        root_before = tree.root()
            for position, opened in enumerate(bundle.entries, bundle.first):
                event = opened.event
                if isinstance(event, AiqynError):
                    raise SampleDisputedError(f"Entry {position} cannot be read: {event}")
                facts = event.facts
                if isinstance(facts, DisclosureErased):
                    if not (facts.data_key and facts.of.startswith(prefix)):
                        continue
                    if not event.stream.startswith(f"erasure/{facts.of}/"):
                        continue
                    if position <= asked_at:
                        erased[_name(facts.of)] = position
                    else:
                        erased_later[facts.of] = position
                if position > asked_at:
                    continue
                if event.stream.startswith(prefix) and isinstance(facts, PetitionSigned):
                    positions.append(position)
                    leaves += hashes[position - bundle.first]
                    names += _name(event.stream)
                elif event.stream == stream and isinstance(event.facts, PetitionSubmitted):
                    submitted = event
                elif position == asked_at:
                    announced = facts
            self.progress("reading the log", tree.size, checkpoint.size)
        if tree.root() != checkpoint.root:
            raise SampleDisputedError(
                "The log's entries do not make the root that was signed: audit it first."
            )
        if before is not None and root_before != before.root:
            raise SampleDisputedError(
                f"The log was signed with another root over its first {before.size} entries when it was read "
                f"before: it was forked. Keep {self.folder}, which holds that checkpoint."
            )
        asked = EvidenceAsked(of=stream, sample=state.sample, commitment=commitment)
        if announced != asked:
            raise SampleDisputedError(f"Entry {asked_at} of the log is not what this auditor announced.")
        if submitted is None:
            raise SampleDisputedError(f"The log up to {asked_at} has no petition {self.petition}.")
        kept = (
            [
                number
                for number, position in enumerate(positions)
                if erased.get(bytes(names[number * _NAME : (number + 1) * _NAME]), -1) < position
            ]
            if erased
            else range(len(positions))
        )
        return _Log(
            note,
            root,
            array("Q", (positions[number] for number in kept)),
            b"".join(leaves[number * HASH_SIZE : (number + 1) * HASH_SIZE] for number in kept),
            len(positions) - len(kept),
            erased_later,
            submitted,
        )

    def _checkpoint(self, source: HttpSource, size: int) -> tuple[bytes, Checkpoint]:
        """A note, and its checkpoint of ``size`` entries or more, waited for while the witnesses cosign."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                note = read_checkpoint(source)
                if self.policy is not None:
                    found = self.policy.verify(note, log=self.log_key).checkpoint
                else:
                    found = open_checkpoint(note, self.log_key).checkpoint
                if found.size >= size:
                    return note, found
                why = f"the newest checkpoint has {found.size} entries, {size} are needed"
            except NotServedError as missing:
                why = str(missing)
            if time.monotonic() >= deadline:
                raise SourceError(
                    f"No signed checkpoint covers the announcement yet: {why}. Repeat this later: it goes on."
                )
            time.sleep(1.0)

    def _draw(self, client: httpx.Client, state: _State, root: bytes, signatures: int) -> None:
        drawn = self._post(
            client, f"/v1/evidence/{state.id}/draw", {"secret": state.secret}, key=f"draw-{state.id}"
        )
        ours = {"root": root.hex(), "signatures": signatures, "asked_at": state.asked_at}
        said = open_event(str(drawn["receipt"]["event"]).encode("ascii")).facts
        theirs = {name: getattr(said, name, None) for name in ours}
        if theirs != ours:
            raise SampleDisputedError(
                f"The ledger draws from {theirs}, but its log gives {ours}: an audit will show where.",
                **{f"said_{name}": value for name, value in theirs.items()},
            )
        state.drawn = True
        self._save(state)

    def _open(self, client: httpx.Client, state: _State, chosen: Sequence[int]) -> None:
        missing = [position for position in chosen if position not in state.opened]
        for start in range(0, len(missing), _CHUNK):
            wanted = missing[start : start + _CHUNK]
            answer = self._post(client, f"/v1/evidence/{state.id}/openings", {"positions": wanted})
            try:
                shown = {
                    int(item["position"]): (
                        str(item["entry"]), [str(one) for one in item["disclosures"]], bool(item["erased"]),
                    )
                    for item in answer["items"]
                }  # fmt: skip
            except (KeyError, TypeError, ValueError) as error:
                raise EvidenceRefusedError(f"The openings cannot be read: {error!r}.") from error
            state.opened |= {position: shown[position] for position in wanted if position in shown}
            self._save(state)
            self.progress("opening", len(chosen) - len(missing) + start + len(wanted), len(chosen))

    def _statements(self, client: httpx.Client, submitted: Event) -> dict[str, bytes]:
        """What was to be signed, by language, from the petition's own text as its author signed it."""
        try:
            document = client.get(f"/v1/petitions/{self.petition}").json()
            title, text = str(document["title"]), str(document["text"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise SourceError(f"The petition's text could not be read: {error!r}.") from error
        facts = submitted.facts
        hashed = wording.text_hash(title, text)
        if not isinstance(facts, PetitionSubmitted) or facts.text_hash != hashed:
            raise SampleDisputedError("The petition's text is not the one that its author signed.")
        return {
            lang: wording.statement("sign", self.petition, title, hashed, lang) for lang in get_args(Language)
        }

    # --- the verdict -------------------------------------------------------------------------------

    def _check(
        self,
        position: int,
        leaf: bytes,
        state: _State,
        statements: dict[str, bytes],
        erased_later: dict[str, int],
    ) -> Checked:
        if position not in state.opened:
            return Checked(position, "wrong", "The ledger did not open it.")
        entry, encoded, claimed = state.opened[position]
        try:
            raw = entry.encode("ascii")
            if leaf_hash(raw) != leaf:
                return Checked(position, "wrong", "The ledger shows another entry than its log holds there.")
            event = open_event(raw)
            disclosures = tuple(Disclosure.parse(one) for one in encoded)
            event.check_disclosures(disclosures, complete=False)
            values = disclosed(disclosures)
            if not isinstance(event.facts, PetitionSigned) or not event.stream.startswith(
                f"signature/{self.petition}/"
            ):
                return Checked(position, "wrong", "It is no signature of this petition.")
            if not {"cms", "iin", "full_name"} <= values.keys():
                return Checked(position, "wrong", _missing(erased_later.get(event.stream), claimed))
            signer = verify(
                b64url_decode(str(values["cms"])),
                content=statements[event.facts.lang],
                trust=self.trust,
                at=datetime.fromtimestamp(event.iat, UTC),
            )
        except (EdsError, AiqynError, ValueError) as error:
            return Checked(position, "wrong", str(error))
        person = signer.person
        if (person.iin, person.full_name) != (values["iin"], values["full_name"]):
            return Checked(position, "wrong", "The certificate names another person than the ledger.")
        if "name" in values and values["name"] != person.masked_name:
            return Checked(position, "wrong", "The public name is not that of the certificate.")
        return Checked(position, "genuine")

    def _report(self, state: _State, log: _Log, checked: list[Checked]) -> EvidenceReport:
        checked = _without_twins(checked, state)
        counts = {word: sum(one.verdict == word for one in checked) for word in ("genuine", "wrong")}
        signatures = len(log.positions)
        seen = counts["genuine"] + counts["wrong"]
        everything = seen == signatures
        bound = None
        if everything and signatures:
            bound = counts["wrong"] / signatures
        elif seen:
            bound = at_most(counts["wrong"], seen)
        return EvidenceReport(
            petition=self.petition,
            evidence=f"evidence/{state.id}",
            asked_at=state.asked_at or 0,
            root=log.root.hex(),
            signatures=signatures,
            erased=log.erased,
            checked=checked,
            confidence=1.0 if everything else CONFIDENCE,
            at_most=bound,
            genuine=counts["genuine"],
            wrong=counts["wrong"],
        )


def _name(stream: str) -> bytes:
    """A stream's name, so short that a million of them fit."""
    return hashlib.sha256(stream.encode("utf-8")).digest()[:_NAME]


def _missing(erased_at: int | None, claimed: bool) -> str:
    """Why there is no CMS, as far as the log says so."""
    if erased_at is not None:
        return f"It was erased after it was drawn: entry {erased_at} says so."
    if claimed:
        return "The ledger says that it was erased, but its log does not."
    return "The ledger shows no CMS for it."


def _without_twins(checked: list[Checked], state: _State) -> list[Checked]:
    """One person signs once: a second signature of the same IIN in the sample is wrong."""
    seen: dict[str, int] = {}
    found = []
    for one in checked:
        if one.verdict == "genuine":
            _, encoded, _ = state.opened[one.position]
            iin = str(disclosed(Disclosure.parse(text) for text in encoded)["iin"])
            first = seen.setdefault(iin, one.position)
            if first != one.position:
                reason = f"The same person signed at position {first} already."
                found.append(Checked(one.position, "wrong", reason))
                continue
        found.append(one)
    return found
