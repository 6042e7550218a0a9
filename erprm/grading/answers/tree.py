"""Parts of an answer: expressions, lists, tuples, sets, intervals, unions, matrices, names and relations."""

from __future__ import annotations

from dataclasses import dataclass


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
