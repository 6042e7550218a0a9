"""``examples/stories``: what was stored still belongs to the stories of this code, and is what its page says."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from erprm.data.pools import read_pool
from erprm.data.records import read_records
from erprm.demo.language import FULL
from erprm.demo.stories.checker import StoryChecker, first_wrong
from erprm.demo.stories.templates import template_named
from erprm.runs.folder import read_sealed

EXAMPLE = Path(__file__).parents[1] / "examples" / "stories"


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_run_is_one_of_the_present_recipe() -> None:
    settings = read_sealed(EXAMPLE / "manifest.json")["settings"]
    assert {**settings, "backbone": ""} == {**asdict(FULL), "world": "stories", "seed": 0, "backbone": ""}
    assert read_sealed(EXAMPLE / "rollouts" / "manifest.json")["settings"]["model"] == "stories/policy"


def test_problems_have_the_answers_of_their_templates_and_are_in_one_part() -> None:
    parts = {part: rows(EXAMPLE / "problems" / f"{part}.jsonl") for part in ("train", "seen", "held_out")}
    assert {part: len(found) for part, found in parts.items()} == {"train": 600, "seen": 50, "held_out": 30}
    ids = [row["problem_id"] for found in parts.values() for row in found]
    assert len(set(ids)) == len(ids)
    for part, found in parts.items():
        for row in found:
            template, numbers = template_named(row["problem_id"])
            values = template.values(numbers)
            assert values is not None
            assert row["answer"] == str(values[template.steps[-1].result])
            assert template.held_out == (part == "held_out")


def test_each_training_problem_has_a_solution_with_four_completions_of_every_prefix() -> None:
    records = list(read_records(EXAMPLE / "rollouts"))
    assert {record.problem_id for record in records} == {
        row["problem_id"] for row in rows(EXAMPLE / "problems" / "train.jsonl")
    }
    assert {len(rewards) for record in records for rewards in record.rewards[:-1]} == {4}
    assert sum(len(rewards) for record in records for rewards in record.rewards[:-1]) == 8600
    for record in records:
        # What is right line by line has the right answer; the other way round, mistakes may cancel.
        if first_wrong(StoryChecker(*template_named(record.problem_id)).check(record.steps)) == -1:
            assert record.correct


@pytest.mark.parametrize(("pool", "problems"), [("seen", 50), ("held_out", 30)])
def test_pools_have_64_candidates_of_each_problem(pool: str, problems: int) -> None:
    entries = read_pool(EXAMPLE / "pool" / f"{pool}.jsonl")
    assert [len(entry.candidates) for entry in entries] == [64] * problems
    assert {str(entry.problem.problem_id) for entry in entries} == {
        row["problem_id"] for row in rows(EXAMPLE / "problems" / f"{pool}.jsonl")
    }
