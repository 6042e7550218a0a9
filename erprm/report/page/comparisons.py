"""Runs beside the first one on the same pool: the difference of their best-of-n accuracies, problem by problem.

Shape suffixes: P problems, N candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from erprm.metrics.evaluation import differences_to_baseline, powers_of_two
from erprm.metrics.functional.best_of_n import best_of_n_curves
from erprm.report.page.solutions import problem_starts


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
    starts = problem_starts(table)
    sizes = torch.tensor(starts).diff()
    valid_PN = torch.arange(int(sizes.max())) < sizes[:, None]
    scores_PN = torch.full(valid_PN.shape, -math.inf, dtype=torch.float64)
    scores = [-math.inf if score is None else score for score in table["score"].to_pylist()]
    scores_PN[valid_PN] = torch.tensor(scores, dtype=torch.float64)
    correct_PN = torch.zeros(valid_PN.shape, dtype=torch.bool)
    correct_PN[valid_PN] = torch.tensor(table["correct"].to_pylist())
    return best_of_n_curves(scores_PN, correct_PN, valid_PN), valid_PN
