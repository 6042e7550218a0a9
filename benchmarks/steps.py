"""Counts how many solutions of each kind `auto` splits into the steps they were written from.

    python -m benchmarks.steps --data ../shared/data

The solutions are those of `tests/steps/written_solutions.py`, written at random from known steps. With `--data`, also
the recorded steps of ProcessBench, joined by blank lines, and of a sample of PRM800K, joined by line breaks too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from erprm.steps import split_steps
from tests.steps.written_solutions import KINDS, Written


def report(name: str, solutions: Sequence[Written]) -> None:
    """Prints the share of solutions that are split into their steps."""
    right = sum(split_steps(solution.text, "auto") == solution.steps for solution in solutions)
    print(f"{name:28} {right / len(solutions):6.1%} of {len(solutions)}")


def recorded(folder: Path) -> Iterator[tuple[str, list[Written]]]:
    """Yields recorded solutions, by name."""
    rows = (folder / "processbench_gsm8k.jsonl").read_text(encoding="utf-8").splitlines()
    yield "ProcessBench, blank lines", joined("\n\n", [json.loads(row)["steps"] for row in rows])
    rows = (folder / "step_samples" / "samples_prm800k.jsonl").read_text(encoding="utf-8").splitlines()
    solutions = [
        [
            (step["human_completion"] or step["completions"][step["chosen_completion"] or 0])["text"]
            for step in json.loads(row)["label"]["steps"]
            if step["completions"] or step["human_completion"]
        ]
        for row in rows
    ]
    yield "PRM800K, blank lines", joined("\n\n", solutions)
    yield "PRM800K, line breaks", joined("\n", solutions)


def joined(separator: str, solutions: Sequence[list[str]]) -> list[Written]:
    """Solutions as texts."""
    return [Written(separator.join(steps), steps) for steps in solutions]


def main() -> None:
    """Prints one line a kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of processbench_gsm8k.jsonl and step_samples")
    parser.add_argument("--count", type=int, default=2000, help="solutions of each kind")
    arguments = parser.parse_args()
    for name, kind in KINDS.items():
        report(name, [kind(Random(seed)) for seed in range(arguments.count)])
    for name, solutions in recorded(arguments.data) if arguments.data else ():
        report(name, solutions)


if __name__ == "__main__":
    main()
