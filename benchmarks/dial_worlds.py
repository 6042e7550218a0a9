"""Worlds of the demo's dial without models: policies that make its mistakes, with success probabilities that are exact.

The demo tunes its policy on solutions with such mistakes. Here the mistakes themselves are the policy, so that drawing
a world takes no training, and the probability of a right answer after every step is a sum over ten positions.
"""

from __future__ import annotations

import random

from erprm.demo.dial.problems import POSITIONS, DialProblem, Mistakes, systematic_mistakes
from erprm.demo.dial.recipe import FULL


def draw_policy(rng: random.Random) -> Mistakes:
    """The mistakes of a policy, of the kinds and in the shares of the demo's."""
    return Mistakes(systematic_mistakes(rng, FULL.systematic_share), FULL.systematic_rate, FULL.slip_rate)


def success_after(problem: DialProblem, policy: Mistakes) -> list[list[float]]:
    """The probability that the policy ends with the right answer, after each move and at each position of the dial.

    Example:
        Two moves of 1 from 0, where ``1 + 1`` is mistaken for 5 three times in four: a quarter is left at 1.

        >>> after = success_after(DialProblem(0, (1, 1), (0, 0)), Mistakes({(1, 1): 5}, systematic_rate=0.75))
        >>> after[0][1], after[1][2], after[1][5]
        (0.25, 1.0, 0.0)
    """
    after = [[float(str(position) == problem.answer) for position in range(POSITIONS)]]
    for move in reversed(problem.moves[1:]):
        at_position = [
            sum(share * value for share, value in zip(_results(position, move, policy), after[0], strict=True))
            for position in range(POSITIONS)
        ]
        after.insert(0, at_position)
    return after


def _results(position: int, move: int, policy: Mistakes) -> list[float]:
    """Probability of each position as the written result of a move."""
    right, wrong = (position + move) % POSITIONS, policy.systematic.get((position, move))
    slip = policy.slip_rate if wrong is None else 0.0
    shares = [slip / (POSITIONS - 1)] * POSITIONS
    shares[right] = 1 - slip
    if wrong is not None:
        shares[right], shares[wrong] = 1 - policy.systematic_rate, policy.systematic_rate
    return shares
