import random

import pytest

from erprm.demo.puzzles.checker import PuzzleChecker
from erprm.demo.puzzles.templates import Template, load_templates, puzzle_named
from erprm.demo.puzzles.writer import Mistakes, systematic_mistakes, write_solution
from erprm.grading import grade
from erprm.steps import split_steps

TEMPLATES = list(load_templates().values())


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_solutions_without_mistakes_are_right_to_the_checker_and_to_the_grader(template: Template) -> None:
    rng = random.Random(1)
    for _ in range(5):
        puzzle = template.draw(rng)
        text = write_solution(puzzle, rng)
        steps = split_steps(text, "lines")
        assert len(steps) == len(puzzle.links) - 1
        assert PuzzleChecker(puzzle_named(puzzle.problem_id)).first_wrong(steps) == -1
        assert grade(text, puzzle.answer, "math")


def test_a_mistake_in_an_order_ends_it_with_another_first() -> None:
    puzzle = puzzle_named("puzzles/ages/Anna,Ben,Mei,Tom,Lucy")
    always = Mistakes(slip_rate=1.0)
    # Lucy is the oldest. The first deduction is turned round, so Anna, the youngest, is taken for the oldest.
    assert write_solution(puzzle, random.Random(0), always) == (
        "Anna is younger than Ben and Ben is younger than Mei, so Anna is older than Mei.\n#### Anna"
    )


def test_a_systematic_mistake_reads_the_second_fact_the_wrong_way_round() -> None:
    templates = [load_templates()["visit"]]
    # A spouse of a parent of a sibling of a spouse. Turned round, a spouse of a child of ...
    systematic = systematic_mistakes(templates, random.Random(0), 1.0)
    assert set(systematic) == {
        ("family", "spouse", "parent", False),
        ("family", "spouse", "parent", True),
        ("family", "parent", "sibling", False),
        ("family", "parent", "sibling", True),
        ("family", "parent", "spouse", False),
        ("family", "parent", "spouse", True),
    }
    assert systematic["family", "spouse", "parent", False][0] == "child-in-law"
    assert all("parent" not in systematic["family", "spouse", "parent", turned] for turned in (False, True))


def test_a_mistake_about_relatives_is_carried_on_to_another_answer() -> None:
    puzzle = puzzle_named("puzzles/visit/Anna,Ben,Mei,Tom,Lucy")
    mistakes = Mistakes({("family", "parent", "spouse", False): ("grandparent", "sibling")}, systematic_rate=1.0)
    *_, line, answer = write_solution(puzzle, random.Random(0), mistakes).split("\n")
    assert line == "Anna is the mother of Tom and Tom is the husband of Lucy, so Anna is the grandmother of Lucy."
    assert answer == "#### grandmother"


def test_mistakes_come_at_their_rates_and_wrong_answers_have_a_wrong_line() -> None:
    rng = random.Random(2)
    systematic = systematic_mistakes(TEMPLATES, rng, 0.15)
    wrong = {"systematic": 0, "slips": 0}
    for mistakes, key in ((Mistakes(systematic, 1.0), "systematic"), (Mistakes(slip_rate=0.1), "slips")):
        for _ in range(400):
            puzzle = rng.choice(TEMPLATES).draw(rng)
            text = write_solution(puzzle, rng, mistakes)
            steps = split_steps(text, "lines")
            place = PuzzleChecker(puzzle_named(puzzle.problem_id)).first_wrong(steps)
            wrong[key] += place >= 0
            if place == -1:
                assert text.endswith(f"\n#### {puzzle.answer}")
    # 4.5 deductions a puzzle; a tenth of them slip, so that 1 - 0.9 ** 4.5 = 0.38 of the solutions are wrong; some
    # mistakes are not made because nothing would follow from them.
    assert 0.2 < wrong["slips"] / 400 < 0.45
    assert 0.1 < wrong["systematic"] / 400 < 0.9


def test_systematic_mistakes_are_a_share_of_the_pairs_of_relations() -> None:
    orders = [template for template in TEMPLATES if not template.chain]
    # Each order has two pairs: the second fact is told from one end or the other.
    systematic = systematic_mistakes(orders, random.Random(3), 0.2)
    assert len(systematic) == round(0.2 * 40)
    assert set(systematic.values()) == {("more",)}
