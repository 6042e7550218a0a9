"""Errors of the plug-in and posterior labels (``data.estimate``) over many worlds, and what a prior by position adds.

    python benchmarks/label_estimates.py --worlds 10
    python benchmarks/label_estimates.py --worlds 10 --moves 8 16
    python benchmarks/label_estimates.py --rollouts examples/stories/rollouts

A world is a policy that makes mistakes of its own, some problems, and one solution to each (benchmarks/dial_worlds.py).
The success probability p after every step but the last is exact, and K completions are a binomial draw. Compared are
root-mean-square errors against the exact R_eta:

    plug-in            from the K completions alone
    posterior          the posterior mean under one prior for the file, which is what ``data.estimate: posterior`` does
    from the start     the same with a prior for each position, the first step, the second, ...
    from the end       the same with a prior for each number of steps that are left

Late positions with fewer than ``--least`` steps share a prior with the one before. Intervals are 95% by Student's t
over the worlds; differences are paired within worlds.

For recorded rollouts there are no exact values. Printed is by how much a step's counts are more likely under a prior by
position than under one for the file, each fitted on other problems.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

import torch
from dial_worlds import draw_policy, success_after
from torch import Tensor

from erprm.data.records import read_records
from erprm.demo.dial.problems import random_problem, solve
from erprm.metrics.estimate import Estimate
from erprm.metrics.functional.resampling import student_t_interval
from erprm.rewards import binary_reward, fit_beta_prior, posterior_reward
from erprm.rewards.beliefs import log_beta

ETAS = (0.0, 0.5, 2.0, 10.0, 50.0)
COUNTS = (4, 8, 16)
FOLDS = 10
ESTIMATES = ("plug-in", "posterior", "from the start", "from the end")


def positions(lengths: Sequence[int], least: int) -> dict[str, Tensor]:
    """A group for each step of solutions with so many steps, shape [S], in each way of grouping.

    >>> positions([3, 1], least=2)["from the start"].tolist()
    [0, 0, 0, 0]
    """
    start = torch.cat([torch.arange(length) for length in lengths])
    end = torch.cat([torch.arange(length).flip(0) for length in lengths])
    return {
        "posterior": torch.zeros_like(start),
        "from the start": _joined(start, least),
        "from the end": _joined(end, least),
    }


def _joined(position_S: Tensor, least: int) -> Tensor:
    # No position has more steps than the one before.
    return position_S.clamp(max=max(int((position_S.bincount() >= least).sum()) - 1, 0))


def draw_world(seed: int, problems: int, moves: tuple[int, int]) -> tuple[Tensor, list[int]]:
    """Success probabilities after all steps but the last of a world's solutions, and how many each solution has."""
    rng = random.Random(seed)
    policy = draw_policy(rng)
    drawn = [random_problem(rng, *moves) for _ in range(problems)]
    of_solutions = [
        [at[step.result] for at, step in zip(success_after(each, policy), solve(each, rng, policy), strict=True)][:-1]
        for each in drawn
    ]
    values_S = torch.tensor([p for of_solution in of_solutions for p in of_solution], dtype=torch.float64)
    return values_S, [len(of_solution) for of_solution in of_solutions]


def labels(successes_S: Tensor, count: int, group_S: Tensor) -> Tensor:
    """Posterior means at each of ETAS under a prior for each group, shape [E, S]."""
    trials_S = torch.full_like(successes_S, count)
    labels_ES = torch.empty(len(ETAS), len(successes_S), dtype=torch.float64)
    for group in group_S.unique():
        inside_S = group_S == group
        counts = successes_S[inside_S], trials_S[inside_S]
        prior = fit_beta_prior(*counts)
        for place, eta in enumerate(ETAS):
            labels_ES[place, inside_S] = posterior_reward(*counts, eta, prior)
    return labels_ES


def errors_of_world(seed: int, problems: int, moves: tuple[int, int], least: int) -> Tensor:
    """Root-mean-square errors by count, estimate and eta, [K, M, E]; a last count stands for the best constant."""
    values_S, lengths = draw_world(seed, problems, moves)
    exact_ES = torch.stack([binary_reward(values_S, eta) for eta in ETAS])
    groups = positions(lengths, least)
    generator = torch.Generator().manual_seed(seed)
    of_counts = []
    for count in COUNTS:
        successes_S = torch.binomial(torch.full_like(values_S, count), values_S, generator=generator)
        plug_in_ES = torch.stack([binary_reward(successes_S / count, eta) for eta in ETAS])
        estimates = [plug_in_ES, *(labels(successes_S, count, group_S) for group_S in groups.values())]
        of_counts.append(torch.stack([(found_ES - exact_ES).square().mean(1).sqrt() for found_ES in estimates]))
    constant_E = exact_ES.std(1, correction=0)
    return torch.stack([*of_counts, constant_E.expand(len(ESTIMATES), -1)])


