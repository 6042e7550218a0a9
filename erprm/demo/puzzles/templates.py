"""Templates of puzzles, read from ``templates.txt``, and the puzzles drawn from them.

A template is a block of lines: its name, its relations, its text, and for some the things it is about, else people.

    ages
    is older than / is younger than
    [Some friends|A few cousins] talk about how old they are. {facts} Of {people}, who is the oldest?

Two phrases make an order of five to eight, of which the first is asked for. The fact that is told first is of its last
two, from where one can go up. Relatives in their place, such as "sibling child parent", make a chain: the first person
is a sibling of the second, who is a child of the third, ...; what the first is to the last is asked for. All other
facts are in random order, each told from either end. Half of the puzzles have one or two more that play no part.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from erprm.demo.language import HE, SHE
from erprm.demo.puzzles.relations import LESS, MORE, Fact, Relations, family, scale
from erprm.errors import InputError

_FEWEST, _MOST = 4, 7
_SIDES = (0, 0, 1, 2)
_HELD_OUT_EVERY = 5


@dataclass(frozen=True)
class Template:
    """A kind of puzzle.

    Attributes:
        name: its name.
        text: the puzzle, with places for what is drawn.
        relations: those that its facts are of.
        chain: relation of each person to the next; nothing for an order, which may be of any length.
        things: what it is about.
        held_out: True if no model is trained on it.
    """

    name: str
    text: str
    relations: Relations
    chain: tuple[str, ...]
    things: tuple[str, ...]
    held_out: bool

    def said(self, fact: Fact) -> str:
        """A fact in words."""
        first, kind, second = fact
        return f"{self.named(first)} {self.relations.said(kind, first)} {self.named(second)}"

    def named(self, person: str) -> str:
        """A person or thing as it is named."""
        return person if person in SHE + HE else f"the {person}"

    def kinds(self, count: int) -> tuple[str, ...]:
        """Relation of each person to the next in a chain of so many relations."""
        return self.chain or (LESS,) * count

    def draw(self, rng: random.Random) -> Puzzle:
        """A puzzle of this kind."""
        count = len(self.chain) or rng.randint(_FEWEST, _MOST)
        while True:
            *people, one, two = rng.sample(self.things, count + 3)
            puzzle = self.puzzle(people)
            spouses = [fact for fact in self.relations.closure(puzzle.links) if fact[1] == "spouse"]
            if all((first in HE) != (second in HE) for first, _, second in spouses):
                break
        kinds = ("sibling", "parent") if self.chain else (MORE,)
        extra = (one, two)[: rng.choice(_SIDES)]
        sides = tuple((rng.choice(people), rng.choice(kinds), other) for other in extra)
        links = tuple(rng.choice((link, self.relations.turned(link))) for link in puzzle.links)
        start, *facts = [*links, *(rng.choice((side, self.relations.turned(side))) for side in sides)]
        asked = list(map(self.named, people))
        rng.shuffle(facts)
        facts.insert(rng.randint(0, len(facts)) if self.chain else 0, start)
        rng.shuffle(asked)
        text = re.sub(r"\[([^\]]*)\]", lambda match: rng.choice(match[1].split("|")), self.text)
        question = text.format(
            facts=" ".join(f"{capitalized(self.said(fact))}." for fact in facts),
            people=f"{', '.join(asked[:-1])} and {asked[-1]}",
            first=people[0],
            last=people[-1],
        )
        return replace(puzzle, links=links, sides=sides, question=question)

    def puzzle(self, people: Sequence[str], sides: Sequence[Fact] = ()) -> Puzzle:
        """The puzzle about these people, in the order of the chain."""
        links = tuple(zip(people, self.kinds(len(people) - 1), people[1:], strict=False))
        return Puzzle(self, tuple(people), links, tuple(sides))


@dataclass(frozen=True)
class Puzzle:
    """A puzzle drawn from a template.

    Attributes:
        template: its kind.
        people: who it is about, in the order of the chain.
        links: the facts of the chain, each from the end from which it is told.
        sides: facts that play no part.
        question: its text.
    """

    template: Template
    people: tuple[str, ...]
    links: tuple[Fact, ...]
    sides: tuple[Fact, ...] = ()
    question: str = ""

    @property
    def problem_id(self) -> str:
        """Template, people, and facts that play no part; they tell all that the checker needs."""
        return "/".join(["puzzles", self.template.name, ",".join(self.people), *map(".".join, self.sides)])

    @property
    def answer(self) -> str:
        """The right answer: the first of an order, or the word for a relative."""
        return self.answer_of(self.template.relations.chained(self.template.kinds(len(self.links)))[-1])

    def answer_of(self, kind: str) -> str:
        """The answer for what somebody takes the first person to be to the last."""
        first, last = self.people[0], self.people[-1]
        if self.template.chain:
            return self.template.relations.word(kind, first)
        return last if kind == LESS else first


def capitalized(text: str) -> str:
    """A text with a capital at its beginning."""
    return text[0].upper() + text[1:]


@cache
def load_templates() -> dict[str, Template]:
    """All templates by name; every fifth is held out."""
    text = files("erprm.demo.puzzles").joinpath("templates.txt").read_text(encoding="utf-8")
    blocks = text.strip().split("\n\n")
    templates = [_parse(block, number % _HELD_OUT_EVERY == 4) for number, block in enumerate(blocks)]
    return {template.name: template for template in templates}


def puzzle_named(problem_id: str) -> Puzzle:
    """The puzzle that an id tells, without its text.

    Raises:
        InputError: if it is no id of this world.
    """
    match = re.fullmatch(r"puzzles/(\w+)/([\w,]+)((?:/\w+\.[\w-]+\.\w+)*)", problem_id)
    template = load_templates().get(match[1]) if match else None
    if match is None or template is None:
        raise InputError(
            f"problem {problem_id!r} is not the id of a puzzle; these ids look like puzzles/TEMPLATE/NAME,NAME,..."
        )
    people, sides = match[2].split(","), [tuple(side.split(".")) for side in match[3].split("/")[1:]]
    names = [*people, *(name for first, _, second in sides for name in (first, second))]
    if (
        len(people) - 1 not in ([len(template.chain)] if template.chain else range(_FEWEST, _MOST + 1))
        or len(set(people)) < len(people)
        or not set(names) <= set(template.things)
        or not {kind for _, kind, _ in sides} <= set(template.relations.words)
    ):
        raise InputError(f"problem {problem_id!r}: template {template.name} has no such puzzle")
    return template.puzzle(people, sides)


def _parse(block: str, held_out: bool) -> Template:
    name, related, text, *rest = block.split("\n")
    more, is_order, less = related.partition(" / ")
    things = tuple(rest[0].split("|")) if rest else SHE + HE
    relations, chain = (scale(more, less), ()) if is_order else (family(), tuple(related.split()))
    return Template(name, text, relations, chain, things, held_out)
