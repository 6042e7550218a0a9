"""Families made of couples and their children, and who is what to whom in them, from the definitions of the words."""

import random
from collections import defaultdict
from collections.abc import Iterable

Pairs = set[tuple[int, int]]


def random_family(rng: random.Random, generations: int = 3) -> dict[int, tuple[int, int]]:
    """The parents of each person, who are numbered, couples such as 4 and 5; who marries in has a family, too."""
    parents: dict[int, tuple[int, int]] = {}
    people = iter(range(10_000))

    def grow(child_of: tuple[int, int] | None, left: int, is_married_in: bool = False) -> int:
        one, other = next(people), next(people)
        if child_of is not None:
            parents[one] = child_of
        if left and rng.random() < 0.8:
            if not is_married_in and rng.random() < 0.6:
                in_laws = next(people), next(people)
                parents[other] = in_laws
                for _ in range(rng.randrange(3)):
                    grow(in_laws, rng.randrange(2), is_married_in=True)
            for _ in range(rng.randrange(4)):
                grow((one, other), left - 1, is_married_in)
        return one

    grow(None, generations)
    return parents


def relatives(parents: dict[int, tuple[int, int]]) -> dict[str, Pairs]:
    """The pairs of each kind; the first of a pair is the parent, grandparent, ... of the second."""

    def of(first: Pairs, second: Pairs) -> Pairs:
        followed = defaultdict(set)
        for one, other in second:
            followed[one].add(other)
        return {(one, last) for one, other in first for last in followed[other]}

    def seen_from_the_other(pairs: Pairs) -> Pairs:
        return {(other, one) for one, other in pairs}

    couples = set(parents.values())
    spouse = couples | seen_from_the_other(couples)
    parent = {(one, child) for child, couple in parents.items() for one in couple}
    sibling = {(one, other) for one in parents for other in parents if one != other and parents[one] == parents[other]}
    aunt = of(sibling, parent)
    up = {
        "parent": parent,
        "grandparent": of(parent, parent),
        "great-grandparent": of(parent, of(parent, parent)),
        "pibling": aunt | of(spouse, aunt),
        "parent-in-law": of(parent, spouse),
    }
    down = ("child", "grandchild", "great-grandchild", "nibling", "child-in-law")
    return {
        **up,
        **{kind: seen_from_the_other(pairs) for kind, pairs in zip(down, up.values(), strict=True)},
        "sibling": sibling,
        "spouse": spouse,
        "cousin": of(seen_from_the_other(parent), aunt),
        "sibling-in-law": of(sibling, spouse) | of(spouse, sibling),
    }


def kinds_of_pairs(relations: dict[str, Pairs]) -> dict[tuple[int, int], str]:
    """What the first of a pair is to the second."""
    kinds = {pair: kind for kind, pairs in relations.items() for pair in pairs}
    assert len(kinds) == sum(map(len, relations.values()))
    return kinds


def followers(kinds: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """The second ones of each first one's pairs."""
    found = defaultdict(list)
    for one, other in kinds:
        found[one].append(other)
    return found
