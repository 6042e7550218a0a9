"""Some scored solutions to look at: as rows, as a table, as Markdown, or in colour."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor

from erprm.data.pools import GradedPool, PoolProblem
from erprm.errors import printable
from erprm.metrics.functional.aggregation import Aggregation, aggregate_steps
from erprm.metrics.functional.step_scores import first_error_index
from erprm.report.step_results import ScoredSolutions
from erprm.report.tables import Table
from erprm.runs.atomic import encodable, write_json_lines
from erprm.steps import Solution

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+.!|-])")


@dataclass(frozen=True)
class Sample:
    """A solution with the scores of its steps.

    Attributes:
        about: what is known of it, by name; the same names for all of a table.
        steps: its steps.
        step_scores: a score for each; empty if it was not scored.
    """

    about: Mapping[str, str | int | float | bool | None]
    steps: Sequence[str]
    step_scores: Sequence[float]

    @property
    def numbered_steps(self) -> str:
        """A line a step: its number, from 0, its score and its text."""
        scores = [f"{score:.3f}" for score in self.step_scores] or ["-"] * len(self.steps)
        return "\n".join(
            f"{n}  {score}  {step}" for n, (score, step) in enumerate(zip(scores, self.steps, strict=True))
        )


def pool_samples(
    pool: Sequence[PoolProblem], graded: GradedPool, step_scores: Sequence[Tensor], scores_PN: Tensor, problems: int
) -> list[Sample]:
    """Of the first problems each the best-scored candidate; if it is wrong, the best-scored right one as well.

    Args:
        pool: problems with candidates.
        graded: the same, graded.
        step_scores: for each of ``graded.solutions`` the scores of its steps.
        scores_PN: score of each candidate, shape [P, N].
        problems: how many.
    """
    samples = []
    first_of_problem = (graded.valid_PN.sum(1).cumsum(0) - graded.valid_PN.sum(1)).tolist()
    ranked_PN = scores_PN.argsort(dim=1, descending=True, stable=True)
    for p, entry in enumerate(pool[:problems]):
        ranked = [n for n in ranked_PN[p].tolist() if n < len(entry.candidates)]
        right = [n for n in ranked if graded.correct_PN[p, n]]
        for n in dict.fromkeys([ranked[0], *right[:1]]):
            place = first_of_problem[p] + n
            score, answer = float(scores_PN[p, n]), graded.answers[place]
            about = {
                "problem_id": encodable(entry.problem.problem_id),
                "question": encodable(entry.problem.question),
                "gold": encodable(entry.problem.answer),
                "answer": None if answer is None else encodable(answer),
                "correct": bool(graded.correct_PN[p, n]),
                "candidate": n,
                "rank": ranked.index(n) + 1,
                "score": None if score == -torch.inf else score,
            }
            samples.append(_sample(about, graded.solutions[place].steps, step_scores[place]))
    return samples


def labelled_samples(scored: Mapping[str, ScoredSolutions], threshold: float, solutions: int) -> list[Sample]:
    """Of each data set the first solutions, half of them with a wrong step.

    Args:
        scored: solutions with their scores, by the name of their data.
        threshold: a score below it calls a step wrong.
        solutions: how many of each data set.
    """
    return [
        sample
        for name, of_data in scored.items()
        for wrong, count in ((True, (solutions + 1) // 2), (False, solutions // 2))
        for sample in islice(_labelled(name, of_data, threshold, wrong), count)
    ]


def _labelled(name: str, of_data: ScoredSolutions, threshold: float, wrong: bool) -> Iterator[Sample]:
    for each, scores in zip(of_data.solutions, of_data.step_scores, strict=True):
        if (each.first_error >= 0) == wrong:
            found = int(first_error_index(scores.double(), torch.tensor([len(scores)]), threshold))
            about = {
                "data": name,
                "question": encodable(each.solution.question),
                "first_error": each.first_error,
                "found": found,
            }
            yield _sample(about, each.solution.steps, scores)


def _sample(about: dict[str, Any], steps: Sequence[str], scores: Tensor) -> Sample:
    return Sample(about, [encodable(step) for step in steps], scores.tolist())


# The forms ---------------------------------------------------------------------------------------------------------


def write_samples(samples: Sequence[Sample], path: Path) -> None:
    """Writes JSON lines, whole or not at all: what is known, ``steps`` and ``step_scores``."""
    rows = ({**each.about, "steps": each.steps, "step_scores": each.step_scores} for each in samples)
    write_json_lines(rows, path)


def sample_table(samples: Sequence[Sample]) -> tuple[list[str], list[list[Any]]]:
    """The names of the columns, and the rows; the last column holds the steps, a line each."""
    columns = [*samples[0].about, "steps"] if samples else []
    return columns, [[*sample.about.values(), sample.numbered_steps] for sample in samples]


def samples_markdown(samples: Sequence[Sample]) -> str:
    """The same as a Markdown table, in which text stays text, whatever it holds."""
    columns, rows = sample_table(samples)
    cells = [[_cell(value) for value in row] for row in rows]
    return Table("", columns, cells, align="l" * len(columns)).markdown()


def _cell(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)
    return _MARKUP.sub(r"\\\1", html.escape(text, quote=False)).replace("\n", "<br>")


def print_scored_solution(solution: Solution, scores: Tensor, aggregation: Aggregation, console: Console) -> None:
    """Prints the question, and every step behind its score, from red at 0 to green at 1.

    Args:
        solution: what was scored.
        scores: scores of its steps ``[steps]``.
        aggregation: the score of the solution, in the last line.
        console: where to print.
    """
    console.print(Text(printable(solution.question), style="bold"))
    for number, (step, score) in enumerate(zip(solution.steps, scores.tolist(), strict=True), 1):
        text = printable(step).replace("\n", "\n" + " " * 14)
        console.print(_scored(str(number), score).append(f"  {text}", style=_colour(score)))
    console.print(_scored(aggregation, aggregate_steps(scores, aggregation).item()))


def _scored(name: str, score: float) -> Text:
    return Text.assemble(f"{name:>4}  ", (f"{score:.4f}", f"bold {_colour(score)}"))


def _colour(score: float) -> str:
    """From red at 0 over yellow at one half to green at 1."""
    share = min(max(score, 0.0), 1.0)
    red, green = min(1.0, 2 - 2 * share), min(1.0, 2 * share)
    return f"rgb({round(220 * red)},{round(180 * green)},0)"
