r"""Multiple choice: the letter of `C`, `(C)`, `\text{(C)}`, `C.`, `Option C`, `(C) 25`, `C. x = 42`."""

from __future__ import annotations

import re

_CHOICE = re.compile(
    r"(?:(?P<word>option|choice)\s*)?[(\[]?\s*(?:\\text\s*\{\s*)?[(\[]?\s*(?P<letter>[A-Za-z])\s*[)\]]?\s*\}?\s*[)\]]?\.?",
    re.IGNORECASE,
)
_WITH_TEXT = re.compile(
    r"(?:(?:option|choice)\s*)?(?:\\text\s*\{\s*)?"
    r"(?:\(\s*(?P<bracketed>[A-J])\s*\)(?:\s*\}\s*|\s*,?\s+)|(?P<marked>[A-J])\s*[):.]\s+)(?![-+=*/^_<>(\[|]).+",
    re.DOTALL | re.IGNORECASE,
)


def choice_letter(text: str) -> str | None:
    """The letter alone or with what it stands for, A to J as a capital; None if `text` is no choice.

    Args:
        text: a normalised answer.
    """
    if match := _CHOICE.fullmatch(text):
        letter = match["letter"]
        return letter.upper() if letter.upper() in "ABCDEFGHIJ" else letter
    match = _WITH_TEXT.fullmatch(text)
    return (match["bracketed"] or match["marked"]).upper() if match else None


def is_bare_choice(text: str) -> bool:
    """True if `text` is nothing but one letter and what may stand round it."""
    return _CHOICE.fullmatch(text) is not None
