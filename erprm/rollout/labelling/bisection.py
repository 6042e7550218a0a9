"""Finding the first wrong step of a wrong solution by bisection over its steps (OmegaPRM, arXiv 2406.06592).

A prefix is good if some completion of it is right. In the exact probabilities the good prefixes of a solution come
first: what can be reached from a prefix can be reached from every shorter one. So where they end is found by completing
``ceil(log2(steps))`` prefixes at most, instead of ``steps - 1``. K completions may miss a small chance of success; then
the search ends at some step that no completion mended, after one that some completion did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from erprm.rollout.config import RolloutConfig
from erprm.rollout.labelling.completing import Completer, ProblemRollout, StepPrefix, StepRewards


class FirstErrorSearch:
    """The search in one wrong solution.

    Attributes:
        good: so many steps are good; at first none.
        bad: so many steps are not; at first all, as the solution is wrong. In the end step ``bad`` is the first error.
        asked: prefixes that were asked about, as numbers of steps.
    """

    def __init__(self, steps: int) -> None:
        self.good, self.bad = 0, steps
        self.asked: list[int] = []

    @property
    def probe(self) -> int | None:
        """Number of steps in the prefix to ask about next; None at the end."""
        return None if self.bad - self.good == 1 else (self.good + self.bad) // 2

    def tell(self, steps: int, *, good: bool) -> None:
        """Takes in whether the prefix of so many steps is good."""
        self.asked.append(steps)
        if good:
            self.good = steps
        else:
            self.bad = steps


def find_first_errors(
    rollouts: Sequence[ProblemRollout], completer: Completer, config: RolloutConfig
) -> Iterator[StepRewards]:
    """Completes the prefixes that bisection asks for.

    Nothing is completed for right solutions, and a right solution shows that a prefix of it is good.

    Returns:
        For each solution the rewards of its steps, without the last; no rewards where bisection did not ask. Where it
        asked, they are those of completions, or of right solutions that go through the prefix.
    """
    if config.samples_alike:
        for rollout in rollouts:
            rollout.let_solutions_stand(1, at_least=config.correct_threshold)
    searches = [
        (rollout, rollout.steps_of(solution), FirstErrorSearch(len(solution.steps)))
        for rollout in rollouts
        for solution in rollout.solutions
    ]
    outcomes = [outcome for rollout in rollouts for outcome in rollout.outcomes]
    going_on = [s for s, outcome in zip(searches, outcomes, strict=True) if outcome < config.correct_threshold]
    while going_on:
        unknown: dict[int, tuple[ProblemRollout, StepPrefix]] = {}
        for rollout, steps, search in going_on:
            if (step := _first_unknown(steps, search, config.correct_threshold)) is not None:
                unknown[id(step)] = rollout, step  # solutions may ask about the same prefix
        completer.complete([(*pair, config.completions_per_step) for pair in unknown.values()], config.seed)
        going_on = [s for s in going_on if s[2].probe is not None]
    for _, steps, search in searches:
        yield [_rewards(step) if number in search.asked else [] for number, step in enumerate(steps, 1)]


def _first_unknown(steps: Sequence[StepPrefix], search: FirstErrorSearch, threshold: float) -> StepPrefix | None:
    """Goes on with a search as far as is known; returns the prefix to complete next, None at the end."""
    while (probe := search.probe) is not None:
        step = steps[probe - 1]
        if not _rewards(step):
            return step
        search.tell(probe, good=max(_rewards(step)) >= threshold)
    return None


def _rewards(step: StepPrefix) -> list[float]:
    return [*step.solutions, *(draw.reward for draw in step.draws)]
