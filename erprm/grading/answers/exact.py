"""Exact values of formulas: rational arithmetic with a bound on its size, and identities of rational functions.

No floating point and no sympy. A rational function is zero everywhere if it is zero modulo a large prime at a few
points drawn at random (the Schwartz-Zippel lemma: an error once in 10^50 trials), however large its numbers are.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from fractions import Fraction

from erprm.grading.answers.formula import Formula

# Exact numbers have at most this many binary digits above and below the fraction line.
MAX_BITS = 200_000
MAX_FACTORIAL = 10_000
_NO_VALUES: Mapping[str, Fraction] = {}


class NotExactError(ValueError):
    """The formula is no rational number, or not known to be one."""


class TooLargeError(NotExactError):
    """Its exact value has more digits than the bound allows."""


class UndefinedError(NotExactError, ArithmeticError):
    """It has no value: a division by zero."""


def bits_of(value: Fraction) -> int:
    """Binary digits above and below the fraction line."""
    return value.numerator.bit_length() + value.denominator.bit_length()


def _bounded(value: Fraction, max_bits: int) -> Fraction:
    if bits_of(value) > 2 * max_bits:
        raise TooLargeError
    return value


def exact_value(formula: Formula, max_bits: int = MAX_BITS, letters: Mapping[str, Fraction] = _NO_VALUES) -> Fraction:
    """The rational value of a formula.

    Args:
        formula: a formula whose letters are all in `letters`.
        max_bits: bound on the size of every number on the way.
        letters: values of the letters.

    Raises:
        NotExactError: it is irrational, complex or unknown; `TooLargeError` and `UndefinedError` say more.
    """
    if formula.head == "number":
        return formula.value
    if formula.head == "letter":
        if formula.name not in letters:
            raise NotExactError
        return letters[formula.name]
    if formula.head == "constant":
        raise NotExactError
    values = [exact_value(part, max_bits, letters) for part in formula.parts]
    if formula.head == "sum":
        total = Fraction(0)
        for value in values:
            total = _bounded(total + value, max_bits)
        return total
    if formula.head == "product":
        result = Fraction(1)
        for value in values:
            result = _bounded(result * value, max_bits)
        return result
    if formula.head == "power":
        return _power(values[0], values[1], max_bits)
    return _bounded(_function(formula.head, values, max_bits), max_bits)


def _power(base: Fraction, exponent: Fraction, max_bits: int) -> Fraction:
    if base == 1 or (exponent == 0 and base != 0):
        return Fraction(1)
    if base == 0:
        if exponent <= 0:
            raise UndefinedError
        return Fraction(0)
    if exponent.denominator != 1:
        if base < 0:
            raise NotExactError  # a complex principal value
        return _power(_root(base, exponent.denominator), Fraction(exponent.numerator), max_bits)
    if base == -1:
        return Fraction(-1 if exponent.numerator % 2 else 1)
    if abs(exponent) > max_bits or bits_of(base) * abs(exponent.numerator) > 2 * max_bits + 2:
        raise TooLargeError
    return base**exponent.numerator


def _root(value: Fraction, index: int) -> Fraction:
    """The index-th root, if it is rational; of a negative number for odd indices only."""
    if index < 1 or index > 10_000:
        raise NotExactError
    if value < 0:
        if index % 2 == 0:
            raise NotExactError
        return -_root(-value, index)
    root = Fraction(_integer_root(value.numerator, index), _integer_root(value.denominator, index))
    if root**index != value:
        raise NotExactError
    return root


def _integer_root(value: int, index: int) -> int:
    """The index-th root, rounded down."""
    if index == 2:
        return math.isqrt(value)
    if value < 2:
        return value
    guess = 1 << -(-value.bit_length() // index)
    while True:  # Newton's method from above
        better = ((index - 1) * guess + value // guess ** (index - 1)) // index
        if better >= guess:
            return guess
        guess = better


def _function(name: str, values: list[Fraction], max_bits: int) -> Fraction:
    one = values[0]
    whole = all(value.denominator == 1 for value in values)
    if name == "root" and len(values) == 2 and values[1].denominator == 1:
        return _root(one, values[1].numerator)
    if name == "abs":
        return abs(one)
    if name == "sign":
        return Fraction((one > 0) - (one < 0))
    if name == "floor":
        return Fraction(math.floor(one))
    if name == "ceil":
        return Fraction(math.ceil(one))
    if name in ("max", "min"):
        return max(values) if name == "max" else min(values)
    if name == "factorial" and whole and one >= 0:
        if one > MAX_FACTORIAL or one * one.numerator.bit_length() > max_bits:
            raise TooLargeError
        return Fraction(math.factorial(one.numerator))
    if name == "binom" and whole and len(values) == 2 and one >= 0:
        chosen: Fraction = min(values[1], one - values[1])
        if chosen > MAX_FACTORIAL or max(chosen.numerator, 1) * one.numerator.bit_length() > max_bits:
            raise TooLargeError
        return Fraction(math.comb(one.numerator, chosen.numerator)) if chosen >= 0 else Fraction(0)
    if name in ("gcd", "lcm") and whole:
        integers = [value.numerator for value in values]
        return Fraction(math.gcd(*integers) if name == "gcd" else math.lcm(*integers))
    if name == "mod" and whole and values[1] != 0:
        return Fraction(one % values[1])
    if name == "log" and len(values) == 2:
        return _logarithm(*values)
    if (name == "ln" and one == 1) or (name in _ZERO_AT_ZERO and one == 0):
        return Fraction(0)
    if name in _ONE_AT_ZERO and one == 0:
        return Fraction(1)
    raise NotExactError


_ZERO_AT_ZERO = frozenset(("sin", "tan", "sinh", "tanh", "arcsin", "arctan", "arcsinh", "arctanh"))
_ONE_AT_ZERO = frozenset(("cos", "sec", "cosh", "sech", "exp"))


def _logarithm(value: Fraction, base: Fraction) -> Fraction:
    """A whole logarithm, such as that of 8 to the base 2."""
    if value <= 0 or base <= 0 or base == 1:
        raise UndefinedError
    if bits_of(value) > 4000 or bits_of(base) > 4000:
        raise NotExactError
    logs = [math.log(each.numerator) - math.log(each.denominator) for each in (value, base)]
    whole = round(logs[0] / logs[1])
    if abs(whole) > 4000 or base**whole != value:
        raise NotExactError
    return Fraction(whole)


# Rational functions

# 1 modulo 4, so that -1 has a root, which stands for the imaginary unit.
_PRIME = 2**255 - 19
_IMAGINARY_UNIT = pow(2, (_PRIME - 1) // 4, _PRIME)


def residue(formula: Formula, letters: Mapping[str, int]) -> int:
    """The value of a rational function modulo a fixed prime.

    Raises:
        NotExactError: it is no rational function.
        UndefinedError: a division by zero at this point.
    """
    if formula.head == "number":
        return formula.value.numerator * _inverse(formula.value.denominator) % _PRIME
    if formula.head == "letter":
        return letters[formula.name]
    if formula.head == "constant" and formula.name == "i":
        return _IMAGINARY_UNIT
    if formula.head == "sum":
        return sum(residue(part, letters) for part in formula.parts) % _PRIME
    if formula.head == "product":
        product = 1
        for part in formula.parts:
            product = product * residue(part, letters) % _PRIME
        return product
    if formula.head == "power":
        exponent = exact_value(formula.parts[1])
        if exponent.denominator != 1:
            raise NotExactError
        base = residue(formula.parts[0], letters)
        return pow(base if exponent >= 0 else _inverse(base), abs(exponent.numerator), _PRIME)
    value = exact_value(formula)  # a number in another notation, such as a binomial coefficient
    return value.numerator * _inverse(value.denominator) % _PRIME


def _inverse(value: int) -> int:
    if value % _PRIME == 0:
        raise UndefinedError
    return pow(value, -1, _PRIME)


def random_residues(names: frozenset[str], source: random.Random) -> dict[str, int]:
    """A point at which to take residues."""
    return {name: source.randrange(1, _PRIME) for name in sorted(names)}


def ratio_of_residues(one: Formula, other: Formula, letters: Mapping[str, int]) -> int | None:
    """`one / other` at a point modulo the prime; None where `other` is zero."""
    above, below = residue(one, letters), residue(other, letters)
    return None if below == 0 else above * _inverse(below) % _PRIME
