"""The evidence behind a random sample of a petition's signatures, checked without trusting anybody.

The log is read up to the announcement, and its root recomputed; from that root and the auditor's own secret
follows which signatures are looked at. Each one's CMS is verified against the certificate authority, over the
very statement that the petition's text gives; and then it is said what this proves of all the others.

What was done is kept in a folder, so that an interruption costs nothing: the secret above all.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import time
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
from ledger.events import EvidenceAsked, Fact, Language, PetitionSigned, PetitionSubmitted
from ledger.sample import draw
from ledger.statement import Disclosure, Event, disclosed, open_event
from ledger.tlog.checkpoint import Checkpoint, open_checkpoint
from ledger.tlog.note import VerifierKey
from ledger.tlog.policy import Policy

CONFIDENCE = 0.95
_CHUNK = 50
_STATE = "evidence.json"


class EvidenceRefusedError(AiqynError):
    """The ledger does not let this auditor look, or answers otherwise than it promises."""

    code = "evidence-refused"
    title = "The ledger does not open the evidence"


class SampleDisputedError(AiqynError):
    """The ledger says another root or another number of signatures than its own log gives."""

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
    drawn: bool = False
    opened: dict[int, tuple[str, list[str], bool]] = {}
    """Position → entry, disclosures, whether they were erased."""


class Checked(msgspec.Struct, frozen=True):
    """One signature of the sample."""

    position: int
    verdict: str
    """``genuine``, ``erased``, or ``wrong``."""
    reason: str | None = None


class EvidenceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the sample shows."""

    petition: str
    evidence: str
    """The stream that everybody can read: who looked, how the sample was drawn, what was opened."""
    asked_at: int
    root: str
    signatures: int
    """From how many the sample was drawn."""
    checked: list[Checked]
    genuine: int
    erased: int
    wrong: int
    confidence: float
    at_most: float | None
    """With that confidence fewer than this part of all are not genuine; None if nothing was seen."""

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
            root, positions, submitted = self._read_log(source, state.asked_at, commitment)
            chosen = [
                positions[index]
                for index in draw(bytes.fromhex(state.secret), root, len(positions), state.sample)
            ]
            if not state.drawn:
                self._draw(client, state, root, len(positions))
            self._open(client, state, chosen)
            statements = self._statements(client, submitted)
            checked = [self._check(position, state, statements) for position in chosen]
            return self._report(state, root, len(positions), checked)
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

    def _read_log(self, source: HttpSource, asked_at: int, commitment: str) -> tuple[bytes, list[int], Event]:
        """Root over everything up to the announcement, the petition's signatures in it, and its beginning.

        Everything is read up to a checkpoint that the log signed, and a quorum cosigned: so it is their log
        that the root belongs to.
        """
        checkpoint = self._checkpoint(source, asked_at + 1)
        tree = Tree()
        root = b""
        positions: list[int] = []
        submitted: Event | None = None
        announced: Fact | None = None
        prefix, stream = f"signature/{self.petition}/", f"petition/{self.petition}"
        for bundle in bundles(source, 0, checkpoint.size):
            if bundle.entries_fault is not None:
                raise SourceError(f"The log cannot be read: {bundle.entries_fault[1]}")
            cut = min(max(asked_at + 1 - bundle.first, 0), len(bundle.leaves))
            tree.extend(bundle.leaves[:cut])
            if tree.size == asked_at + 1 and not root:
                root = tree.root()
            tree.extend(bundle.leaves[cut:])
            for position, opened in enumerate(bundle.entries, bundle.first):
                event = opened.event
                if isinstance(event, AiqynError):
                    raise SampleDisputedError(f"Entry {position} cannot be read: {event}")
                if position > asked_at:
                    break
                if event.stream.startswith(prefix) and isinstance(event.facts, PetitionSigned):
                    positions.append(position)
                elif event.stream == stream and isinstance(event.facts, PetitionSubmitted):
                    submitted = event
                elif position == asked_at:
                    announced = event.facts
            self.progress("reading the log", tree.size, checkpoint.size)
        if tree.root() != checkpoint.root:
            raise SampleDisputedError(
                "The log's entries do not make the root that was signed: audit it first."
            )
        if not isinstance(announced, EvidenceAsked) or announced.commitment != commitment:
            raise SampleDisputedError(f"Entry {asked_at} of the log is not what this auditor announced.")
        if submitted is None:
            raise SampleDisputedError(f"The log up to {asked_at} has no petition {self.petition}.")
        return root, positions, submitted

    def _checkpoint(self, source: HttpSource, size: int) -> Checkpoint:
        """One that covers ``size`` entries, waited for while the witnesses cosign."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                note = read_checkpoint(source)
                if self.policy is not None:
                    found = self.policy.verify(note, log=self.log_key).checkpoint
                else:
                    found = open_checkpoint(note, self.log_key).checkpoint
                if found.size >= size:
                    return found
                why = f"the newest checkpoint has {found.size} entries, the announcement needs {size}"
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
            for item in answer.get("items", []):
                state.opened[int(item["position"])] = (
                    str(item["entry"]), [str(one) for one in item["disclosures"]], bool(item["erased"]),
                )  # fmt: skip
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

    def _check(self, position: int, state: _State, statements: dict[str, bytes]) -> Checked:
        if position not in state.opened:
            return Checked(position, "wrong", "The ledger did not open it.")
        entry, encoded, erased = state.opened[position]
        try:
            event = open_event(entry.encode("ascii"))
            if erased:
                return Checked(position, "erased", None)
            disclosures = tuple(Disclosure.parse(one) for one in encoded)
            event.check_disclosures(disclosures, complete=False)
            values = disclosed(disclosures)
            if not isinstance(event.facts, PetitionSigned) or not event.stream.startswith(
                f"signature/{self.petition}/"
            ):
                return Checked(position, "wrong", "It is no signature of this petition.")
            if not {"cms", "iin", "full_name"} <= values.keys():
                return Checked(position, "wrong", "The ledger shows no CMS for it.")
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

    def _report(self, state: _State, root: bytes, signatures: int, checked: list[Checked]) -> EvidenceReport:
        checked = _without_twins(checked, state)
        counts = {
            word: sum(one.verdict == word for one in checked) for word in ("genuine", "erased", "wrong")
        }
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
            root=root.hex(),
            signatures=signatures,
            checked=checked,
            confidence=1.0 if everything else CONFIDENCE,
            at_most=bound,
            **counts,
        )


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
