"""Evaluation of step scores against labelled steps; docs/evaluation.md describes the files.

Shape suffixes: S labelled steps, M solutions, P problems, B bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from erprm.data.files.row_files import write_rows
from erprm.data.sources import validation_problems
from erprm.data.step_labels import LabelledSolution
from erprm.metrics.estimate import Estimate
from erprm.metrics.functional.processbench import (
    MatchIntervals,
    best_threshold,
    harmonic_mean,
    match_intervals,
    processbench_score,
)
from erprm.metrics.functional.resampling import percentile_interval, resampled_means
from erprm.metrics.functional.step_scores import (
    calibration_curve,
    first_error_index,
    step_accuracy,
    step_calibration_error,
    within_problem_auroc,
)
from erprm.runs.atomic import encodable, write_finite_json

RESULTS_FILE, SOLUTIONS_FILE = "results.json", "solutions.parquet"
_SWEEP = 101

SOLUTION_SCHEMA = pa.schema(
    [
        pa.field("data", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("steps", pa.list_(pa.string()), nullable=False),
        pa.field("step_scores", pa.list_(pa.float32()), nullable=False),
        pa.field("labels", pa.list_(pa.float32()), nullable=False),
        pa.field("first_error", pa.int32(), nullable=False),
        pa.field("found", pa.int32(), nullable=False),
        pa.field("chose_threshold", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Threshold:
    """Below which score a step is called wrong.

    Attributes:
        value: the threshold.
        chosen_on: on what it was chosen, in words.
        solutions: number of those solutions; 0 if it was given.
        f1: F1 on them, which it was chosen to be largest on; NaN if it was given.
    """

    value: float
    chosen_on: str
    solutions: int
    f1: float


class ScoredSolutions:
    """Labelled solutions of one data set with the scores of their steps."""

    def __init__(self, solutions: Sequence[LabelledSolution], step_scores: Sequence[Tensor]) -> None:
        """Takes both, in the same order."""
        self.solutions = solutions
        self.step_scores = step_scores
        self.lengths_M = torch.tensor([len(scores) for scores in step_scores])
        self.first_errors_M = torch.tensor([each.first_error for each in solutions])
        questions = {each.solution.question: place for place, each in enumerate(solutions)}
        numbers = {question: number for number, question in enumerate(questions)}
        self.problems_M = torch.tensor([numbers[each.solution.question] for each in solutions])

    @property
    def labelled_steps(self) -> tuple[Tensor, Tensor, Tensor]:
        """Score, label and number of the problem of every step that has a label, each ``[S]``."""
        labels_S = torch.tensor([label for each in self.solutions for label in each.labels])
        counts_M = torch.tensor([len(each.labels) for each in self.solutions])
        labelled = [scores[:count] for scores, count in zip(self.step_scores, counts_M.tolist(), strict=True)]
        return torch.cat(labelled).float(), labels_S, self.problems_M.repeat_interleave(counts_M)

    @property
    def intervals(self) -> MatchIntervals:
        """Thresholds at which each solution is judged rightly."""
        return match_intervals(torch.cat([*self.step_scores]), self.lengths_M, self.first_errors_M)

    def part(self, chosen: Sequence[bool]) -> ScoredSolutions:
        """Some of the solutions."""
        kept = [place for place, is_chosen in enumerate(chosen) if is_chosen]
        return ScoredSolutions([self.solutions[i] for i in kept], [self.step_scores[i] for i in kept])


def share_of_problems(solutions: Sequence[LabelledSolution], fraction: float, seed: int) -> list[bool]:
    """Marks the solutions that belong to a seeded share of the problems."""
    questions = list(dict.fromkeys(each.solution.question for each in solutions))
    chosen = dict(zip(questions, validation_problems(questions, fraction, seed).tolist(), strict=True))
    return [chosen[each.solution.question] for each in solutions]


def choose_threshold(scored: ScoredSolutions, chosen_on: str) -> Threshold:
    """The threshold of the largest F1 on some solutions.

    Raises:
        ValueError: if all of them have a wrong step, or none.
    """
    intervals = scored.intervals
    try:
        value = best_threshold(intervals, scored.first_errors_M)
    except ValueError as error:
        raise ValueError(f"no threshold can be chosen on {chosen_on}: {error}") from error
    thresholds = torch.tensor([value], dtype=torch.float64)
    f1 = float(processbench_score(intervals, scored.first_errors_M, thresholds).f1)
    return Threshold(value, chosen_on, len(scored.solutions), f1)


def step_results(scored: ScoredSolutions, threshold: float) -> dict[str, Any]:
    """Everything about one data set at one threshold."""
    scores_S, labels_S, problems_S = scored.labelled_steps
    intervals = scored.intervals
    match_M = intervals.match(threshold)
    accuracy = step_accuracy(scores_S, labels_S, threshold)
    results: dict[str, Any] = {
        "solutions": len(scored.solutions),
        "solutions_with_error": int((scored.first_errors_M >= 0).sum()),
        "problems": int(scored.problems_M.max()) + 1,
        "labelled_steps": len(labels_S),
        "right_steps": float((labels_S >= 0.5).float().mean()),
        "threshold": threshold,
        **_first_errors(match_M, scored),
        "step_accuracy": {name: float(value) for name, value in accuracy._asdict().items()},
        "auroc_within_problems": float(within_problem_auroc(scores_S, labels_S, problems_S)),
        "calibration_error": None,
        "calibration": None,
        "sweep": _sweep(intervals, scored),
    }
    if bool(((scores_S >= 0) & (scores_S <= 1)).all()):
        results["calibration_error"] = float(step_calibration_error(scores_S, labels_S))
        curve = calibration_curve(scores_S, labels_S)
        results["calibration"] = {
            name: values_B.tolist() for name, values_B in zip(("steps", "mean_score", "mean_label"), curve, strict=True)
        }
    return results


def _first_errors(match_M: Tensor, scored: ScoredSolutions) -> dict[str, Any]:
    """ProcessBench's accuracies and F1, and the accuracy over all solutions, with intervals over problems."""
    has_error_M = scored.first_errors_M >= 0
    columns_M4 = torch.stack([match_M & has_error_M, has_error_M, match_M & ~has_error_M, ~has_error_M], dim=1)
    sums_P4 = torch.zeros(int(scored.problems_M.max()) + 1, 4, dtype=torch.float64)
    sums_P4.index_add_(0, scored.problems_M, columns_M4.double())
    found = _accuracies(sums_P4.mean(0))
    ends = {name: percentile_interval(values_B) for name, values_B in _accuracies(resampled_means(sums_P4)).items()}
    of_name = {name: asdict(Estimate(*map(float, (value, *ends[name])))) for name, value in found.items()}
    return {"first_error_accuracy": of_name.pop("all"), "processbench": of_name}


