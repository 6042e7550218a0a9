"""Turns a question into the policy's prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from erprm.engines.base import encode_prompt
from erprm.steps.chat import CHAT_DATE, prints_date, render_chat, warn_of_date

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PromptFormat:
    r"""The text around a question, and whether it goes through the tokenizer's chat template.

    Attributes:
        template: text of the prompt; ``{question}`` stands for the question. With ``chat`` it is the user's message.
        chat: put the text into the tokenizer's chat template, up to where the answer starts.
        system: the system message of a chat; none by default.
    """

    template: str = "{question}"
    chat: bool = False
    system: str | None = None

    def __post_init__(self) -> None:
        if "{question}" not in self.template:
            raise ValueError(f"prompt.template is {self.template!r}; it must contain {{question}}")
        if self.system is not None and not self.chat:
            raise ValueError(
                f"prompt.system is {self.system!r}, but prompt.chat is false; a system message needs a chat"
            )

    def text(self, question: str) -> str:
        """The prompt's text; in a chat, the user's message."""
        # Not str.format: questions and templates of mathematics are full of braces.
        return self.template.replace("{question}", question)

    def _messages(self, question: str, before: Sequence[dict[str, str]] | None = None) -> list[dict[str, str]]:
        if before is None:
            before = [{"role": "system", "content": self.system}] if self.system is not None else []
        return [*before, {"role": "user", "content": self.text(question)}]

    def identity(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
        """Extra input to a prompt's text besides the tokenizer and the fields: the date of a chat that prints one.

        Tells so in a warning.

        Raises:
            ValueError: if a chat is asked for and the tokenizer has no chat template.
        """
        self.check_chat(tokenizer)
        if not (self.chat and prints_date(tokenizer, self._messages(""))):
            return {}
        warn_of_date(tokenizer.name_or_path)
        return {"chat_date": CHAT_DATE}

    def token_ids(
        self, question: str, tokenizer: PreTrainedTokenizerBase, before: Sequence[dict[str, str]] | None = None
    ) -> list[int]:
        """The prompt as tokens.

        Args:
            question: the question.
            tokenizer: the policy's.
            before: messages of a chat before the question, each with ``role`` and ``content``; by default the system
                message alone.

        Raises:
            ValueError: if a chat is asked for and the tokenizer has no chat template.
        """
        if not self.chat:
            return encode_prompt(tokenizer, self.text(question))
        self.check_chat(tokenizer)
        text = render_chat(tokenizer, self._messages(question, before), answer_follows=True)
        # A chat template writes the special tokens itself.
        return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]

    def check_chat(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuses a chat with a tokenizer that has no chat template.

        Raises:
            ValueError: naming the tokenizer.
        """
        if self.chat and not tokenizer.chat_template:
            raise ValueError(
                f"prompt.chat is true, but tokenizer {tokenizer.name_or_path!r} has no chat template; use the policy's "
                "instruction-tuned version, or set prompt.chat to false and write the whole prompt into prompt.template"
            )
