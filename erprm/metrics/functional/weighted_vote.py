"""Expected accuracy of a score-weighted vote among n of N candidates.

Shape suffixes: P problems, N candidates a problem (in the order drawn, once a draw is made).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from erprm.metrics.functional.pools import (
    Groups,
    check_ids,
    check_pool,
    check_scores,
    group_candidates,
    mean_at_n,
    mean_over_orders,
    raise_at_first,
)
from erprm.tensors import Numbers

# Scores are put on a grid of 2^-40 of their problem's largest: integer sums do not depend on the order of the
# candidates, so equal totals are equal and tie fairly.
GRID = 2**40


def weighted_vote_accuracy(
    scores_PN: Numbers,
    answers_PN: Numbers,
    correct_PN: Numbers,
    n: int,
    valid_PN: Numbers | None = None,
    n_draws: int = 100,
    seed: int = 0,
) -> Tensor:
    """Expected accuracy of the answer whose candidates' scores have the largest sum, among n candidates.

    Exact at n = 1 and where n is the whole pool; in between, a seeded Monte Carlo estimate from ``n_draws`` random
    orders for each problem (the first n of an order are a random subset), of standard error at most
    ``0.5 / sqrt(n_draws * P)``. Ties win with equal probability, a subset without any answer counts as wrong, and where
    candidates with one answer differ in correctness, the answer counts with the mean over all of them.

    Args:
        scores_PN: score of each candidate, finite and not negative, shape [P, N]. A sum of negative scores would be a
            vote against an answer: turn logits or log-probabilities into probabilities first.
        answers_PN: integer id of each candidate's answer, equal ids within a problem mean equal answers, -1 means no
            answer (such a candidate never votes). Shape [P, N].
        correct_PN: correctness of each candidate, bool or a number in [0, 1], shape [P, N].
        n: number of candidates drawn without replacement.
        valid_PN: boolean mask of the real candidates where rows are padded, shape [P, N].
        n_draws: number of random orders.
        seed: seed of the random orders.

    Returns:
        A float64 scalar.

    Raises:
        ValueError: for mismatched shapes, an empty pool, a score that is negative, infinite or NaN, ids that are no
            integers or below -1, correctness outside [0, 1], n < 1, n larger than some problem's pool, or n_draws < 1.

    Example:
        Two wrong candidates outvote the right one unless its score is larger than both together.

        >>> answers, correct = torch.tensor([[5, 3, 3]]), torch.tensor([[True, False, False]])
        >>> weighted_vote_accuracy(torch.tensor([[0.9, 0.3, 0.4]]), answers, correct, n=3)
        tensor(1., dtype=torch.float64)
        >>> weighted_vote_accuracy(torch.tensor([[0.9, 0.6, 0.5]]), answers, correct, n=3)
        tensor(0., dtype=torch.float64)
    """
    return mean_at_n(weighted_vote_curves(scores_PN, answers_PN, correct_PN, valid_PN, n_draws, seed), n)


def weighted_vote_curves(
    scores_PN: Numbers,
    answers_PN: Numbers,
    correct_PN: Numbers,
    valid_PN: Numbers | None = None,
    n_draws: int = 100,
    seed: int = 0,
) -> Tensor:
    """Expected accuracy of a score-weighted vote, of every problem for every n.

    Arguments (but for ``n``) and errors are those of :func:`weighted_vote_accuracy`.

    Returns:
        Float64, shape [P, N]: column n - 1 holds the values for n. NaN where a problem has fewer than n candidates.
    """
    correct_PN, valid_PN = check_pool(correct_PN, valid_PN)
    scores_PN = check_scores(scores_PN, valid_PN)
    outside_PN = (scores_PN < 0) | scores_PN.isinf()
    raise_at_first("scores_PN", scores_PN, valid_PN & outside_PN, "a vote's weight is finite and not negative")
    answers_PN = check_ids("answers_PN", answers_PN, valid_PN, lowest=-1)

    votes_PN = valid_PN & (answers_PN != -1)
    groups = group_candidates(answers_PN, correct_PN, votes_PN)
    scores_PN = scores_PN.double().masked_fill(~votes_PN, 0)
    largest_P1 = scores_PN.max(dim=1, keepdim=True).values
    weights_PN = (scores_PN / largest_P1.masked_fill(largest_P1 == 0, 1) * GRID).round().long()

    def totals(answer_PN: Tensor, order_PN: Tensor) -> tuple[Tensor, Tensor]:
        weight_PN = weights_PN.gather(1, order_PN)
        total_PN, first_PN = _running_totals(answer_PN, weight_PN)
        # A vote of no weight changes nothing, except that it brings a new answer into play.
        return total_PN, first_PN | (weight_PN > 0)

    return vote_curves(groups, valid_PN, totals, n_draws, seed)


RunningTotals = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From the answers of candidates in the order drawn, and that order, each ``[P, N]``: the total of each candidate's
answer up to and with that candidate, integers, and whether the candidate changes it. Totals only grow."""


