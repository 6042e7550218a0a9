r"""Expected accuracy of a majority vote among n of N candidates, exact for every n.

n of a problem's N candidates are drawn without replacement, and the answer that most of them give wins; tied answers
win with equal probability. Nothing is sampled here: the mean over all subsets comes from counting them.

Say answer j is given by m_j candidates of mean correctness v_j, and let the winner have k votes. In the polynomials

.. math:: A_j(z) = \sum_{i<k} \binom{m_j}{i} z^i, \qquad B_j(z) = \binom{m_j}{k} z^k

the coefficient of :math:`z^i` counts the ways to draw i candidates with answer j such that it loses (A) or is at the
top (B). If t answers are at the top together, each of them wins with probability :math:`1/t = \int_0^1 u^{t-1} du`.
Hence the subsets of each size that a right answer wins with k votes are counted by the coefficients of

.. math:: (1 + z)^{\text{rest}} \int_0^1 \sum_j v_j B_j \prod_{i \ne j} (A_i + u B_i) \, du

where the products run over the answers with at least k candidates, and the rest are all other candidates. The integrand
is a polynomial in u, so Gauss-Legendre quadrature is exact. For k = 1 there is no need of u: as many answers are at the
top as there are candidates with an answer, which is the degree of the product in z.

Shape suffixes: P problems, N candidates a problem, C answers of a problem by decreasing size, U quadrature nodes,
D = N + 1 polynomial coefficients (the degree is the number of candidates drawn).
"""

import math

import numpy as np
import torch
from torch import Tensor

from erprm.metrics.functional.pools import check_ids, check_pool, group_candidates, log_choose, mean_at_n
from erprm.tensors import Numbers

# Problems are taken in blocks whose polynomials together have up to this many coefficients. They stay in a processor's
# cache, and below the size from which torch splits an operation over threads: there are very many small operations, and
# to wait for other threads at each of them takes minutes on a busy machine.
BLOCK_COEFFICIENTS = 32_768

# Binomials of m are stored times 2^(-m / 2), so that those of pools up to this size fit a float64.
LARGEST_POOL = 2000


def majority_vote_accuracy(answers_PN: Numbers, correct_PN: Numbers, n: int, valid_PN: Numbers | None = None) -> Tensor:
    """Expected accuracy of the most frequent answer among n candidates, over all subsets, averaged over problems.

    Exact, with ties broken fairly. A subset in which no candidate has an answer counts as wrong. Where candidates with
    one answer differ in correctness, the answer counts with the mean over all of them.

    Args:
        answers_PN: integer id of each candidate's answer, equal ids within a problem mean equal answers, -1 means no
            answer (such a candidate never votes). Shape [P, N].
        correct_PN: correctness of each candidate, bool or a number in [0, 1], shape [P, N].
        n: number of candidates drawn without replacement.
        valid_PN: boolean mask of the real candidates where rows are padded, shape [P, N].

    Returns:
        A float64 scalar.

    Raises:
        ValueError: for mismatched shapes, an empty pool, a pool of more than 2000 candidates, ids that are no integers
            or below -1, correctness outside [0, 1], n < 1, or n larger than some problem's pool.

    Example:
        Two of three candidates are right: any two hold a majority or a tie.

        >>> answers, correct = torch.tensor([[7, 7, 4]]), torch.tensor([[True, True, False]])
        >>> majority_vote_accuracy(answers, correct, n=2)
        tensor(0.6667, dtype=torch.float64)
        >>> majority_vote_accuracy(answers, correct, n=3)
        tensor(1., dtype=torch.float64)
    """
    return mean_at_n(majority_vote_curves(answers_PN, correct_PN, valid_PN), n)


def majority_vote_curves(answers_PN: Numbers, correct_PN: Numbers, valid_PN: Numbers | None = None) -> Tensor:
    """Expected majority-vote accuracy of every problem for every n.

    Arguments (but for ``n``) and errors are those of :func:`majority_vote_accuracy`.

    Returns:
        Float64, shape [P, N]: column n - 1 holds the values for n. NaN where a problem has fewer than n candidates.
    """
    correct_PN, valid_PN = check_pool(correct_PN, valid_PN)
    answers_PN = check_ids("answers_PN", answers_PN, valid_PN, lowest=-1)
    n_candidates = correct_PN.shape[1]
    if n_candidates > LARGEST_POOL:
        raise ValueError(f"pools may have up to {LARGEST_POOL} candidates, found {n_candidates}")

    _, sizes_PC, values_PC = group_candidates(answers_PN, correct_PN, valid_PN & (answers_PN != -1))
    sizes_PC, order_PC = sizes_PC.sort(dim=1, descending=True)
    values_PC = values_PC.gather(1, order_PC)
    pool_P = valid_PN.sum(dim=1)

    ways_MD = _binomials(n_candidates, correct_PN.device)
    won_PD = torch.zeros(len(pool_P), n_candidates + 1, dtype=torch.float64, device=correct_PN.device)
    for rows in torch.arange(len(pool_P), device=correct_PN.device).split(_block_size(1, n_candidates)):
        won_PD[rows] = _won_with_one_vote(sizes_PC[rows], values_PC[rows], pool_P[rows], ways_MD)
    for votes in range(2, int(sizes_PC.max()) + 1):
        contenders_P = (sizes_PC >= votes).sum(dim=1)
        for contenders in contenders_P[contenders_P > 0].unique().tolist():
            block_size = _block_size(math.ceil(contenders / 2), n_candidates)
            for rows in (contenders_P == contenders).nonzero()[:, 0].split(block_size):
                sizes_RC, values_RC = sizes_PC[rows, :contenders], values_PC[rows, :contenders]
                won_PD[rows] += _won_with(votes, sizes_RC, values_RC, pool_P[rows], ways_MD)

    subsets_PD = ways_MD[pool_P]
    return (won_PD / subsets_PD).masked_fill(subsets_PD == 0, torch.nan)[:, 1:]


