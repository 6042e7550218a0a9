import random
import re

import pytest

from erprm.demo.stories.lines import Expression
from erprm.demo.stories.templates import DISTRACTORS, Template, load_templates, parse_step, template_named
from erprm.errors import InputError

TEMPLATES = list(load_templates().values())


def sentences(template: Template) -> set[str]:
    """The sentences of a template; drawn words and wordings are one and the same blank."""
    return set(re.split(r"[.?] ?", re.sub(r"\{\w+\}|\[[^\]]*\]", "_", template.text))) - {""}


def shape(template: Template) -> tuple[object, ...]:
    """The calculation of a template with its quantities numbered as they come up."""
    places: dict[str, object] = {}

    def walk(expression: Expression) -> object:
        if expression.operator:
            return (expression.operator, *map(walk, expression.parts))
        return expression.leaf if expression.leaf.isdigit() else places.setdefault(expression.leaf, len(places))

    walked = []
    for step in template.steps:
        walked.append(walk(step.expression))
        places[step.result] = len(places)
    return tuple(walked)


def test_there_are_68_templates_of_3_to_7_steps_and_a_fifth_is_held_out() -> None:
    assert len(TEMPLATES) == 68
    assert {len(template.steps) for template in TEMPLATES} == {3, 4, 5, 6, 7}
    assert sum(template.held_out for template in TEMPLATES) == 13


def test_no_held_out_template_shares_a_sentence_or_a_calculation_with_another() -> None:
    trained = [template for template in TEMPLATES if not template.held_out]
    for template in TEMPLATES:
        if template.held_out:
            assert not sentences(template) & {sentence for other in trained for sentence in sentences(other)}
            assert shape(template) not in {shape(other) for other in trained}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_template_gives_problems_that_come_out_even(template: Template) -> None:
    rng = random.Random(0)
    for _ in range(5):
        problem = template.draw(rng)
        values = template.values(problem.numbers)
        assert values is not None
        assert len(set(values.values())) == len(values)
        assert all(1 <= value <= 9999 for value in values.values())
        assert problem.question.endswith("?")
        assert not set("{}[]|_") & set(problem.question)
        # All that is given stands in the problem, and a number besides only as a distraction.
        numbers = re.findall(r"\d+", problem.question)
        assert {str(number) for number in problem.numbers.values()} <= set(numbers)
        others = set(numbers) - {str(number) for number in (*problem.numbers.values(), *template.literals)}
        assert len(others) in (0, 1)
        assert template_named(problem.problem_id) == (template, problem.numbers)


def test_what_is_drawn_is_the_seeds_and_differs() -> None:
    (template,) = (template for template in TEMPLATES if template.name == "bakery")
    drawn = [template.draw(random.Random(seed)) for seed in (1, 1, *range(2, 40))]
    assert drawn[0] == drawn[1]
    assert len({problem.question for problem in drawn}) == 39
    assert {problem.words["thing"] for problem in drawn} == {"rolls", "buns", "tarts"}
    distracted = [p for p in drawn if any(d.split("{")[0] in p.question for d in DISTRACTORS if d[0] != "{")]
    assert 0 < len(distracted) < 39


def test_an_id_tells_the_problem() -> None:
    template, numbers = template_named("stories/bakery/a=12,b=10,c=30,d=6")
    assert numbers == {"a": 12, "b": 10, "c": 30, "d": 6}
    assert template.values(numbers) == {**numbers, "A": 120, "B": 90, "C": 15}
    # With 20 sold and 5 to a bag there are 20 bags, a second 20.
    assert template.values({"a": 12, "b": 10, "c": 20, "d": 5}) is None


@pytest.mark.parametrize(
    ("problem_id", "message"),
    [
        ("gsm8k/test/1", "is not the id of a story; these ids look like stories/TEMPLATE/a=NUMBER"),
        ("stories/bakehouse/a=1", "is not the id of a story"),
        ("stories/bakery/a=12", "template bakery has no such problem"),
        ("stories/bakery/a=12,b=10,c=20,d=7", "template bakery has no such problem"),
    ],
)
def test_an_id_of_another_problem_is_refused(problem_id: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        template_named(problem_id)


def test_small_numbers_are_preferred() -> None:
    """The smallest of 30 numbers from 1 to 500 is above 200 with probability 0.6 ** 30, twice in ten million."""
    template = Template(
        name="doubled",
        text="{name} has {a} cards. {other} has twice as many. How many are that?",
        numbers={"a": tuple(range(1, 501))},
        words={},
        steps=(parse_step("a cards x 2 = A cards"),),
        held_out=False,
    )
    drawn = [template.draw(random.Random(seed)).numbers["a"] for seed in range(40)]
    assert max(drawn) <= 200
    assert len(set(drawn)) > 10
