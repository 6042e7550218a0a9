"""Expected accuracy of soft best-of-n: one of n candidates, drawn with weights ``exp(eta * score)``.

Verdun et al. 2025 (arXiv 2505.03156), with ``eta = 1 / lambda``. It draws from the tilt of which the entropic vote
takes the favourite answer, and needs no final answers. Eta = 0 is a candidate at random, infinity best-of-n.

Shape suffixes: P problems, N candidates a problem (in the order drawn, once a draw is made).
"""

import math

import torch
from torch import Tensor

from erprm.eta import Eta
from erprm.metrics.functional.best_of_n import selected_value_curves
from erprm.metrics.functional.pools import check_pool, log_tilt, mean_at_n, mean_over_orders, read_tilt
from erprm.tensors import Numbers


def soft_best_of_n_accuracy(
    scores_PN: Numbers,
    correct_PN: Numbers,
    n: int,
    eta: Eta,
    valid_PN: Numbers | None = None,
    n_draws: int = 100,
    seed: int = 0,
) -> Tensor:
    """Expected accuracy of one of n candidates, drawn with weights ``exp(eta * score)``.

    Exact for every n at eta = 0 and infinity, and for every eta at n = 1 and where n is the whole pool; otherwise a
    seeded Monte Carlo estimate over the subsets of n, from ``n_draws`` random orders for each problem.

    Args:
        scores_PN: score of each candidate, any number below infinity, shape [P, N]; minus infinity is a weight of 0.
        correct_PN: correctness of each candidate, bool or a number in [0, 1], shape [P, N].
        n: number of candidates drawn without replacement.
        eta: inverse temperature, at least 0.
        valid_PN: boolean mask of the real candidates where rows are padded, shape [P, N].
        n_draws: number of random orders.
        seed: seed of the random orders.

    Returns:
        A float64 scalar. Among candidates that all have a weight of 0, one is drawn at random.

    Raises:
        ValueError: for mismatched shapes, an empty pool, a score that is infinite or NaN, correctness outside [0, 1],
            n < 1, n larger than some problem's pool, n_draws < 1, or an eta that is negative or NaN.

    Example:
        Weights of 3 and 1:

        >>> scores, correct = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[True, False]])
        >>> soft_best_of_n_accuracy(scores, correct, n=2, eta=1.0)
        tensor(0.7500, dtype=torch.float64)
    """
    return mean_at_n(soft_best_of_n_curves(scores_PN, correct_PN, eta, valid_PN, n_draws, seed), n)


def soft_best_of_n_curves(
    scores_PN: Numbers,
    correct_PN: Numbers,
    eta: Eta,
    valid_PN: Numbers | None = None,
    n_draws: int = 100,
    seed: int = 0,
) -> Tensor:
    """Expected accuracy of soft best-of-n, of every problem for every n.

    Arguments (but for ``n``) and errors are those of :func:`soft_best_of_n_accuracy`.

    Returns:
        Float64, shape [P, N]: column n - 1 holds the values for n. NaN where a problem has fewer than n candidates.
    """
    correct_PN, valid_PN = check_pool(correct_PN, valid_PN)
    eta, scores_PN = read_tilt(eta, scores_PN, valid_PN)
    if eta in (0.0, math.inf):
        return selected_value_curves(scores_PN if eta else torch.zeros_like(scores_PN), correct_PN, valid_PN)

    log_weights_PN = log_tilt(eta, scores_PN, valid_PN)
    values_PN = correct_PN.double().masked_fill(~valid_PN, 0.0)

    def curves_of_order(order_PN: Tensor) -> Tensor:
        log_PN = log_weights_PN.gather(1, order_PN)
        log_right_PN = log_PN + values_PN.gather(1, order_PN).log()
        return (log_right_PN.logcumsumexp(1) - log_PN.logcumsumexp(1)).exp()

    value_of_one_P = values_PN.sum(dim=1) / valid_PN.sum(dim=1)
    return mean_over_orders(curves_of_order, value_of_one_P, valid_PN, n_draws, seed)
