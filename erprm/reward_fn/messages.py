"""Texts of prompts and completions, which may be conversations.

[{"role": "user", "content": "What is 3 and 4 more?"}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def completion_text(completion: Any, where: str) -> str:
    """The text of a completion: of a conversation, what the assistant says in it, turns joined by a blank line.

    Args:
        completion: a text, or a list of messages.
        where: its place, for messages of errors.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(completion, str):
        return completion
    turns = [_content(message, where) for message in _messages(completion, where) if message["role"] == "assistant"]
    return "\n\n".join(turn for turn in turns if turn)


def question_text(prompt: Any, where: str) -> str:
    """The text of a prompt: of a conversation, what the user says last.

    Args:
        prompt: a text, or a list of messages.
        where: its place, for messages of errors.

    Raises:
        TypeError: if it is neither.
        ValueError: if the user says nothing in it.
    """
    if isinstance(prompt, str):
        return prompt
    turns = [_content(message, where) for message in _messages(prompt, where) if message["role"] == "user"]
    if not turns:
        raise ValueError(f"{where} has no message of the user")
    return turns[-1]


def _messages(value: Any, where: str) -> Sequence[Mapping[str, Any]]:
    is_list = isinstance(value, Sequence) and not isinstance(value, bytes)
    if not is_list or not all(isinstance(each, Mapping) and {"role", "content"} <= each.keys() for each in value):
        raise TypeError(f"{where} is {str(value)[:80]!r}; expected a text, or a list of messages with role and content")
    messages: Sequence[Mapping[str, Any]] = value
    return messages


def _content(message: Mapping[str, Any], where: str) -> str:
    """A text, or the parts of one; a message that only calls tools has none."""
    content = message["content"]
    if content is None:
        return ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, Sequence) or not all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in parts
    ):
        raise TypeError(f"{where} has the content {str(content)[:80]!r}; expected a text, or parts with a text each")
    return "".join(part["text"] for part in parts)
