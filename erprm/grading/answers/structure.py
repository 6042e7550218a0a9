"""The outer structure of an answer: lists, tuples, sets, intervals, unions, matrices, relations."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from erprm.grading.answers.intervals import answer_of, combine, intersect, interval, real_intervals, without
from erprm.grading.answers.numeric import THOUSANDS
from erprm.grading.answers.tree import Answer, Expression, Labelled, Matrix, Relation, Sequence, Union

MAX_DEPTH = 12


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
_ORDER = frozenset(("<", ">", "\\le", "\\ge"))
_SETMINUS = frozenset(("\\setminus",))
_RELATIONS = frozenset(("=", "<", ">", "\\le", "\\ge", "\\neq", "\\approx", "\\in", "\\equiv"))
_ENVIRONMENT = re.compile(
    r"[(\[]?\s*\\begin\{(?P<name>[pbB]?matrix|smallmatrix|array|d?cases|aligned|align\*?|gathered|split)\}"
    r"(?:\{[clr| ]*\})?"
    r"(?P<body>(?:(?!\\end\{).)*)\\end\{(?P=name)\}\s*[)\]]?"
    r"(?P<transposed>\s*\^\s*\{?\s*(?:T|\\top)\s*\}?)?",
    re.DOTALL,
)
_NUMBER_WITH_COMMAS = re.compile(rf"[-+]?\s*(?:\\\$\s*)?-?{THOUSANDS}(?:\.\d+)?(?!\d)[^,]*")
THOUSANDS_ONLY = re.compile(rf"[-+]?{THOUSANDS}")
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_FUNCTION_ARGUMENT = re.compile(r"\([^()]*\)")
_SUBSCRIPT = re.compile(r"_\s*(?:\{[^{}]*\}|\\?\w)")
_INVERSE = re.compile(r"\^\s*\{\s*-\s*1\s*\}|'")
_NO_NAME = re.compile(r"\b(?:for|if|when|unless|not|no|never|impossible|undefined|except|without|than|least|most)\b")
_LABEL = re.compile(r"[a-zA-Z\s\\|:{}^]+")
_NAME = re.compile(r"[a-zA-Z](?:_\{?\w+\}?)?(?:\([a-z]\))?")
_SET_BUILDER = re.compile(r"[a-zA-Z]\s*(?:\\in\s*[^|:]+)?(?:\||:|\\mid)(?P<condition>.+)", re.DOTALL)
_TRANSPOSED = re.compile(r"(?P<row>[\[(].*[\])])\s*\^\s*\{?\s*(?:T|\\top)\s*\}?", re.DOTALL)
_MAGNITUDE = re.compile(r"\|\s*[a-zA-Z]\s*\|")
_NOT_EQUAL_TO_SEVERAL = re.compile(r"(?P<name>[a-zA-Z])\s*\\neq\s*[^,=<>\\a-zA-Z]+(?:,[^,=<>\\a-zA-Z]+)+")
_LINE_MINUS_SET = re.compile(r"(\(-\\infty\s*,\s*\\infty\s*\))\s*-\s*(?=\\\{)")
_CELL_EDGE = re.compile(r"^\s*(?:\\text\s*\{\s*(?:if|for|when)\s*\}|(?:if|for|when)\b)|[\s,;.]+$")
_TEXT_PART = re.compile(r"\\text\s*\{([^{}]*)\}")


def is_label(text: str) -> bool:
    r"""True for what can only name a value: `x`, `x_1`, `f(2)`, `f^{-1}(x)`, `AB`, `V_1:V_2`, `\frac{NO}{BO}`."""
    bare = _FUNCTION_ARGUMENT.sub("", _INVERSE.sub("", _SUBSCRIPT.sub("", _TEXT_PART.sub(r"\1", text)))).strip()
    return (
        bool(bare)
        and _LABEL.fullmatch(bare) is not None
        and _NO_NAME.search(bare) is None
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
    if match := _NOT_EQUAL_TO_SEVERAL.fullmatch(text):  # x \neq 1, 2
        text = text.replace(",", f", {match['name']} \\neq ")
    alternatives, _ = split_top(text, _CUP)
    if len(alternatives) > 1 and all(split_top(part, _ORDER)[1] for part in alternatives):  # x < 1 \cup x > 2
        text = ",".join(alternatives)
    items = _items(text, depth)
    if not items:
        return None
    return _one_condition(items, text) or Sequence(items, "", text)


def _one_condition(items: tuple[Answer, ...], text: str) -> Answer | None:
    """`x > 3, x < 5` as one interval, `x < 1, x > 2` as a union: conditions with numeric ends on one name."""
    labels = {item.label.strip() for item in items if isinstance(item, Labelled)}
    sets = [real_intervals(item.value) for item in items if isinstance(item, Labelled)]
    known = [parts for parts in sets if parts is not None]
    if len(labels) != 1 or len(known) != len(items):
        return None
    return Labelled(labels.pop(), answer_of(combine(known)), text)


def _parse_relation(text: str, depth: int) -> Answer | None:
    sides, operators = split_top(text, _RELATIONS)
    sides = [side.strip() for side in sides]
    while (
        operators and operators[-1] == "\\approx" and len(operators) > 1
    ):  # x = 1/3 \approx 0.33: the exact value counts
        sides, operators = sides[:-1], operators[:-1]
    if not operators:
        return None
    if operators == ["\\equiv"] and is_label(sides[0]):
        return Labelled(sides[0], parse_answer(sides[1], depth + 1), text)
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
_MIRRORED = {"(": ")", "[": "]", ")": "(", "]": "["}
FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


def _interval_of(sides: list[str], operators: list[str], text: str) -> Answer | None:
    r"""`0 < x \le 1` as `x \in (0, 1]`, `x > 3` as `x \in (3, \infty)`, `x \neq 3` as two intervals."""
    if operators == ["\\neq"] and is_label(sides[0]):
        parts = (interval("(", "-\\infty", sides[1], ")"), interval("(", sides[1], "\\infty", ")"))
        return Labelled(sides[0], Union(parts), text)
    if all(operator in (">", "\\ge") for operator in operators):
        sides, operators = sides[::-1], [FLIPPED[operator] for operator in reversed(operators)]
    if not all(operator in _OPEN_LEFT for operator in operators):
        return None
    if magnitude := _magnitude_of(sides, operators, text):
        return magnitude
    if len(sides) == 2 and is_label(sides[0]) and not is_label(sides[1]):
        return Labelled(sides[0], interval("(", "-\\infty", sides[1], _OPEN_RIGHT[operators[0]]), text)
    if len(sides) == 2 and is_label(sides[1]) and not is_label(sides[0]):
        return Labelled(sides[1], interval(_OPEN_LEFT[operators[0]], sides[0], "\\infty", ")"), text)
    if len(sides) == 3 and is_label(sides[1]) and "|" not in sides[1]:
        between = interval(_OPEN_LEFT[operators[0]], sides[0], sides[2], _OPEN_RIGHT[operators[1]])
        return Labelled(sides[1], between, text)
    return None


def _magnitude_of(sides: list[str], operators: list[str], text: str) -> Answer | None:
    r"""`|x| < 2` as `x \in (-2, 2)`, `1 \le |x|` and `1 \le |x| \le 2` as two intervals."""
    place = next((index for index, side in enumerate(sides) if _MAGNITUDE.fullmatch(side)), None)
    if place is None or len(sides) > 3 or (len(sides) == 3 and place != 1):
        return None
    name = sides[place].strip("| ")
    low = sides[place - 1] if place else None
    high = sides[place + 1] if place + 1 < len(sides) else None
    if high is not None and low is None:
        value: Answer = interval(_MIRRORED[_OPEN_RIGHT[operators[0]]], _negated(high), high, _OPEN_RIGHT[operators[0]])
    else:
        assert low is not None
        opener = _OPEN_LEFT[operators[0]]
        outer = (high, _OPEN_RIGHT[operators[1]]) if high is not None else ("\\infty", ")")
        right = interval(opener, low, *outer)
        left = interval(_MIRRORED[outer[1]], _negated(outer[0]), _negated(low), _MIRRORED[opener])
        value = Union((left, right))
    return Labelled(name, value, text)


def _negated(text: str) -> str:
    return f"-({text})" if re.search(r"[+-]", text) else f"-{text}"


def _parse_union(text: str, depth: int) -> Answer | None:
    parts, cups = split_top(text, _CUP)
    if not cups:
        return _parse_difference(text, depth)
    union = Union(tuple(parse_answer(part, depth + 1) for part in parts))
    joined = real_intervals(union)
    if joined is not None and len(joined) < len(parts):  # [1,2] \cup [2,3]
        return answer_of(joined)
    return union


def _parse_difference(text: str, depth: int) -> Answer | None:
    r"""`\mathbb{R} \setminus \{3\}`: an interval or union without some numbers."""
    text = _LINE_MINUS_SET.sub(r"\1 \\setminus ", text)
    sides, signs = split_top(text, _SETMINUS)
    if len(signs) != 1:
        return None
    whole, removed = (real_intervals(parse_answer(side, depth + 1)) for side in sides)
    if whole is None or removed is None or any(part.low != part.high for part in removed):
        return None
    points = [part.low for part in removed if isinstance(part.low, Fraction)]
    return answer_of(intersect(whole, without(points)))


def _parse_bracketed(text: str, depth: int) -> Answer:
    if match := _ENVIRONMENT.fullmatch(text):
        return _parse_environment(match, depth) or Expression(text)
    if match := _TRANSPOSED.fullmatch(text):
        row = parse_answer(match["row"], depth + 1)
        if isinstance(row, Sequence):
            return Matrix(tuple((item,) for item in row.items))
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


def _parse_environment(match: re.Match[str], depth: int) -> Answer | None:
    """A matrix, or the list of the equations in `cases`, `aligned` and the like."""
    rows = [row.strip() for row in split_top(match["body"].replace("\\hline", ""), _ROW)[0]]
    texts = [[_CELL_EDGE.sub("", cell) for cell in split_top(row, _CELL)[0]] for row in rows if row]
    if "matrix" not in match["name"] and texts and all(map(_is_equation, texts)):
        return parse_answer(" , ".join(" ".join(row) for row in texts), depth + 1)
    cells = tuple(tuple(parse_answer(cell, depth + 1) for cell in row) for row in texts)
    if not cells or len({len(row) for row in cells}) != 1:
        return None
    return Matrix(tuple(zip(*cells, strict=True)) if match["transposed"] else cells)


def _is_equation(cells: list[str]) -> bool:
    """`x = 1`, or `x &= 1`; `x & x > 0` is a value and its condition."""
    return bool(split_top(cells[0], _RELATIONS)[1]) or bool(
        len(cells) == 2 and not split_top(cells[1], _RELATIONS)[0][0].strip()
    )
