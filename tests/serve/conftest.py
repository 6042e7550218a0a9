"""A policy that repeats its question, and a scorer that checks that it has."""

import random
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from erprm.engines.base import (
    Completion,
    EngineError,
    Prompt,
    Sampling,
    TokenUsage,
    completion_of_tokens,
    encode_prompt,
    request_seed,
)
from erprm.errors import InputError
from erprm.serve import ServeConfig
from erprm.steps import Solution
from tests.rollout.conftest import make_word_tokenizer


class EchoPolicy:
    """Writes ``so 1 2 3 \\n #### d`` to the question ``1 2 3 =``, where d is one of 1, 2 and 7.

    Attributes:
        calls: prompts of each call.
        failing: raised in place of an answer, while it is set.
        may_answer: calls wait for it.
        asked: set by each call.
    """

    name = "echo"
    max_length = 60

    def __init__(self, chat_template: str | None = None) -> None:
        self.tokenizer: Any = make_word_tokenizer()
        self.tokenizer.chat_template = chat_template
        self.usage = TokenUsage()
        self.calls: list[list[str]] = []
        self.failing: Exception | None = None
        self.may_answer, self.asked = threading.Event(), threading.Event()
        self.may_answer.set()

    def fingerprint(self) -> str:
        return "echo"

    def close(self) -> None:
        pass

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        ids = [encode_prompt(self.tokenizer, prompt) for prompt in prompts]
        self.calls.append([self.tokenizer.decode(each, skip_special_tokens=True) for each in ids])
        self.asked.set()
        assert self.may_answer.wait(60)
        if self.failing is not None:
            raise self.failing
        return [[self._complete(each, k, sampling) for k in range(sampling.n)] for each in ids]

    def _complete(self, prompt_ids: list[int], k: int, sampling: Sampling) -> Completion:
        rng = random.Random(request_seed(sampling.seed, prompt_ids, k))
        words = self.tokenizer.convert_ids_to_tokens(prompt_ids)
        place = len(words) - words[::-1].index("=")
        digits = [word for word in words[:place] if word.isdigit()][-3:]
        text = ["so", *digits, "\n", "####", rng.choice("127"), "</s>"]
        written: list[str] = []
        for word in text[len(words) - place :][: sampling.max_tokens]:
            written.append(word)
            if word in sampling.stop:
                break
        ended = written[-1] in ("</s>", *sampling.stop)
        token_ids = self.tokenizer.convert_tokens_to_ids(written)
        self.usage.completion += len(token_ids)
        return completion_of_tokens(self.tokenizer, prompt_ids, token_ids, "stop" if ended else "length", sampling.stop)


class EchoScorer:
    """Says 0.9 of a step that ends with 7, 0.5 of any other; 0 of one whose digits are not those of the question.

    A question with an 8 in it is too long for it, and at one with a 9 it fails.
    """

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        return [
            torch.tensor([self._score(solution.question, step) for step in solution.steps]) for solution in solutions
        ]

    def _score(self, question: str, step: str) -> float:
        if "8" in question:
            raise InputError("8 is too long")
        if "9" in question:
            raise ValueError("9 is too much")
        digits = [character for character in step if character.isdigit()][:3]
        if digits != [character for character in question if character.isdigit()]:
            return 0.0
        return 0.9 if step.endswith("7") else 0.5


def make_config(**changes: Any) -> ServeConfig:
    settings: dict[str, Any] = {
        "model": "echo",
        "scorer": EchoScorer(),
        "port": 0,
        "max_tokens": 16,
        "max_step_tokens": 8,
        "strategy": "best_of_n:n=4",
    }
    return ServeConfig(**{**settings, **changes})


def unreachable() -> EngineError:
    return EngineError("server http://127.0.0.1:1/v1, after up to 2 retries: no usable answer: refused")
