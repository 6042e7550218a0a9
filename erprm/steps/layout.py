"""The texts that stand around a question and its steps, given by a step format or by a chat template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from erprm.steps.chat import prints_date, render_chat
from erprm.steps.solution import Solution, StepFormatError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Layout:
    """Text before, between and after the question and the steps.

    Attributes:
        before_question: text before the question.
        after_question: text after it.
        first_separator: text before the first step.
        separator: text before each further step, after a tag.
        tag: text after each step.
        strip_steps: leave out white space at the ends of a step.
        strip_turn: leave out white space at the ends of the turn that the question begins, as its chat template does.
    """

    before_question: str
    after_question: str
    first_separator: str
    separator: str
    tag: str
    strip_steps: bool = False
    strip_turn: bool = False

    def pieces(self, solution: Solution) -> list[str]:
        """The texts that are tokenised one by one: the question, then each step with the separator before it."""
        separators = [self.first_separator] + [self.separator] * (len(solution.steps) - 1)
        question, steps = solution.question, list(solution.steps)
        if self.strip_steps:
            steps = [step.strip() for step in steps]
        if self.strip_turn:
            # Where steps are turns, the first shares that of the question; else it begins the next.
            question = question.lstrip() if self.strip_steps else question.strip()
            steps[0] = steps[0].lstrip()
        question = self.before_question + question + self.after_question
        return [question, *(separator + step for separator, step in zip(separators, steps, strict=True))]

    def render(self, solution: Solution) -> str:
        """The whole solution as one text, a tag after each step."""
        question, *steps = self.pieces(solution)
        return question + "".join(step + self.tag for step in steps)


# Texts that no chat template takes for anything else, to find again in what it renders.
_USER, _ASSISTANT, _NEXT_USER, _NEXT_ASSISTANT = (f"[turn-{number}-of-4]" for number in range(1, 5))


@dataclass(frozen=True)
class Turns:
    """Output of a chat template for turns of user and assistant, one after the other.

    Attributes:
        around: what it puts before the first turn, between each two, and after the last.
        strips: whether it leaves out white space at the ends of a turn.
    """

    around: list[str]
    strips: bool


def reply_turns(tokenizer: PreTrainedTokenizerBase, system: str | None, date: str) -> Turns:
    """A turn of the user and the assistant's.

    Raises:
        StepFormatError: if there is no template, or it does not render the turns one after the other.
    """
    return _turns(tokenizer, system, [_USER, _ASSISTANT], date)


def alternating_turns(tokenizer: PreTrainedTokenizerBase, system: str | None, date: str) -> Turns:
    """Two turns of the user, each with the assistant's.

    Raises:
        StepFormatError: if there is no template, or it renders the second exchange otherwise than the first.
    """
    turns = _turns(tokenizer, system, [_USER, _ASSISTANT, _NEXT_USER, _NEXT_ASSISTANT], date)
    _, to_assistant, _, to_assistant_again, _ = turns.around
    if to_assistant_again != to_assistant:
        raise StepFormatError(
            f"the chat template of tokenizer {tokenizer.name_or_path!r} puts {to_assistant!r} before the assistant's "
            f"first answer and {to_assistant_again!r} before the second; steps need the same before each"
        )
    return turns


def layout_prints_date(tokenizer: PreTrainedTokenizerBase, system: str | None) -> bool:
    """True if the text around the turns contains today's date.

    Raises:
        StepFormatError: if there is no template.
    """
    _check_template(tokenizer)
    return prints_date(tokenizer, _messages(system, [_USER, _ASSISTANT]))


def _turns(tokenizer: PreTrainedTokenizerBase, system: str | None, turns: list[str], date: str) -> Turns:
    _check_template(tokenizer)
    rendered = rest = render_chat(tokenizer, _messages(system, turns), date)
    around = []
    for turn in turns:
        before, found, rest = rest.partition(turn)
        if not found:
            raise StepFormatError(
                f"the chat template of tokenizer {tokenizer.name_or_path!r} does not render the turns of user and "
                "assistant one after the other, which step_format.chat needs"
            )
        around.append(before)
    strips = rendered == render_chat(tokenizer, _messages(system, [f" {turn} " for turn in turns]), date)
    return Turns([*around, rest], strips)


def _check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    if not getattr(tokenizer, "chat_template", None):
        raise StepFormatError(
            f"tokenizer {tokenizer.name_or_path!r} has no chat template, which step_format.chat needs"
        )


def _messages(system: str | None, turns: list[str]) -> list[dict[str, str]]:
    messages = [] if system is None else [{"role": "system", "content": system}]
    return messages + [
        {"role": ("user", "assistant")[number % 2], "content": turn} for number, turn in enumerate(turns)
    ]
