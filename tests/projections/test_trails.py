"""What happened to a stream, told in order."""

from __future__ import annotations

from datetime import timedelta

from projections import trails
from tests.projections.written import KEY, OPERATOR, START, ask, person, petition


def test_a_trail_names_every_event_with_its_issuer_time_and_position(ledger):
    ledger.collecting(petition(1))
    ledger.collecting(petition(2))
    found = ask(ledger, trails.of, f"petition/{petition(2)}")
    assert [(s.position, s.n, s.type) for s in found.steps] == [
        (3, 1, "petition.submitted"),
        (4, 2, "petition.admitted"),
        (5, 3, "petition.published"),
    ]
    last = found.steps[-1]
    assert (last.iss, last.kid, last.time) == (OPERATOR, KEY.kid, START + timedelta(seconds=5))
    assert found.as_of == ledger.head


def test_signatures_have_trails_too(ledger):
    ledger.sign(petition(1), 7)
    ledger.remove(petition(1), 7)
    found = ask(ledger, trails.of, f"signature/{petition(1)}/{person(7)}")
    assert [s.type for s in found.steps] == ["petition.signed", "signature.withdrawn"]


def test_a_stream_without_events_has_an_empty_trail(ledger):
    assert ask(ledger, trails.of, "petition/none") == trails.Trail("petition/none", (), -1)
