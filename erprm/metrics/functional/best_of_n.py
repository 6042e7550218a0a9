r"""Expected accuracy of best-of-n and pass@n, exact for every n from one pool of N candidates.

Best-of-n draws n of a problem's N candidates without replacement and keeps the one with the highest score. Averaged
over all subsets, the candidate of rank j (0 = highest score) is the one kept with probability

.. math:: \binom{N - 1 - j}{n - 1} \Big/ \binom{N}{n}

because the other n - 1 must come from the N - 1 - j candidates below it. Candidates with equal scores share their ranks
evenly, so each of them counts with the mean correctness of the tied group: a fair draw among the best.

Shape suffixes: P problems, N candidates a problem.
"""

import torch
from torch import Tensor

from erprm.metrics.functional.pools import check_pool, check_same_shape, check_scores, log_choose, mean_at_n
from erprm.tensors import Numbers


def best_of_n_accuracy(scores_PN: Numbers, correct_PN: Numbers, n: int, valid_PN: Numbers | None = None) -> Tensor:
    """Expected accuracy of the best-scored of n candidates, over all subsets of n, averaged over problems.

    Args:
        scores_PN: score of each candidate, higher is better, shape [P, N]. Infinite scores are allowed.
        correct_PN: correctness of each candidate, bool or a number in [0, 1], shape [P, N].
        n: number of candidates drawn without replacement.
        valid_PN: boolean mask of the real candidates where rows are padded, shape [P, N].

    Returns:
        A float64 scalar.

    Raises:
        ValueError: for mismatched shapes, an empty pool, a NaN score, correctness outside [0, 1], n < 1, or n larger
            than some problem's pool.

    Example:
        The right candidate has the second-highest score: it is the best of two unless the first is drawn as well.

        >>> best_of_n_accuracy(torch.tensor([[0.9, 0.7, 0.2]]), torch.tensor([[False, True, False]]), n=2)
        tensor(0.3333, dtype=torch.float64)
    """
    return mean_at_n(best_of_n_curves(scores_PN, correct_PN, valid_PN), n)


def best_of_n_curves(scores_PN: Numbers, correct_PN: Numbers, valid_PN: Numbers | None = None) -> Tensor:
    """Expected best-of-n accuracy of every problem for every n.

    Arguments (but for ``n``) and errors are those of :func:`best_of_n_accuracy`.

    Returns:
        Float64, shape [P, N]: column n - 1 holds the values for n. NaN where a problem has fewer than n candidates.

    Example:
        >>> best_of_n_curves(torch.tensor([[0.9, 0.7, 0.2]]), torch.tensor([[False, True, False]]))
        tensor([[0.3333, 0.3333, 0.0000]], dtype=torch.float64)
    """
    correct_PN, valid_PN = check_pool(correct_PN, valid_PN)
    return selected_value_curves(scores_PN, correct_PN, valid_PN)


def selected_value_curves(scores_PN: Numbers, values_PN: Tensor, valid_PN: Tensor) -> Tensor:
    """Expected value of the best-scored of n candidates, of every problem for every n.

    Args:
        scores_PN: score of each candidate, higher is better, shape [P, N].
        values_PN: any finite number of each candidate: its correctness, its score, its length; shape [P, N].
        valid_PN: boolean mask of the real candidates, at least one a problem, shape [P, N].

    Returns:
        Float64, shape [P, N]: column n - 1 holds the values for n. NaN where a problem has fewer than n candidates.

    Raises:
        ValueError: for mismatched shapes or a NaN score.
    """
    scores_PN = check_scores(scores_PN, valid_PN)
    check_same_shape("values_PN", values_PN, valid_PN)
    return curves_of_ranking(ranked_values(scores_PN, values_PN, valid_PN), valid_PN.sum(dim=1))


