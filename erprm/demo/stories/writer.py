"""Solutions to the stories, right ones and ones with the mistakes of a writer.

Mistakes are of two kinds. A *misread* step is one of a template that is mostly taken for another operation, which a
majority vote cannot mend. A *slip* is random: a number in the place of another. A mistake is carried on by the steps
after it. One after which something would not come out even is not made. Results are always right: a small model
miscalculates often enough by itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from erprm.demo.stories.lines import ANSWER
from erprm.demo.stories.templates import LARGEST, Problem, Step, Template, filled, parse_step, step_value

_OTHER_OPERATION = {" x ": " + ", " + ": " - ", " - ": " + ", " / ": " x "}
_LETTER = re.compile(r"(?<![A-Za-z{])[A-Za-wyz](?![A-Za-z}])")
_TRIES = 4


@dataclass(frozen=True)
class Mistakes:
    """Mistakes that solutions make.

    Attributes:
        misread: steps that are taken for another operation, as template and place.
        systematic_rate: how often one of them is.
        slip_rate: how often any other step has a random mistake.
    """

    misread: frozenset[tuple[str, int]] = frozenset()
    systematic_rate: float = 0.0
    slip_rate: float = 0.0


def misread_steps(templates: Iterable[Template], rng: random.Random, share: float) -> frozenset[tuple[str, int]]:
    """A random share of all steps."""
    steps = [(template.name, place) for template in templates for place in range(len(template.steps))]
    return frozenset(rng.sample(steps, round(share * len(steps))))


def write_solution(problem: Problem, rng: random.Random, mistakes: Mistakes | None = None) -> str:
    """The lines of a solution and the answer they come to, in one of the orders in which the steps can be done."""
    mistakes = mistakes or Mistakes()
    known = dict(problem.numbers)
    lines = []
    steps = _in_some_order(problem.template, rng)
    for done, (place, step) in enumerate(steps, 1):
        later = [later_step for _, later_step in steps[done:]]
        written, value = step, step_value(step.expression, known)
        for wrong in _mistakes_of(problem.template.name, place, step, known, rng, mistakes):
            if _comes_out({**known, step.result: wrong[1]}, later):
                written, value = wrong
                break
        assert value is not None, problem.problem_id
        known[step.result] = value
        lines.append(filled(_LETTER.sub(lambda letter: str(known[letter[0]]), written.text), problem.words))
    return "\n".join([*lines, f"{ANSWER} {known[steps[-1][1].result]}"])


def _in_some_order(template: Template, rng: random.Random) -> list[tuple[int, Step]]:
    """The steps, each after those whose results it takes."""
    waiting = list(enumerate(template.steps))
    ordered: list[tuple[int, Step]] = []
    while waiting:
        results = {step.result for _, step in waiting}
        ready = [entry for entry in waiting if results.isdisjoint(entry[1].expression.leaves)]
        chosen = rng.choice(ready)
        waiting.remove(chosen)
        ordered.append(chosen)
    return ordered


def _mistakes_of(
    name: str, place: int, step: Step, known: Mapping[str, int], rng: random.Random, mistakes: Mistakes
) -> list[tuple[Step, int]]:
    """The mistakes to try in a step, as it is then written and what it then gives; mostly none."""
    right = step_value(step.expression, known)
    assert right is not None
    if (name, place) in mistakes.misread:
        if rng.random() < mistakes.systematic_rate:
            return _valued([_misread(step)], known, right)
    elif rng.random() < mistakes.slip_rate:
        others = [letter for letter in known if letter not in step.expression.leaves]
        return _valued([_swapped(step, rng, rng.choice(others)) for _ in range(_TRIES) if others], known, right)
    return []


def _valued(steps: Sequence[Step], known: Mapping[str, int], right: int) -> list[tuple[Step, int]]:
    values = [(step, step_value(step.expression, known)) for step in steps]
    return [(step, value) for step, value in values if value is not None and value != right]


def _comes_out(known: Mapping[str, int], later: Sequence[Step]) -> bool:
    known = dict(known)
    if not all(1 <= value <= LARGEST for value in known.values()):
        return False
    for step in later:
        value = step_value(step.expression, known)
        if value is None:
            return False
        known[step.result] = value
    return True


def _misread(step: Step) -> Step:
    """The step with another operation; a percentage of something is taken away from it as if it were a number."""
    text, count = re.subn(r"(\w)% of ([^=]*) =", r"\2 - \1 =", step.text)
    if not count:
        text = re.sub(" [x+/-] ", lambda sign: _OTHER_OPERATION[sign[0]], text, count=1)
    return parse_step(text)


def _swapped(step: Step, rng: random.Random, other: str) -> Step:
    """The step with another number in the place of one."""
    left, right = step.text.split(" = ")
    letter = rng.choice([leaf for leaf in step.expression.leaves if leaf.isalpha()])
    left = _LETTER.sub(lambda match: other if match[0] == letter else match[0], left)
    return parse_step(f"{left} = {right}")
