r"""What a last sentence concludes, without what it adds: conditions, reasons, decimals of exact values, rejections.

`The value is $7$ when $x=2$` concludes 7, and so does `$7$ is the value of $x$ that satisfies $2x=14$`. An addition is
cut off only if a value stands before it and nothing is concluded after it.
"""

from __future__ import annotations

import re

from erprm.grading.last_formula import MATH

_VALUE_ENDS = r"(?<=[\w$)}\]%])"
_ADDITIONS = (
    # $12$, attained at $x = 3$; $8$ with equality when $x=y$
    re.compile(
        rf"{_VALUE_ENDS}[,;]?\s+(?:(?:and|which|with|is|it|this|that)\s+){{0,3}}"
        r"(?:attained|achieved|reached|obtained|realized|occur(?:s|ring)|equality|happens)\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"{_VALUE_ENDS}[,;]?\s+(?:when|whenever|if|iff|provided|independent of|regardless of)\b", re.IGNORECASE
    ),
    # ... at $x=3$, for all $n \ge 2$, as $n \to \infty$
    re.compile(
        rf"{_VALUE_ENDS},?\s+(?:at|for|as)\s+(?:all\s+|any\s+|every\s+|each\s+)?\$?\\?[a-zA-Z]\w?\s*(?:=|\\[gl]eq?\b|\\to\b|\\in\b|[<>])"
    ),
    re.compile(rf"{_VALUE_ENDS}[,，]?\s*(?:当|此时)"),
    # $5$ solutions in $[0, \pi]$, $12$ of the first $100$ integers
    re.compile(
        r"(?<=\d\$)\s+(?:[a-zA-Z-]+\s+){0,4}?(?:in|between|among|for(?! a total)|on|from|less than|up to"
        r"|greater than|below|of the)\s+(?=[^$]*\$)"
    ),
    re.compile(rf"{_VALUE_ENDS},?\s+for\s+(?:the|this|each)\s"),
    # $\frac16$, or about $0.167$; $\pi$ (about $3.14$)
    re.compile(
        r"(?<=[\d$)}%])(?:\s*\((?:or|i\.e\.|which is|that is)?,?|,?\s+(?:or|i\.e\.|which is|that is),?|,)\s*"
        r"(?:about|approximately|roughly|around|nearly|\$?\\approx|≈)",
        re.IGNORECASE,
    ),
    # $2$ possible values of $x$
    re.compile(
        rf"{_VALUE_ENDS},?\s+(?:[a-zA-Z-]+\s+){{0,5}}(?:of|for|that|which|satisf\w+)\s+\$[a-zA-Z]\$(?=[^$=]*$)",
        re.IGNORECASE,
    ),
)
_REASONS = (
    re.compile(rf"{_VALUE_ENDS},?\s+(?:since|because|where\s+\$?[a-zA-Z]\$?\s+(?:is|are|denotes?))\b"),
    re.compile(
        rf"{_VALUE_ENDS}\s*[,(]?\s*(?:(?:and|but|since|as|we|I|must|can|the other|is|are)\s+){{0,4}}"
        r"(?:reject|discard|exclud|ignor|disregard|extraneous)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"{_VALUE_ENDS}\s+\((?:after|by|from|since|because|as|using|see|where|when|with|for which)\b[^()]*\)\s*\.?$",
        re.IGNORECASE,
    ),
    # 7, as 6 does not work
    re.compile(rf"{_VALUE_ENDS}(?:,|\s+works,?)\s+(?:as|while|whereas|but)\s+[^,]*\b(?:not|fails?|doesn't|don't)\b"),
)
_REJECTED = re.compile(
    r"(?:,?\s*\b(?:but|and|since|as|because|however|where|while|of which),?\s+)*(?P<value>\$[^$\n]{1,80}\$)\s+"
    r"(?:is|are|was|were|must be|can be|has to be)\s+(?:an?\s+)?(?:clearly\s+|thus\s+)?"
    r"(?:extraneous|rejected|discarded|excluded|inadmissible|invalid|not (?:valid|allowed|possible|a solution))"
    r"(?:\s+(?:solution|root|value)s?)?",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"\b(?:is|are|equals?|gives?|giving|get|have|has|so|then|thus|hence|therefore|obtain|yields?|must|becomes?|answer)\b|所以|因此|则"
)
_IS_THE_VALUE = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:(?:exactly|only|just)\s+)?(?P<value>\$[^$]*\d[^$]*\$)\s+"
    r"(?:(?:is|are)\s+(?:the|our)\s+(?:[a-z-]+\s+){1,4}(?:of|that|which|such|for|to|satisfying|with)\b"
    r"|(?:out\s+)?of\s+(?:the|these|those|all)\s+(?:[a-z]+\s+)?\$[^$]*\$[^\d$=]*$)",
    re.IGNORECASE,
)
_VALUE = re.compile(r"\d|\\(?:pi|sqrt|frac|infty|emptyset)")


def concluded(sentence: str) -> str:
    """The sentence without what it adds to its value; the sentence itself if nothing is to be cut off."""
    if match := _IS_THE_VALUE.match(sentence):
        return match["value"]
    sentence = without_reasons(_without_rejected(sentence))
    for addition in _ADDITIONS:
        for match in addition.finditer(sentence):
            if _ends_in_value(sentence[: match.start()]) and not _CONCLUDES.search(sentence, match.end()):
                sentence = sentence[: match.start()]
                break
    return sentence


def _without_rejected(sentence: str) -> str:
    """`x=5` of `x=5 and x=6, but x=6 is extraneous`."""
    match = _REJECTED.search(sentence)
    if match is None:
        return sentence
    rest = sentence[: match.start()], sentence[match.end() :]
    listed = re.compile(rf"(?:,|\s(?:and|or)\b)*\s*{re.escape(match['value'])}(?![\w^])")
    return listed.sub("", rest[0]) + rest[1]


def without_reasons(sentence: str) -> str:
    """The sentence without its reasons, definitions of letters and rejected values."""
    for reason in _REASONS:
        for match in reason.finditer(sentence):
            if _ends_in_value(sentence[: match.start()]) and not re.search(
                r"\b(?:get|so|thus)\b", sentence[match.end() :]
            ):
                sentence = sentence[: match.start()]
                break
    return sentence


def _ends_in_value(head: str) -> bool:
    """True if the last formula of `head`, or a number in it where there is none, may be the value it states."""
    formulas = list(MATH.finditer(head))
    if not formulas:
        return "$" not in head and re.search(r"\d", head) is not None
    content = formulas[-1][formulas[-1].lastgroup or 0]
    return _VALUE.search(content) is not None and re.search(r"[<>]|\\[gl]e|\\to\b", content) is None
