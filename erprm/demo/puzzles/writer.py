"""Solutions to puzzles, right ones and ones with the mistakes of a writer.

A mistake puts another relation in the place of what two facts come to. Some pairs of relations are *systematically*
mistaken: mostly for one same relation, where it can be the one that comes of reading the second fact the wrong way
round. A *slip* is random. A mistake is carried on by the lines after it: to another relative, or to the end, since
nobody is before whom one takes for the first of an order. One after which nothing would follow is not made.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from erprm.demo.puzzles.checker import ANSWER
from erprm.demo.puzzles.relations import MORE, Relations
from erprm.demo.puzzles.templates import Puzzle, Template, capitalized

# Name of the relations, the two that are put together, and whether the second is told from its other end.
Pair = tuple[str, str, str, bool]


@dataclass(frozen=True)
class Mistakes:
    """Mistakes that solutions make.

    Attributes:
        systematic: what pairs of relations are taken to come to; the first kind after which something follows.
        systematic_rate: how often such a pair is mistaken.
        slip_rate: how often any other pair is.
    """

    systematic: Mapping[Pair, tuple[str, ...]] = field(default_factory=dict)
    systematic_rate: float = 0.0
    slip_rate: float = 0.0


def systematic_mistakes(templates: Iterable[Template], rng: random.Random, share: float) -> dict[Pair, tuple[str, ...]]:
    """A random share of the pairs of relations that come up, and what they are taken for."""
    pairs = {
        (template.relations.name, known, kind, is_turned): template.relations
        for template in templates
        for known, kind in zip(template.relations.chained(template.kinds(2)), template.kinds(2)[1:], strict=False)
        for is_turned in (False, True)
    }
    chosen = rng.sample(sorted(pairs), round(share * len(pairs)))
    return {pair: _mistaken(pair, pairs[pair], rng) for pair in chosen}


def write_solution(puzzle: Puzzle, rng: random.Random, mistakes: Mistakes | None = None) -> str:
    """The lines of a solution, which go along the chain, and the answer they come to."""
    mistakes = mistakes or Mistakes()
    template, relations = puzzle.template, puzzle.template.relations
    kinds = template.kinds(len(puzzle.links))
    first, known, premise = puzzle.people[0], kinds[0], puzzle.links[0]
    lines = []
    for place, link in enumerate(puzzle.links[1:], start=1):
        second, later = kinds[place], kinds[place + 1 :]
        pair = (relations.name, known, second, link[0] != puzzle.people[place])
        known = relations.composed[known, second]
        for wrong in _mistakes_of(pair, relations, rng, mistakes):
            if not template.chain or len(relations.chained([wrong, *later])) > len(later):
                known = wrong
                break
        conclusion = (first, known, puzzle.people[place + 1])
        lines.append(
            capitalized(f"{template.said(premise)} and {template.said(link)}, so {template.said(conclusion)}.")
        )
        premise = conclusion
        if known == MORE:
            break
    return "\n".join([*lines, f"{ANSWER} {puzzle.answer_of(known)}"])


def with_another_conclusion(line: str, relations: Iterable[Relations], rng: random.Random) -> str:
    """A right deduction of some relations, which now concludes another relation, that does not follow."""
    premises, conclusion = line.split(", so ")
    first = conclusion.removeprefix("the ").split()[0]
    phrases = [[f" {each.said(kind, first)} " for kind in each.words] for each in relations]
    said, others = next(
        (phrase, [other for other in among if other != phrase])
        for among in phrases
        for phrase in among
        if phrase in conclusion
    )
    return f"{premises}, so {conclusion.replace(said, rng.choice(others))}"


def _mistakes_of(pair: Pair, relations: Relations, rng: random.Random, mistakes: Mistakes) -> Sequence[str]:
    """The mistakes to try, the first that something follows from; mostly none."""
    if pair in mistakes.systematic:
        return mistakes.systematic[pair] if rng.random() < mistakes.systematic_rate else ()
    return _mistaken(pair, relations, rng) if rng.random() < mistakes.slip_rate else ()


def _mistaken(pair: Pair, relations: Relations, rng: random.Random) -> tuple[str, ...]:
    """What a pair may be taken for: what comes of the wrong way round, then anything else."""
    _, first, second, _ = pair
    others = [kind for kind in relations.words if kind != relations.composed[first, second]]
    rng.shuffle(others)
    turned = relations.composed.get((first, relations.inverse[second]))
    return tuple(sorted(others, key=lambda kind: kind != turned))
