"""What an audit remembers in few bytes says the same as what it stands for."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from eventsourcing.domain import OriginatorVersionError
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.findings import Findings
from audit.replay import Replay
from audit.rules import Rule, Rulebook
from audit.source import FolderSource
from ledger.domain.aggregate import NotAllowedError
from ledger.statement import open_event
from ledger.store.mapper import domain_event
from ledger.tlog.checkpoint import open_checkpoint
from tests.audit.log_builder import LogBuilder

few = settings(max_examples=60, deadline=None)
ACTS = ("sign", "withdraw", "void")

acts = st.lists(
    st.tuples(
        st.sampled_from(ACTS),
        st.integers(1, 2),  # petition
        st.integers(1, 4),  # person
        st.sampled_from([None, "71", "75"]),
        st.sampled_from([0, 0, 0, 1, 2, 5, -1]),  # seconds that the clock is set
        st.sampled_from([None, None, None, None, 1, 2, 3]),  # a version of its own
    ),
    max_size=30,
)


def written(steps) -> LogBuilder:
    """Two petitions that collect, and whatever people do to them, lawful or not."""
    builder = LogBuilder().begin().collecting(1, (11, 12)).collecting(2, (11, 12))
    for act, petition, person, region, seconds, n in steps:
        builder.now += timedelta(seconds=seconds - 1)
        how = {} if n is None else {"n": n}
        if act == "sign":
            builder.sign(petition, person, region, **how)
        else:
            getattr(builder, act)(petition, person, **how)
    return builder


def replayed(builder: LogBuilder, *rules: Rule) -> tuple[Replay, Findings]:
    findings = Findings()
    with tempfile.TemporaryDirectory() as folder:
        source = FolderSource(builder.write(Path(folder)))
        replay = Replay(source, findings, rulebook=Rulebook(rules))
        replay.advance(open_checkpoint(builder.checkpoint(), builder.log_key.verifier).checkpoint)
    return replay, findings


def aggregates(builder: LogBuilder) -> dict[str, tuple[str, int, int]]:
    """By the aggregate itself: state, version and time of each signature, taking its lawful steps alone."""
    found = {}
    for entry in builder.entries:
        event = open_event(entry)
        if event.stream.startswith("signature/"):
            with suppress(NotAllowedError, OriginatorVersionError, AssertionError):
                found[event.stream] = domain_event(event).mutate(found.get(event.stream))
    return {
        stream: (aggregate.state, aggregate.version, int(aggregate.modified_on.timestamp()))
        for stream, aggregate in found.items()
    }


@few
@given(acts)
def test_whatever_people_do_is_folded_the_same_by_the_short_way_and_by_the_rules(steps):
    builder = written(steps)
    asked = []
    nosy = Rule("nosy", "Looks at everything: nothing goes the short way.", lambda *a: asked.append(a) or ())
    short, short_findings = replayed(builder)
    long, long_findings = replayed(builder, nosy)
    assert len(asked) > len(steps)
    assert short_findings.kept() == long_findings.kept()
    assert short.history.dump() == long.history.dump()
    assert short.root() == long.root()


@few
@given(acts)
def test_state_version_and_time_of_each_signature_are_those_of_its_aggregate(steps):
    builder = written(steps)
    replay, findings = replayed(builder)
    accused = {finding.position for finding in findings.kept()}
    touched = {open_event(builder.entries[position]).stream for position in accused}
    said = aggregates(builder)
    assert said
    for stream, (state, version, time) in said.items():
        if stream not in touched:
            assert replay.history.signature(stream) == state
            assert replay.history.stream(stream) == (version, time)
    counted = sum(petition.count for petition in replay.history.petitions.values())
    removed = sum(state != "counted" for stream, (state, _, _) in said.items() if stream not in touched)
    assert counted <= len(said) - removed


def test_every_step_that_the_aggregate_refuses_is_found():
    builder = written([])
    builder.sign(1, 1)
    builder.withdraw(1, 1)
    refused = {builder.sign(1, 1), builder.withdraw(1, 1), builder.void(1, 1), builder.withdraw(1, 2)}
    refused.add(builder.void(2, 3))
    _, findings = replayed(builder)
    assert {finding.position for finding in findings.kept()} == refused