def _block_size(n_nodes: int, n_candidates: int) -> int:
    """Number of problems in a block."""
    return max(1, BLOCK_COEFFICIENTS // (n_nodes * (n_candidates + 1)))


def _won_with(votes: int, sizes_PC: Tensor, values_PC: Tensor, pool_P: Tensor, ways_MD: Tensor) -> Tensor:
    """Number of subsets, by their size, that a right answer is expected to win with exactly ``votes`` votes.

    Args:
        votes: number of votes of the winner, at least 1.
        sizes_PC: number of candidates of each answer, none below ``votes``, shape [P, C].
        values_PC: mean correctness of each of these answers, shape [P, C].
        pool_P: number of all candidates, shape [P].
        ways_MD: scaled binomials of every m up to N.

    Returns:
        Numbers of subsets, times 2^(-pool / 2), shape [P, D].
    """
    n_answers = sizes_PC.shape[1]
    nodes_U, weights_U = _gauss_legendre(math.ceil(n_answers / 2), sizes_PC.device)
    drawn_PUD = ways_MD[pool_P - sizes_PC.sum(dim=1), None].repeat(1, len(nodes_U), 1)
    won_PUD = torch.zeros_like(drawn_PUD)
    for answer in range(n_answers):
        ways_PI = ways_MD[sizes_PC[:, answer], : votes + 1]
        below_PI, top_PI = ways_PI[:, :votes], ways_PI[:, votes:]
        drawn_top_PUD = _times(drawn_PUD, top_PI, shift=votes)
        if answer > 0:
            won_top_PUD = _times(won_PUD, top_PI, shift=votes)
            won_PUD = _times(won_PUD, below_PI).addcmul_(nodes_U[:, None], won_top_PUD)
        won_PUD.addcmul_(values_PC[:, answer, None, None], drawn_top_PUD)
        if answer < n_answers - 1:
            drawn_PUD = _times(drawn_PUD, below_PI).addcmul_(nodes_U[:, None], drawn_top_PUD)
    return (weights_U[:, None] * won_PUD).sum(dim=1)


def _won_with_one_vote(sizes_PC: Tensor, values_PC: Tensor, pool_P: Tensor, ways_MD: Tensor) -> Tensor:
    """The same for one vote, where as many answers are at the top as there are voters.

    Answers without candidates are allowed. Arguments and result are those of :func:`_won_with`.
    """
    drawn_P1D = torch.zeros(len(pool_P), 1, ways_MD.shape[1], dtype=torch.float64, device=ways_MD.device)
    drawn_P1D[..., 0] = 1
    won_P1D = torch.zeros_like(drawn_P1D)
    for answer in range(int((sizes_PC > 0).sum(dim=1).max())):
        ways_PI = ways_MD[sizes_PC[:, answer], :2]
        drawn_top_P1D = _times(drawn_P1D, ways_PI[:, 1:], shift=1)
        won_P1D = _times(won_P1D, ways_PI) + values_PC[:, answer, None, None] * drawn_top_P1D
        drawn_P1D = _times(drawn_P1D, ways_PI)
    at_the_top_D = torch.arange(ways_MD.shape[1], device=ways_MD.device).clamp(min=1)
    non_voters_P = pool_P - sizes_PC.sum(dim=1)
    return _times(won_P1D / at_the_top_D, ways_MD[non_voters_P, : int(non_voters_P.max()) + 1])[:, 0]


def _times(polynomials_PUD: Tensor, factors_PI: Tensor, shift: int = 0) -> Tensor:
    """Products of polynomials with ``z^shift`` times another polynomial for each problem, cut off at D coefficients."""
    products_PUD = torch.zeros_like(polynomials_PUD)
    n_coefficients = polynomials_PUD.shape[2]
    for i in range(factors_PI.shape[1]):
        power = shift + i
        kept_PUD = polynomials_PUD[..., : n_coefficients - power]
        products_PUD[..., power:].addcmul_(kept_PUD, factors_PI[:, i, None, None])
    return products_PUD


def _binomials(n_candidates: int, device: torch.device) -> Tensor:
    """``C(m, i) * 2^(-m / 2)`` for m and i from 0 to N, shape [M, D]."""
    m = torch.arange(n_candidates + 1, dtype=torch.float64, device=device)
    return (log_choose(m[:, None], m) - m[:, None] * math.log(2) / 2).exp()


def _gauss_legendre(n_nodes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1] that integrate polynomials of degree ``2 * n_nodes - 1`` exactly."""
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    return torch.from_numpy((nodes + 1) / 2).to(device), torch.from_numpy(weights / 2).to(device)
