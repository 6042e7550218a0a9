"""A policy whose steps are right with a known chance, and a scorer that knows a right step."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from erprm.data.sources import Problem
from erprm.engines.prompts import PromptFormat
from erprm.search import Decoding, PartialSolution, Searcher
from erprm.steps import Solution
from tests.engines.known_policy import KnownPolicy, NextWords
from tests.rollout.conftest import make_word_tokenizer

# "1 + 2 = so 7 \n so 7 \n #### 7": each digit is 7, which is right, or one of two others.
DIGITS = {"7": 0.4, "1": 0.3, "2": 0.3}
DECODING = Decoding(PromptFormat(), "lines", ("\n",), (), 1.0, 1.0, max_tokens=16, max_step_tokens=4)
PROBLEMS = [Problem(f"p/{i}", f"{i} + {i} =", "7", "p") for i in range(5)]


def two_steps(words: tuple[str, ...]) -> Mapping[str, float]:
    """Two lines with a digit each, then the answer, which is the second digit."""
    place = len(words)
    if place in (0, 3):
        return {"so": 1.0}
    if place in (1, 4):
        return DIGITS
    if place in (2, 5):
        return {"\n": 1.0}
    return {("####", words[4], "</s>")[place - 6]: 1.0}


class SevenIsRight:
    """Says 0.9 of a step with a 7, 0.2 of one with a 2, and 0.1 of any other."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        self.calls.append(len(solutions))
        return [torch.tensor([self._score(step) for step in solution.steps]) for solution in solutions]

    def _score(self, step: str) -> float:
        return 0.9 if "7" in step else 0.2 if "2" in step else 0.1


def make_searcher(
    next_words: NextWords = two_steps, scorer: Any = None, decoding: Decoding = DECODING
) -> tuple[Searcher, KnownPolicy]:
    engine = KnownPolicy(next_words, make_word_tokenizer())
    return Searcher(engine, scorer or SevenIsRight(), decoding, "min"), engine


def partial(name: int, score: float, length: int = 3, end: Any = None) -> PartialSolution:
    """A partial solution of so many tokens, told from others by the first of them."""
    return PartialSolution((name,) * length, f"step {name}", (f"step {name}",), (score,), score, end)


@pytest.fixture
def problems() -> list[Problem]:
    return PROBLEMS
