r"""The answer of a solution without a mark: the whole of a short text, or else what its last sentence says.

In `She needs 6 boxes to pack all 72` and `16 people think that 4 is too few` the first number answers and another one
belongs to the question or to a reason; elsewhere the last one counts.
"""

from __future__ import annotations

import re

from erprm.grading.answers.characters import BLANKS
from erprm.grading.answers.counts import count_in, last_worded, leading_count
from erprm.grading.bare import MAX_BARE_CHARS, is_bare
from erprm.grading.conclusion import concluded, without_reasons
from erprm.grading.last_formula import MATH, TAIL_CHARS, ends_in_code, is_cut_off, last_formula, without_self_check

_LAST_SENTENCE = re.compile(
    r"(?<=[.!?。！？])\s+|(?<=[.!?][$)])\s+(?=[A-Z])|(?<=\.\\\])(?=[A-Z])|(?<=\.\$\$)(?=[A-Z])|\n+"
)
_OPENING = re.compile(
    r"^(?:(?:so|therefore|thus|hence|then|finally|in total|altogether)\b|所以|因此|综上(?:所述)?|故|∴|=>|⟹|⇒)[,，]?\s*",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(
    r"\banswer\b[^.]*\b(?:not|cannot|(?:greater|less|more|fewer) than|at least|at most)\s+(?:be\s+)?\S+$"
    r"|\b(?:cannot|can't|can not|impossible to|not possible to|unable to)\s+(?:be\s+)?(?:determin|answer|solv|decid)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d(?:[\d.,]*\d)?")
# "16 people think that 4 ...": the number that answers comes first, another one gives the reason.
_REASON = re.compile(r"\s(?:that|because|since|in order to|to|who|if|when|out of|for)\s", re.IGNORECASE)
_TWO_NUMBERS = re.compile(
    r"[=+*/]|\b(?:so|leaving|total|which means|costs?|makes?|is equal|is worth|left|each)\b", re.IGNORECASE
)
_BECAUSE = re.compile(
    r"(?<=[\w$)}])(?:,?\s+(?:because|since)\s"
    r"|,\s+\$?\d[\d.,]*\s+(?:more|less|fewer)\s+than\b"
    r"|,\s+which is (?:\S+ (?:times|more|less|fewer|percent)|twice|half|double|triple)\b)",
    re.IGNORECASE,
)
# Rates and years behind a value: "needs 8 days at 30 pages a day", "450 stamps by 2030", "9 each, with 2 left over".
_RATE = re.compile(
    r"(?<=[\w%])(?:\s+at\s+\$?\d[\d.,]*\s+(?:[a-z]+\s+)?(?:per|an?|each|every)\b[^\d,]*|\s+(?:by|in|until|since)\s+(?:19|20)\d\d"
    r"|,\s+with\s+\$?\d[\d.,]*\s+(?:[a-z]+\s+)?(?:left(?:\s+over)?|remaining|to spare))\.?$",
    re.IGNORECASE,
)
# Between two numbers of which the second belongs to the question: "needs 6 boxes to pack all 72", "5 of the 12".
_BACKGROUND = re.compile(
    r"(?:\s+[a-z]+)?(?:\s+left(?:\s+over)?\b|\s+in\s+total\b)?"
    r"(?!.*\b(?:so|is|are|was|has|have|had|costs?|(?<!to )makes?"
    r"|leaving|left|total|each|and|or|gets?|round(?:s|ed)|up to|increas\w+|decreas\w+|rais\w+"
    r"|reduc\w+|chang\w+|grew|rose|fell|dropp\w+|equals?|will|then)\b)[^+*/=:]*\s"
    r"(?:to|for|of the|of all|from|in|before|after|who|that|out of|if|within|during|with|than the|over the|towards?)\s"
    r"[^+*/=:]*"
)
_SUBORDINATE = re.compile(
    r",|^(?:after|for|in|with|at|if|when|from|out of|of|during|by|to|on|since|as|each|every)\b", re.IGNORECASE
)
_PROPORTION = re.compile(r"\b(?P<one>\d+)\s+(?:to|:|(?P<part>in|out of))\s+(?P<other>\d+)\.?$")
# "4 tickets cost $36" is no list of amounts.
_COSTS = re.compile(
    r"\d\S*(?:\s+[a-z]+){1,3}?\s+(?:costs?|weighs?|makes?|takes?|needs?|holds?|earns?|gives?|gets?|pays?|lasts?|has|have"
    r"|is|are)\b[^=]*\d",
    re.IGNORECASE,
)
# What follows the result of a computation and may state another: "= 10 dollars, so he has 90 left".
_RESULT_GOES_ON = re.compile(r"\b(?:so|leaving|total|which|left|or|and|but|then|thus|therefore)\b", re.IGNORECASE)
_SAYS_A_NUMBER = re.compile(r".*\b(?:is|are|was|were|equals)\s+((?:\\?[$€£]|-)?\d[^=]*|[a-zA-Z]\s*[=<>].*)$")
# "The day is Tuesday." and "There is no real solution.", in a text without formulas.
_SAYS_A_WORD = re.compile(
    r"\bthere (?:is|are|exists?) (?P<none>no (?:[a-z]+ )?solutions?|infinitely many)\b|\b(?P<missing>does not exist)\b"
    r"|\b(?:is|are) (?!one\b)(?P<word>[A-Za-z]{2,})\.?$",
    re.IGNORECASE,
)
_CHOSEN_LETTER = re.compile(
    r"(?:(?:so|thus|therefore|hence|then|选),?\s*)?"
    r"(?:(?<=\s)|(?<=选)|(?:it is |(?:(?:we|I) (?:would )?)?(?:choose|pick|select) ))"
    r"(?:(?:the )?(?:option|choice|answer) )?\(?([A-J])\)?[.。]?",
    re.IGNORECASE,
)
_IN_WORDS = re.compile(r"\ball real (?:numbers|values)\b[^.]*", re.IGNORECASE)


def unmarked_count(text: str) -> str | None:
    """The one number (GSM8K) that a solution without a mark ends in."""
    text = without_self_check(text).rstrip(BLANKS)
    if is_cut_off(text) or ends_in_code(text):
        return None
    if "\n" not in text and is_bare(text) and not _COSTS.search(text):
        return count_in(text, last=False, stated=True)
    sentence = _last_sentence(text)
    if _NO_ANSWER.search(sentence):
        return None
    if (head := _before_because(sentence)) is not None:
        return count_in(head, last=False)
    if (head := _before(_RATE, sentence)) is not None:
        return unmarked_count(head)
    if (count := _count_before_reason(sentence)) is not None:
        return count
    said = _SAYS_A_NUMBER.match(sentence)
    if said and is_bare(said[1]):
        return count_in(said[1], last=False, stated=True)
    _, equals, result = sentence.rpartition("=")
    if equals and not _RESULT_GOES_ON.search(result):
        return count_in(result, last=False)
    if _is_background(sentence):
        return count_in(sentence, last=False)
    if not re.search(r"\d", sentence) and (worded := last_worded(sentence)) is not None:
        return worded
    return count_in(text, last=True)


def unmarked_answer(text: str) -> str | None:
    """The answer, as it is written, of a short text or of a solution without a mark."""
    if ends_in_code(text):
        return None
    sentence = _last_sentence(text)
    if letter := _CHOSEN_LETTER.fullmatch(sentence):
        return letter[1]
    if not re.search(r"\d|\\|\$", text) and (word := _SAYS_A_WORD.search(sentence)):
        return word[word.lastgroup or 0]
    if is_bare(text) and not text.startswith(("\\begin{align}", "\\begin{align*}")):
        return None if is_cut_off(text) else without_reasons(_OPENING.sub("", text))
    tail = without_self_check(text[-TAIL_CHARS:]).rstrip()
    if is_cut_off(tail):
        return None
    sentence = _last_sentence(tail)
    if _NO_ANSWER.search(sentence):
        return None
    if (head := _before_because(sentence)) is not None:
        return last_formula(head)
    if (count := _count_before_reason(sentence)) is not None:
        return count
    if values := _IN_WORDS.search(sentence):
        return values[0]
    if _is_background(sentence):
        return count_in(sentence, last=False)
    if (said := _SAYS_A_NUMBER.match(sentence)) and (proportion := _PROPORTION.fullmatch(said[1])):
        return f"{proportion['one']}{'/' if proportion['part'] else ':'}{proportion['other']}"
    found = last_formula(tail.removesuffix(sentence) + concluded(sentence))
    return text if found is None and len(text) <= MAX_BARE_CHARS else found


def _last_sentence(text: str) -> str:
    starts = [match.end() for match in _LAST_SENTENCE.finditer(text.rstrip())]
    return text[starts[-1] if starts else 0 :].strip()


def _before(addition: re.Pattern[str], sentence: str) -> str | None:
    """`She needs 8 days` of `She needs 8 days at 30 pages a day`; None without a number before the addition."""
    found = addition.search(sentence)
    return sentence[: found.start()] if found and _NUMBER.search(sentence, 0, found.start()) else None


def _before_because(sentence: str) -> str | None:
    """`She needs 3 trips` of `She needs 3 trips because each is of 12 boxes`."""
    return None if "=" in sentence else _before(_BECAUSE, sentence)


def _count_before_reason(sentence: str) -> str | None:
    """The 16 of `16 people think that 4 ...`, a sentence that opens with its answer and gives the reason after it."""
    sentence = _OPENING.sub("", sentence)
    reason = _REASON.search(sentence)
    if reason is None or _TWO_NUMBERS.search(sentence):
        return None
    head, tail = sentence[: reason.start()], sentence[reason.end() :]
    if len(_NUMBER.findall(head)) > 1 or len(head.split()) < 2 or not re.search(r"\d", tail):
        return None
    return leading_count(sentence)


def _is_background(sentence: str) -> bool:
    """True if the second of two numbers belongs to the question, as in `She needs 6 boxes to pack all 72`."""
    numbers = list(_NUMBER.finditer(sentence))
    if len(numbers) < 2 or MATH.search(sentence) or _PROPORTION.search(sentence):
        return False
    if len(numbers) > 2 and _SUBORDINATE.search(sentence):
        return False
    return _BACKGROUND.fullmatch(sentence, numbers[0].end(), numbers[-1].start()) is not None
