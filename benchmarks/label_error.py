"""Label error against tokens spent: the official recipe, and what erprm does to spend fewer.

    erprm demo --output_dir demo
    python benchmarks/label_error.py demo --figure label_error.png      # about 15 minutes on one core

The policy is the demo's, whose success probability after every prefix is computed by enumeration (erprm.demo.exact),
and with it the exact R_eta of every step. Compared are

    official       K completions of every step of every solution, last steps and repeated prefixes too
    distinct       K completions of every distinct prefix, none of last steps (reuse_solutions: false)
    + solutions    solutions count among the K (the default)
    + enough       the same, and a prefix is done once so many completions are correct (enough_successes)

Printed are the root-mean-square errors of the labels of all steps but the last, the tokens generated, solutions
included, and these as a share of the tokens with which the official recipe reaches the same error (its curve is
interpolated in the logarithms). Solutions are the same everywhere; everything else is sampled ``--runs`` times.

A second table compares the two estimates from the same completions (``data.estimate``): the plug-in and the posterior
mean under a prior that is fitted to these steps, beside the best constant.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from erprm.data.labels import step_labels
from erprm.data.records import RolloutRecord
from erprm.data.sources import Problem, load_problems
from erprm.demo.exact import success_probability
from erprm.demo.world import PROMPT
from erprm.engines.base import Completion, Prompt, Sampling, decode_after
from erprm.engines.transformers import TransformersEngine
from erprm.grading import Grader, grade
from erprm.rewards import binary_reward, fit_beta_prior, posterior_reward
from erprm.rollout.config import RolloutConfig
from erprm.rollout.labelling.label_problems import roll_out
from erprm.rollout.labelling.prefixes import Prefix, SampledSolution, cut_solution, distinct_prefixes

ETAS = (0.5, 2.0, 10.0)
OFFICIAL_COUNTS = (2, 4, 8, 16, 32)
ESTIMATE_ETAS, ESTIMATE_COUNTS = (0.0, 0.5, 2.0, 10.0, 50.0), (2, 4, 8, 16)
MAX_TOKENS = 64
RECIPES: dict[str, list[dict[str, Any]]] = {
    "distinct": [{"completions_per_step": K, "reuse_solutions": False} for K in (4, 8, 16)],
    "+ solutions": [{"completions_per_step": K} for K in (4, 8, 16)],
    "+ enough": [
        {"completions_per_step": K, "enough_successes": enough} for K, enough in ((8, 4), (16, 6), (16, 8), (24, 8))
    ],
}


@dataclass
class Point:
    """One recipe with one setting: its tokens, and its error at each of ETAS."""

    name: str
    tokens: float
    errors: npt.NDArray[np.float64]


class SameSolutions:
    """The engine, but for its first call in a run, which samples the solutions: that has always the same seed."""

    def __init__(self, engine: TransformersEngine) -> None:
        self._engine, self._first = engine, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """Completes prompts."""
        sampling = replace(sampling, seed=0) if self._first else sampling
        self._first = False
        return self._engine.generate(prompts, sampling)


class Measurement:
    """Recipes on some problems, with so many solutions each."""

    def __init__(self, engine: TransformersEngine, problems: Sequence[Problem], solutions: int) -> None:
        self.engine, self.problems = engine, problems
        self.config = RolloutConfig(
            "", "", "jsonl", prompt=PROMPT, solutions_per_problem=solutions, max_tokens=MAX_TOKENS, grading="gsm8k"
        )
        self.prompts = [PROMPT.token_ids(problem.question, engine.tokenizer) for problem in problems]
        samples = engine.generate(self.prompts, self.config.solution_sampling)
        self.solution_tokens = sum(len(sample.token_ids) for of_problem in samples for sample in of_problem)
        self.solutions = [
            [self._cut(prompt, sample) for sample in of_problem]
            for prompt, of_problem in zip(self.prompts, samples, strict=True)
        ]

    def _cut(self, prompt: list[int], sample: Completion) -> SampledSolution:
        solution = cut_solution(sample, 0, "lines", lambda ids: decode_after(self.engine.tokenizer, prompt, ids))
        assert solution is not None
        return solution

    @property
    def distinct(self) -> int:
        """Distinct prefixes of all problems."""
        return sum(len(distinct_prefixes(solutions)) for solutions in self.solutions)

    def exact(self, threshold: float) -> npt.NDArray[np.float64]:
        """Success probability after every step but the last of every solution."""
        values: list[float] = []
        for problem, prompt, solutions in zip(self.problems, self.prompts, self.solutions, strict=True):
            of_prefix: dict[tuple[int, ...], float] = {}
            for prefix in (prefix for solution in solutions for prefix in solution.prefixes):
                if prefix.token_ids not in of_prefix:
                    of_prefix[prefix.token_ids] = self._exact(problem, prompt, prefix, threshold)
                values.append(of_prefix[prefix.token_ids])
        return np.array(values)

    def _exact(self, problem: Problem, prompt: list[int], prefix: Prefix, threshold: float) -> float:
        tokenizer: Any = self.engine.tokenizer
        bounds = success_probability(
            self.engine._model,
            [*prompt, *prefix.token_ids],
            lambda tokens: grade(prefix.text + tokenizer.decode(tokens), problem.answer, "gsm8k"),
            end_id=tokenizer.eos_token_id,
            max_new_tokens=MAX_TOKENS,
            threshold=threshold,
        )
        return (bounds.low + bounds.high) / 2

    def official(self, grader: Grader, exact: npt.NDArray[np.float64]) -> tuple[list[Point], npt.NDArray[np.float64]]:
        """The official recipe at each of OFFICIAL_COUNTS, from the same completions in blocks, and their rewards."""
        most = max(OFFICIAL_COUNTS)
        tokens = 0
        rewards_of: dict[tuple[int, int], npt.NDArray[np.float64]] = {}
        for number in range(self.config.solutions_per_problem):
            # Another seed for each solution, as repeated prefixes are completed anew.
            sampling = Sampling(most, max_tokens=MAX_TOKENS, seed=1000 + number)
            prefixes = [
                (place, prefix)
                for place, solutions in enumerate(self.solutions)
                for prefix in (*solutions[number].prefixes, whole(solutions[number]))
            ]
            prompts = [[*self.prompts[place], *prefix.token_ids] for place, prefix in prefixes]
            completed = self.engine.generate(prompts, sampling)
            tokens += sum(len(completion.token_ids) for of_prefix in completed for completion in of_prefix)
            pairs = [
                (prefix.text + completion.text, self.problems[place].answer)
                for (place, prefix), of_prefix in zip(prefixes, completed, strict=True)
                for completion in of_prefix
            ]
            graded = np.array(grader.grade_batch(pairs, "gsm8k"), dtype=np.float64).reshape(-1, most)
            for place in range(len(self.problems)):
                of_solution = graded[[place == other for other, _ in prefixes]]
                rewards_of[place, number] = of_solution[:-1]
        rewards_SK = np.concatenate([rewards_of[solution] for solution in sorted(rewards_of)])
        points = []
        for K in OFFICIAL_COUNTS:
            means = rewards_SK.reshape(len(rewards_SK), most // K, K).mean(-1)
            errors = [rms(reward(means, eta) - reward(exact, eta)[:, None]) for eta in ETAS]
            points.append(Point(f"official, K {K}", self.solution_tokens + tokens * K / most, np.array(errors)))
        return points, rewards_SK

    def erprm(self, name: str, changes: dict[str, Any], grader: Grader, exact: Any, runs: int) -> Point:
        """A configuration of erprm."""
        tokens, squares = 0, np.zeros(len(ETAS))
        for run in range(runs):
            config = replace(self.config, seed=run + 1, **changes)
            records, summary = roll_out(self.problems, SameSolutions(self.engine), grader, config)
            tokens += summary.completion_tokens
            for place, eta in enumerate(ETAS):
                squares[place] += np.mean((labels(records, eta) - reward(exact, eta)) ** 2)
        setting = f"K {changes['completions_per_step']}"
        setting += f", enough {changes['enough_successes']}" if "enough_successes" in changes else ""
        return Point(f"{name}, {setting}", tokens / runs, np.sqrt(squares / runs))


def whole(solution: SampledSolution) -> Prefix:
    """All of a solution but its end."""
    return Prefix(solution.completion.token_ids[:-1], solution.completion.text)


def labels(records: Iterable[RolloutRecord], eta: float) -> npt.NDArray[np.float64]:
    """Labels of all steps but the last ones."""
    return np.array([label for record in records for label in step_labels(record.rewards, "er", eta)[:-1]])


def reward(p: npt.NDArray[np.float64], eta: float) -> npt.NDArray[np.float64]:
    """R_eta of success probabilities."""
    values: npt.NDArray[np.float64] = binary_reward(torch.from_numpy(p), eta).numpy()
    return values


def rms(errors: npt.NDArray[np.float64]) -> float:
    """Root of the mean square."""
    return math.sqrt(np.mean(errors**2))


def share(point: Point, official: Sequence[Point], place: int) -> float:
    """Tokens as a share of the official recipe's at the same error; NaN beyond its curve."""
    by_error = sorted(official, key=lambda p: p.errors[place])
    tokens = np.interp(
        math.log(point.errors[place]),
        [math.log(p.errors[place]) for p in by_error],
        [math.log(p.tokens) for p in by_error],
        left=math.nan,
        right=math.nan,
    )
    return point.tokens / math.exp(tokens)


