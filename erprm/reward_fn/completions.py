"""Texts of prompts and completions, which may be conversations, and the tokens of each step of a completion.

[{"role": "user", "content": "What is 3 and 4 more?"}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokenizers.decoders import DecodeStream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def completion_text(completion: Any, where: str) -> str:
    """The text of a completion: of a list of messages, what the assistant says, turns joined by a blank line.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(completion, str):
        return completion
    turns = [message_text(message, where) for message in _messages(completion, where) if message["role"] == "assistant"]
    return "\n\n".join(turn for turn in turns if turn)


def question_text(prompt: Any, where: str) -> str:
    """The text of a prompt: of a list of messages, what the user says last.

    Raises:
        TypeError: if it is neither.
        ValueError: if the user says nothing in it.
    """
    if isinstance(prompt, str):
        return prompt
    turns = [message_text(message, where) for message in _messages(prompt, where) if message["role"] == "user"]
    if not turns:
        raise ValueError(f"{where} has no message of the user")
    return turns[-1]


def _messages(value: Any, where: str) -> Sequence[Mapping[str, Any]]:
    is_list = isinstance(value, Sequence) and not isinstance(value, bytes)
    if not is_list or not all(isinstance(each, Mapping) and {"role", "content"} <= each.keys() for each in value):
        raise TypeError(f"{where} is {str(value)[:80]!r}; expected a text, or a list of messages with role and content")
    messages: Sequence[Mapping[str, Any]] = value
    return messages


def message_text(message: Mapping[str, Any], where: str) -> str:
    """The text of a message, or of its parts; one that only calls tools has none.

    Raises:
        TypeError: if it has another content.
    """
    content = message["content"]
    if content is None:
        return ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, Sequence) or not all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in parts
    ):
        raise TypeError(f"{where} has the content {str(content)[:80]!r}; expected a text, or parts with a text each")
    return "".join(part["text"] for part in parts)


Span = tuple[int, int]
# What decoders write for bytes that are no character, such as half of one where a completion was cut off.
_NO_CHARACTER = "\ufffd"


def token_offsets(token_ids: Sequence[int], text: str, tokenizer: PreTrainedTokenizerBase) -> list[Span]:
    """Locates tokens in the text that was decoded from them.

    The tokens are decoded one after the other, so they need not be those that the tokenizer would make of the text.
    Tokens that share a character have the same place; control tokens at the end have an empty one.

    Args:
        token_ids: the tokens, control tokens included.
        text: what was decoded from them, perhaps without white space at its ends.
        tokenizer: their tokenizer.

    Returns:
        Start and stop in ``text`` of each token.

    Raises:
        TypeError: if the tokenizer is not a fast one.
        ValueError: if the tokens are not those of the text.
    """
    if not tokenizer.is_fast:
        raise TypeError(f"token spans need a fast tokenizer, which {type(tokenizer).__name__} is not: give offsets")
    stream = DecodeStream(skip_special_tokens=True)
    decoded = ""
    bounds: list[Span] = []
    waiting = 0
    for token in token_ids:
        waiting += 1
        if piece := stream.step(tokenizer.backend_tokenizer, int(token)):
            bounds += [(len(decoded), len(decoded) + len(piece))] * waiting
            decoded, waiting = decoded + piece, 0
    bounds += [(len(decoded), len(decoded))] * waiting
    begin = decoded.find(text.rstrip(_NO_CHARACTER))
    if begin < 0:
        raise ValueError(f"the tokens are those of {decoded[:60]!r}, not of the completion {text[:60]!r}")
    return [(max(0, start - begin), max(0, stop - begin)) for start, stop in bounds]


def token_spans(char_spans: Sequence[Span], offsets: Sequence[Span]) -> list[Span]:
    """The tokens of each step.

    A token belongs to the first step of which it holds a character; one that holds none of any step, to none.

    Args:
        char_spans: start and stop of each step in the text, in order.
        offsets: start and stop of each token in the text.

    Returns:
        First token and the one after the last of each step; spans do not overlap. A step within a token of the step
        before it has an empty span after that token.
    """
    spans: list[Span] = []
    free = 0
    for start, stop in char_spans:
        own = [i for i, (first, last) in enumerate(offsets) if i >= free and first < stop and last > start]
        spans.append((own[0], own[-1] + 1) if own else (free, free))
        free = spans[-1][1]
    return spans