def ranked_values(scores_PN: Tensor, values_PN: Tensor, valid_PN: Tensor) -> Tensor:
    """The value at each rank, that of the highest score first and of padding last; equal scores share their mean.

    Arguments are those of :func:`selected_value_curves`; float64, shape [P, N].
    """
    # Two stable sorts put the candidates in order of score and all padding behind them, even behind scores of -inf.
    order_PN = scores_PN.sort(dim=1, descending=True, stable=True).indices
    padding_last_PN = valid_PN.gather(1, order_PN).int().sort(dim=1, descending=True, stable=True).indices
    order_PN = order_PN.gather(1, padding_last_PN)
    ranked_scores_PN, ranked_valid_PN = scores_PN.gather(1, order_PN), valid_PN.gather(1, order_PN)
    ranked_values_PN = values_PN.double().gather(1, order_PN)

    starts_PN = torch.zeros_like(ranked_valid_PN)
    starts_PN[:, 1:] = ranked_scores_PN[:, 1:] != ranked_scores_PN[:, :-1]
    starts_PN[:, 1:] |= ranked_valid_PN[:, 1:] != ranked_valid_PN[:, :-1]
    tie_PN = starts_PN.long().cumsum(dim=1)
    return _mean_by_group(ranked_values_PN, tie_PN)


def pass_at_n(correct_PN: Numbers, n: int, valid_PN: Numbers | None = None) -> Tensor:
    """Unbiased pass@n: the chance that n candidates drawn without replacement hold a right one.

    ``1 - C(N - c, n) / C(N, n)`` for a problem with c right candidates (Chen et al. 2021, arXiv 2107.03374, eq. 1),
    averaged over problems. For correctness between 0 and 1 it is the expected highest correctness among the n.

    Args:
        correct_PN: correctness of each candidate, bool or a number in [0, 1], shape [P, N].
        n: number of candidates drawn without replacement.
        valid_PN: boolean mask of the real candidates where rows are padded, shape [P, N].

    Returns:
        A float64 scalar.

    Raises:
        ValueError: for an empty pool, correctness outside [0, 1], n < 1, or n larger than some problem's pool.

    Example:
        >>> pass_at_n(torch.tensor([[True, False, False, False]]), n=2)
        tensor(0.5000, dtype=torch.float64)
    """
    return mean_at_n(pass_at_n_curves(correct_PN, valid_PN), n)


def pass_at_n_curves(correct_PN: Numbers, valid_PN: Numbers | None = None) -> Tensor:
    """pass@n of every problem for every n.

    A scorer that knows the truth reaches pass@n, so this is best-of-n with the correctness itself as the score.

    Arguments (but for ``n``) and errors are those of :func:`pass_at_n`.

    Returns:
        Float64, shape [P, N]: column n - 1 holds the values for n. NaN where a problem has fewer than n candidates.
    """
    correct_PN, valid_PN = check_pool(correct_PN, valid_PN)
    return best_of_n_curves(correct_PN.double(), correct_PN, valid_PN)


def curves_of_ranking(ranked_correct_PN: Tensor, sizes_P: Tensor) -> Tensor:
    """Expected correctness of the highest-ranked of n drawn candidates, for every n.

    Args:
        ranked_correct_PN: (expected) correctness of the candidate at each rank, best rank first, float64, shape [P, N].
        sizes_P: number of candidates of each problem, shape [P]; ranks from there on are padding.

    Returns:
        Float64, shape [P, N]; NaN where n exceeds the problem's number of candidates.
    """
    curves_PN = torch.full_like(ranked_correct_PN, torch.nan)
    for size in sizes_P.unique().tolist():
        # Rank by number drawn: the probability that this rank is the highest one drawn.
        rank_R1 = torch.arange(size, device=sizes_P.device)[:, None]
        n_N = torch.arange(1, size + 1, device=sizes_P.device)
        log_subsets_N = log_choose(torch.full_like(n_N, size), n_N)
        weights_RN = (log_choose(size - 1 - rank_R1, n_N - 1) - log_subsets_N).exp()
        rows = sizes_P == size
        curves_PN[rows, :size] = ranked_correct_PN[rows, :size] @ weights_RN
    return curves_PN


def _mean_by_group(values_PN: Tensor, group_PN: Tensor) -> Tensor:
    """Replace every value by the mean of its group within the row. Groups are numbered from 0 up to N - 1."""
    zeros_PN = torch.zeros_like(values_PN)
    sums_PN = zeros_PN.scatter_add(1, group_PN, values_PN)
    counts_PN = zeros_PN.scatter_add(1, group_PN, torch.ones_like(values_PN))
    return (sums_PN / counts_PN.clamp(min=1)).gather(1, group_PN)
