r"""Functions and brackets that have several notations: `\text{cis}\,\theta`, `{}_5C_2`, `]1, 2[`, `<1, 2>`, `\cup`."""

from __future__ import annotations

import re

_SMALL = r"\{?\s*(\d{1,4})\s*\}?"
_CHOICES = (
    re.compile(rf"(?:\{{\s*\}})?\s*[_^]\s*{_SMALL}\s*C\s*_\s*{_SMALL}"),  # _5C_2, {}^5C_2
    re.compile(rf"(?<![a-zA-Z])C\s*\(\s*{_SMALL}\s*,\s*{_SMALL}\s*\)"),  # C(5, 2)
)
_CHOICE_WITH_LOWER_TOTAL = re.compile(rf"(?<![a-zA-Z])C\s*_\s*{_SMALL}\s*\^\s*{_SMALL}")  # C_5^2
_CIS = re.compile(r"\\text\s*\{\s*cis\s*\}|(?<![a-zA-Z])\\?cis(?![a-zA-Z])")
_ARGUMENT = re.compile(r"\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)|\s*([^+\-,;=)\]]+)")
_CUP = re.compile(r"(?<=[)\]}])\s*U\s*(?=[(\[{\\])")
_ANGLE_BRACKETS = re.compile(r"<([^<>=,]*,[^<>=]*)>")
_OPEN_FROM = re.compile(r"\]\s*([^\[\],]+,[^\[\]]+)([\[\]])")
_OPEN_TO = re.compile(r"\[\s*([^\[\],]+,[^\[\]]+)\[")
_ROOT_INDEX = re.compile(r"\\sqrt\s*\[([^\[\]]*)\]")
_LEADING_SIGNS = re.compile(r"^(\s*(?:[a-zA-Z]\s*=\s*)?)\+\s*-(?=\s*[\d\\a-zA-Z(])")
_EITHER_SIGN = re.compile(r"\+\s*/\s*-")


def unify(text: str) -> str:
    """One notation for each of these; applied to an answer whose LaTeX is normalised."""
    if "C" in text:
        for pattern in _CHOICES:
            text = pattern.sub(r"\\binom{\1}{\2}", text)
        text = _CHOICE_WITH_LOWER_TOTAL.sub(r"\\binom{\1}{\2}", text)
    if "cis" in text:
        text = _expand_cis(text)
    text = _LEADING_SIGNS.sub(r"\1\\pm ", _EITHER_SIGN.sub(r"\\pm ", text))
    text = _CUP.sub(r" \\cup ", text)
    if "]" in text or "[" in text:
        text = _ROOT_INDEX.sub(r"\\sqrt<<\1>>", text)  # no bracket of an interval
        text = _OPEN_FROM.sub(lambda match: f"({match[1]}{')' if match[2] == '[' else ']'}", text)
        text = _OPEN_TO.sub(r"[\1)", text)
        text = text.replace("\\sqrt<<", "\\sqrt[").replace(">>", "]")
    if match := _ANGLE_BRACKETS.fullmatch(text):
        return f"\\langle {match[1]} \\rangle"
    return text


def _expand_cis(text: str) -> str:
    r"""`\text{cis}\,\theta` as `(\cos(\theta) + i\sin(\theta))`."""
    for name in reversed(list(_CIS.finditer(text))):
        argument = _ARGUMENT.match(text, name.end())
        if argument is None:
            continue
        angle = (argument[1] or argument[2]).strip()
        expanded = f"(\\cos({angle}) + i \\sin({angle}))"
        text = text[: name.start()] + expanded + text[argument.end() :]
    return text
