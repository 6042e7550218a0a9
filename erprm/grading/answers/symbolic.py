"""Algebra on formulas through math-verify's LaTeX parser and sympy. Imported only inside a grading worker.

Text reaches sympy through math-verify's ANTLR grammar alone, which builds objects; but it hands number tokens to
`sympy.Number`, which (sympy 1.14) passes every string to Python's `eval`. On import of this module that last step is
replaced by one that reads a number or a name and refuses everything else.
"""

from __future__ import annotations

import itertools
import random
import re
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import Any

import sympy
import sympy.physics.units  # its import parses unit names, which must happen before the parser is restricted
from latex2sympy2_extended import latex2sympy
from math_verify import verify
from sympy.parsing import sympy_parser

from erprm.grading.answers.exact import NotExactError, exact_value
from erprm.grading.answers.formula import (
    Formula,
    NoValueError,
    UnreadableError,
    difference,
    letters_of,
    number,
    read_formula,
    with_case_of,
)
from erprm.grading.answers.numeric import (
    MIN_DIGITS_ROUNDED_GOLD,
    MIN_DIGITS_ROUNDED_PREDICTION,
    Number,
    is_rounded,
    numbers_equal,
    parse_number,
)
from erprm.grading.answers.numerical import (
    RefusedError,
    UnknownError,
    constant_ratio,
    equal_constants,
    equal_functions,
    real_value,
)
from erprm.grading.answers.structure import FLIPPED, split_top

DIGITS = 60
# Two formulas with letters are compared at this many points, positive ones first.
POINTS = 8
MIN_POINTS = 3


_NUMBER_CODE = re.compile(r"(?:Integer|Float)\s*\(\s*'?(?P<number>\d+(?:\.\d*)?|\.\d+)'?\s*\)")
_SYMBOL_CODE = re.compile(r"Symbol\s*\(\s*'(?P<name>[A-Za-z_]\w*)'\s*\)")


def _read_without_eval(code: str, *_: Any) -> sympy.Expr:
    """Stands in for `sympy_parser.eval_expr`, which calls `eval`: reads one number or symbol, refuses all else."""
    if match := _NUMBER_CODE.fullmatch(code.strip()):
        return sympy.Rational(Fraction(match["number"]))
    if match := _SYMBOL_CODE.fullmatch(code.strip()):
        return sympy.Symbol(match["name"])
    raise PermissionError(f"grading never evaluates text as Python: {code[:80]!r}")


sympy_parser.eval_expr = _read_without_eval

# latex2sympy2_extended 1.11 takes every product of a whole number and a rational for a mixed number: 2(14) for 2 +
# 14. Mixed numbers are settled in `normalize`, so here all such products get their dot; an index or a power before a
# bracket is no factor.
_BARE_PRODUCT = re.compile(r"(?P<index>[_^]?)(?P<left>\d+|\))\s*(?=\(|\\frac|(?<=\))\d)")
_DECIMAL = re.compile(r"(?<![\d.])(\d*)\.(\d+)(?![\d.])")
_DEGREES = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?|[a-z]|\\[a-z]+|\([^()]*\))\s*\^\\circ")
# Two numbers side by side are no product (the grammar adds them); after a power or an index they are one.
_NUMBERS_IN_A_ROW = re.compile(r"(?<![\w^_{.])\d+(?:\.\d+)?\s+\d")
_ODD_ROOT_OF_NEGATIVE = re.compile(r"\\sqrt\s*\[\s*(\d*[13579])\s*\]\s*\{\s*-\s*([^{}+-]+)\}")
_COEFFICIENT = re.compile(r"(?<![\w.}])(\d+)\s*/\s*(\d+)\s*(?=[a-zA-Z(]|\\(?:pi|sqrt|sin|cos|tan|ln|log)\b)")
_LOG_WITHOUT_BASE = re.compile(r"\\log(?!\s*_)")
_SMALL = re.compile(r"(?<![\\a-zA-Z])[a-z](?![a-zA-Z])")
_CAPITAL = re.compile(r"(?<![\\a-zA-Z])[A-Z](?![a-zA-Z(])")
_IMAGINARY = sympy.Symbol("i")
_COMPLEX = re.compile(r"(?<![\\a-zA-Z])i(?![a-zA-Z])|\\imath")


def _exact_decimals(latex: str) -> str:
    r"""`2.5x` as `\frac{25}{10}x`, so that no decimal is ever rounded."""
    return _DECIMAL.sub(lambda match: f"\\frac{{{int(match[1] + match[2])}}}{{{10 ** len(match[2])}}}", latex)


@lru_cache(maxsize=2048)
def _parse(latex: str, real: bool) -> Any:
    if _NUMBERS_IN_A_ROW.search(latex):
        raise ValueError(f"two numbers side by side: {latex!r}")
    latex = _ODD_ROOT_OF_NEGATIVE.sub(r"(-\\sqrt[\1]{\2})", latex)
    latex = _exact_decimals(_DEGREES.sub(r"(\\frac{\1 \\pi}{180})", latex))
    latex = _BARE_PRODUCT.sub(lambda match: match[0] if match["index"] else f"{match['left']} \\cdot ", latex)
    return latex2sympy(latex, is_real=True if real else None, normalization_config=None)


