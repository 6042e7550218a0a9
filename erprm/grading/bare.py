r"""Bare answers, told from sentences round an answer: `5 miles` and `\frac{1}{2}` are bare, `it is 5` is not."""

from __future__ import annotations

import re

from erprm.grading.answers.formula import FUNCTIONS
from erprm.grading.last_formula import MATH, PROSE

# A bare answer is one line of at most this many characters and this many words of prose.
MAX_BARE_CHARS = 300
MAX_BARE_WORDS = 4

# "it is 5" is a sentence; "sin 30", "area = 5", "abc + 3" and "5 miles" are not.
_SENTENCE_BEFORE_NUMBER = re.compile(
    r"(?!(?:sin|cos|tan|log|base|option|choice|all real)\b)[^\d=+*/^_\\<>(){}]*"
    r"\b(?:[A-Za-z]{3,}|[Ii]t|[Ii]s|[Ww]e|[Ss]o)[^\d=+*/^_\\<>(){}A-Za-z][^\d=+*/^_\\<>(){}]*"
    r"(?:[\d\\(]|\{|(?<=[A-Za-z])\^)"
    r"|.*\b(?:has|have|gives?|equation|get)\s+(?:an?\s|the\s)?(?:equation\s)?[a-z](?:\([a-z]\))?\s*="
)
_CJK_SENTENCE = re.compile(r"(?!或者|以及)[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]{2,}[^\d$\\A-Za-z]{0,3}[\d$\\]")


def is_bare(text: str) -> bool:
    """True if `text` is short and has too few words to be a sentence round its answer."""
    if len(text) > MAX_BARE_CHARS or (MATH.search(text) and not MATH.fullmatch(text)):
        return False
    if _SENTENCE_BEFORE_NUMBER.match(text) or _CJK_SENTENCE.search(text):
        return False
    return sum(word not in ("pi", "mod") for word in words_in(text)) <= MAX_BARE_WORDS


def words_in(text: str) -> list[str]:
    """The words of a text: neither commands nor names of functions."""
    return [word for word in PROSE.findall(text) if word not in FUNCTIONS]
