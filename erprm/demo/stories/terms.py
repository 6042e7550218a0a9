"""Quantities as sums of products of symbols, which tell whether a line computes a part of the answer.

    (a - b) * c  =  a c - b c        a / b  =  a b^-1        20% of a  =  p a 100^-1

Numbers that are written out in a solution, such as 60 or 100, are symbols, too: ``a / 60`` differs from ``a``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

# Symbols with their exponents, sorted by symbol.
Product = tuple[tuple[str, int], ...]

# How the symbol of a written-out number begins.
CONSTANT = "#"
_MOST_TERMS = 100


class Terms:
    """A sum of products of symbols, each with a coefficient; equal sums are equal objects."""

    def __init__(self, coefficients: Mapping[Product, Fraction]) -> None:
        """Takes the coefficient of each product; those of zero are left out.

        Raises:
            OverflowError: if there are more terms than any reasonable line has.
        """
        self._coefficients = {product: value for product, value in coefficients.items() if value}
        if len(self._coefficients) > _MOST_TERMS:
            raise OverflowError(f"more than {_MOST_TERMS} terms")

    @classmethod
    def of(cls, symbol: str) -> Terms:
        """A symbol by itself."""
        return cls({((symbol, 1),): Fraction(1)})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Terms) and self._coefficients == other._coefficients

    def __hash__(self) -> int:
        return hash(frozenset(self._coefficients.items()))

    def __repr__(self) -> str:
        return " + ".join(
            f"{value}*" + " ".join(f"{symbol}^{power}" for symbol, power in product)
            for product, value in sorted(self._coefficients.items())
        )

    def __neg__(self) -> Terms:
        return Terms({product: -value for product, value in self._coefficients.items()})

    def __add__(self, other: Terms) -> Terms:
        total = dict(self._coefficients)
        for product, value in other._coefficients.items():
            total[product] = total.get(product, Fraction(0)) + value
        return Terms(total)

    def __sub__(self, other: Terms) -> Terms:
        return self + -other

    def __mul__(self, other: Terms) -> Terms:
        total: dict[Product, Fraction] = {}
        for one, value in self._coefficients.items():
            for two, factor in other._coefficients.items():
                product = _times(one, two)
                total[product] = total.get(product, Fraction(0)) + value * factor
        return Terms(total)

    def __truediv__(self, other: Terms) -> Terms:
        """The quotient; a sum in the denominator becomes a symbol of its own.

        Raises:
            ZeroDivisionError: if the other is zero.
        """
        if not other._coefficients:
            raise ZeroDivisionError("division by a quantity that is zero")
        if len(other._coefficients) > 1:
            return self * Terms({((f"({other!r})", -1),): Fraction(1)})
        ((product, value),) = other._coefficients.items()
        return self * Terms({_power(product, -1): 1 / value})

    def is_part_of(self, whole: Terms) -> bool:
        """Tells whether the whole can be computed from this: as this times a product of symbols, plus other terms.

        All factors must be kept, so ``b c`` is no part of ``a b + c d``, although dividing by ``c`` and multiplying by
        ``a`` would lead there. But a sum may lose constants: ``100 - p`` is a part of ``x - x p / 100``.
        """
        if not self._coefficients:
            return False
        return any(self._fits(factor, sign, whole) for factor, sign in self._factors(whole))

    def _factors(self, whole: Terms) -> Iterator[tuple[Product, int]]:
        first, value = next(iter(self._coefficients.items()))
        for product, target in whole._coefficients.items():
            yield _times(product, _power(first, -1)), 1 if value * target > 0 else -1

    def _fits(self, factor: Product, sign: int, whole: Terms) -> bool:
        for product, value in self._coefficients.items():
            scaled = _times(product, factor)
            target = whole._coefficients.get(scaled, Fraction(0)) * sign * (1 if value > 0 else -1)
            if target < abs(value):
                return False
            if not _keeps(product, scaled, constants=len(self._coefficients) == 1):
                return False
        return True


def _times(one: Product, two: Product) -> Product:
    powers = dict(one)
    for symbol, power in two:
        powers[symbol] = powers.get(symbol, 0) + power
    return tuple(sorted((symbol, power) for symbol, power in powers.items() if power))


def _power(product: Product, exponent: int) -> Product:
    return tuple((symbol, power * exponent) for symbol, power in product)


def _keeps(product: Product, scaled: Product, *, constants: bool) -> bool:
    """Whether a product has all factors of another, constants only if asked for."""
    powers = dict(scaled)
    return all(
        abs(powers.get(symbol, 0)) >= abs(power) and powers.get(symbol, 0) * power > 0
        for symbol, power in product
        if constants or not symbol.startswith(CONSTANT)
    )