def vote_curves(groups: Groups, valid_PN: Tensor, totals: RunningTotals, n_draws: int, seed: int) -> Tensor:
    """Expected accuracy of a vote that the answer with the largest total wins, of every problem for every n.

    Args:
        groups: the candidates that vote, grouped by answer.
        valid_PN: boolean mask of the real candidates, shape [P, N].
        totals: of the answers, while candidates are drawn.
        n_draws: number of random orders.
        seed: seed of the random orders.

    Returns:
        As :func:`weighted_vote_curves`.

    Raises:
        ValueError: for n_draws < 1.
    """
    # A single candidate wins with its own answer, whatever its score.
    value_of_one_P = (groups.sizes_PC * groups.correct_PC).sum(dim=1) / valid_PN.sum(dim=1)
    return mean_over_orders(
        lambda order_PN: _value_of_leaders(groups, order_PN, totals), value_of_one_P, valid_PN, n_draws, seed
    )


def _value_of_leaders(groups: Groups, order_PN: Tensor, totals: RunningTotals) -> Tensor:
    """Mean correctness of the answers with the largest total, after each candidate of one order of drawing.

    Returns:
        Float64, 0 as long as no candidate with an answer is drawn, shape [P, N].
    """
    answer_PN = groups.index_PN.gather(1, order_PN)
    votes_PN = answer_PN < groups.sizes_PC.shape[1]
    value_PN = groups.correct_PC.gather(1, answer_PN.masked_fill(~votes_PN, 0))
    total_PN, changes_PN = totals(answer_PN, order_PN)

    # An answer's total only grows, so it can come to the top only when a candidate of its own is drawn.
    counts_PN = votes_PN & changes_PN
    total_PN = total_PN.masked_fill(~counts_PN, torch.iinfo(total_PN.dtype).min)
    largest_PN = total_PN.cummax(dim=1).values
    joins_PN = (counts_PN & (total_PN == largest_PN)).double()
    overtakes_PN = torch.ones_like(counts_PN)
    overtakes_PN[:, 1:] = largest_PN[:, 1:] > largest_PN[:, :-1]

    leaders_PN = _sum_since(overtakes_PN, joins_PN)
    return _sum_since(overtakes_PN, joins_PN * value_PN) / leaders_PN.clamp(min=1)


def _running_totals(answer_PN: Tensor, weight_PN: Tensor) -> tuple[Tensor, Tensor]:
    """Total weight of each candidate's answer up to and with that candidate, and whether it is the answer's first."""
    by_answer_PN, order_PN = answer_PN.sort(dim=1, stable=True)
    first_PN = torch.ones_like(by_answer_PN, dtype=torch.bool)
    first_PN[:, 1:] = by_answer_PN[:, 1:] != by_answer_PN[:, :-1]
    total_PN = _sum_since(first_PN, weight_PN.gather(1, order_PN))
    return torch.zeros_like(total_PN).scatter(1, order_PN, total_PN), first_PN.scatter(1, order_PN, first_PN)


def _sum_since(start_PN: Tensor, values_PN: Tensor) -> Tensor:
    """Cumulative sum along the row of values of at least 0 that starts anew wherever ``start_PN`` is true."""
    sums_PN = values_PN.cumsum(dim=1)
    before_PN = (sums_PN - values_PN).masked_fill(~start_PN, 0)
    return sums_PN - before_PN.cummax(dim=1).values
