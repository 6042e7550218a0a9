import itertools
import random

import pytest

from erprm.demo.puzzles.checker import PuzzleChecker
from erprm.demo.puzzles.relations import Fact
from erprm.demo.puzzles.templates import Template, capitalized, load_templates, puzzle_named

# Anna > Ben > Mei > Tom > Lucy, and Ben > Leo.
AGES = puzzle_named("puzzles/ages/Lucy,Tom,Mei,Ben,Anna/Ben.more.Leo")
# Anna is a child of Ben, who is a sibling of Mei, who is the spouse of Tom, who is a parent of Lucy.
COUSINS = puzzle_named("puzzles/portraits/Anna,Ben,Mei,Tom,Lucy")
PRICES = puzzle_named("puzzles/prices/radio,desk,vase,rug,lamp")


@pytest.mark.parametrize(
    "text",
    [
        "Anna is older than Ben and Ben is older than Mei, so Anna is older than Mei.\n#### Anna",
        "Ben is younger than Anna and Mei is younger than Ben, so Mei is younger than Anna.",
        "since anna is older than ben, and ben is older than leo, anna is older than leo",
        "Ben is older than Mei. Mei is older than Tom. So Ben is older than Tom.",
        "Tom is younger than Mei.\nTom is older than Lucy.\nSo Mei is older than Lucy.",
        "Anna is older than Ben and Ben is older than Mei and Mei is older than Tom, so Anna is older than Tom.",
        "Anna is older than Ben, Ben is older than Mei, so Anna is older than Mei, Mei is older than Tom, hence Anna "
        "is older than Tom.",
        "Therefore Anna is older than Lucy.\n####anna.",
    ],
)
def test_deductions_in_any_order_are_right_in_every_line(text: str) -> None:
    assert PuzzleChecker(AGES).first_wrong(text.split("\n")) == -1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Anna is older than Ben and Ben is older than Mei, so Mei is older than Anna.", "does not follow"),
        ("Mei is older than Ben.", "does not follow"),
        # True, but neither told nor derived before.
        ("Anna is older than Mei and Mei is older than Tom, so Anna is older than Tom.", "does not follow"),
        # Two facts that do not meet in one person, and people of whom nothing is told.
        ("Anna is older than Ben and Mei is older than Tom, so Anna is older than Tom.", "does not follow"),
        ("Leo is older than Mei.", "does not follow"),
        ("Mei is older than Leo.", "does not follow"),
        ("Anna is older than Anna.", "cannot be"),
        ("Anna is not older than Ben.", "it cannot be read"),
        ("Anna is older than Ben, because Ben is older than Mei.", "it cannot be read"),
        ("If Anna is older than Ben, then Ben is older than Mei.", "it cannot be read"),
        ("Anna is taller than Ben.", "it cannot be read"),
        ("Anna is older than Zoe.", "it cannot be read"),
        ("Anna is older than Bend.", "it cannot be read"),
        ("Anna is the oldest.", "it cannot be read"),
        ("So.", "it cannot be read"),
        ("#### Ben", "it is not the answer"),
        ("#### Anna Ben", "it is not the answer"),
        ("####", "it is not the answer"),
    ],
)
def test_a_wrong_line_is_wrong_for_its_reason(line: str, reason: str) -> None:
    checker = PuzzleChecker(AGES)
    assert checker.mistake(line, AGES.template.relations.both_ends([*AGES.links, *AGES.sides])).endswith(reason)
    assert checker.first_wrong([line]) == 0


def test_relatives_are_checked_with_their_words() -> None:
    checker = PuzzleChecker(COUSINS)
    right = [
        "Anna is the daughter of Ben and Ben is the brother of Mei, so Anna is the niece of Mei.",
        "Anna is the niece of Mei and Tom is the husband of Mei, so Anna is the niece of Tom.",
        "Anna is the niece of Tom and Lucy is the daughter of Tom, so Anna is the cousin of Lucy.\n#### cousin",
    ]
    assert checker.first_wrong(right) == -1
    assert checker.first_wrong([right[1], right[0]]) == 0
    assert checker.first_wrong([right[0], right[1].replace("niece", "nephew")]) == 1
    assert checker.first_wrong([right[0], right[1].replace("niece of Tom", "cousin of Tom")]) == 1
    assert checker.first_wrong([*right[:2], right[2].replace("#### cousin", "#### niece")]) == 2
    # That Mei is Lucy's mother follows, but is not known before it is stated.
    mother, uncle = "Mei is the mother of Lucy", "Ben is the brother of Mei, so Ben is the uncle of Lucy."
    assert checker.first_wrong([f"{mother} and {uncle}"]) == 0
    assert checker.first_wrong([mother, f"{mother} and {uncle}"]) == -1


def test_things_may_have_their_article_or_not() -> None:
    line = "The lamp costs more than the rug and vase costs less than rug, so the vase costs less than the lamp."
    assert PuzzleChecker(PRICES).first_wrong([line]) == -1
    assert PuzzleChecker(PRICES).first_wrong([line, "#### lamp"]) == -1
    # As the grader has it.
    assert PuzzleChecker(PRICES).first_wrong([line, "#### the lamp"]) == 1


def test_an_empty_step_is_wrong_and_so_is_a_step_with_one_wrong_line() -> None:
    assert PuzzleChecker(AGES).first_wrong(["Anna is older than Ben.", " "]) == 1
    assert PuzzleChecker(AGES).first_wrong(["Anna is older than Ben.", "Ben is older than Tom.\n#### Ben"]) == 1


@pytest.mark.parametrize("template", load_templates().values(), ids=lambda template: template.name)
def test_of_all_conclusions_from_two_known_facts_those_that_follow_are_right(template: Template) -> None:
    puzzle = template.draw(random.Random(0))
    relations, checker = template.relations, PuzzleChecker(puzzle)
    (one, two), last = puzzle.links[:2], puzzle.people[2]
    right = set()
    for kind in relations.words:
        fact: Fact = (puzzle.people[0], kind, last)
        line = capitalized(f"{template.said(one)} and {template.said(two)}, so {template.said(fact)}.")
        if checker.first_wrong([line]) == -1:
            right.add(kind)
    kinds = template.kinds(len(puzzle.links))
    assert right == {relations.composed[kinds[0], kinds[1]]}


def test_no_text_breaks_the_checker() -> None:
    rng = random.Random(0)
    words = ["Anna", "Ben", "is older than", "is", "and", "so", ", ", ". ", "####", "(", "\\", "\n", "the"]
    for _ in range(3000):
        text = " ".join(rng.choices(words, k=15))
        assert PuzzleChecker(AGES).first_wrong(text.split("\n")) in range(-1, 15)
    assert PuzzleChecker(AGES).first_wrong(list(itertools.repeat("Anna is older than Ben", 500))) == -1
    assert PuzzleChecker(AGES).first_wrong(["so " * 20_000]) == 0
