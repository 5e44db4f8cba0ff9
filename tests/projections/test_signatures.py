"""What a stranger sees of those who signed."""

from __future__ import annotations

from projections import signatures
from tests.projections.written import VOIDED, ask, petition


def test_signatures_are_listed_newest_first_with_masked_names(ledger):
    ledger.collecting(petition(1))
    ledger.sign(petition(1), 1, "75", name="Айнұр С.")
    ledger.sign(petition(1), 2, name="Марат Т.")
    found = ask(ledger, signatures.page, petition(1))
    assert [(s.name, s.region, s.state) for s in found.items] == [
        ("Марат Т.", None, "counted"),
        ("Айнұр С.", "75", "counted"),
    ]
    assert (found.next, found.as_of) == (None, ledger.head)


def test_a_removed_signature_stays_in_the_list_without_name_and_region(ledger):
    ledger.collecting(petition(1))
    ledger.sign(petition(1), 1, "75")
    ledger.sign(petition(1), 2, "75")
    ledger.remove(petition(1), 1)
    ledger.remove(petition(1), 2, VOIDED)
    voided, withdrawn = ask(ledger, signatures.page, petition(1)).items
    assert (withdrawn.state, withdrawn.name, withdrawn.region, withdrawn.reason) == ("withdrawn",) + (
        None,
    ) * 3
    assert (voided.state, voided.name, voided.region, voided.reason) == ("voided", None, None, "forged")


def test_a_forgotten_signer_has_no_name_and_is_still_counted(ledger):
    ledger.collecting(petition(1))
    ledger.forget(ledger.sign(petition(1), 1, "75"))
    (found,) = ask(ledger, signatures.page, petition(1)).items
    assert (found.name, found.region, found.state) == (None, "75", "counted")


def test_pages_give_every_signature_once_while_new_ones_arrive(ledger):
    ledger.collecting(petition(1))
    positions = [ledger.sign(petition(1), who) for who in range(23)]
    seen = []
    before = None
    for newcomer in range(100, 200):
        page = ask(ledger, signatures.page, petition(1), before=before, limit=5)
        seen += [item.position for item in page.items]
        before = page.next
        if before is None:
            break
        ledger.sign(petition(1), newcomer)
        ledger.sign(petition(2), newcomer)
    assert seen == positions[::-1]


def test_a_petition_without_signatures_has_an_empty_page_that_says_where_it_stands(ledger):
    ledger.collecting(petition(1))
    found = ask(ledger, signatures.page, petition(1))
    assert (found.items, found.next, found.as_of) == ((), None, ledger.head)
