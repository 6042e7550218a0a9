r"""One spelling for the many ways to write an answer: `\dfrac12`, `½` and `\tfrac{1}{2}` all become `\frac{1}{2}`.

Only spelling changes here, never meaning: brackets, units, bases, signs and decimals stay for the module `compare` to
judge. Golds and predictions pass through the same function.
"""

from __future__ import annotations

import re
from functools import lru_cache

from erprm.grading.answers.characters import clean_characters
from erprm.grading.answers.formula import FUNCTIONS
from erprm.grading.answers.words import in_figures

# Longer answers are compared as text only: no real answer is longer, and everything below is at worst quadratic.
MAX_ANSWER_CHARS = 4000

_DOUBLED_BACKSLASH = re.compile(r"\\\\(?=[a-zA-Z!,;:{}%$()\[\]])")

_SIZES = re.compile(
    r"\\(?:[mM]?left|[mM]?right)\s*\.|\\(?:[mM]?left|[mM]?right|[bB]igg?[lrm]?|middle)(?![a-zA-Z])\s*|\\(?:displaystyle|textstyle|limits|nolimits|rm|bf|it|phantom|underline)(?![a-zA-Z])|\\(?:text)?color\s*\{\s*\w*\s*\}"
)
_THOUSANDS_SPACING = re.compile(r",\s*\\!\s*|\{\s*,\s*\}(?=\d{3})|(?<=\d)\\[,;:](?=\d{3}(?!\d))")
# The dots of 0.333... are part of the number.
_GOES_ON = re.compile(r"(?<=\.)(\d+)\s*(?:\\l?dots|\\cdots|\.\s?\.\s?\.+)")
_SPACING = re.compile(
    r"(?<!\\)\\[,;:!>\s]|\\(?:quad|qquad|enspace|thinspace|hspace\{[^{}]*\}|hfill|nobreak|allowbreak)(?![a-zA-Z])|~"
)
_TEXT_COMMAND = re.compile(
    r"\\(?:text(?:normal|bf|it|rm|sf|tt|md|up)?|mathrm|mathbf|mathit|mathsf|mathtt|mathcal|mathscr|boldsymbol|bm|mbox|hbox|operatorname\*?)(?![a-zA-Z])\s*(?=\{)"
)
_TEXT_SUBSCRIPT = re.compile(r"_\s*(?:\{\s*\\text\s*\{\s*([\w\s]*?)\s*\}\s*\}|\\text\s*\{\s*([\w\s]*?)\s*\})")
# Behind a number it is a unit: 12 \text{m}.
_ONE_LETTER_TEXT = re.compile(r"(?<![\d}] )(?<![\d}])\\text\{\s*([a-zA-Z\d])\s*\}")
_FUNCTION_NAMES = "|".join(sorted({*FUNCTIONS} - {"sqrt", "cbrt", "sgn"}, key=len, reverse=True))
_TEXT_FUNCTION = re.compile(rf"\\text\{{\s*({_FUNCTION_NAMES})\s*\}}")
_PLAIN_FUNCTION = re.compile(rf"(?<![\\a-zA-Z{{])({_FUNCTION_NAMES})(?=\s*[(\\^_\d]|\s+[a-z]\b)")
_PLAIN_NAME = re.compile(
    r"(?<![\\a-zA-Z])(pi|infinity|infty|oo|inf|sqrt|cbrt|log2|log10"
    r"|(?:alpha|beta|gamma|delta|epsilon|theta|lambda|mu|rho|sigma|tau|phi|omega)(?!\s*\}))(?![a-zA-Z\d])"
)
_PLAIN_NAMES = {
    "pi": "\\pi ",
    "infinity": "\\infty ",
    "infty": "\\infty ",
    "oo": "\\infty ",
    "inf": "\\infty ",
    "sqrt": "\\sqrt ",
    "cbrt": "\\sqrt[3] ",
    "log2": "\\log_{2} ",
    "log10": "\\log_{10} ",
}
_CONNECTIVE = re.compile(
    r"\s*(?:,\s*)?(?:\\text\s*\{\s*,?\s*(?:and|or)\s*,?\s*\}|(?<![a-zA-Z\\])(?:and|or)(?![a-z]))\s*"
)
_SYNONYM = re.compile(
    r"\\(?:dfrac|tfrac|cfrac|nicefrac|sfrac|flatfrac)(?![a-zA-Z])|\\(?:leqslant|leq|lt)(?![a-zA-Z])|\\(?:geqslant|geq|gt)(?![a-zA-Z])|\\ne(?![a-zA-Z])"
    r"|\\(?:lbrace|rbrace|lbrack|rbrack|lvert|rvert|vert|degree|Degree|cdotp|ast|rightarrow|colon|ldots|cdots|tbinom|dbinom|varnothing|div|lg|tg|ctg|arctg|bmod|lor|land|vee|wedge|backslash|smallsetminus)(?![a-zA-Z])"
)
_SYNONYMS = {
    "\\dfrac": "\\frac",
    "\\tfrac": "\\frac",
    "\\cfrac": "\\frac",
    "\\nicefrac": "\\frac",
    "\\sfrac": "\\frac",
    "\\flatfrac": "\\frac",
    "\\leqslant": "\\le ",
    "\\leq": "\\le ",
    "\\lt": "<",
    "\\geqslant": "\\ge ",
    "\\geq": "\\ge ",
    "\\gt": ">",
    "\\ne": "\\neq ",
    "\\lbrace": "\\{",
    "\\rbrace": "\\}",
    "\\lbrack": "[",
    "\\rbrack": "]",
    "\\lvert": "|",
    "\\rvert": "|",
    "\\vert": "|",
    "\\degree": "^\\circ ",
    "\\Degree": "^\\circ ",
    "\\cdotp": "\\cdot ",
    "\\ast": "\\cdot ",
    "\\rightarrow": "\\to ",
    "\\colon": ":",
    "\\ldots": "\\dots ",
    "\\cdots": "\\dots ",
    "\\tbinom": "\\binom",
    "\\dbinom": "\\binom",
    "\\varnothing": "\\emptyset ",
    "\\div": "/",
    "\\lg": "\\log_{10} ",
    "\\tg": "\\tan ",
    "\\ctg": "\\cot ",
    "\\arctg": "\\arctan ",
    "\\bmod": "\\mod ",
    "\\lor": " or ",
    "\\vee": " or ",
    "\\land": " and ",
    "\\wedge": " and ",
    "\\backslash": "\\setminus ",
    "\\smallsetminus": "\\setminus ",
}
_ASCII_OPERATORS = {
    "**": "^",
    "<=": "\\le ",
    ">=": "\\ge ",
    "!=": "\\neq ",
    "=<": "\\le ",
    "=>": "\\ge ",
    "==": "=",
    "~=": "\\approx ",
}
_ASCII_OPERATOR = re.compile(r"\*\*|<=|>=|!=|=<|=>|==|~=")
_CIRCLE = re.compile(r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ")
_PARENTHESISED_POWER = re.compile(r"\^\s*\(([^()]*)\)")
_SLOPPY_POWER = re.compile(r"\^\s*(-?\s*\d*\.\d+|-\s*\d+|\d{2,})")
_CURRENCY = re.compile(
    r"(?<![A-Za-z])(?:US|AU|HK|NZ|CA)\\?\$(?=\s*\d)|\\\$|\\pounds|\\euro|[€£¥₹₽₩₪]|(?<![A-Za-z])(?:Rs\.?|USD|EUR|GBP)\s*(?=\d)|(?<=\d)\s*(?:USD|EUR|GBP)\b"
)
_SEPARATED_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:['_]\d{3})+(?!['_\d])")
_ELLIPSIS = re.compile(r",\s*\.\.\.+|,\s*\.\s?\.\s?\.")
_EMPHASIS = re.compile(r"(\*{1,3}|_{1,2}|`{1,3})(?=\S)(.*\S)\1", re.DOTALL)
_SPACED_THOUSANDS = re.compile(r"(?<![\d.,^_/}])(\d{1,3}(?: \d{3})+)(?![\d/])")
_DOTTED_THOUSANDS = re.compile(
    r"(?<![\d.,])(\d{1,3}(?:\.\d{3}){2,})(?!\d|\.\d)|(?<![\d.,])(\d{1,3}(?:\.\d{3})+)(?=,\d+$)"
)
_MIXED_NUMBER = re.compile(r"(?<![\d.,^_}a-zA-Z])(\d{1,9})\s*\\frac\{(\d{1,9})\}\{(\d{1,9})\}")
_MIXED_WITH_SLASH = re.compile(r"(?<![\w.,^/}])(\d{1,9})\s+(\d{1,9})\s*/\s*(\d{1,9})(?![\d/])")
_MODULUS = re.compile(
    r"\(\s*(?:\\mod|\\text\s*\{\s*mod\s*\}|mod)\s*(\d+)\s*\)|\\pmod\s*\{?\s*(\d+)\s*\}?|(?:\\text\s*\{\s*mod\s*\}|(?<![a-zA-Z\\])mod)\s*(\d+)"
)
_LONE_DOLLAR = re.compile(r"(-?)\s*\$\s*(-?[\d.][^$]*)")
_LINE_BREAK_BEFORE_EQUATION = re.compile(r"\\\\\s*(?=[a-zA-Z]\s*=)")
_ORDINAL = re.compile(
    r"(?<=\d)\s*(?:\^\s*\{\s*(?:\\text\s*\{\s*)?(?:st|nd|rd|th)\s*\}?\s*\}|\\text\s*\{\s*(?:st|nd|rd|th)\s*\}|(?:st|nd|rd|th)\b)"
)
_CHOOSE = re.compile(r"\{([^{}]+)\\choose\s+([^{}]+)\}")
_REALS = re.compile(r"\\mathbb\s*(?:\{\s*R\s*\}|R(?![a-z]))|\\R(?![a-zA-Z])|\\Reals|ℝ")
_ALL_REALS = re.compile(r"(?:\\text\s*\{)?\s*all real(?:s|\s+numbers|\s+values of [a-z])?\s*\}?", re.IGNORECASE)
_NO_SOLUTION = re.compile(
    r"(?:\\text\s*\{)?\s*(?:(?:there\s+(?:is|are)\s+)?no\s+solutions?(?:\s+exists?)?|(?:the\s+)?empty\s+set)\s*\}?",
    re.IGNORECASE,
)
_ALL_REALS_EXCEPT = re.compile(
    r"(?:\\text\s*\{)?\s*all real(?:s|\s+numbers|\s+values of [a-z])?(?:\s+[a-z])?\s*,?\s*"
    r"(?:except|but|other than)(?:\s+for)?\s*\}?(.+)",
    re.IGNORECASE,
)
_TEXT_WITH_DIGITS = re.compile(r"\\text\s*\{([^{}]*\d[^{}]*)\}")
_TEXT_LIST = re.compile(r"\\text\s*\{\s*([A-Za-z](?:\s*,\s*[A-Za-z])+)\s*\}")
_ACCENT = re.compile(r"\\(vec|hat|bar|overline|mathbb)\s+([A-Za-z\d])")
_BLANKS = re.compile(r"\s+")
_LEFT_EDGE = ' \t\n\r,;:?*`"'
_RIGHT_EDGE = _LEFT_EDGE + ".\\"