def show(title: str, official: Sequence[Point], points: Sequence[Point]) -> None:
    """Prints a table."""
    print(f"\n{title}\n")
    print("| recipe | tokens | " + " | ".join(f"RMSE, eta {eta:g}" for eta in ETAS) + " | tokens / official's |")
    print("|---|---|" + "---|" * (len(ETAS) + 1))
    for point in (*official, *points):
        errors = " | ".join(f"{error:.3f}" for error in point.errors)
        shares = ", ".join(f"{share(point, official, place):.0%}" for place in range(len(ETAS))).replace("nan%", "-")
        print(f"| {point.name} | {point.tokens:,.0f} | {errors} | {shares} |", flush=True)


def show_estimates(title: str, rewards_SK: npt.NDArray[np.float64], exact: npt.NDArray[np.float64]) -> None:
    """Prints the error of both estimates from blocks of the same completions."""
    steps, most = rewards_SK.shape
    print(f"\n{title}: root-mean-square error of labels\n")
    print("| estimate | " + " | ".join(f"eta {eta:g}" for eta in ESTIMATE_ETAS) + " |")
    print("|---|" + "---|" * len(ESTIMATE_ETAS))
    exact_E = [reward(exact, eta) for eta in ESTIMATE_ETAS]
    rows = {"best constant": [float(values.std()) for values in exact_E]}
    for K in ESTIMATE_COUNTS:
        # Each block is a file of its own, with its own prior.
        successes_BS = rewards_SK.reshape(steps, most // K, K).sum(-1).T
        trials_S = np.full(steps, K)
        priors_B = [fit_beta_prior(successes_S, trials_S) for successes_S in successes_BS]
        rows[f"plug-in, K {K}"] = [
            rms(reward(successes_BS / K, eta) - values) for eta, values in zip(ESTIMATE_ETAS, exact_E, strict=True)
        ]
        rows[f"posterior, K {K}"] = [
            rms(
                np.stack(
                    [
                        posterior_reward(successes_S, trials_S, eta, prior).numpy() - values
                        for successes_S, prior in zip(successes_BS, priors_B, strict=True)
                    ]
                )
            )
            for eta, values in zip(ESTIMATE_ETAS, exact_E, strict=True)
        ]
    for name, errors in rows.items():
        print(f"| {name} | " + " | ".join(f"{error:.3f}" for error in errors) + " |", flush=True)


def draw(path: Path, tables: dict[str, list[Point]]) -> None:
    """Draws error against tokens, a row of panels a table, a panel an eta."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(10, 3.2 * len(tables)), layout="constrained")
    axes = figure.subplots(len(tables), len(ETAS), squeeze=False)
    for row, (title, points) in zip(axes, tables.items(), strict=True):
        for place, (panel, eta) in enumerate(zip(row, ETAS, strict=True)):
            for name in ("official", *RECIPES):
                line = sorted((p.tokens, p.errors[place]) for p in points if p.name.startswith(f"{name},"))
                panel.loglog(*zip(*line, strict=True), marker="o", markersize=3, label=name)
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.set(title=f"{title}, eta {eta:g}", xlabel="tokens generated", ylabel="RMSE of the label")
    axes[0][0].legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Prints the comparison with many solutions a problem, and with one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder of a finished demo")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--problems", type=int, nargs=2, default=(20, 50), help="with 15 solutions, and with one")
    parser.add_argument("--threshold", type=float, default=1e-4, help="probability to follow completions down to")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    engine = TransformersEngine(str(arguments.demo / "policy"), batch_size=512, device="cpu")
    problems = load_problems("jsonl", str(arguments.demo / "problems" / "test.jsonl"))
    tables = {}
    with Grader() as grader:
        for count, solutions in zip(arguments.problems, (15, 1), strict=True):
            measurement = Measurement(engine, problems[:count], solutions)
            exact = measurement.exact(arguments.threshold)
            official, rewards_SK = measurement.official(grader, exact)
            points = [
                measurement.erprm(name, changes, grader, exact, arguments.runs)
                for name, settings in RECIPES.items()
                for changes in settings
            ]
            title = f"solutions a problem: {solutions}"
            size = f"{count} problems, {len(exact)} steps, {measurement.distinct} distinct prefixes"
            show(f"{title} ({size})", official, points)
            show_estimates(title, rewards_SK, exact)
            tables[title] = [*official, *points]
    if arguments.figure:
        draw(arguments.figure, tables)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
