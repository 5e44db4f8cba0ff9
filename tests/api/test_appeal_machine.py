"""Whatever anybody does with appeals, in whatever order: the service does what a plain model says.

Games are played by a Hypothesis state machine, which makes short what went wrong, and by dice, which come
further. The suite's games are always the same. To play 500 others of each sort, and be told how often each
step was taken or refused: ``APPEAL_GAMES=500 pytest tests/api/test_appeal_machine.py -s``.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.api.appeal_game import BEGINNINGS
from tests.api.appeal_moves import MOVES, Moves

GAMES = int(os.environ.get("APPEAL_GAMES", "0"))
LENGTH = 50
"""Moves of a game."""


class Appealing(RuleBasedStateMachine):
    """A game; each rule is a move."""

    databases: tuple
    seen: Counter

    @initialize(data=st.data(), beginning=st.sampled_from(BEGINNINGS))
    def begin(self, data, beginning):
        self.game = Moves(self.databases, beginning, self.seen)
        self.game.open_with(_picks(data))

    @rule(data=st.data(), move=st.sampled_from(MOVES))
    def somebody_moves(self, data, move):
        getattr(self.game, move)(_picks(data))

    def teardown(self):
        if hasattr(self, "game"):
            self.game.end()


def _picks(data):
    return lambda *values: data.draw(st.sampled_from(values))


def _dice(chance):
    return lambda *values: chance.choice(values)


def _tell(seen):
    if GAMES:
        print()  # noqa: T201
        for (name, what), count in sorted(seen.items()):
            print(f"{count:8} {name}: {what}")  # noqa: T201


def test_whatever_is_done_with_appeals_the_service_does_as_the_model_says(postgres, migrated):
    class Run(Appealing):
        databases, seen = (postgres, migrated), Counter()

    played = settings(
        max_examples=GAMES or 6,
        stateful_step_count=LENGTH,
        derandomize=not GAMES,
        phases=set(Phase) - {Phase.explain},
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Run, settings=played)
    _tell(Run.seen)


@pytest.mark.parametrize("beginning", BEGINNINGS, ids=lambda beginning: f"from {beginning[0]:%Y-%m-%d}")
def test_games_of_dice_end_as_the_model_says(postgres, migrated, beginning):
    seen = Counter()
    for number in range(-(-GAMES // len(BEGINNINGS)) or 4):
        seed = f"{number} {os.urandom(8).hex() if GAMES else beginning[0]}"
        pick, made = random.Random(seed), []  # noqa: S311
        game = Moves((postgres, migrated), beginning, seen)
        try:
            game.open_with(_dice(pick))
            for _ in range(LENGTH):
                made.append(game.move(_dice(pick)))
        except Exception as wrong:
            wrong.add_note(f"The dice were {seed!r}; the moves: {', '.join(made)}, and this one.")
            raise
        finally:
            game.end()
    _tell(seen)
