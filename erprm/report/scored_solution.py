"""A scored solution, in colour."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text
from torch import Tensor

from erprm.errors import printable
from erprm.metrics.functional.aggregation import Aggregation, aggregate_steps
from erprm.steps import Solution


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
