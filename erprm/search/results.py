"""Results of searches: accuracy against generated tokens, with intervals over problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erprm.metrics.estimate import Estimate
from erprm.report.figures import draw_estimates, dress, empty_figure
from erprm.report.tables import Table, interval_text
from erprm.runs.atomic import write_figure


@dataclass(frozen=True)
class SearchPoint:
    """A method under a budget.

    Attributes:
        method: its name.
        budget_tokens: tokens that it might generate for a problem.
        tokens: tokens that it has generated for a problem, on average.
        most_tokens: for the problem that took most.
        candidates: solutions among which the answer was chosen, on average.
        scored: partial solutions that the scorer was given for a problem, on average.
        accuracy: share of problems with a right answer; None if no problem has a gold answer.
        any_correct: share of problems with a right solution among the candidates; None likewise.
        gain: accuracy minus that of the first method under the same budget, on the same problems; None for that one.
        scorer_tokens: tokens that the scorer has read for a problem, on average; None where they cannot be counted.
        scorer_flops: floating-point operations of its forward passes; None likewise.
        cascade_scored: candidates that the second scorer of a cascade was given; None without one.
        cascade_tokens: tokens that it has read; None likewise.
        cascade_flops: operations of its forward passes; None likewise.
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
    scorer_tokens: float | None
    scorer_flops: float | None
    cascade_scored: float | None
    cascade_tokens: float | None
    cascade_flops: float | None


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
            # Not in the rows of runs that began before these were counted.
            "scorer_tokens": row.get("scorer_tokens"),
            "scorer_flops": row.get("scorer_flops"),
            **{f"cascade_{name}": count for name, count in row.get("cascade", {}).items()},
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
                accuracy=Estimate.of(accuracy_P) if graded else None,
                any_correct=_of_problems(numbers, "any_correct", graded).mean().item() if graded else None,
                gain=Estimate.of(accuracy_P - baseline_P) if graded and method != first_method else None,
                scorer_tokens=_mean_count(numbers, "scorer_tokens", gold),
                scorer_flops=_mean_count(numbers, "scorer_flops", gold),
                cascade_scored=_mean_count(numbers, "cascade_solutions", gold),
                cascade_tokens=_mean_count(numbers, "cascade_tokens", gold),
                cascade_flops=_mean_count(numbers, "cascade_flops", gold),
            )
        )
    return SearchResults(len(gold), len(graded), list(seeds), points)


def _mean_count(numbers: list[tuple[str, dict[str, Any]]], name: str, problem_ids: Iterable[str]) -> float | None:
    """The mean over problems of a count; None if it is missing for one of them."""
    if any(of_row.get(name) is None for _, of_row in numbers):
        return None
    return _of_problems(numbers, name, problem_ids).mean().item()


def _of_problems(numbers: list[tuple[str, dict[str, Any]]], name: str, problem_ids: Iterable[str]) -> Tensor:
    """The mean over seeds of a number, of each problem ``[P]``."""
    values: dict[str, list[float]] = defaultdict(list)
    for problem_id, of_row in numbers:
        values[problem_id].append(of_row[name])
    return torch.tensor(
        [sum(values[problem_id]) / len(values[problem_id]) for problem_id in problem_ids], dtype=torch.float64
    )


# Drawn ------------------------------------------------------------------------------------------------------------


def search_table(results: SearchResults, *, details: bool = False) -> Table:
    """A row for each method and budget.

    Args:
        results: of a run.
        details: add the columns that a terminal has no room for.
    """
    header = ["method", "budget", "tokens", "accuracy, %", "gain, %", "any right, %", "candidates", "scored"]
    counts = {
        "scorer tokens": [point.scorer_tokens for point in results.points],
        "scorer FLOPs": [point.scorer_flops for point in results.points],
        "cascade scored": [point.cascade_scored for point in results.points],
        "cascade tokens": [point.cascade_tokens for point in results.points],
        "cascade FLOPs": [point.cascade_flops for point in results.points],
    }
    known = {name: values for name, values in counts.items() if any(value is not None for value in values)}
    header += known
    shown = len(header) if details else 5
    rows = [
        [
            point.method,
            f"{point.budget_tokens:,}",
            f"{point.tokens:,.0f}",
            interval_text(point.accuracy),
            interval_text(point.gain),
            "-" if point.any_correct is None else f"{100 * point.any_correct:.1f}",
            f"{point.candidates:.1f}",
            f"{point.scored:.1f}",
            *(_count_text(name, values[place]) for name, values in known.items()),
        ][:shown]
        for place, point in enumerate(results.points)
    ]
    footnote = "accuracy, and gain over the first method, with 95% intervals"
    return Table(_title(results), header[:shown], rows, footnote=footnote, whole_numbers=True, sections=True)


def _count_text(name: str, count: float | None) -> str:
    if count is None:
        return "-"
    return f"{count:.2e}" if name.endswith("FLOPs") else f"{count:,.1f}"


def search_figure(results: SearchResults, path: str | Path) -> None:
    """Draws accuracy against generated tokens, a line with its intervals for each method; a PNG or SVG.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
        ValueError: if no problem was graded.
    """
    figure = empty_figure(7.5, 4.8)
    if not results.graded:
        raise ValueError("there is nothing to draw: no problem has a gold answer")
    axes = figure.add_subplot()
    for method in dict.fromkeys(point.method for point in results.points):
        points = sorted((p for p in results.points if p.method == method), key=lambda point: point.tokens)
        estimates = [point.accuracy for point in points if point.accuracy is not None]
        draw_estimates(axes, [point.tokens for point in points], estimates, method)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    dress(axes, _title(results), "tokens generated for a problem", "accuracy, %")
    write_figure(figure, Path(path))


def _title(results: SearchResults) -> str:
    graded = "" if results.graded == results.problems else f" ({results.graded:,} with a gold answer)"
    seeds = f", mean over {len(results.seeds)} seeds" if len(results.seeds) > 1 else ""
    return f"Searches on {results.problems:,} problems{graded}{seeds}"