def show(title: str, rows: dict[str, Tensor]) -> None:
    """Prints means over worlds with their intervals, of values [W, E] by name."""
    print(f"\n| {title} | " + " | ".join(f"eta {eta:g}" for eta in ETAS) + " |")
    print("|---|" + "---:|" * len(ETAS))
    for name, values_WE in rows.items():
        low_E, high_E = student_t_interval(values_WE)
        cells = zip(values_WE.mean(0).tolist(), low_E.tolist(), high_E.tolist(), strict=True)
        print(f"| {name} | " + " | ".join("{:.3f} [{:.3f}, {:.3f}]".format(*cell) for cell in cells) + " |")


def show_worlds(worlds: int, problems: int, moves: tuple[int, int], least: int) -> None:
    """Prints errors, and differences between estimates, over worlds."""
    errors_WKME = torch.stack([errors_of_world(seed, problems, moves, least) for seed in range(worlds)])
    rows = {"best constant": errors_WKME[:, -1, 0]}
    pairs = {}
    for place, count in enumerate(COUNTS):
        of_estimates = dict(zip(ESTIMATES, errors_WKME[:, place].unbind(1), strict=True))
        rows |= {f"{name}, K = {count}": of_estimates[name] for name in ("plug-in", "posterior")}
        pairs[f"posterior minus plug-in, K = {count}"] = of_estimates["posterior"] - of_estimates["plug-in"]
        for name in ("from the start", "from the end"):
            pairs[f"prior by position {name} minus one prior, K = {count}"] = (
                of_estimates[name] - of_estimates["posterior"]
            )
    print(f"{worlds} worlds, {problems} problems of {moves[0]} to {moves[1]} steps")
    show("root-mean-square error of labels", rows)
    show("difference", pairs)


def show_rollouts(path: str, least: int) -> None:
    """Prints by how much the counts of steps are more likely under a prior by position, in nats a solution."""
    counts = [[(sum(of_step), len(of_step)) for of_step in record.rewards[:-1]] for record in read_records(path)]
    counts = [of_solution for of_solution in counts if of_solution]
    right_S, trials_S = torch.tensor([step for of_solution in counts for step in of_solution]).double().unbind(1)
    lengths = [len(of_solution) for of_solution in counts]
    solution_S = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    groups = positions(lengths, least)
    of_estimates = {name: log_likelihoods(right_S, trials_S, group_S, solution_S) for name, group_S in groups.items()}
    print(f"{len(lengths)} solutions, {len(right_S)} steps before the last")
    for name in ("from the start", "from the end"):
        gain_S = of_estimates[name] - of_estimates["posterior"]
        gain = Estimate.of(torch.zeros(len(lengths), dtype=torch.float64).index_add(0, solution_S, gain_S))
        print(f"prior by position {name}: {gain.mean:.3f} [{gain.low:.3f}, {gain.high:.3f}] nats a solution")


def log_likelihoods(right_S: Tensor, trials_S: Tensor, group_S: Tensor, solution_S: Tensor) -> Tensor:
    """Of each step's counts under its group's prior, fitted to the solutions of other folds; without the binomial."""
    order = torch.randperm(int(solution_S.max()) + 1, generator=torch.Generator().manual_seed(0))
    fold_S = (order % FOLDS)[solution_S]
    found_S = torch.empty_like(right_S)
    for fold in range(FOLDS):
        for group in group_S.unique():
            fitted_S, judged_S = (group_S == group) & (fold_S != fold), (group_S == group) & (fold_S == fold)
            prior = fit_beta_prior(right_S[fitted_S], trials_S[fitted_S])
            alpha, beta = torch.tensor(prior, dtype=torch.float64).unbind()
            s_S, k_S = right_S[judged_S], trials_S[judged_S]
            found_S[judged_S] = log_beta(alpha + s_S, beta + k_S - s_S) - log_beta(alpha, beta)
    return found_S


def main() -> None:
    """Prints the comparison over worlds, or that on rollouts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=10)
    parser.add_argument("--problems", type=int, default=500, help="of each world")
    parser.add_argument("--moves", type=int, nargs=2, default=(3, 6), help="fewest and most steps of a problem")
    parser.add_argument("--least", type=int, default=50, help="steps that a position needs for a prior of its own")
    parser.add_argument("--rollouts", help="rollout records to compare priors on, in place of worlds")
    arguments = parser.parse_args()
    if arguments.rollouts:
        show_rollouts(arguments.rollouts, arguments.least)
    else:
        show_worlds(arguments.worlds, arguments.problems, tuple(arguments.moves), arguments.least)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
