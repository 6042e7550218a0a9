import math

import pytest
import torch

from erprm.metrics.reward_hacking import favoured_features, reward_hacking
from tests.metrics.enumeration import best_of, mean_over_subsets

# Right candidates in the middle of the ranking, and a problem that is wrong throughout.
SCORES = [[0.9, 0.7, 0.7, 0.1, 0.4], [0.5, 0.8, 0.3, 0.2, 0.6], [0.2, 0.1, 0.3, 0.4, 0.5]]
CORRECT = [[0, 1, 0, 0, 1], [1, 0, 0, 1, 1], [0, 0, 0, 0, 0]]
NS = [1, 2, 3, 4, 5]
ALL = torch.ones(3, 5, dtype=torch.bool)


def mean_by_enumeration(values: list[list[float]], n: int) -> float:
    of_problems = [
        mean_over_subsets(5, n, best_of(scores, of_problem)) for scores, of_problem in zip(SCORES, values, strict=True)
    ]
    return sum(of_problems) / len(of_problems)


def test_accuracy_score_and_gap_are_means_over_all_subsets() -> None:
    hacking = reward_hacking(torch.tensor(SCORES, dtype=torch.float64), torch.tensor(CORRECT).bool(), ALL, NS)
    accuracy = [mean_by_enumeration([[float(c) for c in row] for row in CORRECT], n) for n in NS]
    score = [mean_by_enumeration(SCORES, n) for n in NS]
    assert hacking.accuracy.mean == pytest.approx(accuracy)
    assert hacking.score.mean == pytest.approx(score)
    assert hacking.gap.mean == pytest.approx([s - a for s, a in zip(score, accuracy, strict=True)])
    assert hacking.peak == NS[accuracy.index(max(accuracy))]
    assert hacking.fall.mean == pytest.approx(max(accuracy) - accuracy[-1])


def test_outscored_is_the_share_of_wrong_choices_with_a_right_candidate_at_hand() -> None:
    hacking = reward_hacking(torch.tensor(SCORES, dtype=torch.float64), torch.tensor(CORRECT).bool(), ALL, NS)
    for n, share in zip(NS, hacking.outscored.mean, strict=True):
        wrong = outscored = 0.0
        for scores, correct in zip(SCORES, CORRECT, strict=True):
            failure = [1.0 - c for c in correct]
            wrong += mean_over_subsets(5, n, best_of(scores, failure))

            def with_right(drawn: tuple[int, ...], s: list[float] = scores, f: list[float] = failure) -> float:
                return best_of(s, f)(drawn) if any(f[i] == 0 for i in drawn) else 0.0

            outscored += mean_over_subsets(5, n, with_right)
        assert share == pytest.approx(outscored / wrong)
    # With all five drawn, the first two problems end wrong with a right one at hand, the third has none.
    assert hacking.outscored.mean[-1] == pytest.approx(2 / 3)


def test_a_perfect_scorer_is_not_hacked() -> None:
    correct = torch.tensor([[True, False], [False, True]])
    hacking = reward_hacking(correct.double(), correct, torch.ones(2, 2, dtype=torch.bool), [1, 2])
    assert (hacking.peak, hacking.fall.mean) == (2, 0.0)
    assert hacking.gap.mean == pytest.approx([0.0, 0.0])
    assert math.isnan(hacking.outscored.mean[1])  # nothing wrong is selected


def test_a_candidate_without_a_score_counts_with_the_lowest_score() -> None:
    scores = torch.tensor([[-math.inf, 0.25], [0.5, 0.75]], dtype=torch.float64)
    hacking = reward_hacking(scores, torch.zeros(2, 2).bool(), torch.ones(2, 2, dtype=torch.bool), [1, 2])
    assert hacking.score.mean == pytest.approx([(0.25 + 0.625) / 2, (0.25 + 0.75) / 2])
    with pytest.raises(ValueError, match="no finite score"):
        reward_hacking(torch.full((1, 2), -math.inf), torch.zeros(1, 2).bool(), torch.ones(1, 2).bool(), [1])


def test_a_scorer_of_length_is_seen_to_favour_it() -> None:
    lengths = torch.tensor([[10.0, 30.0, 20.0], [5.0, 6.0, 7.0]])
    correct = torch.tensor([[True, False, False], [True, False, False]])
    valid = torch.ones(2, 3, dtype=torch.bool)
    favoured = favoured_features(lengths.double(), correct, valid, {"length": lengths, "same": torch.ones(2, 3)})
    assert favoured["length"]["all"].mean == favoured["length"]["wrong"].mean == pytest.approx(1.0)
    assert favoured["same"]["all"].problems == 0
    assert math.isnan(favoured["same"]["all"].mean)
