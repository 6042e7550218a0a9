import random
import re

import pytest

from erprm.demo.language import HE
from erprm.demo.puzzles.templates import Template, load_templates, puzzle_named
from erprm.errors import InputError

TEMPLATES = list(load_templates().values())


def sentences(template: Template) -> set[str]:
    """The sentences of a template; drawn words and wordings are one and the same blank."""
    return set(re.split(r"[.?] ?", re.sub(r"\{\w+\}|\[[^\]]*\]", "_", template.text))) - {"", "_"}


def phrases(template: Template) -> set[str]:
    """The relations of a template in words."""
    return {phrase for words in template.relations.words.values() for phrase in words}


def test_there_are_40_templates_half_of_them_orders_and_a_fifth_is_held_out() -> None:
    assert len(TEMPLATES) == 40
    assert sum(not template.chain for template in TEMPLATES) == 20
    for is_order in (True, False):
        assert sum(template.held_out for template in TEMPLATES if is_order == (not template.chain)) == 4
    assert {len(template.chain) for template in TEMPLATES} == {0, 4, 5, 6, 7}


def test_no_held_out_template_shares_a_sentence_an_order_or_a_chain_with_another() -> None:
    trained = [template for template in TEMPLATES if not template.held_out]
    for template in TEMPLATES:
        if template.held_out:
            assert not sentences(template) & {sentence for other in trained for sentence in sentences(other)}
            if template.chain:
                assert template.chain not in {other.chain for other in trained}
            else:
                phrases = {
                    phrase for other in trained for phrases in other.relations.words.values() for phrase in phrases
                }
                assert not {phrase for phrases in template.relations.words.values() for phrase in phrases} & phrases


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_template_gives_puzzles_that_tell_their_facts(template: Template) -> None:
    rng = random.Random(0)
    lengths = set()
    for _ in range(30):
        puzzle = template.draw(rng)
        lengths.add(len(puzzle.links))
        assert puzzle.question.endswith("?")
        assert not set("{}[]|_") & set(puzzle.question)
        told = [fact for link in (*puzzle.links, *puzzle.sides) for fact in (link, template.relations.turned(link))]
        stated = [fact for fact in told if template.said(fact).lower() in puzzle.question.lower()]
        assert len(stated) == len(puzzle.links) + len(puzzle.sides)
        assert set(puzzle.links) <= set(stated)
        known = puzzle_named(puzzle.problem_id)
        relations = template.relations
        assert relations.both_ends(known.links) == relations.both_ends(puzzle.links)
        assert (known.people, known.sides, known.answer) == (puzzle.people, puzzle.sides, puzzle.answer)
        for first, kind, second in relations.closure(told):
            assert kind != "spouse" or (first in HE) != (second in HE)
    assert lengths == ({len(template.chain)} if template.chain else {4, 5, 6, 7})


@pytest.mark.parametrize("template", [template for template in TEMPLATES if not template.chain], ids=lambda t: t.name)
def test_only_the_people_of_the_order_are_asked_for_and_their_first_is_certain(template: Template) -> None:
    rng = random.Random(1)
    for _ in range(10):
        puzzle = template.draw(rng)
        asked = puzzle.question.split(". ")[-1]
        assert all(template.named(person) in asked for person in puzzle.people)
        assert not any(re.search(rf"\b{other}\b", asked) for _, _, other in puzzle.sides)
        facts = template.relations.closure([*puzzle.links, *puzzle.sides])
        assert {(puzzle.answer, "more", other) for other in puzzle.people[:-1]} <= facts


@pytest.mark.parametrize("template", [template for template in TEMPLATES if not template.chain], ids=lambda t: t.name)
def test_the_first_fact_of_an_order_is_of_its_last_two(template: Template) -> None:
    rng = random.Random(2)
    for _ in range(10):
        puzzle = template.draw(rng)
        told = puzzle.question.lower()
        sides = [end for side in puzzle.sides for end in (side, template.relations.turned(side))]
        first, *others = (told.find(template.said(fact).lower()) for fact in (*puzzle.links, *sides))
        assert set(puzzle.links[0]) >= set(puzzle.people[:2])
        assert first >= 0
        assert all(first < place for place in others if place >= 0)


def test_what_is_drawn_is_the_seeds_and_differs() -> None:
    ages = load_templates()["ages"]
    drawn = [ages.draw(random.Random(seed)) for seed in (1, 1, *range(2, 40))]
    assert drawn[0] == drawn[1]
    assert len({puzzle.problem_id for puzzle in drawn}) == 39
    assert {len(puzzle.sides) for puzzle in drawn} == {0, 1, 2}


def test_answers_are_names_and_relatives() -> None:
    assert puzzle_named("puzzles/ages/Anna,Ben,Mei,Tom,Lucy").answer == "Lucy"
    assert puzzle_named("puzzles/heights/Anna,Ben,Mei,Tom,Lucy").answer == "Lucy"
    # A child of a sibling of a spouse of a parent.
    assert puzzle_named("puzzles/portraits/Anna,Ben,Mei,Tom,Lucy").answer == "cousin"
    # A spouse of a parent of a sibling of a spouse.
    assert puzzle_named("puzzles/visit/Anna,Ben,Mei,Tom,Lucy").answer == "mother-in-law"
    assert puzzle_named("puzzles/visit/Ben,Anna,Mei,Tom,Lucy").answer == "father-in-law"


@pytest.mark.parametrize(
    ("problem_id", "message"),
    [
        ("gsm8k/test/1", "is not the id of a puzzle; these ids look like puzzles/TEMPLATE/NAME,NAME,..."),
        ("puzzles/agings/Anna,Ben,Mei,Tom,Lucy", "is not the id of a puzzle"),
        ("puzzles/ages/Anna,Ben", "template ages has no such puzzle"),
        ("puzzles/ages/Anna,Ben,Mei,Tom,Tom", "template ages has no such puzzle"),
        ("puzzles/ages/Anna,Ben,Mei,Tom,lamp", "template ages has no such puzzle"),
        ("puzzles/ages/Anna,Ben,Mei,Tom,Lucy/Anna.parent.Leo", "template ages has no such puzzle"),
        ("puzzles/visit/Anna,Ben,Mei,Tom", "template visit has no such puzzle"),
    ],
)
def test_an_id_of_another_problem_is_refused(problem_id: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        puzzle_named(problem_id)
