"""The outer structure of an answer: lists, tuples, sets, intervals, unions, matrices, relations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from erprm.grading.numeric import THOUSANDS

MAX_DEPTH = 12


@dataclass(frozen=True)
class Expression:
    """Anything without outer structure: a number, a formula, a quantity with its unit, a word."""

    text: str


@dataclass(frozen=True)
class Sequence:
    """Items between brackets.

    Attributes:
        items: the parsed items.
        brackets: `"()"`, `"[]"`, `"(]"`, `"[)"` (a tuple or an interval), `"{}"` (a set), `"<>"` (a vector) or `""` (a
            bare list).
        inner: the text between the brackets.
    """

    items: tuple[Answer, ...]
    brackets: str
    inner: str


@dataclass(frozen=True)
class Union:
    """A union of intervals and sets."""

    parts: tuple[Answer, ...]


@dataclass(frozen=True)
class Matrix:
    r"""Rows of cells; `\begin{pmatrix}` and its relatives."""

    rows: tuple[tuple[Answer, ...], ...]


@dataclass(frozen=True)
class Labelled:
    r"""`x = 5`, `f(x) = 2x`, `x \in [0, 1]`: a name and its value."""

    label: str
    value: Answer
    text: str


@dataclass(frozen=True)
class Relation:
    r"""A chain such as `a < b < c` or an equation without a plain name on its left.

    Attributes:
        sides: the texts between the operators.
        operators: among `=`, `<`, `>`, `\le`, `\ge`, `\neq`.
    """

    sides: tuple[str, ...]
    operators: tuple[str, ...]
    text: str


Answer = Expression | Sequence | Union | Matrix | Labelled | Relation

_TOKEN = re.compile(r"\\begin\s*\{|\\end\s*\{|\\langle|\\rangle|\\[a-zA-Z]+|\\.|\s+|.", re.DOTALL)
_OPENERS = frozenset(("(", "[", "{", "\\{", "\\begin{", "\\langle", "\\lfloor", "\\lceil"))
_CLOSERS = frozenset((")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil"))


def split_top(text: str, separators: frozenset[str]) -> tuple[list[str], list[str]]:
    """Splits at separators outside all brackets and environments; returns the parts and the separators found."""
    parts, found, current, depth = [], [], "", 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        compact = token.replace(" ", "")
        if compact in _OPENERS:
            depth += 1 + (compact == "\\begin{")  # the brace of \begin{name} closes at once, the environment later
        elif compact == "\\end{":
            pass  # its closing brace brings the depth of the environment back
        elif compact in _CLOSERS:
            depth = max(0, depth - 1)
        if depth == 0 and compact in separators:
            parts.append(current)
            found.append(compact)
            current = ""
        else:
            current += token
    return [*parts, current], found


_COMMA = frozenset((",",))
_SEMICOLON = frozenset((";",))
_CUP = frozenset(("\\cup",))
_RELATIONS = frozenset(("=", "<", ">", "\\le", "\\ge", "\\neq", "\\approx", "\\in", "\\equiv"))
_MATRIX = re.compile(
    r"[(\[]?\s*\\begin\{(?P<name>[pbBvV]?matrix|smallmatrix|array)\}(?:\{[clr| ]*\})?"
    r"(?P<body>(?:(?!\\end\{).)*)\\end\{(?P=name)\}\s*[)\]]?",
    re.DOTALL,
)
_NUMBER_WITH_COMMAS = re.compile(rf"[-+]?\s*(?:\\\$\s*)?-?{THOUSANDS}(?:\.\d+)?(?!\d)[^,]*")
THOUSANDS_ONLY = re.compile(rf"[-+]?{THOUSANDS}")
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_FUNCTION_ARGUMENT = re.compile(r"\([^()]*\)")
_SUBSCRIPT = re.compile(r"_\s*(?:\{[^{}]*\}|\\?\w)")
_INVERSE = re.compile(r"\^\s*\{\s*-\s*1\s*\}|'")
_LABEL = re.compile(r"[a-zA-Z\s\\|:{}^]+")
_NAME = re.compile(r"[a-zA-Z](?:_\{?\w+\}?)?(?:\([a-z]\))?")
_SET_BUILDER = re.compile(r"[a-zA-Z]\s*(?:\\in\s*[^|:]+)?(?:\||:|\\mid)(?P<condition>.+)", re.DOTALL)
_TEXT_PART = re.compile(r"\\text\s*\{([^{}]*)\}")


def is_label(text: str) -> bool:
    r"""True for what can only name a value: `x`, `x_1`, `f(2)`, `f^{-1}(x)`, `AB`, `V_1:V_2`, `\frac{NO}{BO}`."""
    bare = _FUNCTION_ARGUMENT.sub("", _INVERSE.sub("", _SUBSCRIPT.sub("", _TEXT_PART.sub(r"\1", text)))).strip()
    return (
        bool(bare)
        and _LABEL.fullmatch(bare) is not None
        and not re.search(r"\\(?:pm|mp|cdot|times|infty|sqrt)\b", bare)
    )


def _is_wrapped(text: str, opener: str, closers: tuple[str, ...]) -> str | None:
    """The closing bracket, if `text` starts with `opener` and that bracket closes at the very end."""
    if not text.startswith(opener):
        return None
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[0].replace(" ", "")
        if token in _OPENERS:
            depth += 1 + (token == "\\begin{")
        elif token in _CLOSERS:
            depth -= 1
            if depth <= 0:
                return token if match.end() == len(text) and token in closers else None
    return None


_BRACKETS = (
    ("(", (")", "]")),
    ("[", ("]", ")")),
    ("\\{", ("\\}",)),
    ("\\langle", ("\\rangle",)),
    ("{", ("}",)),
)
_BRACKET_NAMES = {"\\{": "{", "\\}": "}", "\\langle": "<", "\\rangle": ">"}


@lru_cache(maxsize=16384)
def parse_answer(text: str, depth: int = 0) -> Answer:
    """Parses a normalised answer into its outer structure; never fails: what has none is an `Expression`."""
    text = text.strip()
    if depth > MAX_DEPTH or not text:
        return Expression(text)
    if text[0] == "]" and text[-1] == "[" and "," in text:  # ]a, b[
        text = f"({text[1:-1]})"
    return (
        _parse_list(text, depth)
        or _parse_relation(text, depth)
        or _parse_union(text, depth)
        or _parse_bracketed(text, depth)
    )


def _items(text: str, depth: int) -> tuple[Answer, ...] | None:
    r"""The items of `a; b`, or else of `a, b`; items with `\pm` count twice. None if there is only one."""
    if ", " in text or ";" in text:  # then a comma between digits is no separator: 1,000, 2,000
        text = _THOUSANDS_COMMA.sub("", text)
    parts, _ = split_top(text, _SEMICOLON)
    if len(parts) == 1:
        parts, _ = split_top(text, _COMMA)
    parts = [part.strip() for part in parts if part.strip()]
    expanded = [variant for part in parts for variant in _plus_minus(part)]
    if len(expanded) < 2:
        return None
    return tuple(parse_answer(part, depth + 1) for part in expanded)


def parse_items(text: str) -> tuple[Answer, ...]:
    """The items of a bare list, every comma taken as a separator."""
    return tuple(parse_answer(part) for part in split_top(text, _COMMA)[0])


def _plus_minus(text: str) -> tuple[str, ...]:
    if ("\\pm" not in text and "\\mp" not in text) or text.startswith("\\{"):  # inside a set, each item for itself
        return (text,)
    upper = re.sub(r"\\mp\s*", "-", re.sub(r"\\pm\s*", "+", text))
    lower = re.sub(r"\\mp\s*", "+", re.sub(r"\\pm\s*", "-", text))
    return (re.sub(r"(^|[=,(\[{])\s*\+", r"\1", upper), lower)


def _parse_list(text: str, depth: int) -> Answer | None:
    if _NUMBER_WITH_COMMAS.fullmatch(text):
        return None
    items = _items(text, depth)
    return Sequence(items, "", text) if items else None


def _parse_relation(text: str, depth: int) -> Answer | None:
    sides, operators = split_top(text, _RELATIONS)
    sides = [side.strip() for side in sides]
    while (
        operators and operators[-1] == "\\approx" and len(operators) > 1
    ):  # x = 1/3 \approx 0.33: the exact value counts
        sides, operators = sides[:-1], operators[:-1]
    if not operators:
        return None
    if set(operators) <= {"=", "\\approx"}:
        operators = ["="] * len(operators)
        if not sides[-1]:  # "16 - 3 ="
            return None
        if not sides[0]:  # "= 42"
            return parse_answer(sides[-1], depth + 1)
        if is_label(sides[0]):
            return Labelled(sides[0], parse_answer(sides[-1], depth + 1), text)
        if len(sides) > 2 and is_label(sides[-2]):
            return Labelled(sides[-2], parse_answer(sides[-1], depth + 1), text)
        if len(sides) == 2 and _NAME.fullmatch(sides[1]):  # 2x + 1 = y
            return Labelled(sides[1], parse_answer(sides[0], depth + 1), text)
        if "\\approx" in text and _is_value(sides[0]):
            return parse_answer(sides[0], depth + 1)
        return Relation(tuple(sides), tuple(operators), text)
    if operators == ["\\in"]:
        return Labelled(sides[0], parse_answer(sides[1], depth + 1), text)
    if "\\in" in operators:
        return Expression(text)
    return _interval_of(sides, operators, text) or Relation(tuple(sides), tuple(operators), text)


def _is_value(text: str) -> bool:
    """True if `text` has no free letters outside of commands, so that it can stand for a value."""
    return re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", text)) is None


_OPEN_LEFT = {"<": "(", "\\le": "["}
_OPEN_RIGHT = {"<": ")", "\\le": "]"}
_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


def _interval_of(sides: list[str], operators: list[str], text: str) -> Answer | None:
    r"""`0 < x \le 1` as `x \in (0, 1]`, `x > 3` as `x \in (3, \infty)`, `x \neq 3` as two intervals."""
    if operators == ["\\neq"] and is_label(sides[0]):
        parts = (_interval("(", "-\\infty", sides[1], ")"), _interval("(", sides[1], "\\infty", ")"))
        return Labelled(sides[0], Union(parts), text)
    if all(operator in (">", "\\ge") for operator in operators):
        sides, operators = sides[::-1], [_FLIPPED[operator] for operator in reversed(operators)]
    if not all(operator in _OPEN_LEFT for operator in operators):
        return None
    if len(sides) == 2 and is_label(sides[0]) and not is_label(sides[1]):
        return Labelled(sides[0], _interval("(", "-\\infty", sides[1], _OPEN_RIGHT[operators[0]]), text)
    if len(sides) == 2 and is_label(sides[1]) and not is_label(sides[0]):
        return Labelled(sides[1], _interval(_OPEN_LEFT[operators[0]], sides[0], "\\infty", ")"), text)
    if len(sides) == 3 and is_label(sides[1]) and "|" not in sides[1]:
        interval = _interval(_OPEN_LEFT[operators[0]], sides[0], sides[2], _OPEN_RIGHT[operators[1]])
        return Labelled(sides[1], interval, text)
    return None


def _interval(opener: str, start: str, end: str, closer: str) -> Sequence:
    return Sequence((Expression(start), Expression(end)), opener + closer, f"{start},{end}")


def _parse_union(text: str, depth: int) -> Answer | None:
    parts, cups = split_top(text, _CUP)
    if not cups:
        return None
    return Union(tuple(parse_answer(part, depth + 1) for part in parts))


def _parse_bracketed(text: str, depth: int) -> Answer:
    if match := _MATRIX.fullmatch(text):
        return _parse_matrix(match["body"], depth) or Expression(text)
    for opener, closers in _BRACKETS:
        closer = _is_wrapped(text, opener, closers)
        if closer is None:
            continue
        inner = text[len(opener) : -len(closer)].strip()
        brackets = _BRACKET_NAMES.get(opener, opener) + _BRACKET_NAMES.get(closer, closer)
        if opener == "{":  # LaTeX grouping, not a set
            return parse_answer(inner, depth + 1)
        if brackets == "{}" and (match := _SET_BUILDER.fullmatch(inner)):
            return parse_answer(match["condition"], depth + 1)
        items = _items(inner, depth)
        if items:
            return Sequence(items, brackets, inner)
        if brackets == "()":
            return Expression(text) if re.fullmatch(r"[A-Za-z]", inner) else parse_answer(inner, depth + 1)
        return Sequence((parse_answer(inner, depth + 1),) if inner else (), brackets, inner)
    return Expression(text)


_ROW = frozenset(("\\\\",))
_CELL = frozenset(("&",))


def _parse_matrix(body: str, depth: int) -> Matrix | None:
    rows = [row.strip() for row in split_top(body.replace("\\hline", ""), _ROW)[0]]
    cells = tuple(tuple(parse_answer(cell, depth + 1) for cell in split_top(row, _CELL)[0]) for row in rows if row)
    return Matrix(cells) if cells and len({len(row) for row in cells}) == 1 else None
