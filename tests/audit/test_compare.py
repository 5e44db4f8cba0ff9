"""Published numbers that differ from the recount are found, each by its own rule."""

from __future__ import annotations

import pytest

import audit
from tests.audit.log_builder import CROWD, LogBuilder, petition_id, serving
from tests.audit.test_auditor import published

PUBLISHED = CROWD + 12
"""Position of a publication, where the population was recorded anew for another threshold."""
ONE, TWO = f"/v1/petitions/{petition_id(1)}", f"/v1/petitions/{petition_id(2)}"


@pytest.fixture
def usual() -> LogBuilder:
    return LogBuilder().usual()


def audit_with(builder: LogBuilder, folder, answers: dict) -> set[tuple[str, int | None]]:
    with serving(builder.write(folder), answers) as server:
        report = audit.run(server.url, log_key=builder.vkey)
    assert report.exit_code == (1 if report.findings else 0)
    return {(finding.rule, finding.position) for finding in report.findings}


@pytest.mark.parametrize(
    ("page", "wrong", "rules"),
    [
        (ONE, {"signed": CROWD + 10}, {"published-count"}),
        (ONE, {"withdrawn": 0}, {"published-count"}),
        (ONE, {"voided": 2}, {"published-count"}),
        (ONE, {"count": CROWD + 8}, {"published-count", "published-total"}),
        (ONE, {"state": "collecting"}, {"published-state"}),
        (ONE, {"required": 5}, {"published-threshold"}),
        (ONE, {"required": None}, {"published-threshold"}),
        (ONE, {"reached_at": 18}, {"published-threshold"}),
        (ONE, {"by_region": {"10": 3, "71": 1, "75": 1, "unknown": CROWD + 2}}, {"published-region"}),
        (ONE, {"by_region": {"10": 2, "71": 1, "75": 1}}, {"published-region", "published-total"}),
        (ONE, {"by_region": {"10": 2, "71": 1, "75": 1, "99": CROWD + 3}}, {"published-region"}),
        (TWO, {"required": 6}, {"published-threshold"}),
        (TWO, {"state": "collecting"}, {"published-state"}),
        (TWO, {"count": 0}, {"published-count", "published-total"}),
    ],
)
def test_a_wrong_number_is_found_at_the_position_it_stands_at(usual, tmp_path, page, wrong, rules):
    answers = published(usual)
    answers[page] = answers[page] | wrong
    assert audit_with(usual, tmp_path, answers) == {(rule, usual.size - 1) for rule in rules}


def test_a_wrong_count_in_the_list_alone_is_found(usual, tmp_path):
    answers = published(usual)
    answers["/v1/petitions"]["items"] = [answers["/v1/petitions"]["items"][0] | {"count": 70}]
    assert audit_with(usual, tmp_path, answers) == {("published-count", usual.size - 1)}


def test_numbers_are_compared_at_the_position_they_stand_at(usual, tmp_path):
    answers = published(usual)
    earlier = {"as_of": CROWD + 13, "state": "collecting", "withdrawn": 0, "voided": 0}
    earlier |= {"count": CROWD + 4, "signed": CROWD + 4, "reached_at": None}
    earlier |= {"by_region": {"71": 2, "75": 1, "unknown": CROWD + 1}}
    answers[ONE] = answers[ONE] | earlier
    assert audit_with(usual, tmp_path, answers) == set()


def test_a_threshold_reached_before_it_is_announced_may_be_published_as_not_yet_reached(usual, tmp_path):
    answers = published(usual)
    earlier = {"as_of": CROWD + 20, "state": "collecting", "count": CROWD + 7}
    answers[ONE] = answers[ONE] | earlier | {"reached_at": None}
    assert audit_with(usual, tmp_path, answers) == set()


def test_a_published_petition_left_out_of_the_list_is_found(usual, tmp_path):
    answers = published(usual)
    answers["/v1/petitions"]["items"] = []
    assert audit_with(usual, tmp_path, answers) == {("published-list", CROWD + 11)}


def test_a_petition_that_the_log_does_not_know_is_found(usual, tmp_path):
    answers = published(usual)
    invented = {"id": petition_id(9), "state": "collecting", "count": 1, "required": 6}
    answers["/v1/petitions"]["items"] = [*answers["/v1/petitions"]["items"], invented]
    assert audit_with(usual, tmp_path, answers) == {("published-petition", usual.size - 1)}


def test_every_page_of_the_list_is_read(usual, tmp_path):
    answers = published(usual)
    page = answers["/v1/petitions"]
    second = page | {"items": [page["items"][0] | {"count": 1}]}
    answers["/v1/petitions"] = page | {"next": "after this"}
    answers["/v1/petitions?limit=100&cursor=after+this"] = second
    assert audit_with(usual, tmp_path, answers) == {("published-count", usual.size - 1)}


def test_a_signature_that_was_not_allowed_is_not_counted(usual, tmp_path):
    """Whoever publishes it all the same is contradicted twice: by the rule, and by the recount."""
    usual.sign(1, 9, "10")
    answers = published(usual)
    answers[ONE] = answers[ONE] | {
        "count": CROWD + 8,
        "signed": CROWD + 10,
        "by_region": {"10": 3, "71": 1, "75": 1, "unknown": CROWD + 3},
    }
    rules = {rule for rule, _ in audit_with(usual, tmp_path, answers)}
    assert {"signature-once", "stream-order", "published-count", "published-region"} >= rules
    assert {"signature-once", "published-count"} <= rules


@pytest.mark.parametrize(
    ("reached_at", "rules"), [(PUBLISHED, set()), (PUBLISHED - 1, {"published-threshold"})]
)
def test_a_threshold_reached_before_publication_counts_from_the_publication(tmp_path, reached_at, rules):
    builder = LogBuilder().begin().collecting(1, required=2)
    builder.support(1, PUBLISHED, required=2)
    as_of = builder.size - 1
    numbers = {"id": petition_id(1), "state": "supported"} | dict.fromkeys(("count", "required"), CROWD + 2)
    answers = {
        "/v1/petitions": {"items": [numbers], "next": None, "as_of": as_of},
        ONE: numbers | {"as_of": as_of, "reached_at": reached_at},
    }
    assert {rule for rule, _ in audit_with(builder, tmp_path, answers)} == rules
