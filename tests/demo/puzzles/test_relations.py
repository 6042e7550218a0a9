import itertools
import random
from collections import defaultdict

import pytest

from erprm.demo.puzzles.relations import LESS, MORE, Fact, Relations, family, scale
from erprm.demo.puzzles.templates import Template, load_templates
from tests.demo.puzzles.families import followers, kinds_of_pairs, random_family, relatives

ORDER = scale("is older than", "is younger than")
FAMILIES = [kinds_of_pairs(relatives(random_family(random.Random(seed)))) for seed in range(120)]


def true_in_every_order(facts: list[Fact]) -> set[Fact]:
    """What holds in all orders of the people in which the facts hold, by going through them."""
    people = sorted({name for first, _, second in facts for name in (first, second)})
    worlds = []
    for order in itertools.permutations(people):
        place = {name: position for position, name in enumerate(order)}
        holds = {
            (one, MORE if place[one] < place[two] else LESS, two) for one, two in itertools.permutations(people, 2)
        }
        if holds >= set(facts):
            worlds.append(holds)
    return set.intersection(*worlds)


@pytest.mark.parametrize("seed", range(30))
def test_what_follows_about_an_order_is_what_holds_in_all_orders_with_the_facts(seed: int) -> None:
    rng = random.Random(seed)
    order = rng.sample("ABCDEF", 6)
    pairs = rng.sample(list(itertools.combinations(order, 2)), rng.randint(1, 7))
    facts = [rng.choice(((one, MORE, two), (two, LESS, one))) for one, two in pairs]
    assert ORDER.closure(facts) == true_in_every_order(facts)


def test_two_relatives_come_to_what_they_come_to_in_every_family() -> None:
    # All that the first may be to the last, where the last is somebody else; nothing in particular is "".
    possible: dict[tuple[str, str], set[str]] = defaultdict(set)
    for kinds in FAMILIES:
        seconds = followers(kinds)
        for (first, middle), one in kinds.items():
            for last in seconds[middle]:
                if first != last:
                    possible[one, kinds[middle, last]].add(kinds.get((first, last), ""))
    certain = {pair: next(iter(found)) for pair, found in possible.items() if len(found) == 1 and found != {""}}
    assert dict(family().composed) == certain


@pytest.mark.parametrize("seed", range(40))
def test_what_follows_about_relatives_is_true_in_the_family(seed: int) -> None:
    rng = random.Random(seed)
    kinds = rng.choice([kinds for kinds in FAMILIES if len(kinds) > 60])
    told = rng.sample(sorted(kinds), 8)
    facts = [(str(one), kinds[one, other], str(other)) for one, other in told]
    everything = {(str(one), kind, str(other)) for (one, other), kind in kinds.items()}
    assert set(facts) <= family().closure(facts) <= everything


FAMILY_TEMPLATES = [template for template in load_templates().values() if template.chain]


@pytest.mark.parametrize("template", FAMILY_TEMPLATES, ids=lambda template: template.name)
def test_there_are_families_with_each_chain_of_relatives(template: Template) -> None:
    assert any(has_chain(kinds, template.chain) for kinds in FAMILIES)


def has_chain(kinds: dict[tuple[int, int], str], chain: tuple[str, ...]) -> bool:
    """Whether some people who all differ are related like that, each to the next."""
    seconds = followers(kinds)

    def goes_on(people: list[int]) -> bool:
        if len(people) == len(chain) + 1:
            return True
        place, last = len(people) - 1, people[-1]
        return any(
            goes_on([*people, other])
            for other in seconds[last]
            if other not in people and kinds[last, other] == chain[place]
        )

    return any(goes_on([start]) for start in list(seconds))


@pytest.mark.parametrize("relations", [ORDER, family()], ids=["order", "family"])
def test_a_fact_turned_round_twice_is_itself(relations: Relations) -> None:
    for kind in relations.words:
        assert relations.turned(relations.turned(("Anna", kind, "Ben"))) == ("Anna", kind, "Ben")
        assert relations.turned(("Anna", kind, "Ben"))[::2] == ("Ben", "Anna")


def test_words_go_with_the_person_they_are_said_of() -> None:
    assert family().said("parent", "Anna") == "is the mother of"
    assert family().said("nibling", "Ben") == "is the nephew of"
    assert ORDER.said(MORE, "Anna") == ORDER.said(MORE, "Ben") == "is older than"
