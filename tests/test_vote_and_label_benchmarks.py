"""Benchmarks of votes and of label estimates: their arithmetic on cases small enough to do by hand."""

import random
from typing import Any

import pytest
import torch

from erprm.demo.dial.problems import DialProblem, Mistakes, solve
from erprm.metrics.evaluation import Candidates
from tests.conftest import REPOSITORY, load_script

ONE_TWICE = DialProblem(0, (1, 1), (0, 0))


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))


def script(name: str) -> Any:
    return load_script(REPOSITORY / "benchmarks" / f"{name}.py")


def test_a_systematic_mistake_is_made_at_its_rate_and_nothing_else_goes_wrong() -> None:
    after = script("dial_worlds").success_after(ONE_TWICE, Mistakes({(1, 1): 5}, systematic_rate=0.75))
    assert after[0][1] == 0.25
    assert [position for position, p in enumerate(after[1]) if p] == [2]
    # From 4 the last move leads to 5: no mistake brings it to 2.
    assert after[0][4] == 0.0


def test_a_slip_may_lead_to_any_other_position() -> None:
    after = script("dial_worlds").success_after(ONE_TWICE, Mistakes(slip_rate=0.09))
    assert after[0][1] == pytest.approx(0.91)
    assert after[0][4] == pytest.approx(0.01)


def test_solutions_are_right_as_often_as_the_sum_says() -> None:
    worlds, rng = script("dial_worlds"), random.Random(0)
    policy = worlds.draw_policy(rng)
    problem = DialProblem(3, (4, -8, 2, 5), (0, 0, 0, 0))
    after = worlds.success_after(problem, policy)
    solutions = [solve(problem, rng, policy) for _ in range(4000)]
    expected = sum(after[0][steps[0].result] for steps in solutions) / len(solutions)
    right = sum(str(steps[-1].result) == problem.answer for steps in solutions) / len(solutions)
    assert right == pytest.approx(expected, abs=4 * 0.5 / 4000**0.5)


def test_steps_are_grouped_from_both_ends_and_rare_positions_join_the_one_before() -> None:
    groups = script("label_estimates").positions([3, 2], least=2)
    assert groups["posterior"].tolist() == [0, 0, 0, 0, 0]
    assert groups["from the start"].tolist() == [0, 1, 1, 0, 1]
    assert groups["from the end"].tolist() == [1, 1, 0, 1, 0]


def test_likelihoods_are_of_priors_fitted_to_other_solutions() -> None:
    # Of each fold of one solution the others are the same: the prior is uniform, under which 0, 1, 2 of 2 are alike.
    right = torch.tensor([0.0, 1.0, 2.0] * 10).double()
    found = script("label_estimates").log_likelihoods(
        right, torch.full_like(right, 2), torch.zeros(30).long(), torch.arange(30) // 3
    )
    # 1/3 for each count; that of 1 of 2 is of two orders.
    expected = torch.tensor([1 / 3, 1 / 6, 1 / 3]).double().log().repeat(10)
    assert torch.allclose(found, expected, atol=1e-3)


def test_a_vote_adds_up_weights_and_one_without_a_score_is_not_counted() -> None:
    vote = script("learned_vote").vote
    answers = torch.tensor([[5, 3, 3]] * 3)
    pool = Candidates(answers == 5, answers, answers, torch.ones(3, 3, dtype=torch.bool))
    weights = torch.tensor([[0.9, 0.4, 0.3], [0.9, 0.5, 0.5], [0.4, 0.5, 0.0]])
    assert vote(pool, weights.log()).tolist() == [1.0, 0.0, 0.0]
    unscored = torch.tensor([[0.0, 0.0, 0.0], [1.0, -torch.inf, -torch.inf], [1.0, 0.9, -torch.inf]])
    assert vote(pool, 0.0 * unscored).tolist() == [0.0, 1.0, 0.5]


def test_the_probability_of_a_candidate_is_learned_from_other_problems() -> None:
    answers = torch.tensor([[1, 0], [1, 0]])
    pool = Candidates(torch.tensor([[True, False], [True, True]]), answers, answers, torch.ones(2, 2) > 0)
    scores = torch.tensor([[0.8, 0.2], [0.8, -torch.inf]])
    found = script("learned_vote").right_probabilities(pool, scores, "isotonic", folds=2, seed=0)
    # Of one candidate no map is surer than 2/3; of a right one at 0.8 and a wrong one at 0.2, than 3/4.
    assert found[0].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert found[1, 0].item() == pytest.approx(0.75)
    assert found[1, 1].isnan()


def test_a_drawn_world_is_scored_by_its_exact_values_where_there_is_no_noise() -> None:
    benchmark = script("learned_vote")
    pool, logits, noise = benchmark.draw_pool(seed=0, problems=4, candidates=8)
    assert logits.shape == noise.shape == (4, 8, 6)
    scores = logits.amin(2).sigmoid()
    # The last step is certain, within the bounds.
    assert logits[..., -1].sigmoid()[pool.correct_PN].tolist() == pytest.approx([0.98] * int(pool.correct_PN.sum()))
    assert float(scores[~pool.correct_PN].max()) == pytest.approx(0.02)
    found = benchmark.accuracies(pool, scores, "isotonic", folds=2, seed=0)
    solvable = pool.correct_PN.any(1).double()
    assert found["best-of-n"].tolist() == solvable.tolist()
