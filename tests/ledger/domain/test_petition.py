"""The life of a petition, as the law tells it: what may happen when, and within which terms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ledger import events
from ledger.domain import terms
from ledger.domain.aggregate import Issuance, NotAllowedError, happen
from ledger.domain.petition import Petition, PetitionClosedError
from ledger.keys import SigningKey
from ledger.statement import Disclosure, open_event, seal
from ledger.store.mapper import domain_event
from tests.ledger.facts import NAMES

STREAM = "petition/0190a1b2-0000-4000-8000-000000000001"
OPERATOR, MINISTRY, VILLAGE = "organisation/operator", "organisation/ministry", "organisation/village"
START = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
KEY = SigningKey.generate()
VILLAGE_FACTS = events.OrganisationRegistered(kind="akimat", level="district", names=NAMES, population=1000)


def by(at, iss=OPERATOR):
    return Issuance(iss, KEY.kid, at)


def submitted(at=START):
    return events.PetitionSubmitted(
        body=VILLAGE,
        lang="kk",
        text_hash="0" * 64,
        author="A" * 43,
        algorithm="RSA-SHA256",
        moderate_until=terms.moderate_until(at),
    )


def usual(type_, petition, at):
    """Lawful facts of any type, whatever the state, and who says them."""
    due = petition.due or at
    required = petition.required or 50
    facts = {
        "petition.rejected": events.PetitionRejected(ground="unclear"),
        "petition.admitted": events.PetitionAdmitted(needed=50, limited_until=terms.limited_until(at)),
        "petition.lapsed": events.PetitionLapsed(count=49, as_of=9),
        "petition.published": events.PetitionPublished(required=50, collect_until=terms.collect_until(at)),
        "petition.supported": events.PetitionSupported(required=required, reached_at=9),
        "petition.not_supported": events.PetitionNotSupported(count=49, required=required, as_of=9),
        "petition.withdrawn": events.PetitionWithdrawn(algorithm="RSA-SHA256"),
        "petition.routed": events.PetitionRouted(body=MINISTRY),
        "petition.registered": events.PetitionRegistered(
            number="ЖТ-1", consider_until=terms.consider_until(at, VILLAGE_FACTS)
        ),
        "petition.working_group_formed": events.PetitionWorkingGroupFormed(members=5, author_invited=True),
        "petition.draft_published": events.PetitionDraftPublished(
            outcome="satisfied", discuss_until=terms.discuss_until(at)
        ),
        "petition.decided": events.PetitionDecided(outcome="satisfied"),
        "petition.overdue": events.PetitionOverdue(
            step="moderation" if petition.state == "submitted" else "consideration", due=due
        ),
    }[type_]
    return facts, petition.body if type_ in BODY_ACTS else OPERATOR


BODY_ACTS = {
    "petition.registered",
    "petition.working_group_formed",
    "petition.draft_published",
    "petition.decided",
}
# The way to each state.
WAYS = {
    "submitted": [],
    "rejected": ["rejected"],
    "limited": ["admitted"],
    "lapsed": ["admitted", "LATER", "lapsed"],
    "collecting": ["admitted", "published"],
    "supported": ["admitted", "published", "supported"],
    "not-supported": ["admitted", "published", "LATER", "not_supported"],
    "withdrawn": ["withdrawn"],
    "routed": ["admitted", "published", "supported", "routed"],
    "considered": ["admitted", "published", "supported", "routed", "registered"],
    "decided": [
        "admitted", "published", "supported", "routed", "registered", "working_group_formed",
        "draft_published", "decided",
    ],
}  # fmt: skip
# What DOMAIN says may happen next, in the order in which a person is told.
LIFE = {
    "submitted": ["rejected", "admitted", "withdrawn", "overdue"],
    "rejected": [],
    "limited": ["lapsed", "published", "withdrawn"],
    "lapsed": [],
    "collecting": ["supported", "not_supported", "withdrawn"],
    "supported": ["routed"],
    "not-supported": [],
    "withdrawn": [],
    "routed": ["registered"],
    "considered": ["working_group_formed", "draft_published", "decided", "overdue"],
    "decided": [],
}


class Told:
    """A petition and the moment it has come to."""

    def __init__(self):
        self.at = START
        self.petition = happen(Petition, STREAM, None, submitted(), by(START))

    def __call__(self, step):
        if step == "LATER":
            self.at = max(self.at, self.petition.open_until)
            return self
        facts, iss = usual(f"petition.{step}", self.petition, self.at)
        return self.happen(facts, iss)

    def happen(self, facts, iss=OPERATOR, at=None):
        self.at = at or self.at
        happen(Petition, STREAM, self.petition, facts, by(self.at, iss))
        return self


def told(*steps):
    story = Told()
    for step in steps:
        story(step)
    return story


def at_state(state):
    story = told(*WAYS[state])
    assert story.petition.state == state
    return story


TYPES = sorted(t for t, cls in events.catalogue.items() if cls.room == "petition")


def test_the_table_has_every_state_and_every_type_of_event():
    assert {*Petition.transitions} == {*TYPES} - {"petition.submitted"}
    assert {s for states in Petition.transitions.values() for s in states} <= {*LIFE} == {*WAYS}
    assert {f"petition.{t}" for allowed in LIFE.values() for t in allowed} == {*Petition.transitions}


@pytest.mark.parametrize("type_", sorted(Petition.transitions))
@pytest.mark.parametrize("state", LIFE)
def test_an_event_happens_in_the_states_of_the_law_and_in_no_other(state, type_):
    story = at_state(state)
    if type_.removeprefix("petition.") not in LIFE[state]:
        facts, iss = usual(type_, story.petition, story.at)
        before = vars(story.petition).copy()
        with pytest.raises(NotAllowedError, match=f"it is {state}") as error:
            story.happen(facts, iss)
        assert error.value.details["state"] == state
        assert set(error.value.details["allowed"]) == {f"petition.{t}" for t in LIFE[state]}
        assert vars(story.petition) == before
        return
    if type_ in {"petition.lapsed", "petition.not_supported"}:
        story.at = story.petition.open_until
    if type_ == "petition.overdue":
        story.at = story.petition.due
    if type_ == "petition.draft_published":
        story("working_group_formed")
    if type_ == "petition.decided":
        story("working_group_formed")("draft_published")
    version = story.petition.version
    facts, iss = usual(type_, story.petition, story.at)
    story.happen(facts, iss)
    assert story.petition.version == version + 1


def test_a_petition_begins_once_and_with_its_submission():
    with pytest.raises(NotAllowedError, match="exists already"):
        told().happen(submitted())
    with pytest.raises(NotAllowedError, match="There is no"):
        happen(Petition, STREAM, None, events.PetitionRejected(ground="unclear"), by(START))


@pytest.mark.parametrize("stream", ["signature/p/x", "organisation/a", "petition"])
def test_an_event_does_not_stray_into_another_room(stream):
    with pytest.raises(NotAllowedError, match="does not happen to"):
        happen(Petition, stream, None, submitted(), by(START))


def test_time_does_not_go_back_within_a_petition():
    story = told()
    with pytest.raises(NotAllowedError, match="cannot be dated"):
        story.happen(events.PetitionRejected(ground="unclear"), at=START - SECOND)
    story.happen(events.PetitionRejected(ground="unclear"), at=START)


# --- terms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [SECOND, -SECOND, DAY, -DAY])
@pytest.mark.parametrize(
    ("state", "type_", "field"),
    [
        ("submitted", "petition.admitted", "limited_until"),
        ("limited", "petition.published", "collect_until"),
        ("considered", "petition.draft_published", "discuss_until"),
    ],
)
def test_a_term_that_is_wrong_by_a_second_is_refused(state, type_, field, off):
    story = at_state(state)
    if state == "considered":
        story("working_group_formed")
    facts, iss = usual(type_, story.petition, story.at)
    wrong = msgspec.structs.replace(facts, **{field: getattr(facts, field) + off})
    with pytest.raises(NotAllowedError, match=r"ends at .*, not at") as error:
        story.happen(wrong, iss)
    assert error.value.details["lawful"] == getattr(facts, field).isoformat()


@pytest.mark.parametrize("off", [SECOND, -SECOND])
def test_replaying_history_checks_the_rules_again(off):
    def entry(facts, n):
        made = [Disclosure.make(name, "x") for name in facts.public | facts.restricted]
        return seal(facts, iss=OPERATOR, stream=STREAM, n=n, at=START, key=KEY, disclosures=made).entry

    def replay(*facts):
        petition = None
        for n, each in enumerate(facts, 1):
            petition = domain_event(open_event(entry(each, n))).mutate(petition)
        return petition

    lawful = events.PetitionAdmitted(needed=50, limited_until=terms.limited_until(START))
    assert replay(submitted(), lawful).state == "limited"
    with pytest.raises(NotAllowedError):
        replay(msgspec.structs.replace(submitted(), moderate_until=terms.moderate_until(START) + off))
    with pytest.raises(NotAllowedError):
        replay(submitted(), msgspec.structs.replace(lawful, limited_until=lawful.limited_until + off))
    with pytest.raises(NotAllowedError):
        replay(submitted(), lawful, lawful)
    with pytest.raises(NotAllowedError):
        replay(submitted(), msgspec.structs.replace(lawful, needed=49))


def test_a_petition_lapses_after_its_time_only_and_with_too_few_signatures():
    lapsed = events.PetitionLapsed(count=49, as_of=9)
    story = at_state("limited")
    end = story.petition.open_until
    with pytest.raises(NotAllowedError, match="are taken until"):
        story.happen(lapsed, at=end - SECOND)
    with pytest.raises(NotAllowedError, match="50 signatures are enough"):
        story.happen(msgspec.structs.replace(lapsed, count=50), at=end)
    assert story.happen(lapsed, at=end).petition.state == "lapsed"


def test_a_collection_ends_unsupported_after_its_time_only_and_below_the_threshold():
    ended = events.PetitionNotSupported(count=49, required=50, as_of=9)
    story = at_state("collecting")
    end = story.petition.open_until
    assert end == terms.collect_until(START)
    with pytest.raises(NotAllowedError, match="are taken until"):
        story.happen(ended, at=end - SECOND)
    for wrong in ({"count": 50}, {"required": 51}, {"required": 49}):
        with pytest.raises(NotAllowedError, match="not below the threshold"):
            story.happen(msgspec.structs.replace(ended, **wrong), at=end)
    assert story.happen(ended, at=end).petition.state == "not-supported"


@pytest.mark.parametrize("required", [49, 51])
def test_the_threshold_is_frozen_when_the_petition_is_published(required):
    with pytest.raises(NotAllowedError, match="threshold of this petition is 50"):
        at_state("collecting").happen(events.PetitionSupported(required=required, reached_at=1))


@pytest.mark.parametrize("state", ["submitted", "considered"])
def test_a_missed_term_is_recorded_once_when_it_has_passed(state):
    story = at_state(state)
    due = story.petition.due
    step = "moderation" if state == "submitted" else "consideration"
    missed = events.PetitionOverdue(step=step, due=due)
    with pytest.raises(NotAllowedError, match=f"term of {step} ends at"):
        story.happen(missed, at=due - SECOND)
    with pytest.raises(NotAllowedError, match=f"term of {step} ends at"):
        story.happen(msgspec.structs.replace(missed, due=due - SECOND), at=due)
    other = "consideration" if step == "moderation" else "moderation"
    with pytest.raises(NotAllowedError, match="The term that runs"):
        story.happen(msgspec.structs.replace(missed, step=other), at=due)
    assert story.happen(missed, at=due).petition.overdue
    assert story.petition.state == state
    with pytest.raises(NotAllowedError, match="recorded already"):
        story.happen(missed)


def test_a_late_moderation_still_goes_on_and_a_new_term_can_be_missed_again():
    story = told()
    story.at = story.petition.due
    story("overdue")("admitted")("published")("supported")("routed")("registered")
    assert not story.petition.overdue
    story.at = story.petition.due
    assert story("overdue").petition.overdue


# --- bodies ----------------------------------------------------------------------------------


def test_only_the_body_that_it_lies_with_acts_on_it():
    story = at_state("routed")
    assert story.petition.body == MINISTRY
    facts, _ = usual("petition.registered", story.petition, story.at)
    with pytest.raises(NotAllowedError, match=f"lies with {MINISTRY}") as error:
        story.happen(facts, VILLAGE)
    assert error.value.details == {"body": MINISTRY}
    story("registered")
    for type_ in sorted(BODY_ACTS - {"petition.registered"}):
        with pytest.raises(NotAllowedError, match="lies with"):
            story.happen(usual(type_, story.petition, story.at)[0], VILLAGE)


def test_a_term_of_consideration_lies_in_the_future():
    story = at_state("routed")
    with pytest.raises(NotAllowedError, match="in the future"):
        story.happen(events.PetitionRegistered(number="1", consider_until=story.at), MINISTRY)


def test_the_draft_comes_after_the_working_group_and_the_decision_after_the_draft():
    story = at_state("considered")
    for step in ("draft_published", "decided"):
        with pytest.raises(NotAllowedError):
            story(step)
    with pytest.raises(NotAllowedError, match="author of the petition must be invited"):
        story.happen(events.PetitionWorkingGroupFormed(members=3, author_invited=False), MINISTRY)
    story("working_group_formed")
    with pytest.raises(NotAllowedError, match="draft decision must be published"):
        story("decided")
    assert story("draft_published")("decided").petition.state == "decided"
    assert story.petition.due is None


# --- signing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", LIFE)
def test_signatures_are_taken_in_three_states_and_until_the_last_second(state):
    petition = at_state(state).petition
    if state not in {"limited", "collecting", "supported"}:
        with pytest.raises(PetitionClosedError, match=f"is {state}: it takes no signatures"):
            petition.require_open(START)
        return
    petition.require_open(petition.open_until - SECOND)
    for late in (petition.open_until, petition.open_until + DAY):
        with pytest.raises(PetitionClosedError, match="were taken until"):
            petition.require_open(late)