def _parse_pair(gold: str, prediction: str) -> tuple[Any, ...] | None:
    """The two parsed, `i` as the imaginary unit; None if the grammar cannot read one of them."""
    real = not (_COMPLEX.search(gold) or _COMPLEX.search(prediction))
    if gold + prediction != (gold + prediction).lower():
        gold, prediction = _keep_capitals(gold, prediction)
    try:
        pair = _parse(gold, real), _parse(prediction, real)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the parser's own errors are bare Exceptions
        return None
    if real:
        return pair
    return tuple(side.subs(_IMAGINARY, sympy.I) if isinstance(side, sympy.Expr) else side for side in pair)


def _keep_capitals(gold: str, prediction: str) -> tuple[str, str]:
    """Writes `R` as `r_{00}` where `r` occurs too: the grammar folds the case of letters."""
    both = gold + " " + prediction
    capitals = {
        letter for letter in _CAPITAL.findall(both) if re.search(rf"(?<![\\a-zA-Z]){letter.lower()}(?![a-zA-Z])", both)
    }

    def spelled(match: re.Match[str]) -> str:
        return f"{match[0].lower()}_{{00}}" if match[0] in capitals else match[0]

    return _CAPITAL.sub(spelled, gold), _CAPITAL.sub(spelled, prediction)


def _readings(text: str) -> list[str]:
    """`1/2x` as the grammar reads it, 1/(2x), and as half of x; any other text as it stands."""
    return list(dict.fromkeys((text, _COEFFICIENT.sub(r"\\frac{\1}{\2} ", text))))


class SympySymbolic:
    """The `Symbolic` engine of a worker: it may run for ever or exhaust memory, so its process must be expendable."""

    def equal_expressions(self, gold: str, prediction: str) -> bool:
        r"""True if the two have one value, at every point where both are real if they have letters.

        A decimal against an exact value follows `numeric.numbers_equal`. `\log` without a base may be the natural one.
        """
        if gold.count("'") != prediction.count("'"):  # neither grammar knows derivatives
            return False
        logs = (False, True) if _LOG_WITHOUT_BASE.search(gold + prediction) else (False,)
        readings = product(_readings(gold), _readings(prediction), logs)
        return any(self._equal_as_read(*reading) for reading in readings)

    def _equal_as_read(self, gold: str, prediction: str, natural_log: bool) -> bool:
        try:
            return _equal_formulas(gold, prediction, natural_log)
        except (NoValueError, RefusedError):
            return False
        except (UnreadableError, UnknownError):
            return not natural_log and self._equal_in_sympy(gold, prediction)

    def _equal_in_sympy(self, gold: str, prediction: str) -> bool:
        pair = _parse_pair(gold, prediction)
        if pair is None:
            return False
        one, other = pair
        if not isinstance(one, sympy.Expr) or not isinstance(other, sympy.Expr):
            return self._verify(one, other)
        if not one.free_symbols and not other.free_symbols:
            return _equal_sympy_constants(gold, one, prediction, other)
        verdict = _equal_at_points(one, other)
        return self._verify(one, other) if verdict is None else verdict

    def equal_relations(self, gold: str, prediction: str) -> bool:
        """True if two equations or inequalities differ by a factor, or math-verify takes the two for the same."""
        return any(self._equal_relations_as_read(*pair) for pair in product(_readings(gold), _readings(prediction)))

    def _equal_relations_as_read(self, gold: str, prediction: str) -> bool:
        try:
            verdict = _same_relation(gold, prediction)
        except RefusedError:
            return False
        except (ValueError, UnknownError):
            verdict = None
        if verdict is not None:
            return verdict
        pair = _parse_pair(gold, prediction)
        if pair is None:
            return False
        one, other = pair
        if isinstance(one, sympy.Equality) and isinstance(other, sympy.Equality):
            return _proportional(one.lhs - one.rhs, other.lhs - other.rhs)
        return self._verify(one, other)

    def _verify(self, gold: Any, prediction: Any) -> bool:
        return bool(
            verify(
                gold,
                prediction,
                float_rounding=15,
                numeric_precision=30,
                timeout_seconds=None,
                allow_set_relation_comp=True,
            )
        )


def _equal_formulas(gold: str, prediction: str, natural_log: bool) -> bool:
    one, other = _read(gold, natural_log), _read(prediction, natural_log)
    other = with_case_of(other, one)
    if letters_of(one) or letters_of(other):
        return equal_functions(one, other)
    return equal_constants(one, other) or _rounded(gold, one, prediction, other)


def _read(text: str, natural_log: bool) -> Formula:
    written = parse_number(text)
    return read_formula(text, natural_log) if written is None else number(written.value)


