"""What searches reached, and at what cost: accuracy against generated tokens, with intervals over problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from erprm.metrics.functional.bootstrap import bootstrap_interval


@dataclass(frozen=True)
class Estimate:
    """A mean over problems with its 95% bootstrap interval; the value of a problem is its mean over seeds.

    Attributes:
        mean: the mean.
        low: lower end of the interval.
        high: upper end.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SearchPoint:
    """A method under a budget.

    Attributes:
        method: its name.
        budget_tokens: tokens that it might generate for a problem.
        tokens: tokens that it has generated for a problem, in the mean.
        most_tokens: for the problem that took most.
        candidates: solutions among which the answer was chosen, in the mean.
        scored: partial solutions that the scorer was given for a problem, in the mean.
        accuracy: share of problems with a right answer; None if no problem has a gold answer.
        any_correct: share of problems with a right solution among the candidates; None likewise.
        gain: accuracy minus that of the first method under the same budget, on the same problems; None for that one.
    """

    method: str
    budget_tokens: int
    tokens: float
    most_tokens: int
    candidates: float
    scored: float
    accuracy: Estimate | None
    any_correct: float | None
    gain: Estimate | None


@dataclass(frozen=True)
class SearchResults:
    """All methods under all budgets.

    Attributes:
        problems: how many there are.
        graded: how many of them have a gold answer; only these count for accuracy.
        seeds: seeds that each value is a mean over.
        points: methods in the order given, each with its budgets.
    """

    problems: int
    graded: int
    seeds: list[int]
    points: list[SearchPoint]


def summarize(rows: Iterable[Mapping[str, Any]]) -> SearchResults:
    """The results in the rows of a run, see :mod:`erprm.search.run`; the candidates are not kept."""
    of_point: dict[tuple[str, int], list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    seeds: dict[int, None] = {}
    gold: dict[str, bool] = {}
    for row in rows:
        gold[row["problem_id"]] = row["correct"] is not None
        seeds[row["seed"]] = None
        of_row = {
            "tokens": row["tokens"],
            "scored": row["scored"],
            "candidates": len(row["candidates"]),
            "correct": row["correct"],
            "any_correct": any(candidate["correct"] for candidate in row["candidates"]),
        }
        of_point[row["method"], row["budget_tokens"]].append((row["problem_id"], of_row))
    graded = [problem_id for problem_id, has_gold in gold.items() if has_gold]
    first_method = next(iter(of_point))[0]
    points = []
    for (method, budget), numbers in of_point.items():
        accuracy_P = _of_problems(numbers, "correct", graded)
        baseline_P = _of_problems(of_point[first_method, budget], "correct", graded)
        points.append(
            SearchPoint(
                method,
                budget,
                tokens=_of_problems(numbers, "tokens", gold).mean().item(),
                most_tokens=max(row["tokens"] for _, row in numbers),
                candidates=_of_problems(numbers, "candidates", gold).mean().item(),
                scored=_of_problems(numbers, "scored", gold).mean().item(),
                accuracy=_estimate(accuracy_P) if graded else None,
                any_correct=_of_problems(numbers, "any_correct", graded).mean().item() if graded else None,
                gain=_estimate(accuracy_P - baseline_P) if graded and method != first_method else None,
            )
        )
    return SearchResults(len(gold), len(graded), list(seeds), points)


def _of_problems(numbers: list[tuple[str, dict[str, Any]]], name: str, problem_ids: Iterable[str]) -> Tensor:
    """The mean over seeds of a number, of each problem ``[P]``."""
    values: dict[str, list[float]] = defaultdict(list)
    for problem_id, of_row in numbers:
        values[problem_id].append(of_row[name])
    return torch.tensor(
        [sum(values[problem_id]) / len(values[problem_id]) for problem_id in problem_ids], dtype=torch.float64
    )


def _estimate(values_P: Tensor) -> Estimate:
    low, high = bootstrap_interval(values_P)
    return Estimate(values_P.mean().item(), low.item(), high.item())
