"""Allocation of completions to step prefixes, and the choice of draws that make up each label.

Labels are plain means of what is stored (of ``exp(eta * r)``, for whichever eta a training takes), so every choice
here must leave that mean unbiased. docs/fewer-tokens.md has the proofs.

**Solutions as completions.** A solution was sampled from the policy, and what it wrote after one of its prefixes is a
completion of that prefix. But the prefix is there because *this* solution was cut there and went on with another step:
it was selected. Completions that were sampled for the prefix tell whether that matters. Solutions are counted if each
of these, too, would have given the prefix, and left out otherwise.

**Enough successes.** With ``enough`` a prefix is completed until so many completions are correct (inverse binomial
sampling, Haldane 1945). The last of them is always a success and is left out, which makes the mean of the others
unbiased (Girshick, Mosteller and Savage 1946).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Draw:
    """One completion sampled for a prefix.

    Attributes:
        reward: its outcome.
        gives_prefix: whether a solution that had gone on like this would have been cut at the prefix, and been whole.
    """

    reward: float
    gives_prefix: bool


@dataclass(frozen=True)
class Allocation:
    """The rule by which a prefix gets completions.

    Attributes:
        most: completions at most, solutions that stand for some included.
        enough: correct completions that end it earlier, at least 2; None for no such end.
        threshold: reward from which a completion counts as correct.
    """

    most: int
    enough: int | None
    threshold: float

    @property
    def most_solutions(self) -> int:
        """Most solutions that may count as completions: half, as they may have to be left out in the end."""
        return self.most // 2 if self.enough is None else min(self.enough // 2, self.enough - 2)

    def wanted(self, solutions: Sequence[float], draws: Sequence[Draw]) -> int:
        """Minimum number of completions still to sample before the prefix can be done; 0 once it is.

        Args:
            solutions: outcomes of solutions that go through the prefix, at most ``most_solutions``.
            draws: completions sampled so far.
        """
        left = self.most - len(solutions) - len(draws)
        return left if self.enough is None else min(left, self.enough - self._successes(solutions, draws))

    def rewards(self, solutions: Sequence[float], draws: Sequence[Draw]) -> list[float]:
        """Rewards to store for a finished prefix; see :meth:`wanted` for the arguments."""
        kept = [draw.reward for draw in draws]
        if self.enough is not None and self._successes(solutions, draws) == self.enough:
            kept.pop()
        return [*solutions, *kept] if all(draw.gives_prefix for draw in draws) else kept

    def _successes(self, solutions: Sequence[float], draws: Sequence[Draw]) -> int:
        return sum(reward >= self.threshold for reward in (*solutions, *(draw.reward for draw in draws)))
