r"""Tells a number that stands alone in a text from one that is a part of something larger.

What may stand beside a lone number is listed here. Anything else makes it a part: of a formula (`2x + 3`), a time
(`4:30`), a remainder (`5 r 2`), a base (`101_2`), a comparison, or an amount in two units (`5 feet 3 inches`).
"""

from __future__ import annotations

import re

from erprm.grading.answers.quantity import parse_unit
from erprm.grading.answers.words import NUMBER_IN_WORDS

# So much of the text before a number is looked at.
_REACH = 40

_LONE_COMMANDS = """
approx simeq sim quad qquad text textbf mathbf mathrm boxed left right Rightarrow implies to rightarrow therefore
because dots ldots end item underline square blacksquare checkmark hfill newline
"""
_LONE = frozenset(_LONE_COMMANDS.split())
_OPERATORS = frozenset("+*/^×÷·√π∞±≤≥≠<>|_!%([{'")
_NUMBER = rf"(?:\d|{NUMBER_IN_WORDS})"

# After a number

_UNIT = re.compile(r"-?(?P<word>[a-zA-Z]+)(?:\^?\{?[23]\}?(?!\w))?(?P<rest>[\d(^_])?")
_SHORT_ENDINGS = frozenset(
    (*("st", "nd", "rd", "th", "am", "pm", "p", "c"), *("kB", "KB", "Mb", "MB", "GB", "TB", "kW", "Hz"))
)
_CLOSERS = re.compile(
    r"(?:[)\]}\"`$€£¢°]|\\[)\]$%!,;: ]|'(?!\s*\d)|_(?![\w{])|\*+(?![\w(\\$])(?!\s+[\d(\\$])"
    r"|\^\s*\{?\s*\\circ\s*\}?|%(?!\s*\d)|!(?=\s*$))*"
)
_NEXT = re.compile(
    r"[ \t]*(?P<token>\\(?P<command>[a-zA-Z]+)|(?P<word>[a-zA-Z]+)|\\.|</?[a-z]+/?>|<<|<\||->|.)", re.IGNORECASE
)
_OPERATION_AFTER = re.compile(
    r"[ \t]+(?:(?:mod|modulo|(?:in )?base|remainder|rem|r|choose|squared|cubed|factorial)\b"
    r"(?!\s+(?:met|cent|feet|foot|inch|yard|mile))"
    rf"|(?:plus|minus|times|point|divided by|multiplied by|to the)\s+(?:{_NUMBER}|[b-hj-z]\b|power)"
    r"|(?:less|more|fewer)\s+than\s+\d"
    rf"|(?:and\s+)?(?:an?|{_NUMBER})[\s-]+(?:half|third|quarter|fourth|fifth|eighth|tenth)s?\b"
    r"|(?:halves|thirds|fifths|tenths|hundredths|thousandths|millionths)\b(?!\s+of)"
    r"|(?:hundred|thousand|million|billion|trillion|lakh|crore)s?\b)",
    re.IGNORECASE,
)

_SUBTRAHEND = re.compile(r"[(\\]|\s*(?:[\d($]|(?!I\b)[b-zB-Z]\b)")

# Before a number

_OPENERS = re.compile(
    r"(?:(?:(?<![\w)\]}])|(?<=\\boxed)|(?<=\\text)|(?<=\\left)|(?<=\\mathbf))[(\[{]|\\left|\\(?:boxed|text|mathbf)(?=[{(])"
    r"|[\"`#~]|\\?[$€£]|(?<!\w)['_]|\\[(\[ ,;!]|(?<![\w)\]}$*])(?<![\w)\]}$] )\*{1,3})[ \t]*$"
)
_PART_BEFORE = re.compile(
    r"(?:[+×÷^·√π±≤≥≠|_/]|(?<![-=\w\"/<>])[<>]|(?<![-=<>])[<>](?==$)|[<>]=|(?<=[\w)\]}%$!])\s*\*"
    r"|(?:[\d)\]}%!$]|(?<![a-zA-Z])[a-zA-Z]|\d\s*[a-zA-Z]{1,20})\s*-|(?<![\w.,])[\d.,]*\d[ \t]|\d\s?:"
    r"|[\w)\]}][(\[{]|\d[)\]}]"
    r"|(?<![a-zA-Z])(?:log|ln|lg|sin|cos|tan|sqrt|cbrt|mod|modulo|base|choose|(?:root|square|cube) of(?: the)?"
    r"|(?:\d|\b[b-hj-z])\s+(?:plus|minus|times|point|divided by|multiplied by|r|rem|remainder)))\s*$",
    re.IGNORECASE,
)
_COMMAND_BEFORE = re.compile(r"\\([a-zA-Z]+)\s*[{(\[]?\s*$")


def stands_alone(text: str, start: int, end: int) -> bool:
    """True if the number at `text[start:end]` is no part of a formula, a time, a remainder or the like."""
    return not (_goes_on(text, end) or _is_continued(text[max(0, start - _REACH) : start]))


def _goes_on(text: str, at: int) -> bool:
    """True if what follows belongs to the number."""
    unit = _UNIT.match(text, at)
    if unit:
        word = unit["word"]
        if unit["rest"] or not (len(word) > 2 or word in _SHORT_ENDINGS or parse_unit(word) is not None):
            return True
        at = unit.end()
    closers = _CLOSERS.match(text, at)
    at = closers.end() if closers else at
    following = _NEXT.match(text, at)
    if following is None:
        return False
    token, blank = following["token"], following.start("token") > at
    behind = text[following.end() : following.end() + _REACH]
    if following["command"]:
        return following["command"] not in _LONE
    if following["word"]:
        if not blank or _OPERATION_AFTER.match(text, at):
            return len(token) < 3 or blank
        return len(token) == 1 and token not in "aAI" and parse_unit(token) is None
    if len(token) > 1:  # markup, and closers such as \) and \\
        return False
    if token == "-":
        return _SUBTRAHEND.match(behind) is not None
    if token in "([{":
        return not blank or re.match(r"\s*(?:mod|base)\b", behind) is not None
    if token in "*_'|!" and blank and not re.match(r"\s*[\d(\\$]", behind):  # bold type, quotes, tables
        return False
    if token == "/":  # 5/week
        return re.match(r"\s?(?!sqrt|pi|sin|cos|tan|log|ln)[a-zA-Z]{2}", behind) is None
    if token.isdigit():  # 12 6-inch pencils
        return re.match(r"[\d.]*-[a-zA-Z]{2}", behind) is None
    if token == ":":
        return re.match(r"\s?\d", behind) is not None
    if token in ".,":
        return not blank and behind[:1].isdigit()
    return token in _OPERATORS


def _is_continued(before: str) -> bool:
    """True if the number goes on with what stands before it."""
    while opener := _OPENERS.search(before):
        before = before[: opener.start()]
    if command := _COMMAND_BEFORE.search(before):
        return command[1] not in _LONE
    return before.endswith((")", "]", "}")) or _PART_BEFORE.search(before) is not None
