"""An engine of one's own: it gives back recorded completions, and can fail in ways that engines do."""

from collections.abc import Callable, Sequence
from typing import Any

from erprm.engines.base import Completion, Prompt, Sampling, TokenUsage, encode_prompt, request_seed

RECORDED = (
    "so 3 \n then 4 \n #### 4",
    "so 3 \n then 5 \n so 6 \n #### 6",
    "then 4 \n #### 4",
    "so 1 \n #### 1",
)


class RecordedEngine:
    """Picks one of the recorded texts for each request, by the request's seed.

    Args:
        tokenizer: the policy's.
        texts: what is picked from.
        before: called with the text of each prompt, to fail where a real engine would.
    """

    name = "recorded"
    max_length = 64

    def __init__(
        self, tokenizer: Any, texts: Sequence[str] = RECORDED, before: Callable[[str], None] = lambda prompt: None
    ) -> None:
        self.tokenizer = tokenizer
        self.usage = TokenUsage()
        self.prompts: list[str] = []
        self._texts = texts
        self._tokens = [tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        self._before = before

    def fingerprint(self) -> str:
        return "recorded"

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        return [self._complete(encode_prompt(self.tokenizer, prompt), sampling) for prompt in prompts]

    def _complete(self, prompt_ids: list[int], sampling: Sampling) -> list[Completion]:
        text = str(self.tokenizer.decode(prompt_ids, skip_special_tokens=True))
        self._before(text)
        self.prompts.append(text)
        picked = [request_seed(sampling.seed, prompt_ids, k) % len(self._texts) for k in range(sampling.n)]
        self.usage.prompt += len(prompt_ids)
        self.usage.completion += sum(len(self._tokens[index]) for index in picked)
        return [Completion(self._texts[index], self._tokens[index], "stop") for index in picked]

    def close(self) -> None:
        """Nothing to release."""
