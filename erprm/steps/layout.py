"""The texts that stand around a question and its steps, given by a step format or by a chat template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from erprm.steps.solution import Solution, StepFormatError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Layout:
    """What comes before, between and after the question and the steps.

    Attributes:
        before_question: text before the question.
        after_question: text after it.
        first_separator: text before the first step.
        separator: text before each further step, after a tag.
        tag: text after each step.
        strip_steps: leave out white space at the ends of a step.
    """

    before_question: str
    after_question: str
    first_separator: str
    separator: str
    tag: str
    strip_steps: bool = False

    def pieces(self, solution: Solution) -> list[str]:
        """The texts that are tokenised one by one: the question, then each step with the separator before it."""
        separators = [self.first_separator] + [self.separator] * (len(solution.steps) - 1)
        steps = [step.strip() for step in solution.steps] if self.strip_steps else solution.steps
        question = self.before_question + solution.question + self.after_question
        return [question, *(separator + step for separator, step in zip(separators, steps, strict=True))]

    def render(self, solution: Solution) -> str:
        """The whole solution as one text, a tag after each step."""
        question, *steps = self.pieces(solution)
        return question + "".join(step + self.tag for step in steps)


# Texts that no chat template takes for anything else, to find again in what it renders.
_USER, _ASSISTANT, _NEXT_USER, _NEXT_ASSISTANT = (f"[turn-{number}-of-4]" for number in range(1, 5))


def reply_turns(tokenizer: PreTrainedTokenizerBase, system: str | None) -> tuple[str, str]:
    """What a chat template puts before the user's turn, and between it and the assistant's.

    Raises:
        StepFormatError: if there is no template, or it does not render the turns one after the other.
    """
    before, between, _ = _around_turns(tokenizer, system, [_USER, _ASSISTANT])
    return before, between


def alternating_turns(tokenizer: PreTrainedTokenizerBase, system: str | None) -> tuple[str, str, str]:
    """What a chat template puts before the first turn, between user and assistant, and between assistant and user.

    Raises:
        StepFormatError: if there is no template, or it renders the second exchange otherwise than the first.
    """
    turns = [_USER, _ASSISTANT, _NEXT_USER, _NEXT_ASSISTANT]
    before, to_assistant, to_user, to_assistant_again, _ = _around_turns(tokenizer, system, turns)
    if to_assistant_again != to_assistant:
        raise StepFormatError(
            f"the chat template of tokenizer {tokenizer.name_or_path!r} puts {to_assistant!r} before the assistant's "
            f"first answer and {to_assistant_again!r} before the second; steps need the same before each"
        )
    return before, to_assistant, to_user


def _around_turns(tokenizer: PreTrainedTokenizerBase, system: str | None, turns: list[str]) -> list[str]:
    if not getattr(tokenizer, "chat_template", None):
        raise StepFormatError(
            f"tokenizer {tokenizer.name_or_path!r} has no chat template, which step_format.chat needs"
        )
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages += [{"role": ("user", "assistant")[number % 2], "content": turn} for number, turn in enumerate(turns)]
    rest = str(tokenizer.apply_chat_template(messages, tokenize=False))
    around = []
    for turn in turns:
        before, found, rest = rest.partition(turn)
        if not found:
            raise StepFormatError(
                f"the chat template of tokenizer {tokenizer.name_or_path!r} does not render the turns of user and "
                "assistant one after the other, which step_format.chat needs"
            )
        around.append(before)
    return [*around, rest]