def _accuracies(means_4: Tensor) -> dict[str, Tensor]:
    wrong_found, wrong, right_found, right = means_4.unbind(-1)
    accuracies = wrong_found / wrong, right_found / right
    return {
        "wrong": accuracies[0],
        "right": accuracies[1],
        "f1": harmonic_mean(*accuracies),
        "all": (wrong_found + right_found) / (wrong + right),
    }


def _sweep(intervals: MatchIntervals, scored: ScoredSolutions) -> dict[str, list[float]]:
    """Accuracies and F1 at thresholds spread over the quantiles of the scores."""
    scores_S = torch.cat([*scored.step_scores]).double().sort().values
    places = torch.linspace(0, len(scores_S) - 1, _SWEEP).long()
    thresholds_T = scores_S[places].unique()
    score = processbench_score(intervals, scored.first_errors_M, thresholds_T)
    return {
        "threshold": thresholds_T.tolist(),
        **{name: values_T.tolist() for name, values_T in score._asdict().items()},
    }


def write_step_results(
    folder: Path,
    results: Mapping[str, Any],
    scored: Mapping[str, ScoredSolutions],
    threshold: float,
    chose: Mapping[str, Sequence[bool]],
) -> None:
    """Writes ``solutions.parquet`` and then ``results.json``, each whole or not at all.

    Args:
        folder: where to.
        results: what goes into the JSON file.
        scored: all solutions, by the name of their data.
        threshold: a score below it calls a step wrong.
        chose: for each data, which of its solutions the threshold was chosen on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(_rows(scored, threshold, chose), folder / SOLUTIONS_FILE, SOLUTION_SCHEMA)
    write_finite_json(results, folder / RESULTS_FILE)


def _rows(
    scored: Mapping[str, ScoredSolutions], threshold: float, chose: Mapping[str, Sequence[bool]]
) -> Iterator[dict[str, Any]]:
    for name, of_data in scored.items():
        found_M = first_error_index(torch.cat([*of_data.step_scores]).double(), of_data.lengths_M, threshold).tolist()
        for each, scores, found, is_chosen in zip(
            of_data.solutions, of_data.step_scores, found_M, chose[name], strict=True
        ):
            yield {
                "data": name,
                "question": encodable(each.solution.question),
                "steps": [encodable(step) for step in each.solution.steps],
                "step_scores": scores.tolist(),
                "labels": list(each.labels),
                "first_error": each.first_error,
                "found": found,
                "chose_threshold": is_chosen,
            }
