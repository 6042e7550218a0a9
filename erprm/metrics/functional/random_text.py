"""Baseline of a scorer that knows nothing: best-of-n with a random score for each distinct text.

A policy often writes the right solution of a problem many times over in the same words, while its wrong solutions all
differ. A scorer without any knowledge gives copies of one text the same score, so it picks among *distinct texts*, and
its best-of-n falls as n grows, below the policy's own accuracy. Best-of-n is to be read against this line, not only
against a random choice among candidates.

Shape suffixes: P problems, N candidates a problem.
"""

import torch
from torch import Tensor

from erprm.metrics.functional.best_of_n import curves_of_ranking
from erprm.metrics.functional.pools import check_ids, check_pool, group_candidates, mean_at_n
from erprm.tensors import Numbers


def random_text_accuracy(
    texts_PN: Numbers,
    correct_PN: Numbers,
    n: int,
    valid_PN: Numbers | None = None,
    n_draws: int = 100,
    seed: int = 0,
) -> Tensor:
    """Expected best-of-n accuracy of independent random scores, one for each distinct text.

    The mean over all subsets of n candidates is exact; the mean over orders of the texts is a seeded Monte Carlo
    estimate from ``n_draws`` orders for each problem (exact at n = 1, where the order does not matter). Its standard
    error is at most ``0.5 / sqrt(n_draws * P)``.

    Args:
        texts_PN: integer id of each candidate's text, at least 0; equal ids within a problem mean equal texts. Shape
            [P, N].
        correct_PN: correctness of each candidate, bool or a number in [0, 1], shape [P, N].
        n: number of candidates drawn without replacement.
        valid_PN: boolean mask of the real candidates where rows are padded, shape [P, N].
        n_draws: number of random orders of the texts.
        seed: seed of the random orders.

    Returns:
        A float64 scalar.

    Raises:
        ValueError: for mismatched shapes, an empty pool, ids that are no integers or negative, correctness outside
            [0, 1], n < 1, n larger than some problem's pool, or n_draws < 1.

    Example:
        Three copies of the right text and one wrong text: of all four, either text comes first half of the time.

        >>> texts, correct = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[True, True, True, False]])
        >>> random_text_accuracy(texts, correct, n=1)
        tensor(0.7500, dtype=torch.float64)
        >>> round(float(random_text_accuracy(texts, correct, n=4, n_draws=10_000)), 1)
        0.5
    """
    return mean_at_n(random_text_curves(texts_PN, correct_PN, valid_PN, n_draws, seed), n)


def random_text_curves(
    texts_PN: Numbers, correct_PN: Numbers, valid_PN: Numbers | None = None, n_draws: int = 100, seed: int = 0
) -> Tensor:
    """Expected best-of-n accuracy of random scores for each distinct text, of every problem for every n.

    Arguments (but for ``n``) and errors are those of :func:`random_text_accuracy`.

    Returns:
        Float64, shape [P, N]: column n - 1 holds the values for n. NaN where a problem has fewer than n candidates.
    """
    correct_PN, valid_PN = check_pool(correct_PN, valid_PN)
    texts_PN = check_ids("texts_PN", texts_PN, valid_PN, lowest=0)
    if n_draws < 1:
        raise ValueError(f"n_draws must be at least 1, found {n_draws}")

    groups = group_candidates(texts_PN, correct_PN, valid_PN)
    text_PN = groups.index_PN.masked_fill(~valid_PN, 0)
    text_correct_PN = groups.correct_PC.gather(1, text_PN)
    generator = torch.Generator().manual_seed(seed)
    ranked_correct_PN = torch.zeros_like(text_correct_PN)
    for _ in range(n_draws):
        text_key_PC = torch.rand(groups.sizes_PC.shape, generator=generator, dtype=torch.float64).to(text_PN.device)
        key_PN = text_key_PC.gather(1, text_PN).masked_fill(~valid_PN, torch.inf)
        ranked_correct_PN += text_correct_PN.gather(1, key_PN.argsort(dim=1))
    return curves_of_ranking(ranked_correct_PN / n_draws, valid_PN.sum(dim=1))
