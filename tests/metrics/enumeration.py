"""Expected values by going through every subset of a pool, the slow and obvious way."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations


def mean_over_subsets(pool_size: int, n: int, value: Callable[[tuple[int, ...]], float]) -> float:
    """Mean of ``value(drawn candidates)`` over all subsets of n candidates."""
    values = [value(drawn) for drawn in combinations(range(pool_size), n)]
    return sum(values) / len(values)


def best_of(scores: Sequence[float], correct: Sequence[float]) -> Callable[[tuple[int, ...]], float]:
    """Correctness of the best-scored of the drawn candidates, a fair draw among the best."""

    def value(drawn: tuple[int, ...]) -> float:
        highest = max(scores[i] for i in drawn)
        return _mean([correct[i] for i in drawn if scores[i] == highest])

    return value


def soft_best_of(weights: Sequence[float], correct: Sequence[float]) -> Callable[[tuple[int, ...]], float]:
    """Correctness of one of the drawn candidates, drawn in proportion to its weight."""

    def value(drawn: tuple[int, ...]) -> float:
        return sum(weights[i] * correct[i] for i in drawn) / sum(weights[i] for i in drawn)

    return value


def weighted_vote(
    weights: Sequence[float], answers: Sequence[int], correct: Sequence[float]
) -> Callable[[tuple[int, ...]], float]:
    """Mean correctness of a drawn candidate with the winning answer, a fair draw among tied answers."""

    def value(drawn: tuple[int, ...]) -> float:
        totals: defaultdict[int, float] = defaultdict(float)
        for i in drawn:
            if answers[i] != -1:
                totals[answers[i]] += weights[i]
        if not totals:
            return 0.0
        winners = [answer for answer, total in totals.items() if total == max(totals.values())]
        return _mean([_mean([correct[i] for i in drawn if answers[i] == answer]) for answer in winners])

    return value


def majority_vote(answers: Sequence[int], correct: Sequence[float]) -> Callable[[tuple[int, ...]], float]:
    """The same with one vote for each candidate."""
    return weighted_vote([1] * len(answers), answers, correct)


def random_text(texts: Sequence[int], correct: Sequence[float]) -> Callable[[tuple[int, ...]], float]:
    """Mean correctness of a fair draw among the distinct texts drawn, then among the drawn copies of that text."""

    def value(drawn: tuple[int, ...]) -> float:
        return _mean([_mean([correct[i] for i in drawn if texts[i] == text]) for text in {texts[i] for i in drawn}])

    return value


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
