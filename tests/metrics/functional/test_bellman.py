import math
from itertools import product

import pytest
import torch

from erprm.metrics import entropic_bellman_residual
from erprm.rewards import binary_reward

# A tree of steps: from the prefix "a" the policy goes on with "b" (1/4), "c" (1/2), or ends there, wrongly (1/4); "b"
# ends right, "c" goes on to "d" (right) or "e" (wrong) by a coin. So the success rates are, by summing up:
RATE = {"a": 0.5, "ab": 1.0, "ac": 0.5, "acd": 1.0, "ace": 0.0}
# Eight solutions as often as the policy writes them.
SOLUTIONS = ["ab"] * 2 + ["acd"] * 2 + ["ace"] * 2 + ["a"] * 2
OUTCOME = {"ab": 1.0, "acd": 1.0, "ace": 0.0, "a": 0.0}
LENGTHS = [len(solution) for solution in SOLUTIONS]
OUTCOMES = [OUTCOME[solution] for solution in SOLUTIONS]
PREFIXES = [solution[: step + 1] for solution in SOLUTIONS for step in range(len(solution))]
IDS = [list(RATE).index(prefix) for prefix in PREFIXES]
PROBLEMS = [0, 1] * 4


@pytest.mark.parametrize("eta", [-1e4, -2.0, -1e-9, 0.0, 1e-9, 2.0, 30.0, 1e4])
def test_exact_scores_have_no_residual(eta: float) -> None:
    exact = binary_reward(torch.tensor([RATE[prefix] for prefix in PREFIXES], dtype=torch.float64), eta)
    found = entropic_bellman_residual(exact, LENGTHS, OUTCOMES, PROBLEMS, eta)
    torch.testing.assert_close(found.mean_T, torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0.0)
    assert found.solutions_T.tolist() == [8, 6, 4]
    assert found.squared.isnan()
    assert found.prefixes == 0


def test_a_wrong_score_is_seen_at_its_position_and_with_the_other_sign_at_the_one_before() -> None:
    # "ac" has 0.8 in the place of 0.5: four solutions of eight reach it, of six that have two steps.
    scores = [0.8 if prefix == "ac" else RATE[prefix] for prefix in PREFIXES]
    found = entropic_bellman_residual(scores, LENGTHS, OUTCOMES, PROBLEMS, 0.0)
    assert found.mean_T.tolist() == pytest.approx([-0.3 * 4 / 8, 0.3 * 4 / 6, 0.0], abs=1e-12)
    # At eta = 2 it stands for (e^1.6 - 1) / (e^2 - 1), and the exact rewards for the success rates.
    rewards = [0.8 if prefix == "ac" else float(binary_reward([RATE[prefix]], 2.0)) for prefix in PREFIXES]
    off = math.expm1(1.6) / math.expm1(2.0) - 0.5
    found = entropic_bellman_residual(rewards, LENGTHS, OUTCOMES, PROBLEMS, 2.0)
    assert found.mean_T.tolist() == pytest.approx([-off * 4 / 8, off * 4 / 6, 0.0], abs=1e-7)


@pytest.mark.parametrize("score", [0.5, 0.9])
def test_the_squared_residual_is_without_the_noise_of_the_children(score: float) -> None:
    # Three children of "a" are drawn, in all ways: the mean over them is (score - 0.5)^2, 0 for the exact score.
    children = [("ab", 0.25), ("ac", 0.5), ("a", 0.25)]
    total = 0.0
    for drawn in product(children, repeat=3):
        solutions = [text for text, _ in drawn]
        prefixes = [text[: step + 1] for text in solutions for step in range(len(text))]
        scores = [score if prefix == "a" else RATE[prefix] for prefix in prefixes]
        # Each "ac" ends in a value of its own, so that only "a" is looked at.
        ids = [0 if prefix == "a" else 1 + place for place, prefix in enumerate(prefixes)]
        outcomes = [RATE[text] if text != "a" else 0.0 for text in solutions]
        lengths = [len(text) for text in solutions]
        found = entropic_bellman_residual(scores, lengths, outcomes, [0] * 3, 0.0, ids)
        assert found.prefixes == 1
        total += math.prod(weight for _, weight in drawn) * float(found.squared)
    assert total == pytest.approx((score - 0.5) ** 2, abs=1e-12)


def test_intervals_are_over_problems() -> None:
    # Two problems with residuals 0.2 and -0.4: a resample has both, or one of them twice.
    found = entropic_bellman_residual([0.7, 0.6], [1, 1], [0.5, 1.0], [4, 9], 0.0)
    assert [float(end) for end in (found.mean_T, found.low_T, found.high_T)] == pytest.approx([-0.1, -0.4, 0.2])


def test_what_has_no_residual_is_refused() -> None:
    with pytest.raises(ValueError, match="eta is inf; the equation is defined for a finite one"):
        entropic_bellman_residual([0.5], [1], [1.0], [0], math.inf)
    with pytest.raises(ValueError, match=r"outcomes_M must have shape \[1\], found \[2\]"):
        entropic_bellman_residual([0.5], [1], [1.0, 0.0], [0], 1.0)
    with pytest.raises(ValueError, match=r"prefixes_S must have shape \[1\], found \[2\]"):
        entropic_bellman_residual([0.5], [1], [1.0], [0], 1.0, [0, 1])
    with pytest.raises(ValueError, match=r"scores_S\[0\] is 1.5; it must lie in"):
        entropic_bellman_residual([1.5], [1], [1.0], [0], 1.0)
