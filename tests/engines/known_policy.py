"""A policy whose probabilities are set by hand, so that the value of every prefix is known exactly."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from erprm.engines.base import (
    Completion,
    Prompt,
    Sampling,
    TokenUsage,
    completion_of_tokens,
    encode_prompt,
    request_seed,
)

Words = tuple[str, ...]
NextWords = Callable[[Words], Mapping[str, float]]


class KnownPolicy:
    """An engine that writes the words a function says, with their probabilities.

    Args:
        next_words: from the words after the prompt's last ``=`` to the next word's distribution; ``</s>`` ends a text,
            and so does a stop string that is a word.
        tokenizer: one token a word.
    """

    name = "known"
    max_length = 1000

    def __init__(self, next_words: NextWords, tokenizer: Any) -> None:
        self._next_words, self.tokenizer = next_words, tokenizer
        self.usage = TokenUsage()

    def fingerprint(self) -> str:
        return "known"

    def close(self) -> None:
        pass

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        return [
            [self._complete(encode_prompt(self.tokenizer, prompt), k, sampling) for k in range(sampling.n)]
            for prompt in prompts
        ]

    def _complete(self, prompt_ids: list[int], k: int, sampling: Sampling) -> Completion:
        rng = random.Random(request_seed(sampling.seed, prompt_ids, k))
        words = self.tokenizer.convert_ids_to_tokens(prompt_ids)
        written = words[len(words) - words[::-1].index("=") :]
        start = len(written)
        ended = False
        while len(written) - start < sampling.max_tokens and not ended:
            chances = self._next_words(tuple(written))
            if sampling.temperature == 0.0:
                chances = {max(chances, key=lambda word: chances[word]): 1.0}
            written += rng.choices(list(chances), weights=list(chances.values()))
            ended = written[-1] in ("</s>", *sampling.stop)
        ids = self.tokenizer.convert_tokens_to_ids(written[start:])
        self.usage.prompt += len(prompt_ids) if k == 0 else 0
        self.usage.completion += len(ids)
        return completion_of_tokens(self.tokenizer, prompt_ids, ids, "stop" if ended else "length", sampling.stop)
