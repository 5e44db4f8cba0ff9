"""A tree that grows group by group gives what a tree built at once would."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.tlog.merkle import EMPTY_ROOT, Frontier, GrowingTree, ProofError, frontier_at, verify_inclusion
from tests.ledger.tlog.support import leaf, mth, path, read_node

groups = st.lists(st.one_of(st.integers(0, 12), st.integers(0, 300)), max_size=8)


def expected_new_nodes(start, size):
    nodes, level, span = [], 1, 256
    while span <= size:
        nodes += [(level, i, mth(i * span, (i + 1) * span)) for i in range(start // span, size // span)]
        level, span = level + 1, span * 256
    return nodes


def check_tree(tree, start, indexes):
    size = tree.size
    assert tree.start == start
    assert tree.root() == mth(0, size)
    assert tree.frontier() == frontier_at(size, read_node)
    assert tree.new_nodes() == expected_new_nodes(start, size)
    for index in indexes:
        proof = tree.inclusion_proof(index)
        assert proof == path(index, 0, size)
        verify_inclusion(leaf(index), index, size, proof, tree.root())


@settings(max_examples=60)
@given(groups, st.lists(st.booleans(), min_size=8, max_size=8))
def test_any_split_into_groups_gives_the_same_tree(sizes, restarts):
    tree, start = GrowingTree(), 0
    for count, restart in zip(sizes, restarts, strict=False):
        if restart:
            stored = tree.frontier().to_bytes()
            start = tree.size
            tree = GrowingTree(Frontier.from_bytes(start, stored))
        before = tree.size
        tree.extend(leaf(i) for i in range(before, before + count))
        check_tree(tree, start, range(max(start, before - 3), tree.size))


@settings(max_examples=30)
@given(st.integers(0, 70_000), st.integers(0, 1_000))
def test_growing_from_any_size_gives_the_same_tree(start, count):
    tree = GrowingTree(frontier_at(start, read_node))
    tree.extend(leaf(i) for i in range(start, start + count))
    check_tree(tree, start, range(start, start + count, 37))


def test_leaves_one_by_one_give_every_size():
    tree = GrowingTree()
    for size in range(1, 300):
        tree.append(leaf(size - 1))
        assert tree.root() == mth(0, size)
        assert tree.inclusion_proof(size // 2) == path(size // 2, 0, size)


def test_a_tree_that_crosses_the_second_tile_level_says_so():
    start = 65_530
    tree = GrowingTree(frontier_at(start, read_node))
    tree.extend(leaf(i) for i in range(start, 65_540))
    assert tree.new_nodes() == [(1, 255, mth(65_280, 65_536)), (2, 0, mth(0, 65_536))]


def test_an_empty_tree_has_the_empty_root():
    tree = GrowingTree()
    tree.extend([])
    assert (tree.size, tree.root(), tree.new_nodes()) == (0, EMPTY_ROOT, [])


@pytest.mark.parametrize("index", [-1, 0, 9, 13])
def test_only_new_leaves_are_proved(index):
    tree = GrowingTree(frontier_at(10, read_node))
    tree.extend([leaf(10), leaf(11), leaf(12)])
    with pytest.raises(ProofError):
        tree.inclusion_proof(index)


def test_a_group_with_a_malformed_hash_changes_nothing():
    tree = GrowingTree(frontier_at(10, read_node))
    with pytest.raises(ProofError):
        tree.extend([leaf(10), b"short", leaf(12)])
    assert (tree.size, tree.root()) == (10, mth(0, 10))
