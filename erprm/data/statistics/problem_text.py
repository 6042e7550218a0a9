r"""Compares problems by their text, however it is typeset.

Two texts are the same problem if they agree once case, white space, quotation marks, punctuation at word ends, and the
layout that LaTeX adds are out of the way: ``$\dfrac{1}{2}$ of 1,000?`` and ``\frac12 of 1000`` do. Signs of operations
and decimal points count.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

_LATEX_LAYOUT = re.compile(
    r"\\(?:left|right|bigl?|bigr?|displaystyle|textstyle|quad|qquad|text|mathrm|mbox|[,;:! ])|[${}~]", re.IGNORECASE
)
_FRACTION = re.compile(r"\\[dt]frac(?![a-z])")
_PUNCTUATION = re.compile(r"[\s\"'`‘’“”,;:?!]+|\.(?!\d)")


def normalized_problem(text: str) -> str:
    r"""The text that two settings of one problem share.

    >>> normalized_problem("What is $\\dfrac{1}{2}$ of 1,000?") == normalized_problem("what is \\frac12 of 1000")
    True
    >>> normalized_problem("3 - 4") == normalized_problem("3 + 4")
    False
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _FRACTION.sub(r"\\frac", text)
    return _PUNCTUATION.sub("", _LATEX_LAYOUT.sub("", text))


def fingerprint(text: str) -> int:
    """64 bits of a hash: among a million texts, two that differ agree with a probability of 3 in 100 million."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest(), "big")
