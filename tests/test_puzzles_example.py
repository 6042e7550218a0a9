"""``examples/puzzles``: what was stored still belongs to the puzzles of this code, and is what its page says."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from erprm.data.pools import read_pool
from erprm.data.records import read_records
from erprm.demo.puzzles.checker import PuzzleChecker
from erprm.demo.puzzles.templates import puzzle_named
from erprm.demo.puzzles.world import FULL
from erprm.runs.folder import read_sealed

EXAMPLE = Path(__file__).parents[1] / "examples" / "puzzles"
PARTS = {"train": 500, "seen": 60, "held_out": 20}


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_run_is_one_of_the_present_recipe() -> None:
    settings = read_sealed(EXAMPLE / "manifest.json")["settings"]
    assert {**settings, "backbone": ""} == {**asdict(FULL), "world": "puzzles", "seed": 0, "backbone": ""}
    assert read_sealed(EXAMPLE / "rollouts" / "manifest.json")["settings"]["model"] == "puzzles/policy"


def test_puzzles_have_the_answers_of_their_templates_and_are_in_one_part() -> None:
    parts = {part: rows(EXAMPLE / "problems" / f"{part}.jsonl") for part in PARTS}
    assert {part: len(found) for part, found in parts.items()} == PARTS
    ids = [row["problem_id"] for found in parts.values() for row in found]
    assert len(set(ids)) == len(ids)
    for part, found in parts.items():
        for row in found:
            puzzle = puzzle_named(row["problem_id"])
            assert row["answer"] == puzzle.answer
            assert puzzle.template.held_out == (part == "held_out")


def test_each_training_puzzle_has_a_solution_with_four_completions_of_every_prefix() -> None:
    records = list(read_records(EXAMPLE / "rollouts"))
    assert {record.problem_id for record in records} == {
        row["problem_id"] for row in rows(EXAMPLE / "problems" / "train.jsonl")
    }
    assert {len(rewards) for record in records for rewards in record.rewards[:-1]} == {4}
    assert sum(len(rewards) for record in records for rewards in record.rewards[:-1]) == 6008
    for record in records:
        # What is right line by line has the right answer; the other way round, mistakes may cancel.
        if PuzzleChecker(puzzle_named(record.problem_id)).first_wrong(record.steps) == -1:
            assert record.correct


@pytest.mark.parametrize("pool", ["seen", "held_out"])
def test_pools_have_64_candidates_of_each_puzzle(pool: str) -> None:
    entries = read_pool(EXAMPLE / "pool" / f"{pool}.jsonl")
    assert [len(entry.candidates) for entry in entries] == [64] * PARTS[pool]
    assert {str(entry.problem.problem_id) for entry in entries} == {
        row["problem_id"] for row in rows(EXAMPLE / "problems" / f"{pool}.jsonl")
    }
