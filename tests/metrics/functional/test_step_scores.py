import math
import re
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error

from erprm.metrics import (
    binarize_labels,
    calibration_curve,
    first_error_accuracy,
    first_error_index,
    step_accuracy,
    step_calibration_error,
    within_problem_auroc,
)

STEP = st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9]), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(5, 8))


def test_a_label_of_one_half_is_right() -> None:
    assert binarize_labels(torch.tensor([0.0, 0.49, 0.5, 1.0])).tolist() == [0, 0, 1, 1]


@given(st.lists(STEP, min_size=1, max_size=40))
def test_within_problem_auroc_is_the_mean_share_of_pairs_in_order(steps: list[tuple[float, float, int]]) -> None:
    areas = []
    for problem in {problem for _, _, problem in steps}:
        right = [score for score, label, p in steps if p == problem and label >= 0.5]
        wrong = [score for score, label, p in steps if p == problem and label < 0.5]
        wins = [(good > bad) + 0.5 * (good == bad) for good, bad in product(right, wrong)]
        if wins:
            areas.append(sum(wins) / len(wins))
    expected = sum(areas) / len(areas) if areas else math.nan

    scores, labels, problems = zip(*steps, strict=True)
    auroc = within_problem_auroc(torch.tensor(scores), torch.tensor(labels), torch.tensor(problems))
    assert auroc.item() == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_within_one_problem_it_is_the_auroc_of_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(500, generator=generator)
    scores = (labels + torch.rand(500, generator=generator)).mul(10).round() / 20
    auroc = within_problem_auroc(scores, labels, torch.full((500,), 7))
    assert auroc.item() == pytest.approx(binary_auroc(scores, (labels >= 0.5).int()).item(), abs=1e-6)


def test_question_difficulty_alone_gives_one_half_within_problems() -> None:
    # Scores know which problem is hard and nothing else.
    labels = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    problems = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    scores = 0.9 - 0.8 * problems
    assert binary_auroc(scores, labels.int()).item() == pytest.approx(0.75)
    assert within_problem_auroc(scores, labels, problems).item() == 0.5


def test_within_problem_auroc_without_both_classes_is_nan() -> None:
    assert within_problem_auroc(torch.tensor([0.1, 0.2]), torch.tensor([1.0, 0.0]), torch.tensor([0, 1])).isnan()


def test_calibration_error_by_hand_on_soft_labels() -> None:
    # Two bins: scores 0.25 and 0.25 with labels 0 and 1; scores 0.75 and 1.0 with labels 0.5 and 0.75.
    # |0.25 - 0.5| * 2/4 + |0.875 - 0.625| * 2/4 = 0.25.
    scores, labels = torch.tensor([0.25, 0.25, 0.75, 1.0]), torch.tensor([0.0, 1.0, 0.5, 0.75])
    assert step_calibration_error(scores, labels, n_bins=2).item() == pytest.approx(0.25)


def test_calibration_error_on_hard_labels_equals_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.rand(1000, generator=generator), torch.rand(1000, generator=generator).round()
    expected = binary_calibration_error(scores, labels.int(), n_bins=15)
    assert step_calibration_error(scores, labels).item() == pytest.approx(expected.item(), abs=1e-5)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50))
def test_scores_equal_to_the_labels_are_calibrated(labels: list[float]) -> None:
    assert step_calibration_error(torch.tensor(labels), torch.tensor(labels)).item() == 0


def test_first_error_index_by_hand() -> None:
    values = torch.tensor([0.9, 0.2, 0.1, 0.5, 0.8, 0.3, 0.6, 0.4])
    assert first_error_index(values, torch.tensor([3, 2, 1, 2])).tolist() == [1, -1, 0, 1]
    assert first_error_index(values, torch.tensor([3, 2, 1, 2]), threshold=0.85).tolist() == [1, 0, 0, 0]


def test_first_error_accuracy_by_hand() -> None:
    labels = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    scores = torch.tensor([0.9, 0.2, 0.8, 0.7, 0.4, 0.1, 0.9, 0.5])
    # Solutions: error found at step 1; error seen where there is none; error found at step 0; rightly none.
    assert first_error_accuracy(scores, labels, torch.tensor([3, 2, 1, 2])).item() == 0.75


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=5), min_size=1, max_size=5))
def test_labels_as_scores_find_every_first_error(solutions: list[list[float]]) -> None:
    labels = torch.tensor([label for solution in solutions for label in solution])
    lengths = torch.tensor([len(solution) for solution in solutions])
    assert first_error_accuracy(labels, labels, lengths).item() == 1


def test_bad_input_is_refused() -> None:
    scores, labels, problems = torch.tensor([0.5, 0.6]), torch.tensor([0.0, 1.0]), torch.tensor([0, 0])
    with pytest.raises(ValueError, match=re.escape("labels_S must have shape [2], found [1]")):
        within_problem_auroc(scores, labels[:1], problems)
    with pytest.raises(ValueError, match=re.escape("problems_S must have shape [2], found [1]")):
        within_problem_auroc(scores, labels, problems[:1])
    with pytest.raises(ValueError, match=re.escape("problems_S must hold integers, found torch.float32")):
        within_problem_auroc(scores, labels, problems.float())
    with pytest.raises(ValueError, match=re.escape("scores_S must have shape [steps], found [1, 2]")):
        step_calibration_error(scores[None], labels[None])
    with pytest.raises(ValueError, match=re.escape("scores_S[1] is NaN")):
        step_calibration_error(torch.tensor([0.5, math.nan]), labels)
    with pytest.raises(ValueError, match=re.escape("scores_S[0] is 1.5: calibration is defined for scores in [0, 1]")):
        step_calibration_error(scores + 1, labels)
    with pytest.raises(ValueError, match=re.escape("labels_S[1] is 2.0: labels lie in [0, 1]")):
        first_error_accuracy(scores, 2 * labels, torch.tensor([2]))
    with pytest.raises(ValueError, match="n_bins must be at least 1, found 0"):
        step_calibration_error(scores, labels, n_bins=0)
    with pytest.raises(ValueError, match="scores_S is empty"):
        step_calibration_error(torch.tensor([]), torch.tensor([]))


def test_step_accuracy_counts_right_and_wrong_steps_apart() -> None:
    scores, labels = torch.tensor([0.9, 0.4, 0.6, 0.2, 0.8]), torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0])
    accuracy = step_accuracy(scores, labels, threshold=0.5)
    assert [value.item() for value in accuracy] == pytest.approx([3 / 5, 2 / 3, 1 / 2])
    assert step_accuracy(scores[:2], labels[:2]).wrong_steps.isnan()


def test_the_calibration_curve_has_the_means_of_each_bin() -> None:
    curve = calibration_curve(torch.tensor([0.1, 0.3, 0.9, 1.0]), torch.tensor([0.0, 1.0, 1.0, 0.5]), n_bins=2)
    assert curve.steps_B.tolist() == [2, 2]
    assert curve.scores_B.tolist() == pytest.approx([0.2, 0.95])
    assert curve.labels_B.tolist() == pytest.approx([0.5, 0.75])
    assert calibration_curve(torch.tensor([0.9]), torch.tensor([1.0]), n_bins=2).scores_B[0].isnan()
