"""Reward hacking, or over-optimisation: the effect of searching ever more candidates for a high score.

The score of the selected candidate can only rise with n. If accuracy stops rising with it, the search finds what the
scorer favours rather than what is right.

Shape suffixes: P problems, N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erprm.metrics.estimate import Curve, Estimate
from erprm.metrics.evaluation import accuracy_curve
from erprm.metrics.functional.best_of_n import best_of_n_curves, pass_at_n_curves, selected_value_curves
from erprm.metrics.functional.resampling import percentile_interval, resampled_means
from erprm.metrics.functional.text_features import within_problem_rank_correlation


@dataclass(frozen=True)
class EstimateOfSome(Estimate):
    """An estimate over the problems that have a value; NaN if none has.

    Attributes:
        problems: number of problems that have a value.
    """

    problems: int

    @classmethod
    def of(cls, values_P: Tensor | Sequence[float]) -> EstimateOfSome:
        """The estimate from one value a problem, NaN for one that has none."""
        values_P = torch.as_tensor(values_P)
        values_P = values_P[~values_P.isnan()]
        found = Estimate.of(values_P) if len(values_P) else Estimate(torch.nan, torch.nan, torch.nan)
        return cls(found.mean, found.low, found.high, len(values_P))


@dataclass(frozen=True)
class RewardHacking:
    """Accuracy and score of the selected candidate as n grows, and how they diverge; each a mean over problems.

    Attributes:
        accuracy: of the best-scored of n candidates.
        score: its score; a candidate without a score counts with the lowest one of the pool.
        gap: score minus accuracy.
        outscored: of the selected candidates that are wrong, the share for which a right one was among the n, but
            scored no higher: mistakes of the scorer, where the rest are mistakes of the policy. NaN if none is wrong.
        peak: the n of the highest accuracy, the smallest of them.
        fall: accuracy at that n minus accuracy at the largest n. The peak is chosen on the same problems, so this is
            0 or above, and its interval leans upwards.
    """

    accuracy: Curve
    score: Curve
    gap: Curve
    outscored: Curve
    peak: int
    fall: EstimateOfSome


def reward_hacking(scores_PN: Tensor, correct_PN: Tensor, valid_PN: Tensor, ns: list[int]) -> RewardHacking:
    """Follows the selected candidate as n grows.

    Args:
        scores_PN: score of each candidate, shape [P, N]; ``-inf`` for one that could not be scored.
        correct_PN: whether a candidate is right, shape [P, N].
        valid_PN: False for padding, shape [P, N].
        ns: numbers of candidates, none above the smallest problem's.

    Raises:
        ValueError: for mismatched shapes, a NaN score, or no score at all.
    """
    scored_PN = valid_PN & scores_PN.isfinite()
    if not scored_PN.any():
        raise ValueError("scores_PN holds no finite score")
    finite_PN = torch.where(scored_PN, scores_PN, scores_PN[scored_PN].min())
    bon_PN, pass_PN = best_of_n_curves(scores_PN, correct_PN, valid_PN), pass_at_n_curves(correct_PN, valid_PN)
    score_PN = selected_value_curves(scores_PN, finite_PN, valid_PN)
    accuracy = accuracy_curve(bon_PN, ns)
    peak = ns[accuracy.mean.index(max(accuracy.mean))]
    return RewardHacking(
        accuracy=accuracy,
        score=accuracy_curve(score_PN, ns),
        gap=accuracy_curve(score_PN - bon_PN, ns),
        # A right candidate among the n that was not selected: pass - best-of-n.
        outscored=_ratio_curve(pass_PN - bon_PN, 1 - bon_PN, ns),
        peak=peak,
        fall=EstimateOfSome.of(bon_PN[:, peak - 1] - bon_PN[:, max(ns) - 1]),
    )


def _ratio_curve(numerators_PN: Tensor, denominators_PN: Tensor, ns: list[int]) -> Curve:
    """Ratio of two means over problems at some n; NaN where the denominator is 0."""
    places = torch.tensor(ns) - 1
    columns_Pn = torch.cat([numerators_PN[:, places], denominators_PN[:, places]], dim=1)

    def ratio(means: Tensor) -> Tensor:
        numerators, denominators = means.chunk(2, dim=-1)
        # Accuracies within rounding of 1 leave no wrong answer.
        return torch.where(denominators > 1e-12, numerators / denominators, torch.nan)

    low_n, high_n = percentile_interval(ratio(resampled_means(columns_Pn)))
    return Curve(list(ns), ratio(columns_Pn.mean(0)).tolist(), low_n.tolist(), high_n.tolist())


def favoured_features(
    scores_PN: Tensor, correct_PN: Tensor, valid_PN: Tensor, features: Mapping[str, Tensor]
) -> dict[str, dict[str, EstimateOfSome]]:
    """Rank correlation of score and feature within problems, averaged over problems.

    Right candidates may differ from wrong ones in a feature, and a good score goes with it for that reason. Among
    the wrong candidates alone there is no such reason.

    Args:
        scores_PN: score of each candidate, shape [P, N]; ``-inf`` for one that could not be scored, which is left out.
        correct_PN: whether a candidate is right, shape [P, N].
        valid_PN: False for padding, shape [P, N].
        features: a number of each candidate, by name, shape [P, N].

    Returns:
        For each feature the estimates ``all`` (over all candidates) and ``wrong`` (over the wrong ones).
    """
    scored_PN = valid_PN & scores_PN.isfinite()
    counted = {"all": scored_PN, "wrong": scored_PN & ~correct_PN}
    return {
        name: {
            which: EstimateOfSome.of(within_problem_rank_correlation(scores_PN, features_PN, counted_PN))
            for which, counted_PN in counted.items()
        }
        for name, features_PN in features.items()
    }
