"""The catalogue: what it allows comes back as it was, and nothing else gets in."""

from __future__ import annotations

from typing import ClassVar, get_args

import msgspec
import pytest
from hypothesis import given
from msgspec import inspect

from ledger import events
from ledger.domain.aggregate import LedgerAggregate
from ledger.events import Fact, MalformedEventError, UnknownEventTypeError, decode
from ledger.store.mapper import AGGREGATES
from tests.ledger.facts import any_facts, is_bound, string_fields

TYPES = sorted(events.catalogue.values(), key=lambda cls: cls.type)


@given(any_facts())
def test_facts_of_every_type_are_read_as_they_were_written(facts):
    assert decode(facts.type, facts.version, msgspec.json.encode(facts)) == facts


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.type)
def test_a_field_that_the_catalogue_does_not_know_is_refused(cls):
    with pytest.raises(MalformedEventError, match="not as the catalogue says"):
        decode(cls.type, cls.version, b'{"note":"x"}')


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.type)
def test_no_disclosure_is_both_public_and_restricted_or_a_field_too(cls):
    fields = {field.name for field in msgspec.structs.fields(cls)}
    assert not cls.public & cls.restricted
    assert not fields & cls.restricted
    assert not {field.name for field in msgspec.structs.fields(cls)} & {"iin", "full_name", "title", "text"}


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.type)
def test_the_public_facts_leave_no_room_for_words_about_persons(cls):
    free = {path for path, kind in string_fields(inspect.type_info(cls)) if not is_bound(kind)}
    vocabulary = {
        events.OrganisationRegistered: {".names.kk", ".names.ru", ".names.en"},
        events.AppealImported: {".activity"},
        events.AppealStepImported: {".activity"},
    }
    assert free <= vocabulary.get(cls, set())


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.type)
def test_every_type_has_an_issuer_and_happens_to_an_aggregate(cls):
    assert cls.issuers
    assert cls.issuers <= set(get_args(events.Role))
    assert issubclass(AGGREGATES[cls.room].event_class(cls), LedgerAggregate.Event)


def test_the_name_of_an_institution_is_one_line_that_a_database_can_hold():
    for name in ("Әкім\nдік", "Әкімдік\x00", ""):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"kk": name, "ru": "Акимат"}, events.Names)


@pytest.mark.parametrize("value", [2**53, -1, 10**30])
def test_integers_that_json_readers_would_round_are_refused(value):
    data = msgspec.json.encode({"count": value, "as_of": 0})
    with pytest.raises(MalformedEventError):
        decode("petition.lapsed", 1, data)


@pytest.mark.parametrize(("type_", "version"), [("petition.forgotten", 1), ("petition.routed", 2), ("", 1)])
def test_an_unknown_type_or_version_says_that_a_newer_release_may_know_it(type_, version):
    with pytest.raises(UnknownEventTypeError, match="newer release") as error:
        decode(type_, version, b"{}")
    assert error.value.details == {"event_type": type_, "version": version}


@pytest.fixture
def renamed():
    """A type in its third version: ``street`` became ``road``, then ``house`` came in."""

    class Renamed(Fact, frozen=True):
        type: ClassVar[str] = "test.renamed"
        version: ClassVar[int] = 3
        room: ClassVar[str] = "test"
        issuers: ClassVar[frozenset[events.Role]] = frozenset({"clock"})
        upcasters: ClassVar = {
            1: lambda old: {"road": old["street"]},
            2: lambda old: {**old, "house": 0},
        }

        road: str
        house: events.Count

    yield Renamed
    del events.catalogue["test.renamed"]


def test_what_was_written_earlier_is_read_in_the_newest_form(renamed):
    newest = renamed(road="a", house=0)
    assert decode("test.renamed", 1, b'{"street":"a"}') == newest
    assert decode("test.renamed", 2, b'{"road":"a"}') == newest
    assert decode("test.renamed", 3, b'{"road":"a","house":0}') == newest


@pytest.mark.parametrize(
    ("version", "data"), [(1, b'{"road":"a"}'), (2, b'{"road":1}'), (1, b"[]"), (1, b"{"), (3, b"{}")]
)
def test_an_old_event_of_the_wrong_form_is_refused_like_a_new_one(renamed, version, data):
    with pytest.raises(MalformedEventError):
        decode("test.renamed", version, data)


def test_two_facts_cannot_have_one_name():
    with pytest.raises(ValueError, match="two facts"):

        class Again(Fact, frozen=True):
            type: ClassVar[str] = "petition.routed"
