r"""Solutions to score, from a file.

A row of the JSONL file holds ``question`` and either ``steps``, a list of texts, or ``solution``, one text that is
split; every other field is carried along to the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erprm.data.files.json_rows import Place, Reject, RowError, json_rows, stop
from erprm.steps import Solution, check_step_style, split_steps

__all__ = ["SolutionRow", "read_solutions"]


@dataclass(frozen=True)
class SolutionRow:
    """A row of the file and the solution in it."""

    row: dict[str, Any]
    solution: Solution


def read_solutions(path: str | Path, step_style: str) -> list[SolutionRow]:
    """Reads the file.

    Args:
        path: a ``.jsonl`` or ``.json`` file.
        step_style: how a ``solution`` is split; see :func:`erprm.steps.segment_steps`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming file and line, if a row has no question or no step, or if there is no row.
    """
    rows = [row for _, row in solution_rows(path, step_style)]
    if not rows:
        raise ValueError(f"{path}: holds no solution")
    return rows


def solution_rows(path: str | Path, step_style: str, reject: Reject = stop) -> Iterator[tuple[Place, SolutionRow]]:
    """The rows one at a time, with their places.

    Args:
        path: a file of JSON lines or of one JSON array, plain or compressed by gzip or zstd.
        step_style: how a ``solution`` is split.
        reject: called with each row that cannot be used; by default reading ends there.

    Raises:
        FileNotFoundError: if there is no such file.
        RowError: from ``stop``, naming file and row, at a row that cannot be used.
        ValueError: if the step style is unknown, or the file cannot be read on.
    """
    check_step_style(step_style)
    if not Path(path).is_file():
        raise FileNotFoundError(f"solutions: {str(path)!r} does not exist")
    for place, row in json_rows(Path(path), reject):
        try:
            solution = _solution(row, step_style)
        except RowError as error:
            reject(place, str(error), row)
        else:
            yield place, SolutionRow(row, solution)


def _solution(row: Mapping[str, Any], step_style: str) -> Solution:
    question, steps, text = row.get("question"), row.get("steps"), row.get("solution")
    if not isinstance(question, str) or not question.strip():
        raise RowError(f"field 'question' is {question!r}; expected a text that is not blank")
    if steps is None and isinstance(text, str):
        steps = split_steps(text, step_style)
    if not isinstance(steps, list) or not steps or not all(isinstance(s, str) and s.strip() for s in steps):
        raise RowError(
            f"no steps in the fields {', '.join(row)}; expected 'steps', a list of texts that are not blank, "
            "or 'solution', a text"
        )
    return Solution(question, steps)
