"""Relations between two people or things: how they are said, turned round, and put together.

A fact is a triple, such as Eve, parent, Tom: Eve is a parent of Tom. In families every child has two parents, who are
married to each other, nobody marries twice or marries a relative, and different names are different people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from erprm.demo.language import HE

Fact = tuple[str, str, str]
MORE, LESS = "more", "less"


@dataclass(frozen=True)
class Relations:
    """Kinds of relations that go together.

    Attributes:
        name: tells them from others.
        words: each kind as it is said of a woman or a thing, and of a man.
        phrase: what makes of a word a phrase between two names.
        inverse: the kind as it is seen from the other end.
        composed: what a first and a second kind of relation come to, for those that come to one thing always.
    """

    name: str
    words: Mapping[str, tuple[str, str]]
    phrase: str
    inverse: Mapping[str, str]
    composed: Mapping[tuple[str, str], str]

    def word(self, kind: str, first: str) -> str:
        """The word of a kind, said of somebody."""
        return self.words[kind][first in HE]

    def said(self, kind: str, first: str) -> str:
        """What stands between two names."""
        return self.phrase.format(self.word(kind, first))

    def turned(self, fact: Fact) -> Fact:
        """The same fact from the other end."""
        first, kind, second = fact
        return second, self.inverse[kind], first

    def both_ends(self, facts: Iterable[Fact]) -> set[Fact]:
        """Facts, each from both ends."""
        return {end for fact in facts for end in (fact, self.turned(fact))}

    def chained(self, kinds: Iterable[str]) -> list[str]:
        """What the first kinds of a chain come to, one more each time; ends where nothing is known."""
        reached: list[str] = []
        for kind in kinds:
            if reached and (reached[-1], kind) not in self.composed:
                break
            reached.append(self.composed[reached[-1], kind] if reached else kind)
        return reached

    def closure(self, facts: Iterable[Fact]) -> set[Fact]:
        """The facts and all that follows from them, each from both ends."""
        found: set[Fact] = set()
        new = self.both_ends(facts)
        while new:
            found |= new
            new = {
                (first, self.composed[one, two], last)
                for first, one, middle in found
                for again, two, last in found
                if middle == again and first != last and (one, two) in self.composed
            } - found
        return found


def scale(more: str, less: str) -> Relations:
    """An order, from two phrases such as "is older than" and "is younger than"."""
    words = {MORE: (more, more), LESS: (less, less)}
    return Relations(more, words, "{}", {MORE: LESS, LESS: MORE}, {(MORE, MORE): MORE, (LESS, LESS): LESS})


@cache
def family() -> Relations:
    """The relatives of ``family.txt``: kind, kind from the other end and words, then what two kinds come to."""
    text = files("erprm.demo.puzzles").joinpath("family.txt").read_text(encoding="utf-8")
    kinds, rules = ([line.split() for line in block.splitlines()] for block in text.split("\n\n"))
    inverse = {kind: other for kind, other, _, _ in kinds}
    composed = {(one, two): result for one, two, result in rules}
    composed |= {(inverse[two], inverse[one]): inverse[result] for (one, two), result in composed.items()}
    return Relations("family", {kind: (she, he) for kind, _, she, he in kinds}, "is the {} of", inverse, composed)