def _rounded(gold: str, one: Formula, prediction: str, other: Formula) -> bool:
    """One of the two is a decimal, and the other rounds to it."""
    gold_number, prediction_number = parse_number(gold), parse_number(prediction)
    if (gold_number is None) == (prediction_number is None):
        return False
    exact = _exact(other if prediction_number is None else one)
    if exact is not None:
        return numbers_equal(gold_number or Number(exact), prediction_number or Number(exact))
    value = real_value(other if prediction_number is None else one)
    if value is None:
        return False
    if gold_number is not None:
        return is_rounded(gold_number, value, MIN_DIGITS_ROUNDED_GOLD)
    return prediction_number is not None and is_rounded(prediction_number, value, MIN_DIGITS_ROUNDED_PREDICTION)


def _exact(formula: Formula) -> Fraction | None:
    try:
        return exact_value(formula)
    except NotExactError:
        return None


_OPERATORS = frozenset(("=", "<", ">", "\\le", "\\ge", "\\neq"))


def _same_relation(gold: str, prediction: str) -> bool | None:
    """Tests whether two simple relations are multiples of each other; None if that does not decide the matter."""
    sides, operators = split_top(gold, _OPERATORS)
    other_sides, other_operators = split_top(prediction, _OPERATORS)
    if not operators or len(operators) != len(other_operators):
        return None
    if operators == [FLIPPED.get(operator, operator) for operator in reversed(other_operators)] != other_operators:
        other_sides, other_operators = other_sides[::-1], operators
    if len(operators) == 1:
        one = difference(*map(read_formula, sides))
        other = with_case_of(difference(*map(read_formula, other_sides)), one)
        sign = constant_ratio(one, other)
        operator = other_operators[0] if sign == 1 else FLIPPED.get(other_operators[0], other_operators[0])
        if sign is not None and operator == operators[0]:
            return True
        return False if operators == other_operators == ["="] else None
    if operators != other_operators or "=" in operators:
        return None
    gaps = zip(
        itertools.pairwise(map(read_formula, sides)), itertools.pairwise(map(read_formula, other_sides)), strict=True
    )
    return True if all(constant_ratio(difference(*one), difference(*other)) == 1 for one, other in gaps) else None


# With sympy


def _value(expression: Any) -> Any | None:
    """The value of an expression without letters; None if it has none (`1/0`, an unevaluated sum)."""
    value = expression.doit() if hasattr(expression, "doit") else expression
    value = value if value.is_Rational else value.evalf(DIGITS)
    return value if value.is_number and value.is_finite else None


def _close(one: Any, other: Any) -> bool:
    if one.is_Rational and other.is_Rational:
        return bool(one == other)
    scale = max(abs(one), abs(other))
    return bool(abs(one - other) <= scale * sympy.Float(10, DIGITS) ** -45) if scale else True


def _equal_sympy_constants(gold: str, one: Any, prediction: str, other: Any) -> bool:
    gold_value, prediction_value = _value(one), _value(other)
    if gold_value is None or prediction_value is None:
        return bool(one == other)
    if _close(gold_value, prediction_value):
        return True
    gold_number, prediction_number = parse_number(gold), parse_number(prediction)
    if gold_number is not None and prediction_number is None and prediction_value.is_real:
        value = Number(Fraction(str(prediction_value)))
        if prediction_value.is_Rational:
            return numbers_equal(gold_number, value)
        return is_rounded(gold_number, value.value, MIN_DIGITS_ROUNDED_GOLD)
    if prediction_number is not None and gold_number is None and gold_value.is_real:
        value = Number(Fraction(str(gold_value)))
        if gold_value.is_Rational:
            return numbers_equal(value, prediction_number)
        return is_rounded(prediction_number, value.value, MIN_DIGITS_ROUNDED_PREDICTION)
    return False


def _equal_at_points(one: Any, other: Any) -> bool | None:
    """Compares at random points where both are real, or else complex; None if too few points have a value."""
    if one == other:
        return True
    letters = sorted(one.free_symbols | other.free_symbols, key=str)
    source = random.Random(20240613)
    real_points = complex_points = 0
    for index in range(POINTS):
        sign = 1 if index < POINTS // 2 else -1
        point = {letter: sign * sympy.Rational(source.randint(1000, 99999), 7919) for letter in letters}
        try:
            value, other_value = _value(one.subs(point)), _value(other.subs(point))
        except (ArithmeticError, TypeError, ValueError):  # outside the domain, or nothing that has a number
            continue
        if value is None or other_value is None:
            continue
        real = value.is_real and other_value.is_real
        must_agree = real or (not real_points and sign > 0)
        if must_agree and not _close(value, other_value):
            return False
        real_points += real
        complex_points += not real
    return True if max(real_points, complex_points) >= MIN_POINTS else None


def _proportional(one: Any, other: Any) -> bool:
    """True if `one = 0` and `other = 0` are the same equation up to a constant factor."""
    ratio = sympy.simplify(one / other)
    return bool(ratio.is_number and ratio.is_finite and ratio != 0)
