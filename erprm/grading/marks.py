r"""Marked answers: what a tag, a box, a line `####` or a statement such as `The answer is` holds.

`marked_answer` reads the marks that solutions are asked to end in, and `statements` what is said in a sentence, below a
heading `# Answer`, or before words such as `is our answer`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from erprm.grading.answers.characters import BLANKS
from erprm.grading.answers.normalize import normalize
from erprm.grading.answers.numeric import parse_number
from erprm.grading.answers.quantity import parse_unit
from erprm.grading.bare import is_bare, words_in
from erprm.grading.last_formula import MATH, ORNAMENTS, TAIL_CHARS, is_cut_off

# Only the last boxes and phrases are looked at, so that thousands of them cost no more than a few.
MAX_MARKS = 20

# Tags, boxes and lines

_BOX = re.compile(r"\\(?:f|frame)?box(?:ed)?(?![a-zA-Z])[ \t]*|(?<![\\a-zA-Z])boxed(?=\{)")
_BOX_JOIN = re.compile(
    r"(?:[\s$,;.&]|\\[()\[\],;! ]|\\q?quad|\\text\s*\{[\s,]*(?:and|or)[\s,]*\}|\b(?:and|or)\b"
    r"|[a-zA-Z]\w{0,3}(?:_\{?\w{1,3}\}?)?\s*=)*"
)
_JOINING_WORDS = re.compile(r"[\s$,]*(?:(?:[A-Za-z'-]+|\d{0,3})[\s$,]+){1,10}[\s$]*")
_NEW_THOUGHT = re.compile(
    r"\b(?:then|so|hence|therefore|thus|gives?|gets?|no|not|wait|but|instead|becomes?|check|verify|actually|now|next"
    r"|which|simplif\w+|equals?|is|are|yields?|from|since|because|to|correct\w*|again|final\w*|answer|total|sum|product)\b",
    re.IGNORECASE,
)
_APPROXIMATELY = re.compile(
    r"[\s$()]*(?:\\approx|\\simeq|\\sim|≈|,?\s*(?:or\s+)?(?:about|approximately|roughly))[\s$(]*"
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_UNBRACED = re.compile(r"[^\s$]+")
_HASH_VALUE = re.compile(r"(?!\d+[.)]\s)[\s$€£\\({*+-]*(?:\d|\.\d|boxed|d?frac|sqrt|pi\b)")
_HASH_HEADING = re.compile(
    r"(?:step|part|case|solution|answer|final|problem|question|explanation|note|example|analysis|conclusion|verification"
    r"|method|approach|summary|check|proof|reasoning|calculation|given|find|let|the|we|now)\b",
    re.IGNORECASE,
)

# Statements

_PHRASE = re.compile(
    r"\bfinal answer(?: is)?\s*[:：]?\s*"
    r"|\b(?:correct|right|best|only) (?:(?:option|choice|answer) is|(?:option|choice|answer)s are)\s*:?\s*"
    r"|(?:答案|结果|結果|答え)\s*(?:应该|應該|应|就)?(?:是|为|為|等于|选|は|:|：)\s*[:：]?\s*|^答\s*[:：]\s*"
    r"|(?:故选|应选|因此选|所以选|本题选|正确选项是|选择|[，,]选(?=\s*[（(]?[A-J]))\s*[:：]?\s*"
    r"|(?:정답|respuesta|réponse|antwort|risposta|ответ)\s*(?:[:：]|은|는|es\b|est\b|ist\b|è)\s*[:：]?\s*"
    r"|\banswer(?: to (?:the|this) (?:question|problem))? (?:is|should be|must be|equals)\s*:?\s*"
    r"|\banswer\s*[:：]\s*"
    r"|\bthe answer\b[^.:=\n]{1,60}?\bis\b\s*:?\s*",
    re.IGNORECASE | re.MULTILINE,
)
_SHORT_PHRASE = re.compile(r"^[ \t]{0,3}A:[ \t]{0,3}", re.IGNORECASE | re.MULTILINE)
# Every phrase, and every heading, holds one of these; few texts hold one before their last lines.
_PHRASE_WORDS = (
    *("correct", "answer", "option", "choice", "答", "结果", "結果", "选", "正确", "정답"),
    *("respuesta", "réponse", "antwort", "risposta", "ответ"),
)
# A phrase starts at most so far before its word: a formula, and "is therefore our final".
_BEFORE_PHRASE_WORD = 300
# One of the groups tells it from the end of a sentence.
_HEADING = re.compile(
    r"^[ \t]{0,3}(?:(#{1,6})[ \t]{0,3})?([*_]{1,3})?[ \t]{0,3}(?:the[ \t]{1,3})?"
    r"(final[ \t]{1,3})?answer[ \t]{0,3}([:：]?)[ \t]{0,3}[*_]{0,3}[ \t]{0,3}[:：]?[ \t]{0,3}$",
    re.IGNORECASE | re.MULTILINE,
)
_VALUE_FIRST = re.compile(
    r"(?P<value>\$[^$\n]{1,200}\$|\\\([^()\n]{1,200}\\\)"
    r"|(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:/\d+)?|\([A-J]\)"
    r"|(?<![A-Za-z0-9_])[A-J])"
    r"(?:\s+(?:is|must be|will be|would be)\s+(?:therefore\s+|thus\s+)?(?:our|the|my)\s+"
    r"(?:final\s+|correct\s+)?answer\b|\s*(?:是)?正确)"
    r"|(?:^|[.,;:]\s|\b(?i:so|thus|therefore|hence|only|option|choice|answer)\s)\(?(?P<letter>[A-J])\)?"
    r"\s+is\s+(?:therefore\s+)?(?:(?:the|our)\s+)?(?:(?:correct|right|best)\b|(?:choice|option|answer)\b)",
    re.MULTILINE,
)
_SENTENCE_END = re.compile(
    r"(?<=\d\.\.\.)(?=\s+[A-Z(])|(?<!\.\.)\.(?=\s+[A-Z(]|\s*$|\s*\n)|\n|[。！；]|(?<=\s)I hope\b"
)
_VALUE_ENDS = r"(?<=[\w$)}\]%*])"
# What explains the answer in the same sentence: "42, which is even", "$x=2$ since $2x=4$", "$18$ (see part 2)".
_EXPLANATION = re.compile(
    rf"{_VALUE_ENDS}(?:\s*,\s*|\s+)"
    r"(?:which|since|because|as (?:we|required|desired|the)|and not|rather than|instead of)\b"
    rf"|{_VALUE_ENDS}\s*[，,]\s*(?:因为|由于|其中|所以)",
    re.IGNORECASE,
)
# A condition or contrast behind a value: "$7$ when $n=4$", "7, not 8", "$7$ - the sum of $3$ and $4$".
_CONDITION = re.compile(
    rf"{_VALUE_ENDS}(?:[,;]?\s+(?:when|if|for|after|where|with(?! remainder)|not|but|meaning|provided|given|assuming"
    r"|using)\b|\s+[—–]\s+(?=[A-Za-z]))",
    re.IGNORECASE,
)
_LETTER_NOT = re.compile(r"\(?[A-J]\)?,? (?:not|but)\b")
_LEADING_NUMBER = re.compile(r"-?\\?\$?\d[\d,.]*(?=[\s,;])")
_REMARK = re.compile(
    rf"{_VALUE_ENDS}(?:\s+|\\[ ,])[(\[](?P<remark>[^()\[\]$\\]*[a-z]{{2,}}[^()\[\]]*)[)\]]"
    rf"|{_VALUE_ENDS}\s*（[^（）]*[\u4e00-\u9fff]{{2,}}[^（）]*）"
)
_FURTHER_VALUE = re.compile(r"\s*(?:[,;&]|and\b|or\b)\s*[-\\$]{0,3}\d")
_DOTS = re.compile(r"\d\.{3}$")
_PART_OF_ANSWER = re.compile(r"\s*(?:base|mod|or|and|in|to)\b", re.IGNORECASE)
_SELF_CHECK = re.compile(
    r"\s*(?:indeed |also |clearly |therefore |thus |now |then )*"
    r"(?:correct|right|wrong|incorrect|valid|reasonable|consistent|verified|confirmed|unique|complete|plausible"
    r"|sensible|as (?:above|follows|expected|required|desired|before)|the same|exact|accurate|in agreement|found"
    r"|given|obtained|positive|negative|not|an integer|independent|clear|obvious|below|easy|also|already"
    r"|an? (?:whole|positive|negative)|somewhere|between|greater|less|either|what|how)\b",
    re.IGNORECASE,
)
_LEADING_FORMULA = re.compile(
    r"\$\$(?:\\[\s\S]|[^$\\])+\$\$|\$[^$]+\$|\\\((?:[^\\]|\\(?![()]))+\\\)|\\\[(?:[^\\]|\\(?![\[\]]))+\\\]"
    r"|\\begin\{(?P<environment>[a-z]+\*?)\}(?:(?!\\end\{).)*\\end\{(?P=environment)\}",
    re.DOTALL,
)


class Found(NamedTuple):
    """An answer that a text states.

    Attributes:
        answer: its text.
        closed: whether the text goes on after it, or closes it, so that nothing of it can be missing.
        start: where it starts in the text; that of a box or a line `####` is the start of its mark.
        end: where to look for a statement that comes after it.
    """

    answer: str
    closed: bool
    start: int = 0
    end: int = 0


def marked_answer(text: str) -> Found | None:
    r"""What the last `<answer>` tag holds, or else the last of `\boxed{}`, `####` and a later statement of a value."""
    tagged = _tagged_answer(text)
    if tagged is not None:
        content = tagged.answer
        inner = _boxed_answer(content) or hashed_answer(content) or next(iter(statements(content)), tagged)
        return Found(inner.answer, tagged.closed)
    boxed, hashed = _boxed_answer(text), hashed_answer(text)
    marked = max(filter(None, (boxed, hashed)), key=lambda found: found.start, default=None)
    if marked is None:
        return None
    for found in statements(text, marked.end):
        if "\\box" not in found.answer and _is_value(found.answer):
            return found
    return marked._replace(answer=_stated_in_words(marked.answer)) if marked is boxed else marked


def _stated_in_words(content: str) -> str:
    r"""460 for `\text{The answer is 460}`."""
    if "\\text" not in content and "answer" not in content:
        return content
    stated = statements(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", content))
    return stated[0].answer if stated else content


def _is_value(text: str) -> bool:
    """True for a formula, a number with its unit, or a letter of choice: nothing that may be part of a sentence."""
    if not is_bare(text) or is_cut_off(text):
        return False
    if MATH.fullmatch(text) or re.fullmatch(r"\(?[A-J]\)?", text):
        return True
    return re.search(r"\d|\\[a-z]", text) is not None and all(parse_unit(word) is not None for word in words_in(text))


def _tagged_answer(text: str) -> Found | None:
    lowered = text.lower()
    if len(lowered) != len(text):  # some capitals lower to two characters; offsets would be off
        lowered = text
    start = lowered.rfind("<answer>")
    if start < 0:
        return None
    end = lowered.find("</answer>", start)
    content = text[start + len("<answer>") : end if end >= 0 else None].strip()
    return Found(content, end >= 0) if content else None


def hashed_answer(text: str) -> Found | None:
    """The last `####` line with an answer; a Markdown heading (`#### Step 2`) holds none."""
    end = len(text)
    for _ in range(MAX_MARKS):
        at = text.rfind("####", 0, end)
        if at < 0:
            break
        line, newline, rest = text[at : at + TAIL_CHARS].lstrip("#").lstrip(" \t").partition("\n")
        line = line.removesuffix("ки").strip()
        if _HASH_VALUE.match(line) or _is_hashed_word(line, not rest.strip()):
            return Found(line, bool(newline), at, at + 4)
        end = at
    return None


def _is_hashed_word(line: str, is_last: bool) -> bool:
    """A formula or a letter after the hashes, or on the last line a word; no heading."""
    if not line or _HASH_HEADING.match(line) or line.endswith(":"):
        return False
    return len(words_in(line)) <= (3 if is_last or "\\text" in line else 0)


def _boxed_answer(text: str) -> Found | None:
    r"""The last `\boxed{}`; boxes joined by commas, `and`, `or` or a few words are one answer."""
    if "box" not in text:
        return None
    boxes: list[Found] = []
    next_start = 0
    for mark in reversed(_last_matches(_BOX, text)):
        box = _box_at(text, mark)
        if not box.answer:
            continue
        between = text[box.end : next_start]
        if boxes and _APPROXIMATELY.fullmatch(between):  # the exact value, then its decimal
            boxes[0] = boxes[0]._replace(answer=box.answer)
        elif not boxes or _joined(between):
            boxes.insert(0, box)
        else:
            break
        next_start = box.start
    if not boxes:
        return None
    contents = [box.answer for box in boxes]
    return boxes[-1]._replace(answer=contents[-1] if _same_value(contents) else ", ".join(contents))


def _same_value(contents: list[str]) -> bool:
    """One answer boxed twice, perhaps as a fraction and as a mixed number."""
    numbers = {parse_number(normalize(content)) for content in contents}
    return len(set(contents)) == 1 or (None not in numbers and len({number.value for number in numbers if number}) == 1)


def _joined(between: str) -> bool:
    """True if nothing but commas, `and`, `or`, a label like `y_2 =` or a few words stand between two boxes."""
    if len(between) > 80 or not between.strip(" .\n"):
        return False
    if _BOX_JOIN.fullmatch(between) is not None or re.fullmatch(r"[^\w=]{1,12}", between) is not None:
        return "\\approx" not in between
    if _JOINING_WORDS.fullmatch(between) is None:
        return False
    parts = re.split(r"\b(?:and|while)\b", between, maxsplit=1)
    if len(parts) == 2:
        parts[1] = re.sub(r"\s(?:is|are|has)[\s$]*$", "", parts[1])  # "and the length is"
    return not any(map(_NEW_THOUGHT.search, parts))


def _box_at(text: str, mark: re.Match[str]) -> Found:
    """The content of the braces that open after `mark`; where they do not close, the box ends with its line."""
    start, at = mark.span()
    if not text.startswith("{", at):  # \boxed 5
        word = _UNBRACED.match(text, at)
        content, end = (word[0].rstrip(".,"), word.end()) if word else ("", at)
        return Found(content, end < len(text), start, end)
    depth = 0
    for brace in _BRACE.finditer(text, at):
        if brace[0] == "{":
            depth += 1
        elif brace[0] == "}":
            depth -= 1
            if depth == 0:
                return Found(text[at + 1 : brace.start()].strip(BLANKS), True, start, brace.end())
    line = text[at + 1 :].partition("\n")[0].strip(" $")
    return Found("" if is_cut_off(line) else line, False, start, len(text))


def statements(text: str, after: int = 0) -> list[Found]:
    """Answers after `The answer is`, similar phrases or a heading `# Answer`, last first; remarks are left out."""
    found: list[Found] = []
    lowered = text.lower()
    if "a:" in lowered:
        found += [each for each in _sentences_after(_SHORT_PHRASE, text, after) if is_bare(each.answer)]
    places = [place for word in _PHRASE_WORDS if (place := lowered.find(word, after)) >= 0]
    if places:
        if len(lowered) == len(text):  # some capitals lower to two characters
            after = max(after, min(places) - _BEFORE_PHRASE_WORD)
        found += _sentences_after(_PHRASE, text, after)
        for heading in _last_matches(_HEADING, text, after):
            if any(heading.groups()) and (section := _section_from(text, heading.end())).answer:
                found.append(section)
        for match in _last_matches(_VALUE_FIRST, text, after):
            found.append(Found(match["value"] or match["letter"], True, match.end()))
    return sorted(found, key=lambda each: -each.start)


def _last_matches(mark: re.Pattern[str], text: str, after: int = 0) -> list[re.Match[str]]:
    return list(mark.finditer(text, after))[-MAX_MARKS:]


def _sentences_after(phrase: re.Pattern[str], text: str, after: int) -> list[Found]:
    sentences = [_sentence_from(text, match.end()) for match in _last_matches(phrase, text, after)]
    return [each for each in sentences if each.answer and not _SELF_CHECK.match(each.answer)]


def _section_from(text: str, at: int) -> Found:
    """The value below a heading: a formula of several lines, or a line; a sentence there may state it once more."""
    section = _sentence_from(text, at)
    phrase = _PHRASE.search(section.answer)
    if phrase is None:
        return section
    return _sentence_from(text, text.index(section.answer, at) + phrase.end())._replace(start=at)


def _sentence_from(text: str, at: int) -> Found:
    whole = text[at:].lstrip(BLANKS + "*_" + ORNAMENTS)  # "**Final Answer:**" and a line break
    if re.match(r"[->] [$\\\d]", whole):
        whole = whole[2:]
    goes_on = len(whole) > TAIL_CHARS
    rest = whole = whole[:TAIL_CHARS]
    formula = _LEADING_FORMULA.match(rest)  # may go over several lines, and has no sentence end inside
    is_value = formula or _LEADING_NUMBER.match(rest) or _LETTER_NOT.match(rest)
    for mark in (_SENTENCE_END, _EXPLANATION, *([_CONDITION] if is_value else [])):
        end = mark.search(rest, formula.end() if formula else 0)
        rest = rest[: end.start()] if end else rest
    closed = goes_on or whole[len(rest) :].strip(" .") != ""  # "5." may become 5.25
    for remark in _REMARK.finditer(rest):
        content = remark["remark"] or ""
        if not _PART_OF_ANSWER.match(content) and parse_unit(content) is None:
            further = _FURTHER_VALUE.match(rest, remark.end())  # 3 (Tom), 4 (Jim)
            rest = rest[: remark.start()] + (rest[remark.end() :] if further else "")
            closed = True
            break
    answer = rest.strip(" *_\t\"'" + ORNAMENTS).removesuffix("ки")
    return Found(answer if _DOTS.search(answer) else answer.rstrip(" .*"), closed, at)
