"""Rules that decide how many completions a step prefix gets, compared by exact sums instead of sampling.

    erprm demo --output_dir demo
    python benchmarks/allocation_rules.py demo

The success probabilities p are those after the steps of solutions of the demo's policy, computed by enumeration. For
each rule everything that may be drawn is summed up. Printed are the mean number of draws, the bias of the mean of what
is stored (root of the mean square over the steps), the error of the labels, and the draws as a share of those with
which a fixed K has the same error (interpolated). The rules:

    fixed K         K draws
    enough s of K   draws until s successes, at most K; the last is left out if it was success s (what erprm does)
    two stages      four draws, and twelve more unless they agree; the mean of all
    Neyman          eight draws, and more in proportion to the standard error of the label that they suggest at an eta,
                    as many as make 16 on average; the mean of all
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import comb
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from label_error import ETAS, Measurement, reward, rms

from erprm.data.sources import load_problems
from erprm.engines.transformers import TransformersEngine

Values = npt.NDArray[np.float64]
# For success probabilities [S], everything that may come of a rule: probabilities [S], mean of what is stored, draws.
Rule = Callable[[Values], Iterable[tuple[Values, float, int]]]
FIXED_COUNTS = range(2, 65)


def binomial(successes: int, draws: int, p: Values) -> Values:
    """Probabilities of so many successes."""
    values: Values = comb(draws, successes) * p**successes * (1 - p) ** (draws - successes)
    return values


def fixed(K: int, p: Values) -> Iterator[tuple[Values, float, int]]:
    """K draws."""
    yield from ((binomial(s, K, p), s / K, K) for s in range(K + 1))


def enough(s: int, K: int, p: Values) -> Iterator[tuple[Values, float, int]]:
    """Until s successes, at most K draws."""
    yield from ((p * binomial(s - 1, n - 1, p), (s - 1) / (n - 1), n) for n in range(s, K + 1))
    yield from ((binomial(t, K, p), t / K, K) for t in range(s))


def two_stages(first: int, more: Callable[[int], int], p: Values) -> Iterator[tuple[Values, float, int]]:
    """Some draws, then as many more as their successes ask for."""
    for s in range(first + 1):
        n = first + more(s)
        for t in range(n - first + 1):
            yield binomial(s, first, p) * binomial(t, n - first, p), (s + t) / n, n


def neyman(first: int, eta: float, scale: float) -> Rule:
    """Draws in proportion to the standard deviation of a draw times the slope of R_eta, at a smoothed success rate."""

    def more(successes: int) -> int:
        p = (successes + 0.5) / (first + 1)
        slope = np.expm1(eta) / (eta * (1 + p * np.expm1(eta)))
        return max(0, min(64, round(scale * np.sqrt(p * (1 - p)) * slope)) - first)

    return partial(two_stages, first, more)


def evaluated(rule: Rule, values: Values) -> tuple[float, float, Values]:
    """Mean draws, bias, and the error at each of ETAS."""
    draws, mean_S, squares = 0.0, np.zeros(len(values)), np.zeros(len(ETAS))
    exact = [reward(values, eta) for eta in ETAS]
    for probability_S, mean, count in rule(values):
        draws += count * probability_S.mean()
        mean_S += probability_S * mean
        for place, eta in enumerate(ETAS):
            squares[place] += (probability_S * (reward(np.array(mean), eta) - exact[place]) ** 2).mean()
    return draws, rms(mean_S - values), np.sqrt(squares)


def main() -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder of a finished demo")
    parser.add_argument("--problems", type=int, default=50)
    arguments = parser.parse_args()
    engine = TransformersEngine(str(arguments.demo / "policy"), batch_size=512, device="cpu")
    problems = load_problems("jsonl", str(arguments.demo / "problems" / "test.jsonl"), limit=arguments.problems)
    values = Measurement(engine, problems, solutions=1).exact(threshold=1e-4)
    print(f"{len(values)} steps; tenths of p: {np.quantile(values, np.arange(11) / 10).round(2).tolist()}\n")

    rules: dict[str, Rule] = {f"fixed {K}": partial(fixed, K) for K in (8, 16)}
    rules |= {f"enough {s} of {K}": partial(enough, s, K) for s, K in ((4, 8), (4, 16), (6, 16), (8, 16), (8, 24))}
    rules["two stages"] = partial(two_stages, 4, lambda successes: 12 if 0 < successes < 4 else 0)
    for eta in ETAS:
        low, high = 0.0, 1e3
        while high - low > 0.1:
            middle = (low + high) / 2
            low, high = (middle, high) if evaluated(neyman(8, eta, middle), values)[0] < 16 else (low, middle)
        rules[f"Neyman, eta {eta:g}"] = neyman(8, eta, low)
    errors_of_fixed = np.array([evaluated(partial(fixed, K), values)[2] for K in FIXED_COUNTS])
    print("| rule | draws | bias | " + " | ".join(f"RMSE, eta {eta:g}" for eta in ETAS) + " | draws / fixed's |")
    print("|---|---|---|" + "---|" * (len(ETAS) + 1))
    for name, rule in rules.items():
        draws, bias, errors = evaluated(rule, values)
        shares = [
            draws / np.interp(-error, -of_fixed, FIXED_COUNTS)
            for error, of_fixed in zip(errors, errors_of_fixed.T, strict=True)
        ]
        row = [f"{draws:.1f}", f"{bias:.3f}", *(f"{error:.3f}" for error in errors)]
        print(f"| {name} | {' | '.join(row)} | {', '.join(f'{share:.0%}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
