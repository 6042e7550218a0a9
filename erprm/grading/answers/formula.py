r"""A small reader of formulas: LaTeX and plain text (`\frac{x}{2}`, `sqrt(x)/2`) as trees, without sympy.

It knows arithmetic, powers, roots, the elementary functions and letters. What it cannot read (sums, integrals,
matrices, unknown functions) raises `UnreadableError`; the larger grammar of math-verify is then asked in a worker.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

# Deeper brackets are left to the worker.
MAX_DEPTH = 60


class UnreadableError(ValueError):
    """The text is no formula of this grammar."""


class NoValueError(ValueError):
    """The text is written like a formula but has no value, such as two numbers side by side (`4 2`)."""


@dataclass(frozen=True)
class Formula:
    """A node of a formula.

    Attributes:
        head: `number`, `letter`, `constant` (`pi`, `e`, `i`), `sum`, `product`, `power`, or the name of a function.
        parts: the operands.
        value: the number of a `number`.
        name: the name of a `letter` or `constant`.
    """

    head: str
    parts: tuple[Formula, ...] = ()
    value: Fraction = Fraction(0)
    name: str = ""


def number(value: Fraction | int) -> Formula:
    """A number as a formula."""
    return Formula("number", value=Fraction(value))


ONE, MINUS_ONE = number(1), number(-1)
PI = Formula("constant", name="pi")


def negative(formula: Formula) -> Formula:
    """The formula times -1."""
    if formula.head == "number":
        return number(-formula.value)
    return Formula("product", (MINUS_ONE, formula))


def difference(one: Formula, other: Formula) -> Formula:
    """`one - other`."""
    return Formula("sum", (one, negative(other)))


def inverse(formula: Formula) -> Formula:
    """`1 / formula`."""
    return Formula("power", (formula, MINUS_ONE))


_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
_HYPERBOLIC = ("sinh", "cosh", "tanh", "coth", "sech", "csch")
# Spelling of a function: its name in a `Formula`.
FUNCTIONS = {
    **{name: name for name in (*_TRIGONOMETRIC, *_HYPERBOLIC, "exp", "ln", "log", "abs", "floor", "gcd", "lcm", "max")},
    **{f"arc{name}": f"arc{name}" for name in (*_TRIGONOMETRIC, *_HYPERBOLIC)},
    **{f"a{name}": f"arc{name}" for name in (*_TRIGONOMETRIC, *_HYPERBOLIC)},
    **{f"ar{name}": f"arc{name}" for name in _HYPERBOLIC},
    "min": "min",
    "ceil": "ceil",
    "ceiling": "ceil",
    "Abs": "abs",
    "sqrt": "sqrt",
    "cbrt": "cbrt",
    "cosec": "csc",
    "cotan": "cot",
    "binomial": "binom",
    "binom": "binom",
    "factorial": "factorial",
    "sgn": "sign",
}
_SEVERAL_ARGUMENTS = frozenset(("gcd", "lcm", "max", "min", "binom"))
_INVERTIBLE = frozenset((*_TRIGONOMETRIC, *_HYPERBOLIC))
_GREEK_NAMES = """
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon phi
varphi chi psi omega ell Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega
"""
_GREEK = frozenset(_GREEK_NAMES.split())
_TIMES = frozenset(("*", "\\cdot", "\\times"))
_DIVIDED_BY = frozenset(("/", "\\div"))
_CLOSERS = {"(": ")", "{": "}", "[": "]", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil", "|": "|"}

_NAMES = sorted((*FUNCTIONS, "pi"), key=len, reverse=True)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)|(?P<command>\\[a-zA-Z]+|\\.)"
    rf"|(?P<name>(?<![a-zA-Z])(?:{'|'.join(_NAMES)})(?![a-zA-Z]))|(?P<other>\S))"
)
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{4,}")
_SUBSCRIPT = re.compile(r"_\s*(?:\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}|(\\?[a-zA-Z]+|\d))")


def _name_of_subscripts(match: re.Match[str]) -> str:
    bare = re.sub(r"\\(?:text|mathrm|rm|operatorname)|[\s{}]", "", match[1] or match[2])
    return f"_<{bare}>"


_TOKEN_SUBSCRIPT = re.compile(r"_<([^<>]*)>")


@lru_cache(maxsize=4096)
def read_formula(text: str, natural_log: bool = False) -> Formula:
    r"""Reads a normalised expression.

    Args:
        text: the expression, no relation and no list.
        natural_log: read `\log` without a base as the natural logarithm; else as the common one.

    Raises:
        UnreadableError: outside this grammar.
        NoValueError: written like a formula, but without a value.
    """
    reader = _Reader(text, natural_log)
    try:
        formula = reader.sum()
    except RecursionError as error:
        raise UnreadableError("too deep") from error
    if reader.at < len(reader.tokens):
        raise UnreadableError(f"{reader.tokens[reader.at]!r} is left over in {text!r}")
    return formula


class _Reader:
    """Recursive descent; one method a level of the grammar."""

    def __init__(self, text: str, natural_log: bool) -> None:
        if len(text) > 2000:
            raise UnreadableError("too long")
        if any(word[0] not in _NAMES for word in _WORD.finditer(re.sub(r"_\s*\{[^{}]*\}", "", text))):
            raise UnreadableError(f"words in {text!r}")
        self.tokens: list[str] = []
        self.subscripts: dict[int, str] = {}
        self._split(_SUBSCRIPT.sub(_name_of_subscripts, text))
        self.at = 0
        self.natural_log = natural_log
        self.depth = 0
        self.bars = 0

    def _split(self, text: str) -> None:
        at = 0
        text = text.rstrip()
        while at < len(text):
            if match := _TOKEN_SUBSCRIPT.match(text, at):
                if not self.tokens:
                    raise UnreadableError("a subscript of nothing")
                self.subscripts[len(self.tokens) - 1] = match[1]
            else:
                match = _TOKEN.match(text, at)
                if match is None:
                    raise UnreadableError(text)
                self.tokens.append(match[0].strip())
            at = match.end()

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise UnreadableError(f"{token!r} is missing")

    def sum(self) -> Formula:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError("too deep")
        terms = [self._signed_term()]
        while self.peek() in ("+", "-"):
            terms.append(self._signed_term())
        self.depth -= 1
        formula = terms[0] if len(terms) == 1 else Formula("sum", tuple(terms))
        if self.peek() == "\\mod":
            self.take()
            formula = Formula("mod", (formula, self._product()))
        return formula

    def _signed_term(self) -> Formula:
        minus = False
        while self.peek() in ("+", "-"):
            minus ^= self.take() == "-"
        term = self._product()
        return negative(term) if minus else term

    def _product(self) -> Formula:
        factors = [self._juxtaposed()]
        while self.peek() in _TIMES or self.peek() in _DIVIDED_BY:
            divides = self.take() in _DIVIDED_BY
            minus = False
            while self.peek() in ("+", "-"):
                minus ^= self.take() == "-"
            factor = self._juxtaposed()
            factor = negative(factor) if minus else factor
            factors.append(inverse(factor) if divides else factor)
        return factors[0] if len(factors) == 1 else Formula("product", tuple(factors))

    def _juxtaposed(self) -> Formula:
        """Factors side by side, which bind more closely than a slash."""
        factors = [self._power()]
        while self._begins_factor():
            bare_before = self.tokens[self.at - 1][-1].isdigit()
            if bare_before and self.peek()[0].isdigit() and self._is_bare_number(self.at - 1):
                raise NoValueError("two numbers side by side")
            factors.append(self._power())
        return factors[0] if len(factors) == 1 else Formula("product", tuple(factors))

    def _is_bare_number(self, at: int) -> bool:
        return at == 0 or self.tokens[at - 1] not in ("^",)

    def _begins_factor(self) -> bool:
        token = self.peek()
        if not token or (token == "|" and self.bars):
            return False
        if token[0] == "\\":
            return token[1:] in _GREEK or token[1:] in FUNCTIONS or token in _ATOMS or token in _CLOSERS
        return token[0].isalnum() or token in "([{|." or token in FUNCTIONS

    def _power(self) -> Formula:
        return self._raised(self._atom())

    def _raised(self, base: Formula) -> Formula:
        while self.peek() == "!":
            self.take()
            base = Formula("factorial", (base,))
        if self.peek() == "'":
            raise UnreadableError("a prime")
        if self.peek() != "^":
            return base
        self.take()
        if self.peek() == "\\circ":
            self.take()
            return self._raised(Formula("product", (base, PI, number(Fraction(1, 180)))))
        raised = Formula("power", (base, self._exponent()))
        return self._raised(raised) if self.peek() == "!" else raised

    def _exponent(self) -> Formula:
        minus = False
        while self.peek() in ("+", "-"):
            minus ^= self.take() == "-"
        if self.peek() == "{":
            exponent = self._bracketed()
        else:
            exponent = self._raised(self._atom())  # 2^x^2 is 2^(x^2)
        return negative(exponent) if minus else exponent

    def _bracketed(self) -> Formula:
        opener = self.take()
        closer = _CLOSERS.get(opener)
        if closer is None:
            raise UnreadableError(f"{opener!r} opens nothing")
        outer, self.bars = self.bars, 1 if opener == "|" else 0
        inner = self.sum()
        self.bars = outer
        self.expect(closer)
        if opener == "|":
            return Formula("abs", (inner,))
        if opener in ("\\lfloor", "\\lceil"):
            return Formula("floor" if opener == "\\lfloor" else "ceil", (inner,))
        return inner

    def _atom(self) -> Formula:
        token = self.peek()
        if not token:
            raise UnreadableError("it ends where a number or a letter should follow")
        if token[0].isdigit() or (token[0] == "." and len(token) > 1):
            if self.at in self.subscripts:
                raise UnreadableError("a number with a base")
            self.take()
            return number(Fraction(token.replace(",", "")))
        if token in _CLOSERS:
            return self._bracketed()
        name = token.removeprefix("\\")
        if name in FUNCTIONS:
            return self._function(FUNCTIONS[name])
        if token in _ATOMS:
            self.take()
            return _ATOMS[token](self)
        if name in _GREEK or (len(token) == 1 and token.isalpha() and token.isascii()):
            return self._letter(name)
        raise UnreadableError(f"{token!r} is not known")

    def _letter(self, name: str) -> Formula:
        subscript = self.subscripts.get(self.at)
        self.take()
        if subscript is not None:
            return Formula("letter", name=f"{name}_{subscript}")
        if name in ("e", "i"):
            return Formula("constant", name=name)
        if name in ("f", "g", "h", "F", "G", "P", "Q") and self.peek() == "(":
            raise UnreadableError("an unknown function")
        return Formula("letter", name=name)

    def _function(self, name: str) -> Formula:
        base = self.subscripts.get(self.at)
        self.take()
        if name in ("sqrt", "cbrt"):
            return self._root(name)
        power = None
        if self.peek() == "^":
            self.take()
            power = self._exponent()
        if power == MINUS_ONE and name in _INVERTIBLE:
            name, power = f"arc{name}", None
        if name in _SEVERAL_ARGUMENTS:
            applied = Formula(name, self._arguments())
        else:
            applied = self._applied(name, base)
        return applied if power is None else Formula("power", (applied, power))

    def _root(self, name: str) -> Formula:
        index = number(3 if name == "cbrt" else 2)
        if name == "sqrt" and self.peek() == "[":
            index = self._bracketed()
        inner = self._bracketed() if self.peek() in ("{", "(") else self._power()
        return Formula("root", (inner, index))

    def _arguments(self) -> tuple[Formula, ...]:
        if self.peek() == "{":  # \binom{n}{k}
            return self._bracketed(), self._bracketed()
        self.expect("(")
        arguments = [self.sum()]
        while self.peek() == ",":
            self.take()
            arguments.append(self.sum())
        self.expect(")")
        return tuple(arguments)

    def _applied(self, name: str, base: str | None) -> Formula:
        if self.peek() == "(" and name == "log" and base is None:
            argument, *bases = self._arguments()
            if bases:  # log(x, 2)
                return Formula("log", (argument, *bases[:1]))
        elif self.peek() in ("(", "{", "[", "|"):
            argument = self._bracketed()
        else:
            argument = self._plain_argument()
        if name == "log":
            if base is not None:
                return Formula("log", (argument, read_formula(base)))
            return Formula("ln", (argument,)) if self.natural_log else Formula("log", (argument, number(10)))
        if base is not None:
            raise UnreadableError(f"{name} with an index")
        return Formula(name, (argument,))

    def _plain_argument(self) -> Formula:
        r"""What `\sin` takes without brackets: the factors up to the next function, bracket or sign."""
        minus = False
        while self.peek() in ("+", "-"):
            minus ^= self.take() == "-"
        factors = [self._power()]
        while self._begins_factor() and self.peek() not in ("(", "[") and self.peek().lstrip("\\") not in FUNCTIONS:
            factors.append(self._power())
        argument = factors[0] if len(factors) == 1 else Formula("product", tuple(factors))
        return negative(argument) if minus else argument


def _fraction(reader: _Reader) -> Formula:
    above, below = reader._bracketed(), reader._bracketed()
    return Formula("product", (above, inverse(below)))


_ATOMS: dict[str, Callable[[_Reader], Formula]] = {
    "\\frac": _fraction,
    "\\pi": lambda _: PI,
    "pi": lambda _: PI,
    "\\imath": lambda _: Formula("constant", name="i"),
}


def letters_of(formula: Formula) -> frozenset[str]:
    """The names of its letters."""
    if formula.head == "letter":
        return frozenset((formula.name,))
    return frozenset().union(*map(letters_of, formula.parts))


def renamed(formula: Formula, names: dict[str, str]) -> Formula:
    """The formula with other names for some of its letters."""
    if formula.head == "letter":
        return Formula("letter", name=names.get(formula.name, formula.name))
    return Formula(formula.head, tuple(renamed(part, names) for part in formula.parts), formula.value, formula.name)


def with_case_of(formula: Formula, model: Formula) -> Formula:
    """The formula with `n` for `N` where `model` has only `n`: the case of a letter counts only where both occur."""
    own, models = letters_of(formula), letters_of(model)
    names = {
        name: name.swapcase()
        for name in own
        if len(name) == 1 and name not in models and name.swapcase() in models and name.swapcase() not in own
    }
    return renamed(formula, names) if names else formula
