"""Templates of word problems, read from ``templates.txt``, and the problems drawn from them.

A template is a block of lines: its name, its text, what is drawn, and its steps.

    bakery
    {name} [bakes|makes] {a} trays of {b} {thing} and sells {c} of them. How many {thing} are left?
    a=4..20 b=6..24 c=10..90:5 thing=rolls|buns|tarts
    a trays x b {thing} = A {thing}
    A {thing} - c {thing} = B {thing}

``a=4..20`` draws a whole number, ``c=10..90:5`` one of 10, 15, ..., ``thing=rolls|buns`` one of the words; names and
wordings in square brackets are drawn for each problem. Small letters are given numbers, capitals those worked out, the
last one the answer. Every result is a whole number from 1 to 9999, and all numbers that occur in a problem differ, so
that a number in a solution says which quantity is meant. Of several such draws the one with the smallest numbers is
taken, because small models calculate badly with large ones.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from importlib.resources import files
from itertools import islice

from erprm.demo.language import HE, SHE
from erprm.demo.stories.lines import Expression, read_equation
from erprm.demo.stories.terms import CONSTANT, Terms
from erprm.errors import InputError

# A number that has nothing to do with the problem.
DISTRACTORS = (
    "It is {z} degrees outside.",
    "{other} lives at number {z}.",
    "The radio plays {z} songs in the meantime.",
    "Last year {z} letters came about this.",
    "There is a photo of {z} trees on the wall.",
    "The nearest lake is {z} km away.",
    "A calendar says that {z} days of the year are over.",
)
DISTRACTOR_RATE = 0.4
LARGEST = 9999
_DRAWS = 20_000
_SMALLEST_OF = 60
_HELD_OUT_EVERY = 5


@dataclass(frozen=True)
class Step:
    """One line of a template's solution.

    Attributes:
        text: the line, with letters for numbers.
        expression: its left side.
        result: letter of what it works out.
    """

    text: str
    expression: Expression
    result: str


@dataclass(frozen=True)
class Template:
    """A kind of word problem.

    Attributes:
        name: its name.
        text: the problem, with places for what is drawn.
        numbers: what each small letter may be.
        words: what each other place may be.
        steps: the solution.
        held_out: whether no model is trained on it.
    """

    name: str
    text: str
    numbers: Mapping[str, tuple[int, ...]]
    words: Mapping[str, tuple[str, ...]]
    steps: tuple[Step, ...]
    held_out: bool

    @cached_property
    def literals(self) -> frozenset[int]:
        """Numbers that the solution uses and the problem does not give, such as 60 minutes."""
        leaves = [leaf for step in self.steps for leaf in step.expression.leaves]
        return frozenset({int(leaf) for leaf in leaves if leaf.isdigit()} | ({100} if self.percentages else set()))

    @cached_property
    def percentages(self) -> tuple[str, ...]:
        """The given numbers that are percentages."""
        return tuple(letter for letter in self.numbers if any(f"{letter}%" in step.text for step in self.steps))

    @cached_property
    def terms(self) -> dict[str, Terms]:
        """What every letter stands for, in terms of the given numbers."""
        known = {letter: Terms.of(letter) for letter in self.numbers}
        known |= {str(number): literal_terms(number) for number in self.literals}
        for step in self.steps:
            known[step.result] = step.expression.evaluate(lambda _, leaf: known[leaf], literal_terms(100))
        return known

    def values(self, numbers: Mapping[str, int]) -> dict[str, int] | None:
        """All quantities from the given ones; None if one is no whole number in range or two are equal."""
        known: dict[str, int] = dict(numbers)
        for step in self.steps:
            value = step_value(step.expression, known)
            if value is None:
                return None
            known[step.result] = value
        distinct = {*known.values(), *self.literals}
        return known if len(distinct) == len(known) + len(self.literals) else None

    def draw(self, rng: random.Random) -> Problem:
        """A problem of this kind."""
        drawn = ({letter: rng.choice(choices) for letter, choices in self.numbers.items()} for _ in range(_DRAWS))
        valid = ((numbers, values) for numbers in drawn if (values := self.values(numbers)) is not None)
        numbers, values = min(islice(valid, _SMALLEST_OF), key=lambda draw: max(draw[1].values()))
        she = rng.random() < 0.5
        name = rng.choice(SHE if she else HE)
        words = {word: rng.choice(choices) for word, choices in self.words.items()}
        words |= {"name": name, "other": rng.choice([other for other in SHE + HE if other != name])}
        words |= {"she": "she", "her": "her"} if she else {"she": "he", "her": "his"}
        words |= {"She": words["she"].capitalize(), "Her": words["her"].capitalize()}
        text = re.sub(r"\[([^\]]*)\]", lambda match: rng.choice(match[1].split("|")), self.text)
        if rng.random() < DISTRACTOR_RATE:
            unused = [number for number in range(11, 99) if number not in {*values.values(), *self.literals}]
            words["z"] = str(rng.choice(unused))
            story, question = text.rsplit(". ", 1)
            text = f"{story}. {rng.choice(DISTRACTORS)} {question}"
        return Problem(self, filled(text, {**words, **{k: str(v) for k, v in numbers.items()}}), numbers, words)


@dataclass(frozen=True)
class Problem:
    """A problem drawn from a template.

    Attributes:
        template: its kind.
        question: its text.
        numbers: the given numbers.
        words: what else was drawn.
    """

    template: Template
    question: str
    numbers: Mapping[str, int]
    words: Mapping[str, str]

    @property
    def problem_id(self) -> str:
        """Template and given numbers; they tell all that the checker needs."""
        return f"stories/{self.template.name}/" + ",".join(f"{k}={v}" for k, v in self.numbers.items())

    @property
    def answer(self) -> str:
        """The right answer."""
        values = self.template.values(self.numbers)
        assert values is not None
        return str(values[self.template.steps[-1].result])


def literal_terms(number: int) -> Terms:
    """A number that a solution writes out, as a symbol."""
    return Terms.of(f"{CONSTANT}{number}")


def step_value(expression: Expression, known: Mapping[str, int]) -> int | None:
    """The value of a step's left side; None if it is no whole number from 1 to ``LARGEST``."""
    value = expression.evaluate(lambda _, leaf: Fraction(known.get(leaf) or int(leaf)), Fraction(100))
    return int(value) if value.denominator == 1 and 1 <= value <= LARGEST else None


