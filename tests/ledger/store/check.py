"""Re-derive the whole log from its rows, as a stranger would: run after every test that appends."""

from __future__ import annotations

import psycopg

from ledger.tlog.checkpoint import open_checkpoint
from ledger.tlog.merkle import Frontier, GrowingTree, leaf_hash


def check_log(admin_url, log_key):
    """Positions without gaps, leaves, nodes, head and every checkpoint follow from the entries."""
    with psycopg.connect(admin_url) as connection:
        entries = connection.execute(
            "SELECT position, stream, n, entry, leaf FROM ledger.entries ORDER BY position"
        ).fetchall()
        assert [row[0] for row in entries] == list(range(len(entries)))
        leaves = [leaf_hash(row[3]) for row in entries]
        assert [row[4] for row in entries] == leaves
        last = {}
        for _, stream, n, _, _ in entries:
            assert n == last.get(stream, n - 1) + 1, f"{stream} jumps to {n}"
            last[stream] = n
        checkpoints = connection.execute("SELECT size, root, note FROM ledger.checkpoints ORDER BY size")
        tree = GrowingTree(Frontier(0, ()))
        size = 0
        for size, root, note in checkpoints:
            tree.extend(leaves[tree.size : size])
            checkpoint = open_checkpoint(note, log_key).checkpoint
            assert (checkpoint.size, checkpoint.root) == (size, root) == (tree.size, tree.root())
        assert size == len(entries), "every entry is under a checkpoint"
        head = connection.execute("SELECT size, frontier FROM ledger.head").fetchone()
        assert head == (len(entries), tree.frontier().to_bytes())
        nodes = connection.execute("SELECT level, index, hash FROM ledger.nodes").fetchall()
        assert sorted(nodes) == sorted(tree.new_nodes())
        return len(entries)
