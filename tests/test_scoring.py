"""One place says what a scorer must return."""

import pytest
import torch

from erprm.models import ScorerError, ScorerModule
from erprm.scoring import checked_scores
from erprm.steps import Solution

SOLUTIONS = [Solution("one?", ["a", "b"]), Solution("two?", ["c"]), Solution("three?", ["d"])]


def test_scores_of_any_kind_become_float32() -> None:
    scores = checked_scores([[0.5, 1], torch.tensor([0.25], dtype=torch.float64), torch.tensor([1])], SOLUTIONS)
    assert [each.tolist() for each in scores] == [[0.5, 1.0], [0.25], [1.0]]
    assert {each.dtype for each in scores} == {torch.float32}


def test_too_few_solutions_name_the_first_that_has_no_scores() -> None:
    with pytest.raises(ScorerError, match=r"returned scores for 2 of 3 solutions; the first without is of 'three\?'"):
        checked_scores([torch.zeros(2), torch.zeros(1)], SOLUTIONS)
    with pytest.raises(ScorerError, match=r"returned scores for 4 of 3 solutions$"):
        checked_scores([torch.zeros(2), *[torch.zeros(1)] * 3], SOLUTIONS)


def test_too_few_steps_name_the_solution_and_both_counts() -> None:
    with pytest.raises(ScorerError, match=r"returned 1 scores for the 2 steps of a solution of 'one\?'"):
        checked_scores([torch.zeros(1)] * 3, SOLUTIONS)


def test_a_scorer_that_can_be_closed_is_closed_with_the_trainer() -> None:
    class Closing:
        closed = 0

        def score_steps(self, solutions: list[Solution]) -> list[torch.Tensor]:
            return [torch.zeros(len(each.steps)) for each in solutions]

        def close(self) -> None:
            self.closed += 1

    module = ScorerModule(scorer := Closing())
    module.teardown("test")
    assert scorer.closed == 1
