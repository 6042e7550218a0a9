r"""Finds the final answer in a solution.

What counts as the answer, from the surest mark to the weakest:

1. the last `<answer>...</answer>`;
2. the later of the last `\boxed{...}` and the last GSM8K line `#### ...`, unless a later line states another value;
3. the last statement such as `The answer is: ...`, `... is our answer`, or what follows a heading `# Answer`;
4. the whole text, if it is short enough to be a bare answer;
5. the last piece of mathematics, whole, or the last number after it.

What a model writes after its solution (the next `Question:`, another turn of a chat) is left out. Every pattern here
takes time linear in the text: a megabyte of blanks or 50,000 open braces is no special case.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from erprm.grading.answers.characters import clean_characters
from erprm.grading.answers.counts import CALCULATOR, count_in, last_worded, leading_count
from erprm.grading.answers.formula import FUNCTIONS
from erprm.grading.answers.normalize import normalize
from erprm.grading.answers.numeric import parse_number
from erprm.grading.answers.quantity import parse_unit
from erprm.grading.conclusion import concluded, without_reasons
from erprm.grading.last_formula import (
    MATH,
    ORNAMENTS,
    TAIL_CHARS,
    ends_in_code,
    is_cut_off,
    last_formula,
    without_code,
    without_self_check,
)

Kind = Literal["auto", "gsm8k", "math"]
KINDS: tuple[Kind, ...] = ("auto", "gsm8k", "math")

# A bare answer is one line of at most this many characters and this many words of prose.
MAX_BARE_CHARS = 300
MAX_BARE_WORDS = 4

# Only the last boxes and phrases are looked at, so that thousands of them cost no more than a few.
MAX_MARKS = 20

# Not the form feed: a leading one is the remnant of \\f in \\frac.
_BLANKS = " \t\r\n"

# Chat templates and run-on

_SPECIAL_TOKEN = re.compile(r"<\|[a-z_]{1,30}\|>[a-z]*|</?s>|<eos>|<pad>")
_LEADING_TOKENS = re.compile(rf"(?:\s|{_SPECIAL_TOKEN.pattern})*")
_END_OF_TURN = re.compile(
    r"<\|(?:im_end|im_start|endoftext|eot_id|end|eom_id|user|start_header_id|end_of_text)\|>|</s>|<eos>|<end_of_turn>"
    r"|<start_of_turn>|\[/?INST\]|<｜(?:end▁of▁sentence|User)｜>"
    r"|^[ \t]{0,3}(?:#{1,4}[ \t]{0,3}|\*\*)?(?:User|Human|Instruction)(?:\*\*)?[ \t]{0,3}:",
    re.MULTILINE,
)
_ASSISTANT = re.compile(r"<\|im_start\|>assistant|<\|assistant\|>|<start_of_turn>model|\[/INST\]|<｜Assistant｜>")
_NEXT_QUESTION = re.compile(
    r"^[ \t]{0,3}(?:#{1,6}[ \t]{0,3}|\*\*)?"
    r"(?:(?:(?:Next |New |Your )?(?:Question|Problem|Exercise|Example|Task)(?P<numbered>[ \t]{0,3}\d*)|Q\d{0,2}"
    r"|题目|问题|问)"
    r"[ \t]{0,3}(?:\*\*)?[ \t]{0,3}(?:[:：.](?!\d)|(?P<weak>$))|(?P<turn>(?:user|human)$|\[(?:question|problem)\]))",
    re.MULTILINE | re.IGNORECASE,
)

# Marks

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
_EQUAL_TO = re.compile(r"\s*(?:\\+[)\]])?\s*=")
_HASH_VALUE = re.compile(r"(?!\d+[.)]\s)[\s$€£\\({*+-]*(?:\d|\.\d|boxed|d?frac|sqrt|pi\b)")
_HASH_HEADING = re.compile(
    r"(?:step|part|case|solution|answer|final|problem|question|explanation|note|example|analysis|conclusion|verification"
    r"|method|approach|summary|check|proof|reasoning|calculation|given|find|let|the|we|now)\b",
    re.IGNORECASE,
)
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
_LETTER_WITH_VALUE = re.compile(r"\(?[A-J][).:]\s*\$[^$]+\$")
_SHORT_PHRASE = re.compile(r"^[ \t]{0,3}A:[ \t]{0,3}", re.IGNORECASE | re.MULTILINE)
# Every phrase, and every heading, holds one of these; few texts hold one before their last lines.
_PHRASE_WORDS = (
    *("correct", "answer", "option", "choice", "答", "结果", "結果", "选", "正确", "정답"),
    *("respuesta", "réponse", "antwort", "risposta", "ответ"),
)
# A phrase starts at most so far before its word: a formula, and "is therefore our final".
_BEFORE_PHRASE_WORD = 300
_HEADING = re.compile(
    r"^[ \t]{0,3}(?:(?P<hashes>#{1,6})[ \t]{0,3})?(?P<stars>[*_]{1,3})?[ \t]{0,3}(?:the[ \t]{1,3})?"
    r"(?P<final>final[ \t]{1,3})?answer[ \t]{0,3}(?P<colon>[:：]?)[ \t]{0,3}[*_]{0,3}[ \t]{0,3}[:：]?[ \t]{0,3}$",
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
# What explains the answer in the same sentence: "42, which is even", "$x=2$ since $2x=4$", "$18$ (see part 2)".
_EXPLANATION = re.compile(
    r"(?<=[\w$)}\]%*])(?:\s*,\s*|\s+)"
    r"(?:which|since|because|as (?:we|required|desired|the)|and not|rather than|instead of)\b"
    r"|(?<=[\w$)}\]%*])\s*[，,]\s*(?:因为|由于|其中|所以)",
    re.IGNORECASE,
)
# A condition or contrast behind a value: "$7$ when $n=4$", "7, not 8", "$7$ - the sum of $3$ and $4$".
_CONDITION = re.compile(
    r"(?<=[\w$)}\]%*])(?:[,;]?\s+(?:when|if|for|after|where|with(?! remainder)|not|but|meaning|provided|given|assuming"
    r"|using)\b|\s+[—–]\s+(?=[A-Za-z]))",
    re.IGNORECASE,
)
_LETTER_NOT = re.compile(r"\(?[A-J]\)?,? (?:not|but)\b")
_LEADING_NUMBER = re.compile(r"-?\\?\$?\d[\d,.]*(?=[\s,;])")
_REMARK = re.compile(
    r"(?<=[\w$)}\]%*])(?:\s+|\\[ ,])[(\[](?P<remark>[^()\[\]$\\]*[a-z]{2,}[^()\[\]]*)[)\]]"
    r"|(?<=[\w$)}\]%*])\s*（[^（）]*[\u4e00-\u9fff]{2,}[^（）]*）"
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
_PROSE = re.compile(r"\\[a-zA-Z]+|[A-Za-z]{2,}")
# "it is 5" is a sentence; "sin 30", "area = 5", "abc + 3" and "5 miles" are not.
_SENTENCE_BEFORE_NUMBER = re.compile(
    r"(?!(?:sin|cos|tan|log|base|option|choice|all real)\b)[^\d=+*/^_\\<>(){}]*"
    r"\b(?:[A-Za-z]{3,}|[Ii]t|[Ii]s|[Ww]e|[Ss]o)[^\d=+*/^_\\<>(){}A-Za-z][^\d=+*/^_\\<>(){}]*"
    r"(?:[\d\\(]|\{|(?<=[A-Za-z])\^)"
    r"|.*\b(?:has|have|gives?|equation|get)\s+(?:an?\s|the\s)?(?:equation\s)?[a-z](?:\([a-z]\))?\s*="
)
_CJK_SENTENCE = re.compile(r"(?!或者|以及)[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]{2,}[^\d$\\A-Za-z]{0,3}[\d$\\]")
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
_NUMBER = re.compile(r"\d(?:[\d.,]*\d)?")
# Between two numbers of which the second belongs to the question: "needs 6 boxes to pack all 72", "5 of the 12".
_BACKGROUND = re.compile(
    r"(?:\s+[a-z]+)?(?:\s+left(?:\s+over)?\b|\s+in\s+total\b)?"
    r"(?!.*\b(?:so|is|are|was|has|have|had|costs?|(?<!to )makes?"
    r"|leaving|left|total|each|and|or|gets?|round(?:s|ed)|up to|increas\w+|decreas\w+|rais\w+"
    r"|reduc\w+|chang\w+|grew|rose|fell|dropp\w+|equals?|will|then)\b)[^+*/=:]*\s"
    r"(?:to|for|of the|of all|from|in|before|after|who|that|out of|if|within|during|with|than the|over the|towards?)\s"
    r"[^+*/=:]*"
)
# Rates and years behind a value: "needs 8 days at 30 pages a day", "450 stamps by 2030", "9 each, with 2 left over".
_RATE = re.compile(
    r"(?<=[\w%])(?:\s+at\s+\$?\d[\d.,]*\s+(?:[a-z]+\s+)?(?:per|an?|each|every)\b[^\d,]*|\s+(?:by|in|until|since)\s+(?:19|20)\d\d"
    r"|,\s+with\s+\$?\d[\d.,]*\s+(?:[a-z]+\s+)?(?:left(?:\s+over)?|remaining|to spare))\.?$",
    re.IGNORECASE,
)
_PROPORTION = re.compile(r"\b(?P<one>\d+)\s+(?:to|:|(?P<part>in|out of))\s+(?P<other>\d+)\.?$")
_SUBORDINATE = re.compile(
    r",|^(?:after|for|in|with|at|if|when|from|out of|of|during|by|to|on|since|as|each|every)\b", re.IGNORECASE
)
# What follows the result of a computation and may state another: "= 10 dollars, so he has 90 left".
# "4 tickets cost $36" is no list of amounts.
_COSTS = re.compile(
    r"\d\S*(?:\s+[a-z]+){1,3}?\s+(?:costs?|weighs?|makes?|takes?|needs?|holds?|earns?|gives?|gets?|pays?|lasts?|has|have"
    r"|is|are)\b[^=]*\d",
    re.IGNORECASE,
)
_RESULT_GOES_ON = re.compile(r"\b(?:so|leaving|total|which|left|or|and|but|then|thus|therefore)\b", re.IGNORECASE)
_OPENING = re.compile(
    r"(?:(?:(?:so|therefore|thus|hence|then|finally|in total|altogether)\b|所以|因此|综上(?:所述)?|故|∴|=>|⟹|⇒)"
    r"[,，]?\s*)?",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(
    r"\banswer\b[^.]*\b(?:not|cannot|(?:greater|less|more|fewer) than|at least|at most)\s+(?:be\s+)?\S+$"
    r"|\b(?:cannot|can't|can not|impossible to|not possible to|unable to)\s+(?:be\s+)?(?:determin|answer|solv|decid)",
    re.IGNORECASE,
)
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
_LAST_SENTENCE = re.compile(
    r"(?<=[.!?。！？])\s+|(?<=[.!?][$)])\s+(?=[A-Z])|(?<=\.\\\])(?=[A-Z])|(?<=\.\$\$)(?=[A-Z])|\n+"
)


class _Found(NamedTuple):
    """An answer that a text states.

    Attributes:
        answer: its text.
        closed: whether the text goes on after it, or closes it, so that nothing of it can be missing.
        end: where it ends.
    """

    answer: str
    closed: bool
    end: int = 0


def check_kind(kind: str) -> None:
    """Raises ValueError unless `kind` is one of `KINDS`."""
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, expected one of {', '.join(map(repr, KINDS))}")


def extract_answer(text: str, kind: Kind = "auto", truncated: bool = False) -> str | None:
    r"""Returns the final answer of a solution as text, or None if there is none.

    Args:
        text: a whole solution or a bare answer.
        kind: `"gsm8k"` looks for one number and returns it plain (`"1,450,000"` becomes `"1450000"`, as the official
            GSM8K script does); `"math"` returns the answer as it was written (the content of `\boxed{}`); `"auto"`
            reads a text with a number after `####` as GSM8K and everything else as `"math"`.
        truncated: the text was cut off at the limit of tokens. Only a closed form then counts: a closed box or tag, a
            `####` line or a statement that is complete.

    Raises:
        ValueError: unknown `kind`.
    """
    check_kind(kind)
    _, thought, visible = text.rpartition("</think>")
    if thought and visible.strip():
        text = visible
    text = without_code(_first_solution(text))
    if kind == "gsm8k":
        return _gsm8k_answer(text, truncated)
    if kind == "auto" and "####" in text and (number := _gsm8k_answer(text, truncated)) is not None:
        return number
    return _math_answer(text, truncated)


def holds_count(gold: str) -> bool:
    """True if a gold is one of GSM8K: a number after `####`."""
    return (
        "####" in gold
        and (found := _after_hashes(gold)[1]) is not None
        and count_in(found.answer, False, True) is not None
    )


def _first_solution(text: str) -> str:
    """The text without the prompt before it, and without further turns or questions that the model wrote after it."""
    head = text.lstrip()
    if head.startswith(("<", "[")):
        assistant = _ASSISTANT.search(text)
        if assistant and _END_OF_TURN.match(head):
            text = text[assistant.end() :]
    leading = _LEADING_TOKENS.match(text)
    if turn := _END_OF_TURN.search(text, leading.end() if leading else 0):
        text = text[: turn.start()]
    for match in list(_NEXT_QUESTION.finditer(text))[:MAX_MARKS]:
        before = text[: match.start()]
        if _states_answer(before):
            return before
        if (
            match["weak"] is not None or match["turn"]
        ):  # a heading of the solution itself, unless an answer stands before
            continue
        if before.endswith("\n\n") and re.search(r"\d|\$|\\", before):
            return before
    return text


def _states_answer(text: str) -> bool:
    return bool(
        _tagged_answer(text) or _boxed_answer(text)[1] or _after_hashes(text)[1] or _statements(text[-TAIL_CHARS:])
    )


def _gsm8k_answer(text: str, truncated: bool) -> str | None:
    text = clean_characters(text)
    marked = _marked_answer(text)
    if marked is not None:
        return None if truncated and not marked.closed else count_in(marked.answer, last=False, stated=True)
    for found in _statements(text):
        if truncated and not found.closed:
            continue
        number = count_in(found.answer, last=not _is_bare(found.answer), stated=True)
        if number is not None or is_cut_off(found.answer) or re.search(r"\d", found.answer):
            return number
    if truncated:
        return None
    return _unmarked_count(CALCULATOR.sub("", text[-TAIL_CHARS:]))


def _unmarked_count(text: str) -> str | None:
    text = without_self_check(text).rstrip(_BLANKS)
    if is_cut_off(text) or ends_in_code(text):
        return None
    if "\n" not in text and _is_bare(text) and not _COSTS.search(text):
        return count_in(text, last=False, stated=True)
    sentence = _last_sentence(text)
    if _NO_ANSWER.search(sentence):
        return None
    if (head := _before_because(sentence)) is not None:
        return count_in(head, last=False)
    if (head := _before_rate(sentence)) is not None:
        return _unmarked_count(head)
    if _reason_follows(sentence):
        return leading_count(_without_opening(sentence))
    said = _SAYS_A_NUMBER.match(sentence)
    if said and _is_bare(said[1]):
        return count_in(said[1], last=False, stated=True)
    _, equals, result = sentence.rpartition("=")
    if equals and not _RESULT_GOES_ON.search(result):
        return count_in(result, last=False)
    if _is_background(sentence):
        return count_in(sentence, last=False)
    if not re.search(r"\d", sentence) and (worded := last_worded(sentence)) is not None:
        return worded
    return count_in(text, last=True)


def _is_background(sentence: str) -> bool:
    """True if the second of two numbers belongs to the question, as in `She needs 6 boxes to pack all 72`."""
    numbers = list(_NUMBER.finditer(sentence))
    if len(numbers) < 2 or MATH.search(sentence) or _PROPORTION.search(sentence):
        return False
    if len(numbers) > 2 and _SUBORDINATE.search(sentence):
        return False
    return _BACKGROUND.fullmatch(sentence, numbers[0].end(), numbers[-1].start()) is not None


def _before_rate(sentence: str) -> str | None:
    """`She needs 8 days` of `She needs 8 days at 30 pages a day`; None without a number before it."""
    rate = _RATE.search(sentence)
    return sentence[: rate.start()] if rate and _NUMBER.search(sentence, 0, rate.start()) else None


def _before_because(sentence: str) -> str | None:
    """`She needs 3 trips` of `She needs 3 trips because each is of 12 boxes`; None without a number before it."""
    because = _BECAUSE.search(sentence)
    if because is None or "=" in sentence:
        return None
    head = sentence[: because.start()]
    return head if re.search(r"\d", head) else None


def _last_sentence(text: str) -> str:
    starts = [match.end() for match in _LAST_SENTENCE.finditer(text.rstrip())]
    return text[starts[-1] if starts else 0 :].strip()


def _without_opening(sentence: str) -> str:
    opening = _OPENING.match(sentence)
    return sentence[opening.end() if opening else 0 :]


def _reason_follows(sentence: str) -> bool:
    """True for a sentence that opens with its answer and gives the reason after it: `16 people think that 4 ...`."""
    sentence = _without_opening(sentence)
    reason = _REASON.search(sentence)
    if reason is None or _TWO_NUMBERS.search(sentence) or leading_count(sentence) is None:
        return False
    head, tail = sentence[: reason.start()], sentence[reason.end() :]
    return len(re.findall(r"\d[\d.,]*", head)) <= 1 and len(head.split()) >= 2 and re.search(r"\d", tail) is not None


def _math_answer(text: str, truncated: bool) -> str | None:
    text = _SPECIAL_TOKEN.sub("", text).rstrip()
    text = text.removesuffix("ки").strip(_BLANKS)
    if not text:
        return None
    marked = _marked_answer(text)
    if marked is not None:
        return marked.answer if marked.closed or not truncated else None
    for found in _statements(text):
        if truncated and not found.closed:
            continue
        if not found.closed and is_cut_off(found.answer):
            return None
        answer = found.answer
        if not _is_bare(answer) and not _LETTER_WITH_VALUE.fullmatch(answer):
            answer = last_formula(concluded(answer)) or ""
        if answer:
            return answer
    return None if truncated else _unmarked_answer(text)


def _unmarked_answer(text: str) -> str | None:
    if ends_in_code(text):
        return None
    if letter := _CHOSEN_LETTER.fullmatch(_last_sentence(text)):
        return letter[1]
    if not re.search(r"\d|\\|\$", text) and (word := _SAYS_A_WORD.search(_last_sentence(text))):
        return word[word.lastgroup or 0]
    if _is_bare(text) and not text.startswith(("\\begin{align}", "\\begin{align*}")):
        return None if is_cut_off(text) else without_reasons(_without_opening(text))
    tail = without_self_check(text[-TAIL_CHARS:]).rstrip()
    if is_cut_off(tail):
        return None
    sentence = _last_sentence(tail)
    if _NO_ANSWER.search(sentence):
        return None
    if (head := _before_because(sentence)) is not None:
        return last_formula(head)
    if _reason_follows(sentence):
        return leading_count(_without_opening(sentence))
    if values := _IN_WORDS.search(sentence):
        return values[0]
    if _is_background(sentence):
        return count_in(sentence, last=False)
    if (said := _SAYS_A_NUMBER.match(sentence)) and (proportion := _PROPORTION.fullmatch(said[1])):
        return f"{proportion['one']}{'/' if proportion['part'] else ':'}{proportion['other']}"
    found = last_formula(tail.removesuffix(sentence) + concluded(sentence))
    return text if found is None and len(text) <= MAX_BARE_CHARS else found


def _marked_answer(text: str) -> _Found | None:
    r"""What the last `<answer>` tag holds, or else the last of `\boxed{}`, `####` and a later statement of a value."""
    tagged = _tagged_answer(text)
    if tagged is not None:
        statements = _statements(tagged.answer)
        inner = _boxed_answer(tagged.answer)[1] or _after_hashes(tagged.answer)[1]
        answer = inner.answer if inner else statements[0].answer if statements else tagged.answer
        return _Found(answer, tagged.closed)
    box_at, boxed = _boxed_answer(text)
    hashes_at, hashed = _after_hashes(text)
    marked = boxed if box_at > hashes_at else hashed
    if marked is None:
        return None
    for found in _statements(text, marked.end):
        if "\\box" not in found.answer and _is_value(found.answer):
            return found
    if boxed is not None and marked is boxed:
        return _Found(_stated_in_words(boxed.answer), boxed.closed)
    return marked


def _stated_in_words(content: str) -> str:
    r"""460 for `\text{The answer is 460}`."""
    if "\\text" not in content and "answer" not in content:
        return content
    statements = _statements(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", content))
    return statements[0].answer if statements else content


def _is_value(text: str) -> bool:
    """True for a formula, a number with its unit, or a letter of choice: nothing that may be part of a sentence."""
    if not _is_bare(text) or is_cut_off(text):
        return False
    if MATH.fullmatch(text) or re.fullmatch(r"\(?[A-J]\)?", text):
        return True
    words = [word for word in _PROSE.findall(text) if word[0] != "\\" and word not in FUNCTIONS]
    return re.search(r"\d|\\[a-z]", text) is not None and all(parse_unit(word) is not None for word in words)


def _tagged_answer(text: str) -> _Found | None:
    lowered = text if text.islower() else text.lower()
    if len(lowered) != len(text):  # some capitals lower to two characters; offsets would be off
        lowered = text
    start = lowered.rfind("<answer>")
    if start < 0:
        return None
    end = lowered.find("</answer>", start)
    content = text[start + len("<answer>") : end if end >= 0 else None].strip()
    return _Found(content, end >= 0) if content else None


def _after_hashes(text: str) -> tuple[int, _Found | None]:
    """Position and content of the last `####` line with an answer; a Markdown heading (`#### Step 2`) holds none."""
    end = len(text)
    for _ in range(MAX_MARKS):
        at = text.rfind("####", 0, end)
        if at < 0:
            break
        line, newline, rest = text[at : at + TAIL_CHARS].lstrip("#").lstrip(" \t").partition("\n")
        line = line.removesuffix("ки").strip()
        if _HASH_VALUE.match(line) or _is_hashed_word(line, not rest.strip()):
            return at, _Found(line, bool(newline), at + 4)
        end = at
    return -1, None


def _is_hashed_word(line: str, is_last: bool) -> bool:
    """A formula or a letter after the hashes, or on the last line a word; no heading."""
    if not line or _HASH_HEADING.match(line) or line.endswith(":"):
        return False
    words = [word for word in _PROSE.findall(line) if word[0] != "\\" and word not in FUNCTIONS]
    return len(words) <= (3 if is_last or "\\text" in line else 0)


def _boxed_answer(text: str) -> tuple[int, _Found | None]:
    r"""Position and content of the last `\boxed{}`; boxes joined by commas, `and`, `or` or a few words are one answer.

    A box that is set equal to something (`\boxed{12} = 6`) is a symbol of the problem, not an answer, where the text
    states one elsewhere.
    """
    if "box" not in text:
        return -1, None
    contents: list[str] = []
    last_at = last_end = next_start = -1
    closed = True
    for match in reversed(list(_BOX.finditer(text))[-MAX_MARKS:]):
        content, end, is_closed = _box_content(text, match.end())
        if not content:
            continue
        if contents:
            between = text[end:next_start]
            if _APPROXIMATELY.fullmatch(between):  # the exact value, then its decimal
                contents[0] = content
                next_start = match.start()
                continue
            if not _joined(between):
                break
        contents.insert(0, content)
        if last_at < 0:
            last_at, last_end, closed = match.start(), end, is_closed
        next_start = match.start()
    if not contents:
        return -1, None
    return last_at, _Found(contents[-1] if _same_value(contents) else ", ".join(contents), closed, last_end)


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


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_UNBRACED = re.compile(r"[^\s$]+")


def _box_content(text: str, at: int) -> tuple[str, int, bool]:
    """Content of the braces that open at `at`, its end, and whether they close; if not, the box ends with its line."""
    if at >= len(text):
        return "", at, False
    if text[at] != "{":  # \boxed 5
        word = _UNBRACED.match(text, at)
        return (word[0].rstrip(".,"), word.end(), word.end() < len(text)) if word else ("", at, False)
    depth = 0
    for match in _BRACE.finditer(text, at):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return text[at + 1 : match.start()].strip(_BLANKS), match.end(), True
    line = text[at + 1 :].partition("\n")[0].strip(" $")
    return ("" if is_cut_off(line) else line), len(text), False


def _statements(text: str, after: int = 0) -> list[_Found]:
    """Answers after `The answer is`, similar phrases or a heading `# Answer`, last first; remarks are left out."""
    found: list[tuple[int, _Found]] = []
    lowered = text.lower()
    if "a:" in lowered:
        for match in list(_SHORT_PHRASE.finditer(text, after))[-MAX_MARKS:]:
            sentence = _sentence_from(text, match.end())
            if sentence.answer and _is_bare(sentence.answer) and not _SELF_CHECK.match(sentence.answer):
                found.append((match.end(), sentence))
    places = [place for word in _PHRASE_WORDS if (place := lowered.find(word, after)) >= 0]
    if not places:
        return [each for _, each in reversed(found)]
    if len(lowered) == len(text):  # some capitals lower to two characters
        after = max(after, min(places) - _BEFORE_PHRASE_WORD)
    for match in list(_PHRASE.finditer(text, after))[-MAX_MARKS:]:
        sentence = _sentence_from(text, match.end())
        if sentence.answer and not _SELF_CHECK.match(sentence.answer):
            found.append((match.end(), sentence))
    for match in list(_HEADING.finditer(text, after))[-MAX_MARKS:]:
        if match["hashes"] or match["stars"] or match["colon"] or match["final"]:
            section = _section_from(text, match.end())
            if section.answer:
                found.append((match.end(), section))
    found.extend(
        (match.end(), _Found(match["value"] or match["letter"], True))
        for match in list(_VALUE_FIRST.finditer(text, after))[-MAX_MARKS:]
    )
    return [each for _, each in sorted(found, key=lambda pair: -pair[0])]


def _section_from(text: str, at: int) -> _Found:
    """The value below a heading: a formula of several lines, or a line; a sentence there may state it once more."""
    section = _sentence_from(text, at)
    phrase = _PHRASE.search(section.answer)
    return _sentence_from(text, text.index(section.answer, at) + phrase.end()) if phrase else section


_STATEMENT_ENDS = (_SENTENCE_END, _EXPLANATION)


def _sentence_from(text: str, at: int) -> _Found:
    start = at
    while start < len(text) and text[start] in " \t\r\n*_" + ORNAMENTS:  # "**Final Answer:**" and a line break
        start += 1
    start += 2 if re.match(r"[->] (?=[$\\\d])", text[start : start + 4]) else 0
    rest = whole = text[start : start + TAIL_CHARS]
    formula = _LEADING_FORMULA.match(rest)  # may go over several lines, and has no sentence end inside
    is_value = formula or _LEADING_NUMBER.match(rest) or _LETTER_NOT.match(rest)
    marks = (_SENTENCE_END, _EXPLANATION, _CONDITION) if is_value else _STATEMENT_ENDS
    for mark in marks:
        end = mark.search(rest, formula.end() if formula else 0)
        rest = rest[: end.start()] if end else rest
    closed = whole[len(rest) :].strip(" .") != "" or start + TAIL_CHARS < len(text)  # "5." may become 5.25
    for remark in _REMARK.finditer(rest):
        content = remark["remark"] or ""
        if not _PART_OF_ANSWER.match(content) and parse_unit(content) is None:
            further = _FURTHER_VALUE.match(rest, remark.end())  # 3 (Tom), 4 (Jim)
            rest = rest[: remark.start()] + (rest[remark.end() :] if further else "")
            closed = True
            break
    answer = rest.strip(" *_\t\"'" + ORNAMENTS).removesuffix("ки")
    return _Found(answer if _DOTS.search(answer) else answer.rstrip(" .*"), closed)


def _is_bare(text: str) -> bool:
    """True if `text` is short and has too few words to be a sentence round its answer."""
    if len(text) > MAX_BARE_CHARS or (MATH.search(text) and not MATH.fullmatch(text)):
        return False
    if _SENTENCE_BEFORE_NUMBER.match(text) or _CJK_SENTENCE.search(text):
        return False
    words = (word for word in _PROSE.findall(text) if word not in FUNCTIONS and word not in ("pi", "mod"))
    return sum(not word.startswith("\\") for word in words) <= MAX_BARE_WORDS
