"""The specification says what the code does."""

from tests.docs.catalogue import SPEC, rewritten


def test_the_catalogue_in_the_specification_is_the_one_in_the_code():
    spec = SPEC.read_text("utf-8")
    assert spec == rewritten(spec), "run: python -m tests.docs.catalogue"
