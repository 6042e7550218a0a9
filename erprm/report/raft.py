"""The evaluations of a RAFT run, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from erprm.raft.evaluation import Estimate, Evaluation
from erprm.report.best_of_n import interval_text

_HEADER = [
    "round",
    "greedy, %",
    "pass@1, %",
    "KL from the initial policy, nats",
    "mean score, %",
    "score - pass@1, points",
]


def raft_table(evaluations: Sequence[Evaluation]) -> Table:
    """A table for the terminal; intervals are 95%, the KL divergence has its standard error."""
    table = Table(title="The policy of each round on held-out problems")
    for number, column in enumerate(_HEADER):
        table.add_column(column, justify="right" if number else "left")
    for row in _rows(evaluations):
        table.add_row(*row)
    return table


def raft_markdown(evaluations: Sequence[Evaluation]) -> str:
    """The same table in Markdown."""
    lines = [_HEADER, ["---"] + ["---:"] * (len(_HEADER) - 1), *_rows(evaluations)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _rows(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    return [
        [
            str(each.round) if each.round else "0 (initial policy)",
            _text(each.greedy),
            _text(each.pass_at_1),
            f"{each.kl:.2f} \u00b1 {each.kl_standard_error:.2f}",
            _text(each.score),
            _text(each.gap),
        ]
        for each in evaluations
    ]


def _text(estimate: Estimate | None) -> str:
    return "-" if estimate is None else interval_text(estimate.mean, estimate.low, estimate.high)
