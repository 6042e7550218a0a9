"""RAFT in the demo's world with every selector, on several demos: the policy's accuracy after each round.

    python benchmarks/raft_selectors.py demo demo-1 demo-2          # folders that `erprm demo` has filled
    python benchmarks/raft_selectors.py demo --config configs/raft_demo.yaml --output runs/raft_selectors

Each demo has a policy, reward models and problems of its own. A run is `erprm raft --config configs/raft_demo.yaml`
with the selector and the demo's folder put in, and is continued if it was interrupted. Printed are Markdown tables:
means over the held-out problems of all demos with 95% bootstrap intervals (over problems), and each demo by itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from erprm.cli import main as erprm
from erprm.metrics.estimate import Estimate
from erprm.raft.log_probs import mean_of_problems
from erprm.report.tables import interval_text

SELECTORS = ("er", "soft", "hard", "outcome", "random", "oracle")
# What random and oracle are judged by, which have no scores of their own.
LENT = "er"

Row = dict[str, Any]


def run(config: Path, demo: Path, seed: int, selector: str, output: Path) -> None:
    """Runs RAFT on one demo with one selector."""
    settings = yaml.safe_load(config.read_text(encoding="utf-8").replace("demo/", f"{demo}/"))
    settings |= {"selector": selector, "seed": seed, "output_dir": str(output)}
    settings["evaluation_scorer"] = LENT if selector in ("random", "oracle") else None
    file = output.with_suffix(".json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings), encoding="utf-8")
    if erprm(["raft", "--config", str(file)]):
        raise SystemExit(f"{output}: the run failed")


def evaluated(output: Path, number: int) -> list[Row]:
    """The held-out problems of a run as they were evaluated after a round."""
    lines = (output / f"round-{number}" / "evaluation" / "problems.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def greedy(row: Row) -> float:
    """1 if the most likely solution is right, else 0."""
    return float(row["greedy_correct"])


def pass_at_1(row: Row) -> float:
    """Share of right solutions among the sampled ones."""
    return sum(row["correct"]) / len(row["correct"])


def score(row: Row) -> float:
    """Mean score of the sampled solutions."""
    return sum(row["scores"]) / len(row["scores"])


def text(rows: Sequence[Row], value: Callable[[Row], float]) -> str:
    """A mean with its interval."""
    return interval_text(Estimate.of([value(row) for row in rows]))


def kl_text(rows: Sequence[Row]) -> str:
    """The KL divergence with its standard error."""
    mean, error = mean_of_problems([row["log_ratios"] for row in rows])
    return f"{mean:.2f} \u00b1 {error:.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Runs what is missing, and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("demos", nargs="+", type=Path)
    parser.add_argument("--config", type=Path, default=Path("configs/raft_demo.yaml"))
    parser.add_argument("--output", type=Path, default=Path("runs/raft_selectors"))
    parser.add_argument("--selectors", nargs="+", default=SELECTORS, choices=SELECTORS)
    options = parser.parse_args()
    outputs = {s: [options.output / f"{demo.name}-{s}" for demo in options.demos] for s in options.selectors}
    for seed, demo in enumerate(options.demos):
        for selector in options.selectors:
            run(options.config, demo, seed, selector, outputs[selector][seed])

    rounds = yaml.safe_load(options.config.read_text(encoding="utf-8"))["rounds"]
    all_rows = {
        (s, number): [row for output in outputs[s] for row in evaluated(output, number)]
        for s in options.selectors
        for number in range(rounds + 1)
    }
    numbers = range(1, rounds + 1)
    initial = all_rows[options.selectors[0], 0]
    for name, value in (("greedy", greedy), ("pass@1", pass_at_1)):
        header = [f"{name}, % [95% interval]", *(f"after round {number}" for number in numbers)]
        rows = [["initial policy", *[text(initial, value)] * rounds]]
        rows += [[s, *(text(all_rows[s, number], value) for number in numbers)] for s in options.selectors]
        print(table(header, rows), end="\n\n")
    header = ["after each round", *(f"{what}, {n}" for what in ("KL, nats", "mean score, %") for n in numbers)]
    rows = [
        [
            s,
            *(kl_text(all_rows[s, number]) for number in numbers),
            *(f"{100 * Estimate.of([score(row) for row in all_rows[s, number]]).mean:.1f}" for number in numbers),
        ]
        for s in options.selectors
    ]
    print(table(header, rows), end="\n\n")
    for name, value in (("greedy", greedy), ("pass@1", pass_at_1)):
        header = [f"{name} at the end, % [95% interval]", *(demo.name for demo in options.demos)]
        first = options.selectors[0]
        rows = [["initial policy", *(text(evaluated(output, 0), value) for output in outputs[first])]]
        rows += [[s, *(text(evaluated(output, rounds), value) for output in outputs[s])] for s in options.selectors]
        print(table(header, rows), end="\n\n")


if __name__ == "__main__":
    main()
