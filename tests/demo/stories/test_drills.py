import random
import re
from dataclasses import asdict
from fractions import Fraction
from functools import partial

import pytest

from erprm.data.records import validate_record
from erprm.demo.drills import drills, judged_drills, sheets
from erprm.demo.stories.drills import calculations, miscalculated
from erprm.demo.stories.templates import load_templates

TEMPLATES = [template for template in load_templates().values() if not template.held_out]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """All lines of twelve sheets."""
    drilled = drills("Calculations:", sheets(partial(calculations, TEMPLATES), random.Random(0), 12))
    assert len(drilled) == 12
    assert {sheet["prompt"] for sheet in drilled} == {"Calculations:\n"}
    return [line for sheet in drilled for line in sheet["completion"].split("\n")]


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


def test_half_of_the_judged_lines_are_wrong_and_judgements_are_true() -> None:
    rng = random.Random(1)
    records = judged_drills("Calculations:", sheets(partial(calculations, TEMPLATES), rng, 12), miscalculated, rng)
    assert len({record.problem_id for record in records}) == 12
    right = 0
    for record in records:
        assert validate_record(asdict(record), where="drills") == record
        for line, (reward,) in zip(record.steps, record.rewards, strict=True):
            left, result = line.split(" = ")
            assert (value(left) == value(result)) == (reward == 1.0), line
            right += reward == 1.0
        assert record.correct == (record.rewards[-1] == [1.0])
    # 168 draws at one half: five standard deviations are 32.
    assert 52 < right < 116


def test_a_wrong_result_has_one_other_digit_and_as_many() -> None:
    rng = random.Random(0)
    assert {miscalculated("12 boxes x 4 pens = 48 pens", rng) for _ in range(600)} == {
        *(f"12 boxes x 4 pens = {digit}8 pens" for digit in "12356789"),
        *(f"12 boxes x 4 pens = 4{digit} pens" for digit in "012345679"),
    }
