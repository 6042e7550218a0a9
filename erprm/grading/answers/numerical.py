r"""Values of formulas to any number of digits, and what follows from them: are two formulas equal?

Rational values are compared exactly, rational functions by `erprm.grading.answers.exact`. What remains is irrational.
For numbers built from roots, two values that differ have a least distance (the bound of Burnikel, Funke, Mehlhorn,
Schirra and Schmitt, 2001, https://doi.org/10.1007/3-540-44676-1_21), so agreement below it is a proof. Where logarithms
or circular functions occur no such bound is known; there the digits compared grow with the size of the numbers written.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]

from erprm.grading.answers.exact import (
    NotExactError,
    TooLargeError,
    UndefinedError,
    bits_of,
    exact_value,
    random_residues,
    ratio_of_residues,
    residue,
)
from erprm.grading.answers.formula import Formula, difference, letters_of

# Binary digits beyond which two values are not told apart: such a pair is refused.
MAX_PRECISION = 60_000
# Two formulas with letters agree if they do at this many points; at so few at least.
POINTS = 8
MIN_POINTS = 3
_GENERAL_POINTS = 24
_TRIED_POINTS = 400
# Modular points: an identity that fails does so at nearly all of them.
_MODULAR_POINTS = 3
# An exponential of more than about e^(2^_MAX_MAGNITUDE) is out of reach.
_MAX_MAGNITUDE = 24


class UnknownError(ValueError):
    """Nothing can be said here: a function of whole numbers alone, or too few points with a value."""


class RefusedError(ValueError):
    """The values are out of reach, or agree as far as they were compared, and no proof says that they are equal."""


@dataclass(frozen=True)
class _Bounds:
    """Bounds of a number that is a quotient of two algebraic integers, as binary logarithms.

    Attributes:
        upper: of all conjugates of the integer above the line.
        lower: of those of the integer below it.
        algebraic: False if a transcendental number takes part; the bounds are then mere sizes.
        rational_below: whether the integer below the line is rational, which makes for a sharper bound.
    """

    upper: float
    lower: float
    algebraic: bool = True
    rational_below: bool = True


def _digits_of_proof(formula: Formula) -> float:
    """Binary digits after the point at which a number without letters shows that it is not zero."""
    roots: set[Formula] = set()
    bounds = _bounds(formula, roots)
    upper, lower = max(bounds.upper, 0.0), max(bounds.lower, 0.0)
    if not bounds.algebraic:
        return 160 + 4 * (upper + lower)
    degree = 1.0
    for root in roots:
        degree *= _degree(root)
    return lower + ((degree if bounds.rational_below else degree**2) - 1) * upper + 8


def _degree(root: Formula) -> int:
    if root.head == "constant":
        return 2
    index = exact_value(root.parts[1])
    return index.numerator if root.head == "root" else index.denominator


def _bounds(formula: Formula, roots: set[Formula]) -> _Bounds:
    """The rules of Burnikel et al.; collects the roots whose degrees multiply."""
    try:
        value = exact_value(formula)
        return _Bounds(_log2(abs(value.numerator)), _log2(value.denominator))
    except TooLargeError:
        raise RefusedError("too large") from None
    except NotExactError:
        pass
    if formula.head == "constant":
        if formula.name == "i":
            roots.add(formula)
            return _Bounds(0.0, 0.0)
        return _Bounds(2.0, 0.0, algebraic=False)
    if formula.head in ("power", "root"):
        return _bounds_of_power(formula, roots)
    parts = [_bounds(part, roots) for part in formula.parts]
    if formula.head == "abs":
        return parts[0]
    lower = sum(part.lower for part in parts)
    algebraic, rational = all(part.algebraic for part in parts), all(part.rational_below for part in parts)
    if formula.head == "sum":
        upper = max(part.upper + lower - part.lower for part in parts) + len(parts) - 1
        return _Bounds(upper, lower, algebraic, rational)
    if formula.head == "product":
        return _Bounds(sum(part.upper for part in parts), lower, algebraic, rational)
    return _Bounds(sum(part.upper for part in parts) + 2, lower + 2, algebraic=False)


def _bounds_of_power(formula: Formula, roots: set[Formula]) -> _Bounds:
    base, index = (_bounds(formula.parts[0], roots), formula.parts[1])
    try:
        power = exact_value(index)
    except NotExactError:
        other = _bounds(index, roots)
        return _Bounds(base.upper + other.upper + 2, base.lower + other.lower + 2, algebraic=False)
    if formula.head == "root":
        if power.denominator != 1 or power < 1:
            return _Bounds(base.upper + 2, base.lower + 2, algebraic=False)
        power = 1 / power
    if power < 0:
        is_rational = not letters_or_roots(formula.parts[0])
        base, power = _Bounds(base.lower, base.upper, base.algebraic, base.rational_below and is_rational), -power
    if power.denominator == 1:
        return _Bounds(base.upper * power.numerator, base.lower * power.numerator, base.algebraic, base.rational_below)
    roots.add(formula)
    if base.rational_below:  # the k-th root of n/d is the root of n d^(k-1), over d
        k = power.denominator
        upper, lower = (base.upper + (k - 1) * base.lower) / k * power.numerator, base.lower * power.numerator
        return _Bounds(upper, lower, base.algebraic)
    return _Bounds(base.upper * float(power), base.lower * float(power), base.algebraic, rational_below=False)


def letters_or_roots(formula: Formula) -> bool:
    """True if its value may be irrational."""
    try:
        exact_value(formula)
    except NotExactError:
        return True
    return False


def _log2(value: int) -> float:
    return math.log2(value) if value else 0.0


# Values


_mp = mpmath.MPContext()  # the caller's precision is left alone


class _Evaluator:
    """Values at one precision and one point; complex principal values where there is no real one."""

    def __init__(self, bits: int, point: Mapping[str, Fraction] | None = None) -> None:
        _mp.prec = bits
        self._letters = {name: _fraction(value) for name, value in (point or {}).items()}
        self._known: dict[Formula, Any] = {}

    def value(self, formula: Formula) -> Any:
        """The value of a formula.

        Raises:
            ArithmeticError, ValueError, TypeError: it has none, or it is out of reach.
        """
        known = self._known.get(formula)
        if known is None:
            known = self._known[formula] = self._compute(formula)
        return known

    def _compute(self, formula: Formula) -> Any:
        head = formula.head
        if head == "number":
            return _fraction(formula.value)
        if head == "letter":
            return self._letters[formula.name]
        if head == "constant":
            return {"pi": +_mp.pi, "e": +_mp.e, "i": _mp.mpc(0, 1)}[formula.name]
        if head == "sum":
            return _mp.fsum([self.value(part) for part in formula.parts])
        if head == "product":
            return _mp.fprod([self.value(part) for part in formula.parts])
        if head in ("power", "root"):
            return self._power(formula)
        return _function(head, [self.value(part) for part in formula.parts])

    def _power(self, formula: Formula) -> Any:
        base, index = self.value(formula.parts[0]), formula.parts[1]
        try:
            power = exact_value(index, 4000)
        except NotExactError:
            power = None
        if formula.head == "root":
            if power is None or power.denominator != 1 or power < 1:
                return _raised(base, 1 / self.value(index))
            if _is_real(base) and base < 0 and power.numerator % 2:
                return -_mp.root(-base, power.numerator)
            return _mp.root(base, power.numerator)
        if power is None:
            return _raised(base, self.value(index))
        if power.denominator != 1 and _is_real(base) and base > 0:
            base, power = _mp.root(base, power.denominator), Fraction(power.numerator)
        return _raised(base, power.numerator if power.denominator == 1 else _fraction(power))


def _fraction(value: Fraction) -> Any:
    return _mp.mpf(value.numerator) / value.denominator


def _is_real(value: Any) -> bool:
    return not isinstance(value, _mp.mpc)


def _raised(base: Any, power: Any) -> Any:
    if base == 0:
        if _is_real(power) and power > 0:
            return _mp.mpf(0)
        raise UndefinedError
    if power != 0 and _mp.mag(power) + _mp.mag(abs(_mp.mag(base)) + 1) > _MAX_MAGNITUDE:
        raise UndefinedError("out of reach")
    return base**power


_ENTIRE = frozenset(
    ("exp", "sinh", "cosh", "tanh", "coth", "sech", "csch", "sin", "cos", "tan", "cot", "sec", "csc", "ceil", "floor")
)


def _function(name: str, values: list[Any]) -> Any:
    one = values[0]
    if name == "abs":
        return abs(one)
    if name in ("ln", "log"):
        if one == 0 or (name == "log" and values[1] in (0, 1)):
            raise UndefinedError
        return _mp.ln(one) if name == "ln" else _mp.ln(one) / _mp.ln(values[1])
    if name in ("max", "min", "sign", "floor", "ceil", "mod", "gcd", "lcm") and not all(map(_is_real, values)):
        raise UnknownError(name)
    if name in ("max", "min"):
        return max(values) if name == "max" else min(values)
    if name == "sign":
        return _mp.sign(one)
    if name in _ENTIRE:
        _within(one, _MAX_MAGNITUDE)
        return getattr(_mp, name)(one)
    if name in ("factorial", "binom"):
        for value in values:
            _within(value, 12)
        return _mp.factorial(one) if name == "factorial" else _mp.binomial(*values)
    if name.startswith("arc"):
        return getattr(_mp, f"a{name[3:]}")(one)
    raise UnknownError(name)


def _within(value: Any, magnitude: int) -> None:
    if value != 0 and _mp.mag(value) > magnitude:
        raise UndefinedError("out of reach")


_FAILURES = (ArithmeticError, ValueError, TypeError, OverflowError)


def real_value(formula: Formula, digits: int = 60) -> Fraction | None:
    """The value of a formula without letters as a fraction correct to `digits` digits; None if it is not real."""
    try:
        value = _Evaluator(int(digits * 3.4) + 32).value(formula)
    except _FAILURES:
        return None
    if not _is_real(value) or not _mp.isfinite(value) or abs(_mp.mag(value)) > 10_000:
        return None
    mantissa, exponent = _mp.mpf(value).man_exp
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def equal_constants(one: Formula, other: Formula) -> bool:
    """True if two formulas without letters have the same value.

    Raises:
        RefusedError: they have no value, are out of reach, or cannot be told apart.
        UnknownError: a function that is not known here.
    """
    values: list[Fraction | None] = []
    for side in (one, other):
        try:
            values.append(exact_value(side))
        except (TooLargeError, UndefinedError):
            raise RefusedError("no value within reach") from None
        except NotExactError:
            values.append(None)
    if None not in values:
        return values[0] == values[1]
    distance, scale = _distance(one, other, 192)
    if distance > scale * _mp.mpf(2) ** -96:
        return False
    bits = int(_digits_of_proof(difference(one, other))) + 1
    if bits > MAX_PRECISION:
        raise RefusedError("they agree as far as they were compared")
    distance, _ = _distance(one, other, bits + 64)
    return bool(distance < _mp.mpf(2) ** -bits)


def _distance(one: Formula, other: Formula, bits: int) -> tuple[Any, Any]:
    """The distance of two values with an absolute error below 2^-bits or so, and the size of the larger one."""
    try:
        evaluator = _Evaluator(bits)
        values = evaluator.value(one), evaluator.value(other)
        scale = max(map(abs, values))
        magnitude = int(_mp.mag(scale)) if scale else 0
        if magnitude > MAX_PRECISION:
            raise RefusedError("out of reach")
        if magnitude > 16:
            evaluator = _Evaluator(bits + magnitude)
            values = evaluator.value(one), evaluator.value(other)
    except (UnknownError, RefusedError):
        raise
    except _FAILURES as error:
        raise RefusedError(str(error)) from error
    distance = abs(values[0] - values[1])
    if not _mp.isfinite(distance):
        raise RefusedError("no finite value")
    return distance, scale


# Formulas with letters


def equal_functions(one: Formula, other: Formula) -> bool:
    """True if two formulas agree wherever both are real, or, where that is nowhere, in their principal values.

    Raises:
        RefusedError: their numbers are too large.
        UnknownError: too few points have a value.
    """
    names = letters_of(one) | letters_of(other)
    source = random.Random(20240613)
    try:
        return _same_residues(one, other, names, source)
    except UndefinedError:
        raise RefusedError("a division by zero") from None
    except NotExactError:
        pass
    real_points = 0
    complex_agreements: list[bool] = []
    for index, (point, values) in enumerate(_values_at_points(one, other, names, source)):
        if real_points >= (POINTS if index < _GENERAL_POINTS else MIN_POINTS):
            break
        if values is None:
            continue
        agree = _close(*values)
        if all(map(_is_real, values)):
            if not agree:
                return False
            real_points += 1
        elif all(value > 0 for value in point.values()):
            complex_agreements.append(agree)
    if real_points >= MIN_POINTS:
        return True
    if real_points == 0 and len(complex_agreements) >= MIN_POINTS:
        return all(complex_agreements)
    raise UnknownError("too few points")


def _values_at_points(
    one: Formula, other: Formula, names: frozenset[str], source: random.Random
) -> Iterator[tuple[dict[str, Fraction], tuple[Any, Any] | None]]:
    """Points with the two values there, None where one has none. A search for a short domain where all are real."""
    bits = _precision(one, other)
    points = _points(one, other, names, source)
    tried = _GENERAL_POINTS if _has_imaginary_unit(one) or _has_imaginary_unit(other) else _TRIED_POINTS
    for point in itertools.islice(points, tried):
        evaluator = _Evaluator(bits, point)
        try:
            values = evaluator.value(one), evaluator.value(other)
        except _FAILURES:
            yield point, None
            continue
        yield point, values if all(map(_mp.isfinite, values)) else None


def _precision(one: Formula, other: Formula) -> int:
    bits = 160 + 4 * (_literal_bits(one) + _literal_bits(other))
    if bits > MAX_PRECISION:
        raise RefusedError("too large")
    return bits


def _close(one: Any, other: Any) -> bool:
    scale = max(abs(one), abs(other), _mp.mpf(2) ** -40)
    return bool(abs(one - other) <= scale * _mp.mpf(2) ** (-_mp.prec * 5 // 8))


def _has_imaginary_unit(formula: Formula) -> bool:
    return formula.name == "i" or any(map(_has_imaginary_unit, formula.parts))


def _same_residues(one: Formula, other: Formula, names: frozenset[str], source: random.Random) -> bool:
    for _ in range(_MODULAR_POINTS):
        point = random_residues(names, source)
        if residue(one, point) != residue(other, point):
            return False
    return True


def _literal_bits(formula: Formula) -> int:
    """A bound on the digits that the numbers in a formula can add to the precision it needs."""
    try:
        return bits_of(exact_value(formula)) if formula.head != "letter" else 0
    except TooLargeError:
        return MAX_PRECISION
    except NotExactError:
        return sum(map(_literal_bits, formula.parts))


def _points(
    one: Formula, other: Formula, names: frozenset[str], source: random.Random
) -> Iterator[dict[str, Fraction]]:
    """Points of several sizes and signs, then points close to the numbers that occur, where a short domain may lie."""
    ordered = sorted(names)

    def draw(low: float, high: float) -> Fraction:
        return Fraction(round(source.uniform(low, high) * 7919) * 2 + 1, 2 * 7919)

    for scale in (13, 13, 13, 1, 1, 1):
        yield {name: draw(0, scale) for name in ordered}
    for scale in (13, 13, 13, 1, 1, 1):
        yield {name: -draw(0, scale) for name in ordered}
    for scale in (13, 1, 100) * 4:
        yield {name: draw(-scale, scale) for name in ordered}
    anchors = sorted({Fraction(0), *_numbers_of(one), *_numbers_of(other)})[:40]
    anchors += [-anchor for anchor in anchors]
    gaps = [high - low for low, high in itertools.pairwise(sorted(anchors)) if high > low]
    reach = float(min([*gaps, Fraction(1)]))
    while True:
        spread = source.choice((reach / 4, reach, 2.0, 20.0, 200.0))
        yield {name: source.choice(anchors) + draw(-spread, spread) for name in ordered}


def _numbers_of(formula: Formula) -> Iterator[Fraction]:
    """The numbers in a formula that are no exponents, as far as they are small."""
    if formula.head == "number" and bits_of(formula.value) < 64:
        yield formula.value
    for part in formula.parts[:1] if formula.head in ("power", "root") else formula.parts:
        yield from _numbers_of(part)


def constant_ratio(one: Formula, other: Formula) -> int | None:
    """The sign of the number that `one` is times `other`; None if the two are not proportional.

    Raises:
        RefusedError: their numbers are too large.
        UnknownError: too few points have a value.
    """
    names = letters_of(one) | letters_of(other)
    source = random.Random(20240613)
    try:
        ratios = {ratio_of_residues(one, other, random_residues(names, source)) for _ in range(_MODULAR_POINTS)}
        if len(ratios) > 1 or None in ratios or ratios == {0}:
            return None
    except UndefinedError:
        raise RefusedError("a division by zero") from None
    except NotExactError:
        pass
    return _sign_of_ratio(one, other, names, source)


def _sign_of_ratio(one: Formula, other: Formula, names: frozenset[str], source: random.Random) -> int | None:
    ratios: list[Any] = []
    for _, values in itertools.islice(_values_at_points(one, other, names, source), _GENERAL_POINTS):
        if values is None or not all(map(_is_real, values)) or values[1] == 0:
            continue
        ratios.append(values[0] / values[1])
        if not _close(ratios[-1], ratios[0]) or ratios[-1] == 0:
            return None
        if len(ratios) >= POINTS:
            break
    if len(ratios) < MIN_POINTS:
        raise UnknownError("too few points")
    return 1 if ratios[0] > 0 else -1