def _group_end(text: str, start: int) -> int:
    """Index just after the `}` that closes the `{` at `start`; the end of `text` if it is never closed."""
    depth = 0
    for index in range(start, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index + 1
    return len(text)


def _closing_parenthesis(text: str, start: int) -> int:
    """Index of the `)` that closes the `(` at `start`, or -1."""
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if depth == 0:
            return index
    return -1


_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|\S", re.DOTALL)
_POWER_OF_COMMAND = re.compile(r"\^\s*(-?\s*)(?=\\(?:frac|binom|sqrt)(?![a-zA-Z]))")
_NEEDS_BRACES = re.compile(r"\\(frac|binom|sqrt)(?![a-zA-Z])")
_ROOT_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def _wrap_argument(text: str, at: int, pattern: re.Pattern[str] = _TOKEN) -> tuple[str, int]:
    """Braces the argument that starts at or after `at`; returns it and the index after it (`""` if there is none)."""
    while at < len(text) and text[at].isspace():
        at += 1
    if at < len(text) and text[at] == "{":
        end = _group_end(text, at)
        return text[at:end] + "}" * (end == len(text) and text[at:end].count("{") > text[at:end].count("}")), end
    match = pattern.match(text, at) or _TOKEN.match(text, at)
    if match is None:
        return "", at
    argument, end = match[0], match.end()
    if argument in (
        "\\sqrt",
        "\\frac",
        "\\binom",
    ):  # its own arguments are braced already: the scan runs from the right
        for _ in range(1 if argument == "\\sqrt" else 2):
            if end < len(text) and text[end] == "{":
                end = _group_end(text, end)
        argument = text[match.start() : end]
    return f"{{{argument}}}", end


def brace_arguments(text: str) -> str:
    r"""Writes `\frac12`, `\frac{270}7`, `\sqrt2`, `\binom52` with all their braces; `\sqrt12` is the root of 12."""
    for match in reversed(list(_NEEDS_BRACES.finditer(text))):
        name, at = match[1], match.end()
        head = f"\\{name}"
        if name == "sqrt":
            rest = text[at:].lstrip()
            if rest.startswith("[") and "]" in rest:
                index = text.index("]", at) + 1
                head, at = head + text[at:index].strip(), index
                rest = text[at:].lstrip()
            opening = at + len(text[at:]) - len(rest)
            closing = _closing_parenthesis(text, opening) if rest.startswith("(") else -1
            if closing > 0:
                text = f"{text[: match.start()]}{head}{{{text[opening + 1 : closing]}}}{text[closing + 1 :]}"
                continue
            argument, at = _wrap_argument(text, at, _ROOT_NUMBER)
            arguments = argument
        else:
            above, at = _wrap_argument(text, at)
            below, at = _wrap_argument(text, at)
            arguments = above + below
        text = f"{text[: match.start()]}{head}{arguments}{text[at:]}"
    for match in reversed(list(_POWER_OF_COMMAND.finditer(text))):  # 7^\frac{1}{2}
        argument, at = _command_argument(text, match.end())
        text = f"{text[: match.start()]}^{{{match[1].strip()}{argument}}}{text[at:]}"
    return text


def _command_argument(text: str, at: int) -> tuple[str, int]:
    r"""The `\frac{}{}`, `\binom{}{}` or `\sqrt[]{}` that starts at `at`, and the index after it."""
    name = text[at : at + 5]
    end = at + (6 if name == "\\bino" else 5)
    if name == "\\sqrt" and end < len(text) and text[end] == "[" and "]" in text[end:]:
        end = text.index("]", end) + 1
    for _ in range(1 if name == "\\sqrt" else 2):
        if end < len(text) and text[end] == "{":
            end = _group_end(text, end)
    return text[at:end], end


def _bare_subscript(match: re.Match[str]) -> str:
    r"""`v_{\text{max}}` as `v_{max}`; the base of a number (`11_{\text{two}}`) is written so as well."""
    return f"_{{{match[1] or match[2] or ''}}}"


def _improper(match: re.Match[str]) -> str:
    whole, above, below = int(match[1]), int(match[2]), int(match[3])
    if above >= below:
        return match[0]  # 2\frac{3}{2} is no mixed number
    return f"\\frac{{{whole * below + above}}}{{{below}}}"


@lru_cache(maxsize=16384)
def normalize(answer: str) -> str:
    r"""Rewrites an extracted answer into one canonical spelling.

    Delimiters (`$`, `\(`), sizes (`\left`), spacing (`\,`) and font commands go; fractions and roots get braces;
    thousands separators that cannot be mistaken (`10{,}000`, `11,\! 111`, `1 000`, `1\,000`) are closed up;
    `and`/`or` become commas; unicode, ASCII (`<=`, `**`, `sqrt`, `pi`) and doubled backslashes become LaTeX. An
    answer longer than `MAX_ANSWER_CHARS` only loses its blanks at both ends.

    Args:
        answer: what `extract_answer` returned, or a bare gold.
    """
    if len(answer) > MAX_ANSWER_CHARS:
        return answer.strip()
    text = _BLANKS.sub(" ", clean_characters(answer))
    if "\\begin" in text:
        if "\\\\begin" in text:
            text = text.replace("\\\\", "\\")
    else:
        text = _DOUBLED_BACKSLASH.sub(r"\\", _LINE_BREAK_BEFORE_EQUATION.sub(" , ", text))
    text = text.strip()
    while match := _EMPHASIS.fullmatch(text):
        text = match[2]
    if text.startswith("\\[") and text.endswith("\\]"):
        text = text[2:-2].strip()
    text = _GOES_ON.sub(r"\1\\dots ", text)
    text = _ELLIPSIS.sub(r", \\dots ", text)
    text = _SIZES.sub("", text)
    if "\\begin" not in text:
        text = text.replace("\\\\", " , ")
    text = _CURRENCY.sub(r"\\$", text)
    if match := _LONE_DOLLAR.fullmatch(text):  # no delimiter of a formula
        text = f"\\${match[1]}{match[2]}"
    text = _THOUSANDS_SPACING.sub("", text)
    text = text.replace("{,}", ",")
    text = re.sub(r"(?<!\\)(?:\$|\\\(|\\\))", "", text)
    if "\\begin" not in text:
        text = re.sub(r"\\\[|\\\]", "", text)
    text = _SPACING.sub(" ", text)
    text = text.replace("\\%", "%")
    text = _SYNONYM.sub(lambda match: _SYNONYMS[match[0]], text)
    text = _TEXT_COMMAND.sub(r"\\text", text)
    text = _TEXT_SUBSCRIPT.sub(_bare_subscript, text)
    text = _TEXT_FUNCTION.sub(r"\\\1 ", text)
    text = _ORDINAL.sub("", text)
    text = _TEXT_WITH_DIGITS.sub(r"\1", text)
    text = _TEXT_LIST.sub(r"\1", text)
    text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
    text = _REALS.sub(r"(-\\infty,\\infty)", text)
    text = _ACCENT.sub(r"\\\1{\2}", text)
    text = _ONE_LETTER_TEXT.sub(r" \1 ", text)
    text = in_figures(_CIRCLE.sub(r"^\\circ", text).strip(_LEFT_EDGE))
    text = _CONNECTIVE.sub(" , ", text)
    text = _MODULUS.sub(lambda match: f" \\mod {match[1] or match[2] or match[3]}", text)
    text = _ASCII_OPERATOR.sub(lambda match: _ASCII_OPERATORS[match[0]], text)
    text = _PLAIN_NAME.sub(lambda match: _PLAIN_NAMES.get(match[0], f"\\{match[0]} "), text)
    text = _PLAIN_FUNCTION.sub(r"\\\1", text)
    text = _PARENTHESISED_POWER.sub(r"^{\1}", text)
    text = _SLOPPY_POWER.sub(r"^{\1}", text)
    text = text.replace("*", " \\cdot ")
    text = unify(brace_arguments(text))
    text = _BLANKS.sub(" ", text).lstrip(_LEFT_EDGE).rstrip(_RIGHT_EDGE)
    text = _MIXED_NUMBER.sub(_improper, text)
    text = _SPACED_THOUSANDS.sub(lambda match: match[1].replace(" ", ""), text)
    text = _MIXED_WITH_SLASH.sub(_improper, text)
    text = _SEPARATED_THOUSANDS.sub(lambda match: re.sub("['_]", "", match[0]), text)
    text = _DOTTED_THOUSANDS.sub(lambda match: match[0].replace(".", ""), text)
    if _ALL_REALS.fullmatch(text):
        return "(-\\infty,\\infty)"
    if match := _ALL_REALS_EXCEPT.fullmatch(text):
        removed = re.sub(r"[a-zA-Z]\s*=\s*|\\[{}]|\\text|(?<!\d)[{}]", "", match[1]).strip()
        return f"(-\\infty,\\infty) \\setminus \\{{{removed}\\}}"
    if _NO_SOLUTION.fullmatch(text):
        return "\\emptyset"
    return text


# Functions and brackets with several notations: cis, {}_5C_2, ]1, 2[, <1, 2>, U

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
