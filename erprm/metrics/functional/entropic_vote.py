r"""Expected accuracy of the vote of the optimal policy among n of N candidates.

The policy that the entropy-regularized reward comes from is :math:`\pi^* \propto \pi_0 e^{\eta s}` (arXiv 2412.11006,
section 3). Of n samples of :math:`\pi_0` with solution scores :math:`s_i`, the share of :math:`\pi^*` that ends in an
answer is estimated, up to a factor, by the sum of :math:`e^{\eta s_i}` over the samples with that answer
(self-normalised importance sampling). The vote goes to the answer with the largest, which has the highest

.. math:: R_\eta(a) = \tfrac{1}{\eta} \ln \tfrac{1}{n} \sum_i 1[\text{answer}_i = a] \, e^{\eta s_i},

equation 2 of the paper read over candidates. At eta = 0 this is majority vote, at infinity best-of-n. With
``s = ln(score)`` weights are powers ``score ** eta``, and eta = 1 is the score-weighted vote.

Shape suffixes: P problems, N candidates a problem (in the order drawn, once a draw is made), C answers of a problem.
"""

import math

import torch
from torch import Tensor

from erprm.eta import Eta
from erprm.metrics.choice import SPREADS
from erprm.metrics.functional.best_of_n import selected_value_curves
from erprm.metrics.functional.majority_vote import majority_vote_curves
from erprm.metrics.functional.pools import (
    LOG_FLOOR,
    check_ids,
    check_pool,
    group_candidates,
    log_tilt,
    mean_at_n,
    read_tilt,
)
from erprm.metrics.functional.weighted_vote import vote_curves
from erprm.tensors import Numbers, as_tensor

# Logarithms of totals are put on a grid of 2^-32, so that the order in which candidates are drawn, which changes the
# last bits of a sum, does not break ties.
_GRID = 2**32


def entropic_vote_accuracy(
    scores_PN: Numbers,
    answers_PN: Numbers,
    correct_PN: Numbers,
    n: int,
    eta: Eta,
    valid_PN: Numbers | None = None,
    n_draws: int = 100,
    seed: int = 0,
) -> Tensor:
    """Expected accuracy of the answer that the optimal policy would give most often, estimated from n candidates.

    Exact for every n at eta = 0 and infinity, and for every eta at n = 1 and where n is the whole pool; otherwise a
    seeded Monte Carlo estimate from ``n_draws`` random orders for each problem, of standard error at most
    ``0.5 / sqrt(n_draws * P)``. Ties win with equal probability, a subset without any answer counts as wrong, and where
    candidates with one answer differ in correctness, the answer counts with the mean over all of them.

    Args:
        scores_PN: score of each candidate, any number below infinity, shape [P, N]. Logarithms of scores give powers
            of them as weights; minus infinity is a weight of 0.
        answers_PN: integer id of each candidate's answer, equal ids within a problem mean equal answers, -1 means no
            answer (such a candidate never votes). Shape [P, N].
        correct_PN: correctness of each candidate, bool or a number in [0, 1], shape [P, N].
        n: number of candidates drawn without replacement.
        eta: inverse temperature of the weights, at least 0.
        valid_PN: boolean mask of the real candidates where rows are padded, shape [P, N].
        n_draws: number of random orders.
        seed: seed of the random orders.

    Returns:
        A float64 scalar.

    Raises:
        ValueError: for mismatched shapes, an empty pool, a score that is infinite or NaN, ids that are no integers or
            below -1, correctness outside [0, 1], n < 1, n larger than some problem's pool, n_draws < 1, or an eta that
            is negative or NaN.

    Example:
        Two wrong candidates outvote the right one until eta lets its higher score count for more.

        >>> scores, answers = torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[5, 3, 3]])
        >>> correct = torch.tensor([[True, False, False]])
        >>> entropic_vote_accuracy(scores, answers, correct, n=3, eta=1.0)
        tensor(0., dtype=torch.float64)
        >>> entropic_vote_accuracy(scores, answers, correct, n=3, eta=2.0)  # exp(2 * 0.4) = 2.2 > 2
        tensor(1., dtype=torch.float64)
    """
    return mean_at_n(entropic_vote_curves(scores_PN, answers_PN, correct_PN, eta, valid_PN, n_draws, seed), n)


