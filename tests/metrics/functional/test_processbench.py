import math
import random

import pytest
import torch

from erprm.metrics import best_threshold, match_intervals, processbench_score

# Four solutions: wrong in step 1, wrong in step 0, and two without a wrong step.
SCORES = [[0.9, 0.3, 0.8], [0.6, 0.2], [0.7, 0.8], [0.4]]
FIRST_ERRORS = [1, 0, -1, -1]


def first_below(scores: list[float], threshold: float) -> int:
    return next((step for step, score in enumerate(scores) if score < threshold), -1)


def f1_as_the_authors_compute_it(scores: list[list[float]], labels: list[int], threshold: float) -> float:
    """Section 3.3 of arXiv 2412.06559: accuracies on the samples with label != -1 and == -1, harmonic mean."""
    hits = [
        (label, first_below(of_solution, threshold) == label) for of_solution, label in zip(scores, labels, strict=True)
    ]
    wrong = [hit for label, hit in hits if label != -1]
    right = [hit for label, hit in hits if label == -1]
    first, second = sum(wrong) / len(wrong), sum(right) / len(right)
    return 2 * first * second / (first + second) if first + second else 0.0


def tensors(scores: list[list[float]], labels: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    flat = torch.tensor([score for of_solution in scores for score in of_solution], dtype=torch.float64)
    return flat, torch.tensor([len(of_solution) for of_solution in scores]), torch.tensor(labels)


def test_accuracies_and_f1_by_hand() -> None:
    scores, lengths, labels = tensors(SCORES, FIRST_ERRORS)
    intervals = match_intervals(scores, lengths, labels)
    score = processbench_score(intervals, labels, torch.tensor([0.2, 0.5, 0.65, 0.95], dtype=torch.float64))
    # 0.2: nothing is below, so both right ones pass and no error is found.
    # 0.5: the first error is found; of the second solution step 1 is named instead of step 0; the last is accused.
    # 0.65: both errors are found. 0.95: everything is accused in step 0.
    assert score.wrong.tolist() == [0, 1 / 2, 1, 1 / 2]
    assert score.right.tolist() == [1, 1 / 2, 1 / 2, 0]
    assert score.f1.tolist() == pytest.approx([0, 1 / 2, 2 / 3, 0])


def test_f1_is_that_of_the_definition_at_every_threshold() -> None:
    rng = random.Random(0)
    scores = [[rng.randrange(10) / 10 for _ in range(rng.randint(1, 5))] for _ in range(60)]
    labels = [rng.randrange(-1, len(of_solution)) for of_solution in scores]
    flat, lengths, first_errors = tensors(scores, labels)
    intervals = match_intervals(flat, lengths, first_errors)
    thresholds = [number / 20 for number in range(-1, 22)]
    found = processbench_score(intervals, first_errors, torch.tensor(thresholds, dtype=torch.float64)).f1
    expected = [f1_as_the_authors_compute_it(scores, labels, threshold) for threshold in thresholds]
    assert found.tolist() == pytest.approx(expected)
    for threshold in thresholds:
        hits = [first_below(s, threshold) == label for s, label in zip(scores, labels, strict=True)]
        assert intervals.match(threshold).tolist() == hits
    # No threshold at all is better than the best one.
    best = best_threshold(intervals, first_errors)
    assert f1_as_the_authors_compute_it(scores, labels, best) == pytest.approx(max(expected))


def test_the_best_threshold_lies_in_the_middle_of_its_stretch() -> None:
    # From 0.3 to 0.4 one error is found and both right solutions pass, from 0.6 to 0.7 it is the other way round: F1 is
    # 2/3 both times, and the lower stretch is taken.
    scores, lengths, labels = tensors(SCORES, FIRST_ERRORS)
    assert best_threshold(match_intervals(scores, lengths, labels), labels) == pytest.approx(0.35)
    # Without the second right solution only the upper stretch finds everything.
    scores, lengths, labels = tensors(SCORES[:3], FIRST_ERRORS[:3])
    assert best_threshold(match_intervals(scores, lengths, labels), labels) == pytest.approx(0.65)


def test_without_wrong_or_without_right_solutions_there_is_no_f1() -> None:
    scores, lengths, labels = tensors(SCORES[:2], FIRST_ERRORS[:2])
    intervals = match_intervals(scores, lengths, labels)
    assert math.isnan(processbench_score(intervals, labels, torch.tensor([0.5], dtype=torch.float64)).f1.item())
    with pytest.raises(ValueError, match="2 of 2 solutions have a wrong step"):
        best_threshold(intervals, labels)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"first_errors_M\[0\] is 2: expected -1 or one of the 2 steps, from 0"):
        match_intervals(torch.ones(2), torch.tensor([2]), torch.tensor([2]))
    with pytest.raises(ValueError, match=r"scores_S\[1\] is NaN"):
        match_intervals(torch.tensor([1.0, math.nan]), torch.tensor([2]), torch.tensor([-1]))
    with pytest.raises(ValueError, match=r"first_errors_M must have shape \[1\], found \[2\]"):
        match_intervals(torch.ones(2), torch.tensor([2]), torch.tensor([-1, 0]))