def filled(text: str, words: Mapping[str, str]) -> str:
    """A text with its places filled."""
    return re.sub(r"\{(\w+)\}", lambda match: words[match[1]], text)


@cache
def load_templates() -> dict[str, Template]:
    """All templates by name; every fifth is held out."""
    text = files("erprm.demo.stories").joinpath("templates.txt").read_text(encoding="utf-8")
    blocks = text.strip().split("\n\n")
    templates = [_parse(block, number % _HELD_OUT_EVERY == 4) for number, block in enumerate(blocks)]
    return {template.name: template for template in templates}


def template_named(problem_id: str) -> tuple[Template, dict[str, int]]:
    """The template and the given numbers that a problem's id tells.

    Raises:
        InputError: if it is no id of this world.
    """
    match = re.fullmatch(r"stories/(\w+)/([a-z]=\d+(?:,[a-z]=\d+)*)", problem_id)
    template = load_templates().get(match[1]) if match else None
    if match is None or template is None:
        raise InputError(
            f"problem {problem_id!r} is not the id of a story; these ids look like "
            "stories/TEMPLATE/a=NUMBER,b=NUMBER,..."
        )
    numbers = {pair[0]: int(pair[2:]) for pair in match[2].split(",")}
    if numbers.keys() != template.numbers.keys() or template.values(numbers) is None:
        raise InputError(f"problem {problem_id!r}: template {template.name} has no such problem")
    return template, numbers


def _parse(block: str, held_out: bool) -> Template:
    name, text, drawn, *steps = block.split("\n")
    numbers: dict[str, tuple[int, ...]] = {}
    words: dict[str, tuple[str, ...]] = {}
    for key, choices in (entry.split("=") for entry in drawn.split()):
        if len(key) > 1:
            words[key] = tuple(choices.split("|"))
        elif span := re.fullmatch(r"(\d+)\.\.(\d+)(?::(\d+))?", choices):
            numbers[key] = tuple(range(int(span[1]), int(span[2]) + 1, int(span[3] or 1)))
        else:
            numbers[key] = tuple(int(choice) for choice in choices.split("|"))
    return Template(name, text, numbers, words, tuple(parse_step(line) for line in steps), held_out)


def parse_step(line: str) -> Step:
    """A line of a template's solution."""
    left, right = read_equation(line, symbols=True)
    return Step(line, left, right.leaf)
