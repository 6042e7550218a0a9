"""An engine of one's own, as a configuration names it: every completion is one text."""

from collections.abc import Sequence

from erprm.engines.base import Completion, Prompt, Sampling, TokenUsage
from tests.rollout.conftest import make_word_tokenizer


class EchoEngine:
    """Says the same to everything.

    Args:
        model: what the records call it.
        says: the completion.
    """

    max_length = 64

    def __init__(self, model: str, says: str = "so 1") -> None:
        self.name, self.says = model, says
        self.usage = TokenUsage()
        self.tokenizer = make_word_tokenizer()

    def fingerprint(self) -> str:
        return f"echo {self.says}"

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        ids = tuple(self.tokenizer(self.says, add_special_tokens=False)["input_ids"])
        return [[Completion(self.says, ids, "stop")] * sampling.n for _ in prompts]

    def close(self) -> None:
        """Nothing to release."""


class NoEngine:
    """Lacks what an engine has."""
