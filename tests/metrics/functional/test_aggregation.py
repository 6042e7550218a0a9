import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from erprm.metrics import Aggregation, aggregate_solutions, aggregate_steps
from erprm.metrics.functional.aggregation import aggregate_pool, aggregator

SOLUTIONS = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=6), min_size=1, max_size=5)


@pytest.mark.parametrize(("method", "expected"), [("min", 0.25), ("prod", 0.0625), ("mean", 0.4166667), ("last", 0.5)])
def test_each_method_by_hand(method: Aggregation, expected: float) -> None:
    score = aggregate_steps(torch.tensor([0.5, 0.25, 0.5]), method)
    assert score.shape == ()
    assert score.item() == pytest.approx(expected, abs=1e-7)


@given(SOLUTIONS)
def test_solutions_of_different_lengths_equal_python_arithmetic(solutions: list[list[float]]) -> None:
    scores = torch.tensor([score for solution in solutions for score in solution], dtype=torch.float64)
    lengths = torch.tensor([len(solution) for solution in solutions])
    expected: dict[Aggregation, list[float]] = {
        "min": [min(solution) for solution in solutions],
        "prod": [math.prod(solution) for solution in solutions],
        "mean": [math.fsum(solution) / len(solution) for solution in solutions],
        "last": [solution[-1] for solution in solutions],
    }
    for method, values in expected.items():
        assert aggregate_solutions(scores, lengths, method).tolist() == pytest.approx(values, rel=1e-12)


def test_product_of_many_small_float32_scores_does_not_underflow() -> None:
    product = aggregate_steps(torch.full((100,), 0.001), "prod")
    assert math.log10(product.item()) == pytest.approx(-300, abs=1e-4)


def test_bad_input_is_refused() -> None:
    scores = torch.tensor([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="method is 'median'; it must be one of min, prod, mean, last, sum_logits, or"):
        aggregate_steps(scores, "median")
    with pytest.raises(ValueError, match=re.escape("lengths_M[1] is 0: a solution has at least one step")):
        aggregate_solutions(scores, torch.tensor([3, 0]), "min")
    with pytest.raises(ValueError, match="lengths_M adds up to 4, but there are 3 steps"):
        aggregate_solutions(scores, torch.tensor([3, 1]), "min")
    with pytest.raises(ValueError, match=re.escape("lengths_M must hold integers in shape [solutions]")):
        aggregate_solutions(scores, torch.tensor([3.0]), "min")
    with pytest.raises(ValueError, match=re.escape("step_scores_S[2] (solution 1) is NaN")):
        aggregate_solutions(torch.tensor([0.1, 0.2, math.nan]), torch.tensor([2, 1]), "last")
    with pytest.raises(ValueError, match=re.escape("step values must have shape [steps], found [1, 3]")):
        aggregate_solutions(scores[None], torch.tensor([3]), "min")
    with pytest.raises(ValueError, match=re.escape("lengths_M[0] is 0: a solution has at least one step")):
        aggregate_steps(torch.tensor([]), "min")


def test_sum_logits_adds_log_odds() -> None:
    # Odds 3 and 1/4, and odds 1 alone.
    scores = aggregate_solutions(torch.tensor([0.75, 0.2, 0.5]), torch.tensor([2, 1]), "sum_logits")
    assert scores.tolist() == pytest.approx([math.log(3 / 4), 0.0], abs=1e-6)
    # A score that was rounded to 1 or 0 weighs as much as one 2^-24 away, and the two cancel out.
    assert aggregate_solutions(torch.tensor([1.0]), torch.tensor([1]), "sum_logits").item() == pytest.approx(
        24 * math.log(2), rel=1e-6
    )
    assert aggregate_solutions(torch.tensor([1.0, 0.0]), torch.tensor([2]), "sum_logits").item() == pytest.approx(0.0)
    with pytest.raises(ValueError, match=r"step_scores_S\[1\] is 1\.5: sum_logits takes scores in \[0, 1\]"):
        aggregate_solutions(torch.tensor([0.5, 1.5]), torch.tensor([2]), "sum_logits")


def test_a_pool_is_aggregated_with_nothing_for_blank_candidates_and_padding() -> None:
    valid = torch.tensor([[True, True], [True, False]])
    scores = aggregate_pool([torch.tensor([0.5, 0.25]), torch.empty(0), torch.tensor([0.75])], valid, "min")
    assert scores.tolist() == [[0.25, -math.inf], [0.75, -math.inf]]
    blank = aggregate_pool([torch.empty(0)], torch.tensor([[True]]), "mean")
    assert blank.tolist() == [[-math.inf]]


def largest(step_scores: torch.Tensor) -> torch.Tensor:
    return step_scores.max()


def not_a_number(step_scores: torch.Tensor) -> float:
    return math.nan


def test_a_function_of_ones_own_is_given_the_steps_of_one_solution_at_a_time() -> None:
    scores, lengths = torch.tensor([0.5, 0.25, 0.75]), torch.tensor([2, 1])
    assert aggregate_solutions(scores, lengths, f"{__name__}.largest").tolist() == [0.5, 0.75]
    with pytest.raises(ValueError, match="not_a_number' gives NaN for solution 0"):
        aggregate_solutions(scores, lengths, f"{__name__}.not_a_number")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("maen", r"aggregation is 'maen'; it must be one of min, .*; did you mean 'mean'\?"),
        ("no_such.function", r"aggregation: 'no_such\.function' cannot be imported"),
        (f"{__name__}.__name__", "it must be one of min"),
    ],
)
def test_what_names_no_aggregation_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        aggregator(name)
