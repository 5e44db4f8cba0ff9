"""Digests, erasures and looks at the evidence that no honest service would write, each with its position."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

from ledger import events
from ledger.keys import SigningKey
from ledger.sample import draw
from ledger.tlog.merkle import leaf_hash, root_from_leaves
from tests.audit.log_builder import CROWD, NAMES, OPERATOR, LogBuilder, nullifier, petition_id

COUNCIL, OTHER_COUNCIL = "organisation/council", "organisation/other-council"
LOOK = "evidence/00000000-0000-4000-8000-00000000000e"
SECRET = hashlib.sha256(b"what nobody knows yet").digest()
CASES: list[tuple[str, Callable[[], tuple[LogBuilder, int]]]] = []


def breaks(rule: str):
    def enter(case):
        CASES.append((rule, case))
        return case

    return enter


class AssuredLog(LogBuilder):
    """A petition with 53 signatures, one of them withdrawn, and two councils."""

    def open(self) -> AssuredLog:
        self.begin().collecting(1)
        self.keys = {stream: SigningKey.generate() for stream in (COUNCIL, OTHER_COUNCIL)}
        for stream, key in self.keys.items():
            facts = events.OrganisationRegistered(kind="council", level="republic", names=NAMES)
            self.add(stream, facts)
            self.register_key(stream, key, "auditor")
        for person in (3, 4, 5):
            self.sign(1, person, "75")
        self.withdraw(1, 3)
        return self

    def issuer(self, facts):
        if facts.issuers == {"auditor"}:
            return COUNCIL, self.keys[COUNCIL]
        if isinstance(facts, events.DisclosureErased):
            return OPERATOR, self.clock if facts.ground == "retention" else self.root
        return super().issuer(facts)

    def signed(self, before: int) -> list[int]:
        return [
            position
            for position, stream in enumerate(self.streams[:before])
            if stream.startswith(f"signature/{petition_id(1)}/") and self.facts[position] == "petition.signed"
        ]

    def add(self, stream, facts, **how) -> int:
        position = super().add(stream, facts, **how)
        self.streams = [*getattr(self, "streams", ()), stream]
        self.facts = [*getattr(self, "facts", ()), facts.type]
        return position

    def ask(
        self, sample: int = 10, *, stream: str = LOOK, of: str | None = None, secret: bytes = SECRET
    ) -> int:
        facts = events.EvidenceAsked(
            of=of or f"petition/{petition_id(1)}",
            sample=sample,
            commitment=hashlib.sha256(secret).hexdigest(),
        )
        self.asked_at = self.add(stream, facts)
        return self.asked_at

    def root_hash(self) -> bytes:
        return root_from_leaves(map(leaf_hash, self.entries[: self.asked_at + 1]))

    def draw(self, *, stream: str = LOOK, by: str = COUNCIL, **changed) -> int:
        said = {
            "secret": SECRET.hex(),
            "asked_at": self.asked_at,
            "root": self.root_hash().hex(),
            "signatures": len(self.signed(self.asked_at)),
        }
        return self.add(stream, events.EvidenceDrawn(**said | changed), iss=by, key=self.keys[by])

    def sample(self, sample: int = 10) -> list[int]:
        signed = self.signed(self.asked_at)
        return [signed[index] for index in draw(SECRET, self.root_hash(), len(signed), sample)]

    def show(self, position: int) -> int:
        return self.add(LOOK, events.EvidenceOpened(position=position))

    def erase(self, of: str, **said) -> int:
        fields = {"ground": "demand", "events": self.versions.get(of, 1), "data_key": True} | said
        name = self.size
        return self.add(f"erasure/{of}/{name}", events.DisclosureErased(of=of, **fields))

    def commit(self, as_of: int, *, n: int | None = None) -> int:
        facts = events.ProjectionCommitted(fold=1, as_of=as_of, digest="0" * 64)
        return self.add(f"projection/petitions/{as_of}", facts, n=n)


def log() -> AssuredLog:
    return AssuredLog().open()


def signature(person: int) -> str:
    return f"signature/{petition_id(1)}/{nullifier(person)}"


def lawful() -> AssuredLog:
    """All of it as it should be."""
    builder = log()
    builder.commit(builder.size - 1)
    builder.ask()
    builder.sign(1, 6)
    builder.draw()
    for position in builder.sample():
        builder.show(position)
    builder.ask(1000, stream=f"{LOOK}0", secret=SECRET[::-1])
    builder.erase(signature(3), names=("name",))
    builder.erase(signature(4), names=("name",), data_key=False, ground="court")
    builder.erase(f"petition/{petition_id(1)}", names=("text", "title"), data_key=False, ground="court")
    builder.now += timedelta(days=300)
    builder.end(1, 5, builder.size - 1)
    builder.now += timedelta(days=366 * 12)
    builder.erase(signature(5), names=("name",), ground="retention")
    builder.erase(f"petition/{petition_id(1)}", names=("author",), ground="retention")
    return builder


# --- digests ----------------------------------------------------------------------------------


@breaks("commitment")
def a_digest_of_what_is_still_to_come():
    builder = log()
    return builder, builder.commit(builder.size)


@breaks("commitment")
def a_digest_that_is_changed_later():
    builder = log()
    builder.commit(5)
    return builder, builder.commit(5)


@breaks("commitment")
def a_digest_under_another_position():
    builder = log()
    facts = events.ProjectionCommitted(fold=1, as_of=6, digest="0" * 64)
    return builder, builder.add("projection/petitions/5", facts)


# --- erasures ---------------------------------------------------------------------------------


@breaks("erasure")
def an_erasure_of_what_does_not_exist():
    builder = log()
    return builder, builder.erase(signature(99))


@breaks("erasure")
def an_erasure_that_leaves_the_last_event_out():
    builder = log()
    return builder, builder.erase(signature(3), events=1)


@breaks("erasure")
def an_erasure_of_a_name_that_is_none():
    builder = log()
    return builder, builder.erase(signature(3), names=("nickname",))


@breaks("erasure")
def a_petitions_words_taken_away_on_demand():
    builder = log()
    return builder, builder.erase(f"petition/{petition_id(1)}", names=("text",))


@breaks("erasure")
def an_erasure_before_the_petition_is_over():
    builder = log()
    return builder, builder.erase(signature(3), ground="retention")


@breaks("erasure")
def an_erasure_too_soon_after_the_end():
    builder = log()
    builder.now += timedelta(days=200)
    builder.end(1, 4, builder.size - 1)
    builder.now += timedelta(days=366)
    return builder, builder.erase(signature(4), ground="retention")


@breaks("erasure")
def an_erasure_of_nothing():
    builder = log()
    return builder, builder.erase(signature(3), data_key=False)


@breaks("erasure")
def an_erasure_that_goes_on():
    builder = log()
    builder.erase(signature(3))
    facts = events.DisclosureErased(of=signature(3), events=2, ground="demand", names=("name",))
    return builder, builder.add(f"erasure/{signature(3)}/{builder.size - 1}", facts, n=2)


# --- evidence ---------------------------------------------------------------------------------


@breaks("evidence")
def evidence_of_a_petition_that_nobody_submitted():
    builder = log()
    return builder, builder.ask(of=f"petition/{petition_id(9)}")


@breaks("evidence")
def a_sample_drawn_with_another_secret():
    builder = log()
    builder.ask()
    return builder, builder.draw(secret=SECRET[::-1].hex())


@breaks("evidence")
def a_sample_drawn_from_another_root():
    builder = log()
    builder.ask()
    return builder, builder.draw(root=hashlib.sha256(b"a root that suits me").hexdigest())


@breaks("evidence")
def a_sample_drawn_from_fewer_signatures():
    builder = log()
    builder.ask()
    return builder, builder.draw(signatures=CROWD)


@breaks("evidence")
def a_sample_drawn_as_of_another_entry():
    builder = log()
    builder.ask()
    return builder, builder.draw(asked_at=builder.asked_at - 1)


@breaks("evidence")
def a_sample_drawn_by_somebody_else():
    builder = log()
    builder.ask()
    return builder, builder.draw(by=OTHER_COUNCIL)


@breaks("evidence")
def a_signature_opened_that_was_not_drawn():
    builder = log()
    builder.ask()
    builder.draw()
    chosen = builder.sample()
    builder.show(chosen[0])
    stranger = next(position for position in builder.signed(builder.asked_at) if position not in chosen)
    return builder, builder.show(stranger)


@breaks("evidence")
def an_entry_opened_that_is_no_signature():
    builder = log()
    builder.ask()
    builder.draw()
    return builder, builder.show(0)


@breaks("evidence")
def a_signature_opened_twice():
    builder = log()
    builder.ask()
    builder.draw()
    position = builder.sample()[0]
    builder.show(position)
    return builder, builder.show(position)


@breaks("evidence")
def a_signature_opened_before_the_sample_was_drawn():
    builder = log()
    builder.ask()
    return builder, builder.show(builder.sample()[0])


@breaks("evidence")
def a_secret_that_everybody_knows():
    builder = log()
    builder.ask()
    builder.draw()
    return builder, builder.ask(stream=f"{LOOK}0")
