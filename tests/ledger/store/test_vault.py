"""The vault opens with the right key, for the right entry of the right stream, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.statement import Disclosure
from ledger.store.vault import Vault, VaultError

VAULT = Vault(b"v" * 32)
ENTRY, OTHER_ENTRY = b"header.payload.signature~", b"header.payload2.signature~"
SECRET = (Disclosure.make("iin", "880101300017"), Disclosure.make("full_name", "ӘЛІБЕК БЕРЕЗОПОЛОВ"))


def sealed(entry=ENTRY, stream="signature/p/x"):
    key, wrapped = VAULT.new_key("data-key", stream)
    return wrapped, VAULT.seal(key, entry, SECRET)


def opened(wrapped, blob, *, vault=VAULT, entry=ENTRY, stream="signature/p/x", purpose="data-key"):
    return vault.open(vault.unwrap(purpose, stream, wrapped), entry, blob)


@given(st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_what_is_sealed_is_opened_again(values):
    disclosures = tuple(Disclosure.make(name, value) for name, value in values)
    key, wrapped = VAULT.new_key("data-key", "s")
    assert VAULT.unwrap("data-key", "s", wrapped) == key
    assert VAULT.open(key, ENTRY, VAULT.seal(key, ENTRY, disclosures)) == disclosures


def test_nothing_of_it_can_be_read_and_no_two_look_alike():
    wrapped, blob = sealed()
    for plain in (b"880101300017", SECRET[0].encoded.encode(), "ӘЛІБЕК".encode()):
        assert plain not in blob + wrapped
    assert sealed() != (wrapped, blob)
    key = VAULT.unwrap("data-key", "signature/p/x", wrapped)
    assert VAULT.seal(key, ENTRY, SECRET) != blob


def test_another_vault_key_opens_nothing():
    with pytest.raises(VaultError, match="not the one this was encrypted with"):
        opened(*sealed(), vault=Vault(b"w" * 32))


@pytest.mark.parametrize(
    "swap",
    [{"entry": OTHER_ENTRY}, {"stream": "signature/p/y"}, {"purpose": "petition-secret"}],
    ids=["to another entry", "to another stream", "to another purpose"],
)
def test_a_row_that_was_moved_is_refused(swap):
    wrapped, blob = sealed()
    assert opened(wrapped, blob) == SECRET
    with pytest.raises(VaultError):
        opened(wrapped, blob, **swap)


def test_the_data_key_of_another_person_opens_nothing():
    _, blob = sealed()
    wrapped, _ = sealed()
    with pytest.raises(VaultError):
        opened(wrapped, blob)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_an_altered_byte_is_noticed(at, change):
    wrapped, blob = sealed()
    for number, value in enumerate((wrapped, blob)):
        altered = bytearray(value)
        altered[at % len(value)] ^= change
        with pytest.raises(VaultError):
            opened(*((bytes(altered), blob) if number == 0 else (wrapped, bytes(altered))))


@pytest.mark.parametrize("size", [0, 1, 8, 11, 12, 27])
def test_a_row_that_was_cut_is_refused(size):
    wrapped, blob = sealed()
    with pytest.raises(VaultError):
        opened(wrapped[:size], blob)
    with pytest.raises(VaultError):
        opened(wrapped, blob[:size])


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_vault_key_has_32_bytes(size):
    with pytest.raises(VaultError, match="32 bytes"):
        Vault(b"k" * size)
