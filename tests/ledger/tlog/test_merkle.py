"""Hashing, proving and verifying agree with the RFC's definitions and with everybody else's vectors."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.tlog.merkle import (
    EMPTY_FRONTIER,
    EMPTY_ROOT,
    Frontier,
    ProofError,
    consistency_proof,
    frontier_at,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_from_leaves,
    verify_consistency,
    verify_inclusion,
)
from tests.ledger.tlog.support import (
    VECTORS,
    entry,
    leaf,
    mth,
    mutations,
    needs_vectors,
    path,
    read_node,
    sizes,
    subproof,
)

# The eight entries of the Certificate Transparency reference tree.
REFERENCE_ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]


def test_the_empty_tree_has_the_hash_of_nothing_as_its_root():
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_from_leaves([]) == EMPTY_ROOT == EMPTY_FRONTIER.root()


def test_leaves_and_nodes_are_hashed_apart():
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert (
        node_hash(b"N123", b"N456").hex()
        == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    )


def test_the_reference_tree_of_eight_entries_has_its_known_root():
    root = root_from_leaves(leaf_hash(data) for data in REFERENCE_ENTRIES)
    assert root.hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(sizes)
def test_the_root_over_leaves_is_the_one_of_the_rfc(size):
    assert root_from_leaves(map(leaf, range(size))) == mth(0, size)


@given(sizes, st.data())
def test_inclusion_proofs_are_the_ones_of_the_rfc_and_verify(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, read_node)
    assert proof == path(index, 0, size)
    verify_inclusion(leaf_hash(entry(index)), index, size, proof, mth(0, size))


@given(sizes, st.data())
def test_consistency_proofs_are_the_ones_of_the_rfc_and_verify(size, data):
    old = data.draw(st.integers(1, size))
    proof = consistency_proof(old, size, read_node)
    assert proof == subproof(old, 0, size)
    verify_consistency(old, mth(0, old), size, mth(0, size), proof)


def test_every_proof_of_every_small_tree_verifies():
    for size in range(1, 40):
        for index in range(size):
            verify_inclusion(leaf(index), index, size, inclusion_proof(index, size, read_node), mth(0, size))
        for old in range(size + 1):
            proof = consistency_proof(old, size, read_node)
            verify_consistency(old, mth(0, old), size, mth(0, size), proof)


@given(sizes, st.data())
def test_a_changed_inclusion_proof_fails(size, data):
    index = data.draw(st.integers(0, size - 1))
    mutated = data.draw(mutations(path(index, 0, size)))
    with pytest.raises(ProofError):
        verify_inclusion(leaf(index), index, size, mutated, mth(0, size))


@given(st.integers(2, 600), st.data())
def test_an_inclusion_proof_fails_for_another_leaf_index_size_or_root(size, data):
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index))
    other_size = data.draw(st.integers(0, 700).filter(lambda s: s != size))
    proof, root = path(index, 0, size), mth(0, size)
    for arguments in (
        (leaf(other), index, size, proof, root),
        (leaf(index), other, size, proof, root),
        (leaf(index), index, size, proof, mth(0, other_size)),
        (leaf(index), index, other_size, proof, mth(0, other_size)),
        (leaf(index), index - size, size, proof, root),
        (leaf(index), index + size, size, proof, root),
        (root, index, size, proof, root),
    ):
        with pytest.raises(ProofError):
            verify_inclusion(*arguments)


@given(sizes.filter(lambda size: size > 1), st.data())
def test_a_changed_consistency_proof_fails(size, data):
    old = data.draw(st.integers(1, size))
    mutated = data.draw(mutations(subproof(old, 0, size)))
    with pytest.raises(ProofError):
        verify_consistency(old, mth(0, old), size, mth(0, size), mutated)


@given(st.integers(2, 600), st.data())
def test_a_consistency_proof_fails_for_other_sizes_or_roots(size, data):
    old = data.draw(st.integers(1, size - 1))
    other_old = data.draw(st.integers(1, size).filter(lambda s: s != old))
    other_size = data.draw(st.integers(old, 700).filter(lambda s: s != size))
    proof, old_root, root = subproof(old, 0, size), mth(0, old), mth(0, size)
    for arguments in (
        (other_old, mth(0, other_old), size, root, proof),
        (old, mth(0, other_old), size, root, proof),
        (old, old_root, other_size, mth(0, other_size), proof),
        (old, old_root, size, mth(0, other_size), proof),
        (size, root, old, old_root, proof),
        (0, EMPTY_ROOT, size, root, proof),
        (-old, old_root, size, root, proof),
    ):
        with pytest.raises(ProofError):
            verify_consistency(*arguments)


@given(st.integers(1, 600), st.data())
def test_a_proof_longer_than_the_tree_is_high_fails_even_where_it_leads_to_the_root(size, data):
    index = data.draw(st.integers(0, size - 1))
    top = leaf(1)
    higher_root = node_hash(top, mth(0, size))
    with pytest.raises(ProofError, match="more hashes"):
        verify_inclusion(leaf(index), index, size, (*path(index, 0, size), top), higher_root)
    old = data.draw(st.integers(1, size))
    if old < size:
        proof = (*subproof(old, 0, size), top)
        with pytest.raises(ProofError, match="too many hashes"):
            verify_consistency(old, node_hash(top, mth(0, old)), size, higher_root, proof)


def test_every_tree_grew_from_the_empty_one():
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, ())
    verify_consistency(0, EMPTY_ROOT, 5, mth(0, 5), ())
    for arguments in (
        (0, mth(0, 1), 5, mth(0, 5), ()),
        (0, EMPTY_ROOT, 5, mth(0, 5), (mth(0, 5),)),
        (0, EMPTY_ROOT, 0, mth(0, 1), ()),
        (0, mth(0, 1), 0, mth(0, 1), ()),
    ):
        with pytest.raises(ProofError):
            verify_consistency(*arguments)


def test_proofs_of_what_is_not_there_are_refused():
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(ProofError):
            inclusion_proof(index, size, read_node)
    for old, new in ((6, 5), (-1, 5)):
        with pytest.raises(ProofError):
            consistency_proof(old, new, read_node)


@given(sizes)
def test_a_frontier_survives_being_stored(size):
    frontier = frontier_at(size, read_node)
    assert frontier.root() == mth(0, size)
    assert Frontier.from_bytes(size, frontier.to_bytes()) == frontier


@pytest.mark.parametrize(
    ("size", "data"), [(0, bytes(32)), (1, b""), (3, bytes(32)), (4, bytes(64)), (1, bytes(31)), (-1, b"")]
)
def test_a_frontier_that_does_not_fit_its_size_is_refused(size, data):
    with pytest.raises(ProofError):
        Frontier.from_bytes(size, data)


def probes(kind):
    return sorted((VECTORS / "merkle" / "testdata" / kind).rglob("*.json"))


def decoded(probe, *names):
    return [b64decode(probe[name]) for name in names], [b64decode(h) for h in probe["proof"] or []]


def check(probe, verify, *arguments):
    if probe["wantErr"]:
        with pytest.raises(ProofError):
            verify(*arguments)
    else:
        verify(*arguments)


@needs_vectors
def test_all_probes_are_there():
    assert len(probes("inclusion")) == len(probes("consistency")) == 98


@pytest.mark.parametrize("file", probes("inclusion"), ids=lambda file: "/".join(file.parts[-2:]))
def test_inclusion_probe(file):
    probe = json.loads(file.read_text())
    (leaf_, root), proof = decoded(probe, "leafHash", "root")
    check(probe, verify_inclusion, leaf_, probe["leafIdx"], probe["treeSize"], proof, root)


@pytest.mark.parametrize("file", probes("consistency"), ids=lambda file: "/".join(file.parts[-2:]))
def test_consistency_probe(file):
    # The probes refuse every step from size 0 to another. Ours accepts it, but only from the true empty root
    # to a root of 32 bytes, and no probe has both.
    probe = json.loads(file.read_text())
    (old_root, new_root), proof = decoded(probe, "root1", "root2")
    check(probe, verify_consistency, probe["size1"], old_root, probe["size2"], new_root, proof)
