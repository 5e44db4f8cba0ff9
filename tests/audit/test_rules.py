"""Each rule has a history that breaks it, and the exact position is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

import audit
from audit.findings import KEPT_PER_RULE
from audit.rules import RULES
from ledger import events
from ledger.domain import terms
from ledger.encoding import b64url
from ledger.keys import SigningKey
from ledger.tlog.merkle import leaf_hash
from tests.audit import appeal_cases, assurance_cases
from tests.audit.log_builder import (
    BODY,
    CROWD,
    MODERATOR,
    NAMES,
    OPERATOR,
    REQUIRED,
    LogBuilder,
    nullifier,
    petition_id,
)

Broken = tuple[LogBuilder, int]
"""A log, and the position at which it breaks the rule."""
CASES: list[tuple[str, Callable[[], Broken]]] = []


def breaks(rule: str):
    def enter(case: Callable[[], Broken]):
        CASES.append((rule, case))
        return case

    return enter


def log() -> LogBuilder:
    return LogBuilder().begin()


def ended(builder: LogBuilder) -> LogBuilder:
    builder.now += timedelta(days=200)
    return builder


AKIMAT = events.OrganisationRegistered(kind="akimat", level="oblast", names=NAMES, population=5100)


def considered() -> LogBuilder:
    builder = log().collecting(1, required=3)
    reached = builder.sign(1, 3)
    builder.support(1, reached, required=3)
    builder.sign(1, 4)
    builder.step(1, events.PetitionRouted(body=BODY))
    until = terms.consider_until(builder.next, AKIMAT)
    builder.step(1, events.PetitionRegistered(number="7", consider_until=until))
    return builder


def discussed() -> LogBuilder:
    builder = considered()
    builder.step(1, events.PetitionWorkingGroupFormed(members=5, author_invited=True))
    until = terms.discuss_until(builder.next)
    builder.step(1, events.PetitionDraftPublished(outcome="satisfied", discuss_until=until))
    return builder


def decided() -> LogBuilder:
    builder = discussed()
    builder.step(1, events.PetitionDecided(outcome="satisfied"))
    return builder


@breaks("entry-format")
def bytes_that_are_no_event():
    builder = log()
    builder.entries.append(b"no event")
    return builder, builder.size - 1


@breaks("issuer")
def a_moderator_who_signs_for_a_citizen():
    builder = log().collecting(1)
    return builder, builder.sign(1, 3, iss=MODERATOR, key=builder.moderator)


@breaks("issuer")
def a_key_that_was_never_registered():
    builder = log().collecting(1)
    return builder, builder.sign(1, 3, key=SigningKey.generate())


@breaks("issuer")
def a_key_that_was_revoked():
    builder = log().collecting(1)
    builder.add(OPERATOR, events.OrganisationKeyRevoked(kid=builder.gateway.kid, reason="compromised"))
    return builder, builder.sign(1, 3)


@breaks("issuer")
def a_key_used_before_it_was_registered():
    builder = log().collecting(1)
    late = SigningKey.generate()
    position = builder.sign(1, 3, key=late)
    builder.register_key(OPERATOR, late, "gateway")
    builder.sign(1, 4, key=late)
    return builder, position


@breaks("issuer")
def a_log_that_does_not_begin_with_its_operator():
    builder = LogBuilder()
    return builder, builder.add(
        BODY, events.OrganisationRegistered(kind="akimat", level="oblast", names=NAMES)
    )


@breaks("event-signature")
def a_signature_over_other_bytes():
    builder = log().collecting(1)
    position = builder.sign(1, 3)
    other, _ = builder.seal("signature/x/" + nullifier(9), events.PetitionSigned(lang="ru", algorithm="RSA"))
    head, body, _ = builder.entries[position].split(b".")
    builder.entries[position] = b".".join((head, body, other.entry.split(b".")[2]))
    return builder, position


@breaks("stream-order")
def a_version_left_out():
    builder = log()
    builder.submit(1)
    return builder, builder.step(1, events.PetitionRejected(ground="unclear"), n=3)


@breaks("stream-order")
def a_version_used_twice():
    builder = log()
    builder.submit(1)
    builder.step(1, events.PetitionRejected(ground="unclear"))
    return builder, builder.step(1, events.PetitionOverdue(step="moderation", due=builder.now), n=2)


@breaks("time-order")
def a_stream_that_goes_back_in_time():
    builder = log().collecting(1)
    return builder, builder.withdraw(1, 1, at=builder.now - timedelta(seconds=60))


@breaks("time-order")
def an_event_far_behind_the_log():
    builder = log().collecting(1)
    builder.sign(1, 4, at=builder.now - timedelta(minutes=119))  # clocks may be an hour off
    return builder, builder.sign(1, 3, at=builder.now - timedelta(minutes=121))


@breaks("organisation")
def a_role_that_the_kind_does_not_have():
    builder = log()
    return builder, builder.register_key(BODY, SigningKey.generate(), "gateway")


@breaks("organisation")
def a_key_of_an_unknown_organisation():
    builder = log()
    return builder, builder.register_key("organisation/nobody", SigningKey.generate(), "body")


@breaks("organisation")
def a_key_that_is_none():
    builder = log()
    facts = events.OrganisationKeyRegistered(key="A" * 43, roles=("body",), custody="own")
    return builder, builder.add(BODY, facts)


@breaks("organisation")
def a_key_registered_twice():
    builder = log()
    return builder, builder.register_key(BODY, builder.body, "body")


@breaks("organisation")
def an_organisation_registered_twice():
    builder = log()
    facts = events.OrganisationRegistered(kind="akimat", level="oblast", names=NAMES)
    return builder, builder.add(BODY, facts)


@breaks("organisation")
def a_second_operator():
    builder = log()
    facts = events.OrganisationRegistered(
        kind="operator", level="republic", names=NAMES, root_key=SigningKey.generate().public_key
    )
    return builder, builder.add("organisation/usurper", facts)


@breaks("organisation")
def a_revocation_of_an_unknown_key():
    builder = log()
    facts = events.OrganisationKeyRevoked(kid=SigningKey.generate().kid, reason="retired")
    return builder, builder.add(BODY, facts)


@breaks("petition-law")
def a_petition_admitted_without_having_been_submitted():
    builder = log()
    return builder, builder.admit(1)


@breaks("petition-law")
def a_petition_submitted_twice():
    builder = log()
    builder.submit(1)
    return builder, builder.submit(1)


@breaks("petition-law")
def a_decision_without_consideration():
    builder = log().collecting(1)
    return builder, builder.step(1, events.PetitionDecided(outcome="refused"))


@breaks("petition-law")
def support_announced_twice():
    builder = log().collecting(1, people=(1, 2, 3), required=3)
    published = builder.size - 1
    builder.support(1, published, required=3)
    return builder, builder.support(1, published, required=3)


# --- terms, numbers and bodies that the law gives ----------------------------------------------

DAY = timedelta(days=1)
ONE = f"petition/{petition_id(1)}"


@breaks("petition-law")
def a_moderation_that_may_last_too_long():
    builder = log()
    facts = events.PetitionSubmitted(
        body=BODY,
        lang="kk",
        text_hash="0" * 64,
        author=nullifier(0),
        algorithm="RSA-SHA256",
        moderate_until=terms.moderate_until(builder.next) + DAY,
    )
    return builder, builder.add(ONE, facts)


@breaks("petition-law")
def a_petition_to_somebody_who_answers_none():
    builder = log()
    facts = events.PetitionSubmitted(
        body=OPERATOR,
        lang="kk",
        text_hash="0" * 64,
        author=nullifier(0),
        algorithm="RSA-SHA256",
        moderate_until=terms.moderate_until(builder.next),
    )
    return builder, builder.add(ONE, facts)


@breaks("petition-law")
def a_limited_stage_that_is_too_short():
    builder = log()
    builder.submit(1)
    until = terms.limited_until(builder.next) - DAY
    return builder, builder.step(1, events.PetitionAdmitted(needed=50, limited_until=until))


@breaks("petition-law")
def a_limited_stage_that_asks_for_more():
    builder = log()
    builder.submit(1)
    return builder, builder.admit(1, needed=51)


@breaks("petition-law")
def a_collection_a_second_longer_than_the_law_gives():
    builder = log().limited(1)
    until = terms.collect_until(builder.next) + timedelta(seconds=1)
    facts = events.PetitionPublished(
        required=CROWD + REQUIRED, collect_until=until, population=builder.population
    )
    return builder, builder.step(1, facts)


def published_with(**wrong) -> Broken:
    builder = log().limited(1)
    fields = {
        "required": CROWD + REQUIRED,
        "collect_until": terms.collect_until(builder.next),
        "population": builder.population,
    }
    return builder, builder.step(1, events.PetitionPublished(**fields | wrong))


@breaks("petition-law")
def a_threshold_above_the_laws():
    return published_with(required=CROWD + REQUIRED + 1)


@breaks("petition-law")
def a_threshold_that_is_a_share_of_other_people():
    return published_with(population=5399)


@breaks("petition-law")
def a_threshold_that_hides_what_it_is_a_share_of():
    return published_with(population=None)


def supported() -> LogBuilder:
    builder = log().collecting(1, required=3)
    builder.support(1, builder.sign(1, 3), required=3)
    return builder


@breaks("petition-law")
def a_petition_sent_to_somebody_who_answers_none():
    builder = supported()
    return builder, builder.step(1, events.PetitionRouted(body=OPERATOR))


@breaks("petition-law")
def a_consideration_a_day_too_long():
    builder = supported()
    builder.step(1, events.PetitionRouted(body=BODY))
    until = terms.consider_until(builder.next, AKIMAT) + DAY
    return builder, builder.step(1, events.PetitionRegistered(number="7", consider_until=until))


@breaks("petition-law")
def a_petition_taken_by_a_body_that_it_was_not_sent_to():
    builder = supported()
    builder.step(1, events.PetitionRouted(body=MODERATOR))
    until = terms.consider_until(builder.next, AKIMAT)
    return builder, builder.step(1, events.PetitionRegistered(number="7", consider_until=until))


@breaks("petition-law")
def a_draft_without_a_working_group():
    builder = considered()
    until = terms.discuss_until(builder.next)
    return builder, builder.step(1, events.PetitionDraftPublished(outcome="refused", discuss_until=until))


@breaks("petition-law")
def a_working_group_without_the_author():
    builder = considered()
    return builder, builder.step(1, events.PetitionWorkingGroupFormed(members=5, author_invited=False))


@breaks("petition-law")
def a_discussion_a_day_too_short():
    builder = considered()
    builder.step(1, events.PetitionWorkingGroupFormed(members=5, author_invited=True))
    until = terms.discuss_until(builder.next) - DAY
    return builder, builder.step(1, events.PetitionDraftPublished(outcome="refused", discuss_until=until))


@breaks("petition-law")
def a_decision_that_nobody_could_discuss():
    builder = considered()
    builder.step(1, events.PetitionWorkingGroupFormed(members=5, author_invited=True))
    return builder, builder.step(1, events.PetitionDecided(outcome="refused"))


@breaks("petition-law")
def a_term_said_to_be_over_before_it_is():
    builder = log()
    builder.submit(1)
    due = terms.moderate_until(builder.now)
    return builder, builder.step(1, events.PetitionOverdue(step="moderation", due=due))


@breaks("petition-law")
def a_support_withdrawn_by_its_author():
    builder = supported()
    return builder, builder.step(1, events.PetitionWithdrawn(algorithm="RSA-SHA256"))


@breaks("organisation")
def a_key_that_comes_back_after_it_was_revoked():
    builder = log()
    builder.add(BODY, events.OrganisationKeyRevoked(kid=builder.body.kid, reason="compromised"))
    return builder, builder.register_key(BODY, builder.body, "body")


@breaks("organisation")
def a_key_revoked_twice():
    builder = log()
    facts = events.OrganisationKeyRevoked(kid=builder.body.kid, reason="retired")
    builder.add(BODY, facts)
    return builder, builder.add(BODY, facts)


@breaks("organisation")
def the_last_key_that_can_register_others_revoked():
    builder = log()
    facts = events.OrganisationKeyRevoked(kid=builder.root.kid, reason="retired")
    return builder, builder.add(OPERATOR, facts)


@breaks("organisation")
def a_key_under_which_anybody_can_sign():
    builder = log()
    identity = b64url((1).to_bytes(32, "little"))
    facts = events.OrganisationKeyRegistered(key=identity, roles=("body",), custody="own")
    return builder, builder.add(BODY, facts)


@breaks("publication")
def a_petition_published_with_too_few_signatures():
    builder = log()
    builder.submit(1)
    builder.admit(1)
    for person in range(49):
        builder.sign(1, person)
    return builder, builder.publish(1)


@breaks("threshold")
def support_at_the_wrong_signature():
    builder = log().collecting(1, required=3)
    reached = builder.sign(1, 3)
    builder.sign(1, 4)
    return builder, builder.support(1, reached + 1, required=3)


@breaks("threshold")
def support_with_another_threshold():
    builder = log().collecting(1, required=3)
    reached = builder.sign(1, 3)
    return builder, builder.support(1, reached, required=2)


@breaks("threshold")
def support_that_was_never_reached():
    builder = log().collecting(1, required=3)
    builder.withdraw(1, 1)
    reached = builder.sign(1, 3)
    return builder, builder.support(1, reached, required=3)


@breaks("closing")
def an_end_before_its_time():
    builder = log().collecting(1)
    return builder, builder.end(1, 2, builder.size - 1)


@breaks("closing")
def an_end_with_the_wrong_count():
    builder = ended(log().collecting(1))
    return builder, builder.end(1, 3, builder.size - 1)


@breaks("closing")
def an_end_that_counts_itself():
    builder = ended(log().collecting(1))
    return builder, builder.end(1, 2, builder.size)


@breaks("closing")
def an_end_that_leaves_out_the_last_signature():
    builder = log().collecting(1)
    builder.sign(1, 3)
    ended(builder)
    return builder, builder.end(1, 2, builder.size - 2)


@breaks("closing")
def an_end_of_a_petition_that_reached_its_threshold():
    builder = log().collecting(1, required=3)
    builder.sign(1, 3)
    builder.withdraw(1, 3)
    ended(builder)
    return builder, builder.end(1, 2, builder.size - 1, required=3)


@breaks("closing")
def a_lapse_with_the_wrong_count():
    builder = log()
    builder.submit(1)
    builder.admit(1)
    ended(builder)
    return builder, builder.step(1, events.PetitionLapsed(count=1, as_of=builder.size - 1))


@breaks("signature-open")
def a_signature_before_the_petition_was_admitted():
    builder = log()
    builder.submit(1)
    return builder, builder.sign(1, 1)


@breaks("signature-open")
def a_signature_after_the_end():
    builder = ended(log().collecting(1))
    return builder, builder.sign(1, 3)


@breaks("signature-open")
def a_signature_on_nothing():
    builder = log()
    return builder, builder.sign(7, 1)


@breaks("signature-open")
def a_signature_stream_without_a_nullifier():
    builder = log().collecting(1)
    facts = events.PetitionSigned(lang="kk", algorithm="RSA-SHA256")
    return builder, builder.add(f"signature/{petition_id(1)}/short", facts)


@breaks("signature-once")
def a_person_who_signs_twice():
    builder = log().collecting(1)
    return builder, builder.sign(1, 1)


@breaks("signature-once")
def a_person_who_signs_again_after_withdrawing():
    builder = log().collecting(1)
    builder.withdraw(1, 1)
    return builder, builder.sign(1, 1)


@breaks("signature-once")
def a_removal_of_what_was_never_given():
    builder = log().collecting(1)
    return builder, builder.void(1, 9)


@breaks("signature-once")
def a_signature_removed_twice():
    builder = log().collecting(1)
    builder.withdraw(1, 1)
    return builder, builder.void(1, 1)


CASES += appeal_cases.CASES
CASES += assurance_cases.CASES


@pytest.mark.parametrize(("rule", "case"), [pytest.param(*case, id=case[1].__name__) for case in CASES])
def test_a_broken_rule_is_found_at_the_exact_position(rule, case, tmp_path):
    builder, position = case()
    report = audit.run(builder.write(tmp_path), log_key=builder.vkey)
    found = [(finding.rule, finding.position) for finding in report.findings]
    assert (rule, position) in found
    assert all(at == position for _, at in found), "nothing else is accused"
    assert report.exit_code == 1


def test_each_rule_has_a_history_that_breaks_it():
    assert {rule.name for rule in RULES} <= {rule for rule, _ in CASES}


def test_an_appeals_whole_life_breaks_no_rule(tmp_path):
    builder = appeal_cases.a_lawful_life()
    report = audit.run(builder.write(tmp_path), log_key=builder.vkey)
    assert [(finding.rule, finding.position, finding.reason) for finding in report.findings] == []


def test_digests_erasures_and_looks_at_the_evidence_break_no_rule(tmp_path):
    builder = assurance_cases.lawful()
    report = audit.run(builder.write(tmp_path), log_key=builder.vkey)
    assert [(finding.rule, finding.position, finding.reason) for finding in report.findings] == []
    first, second = report.evidence
    assert (first["sample"], first["drawn"], first["opened"]) == (10, True, 10)
    assert (second["sample"], second["drawn"], second["opened"]) == (1000, False, 0)


def test_a_petitions_whole_life_breaks_no_rule(tmp_path):
    builder = decided()
    builder.submit(2)
    builder.admit(2)
    builder.submit(3)
    builder.step(3, events.PetitionWithdrawn(algorithm="RSA-SHA256"))
    builder.collecting(4)
    ended(builder)
    builder.void(4, 1)
    builder.step(2, events.PetitionLapsed(count=0, as_of=builder.size - 1))
    builder.end(4, 1, builder.size - 1)
    report = audit.run(builder.write(tmp_path), log_key=builder.vkey)
    assert (report.status, report.findings) == ("clean", [])


def test_an_auditor_can_add_a_rule(tmp_path):
    builder = log().collecting(1)
    foreign = audit.rules.Rule(
        "no-kk", "No signature in Kazakh.", lambda *_: ["It is in Kazakh."], (events.PetitionSigned,)
    )
    report = audit.run(builder.write(tmp_path), log_key=builder.vkey, more_rules=[foreign])
    assert {finding.rule for finding in report.findings} == {"no-kk"}
    assert report.total == 50


def test_a_flood_of_findings_is_counted_and_cut(tmp_path):
    builder = log().collecting(1)
    for person in range(KEPT_PER_RULE + 7):
        builder.sign(9, person)
    report = audit.run(builder.write(tmp_path), log_key=builder.vkey)
    assert report.omitted == {"signature-once": 0, "signature-open": 7} or report.omitted == {
        "signature-open": 7
    }
    assert report.total == KEPT_PER_RULE + 7


def test_a_rewritten_entry_is_named_although_its_tile_was_rewritten_too(tmp_path):
    """A database's owner changes the entry and its leaf; the nodes above still tell which 256 it is among."""
    builder = log().collecting(1, required=1000)
    for person in range(3, 600):
        builder.sign(1, person)
    folder = builder.write(tmp_path)
    signature, other = builder.entries[300], builder.entries[301]
    bundle_file = folder / "log" / "tile" / "entries" / "001"
    tile_file = folder / "log" / "tile" / "0" / "001"
    # Two signatures change places, with their leaves: each event is valid by itself.
    bundle_file.write_bytes(
        bundle_file.read_bytes()
        .replace(signature, b"#", 1)
        .replace(other, signature, 1)
        .replace(b"#", other, 1)
    )
    a, b = leaf_hash(signature), leaf_hash(other)
    tile_file.write_bytes(tile_file.read_bytes().replace(a, b"#" * 32).replace(b, a).replace(b"#" * 32, b))
    report = audit.run(folder, log_key=builder.vkey)
    places = {finding.rule: (finding.position, finding.last) for finding in report.findings}
    assert places["tile-hash"] == (256, 511)
    assert places["tree-root"] == (0, builder.size - 1)
