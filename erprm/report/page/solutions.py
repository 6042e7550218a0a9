"""The candidates of a pool for the page's browser: each distinct solution once, with the scores of every run.

Runs beside the first one on the same pool are compared with it: the difference of their best-of-n accuracies, problem
by problem.

Shape suffixes: P problems, N candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from erprm.metrics.evaluation import differences_to_baseline, powers_of_two
from erprm.metrics.functional.best_of_n import best_of_n_curves
from erprm.report.candidates import by_problem, problem_starts, valid_candidates


def browsable_solutions(tables: Sequence[pa.Table], max_solutions: int) -> dict[str, Any]:
    """Data of a pool for the page's browser of solutions.

    Copies of a text among a problem's candidates are one solution. If there are more than ``max_solutions``, each
    problem keeps an equal number, those ranked highest by any run, and always the first and the best right one.

    Args:
        tables: of each run, the candidates, all of the same pool in the same order.
        max_solutions: about how many solutions to keep.

    Returns:
        ``problems``, in order, each with the range ``first`` and ``count`` of its solutions; lists with an entry a
        solution: ``steps``, ``texts`` (null, but for a solution without steps), ``answers``, ``correct``, ``copies``
        and ``candidates`` (the number of the first copy); ``runs``, each with lists ``scores``, ``ranks`` and
        ``step_scores``; ``solutions`` and ``all_problems``, how many there are before any are left out.
    """
    distinct, starts = _distinct_rows(tables[0])
    ranks = [table["rank"].to_pylist() for table in tables]
    correct = tables[0]["correct"].to_pylist()
    solutions = sum(map(len, distinct))
    share = max(1, max_solutions // len(distinct)) if solutions > max_solutions else solutions
    kept: list[list[int]] = []
    for of_problem in distinct[: max(1, max_solutions)]:
        best: set[int] = set()
        for of_run in ranks:
            ranked = sorted(of_problem, key=of_run.__getitem__)
            best.update(ranked[:share])
            best.update([row for row in ranked if correct[row]][:1])
        kept.append([row for row in of_problem if row in best])
    rows = [row for of_problem in kept for row in of_problem]
    taken = tables[0].take(rows)
    steps, texts = taken["steps"].to_pylist(), taken["text"].to_pylist()
    return {
        "problems": _problems(tables[0], starts, kept, correct),
        "steps": steps,
        "texts": [None if of_solution else text for of_solution, text in zip(steps, texts, strict=True)],
        "answers": taken["answer"].to_pylist(),
        "correct": [correct[row] for row in rows],
        "copies": [
            copies
            for of_problem, numbers in zip(kept, distinct, strict=False)
            for copies in map(numbers.get, of_problem)
        ],
        "candidates": taken["candidate"].to_pylist(),
        "runs": [_scores(table.take(rows)) for table in tables],
        "solutions": solutions,
        "all_problems": len(distinct),
    }


def _distinct_rows(table: pa.Table) -> tuple[list[dict[int, int]], list[int]]:
    """For each problem, the rows of its distinct solutions, each with its number of copies; and where it starts."""
    starts = problem_starts(table)
    identity = list(zip(*(table[name].to_pylist() for name in ("text", "answer", "correct")), strict=True))
    problems = []
    for start, end in pairwise(starts):
        first: dict[tuple[Any, ...], int] = {}
        copies: dict[int, int] = {}
        for row in range(start, end):
            row_of_first = first.setdefault(identity[row], row)
            copies[row_of_first] = copies.get(row_of_first, 0) + 1
        problems.append(copies)
    return problems, starts


def _problems(
    table: pa.Table, starts: Sequence[int], kept: Sequence[Sequence[int]], correct: Sequence[bool]
) -> list[dict[str, Any]]:
    described = table.select(["problem_id", "question", "gold", "level", "subject"]).take(starts[: len(kept)])
    problems, first = [], 0
    for problem, of_problem, start, end in zip(described.to_pylist(), kept, starts, starts[1:], strict=False):
        problems.append(
            {
                **problem,
                "first": first,
                "count": len(of_problem),
                "right": sum(correct[start:end]),
                "candidates": end - start,
            }
        )
        first += len(of_problem)
    return problems


def _scores(table: pa.Table) -> dict[str, Any]:
    return {
        "scores": table["score"].to_pylist(),
        "ranks": table["rank"].to_pylist(),
        "step_scores": table["step_scores"].to_pylist(),
    }


def differences_to_first_run(tables: Sequence[pa.Table]) -> list[dict[str, Any]]:
    """For each run but the first, its best-of-n minus that of the first, by the aggregation that each was run with.

    Args:
        tables: of each run, the candidates, all of the same pool in the same order.

    Returns:
        For each a :class:`erprm.metrics.evaluation.Difference` as a dictionary, at the powers of two.
    """
    first_PN, valid_PN = _best_of_n(tables[0])
    ns = powers_of_two(int(valid_PN.sum(1).min()))
    return [
        asdict(difference)
        for table in tables[1:]
        for difference in differences_to_baseline({"bon": _best_of_n(table)[0]}, {"bon": first_PN}, ns)
    ]


def _best_of_n(table: pa.Table) -> tuple[Tensor, Tensor]:
    """Accuracy of best-of-n of each problem at n = 1 to N, and which candidates there are."""
    valid_PN = valid_candidates(table)
    scores = [-math.inf if score is None else score for score in table["score"].to_pylist()]
    scores_PN = by_problem(scores, valid_PN, torch.float64)
    correct_PN = by_problem(table["correct"].to_pylist(), valid_PN, torch.bool)
    return best_of_n_curves(scores_PN, correct_PN, valid_PN), valid_PN
