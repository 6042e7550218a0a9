import random
import re

import pytest

from erprm.demo.drills import sheets
from erprm.demo.language import HE
from erprm.demo.puzzles.relations import Fact, Relations, family
from erprm.demo.puzzles.templates import load_templates
from erprm.demo.puzzles.world import PuzzlesWorld
from erprm.demo.puzzles.writer import with_another_conclusion
from tests.tiny import save_tiny_llama


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """All lines of thirty sheets."""
    backbone = save_tiny_llama(tmp_path_factory.mktemp("tiny"), with_tags=False)
    world = PuzzlesWorld(backbone=str(backbone))
    return [line for sheet in sheets(world.drill_lines, random.Random(0), 30) for line in sheet]


def facts(line: str, relations: Relations) -> list[Fact]:
    """The facts that a line states, in the words of some relations."""
    said = {relations.said(kind, "Tom" if is_he else "Anna"): kind for kind in relations.words for is_he in (0, 1)}
    name = r"(?:the )?(\w+)"
    found = re.findall(rf"{name} ({'|'.join(said)}) {name}", line[0].lower() + line[1:], re.IGNORECASE)
    return [(first.capitalize(), said[phrase], second.capitalize()) for first, phrase, second in found]


def test_drills_are_right_deductions_of_templates_that_are_not_held_out(lines: list[str]) -> None:
    seen = {
        template.relations.name: template.relations for template in load_templates().values() if not template.held_out
    }
    assert len(lines) == 30 * 14
    of_families = 0
    for line in lines:
        (relations,) = [each for each in seen.values() if len(facts(line, each)) == 3]
        one, two, conclusion = facts(line, relations)
        assert conclusion in relations.closure([one, two]), line
        of_families += relations is family()
    # Half of the templates are orders, with as many deductions, and two of five of these are kept.
    assert of_families / len(lines) == pytest.approx(1 / 1.4, abs=0.1)


def test_men_and_women_are_called_by_their_words(lines: list[str]) -> None:
    for line in lines:
        for first, word in re.findall(r"(\w+) is the (son|daughter|brother|sister|uncle|aunt) of", line):
            assert (first in HE) == (word in {"son", "brother", "uncle"}), line


def test_another_conclusion_is_of_the_same_people_and_does_not_follow(lines: list[str]) -> None:
    seen = [template.relations for template in load_templates().values() if not template.held_out]
    rng = random.Random(0)
    for line in lines:
        relations = next(each for each in seen if len(facts(line, each)) == 3)
        one, two, (first, kind, last) = facts(line, relations)
        *premises, wrong = facts(with_another_conclusion(line, seen, rng), relations)
        assert premises == [one, two]
        assert (wrong[0], wrong[2]) == (first, last)
        assert wrong[1] != kind
        assert wrong not in relations.closure([one, two]), line