def entropic_vote_curves(
    scores_PN: Numbers,
    answers_PN: Numbers,
    correct_PN: Numbers,
    eta: Eta,
    valid_PN: Numbers | None = None,
    n_draws: int = 100,
    seed: int = 0,
) -> Tensor:
    """Expected accuracy of the vote of the optimal policy, of every problem for every n.

    Arguments (but for ``n``) and errors are those of :func:`entropic_vote_accuracy`.

    Returns:
        Float64, shape [P, N]: column n - 1 holds the values for n. NaN where a problem has fewer than n candidates.
    """
    correct_PN, valid_PN = check_pool(correct_PN, valid_PN)
    eta, scores_PN = read_tilt(eta, scores_PN, valid_PN)
    answers_PN = check_ids("answers_PN", answers_PN, valid_PN, lowest=-1)
    if eta == 0.0:
        return majority_vote_curves(answers_PN, correct_PN, valid_PN)

    votes_PN = valid_PN & (answers_PN != -1)
    groups = group_candidates(answers_PN, correct_PN, votes_PN)
    if eta == math.inf:
        value_of_none = torch.zeros_like(groups.correct_PC[:, :1])
        values_PN = torch.cat([groups.correct_PC, value_of_none], dim=1).gather(1, groups.index_PN)
        return selected_value_curves(scores_PN.masked_fill(~votes_PN, -torch.inf), values_PN, valid_PN)

    log_weights_PN = log_tilt(eta, scores_PN, votes_PN)

    def totals(answer_PN: Tensor, order_PN: Tensor) -> tuple[Tensor, Tensor]:
        return _running_log_totals(answer_PN, log_weights_PN.gather(1, order_PN))

    return vote_curves(groups, valid_PN, totals, n_draws, seed)


def score_spread(scores_PN: Numbers, valid_PN: Numbers | None = None) -> float:
    """Standard deviation of scores within their problem, the unit in which a default eta is given.

    Args:
        scores_PN: score of each candidate, shape [P, N]; ``-inf``, no score, is left out.
        valid_PN: boolean mask of the real candidates where rows are padded, shape [P, N].

    Returns:
        The root of the mean squared deviation of a score from the mean of its problem; 0 if there are no scores.

    Example:
        >>> score_spread([[0.25, 0.75], [0.5, 1.0]])
        0.25
    """
    all_PN = as_tensor(scores_PN, "scores_PN").double()
    known_PN = all_PN.isfinite()
    if valid_PN is not None:
        known_PN &= as_tensor(valid_PN, "valid_PN")
    known_scores_PN = all_PN.masked_fill(~known_PN, 0.0)
    counts_P1 = known_PN.sum(dim=1, keepdim=True)
    means_P1 = known_scores_PN.sum(dim=1, keepdim=True) / counts_P1.clamp(min=1)
    squares_PN = (known_scores_PN - means_P1).square().masked_fill(~known_PN, 0.0)
    return float((squares_PN.sum() / counts_P1.sum().clamp(min=1)).sqrt())


def default_eta(scores_PN: Numbers, valid_PN: Numbers | None = None) -> float:
    """An eta for a pool whose best one is not known: ``SPREADS`` over the spread of its scores.

    It does not change when scores are shifted, and scales with them. :mod:`erprm.metrics.vote_choice` finds a better
    one where there are right answers to choose it by.

    Args:
        scores_PN: score of each candidate, shape [P, N].
        valid_PN: boolean mask of the real candidates where rows are padded, shape [P, N].

    Returns:
        Zero where all scores of every problem are equal: then every eta gives a majority vote.
    """
    spread = score_spread(scores_PN, valid_PN)
    return SPREADS / spread if spread > 0.0 else 0.0


def _running_log_totals(answer_PN: Tensor, log_weight_PN: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm of the total weight of each candidate's answer up to and with that candidate, on the grid.

    Returns:
        The totals, and whether the candidate has changed its answer's.
    """
    number, candidates = answer_PN.shape
    so_far_PC = log_weight_PN.new_full((number, candidates + 1), -torch.inf)
    before_PN, total_PN = torch.empty_like(log_weight_PN), torch.empty_like(log_weight_PN)
    # A weight may be 10^300 times another: sums over several answers at once, taken apart later, would lose it.
    for place in range(candidates):
        answer_P1 = answer_PN[:, place, None]
        before_PN[:, place, None] = before_P1 = so_far_PC.gather(1, answer_P1)
        total_PN[:, place, None] = total_P1 = torch.logaddexp(before_P1, log_weight_PN[:, place, None])
        so_far_PC.scatter_(1, answer_P1, total_P1)
    on_grid_PN, grid_before_PN = (
        (log.clamp(min=2 * LOG_FLOOR) * _GRID).round().long() for log in (total_PN, before_PN)
    )
    return on_grid_PN, on_grid_PN > grid_before_PN
