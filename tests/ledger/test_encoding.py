"""Base64url is read in one spelling only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import b64url, b64url_decode


@given(st.binary(max_size=100))
def test_what_is_written_is_read_again(data):
    assert b64url_decode(b64url(data)) == data
    assert b64url_decode(b64url(data).encode()) == data


@given(st.text(alphabet="AQgw048_-+/=\n ~é", max_size=12))
def test_two_texts_never_mean_the_same_bytes(text):
    try:
        data = b64url_decode(text)
    except ValueError:
        return
    assert b64url(data) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("AA==", "padding"),
        ("AB", "bits that are not zero"),
        ("A", "a lonely character"),
        ("A+", "the other alphabet"),
        ("A/", "the other alphabet"),
        ("AA\n", "a line feed"),
        (" AA", "a space"),
        ("ӘӘӘӘ", "letters that are not ASCII"),
    ],
)
def test_other_spellings_are_refused(text, why):
    with pytest.raises(ValueError, match=r"base64url|ascii"):
        b64url_decode(text)
