"""A vote with learned weights against the entropic vote: does a fitted function of the score beat one number, eta?

    python benchmarks/learned_vote.py runs/my/best_of_n/gsm8k       # folders that erprm test wrote
    python benchmarks/learned_vote.py --worlds 10                   # pools drawn here, without models

Of each problem the first n candidates choose one answer:

    best-of-n          that of the best-scored candidate
    majority           the one that most candidates give
    weighted vote      the one whose candidates' scores sum highest
    default eta        the entropic vote, weights exp(eta * score), at 3 over the spread of the scores
    chosen eta         the same at the eta that is best on the problems of the other folds, as erprm choose-eta does
    of logits          the same with ln(score / (1 - score)) in place of the score
    p, p / (1 - p), -ln(1 - p)
                       weights that are such a function of the probability p that a candidate with this score is right;
                       the map from scores to p (``--method``) is fitted to the candidates of the other folds

Printed are accuracies, and their paired differences from both votes at the chosen eta, with 95% intervals: over
problems (bootstrap) for a folder, and over worlds (Student's t) for drawn pools.

In a drawn pool a policy that makes the demo's mistakes writes the candidates (benchmarks/dial_worlds.py). The score of
a step is the exact probability of success after it, within [0.02, 0.98], with normal noise in its logit that belongs to
the text, as a model gives a text one score; that of a solution is its least. Some wrong solutions have high scores, and
the more candidates the higher. That noise is normal in the logit suits votes that weigh by it.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from dial_worlds import draw_policy, success_after
from torch import Tensor

from erprm.demo.dial.problems import Mistakes, random_problem, solve
from erprm.metrics.calibration import cross_fitted_calibration
from erprm.metrics.estimate import Estimate
from erprm.metrics.evaluation import Candidates, entropic_vote_values
from erprm.metrics.functional.best_of_n import best_of_n_curves
from erprm.metrics.functional.calibration_map import CALIBRATION_METHODS, EDGE, CalibrationMethod
from erprm.metrics.functional.entropic_vote import default_eta, score_spread
from erprm.metrics.functional.resampling import student_t_interval
from erprm.metrics.vote_choice import ETAS_IN_SPREADS, cross_validated
from erprm.report.candidates import read_scored_pool

CHOSEN = "entropic vote, chosen eta"
OF_LOGITS = f"{CHOSEN}, of logits"
LEAST, MOST = 0.02, 0.98


def accuracies(
    pool: Candidates, scores_PN: Tensor, method: CalibrationMethod, folds: int, seed: int
) -> dict[str, Tensor]:
    """Accuracy on each problem with all of its candidates, [P], by every way of choosing."""
    p_PN = right_probabilities(pool, scores_PN, method, folds, seed)
    return {
        "best-of-n": best_of_n_curves(scores_PN, pool.correct_PN, pool.valid_PN)[:, -1],
        "majority": vote(pool, 0.0 * scores_PN),
        "weighted vote": vote(pool, scores_PN.log()),
        "entropic vote, default eta": vote(pool, default_eta(scores_PN, pool.valid_PN) * scores_PN),
        CHOSEN: chosen_vote(pool, scores_PN, folds, seed),
        OF_LOGITS: chosen_vote(pool, scores_PN.logit(EDGE), folds, seed),
        f"{method}, p": vote(pool, p_PN.log()),
        f"{method}, p / (1 - p)": vote(pool, p_PN.logit()),
        f"{method}, -ln(1 - p)": vote(pool, (-(-p_PN).log1p()).log()),
    }


def vote(pool: Candidates, log_weights_PN: Tensor) -> Tensor:
    """Accuracy on each problem of a vote of all of its candidates, [P].

    An entropic vote at eta 1 takes logarithms of weights. One that is not finite casts no vote: that of a score of 0,
    or of a candidate without a score. Of the whole pool there is one subset, so one draw is exact.
    """
    return entropic_vote_values(pool, log_weights_PN, 1.0, n_draws=1)[:, -1]


def chosen_vote(pool: Candidates, scores_PN: Tensor, folds: int, seed: int) -> Tensor:
    """The entropic vote at the eta that is best on the problems of the other folds, [P]."""
    spread = score_spread(scores_PN, pool.valid_PN)
    etas = [factor / spread for factor in ETAS_IN_SPREADS] if spread > 0 else [0.0]
    return cross_validated(torch.stack([vote(pool, eta * scores_PN) for eta in etas]), folds, seed)[0]


def right_probabilities(
    pool: Candidates, scores_PN: Tensor, method: CalibrationMethod, folds: int, seed: int
) -> Tensor:
    """The probability of being right of candidates with such a score, cross-fitted by problem; NaN without a score."""
    scored_PN = pool.valid_PN & scores_PN.isfinite()
    problem_PN = torch.arange(len(scores_PN))[:, None].expand(scores_PN.shape)
    p_PN = torch.full(scores_PN.shape, torch.nan, dtype=torch.float64)
    p_PN[scored_PN] = cross_fitted_calibration(
        scores_PN[scored_PN], pool.correct_PN[scored_PN].double(), problem_PN[scored_PN], method, folds, seed
    )
    return p_PN


def first(pool: Candidates, n: int) -> Candidates:
    """A pool of the first n candidates of each problem."""
    return Candidates(pool.correct_PN[:, :n], pool.answers_PN[:, :n], pool.texts_PN[:, :n], pool.valid_PN[:, :n])


def draw_pool(seed: int, problems: int, candidates: int) -> tuple[Candidates, Tensor, Tensor]:
    """A world's candidates, and of their steps the logits [P, N, S] of exact values and the noise that is added.

    A solution with fewer steps than others repeats its last one.
    """
    rng = random.Random(seed)
    policy = draw_policy(rng)
    drawn = [_draw_problem(rng, policy, candidates) for _ in range(problems)]
    correct, answers, logits, noise = zip(*drawn, strict=True)
    answers_PN = torch.tensor(answers)
    # Texts are told apart by no vote.
    pool = Candidates(torch.tensor(correct), answers_PN, torch.zeros_like(answers_PN), torch.ones_like(answers_PN) > 0)
    return pool, torch.tensor(logits, dtype=torch.float64), torch.tensor(noise, dtype=torch.float64)


_STEPS = 6


def _draw_problem(
    rng: random.Random, policy: Mistakes, candidates: int
) -> tuple[list[bool], list[int], list[list[float]], list[list[float]]]:
    """Draws outcomes and answers of candidates, and of their steps the logits of exact values and the noise."""
    problem = random_problem(rng, longest=_STEPS)
    logits_at = [[_logit(p) for p in at_position] for at_position in success_after(problem, policy)]
    noise_of: dict[tuple[int, ...], float] = {}
    correct, answers, logits, noise = [], [], [], []
    for _ in range(candidates):
        results = [step.result for step in solve(problem, rng, policy)]
        prefixes = [tuple(results[: place + 1]) for place in range(len(results))]
        for prefix in prefixes:
            if prefix not in noise_of:
                noise_of[prefix] = rng.gauss(0.0, 1.0)
        missing = _STEPS - len(results)
        of_steps = [at_position[result] for at_position, result in zip(logits_at, results, strict=True)]
        logits.append(of_steps + of_steps[-1:] * missing)
        noise.append([noise_of[prefix] for prefix in prefixes + prefixes[-1:] * missing])
        answers.append(results[-1])
        correct.append(str(results[-1]) == problem.answer)
    return correct, answers, logits, noise


def _logit(p: float) -> float:
    p = min(max(p, LEAST), MOST)
    return math.log(p / (1 - p))


def show(title: str, values: Mapping[str, Tensor], estimate: Callable[[Tensor], Estimate]) -> None:
    """Prints accuracies and differences, in percent and points, of one value a problem or a world."""
    print(f"\n| {title} | accuracy, % | minus chosen eta, points | minus chosen eta of logits, points |")
    print("|---|---:|---:|---:|")
    for name, each in values.items():
        cells = [_cell(estimate(each))]
        cells += ["" if name == other else _cell(estimate(each - values[other])) for other in (CHOSEN, OF_LOGITS)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def _cell(estimate: Estimate) -> str:
    return "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * value for value in estimate))


def over_worlds(values_W: Tensor) -> Estimate:
    """The mean of one value a world."""
    low, high = student_t_interval(values_W)
    return Estimate(values_W.mean().item(), low.item(), high.item())


def main() -> None:
    """Prints a table for each pool, or for each noise and n."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="*", help="folders best_of_n/NAME that erprm test wrote")
    parser.add_argument("--aggregation", default="min", help="of step scores, whose result must lie in [0, 1]")
    parser.add_argument("--method", choices=CALIBRATION_METHODS, default="isotonic")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    parser.add_argument("--worlds", type=int, default=10, help="that are drawn where no folder is given")
    parser.add_argument("--problems", type=int, default=300, help="of each world")
    parser.add_argument("--ns", type=int, nargs="+", default=(64, 256), help="candidates in drawn pools")
    parser.add_argument("--noises", type=float, nargs="+", default=(1.0, 2.0, 4.0), help="standard deviations")
    arguments = parser.parse_args()
    method, folds, seed = arguments.method, arguments.folds, arguments.seed
    for folder in arguments.results:
        pool, scores = read_scored_pool(folder)
        n = int(pool.valid_PN.sum(1).min())
        values = accuracies(first(pool, n), scores[arguments.aggregation][:, :n], method, folds, seed)
        show(f"{folder}, {len(pool.correct_PN)} problems, n = {n}", values, Estimate.of)
    if arguments.results:
        return
    found: dict[tuple[float, int], list[dict[str, float]]] = {}
    for world in range(arguments.worlds):
        pool, logits_PNS, noise_PNS = draw_pool(world, arguments.problems, max(arguments.ns))
        for noise in arguments.noises:
            scores_PN = (logits_PNS + noise * noise_PNS).amin(2).sigmoid()
            for n in arguments.ns:
                values = accuracies(first(pool, n), scores_PN[:, :n], method, folds, seed)
                found.setdefault((noise, n), []).append({name: float(each.mean()) for name, each in values.items()})
    for (noise, n), worlds in found.items():
        means = {name: torch.tensor([world[name] for world in worlds]) for name in worlds[0]}
        show(f"{len(worlds)} worlds, noise {noise:g}, n = {n}", means, over_worlds)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
