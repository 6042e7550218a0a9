"""``examples/stories`` and ``examples/puzzles``: what was stored belongs to this code, and is what its page says."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from erprm.data.pools import read_pool
from erprm.data.records import RolloutRecord, read_records
from erprm.demo.language import FULL as STORIES
from erprm.demo.language import LanguageRecipe
from erprm.demo.puzzles.checker import PuzzleChecker
from erprm.demo.puzzles.templates import puzzle_named
from erprm.demo.puzzles.world import FULL as PUZZLES
from erprm.demo.stories.checker import StoryChecker, first_wrong
from erprm.demo.stories.templates import template_named
from erprm.runs.folder import read_sealed
from tests.conftest import REPOSITORY


def story(problem_id: str) -> tuple[str, bool]:
    """The answer of a story, and whether its template is held out."""
    template, numbers = template_named(problem_id)
    values = template.values(numbers)
    assert values is not None
    return str(values[template.steps[-1].result]), template.held_out


def puzzle(problem_id: str) -> tuple[str, bool]:
    """The answer of a puzzle, and whether its template is held out."""
    named = puzzle_named(problem_id)
    return named.answer, named.template.held_out


@dataclass(frozen=True)
class Example:
    """A stored run, what its page says of it, and how its problems are read."""

    world: str
    recipe: LanguageRecipe
    parts: dict[str, int]
    completions: int
    problem: Callable[[str], tuple[str, bool]]
    first_wrong: Callable[[RolloutRecord], int]

    @property
    def folder(self) -> Path:
        return REPOSITORY / "examples" / self.world

    def problems(self, part: str) -> list[dict[str, str]]:
        text = (self.folder / "problems" / f"{part}.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(params=["stories", "puzzles"])
def example(request: pytest.FixtureRequest) -> Example:
    if request.param == "stories":
        return Example(
            "stories",
            STORIES,
            {"train": 600, "seen": 50, "held_out": 30},
            8600,
            story,
            lambda record: first_wrong(StoryChecker(*template_named(record.problem_id)).check(record.steps)),
        )
    return Example(
        "puzzles",
        PUZZLES,
        {"train": 500, "seen": 60, "held_out": 20},
        6008,
        puzzle,
        lambda record: PuzzleChecker(puzzle_named(record.problem_id)).first_wrong(record.steps),
    )


def test_the_run_is_one_of_the_present_recipe(example: Example) -> None:
    settings = read_sealed(example.folder / "manifest.json")["settings"]
    assert {**settings, "backbone": ""} == {**asdict(example.recipe), "world": example.world, "seed": 0, "backbone": ""}
    rollouts = read_sealed(example.folder / "rollouts" / "manifest.json")["settings"]
    assert rollouts["model"] == f"{example.world}/policy"


def test_problems_have_the_answers_of_their_templates_and_are_in_one_part(example: Example) -> None:
    parts = {part: example.problems(part) for part in example.parts}
    assert {part: len(found) for part, found in parts.items()} == example.parts
    ids = [row["problem_id"] for found in parts.values() for row in found]
    assert len(set(ids)) == len(ids)
    for part, found in parts.items():
        for row in found:
            assert example.problem(row["problem_id"]) == (row["answer"], part == "held_out")


def test_each_training_problem_has_a_solution_with_four_completions_of_every_prefix(example: Example) -> None:
    records = list(read_records(example.folder / "rollouts"))
    assert {record.problem_id for record in records} == {row["problem_id"] for row in example.problems("train")}
    completed = [rewards for record in records for rewards in record.rewards[:-1]]
    assert {len(rewards) for rewards in completed} == {4}
    assert sum(map(len, completed)) == example.completions
    for record in records:
        # What is right line by line has the right answer; the other way round, mistakes may cancel.
        if example.first_wrong(record) == -1:
            assert record.correct


@pytest.mark.parametrize("pool", ["seen", "held_out"])
def test_pools_have_64_candidates_of_each_problem(example: Example, pool: str) -> None:
    entries = read_pool(example.folder / "pool" / f"{pool}.jsonl")
    assert [len(entry.candidates) for entry in entries] == [64] * example.parts[pool]
    assert {str(entry.problem.problem_id) for entry in entries} == {row["problem_id"] for row in example.problems(pool)}
