"""The specification says what the code does."""

import re

import pytest

from tests.docs.catalogue import DOCS, SCHEMA, SPEC, rewritten, schema


def test_the_catalogue_in_the_specification_is_the_one_in_the_code():
    spec = SPEC.read_text("utf-8")
    assert spec == rewritten(spec), "run: python -m tests.docs.catalogue"


def test_the_schema_of_the_events_is_the_one_of_the_code():
    assert SCHEMA.read_text("utf-8") == schema(), "run: python -m tests.docs.catalogue"


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *DOCS.rglob("*.md")], ids=lambda page: page.name)
def test_links_between_the_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / link).exists(), link
