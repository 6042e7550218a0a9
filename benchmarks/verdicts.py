"""Counts how many texts of each kind `erprm.grading` judges as they were written, for right golds and for wrong ones.

    python -m benchmarks.verdicts

The texts are those of `tests/grading/written_answers.py`, written at random round known answers. The random source of
the text number i of a kind is seeded with `--seed` + i.
"""

from __future__ import annotations

import argparse
from random import Random

from erprm.grading import Grader
from tests.grading.written_answers import KINDS


def main() -> None:
    """Prints a Markdown table, one row a kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="texts of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=0, help="wrong verdicts to print for each kind")
    arguments = parser.parse_args()
    print("| kind | right golds accepted | wrong golds accepted |\n|---|---:|---:|")
    with Grader() as grader:
        for name, kind in KINDS.items():
            texts = [kind(Random(arguments.seed + number)) for number in range(arguments.count)]
            counts, shown = [], 0
            for right in (True, False):
                pairs = [(each.text, gold) for each in texts for gold in (each.right if right else each.wrong)]
                verdicts = grader.grade_batch(pairs, texts[0].kind)
                counts.append(f"{sum(verdicts):,} of {len(pairs):,}" if pairs else "none tried")
                for pair, verdict in zip(pairs, verdicts, strict=True):
                    if verdict != right and shown < arguments.show:
                        print(pair, verdict)
                        shown += 1
            print(f"| {name} | {counts[0]} | {counts[1]} |", flush=True)


if __name__ == "__main__":
    main()
