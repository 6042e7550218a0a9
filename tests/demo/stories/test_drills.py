import random
import re
from fractions import Fraction

import pytest

from erprm.demo.stories.drills import drills
from erprm.demo.stories.templates import load_templates

TEMPLATES = [template for template in load_templates().values() if not template.held_out]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """All lines of twelve sheets."""
    sheets = drills(TEMPLATES, random.Random(0), 12)
    assert len(sheets) == 12
    assert {sheet["prompt"] for sheet in sheets} == {"Calculations:\n"}
    return [line for sheet in sheets for line in sheet["completion"].split("\n")]


def value(side: str) -> Fraction:
    """What one side of a line comes to, its words left out."""
    numbers = re.sub(r"(\d+)% of", r"\1 / 100 *", side).replace(" x ", " * ")
    calculation = re.sub(r"[^\d+*/ -]", "", numbers)
    return Fraction(eval(re.sub(r"(\d+)", r"Fraction(\1)", calculation), {"Fraction": Fraction}))


def test_sheets_have_fourteen_right_lines(lines: list[str]) -> None:
    assert len(lines) == 12 * 14
    for line in lines:
        left, right = line.split(" = ")
        assert value(left) == value(right), line


def test_lines_of_one_solution_do_not_stand_together(lines: list[str]) -> None:
    results = [line.split(" = ")[1].split()[0].lstrip("$") for line in lines]
    followed = sum(
        result in re.findall(r"\d+", after.split(" = ")[0]) for result, after in zip(results, lines[1:], strict=False)
    )
    # In solutions about two lines of three go on with the result before.
    assert followed < len(lines) / 6


def test_subtractions_and_divisions_come_more_often_than_in_solutions(lines: list[str]) -> None:
    """They are 95 of the 304 steps of all templates; all of them are kept, and two of five others."""
    hard = sum(" - " in line or " / " in line for line in lines)
    assert hard / len(lines) == pytest.approx(95 / (95 + 0.4 * 209), abs=0.12)
