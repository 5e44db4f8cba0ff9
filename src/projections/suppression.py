"""Which numbers of public tables are held back, so that no count of fewer than five is told. Pure.

A count of 1 to 4 is *small* and never shown. Zero is shown: where nobody is, nobody is recognised. Numbers
that add up would give a small one away as the rest of a total, so others are held back with it:

- **in a line** (counts with one total) the next larger ones, until at least two are hidden that are together
  five or more, and more than there are of them;
- **in a table** (rows whose cells add up to a total for each row and for each column) a row hides its columns
  from the rarest one up to its last small cell, and goes on until two columns are hidden that are together
  five or more. Rare is what is rare in the table's totals, so that all rows hide in the same order. A row
  that would be the only one to hide just these columns hides all of them; were it then the only one to hide
  all, the row with the smallest total does so too.

Why that is enough: rows that hide the same columns are, whatever else is known, a table of which nothing but
the totals is known. In such a table a cell follows from the totals only if its row, or its column, holds
everything; but two rows hold something, and a small cell is less than its row. A small total of a column is
a cell of a line and hidden there with others; every row with something in that column hides one of them as
well, and moving an appeal from one to the other changes no number that is shown.

What is held back here still follows from the log, whose entries everybody can count: they name nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

LEAST = 5
"""Fewer appeals than this are told to nobody but oversight councils."""


def is_small(count: int) -> bool:
    """Whether a count must not be shown."""
    return 0 < count < LEAST


def hide_line(counts: Mapping[str, int], forced: Collection[str] = ()) -> tuple[set[str], bool]:
    """Which of the counts of a line are hidden, ``forced`` ones among them, beside a total that is shown.

    Also whether that is enough. It is not where all are ones and nothing is left to be hidden: then the
    total must not be shown either.
    """
    hidden = {key for key, count in counts.items() if 0 < count < LEAST}
    hidden.update(forced)
    if not hidden:
        return hidden, True
    rest = sorted((not count, count, key) for key, count in counts.items() if key not in hidden)
    for zero, _, key in rest:
        # A zero says least: it is hidden only where nothing else is left.
        if _is_enough(counts, hidden) or (zero and sum(counts[one] for one in hidden) < LEAST):
            break
        hidden.add(key)
    return hidden, _is_enough(counts, hidden) or sum(counts.values()) < LEAST


def _is_enough(counts: Mapping[str, int], hidden: Collection[str]) -> bool:
    parts = [counts[key] for key in hidden if counts[key]]
    together = sum(parts)
    ambiguous = len(parts) < len(hidden) or 1 < len(parts) < together
    return not parts or (together >= LEAST and ambiguous)


def hide_parts(cells: Sequence[int]) -> frozenset[int]:
    """Which cells of one row are hidden beside its total, which is shown; by index."""
    order = _rarest_first(cells)
    return frozenset(order[: _depth(cells, order)])


def hide_table(
    rows: Mapping[str, Sequence[int]], totals: Sequence[int], forced: Collection[str] = ()
) -> dict[str, frozenset[int]]:
    """Which cells of each row are hidden, by index; rows that hide nothing are left out.

    ``totals``: of the columns. ``forced``: rows whose own total is hidden; they hide everything.
    """
    order = _rarest_first(totals)
    full = len(order)
    hiding = set(forced)
    depths = {key: full if key in hiding else _depth(row, order) for key, row in rows.items() if any(row)}
    if full > 1:
        _pair(depths, {key: sum(rows[key]) for key in depths}, full)
    sets = [frozenset(order[:depth]) for depth in range(full + 1)]
    found = {key: sets[depth] for key, depth in depths.items() if depth}
    return found | dict.fromkeys(hiding & rows.keys(), frozenset(range(len(totals))))


def _rarest_first(totals: Sequence[int]) -> list[int]:
    return sorted((i for i, total in enumerate(totals) if total), key=lambda i: (totals[i], i))


def _depth(row: Sequence[int], order: Sequence[int]) -> int:
    """How many columns a row hides, in that order, for its own sake."""
    depth = len(order)
    while depth and not 0 < row[order[depth - 1]] < LEAST:
        depth -= 1
    if depth == 0 or len(order) == 1:
        return 0
    while depth < len(order) and sum(row[column] for column in order[:depth]) < LEAST:
        depth += 1
    return depth


def _pair(depths: dict[str, int], sizes: Mapping[str, int], full: int) -> None:
    """Let no row be the only one to hide just its columns."""
    while True:
        alike = Counter(depth for depth in depths.values() if depth)
        lone = [key for key, depth in depths.items() if alike[depth] == 1]
        if not lone:
            return
        below = [key for key in lone if depths[key] < full] or [key for key in depths if depths[key] < full]
        if not below:
            return  # the only row there is: it is hidden as the totals are
        depths[min(below, key=lambda key: (sizes[key], key))] = full
