"""Graders of a user's own, named by import path in the tests of the settings that take one."""

from __future__ import annotations

from collections.abc import Sequence

opened: list[str] = []


def token_f1(prediction: str, gold: str) -> float:
    """The measure of extractive question answering: shared words against both lengths."""
    words, reference = prediction.lower().split(), gold.lower().split()
    shared = sum(min(words.count(word), reference.count(word)) for word in set(words))
    return 2 * shared / (len(words) + len(reference)) if shared else 0.0


def one_argument(prediction: str) -> float:
    """Not a grader."""
    return 1.0


def broken(prediction: str, gold: str) -> float:
    """Raises for every pair."""
    return 1 / 0


def two(prediction: str, gold: str) -> float:
    """No reward."""
    return 2.0


class Keywords:
    """The share of the gold's words that are in the prediction; asked for whole batches, and closed afterwards."""

    def __init__(self, fold_case: bool = False, penalty: float = 0.0) -> None:
        self.fold_case = fold_case
        self.penalty = penalty

    def grade_batch(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        if self.fold_case:
            pairs = [(prediction.lower(), gold.lower()) for prediction, gold in pairs]
        shares = [
            sum(word in prediction.split() for word in gold.split()) / len(gold.split()) for prediction, gold in pairs
        ]
        return [max(0.0, share - self.penalty) for share in shares]

    def close(self) -> None:
        opened.append("closed")


NOT_CALLABLE = 3
