"""Public tables tell of nobody alone: small counts are held back, and cannot be computed from the others.

The attacker here has every public table of a year at once, and knows how their numbers add up.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.oversight_public import PARTS, Roots, TwoWay, let_through
from projections.oversight_stays import DIMENSIONS, NAMES
from projections.oversight_tables import INDEX, Line
from projections.suppression import LEAST, hide_line, hide_parts, hide_table, is_small

PRIME = 2**61 - 1
KEYS = {
    "body": ["a", "b", "c", "d", "e"],
    "month": ["2026-01", "2026-02", "2026-03"],
    "kind": ["application", "complaint", "request"],
    "category": ["land", "other"],
    "region": ["71", "unknown"],
    "channel": ["paper"],
    "origin": ["filed"],
}
TABLES = [("body", "month"), *product(("body", "month"), DIMENSIONS)]


class World:
    """Some appeals, and every table that everybody may see of them."""

    def __init__(self, appeals):
        self.appeals = appeals
        self.total = self.line("", lambda appeal: True)
        self.lines = {
            axis: [self.line(key, lambda appeal, axis=axis, key=key: appeal[axis] == key) for key in keys]
            for axis, keys in KEYS.items()
        }
        # A body without appeals stands in no table.
        self.lines["body"] = [line for line in self.lines["body"] if line["received"]]
        counts = {axis: {line.key: line["appeals"] for line in lines} for axis, lines in self.lines.items()}
        self.roots = Roots("2026", counts, self.total["appeals"])
        self.shown = {
            axis: let_through(lines, self.total, self.roots.hidden[axis], self.roots.withheld)
            for axis, lines in self.lines.items()
        }
        self.crossed = {
            (across, down): TwoWay(self.roots, across, down, self.pairs(across, down).items_())
            for across, down in TABLES
        }

    def line(self, key, belongs):
        sums = Counter()
        for appeal in filter(belongs, self.appeals):
            sums.update(appeal["n"])
        return Line(key, [sums[name] for name in NAMES])

    def pairs(self, across, down):
        found = Counter()
        for appeal in self.appeals:
            found[appeal[across], appeal[down]] += appeal["n"]["appeals"]
        return Pairs(found)

    # --- what an attacker has -----------------------------------------------------------------------

    def truth(self):
        """Every number there is, shown or not."""
        found = {("total", name): self.total[name] for name in NAMES}
        for axis, lines in self.lines.items():
            found |= {(axis, line.key, name): line[name] for line in lines for name in NAMES}
        for across, down in TABLES:
            pairs = self.pairs(across, down)
            found |= {
                (across, row, down, column): pairs[row, column]
                for row, column in product(self.keys(across), self.keys(down))
            }
        return found

    def told(self):
        """The numbers that are shown somewhere."""
        found = {}
        for axis, (lines, total) in self.shown.items():
            found |= {(axis, line.key, name): line[name] for line in lines for name in NAMES}
            again = {("total", name): total[name] for name in NAMES}
            assert all(found.get(cell, number) == number for cell, number in again.items()), "totals differ"
            found |= again
        for (across, down), table in self.crossed.items():
            found |= {
                (across, row, down, column): table.shown(row, column)
                for row, column in product(self.keys(across), self.keys(down))
            }
        return {cell: number for cell, number in found.items() if number is not None}

    def equations(self):
        """Sums that everybody knows: in each, the cells times their factors are zero."""
        places = [("total",)] + [(axis, line.key) for axis, lines in self.lines.items() for line in lines]
        for place in places:
            yield {(*place, "received"): -1, (*place, "appeals"): 1, (*place, "forwarded_away"): 1}
            for whole, parts in PARTS:
                yield {(*place, whole): -1} | {(*place, part): 1 for part in parts}
        for axis, name in product(self.lines, NAMES):
            yield {("total", name): -1} | {(axis, line.key, name): 1 for line in self.lines[axis]}
        for across, down in TABLES:
            for row in self.keys(across):
                cells = {(across, row, down, column): 1 for column in self.keys(down)}
                yield cells | {(across, row, "appeals"): -1}
            for column in self.keys(down):
                cells = {(across, row, down, column): 1 for row in self.keys(across)}
                yield cells | {(down, column, "appeals"): -1}

    def keys(self, axis):
        return [line.key for line in self.lines[axis]]

    def open_equations(self):
        """The same with what is told put in: the unknown cells, and what they add up to."""
        told = self.told()
        for equation in self.equations():
            unknown = {cell: factor for cell, factor in equation.items() if cell not in told}
            yield unknown, -sum(factor * told[cell] for cell, factor in equation.items() if cell in told)


class Pairs(Counter):
    def items_(self):
        return [(row, column, number) for (row, column), number in self.items()]


def computable(world):
    """Cells that follow from what is told, by adding and subtracting."""
    solved = {}
    for unknown, constant in world.open_equations():
        row, value = dict(unknown), constant % PRIME
        for pivot in [cell for cell in row if cell in solved]:
            row, value = without(row, value, pivot, *solved[pivot])
        if row:
            pivot = next(iter(row))
            factor = pow(row[pivot], -1, PRIME)
            row, value = {cell: f * factor % PRIME for cell, f in row.items()}, value * factor % PRIME
            for other in [cell for cell, (its_row, _) in solved.items() if pivot in its_row]:
                solved[other] = without(*solved[other], pivot, row, value)
            solved[pivot] = row, value
        else:
            assert value == 0, "what is shown contradicts itself"
    return {pivot for pivot, (row, _) in solved.items() if len(row) == 1}


def without(row, value, pivot, other, other_value):
    """One equation less a multiple of another one, so that the pivot goes."""
    factor = row[pivot]
    found = {
        cell: (row.get(cell, 0) - factor * other.get(cell, 0)) % PRIME for cell in row.keys() | other.keys()
    }
    return {cell: f for cell, f in found.items() if f}, (value - factor * other_value) % PRIME


def pinned(world):
    """Cells that follow when it is known besides that no number is less than zero: cell → its only value."""
    # A body stands in the table because it received something.
    low, high = Counter({("body", key, "received"): 1 for key in world.keys("body")}), {}
    equations = [(unknown, constant) for unknown, constant in world.open_equations() if unknown]
    for _ in range(30):
        before = dict(low), dict(high)
        for unknown, constant in equations:
            for cell, factor in unknown.items():
                most = least = constant
                for other, f in unknown.items():
                    if other != cell:
                        a, b = f * low[other], f * high[other] if other in high else None
                        small, large = (a, b) if f > 0 else (b, a)
                        most = None if most is None or small is None else most - small
                        least = None if least is None or large is None else least - large
                upper, lower = (most, least) if factor > 0 else (least, most)
                if upper is not None:
                    high[cell] = min(high.get(cell, upper // factor), upper // factor)
                if lower is not None:
                    low[cell] = max(low[cell], -(-lower // factor))
        if (dict(low), dict(high)) == before:
            break
    return {cell: low[cell] for cell in high if high[cell] == low[cell]}


def appeal(chance, weights):
    n = Counter(received=1)
    if chance.random() < 0.15:
        n["forwarded_away"] = 1
        n["forwarded_late"] = chance.random() < 0.5
    else:
        n["appeals"] = 1
        status = chance.choices(["answered", "open", "returned", "closed"], [12, 5, 1, 1])[0]
        n[status] = 1
        n["unanswered"] = status != "answered"
        if status == "answered":
            n[chance.choices(["in_time", "late", "term_unknown"], [6, 2, 1])[0]] = 1
            n[chance.choices(["explained", "satisfied", "noted"], [6, 3, 1])[0]] = 1
    for name in ("extended", "deemed_refusals", "hearings"):
        n[name] = chance.random() < 0.15
    if chance.random() < 0.2:
        n["complaints"] = 1
        n[chance.choice(["complaints_pending", "dismissed", "remitted"])] = 1
    return {axis: chance.choices(keys, weights[axis])[0] for axis, keys in KEYS.items()} | {"n": n}


def some_world(seed, size):
    chance = random.Random(seed)  # noqa: S311
    weights = {axis: [chance.choice([1, 1, 3, 12]) for _ in keys] for axis, keys in KEYS.items()}
    return World([appeal(chance, weights) for _ in range(size)])


WORLDS = st.builds(some_world, st.integers(0, 2**32), st.sampled_from([3, 9, 20, 40, 60, 120, 400]))


@settings(max_examples=60)
@given(world=WORLDS)
def test_no_small_count_is_shown_and_none_can_be_computed(world):
    truth, told = world.truth(), world.told()
    assert all(truth[cell] == number for cell, number in told.items())
    assert not [cell for cell, number in told.items() if is_small(number)]
    found = {cell: truth[cell] for cell in computable(world) if is_small(truth[cell])}
    assert not found


@settings(max_examples=60)
@given(world=WORLDS)
def test_nor_do_small_counts_follow_from_what_cannot_be_less_than_nothing(world):
    truth = world.truth()
    found = {cell: value for cell, value in pinned(world).items() if is_small(truth[cell])}
    assert not found


@settings(max_examples=30)
@given(world=st.builds(some_world, st.integers(0, 2**32), st.sampled_from([400, 3000])))
def test_large_tables_still_tell_most_of_what_they_could(world):
    told, truth = world.told(), world.truth()
    assert ("total", "appeals") in told
    large = [cell for cell, number in truth.items() if number >= 40]
    assert len([cell for cell in large if cell in told]) >= 0.6 * len(large)


class TestTheRule:
    def test_zero_and_five_are_shown_and_what_is_between_is_not(self):
        assert [count for count in range(7) if is_small(count)] == [1, 2, 3, 4]
        assert LEAST == 5

    def test_a_line_hides_a_second_count_beside_a_small_one(self):
        assert hide_line({"a": 3, "b": 50, "c": 7, "d": 0}) == ({"a", "c"}, True)

    def test_a_line_without_small_counts_hides_nothing(self):
        assert hide_line({"a": 5, "b": 50, "c": 0}) == (set(), True)

    def test_two_small_counts_that_are_together_five_hide_each_other(self):
        assert hide_line({"a": 3, "b": 2, "c": 70}) == ({"a", "b"}, True)
        assert hide_line({"a": 2, "b": 2, "c": 70}) == ({"a", "b", "c"}, True)

    def test_ones_alone_need_something_that_may_be_more(self):
        ones = dict.fromkeys("abcde", 1)
        assert hide_line(ones | {"f": 9}) == ({*"abcdef"}, True)
        assert hide_line(ones | {"f": 0}) == ({*"abcdef"}, True)
        assert hide_line(ones) == ({*"abcde"}, False)

    def test_a_row_hides_the_rarest_columns_up_to_its_last_small_cell(self):
        rows = {"a": [90, 2, 9, 8], "b": [80, 1, 9, 7], "c": [70, 0, 14, 15]}
        hidden = hide_table(rows, [240, 3, 32, 30])
        assert hidden == {"a": frozenset({1, 3}), "b": frozenset({1, 3})}

    def test_the_only_row_with_a_small_cell_is_not_left_alone(self):
        hidden = hide_table({"a": [3, 50], "b": [40, 60], "c": [9, 9]}, [52, 119])
        assert hidden == {"a": frozenset({0, 1}), "c": frozenset({0, 1})}

    def test_the_parts_of_a_total_hide_the_rarest_ones(self):
        assert hide_parts([100, 2, 0, 30, 9]) == {1, 4}
        assert hide_parts([100, 0, 7]) == set()

    @pytest.mark.parametrize("name", ["received", "appeals", "answered"])
    def test_a_small_ledger_tells_everybody_nothing(self, name):
        world = some_world(1, 4)
        assert world.shown["body"][1][name] is None
        assert all(line.numbers[INDEX[name]] is None for line in world.shown["month"][0])
