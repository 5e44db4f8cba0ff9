"""A number that is published and does not follow from the log is found, at the position it stands at."""

from __future__ import annotations

import threading

import pytest

from audit.mirror.comparing import differences
from audit.source import SourceError
from projections import ALL
from projections.digest import published
from projections.rebuild import rebuild
from tests.audit.mirror.operators import between, cloned, found, mirroring
from tests.conftest import fresh

# ruff: noqa: SIM117


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr("audit.mirror.comparing.AGAIN_SECONDS", 0.05)


CHANGES = [
    ("UPDATE projections.petitions SET count = count + 1, signed = signed + 1 WHERE state = 'supported'",
     {"published-petition", "published-list"}),
    ("UPDATE projections.petition_regions SET signed = signed + 1", {"published-petition"}),
    ("UPDATE projections.petition_hours SET signed = signed + 1", {"published-growth"}),
    ("UPDATE projections.petitions SET state = 'collecting' WHERE state = 'supported'",
     {"published-petition", "published-list"}),
    ("DELETE FROM projections.petitions WHERE state = 'supported'",
     {"published-petition", "published-list", "published-growth", "published-signatures"}),
    ("DELETE FROM projections.signatures WHERE position = (SELECT min(position) FROM projections.signatures)",
     {"published-signatures"}),
    ("UPDATE projections.signatures SET region = '71' WHERE region IS DISTINCT FROM '71'",
     {"published-signatures"}),
    ("DELETE FROM projections.trails WHERE type = 'petition.published'", {"published-trail"}),
    ("UPDATE projections.organisations SET population = population + 1", {"published-organisations"}),
    ("UPDATE projections.appeals SET region = '75' WHERE region = '71'",
     {"published-register", "published-appeal"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def watched(postgres, migrated, written):
    """An operator, and a mirror that found nothing so far."""
    world, template = written
    with cloned(postgres, template, world) as operator, fresh(postgres, migrated) as database:
        with operator.served() as url, mirroring(database, url, *operator.vkeys) as mirror:
            assert mirror.round(compare=True).clean
            yield operator, mirror


@pytest.mark.parametrize(("change", "rules"), CHANGES, ids=[change[:60] for change, _ in CHANGES])
def test_a_changed_table_of_the_operators_is_found(watched, change, rules):
    operator, mirror = watched
    assert operator.execute(change)
    done = mirror.round(compare=True)
    assert not done.clean
    assert done.compared.differences
    as_of = operator.size() - 1
    assert found(mirror) <= {(rule, position) for rule in rules for position in (as_of, None)}
    assert {rule for rule, _ in found(mirror)} == rules

    rebuild(operator.database.url, published(ALL))
    mirror.store.connection.execute("DELETE FROM mirror.findings")
    assert mirror.round(compare=True).clean


def test_a_changed_statistic_of_the_operators_is_found(operator, mirror_database):
    assert operator.execute(
        "UPDATE projections.oversight_cells SET received = received + 99, appeals = appeals + 99,"
        " unanswered = unanswered + 99, open = open + 99"
    )
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        assert mirror.round(compare=True).compared.differences
        assert found(mirror) == {("published-oversight", operator.size() - 1)}


def test_a_finding_names_path_and_both_values(operator, mirror_database):
    operator.execute("UPDATE projections.petitions SET count = 999, signed = 999 + withdrawn + voided"
                     " WHERE state = 'supported'")  # fmt: skip
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        mirror.round(compare=True)
        finding = next(one for one in mirror.store.findings() if one.rule == "published-list")
        assert finding.evidence == {
            "path": "/v1/petitions?limit=100", "where": "items[0].count", "published": "999",
            "recounted": "270",
        }  # fmt: skip
        assert "items[0].count is 999; by the log it is 270" in finding.reason


def test_numbers_are_compared_where_they_stand_while_the_log_goes_on(operator, mirror_database):
    """Every answer of a growing ledger is of another position."""
    authors = iter(range(400, 500))
    one_at_a_time = threading.Lock()

    def grow(path, status, body):
        if "limit=100" in path:
            with one_at_a_time:
                author = next(authors)
                title = f"Өтініш {author} туралы мәтін"
                operator.do(lambda api: api.limited(author=author, title=title))
        return status, body

    with operator.served() as url, between(url, grow) as way:
        with mirroring(mirror_database, way, *operator.vkeys) as mirror:
            done = mirror.round(compare=True)
            assert (done.clean, found(mirror)) == (True, set())
            assert done.compared.answers > 25
            assert done.size > 330
            assert next(authors) > 403


def test_a_limit_bounds_what_is_asked(still, address, mirror_database):
    asked = []

    def listen(path, status, body):
        asked.append(path)
        return status, body

    with between(address, listen) as way:
        with mirroring(mirror_database, way, *still.vkeys, compare_limit=14) as mirror:
            assert mirror.round(compare=True).compared.answers == 14
        with mirroring(mirror_database, way, *still.vkeys, compare_limit=0) as mirror:
            assert mirror.round(compare=True).compared is None
    questions = [path for path in asked if not path.startswith(("/log/", "/v1/disclosures"))]
    assert len(questions) == 14 + 3  # and whether the operator's tables stand where ours do


def test_numbers_beyond_the_signed_log_are_found(still, address, mirror_database):
    """Published before anybody could check it: the log must be signed first."""

    def ahead(path, status, body):
        if path.startswith("/v1/organisations"):
            body = body.replace(b'"as_of":%d' % (still.size() - 1), b'"as_of":%d' % (still.size() + 9))
        return status, body

    with between(address, ahead) as way:
        with mirroring(mirror_database, way, *still.vkeys) as mirror:
            done = mirror.round(compare=True)
            assert found(mirror) == {("log-size", still.size() + 9)}
            assert done.compared.beyond == 1


def test_an_interface_that_answers_nothing_is_waited_for(still, address, mirror_database):
    def fail(path, status, body):
        return (500, b"") if path.startswith("/v1/petitions") else (status, body)

    with between(address, fail) as way:
        with mirroring(mirror_database, way, *still.vkeys) as mirror:
            with pytest.raises(SourceError, match="answers no questions"):
                mirror.round(compare=True)
            assert mirror.store.head().size == still.size()
        with mirroring(mirror_database, address, *still.vkeys) as mirror:
            assert mirror.round(compare=True).clean


def test_a_text_that_went_between_two_looks_is_looked_at_again(still, address, mirror_database):
    hidden = 1

    def hide(path, status, body):
        nonlocal hidden
        if "/v1/petitions?" in path and "limit=100" in path and hidden:
            hidden -= 1
            body = body.replace('"title":"Ауылға жаңа кітапхана"'.encode(), b'"title":null')
        return status, body

    with between(address, hide) as way:
        with mirroring(mirror_database, way, *still.vkeys) as mirror:
            assert mirror.round(compare=True).clean
            assert hidden == 0
            hidden = 1000
            assert not mirror.round(compare=True).clean
            assert {rule for rule, _ in found(mirror)} == {"published-list"}
            assert "Ауылға" not in str(mirror.store.findings())


def test_differences_say_where():
    ours = {"a": 1, "b": [{"c": None}, {"c": 2}], "d": True}
    theirs = {"a": 1, "b": [{"c": "x"}], "d": 1, "e": 0}
    assert [(d.where, d.published, d.recounted) for d in differences(theirs, ours)] == [
        ("number of b", 1, 2),
        ("b[0].c", "x", None),
        ("d", 1, True),
        ("e", 0, None),
    ]
    assert list(differences(ours, ours)) == []
