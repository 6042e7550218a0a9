import random

import pytest

from erprm.demo.stories.checker import StoryChecker, first_wrong
from erprm.demo.stories.templates import Template, load_templates, template_named
from erprm.demo.stories.writer import Mistakes, misread_steps, write_solution
from erprm.grading import grade
from erprm.steps import split_steps

TEMPLATES = list(load_templates().values())


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_solutions_without_mistakes_are_right_to_the_checker_and_to_the_grader(template: Template) -> None:
    rng = random.Random(1)
    for _ in range(5):
        problem = template.draw(rng)
        text = write_solution(problem, rng)
        steps = split_steps(text, "lines")
        assert len(steps) == len(problem.template.steps)
        assert first_wrong(StoryChecker(*template_named(problem.problem_id)).check(steps)) == -1
        assert grade(text, problem.answer, "gsm8k")


def mistakes_in(template: str, mistakes: Mistakes) -> list[tuple[str, str]]:
    """The first wrong steps of 100 solutions, and why they are wrong."""
    rng = random.Random(0)
    found = []
    for _ in range(100):
        problem = load_templates()[template].draw(rng)
        steps = split_steps(write_solution(problem, rng, mistakes), "lines")
        checks = StoryChecker(problem.template, problem.numbers).check(steps)
        if (place := first_wrong(checks)) >= 0:
            found.append((steps[place], checks[place].reason))
    # A mistake is not made where something would not come out even after it.
    assert len(found) > 10
    return found


@pytest.mark.parametrize(("template", "step", "sign"), [("savings", 1, "-"), ("wages", 0, "+"), ("bus_ride", 1, "-")])
def test_a_misread_step_has_another_operation(template: str, step: int, sign: str) -> None:
    for line, reason in mistakes_in(template, Mistakes(misread=frozenset({(template, step)}), systematic_rate=1.0)):
        assert reason == "it computes no part of the answer"
        assert f" {sign} " in line
        assert "%" not in line


def test_slips_come_at_about_their_rate_and_most_are_found_by_their_answer() -> None:
    rng = random.Random(2)
    wrong = steps = 0
    for _ in range(600):
        problem = rng.choice(TEMPLATES).draw(rng)
        text = write_solution(problem, rng, Mistakes(slip_rate=0.1))
        checks = StoryChecker(problem.template, problem.numbers).check(split_steps(text, "lines"))
        wrong += sum(check.verdict == "wrong" for check in checks)
        steps += len(checks)
        # A right solution has the right answer; that two mistakes cancel is rare, but happens.
        if first_wrong(checks) == -1:
            assert text.endswith(f"\n#### {problem.answer}")
    # About 2,700 steps; some mistakes are not made because nothing would come out even after them.
    assert 0.05 < wrong / steps < 0.12


def test_misread_steps_are_a_share_of_all_steps() -> None:
    steps = {(template.name, place) for template in TEMPLATES for place in range(len(template.steps))}
    misread = misread_steps(TEMPLATES, random.Random(3), 0.2)
    assert len(misread) == round(0.2 * len(steps))
    assert misread < steps


def test_no_result_is_miscalculated() -> None:
    """Every line is right as arithmetic, whatever mistakes are made."""
    rng = random.Random(4)
    every_step = misread_steps(TEMPLATES, rng, 1.0)
    for _ in range(300):
        problem = rng.choice(TEMPLATES).draw(rng)
        text = write_solution(problem, rng, Mistakes(every_step, systematic_rate=0.5, slip_rate=0.5))
        for check in StoryChecker(problem.template, problem.numbers).check(split_steps(text, "lines")):
            assert not (check.reason or "").startswith("the result is")
