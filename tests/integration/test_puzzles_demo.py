"""The demo's puzzles with a tiny backbone that learns nothing: all parts run."""

import json
import random
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.data.records import read_records
from erprm.demo.puzzles.templates import load_templates, puzzle_named
from erprm.demo.puzzles.writer import write_solution
from tests.tiny import make_llama, make_tokenizer, save_tiny_llama


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a model whose tokens are long enough for puzzles to fit into its context."""
    rng = random.Random(0)
    puzzles = [template.draw(rng) for template in load_templates().values()]
    texts = [f"{puzzle.question}\n{write_solution(puzzle, rng)}" for puzzle in puzzles]
    tokenizer = make_tokenizer(with_tags=False, texts=texts, vocabulary=900)
    folder = tmp_path_factory.mktemp("puzzles")
    make_llama(len(tokenizer), max_position_embeddings=1024).save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")
    keys = ["--quick", "--labels", "[er]", "--prm_seeds", "1", "--output_dir", str(folder / "run")]
    assert main(["demo", "--world", "puzzles", "--backbone", str(folder / "tiny"), *keys]) == 0
    return folder / "run"


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_stage_runs(finished: Path) -> None:
    for pool, problems in {"seen": 3, "held_out": 2}.items():
        results = json.loads((finished / f"results-{pool}.json").read_text(encoding="utf-8"))
        assert set(results) == {"er", "pool"}
        assert len(lines(finished / "pool" / f"{pool}.jsonl")) == problems
        assert lines(finished / "checked_steps" / f"{pool}.jsonl")
    assert {record.source for record in read_records(finished / "rollouts")} == {"puzzles"}
    assert set(json.loads((finished / "steps.json").read_text(encoding="utf-8"))["er"]) == {"seen", "held_out"}


def test_answers_are_graded_as_words(finished: Path) -> None:
    manifest = json.loads((finished / "rollouts" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["settings"]["grading"] == "math"


def test_no_problem_is_in_two_parts_and_held_out_templates_are_in_one_alone(finished: Path) -> None:
    parts = {name: lines(finished / "problems" / f"{name}.jsonl") for name in ("train", "seen", "held_out")}
    ids = [row["problem_id"] for rows in parts.values() for row in rows]
    assert len(set(ids)) == len(ids) == 6 + 3 + 2
    for name, rows in parts.items():
        for row in rows:
            assert puzzle_named(row["problem_id"]).template.held_out == (name == "held_out")
            assert row["answer"] == puzzle_named(row["problem_id"]).answer
    prompts = {row["prompt"] for row in lines(finished / "policy/samples.jsonl")}
    assert len(prompts) == 16
    assert not prompts & {f"{row['question']}\n" for rows in parts.values() for row in rows}


def test_a_tokenizer_that_cuts_most_puzzles_off_is_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = save_tiny_llama(tmp_path / "tiny", with_tags=False)  # makes about a token of each letter
    command = ["demo", "--world", "puzzles", "--quick", "--backbone", str(tiny), "--output_dir", str(tmp_path / "run")]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "backbone: its tokenizer makes more than 512 tokens, the most of a row here, of" in error
    assert "4 of 4 samples; take one of a larger vocabulary" in error
    assert not (tmp_path / "run/reasoner").exists()
