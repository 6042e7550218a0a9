"""The n at which best-of-n accuracy peaks, estimated from a pool that is too small to show it.

Best-of-n takes the best of n scores. With the share v of a problem's candidates that score higher, the accuracy is the
mean of ``g(v)``, the chance that a candidate of that rank is right, over the least of n uniform v: so g, averaged over
problems, gives the accuracy at every n. A pool of N candidates shows g only through its N ranks, each of them at a v
that is known up to a Beta distribution. Here g is a logistic function of ``L = -ln(v)``, with the terms 1, exp(-L), L
and L^2, fitted to the correctness at each rank by maximum likelihood. Its form decides what lies beyond the pool.

Shape suffixes: P problems, N candidates, n as many as every problem has, B bootstrap samples, G grid, F terms.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from erprm.metrics.functional.best_of_n import ranked_values
from erprm.metrics.functional.pools import check_pool, check_scores, log_choose
from erprm.metrics.functional.resampling import resampled_means
from erprm.tensors import Numbers

LEAST_CANDIDATES = 8
_GRID = 400
_EDGE = 1e-9
_RIDGE = 1e-5


class PeakOfBestOfN(NamedTuple):
    """The n of the highest accuracy.

    Attributes:
        n: the n; ``reach`` says that there is no peak within reach.
        low: lower end of its 95% interval over problems.
        high: upper end; the peak is seen where it is below ``reach``.
        reach: the largest n that was looked at.
    """

    n: int
    low: int
    high: int
    reach: int


def peak_of_best_of_n(
    scores_PN: Numbers,
    correct_PN: Numbers,
    valid_PN: Numbers | None = None,
    reach: int = 4,
    n_resamples: int = 200,
    seed: int = 0,
) -> PeakOfBestOfN:
    """Estimates where best-of-n accuracy peaks, up to a few times as many candidates as there are.

    Args:
        scores_PN: score of each candidate, shape [P, N]; ``-inf`` for one that could not be scored.
        correct_PN: correctness of each candidate, bool or a number in [0, 1], shape [P, N].
        valid_PN: boolean mask of the real candidates where rows are padded, shape [P, N].
        reach: the largest n, in units of the candidates that every problem has.
        n_resamples: number of bootstrap samples of the problems.
        seed: of the bootstrap.

    Raises:
        ValueError: for mismatched shapes, a score that is NaN, fewer than 8 candidates of a problem, fewer than two
            problems, or reach or n_resamples below 1.
    """
    correct_PN, valid_PN = check_pool(correct_PN, valid_PN)
    scores_PN = check_scores(scores_PN, valid_PN)
    problems, candidates = len(valid_PN), int(valid_PN.sum(1).min())
    if candidates < LEAST_CANDIDATES or problems < 2:
        raise ValueError(
            f"{problems} problem(s) with {candidates} candidates or more; a peak is estimated from at least 2 with "
            f"{LEAST_CANDIDATES}"
        )
    if reach < 1 or n_resamples < 1:
        raise ValueError(f"reach is {reach} and n_resamples {n_resamples}; both must be at least 1")
    shares_Pn = _correct_at_ranks(scores_PN.double(), correct_PN.double(), valid_PN, candidates)
    shares_Bn = torch.cat([shares_Pn.mean(0, keepdim=True), resampled_means(shares_Pn, n_resamples, seed)]).cpu()

    last = reach * candidates
    grid_G = (torch.arange(_GRID, dtype=torch.float64) + 0.5) * (math.log(last) + 10.0) / _GRID
    terms_GF = torch.stack([torch.ones_like(grid_G), (-grid_G).exp(), grid_G, grid_G.square()], dim=1)
    ranks_nG = _best_of(candidates, torch.arange(candidates, dtype=torch.float64), grid_G)
    curves_BN = (
        _fitted(shares_Bn, ranks_nG, terms_GF)
        @ torch.cat([_best_of(n, torch.zeros(1, dtype=torch.float64), grid_G) for n in range(1, last + 1)]).T
    )
    peaks_B = curves_BN.argmax(1) + 1
    low, high = (
        peaks_B[1:].double().quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), interpolation="nearest")
    )
    return PeakOfBestOfN(int(peaks_B[0]), int(low), int(high), last)


def _correct_at_ranks(scores_PN: Tensor, correct_PN: Tensor, valid_PN: Tensor, count: int) -> Tensor:
    """Expected correctness at each rank, best first, of so many random candidates of each problem; [P, count]."""
    correct_PN = ranked_values(scores_PN, correct_PN, valid_PN)
    shares_Pn = torch.empty(len(scores_PN), count, dtype=torch.float64, device=scores_PN.device)
    sizes_P = valid_PN.sum(1)
    for size in sizes_P.unique().tolist():
        of_all, of_some = torch.arange(size)[:, None], torch.arange(count)
        log_ways = log_choose(of_all, of_some) + log_choose(size - 1 - of_all, count - 1 - of_some)
        ways = (log_ways - log_choose(torch.tensor(size), torch.tensor(count))).exp().to(scores_PN.device)
        shares_Pn[sizes_P == size] = correct_PN[sizes_P == size, :size] @ ways
    return shares_Pn


def _best_of(count: int, ranks_R: Tensor, grid_G: Tensor) -> Tensor:
    """Distribution of L at some ranks, 0 the best, among so many candidates; [R, G]."""
    log_density = -(ranks_R[:, None] + 1) * grid_G + (count - 1 - ranks_R[:, None]) * torch.log1p(-(-grid_G).exp())
    return log_density.softmax(1)


def _fitted(shares_Bn: Tensor, ranks_nG: Tensor, terms_GF: Tensor) -> Tensor:
    """The fitted g of every sample on the grid, by Fisher scoring with halved steps; [B, G]."""
    weights_BF = torch.zeros(len(shares_Bn), terms_GF.shape[1], dtype=torch.float64)
    weights_BF[:, 0] = shares_Bn.mean(1).clamp(0.01, 0.99).logit()
    ridge_FF = _RIDGE * torch.eye(terms_GF.shape[1], dtype=torch.float64)

    def loss_of(weights_BF: Tensor) -> Tensor:
        rates_Bn = ((weights_BF @ terms_GF.T).sigmoid() @ ranks_nG.T).clamp(_EDGE, 1 - _EDGE)
        likelihood_Bn = torch.xlogy(shares_Bn, rates_Bn) + torch.xlogy(1 - shares_Bn, 1 - rates_Bn)
        return _RIDGE / 2 * weights_BF.square().sum(1) - likelihood_Bn.sum(1)

    loss_B = loss_of(weights_BF)
    for _ in range(60):
        found_BG = (weights_BF @ terms_GF.T).sigmoid()
        rates_Bn = (found_BG @ ranks_nG.T).clamp(_EDGE, 1 - _EDGE)
        slopes_BnF = torch.einsum("ng,bg,gf->bnf", ranks_nG, found_BG * (1 - found_BG), terms_GF)
        variance_Bn = rates_Bn * (1 - rates_Bn)
        gradient_BF = torch.einsum("bn,bnf->bf", (rates_Bn - shares_Bn) / variance_Bn, slopes_BnF)
        hessian_BFF = torch.einsum("bn,bnf,bnh->bfh", 1 / variance_Bn, slopes_BnF, slopes_BnF) + ridge_FF
        step_BF = torch.linalg.solve(hessian_BFF, gradient_BF + _RIDGE * weights_BF)
        for _ in range(12):
            is_worse_B = ~(loss_of(weights_BF - step_BF) <= loss_B)
            if not is_worse_B.any():
                break
            step_BF[is_worse_B] /= 2
        step_BF[is_worse_B] = 0.0
        weights_BF = weights_BF - step_BF
        loss_B = loss_of(weights_BF)
        if step_BF.abs().max() < 1e-6:
            break
    return (weights_BF @ terms_GF.T).sigmoid()
