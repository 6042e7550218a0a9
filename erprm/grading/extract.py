r"""The final answer of a solution.

What counts as the answer, from the surest mark to the weakest:

1. the last `<answer>...</answer>`;
2. the later of the last `\boxed{...}` and the last GSM8K line `#### ...`, unless a later line states another value;
3. the last statement such as `The answer is: ...`, `... is our answer`, or what follows a heading `# Answer`;
4. the whole text, if it is short enough to be a bare answer;
5. the last piece of mathematics, whole, or the last number after it.

`marks.py` reads 1 to 3, `last_sentence.py` 4 and 5. What a model writes after its solution (the next `Question:`,
another turn of a chat) is left out first. Every pattern takes time linear in the text: a megabyte of blanks or 50,000
open braces is no special case.
"""

from __future__ import annotations

import re
from typing import Literal

from erprm.grading.answers.characters import BLANKS, clean_characters
from erprm.grading.answers.counts import CALCULATOR, count_in
from erprm.grading.bare import is_bare
from erprm.grading.conclusion import concluded
from erprm.grading.last_formula import TAIL_CHARS, is_cut_off, last_formula, without_code
from erprm.grading.last_sentence import unmarked_answer, unmarked_count
from erprm.grading.marks import MAX_MARKS, hashed_answer, marked_answer, statements

Kind = Literal["auto", "gsm8k", "math"]
KINDS: tuple[Kind, ...] = ("auto", "gsm8k", "math")

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
    r"(?:(?:(?:Next |New |Your )?(?:Question|Problem|Exercise|Example|Task)[ \t]{0,3}\d*|Q\d{0,2}"
    r"|题目|问题|问)"
    r"[ \t]{0,3}(?:\*\*)?[ \t]{0,3}(?:[:：.](?!\d)|(?P<weak>$))|(?P<turn>(?:user|human)$|\[(?:question|problem)\]))",
    re.MULTILINE | re.IGNORECASE,
)
_LETTER_WITH_VALUE = re.compile(r"\(?[A-J][).:]\s*\$[^$]+\$")


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
    hashed = hashed_answer(gold)
    return hashed is not None and count_in(hashed.answer, last=False, stated=True) is not None


def _first_solution(text: str) -> str:
    """The text without the prompt before it, and without further turns or questions that the model wrote after it."""
    head = text.lstrip()
    if head.startswith(("<", "[")) and _END_OF_TURN.match(head) and (assistant := _ASSISTANT.search(text)):
        text = text[assistant.end() :]
    leading = _LEADING_TOKENS.match(text)
    if turn := _END_OF_TURN.search(text, leading.end() if leading else 0):
        text = text[: turn.start()]
    for match in list(_NEXT_QUESTION.finditer(text))[:MAX_MARKS]:
        before = text[: match.start()]
        if marked_answer(before) or statements(before[-TAIL_CHARS:]):
            return before
        if match.lastgroup:  # a heading of the solution itself, unless an answer stands before
            continue
        if before.endswith("\n\n") and re.search(r"\d|\$|\\", before):
            return before
    return text


def _gsm8k_answer(text: str, truncated: bool) -> str | None:
    text = clean_characters(text)
    marked = marked_answer(text)
    if marked is not None:
        return None if truncated and not marked.closed else count_in(marked.answer, last=False, stated=True)
    for found in statements(text):
        if truncated and not found.closed:
            continue
        number = count_in(found.answer, last=not is_bare(found.answer), stated=True)
        if number is not None or is_cut_off(found.answer) or re.search(r"\d", found.answer):
            return number
    return None if truncated else unmarked_count(CALCULATOR.sub("", text[-TAIL_CHARS:]))


def _math_answer(text: str, truncated: bool) -> str | None:
    text = _SPECIAL_TOKEN.sub("", text).rstrip()
    text = text.removesuffix("ки").strip(BLANKS)
    if not text:
        return None
    marked = marked_answer(text)
    if marked is not None:
        return None if truncated and not marked.closed else marked.answer
    for found in statements(text):
        if truncated and not found.closed:
            continue
        if not found.closed and is_cut_off(found.answer):
            return None
        answer = found.answer
        if not is_bare(answer) and not _LETTER_WITH_VALUE.fullmatch(answer):
            answer = last_formula(concluded(answer)) or ""
        if answer:
            return answer
    return None if truncated else unmarked_answer(text)
