"""Features of a text, and their rank correlation with its score among the candidates of a problem.

Shape suffixes: P problems, N candidates a problem.
"""

import torch
from torch import Tensor

from erprm.metrics.functional.pools import check_same_shape, check_scores
from erprm.tensors import Numbers, as_tensor


def repeated_share(text: str, n: int = 4) -> float:
    """Share of a text's n-grams of words that have occurred in it before.

    Args:
        text: any text; words are what white space separates.
        n: words of an n-gram.

    Returns:
        A number in [0, 1); 0 for a text of fewer than n words.

    Example:
        Of the four pairs of words, the third and the fourth repeat the first two.

        >>> repeated_share("so it so it so", n=2)
        0.5
    """
    words = text.split()
    ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def within_problem_rank_correlation(scores_PN: Numbers, features_PN: Numbers, counted_PN: Numbers) -> Tensor:
    """Spearman's rank correlation of score and feature over each problem's candidates; ties share their mean rank.

    Args:
        scores_PN: score of each candidate, shape [P, N]. Infinite scores are allowed.
        features_PN: a number of each candidate, such as its length, shape [P, N].
        counted_PN: boolean mask of the candidates that count, shape [P, N].

    Returns:
        Float64 in [-1, 1], shape [P]; NaN for a problem in which all scores or all features are equal.

    Raises:
        ValueError: for mismatched shapes, or a NaN among those that count.

    Example:
        >>> scores, lengths = torch.tensor([[0.1, 0.5, 0.9]]), torch.tensor([[10, 30, 20]])
        >>> within_problem_rank_correlation(scores, lengths, torch.ones(1, 3, dtype=torch.bool))
        tensor([0.5000], dtype=torch.float64)
    """
    features_PN = as_tensor(features_PN, "features_PN")
    counted_PN = as_tensor(counted_PN, "counted_PN")
    scores_PN = check_scores(scores_PN, counted_PN)
    check_same_shape("features_PN", features_PN, counted_PN)
    correlations = [
        _correlation(_ranks(scores_N[counted_N]), _ranks(features_N[counted_N]))
        for scores_N, features_N, counted_N in zip(scores_PN, features_PN, counted_PN, strict=True)
    ]
    return torch.stack(correlations)


def _ranks(values_N: Tensor) -> Tensor:
    below_N = (values_N[:, None] > values_N).sum(dim=1)
    equal_N = (values_N[:, None] == values_N).sum(dim=1)
    return below_N + (equal_N + 1) / 2


def _correlation(ranks_N: Tensor, others_N: Tensor) -> Tensor:
    centred_N, other_centred_N = (ranks.double() - ranks.double().mean() for ranks in (ranks_N, others_N))
    return (centred_N @ other_centred_N) / (centred_N.square().sum() * other_centred_N.square().sum()).sqrt()
