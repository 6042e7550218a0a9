"""The arms of benchmarks/training.py that need nothing beyond this package, on a tiny model."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, load_script
from tests.tiny import make_tokenizer


@pytest.fixture
def benchmark() -> Any:
    return load_script(REPOSITORY / "benchmarks" / "training.py")


def example_solutions(path: Path, benchmark: Any, problems: int) -> Path:
    rows = []
    for i in range(problems):
        # Long enough that what is left of four trees of four solutions is more than one batch of the least size.
        row: dict[str, object] = {"question": f"What is {i} and 4 more? " * 12}
        for j, name in enumerate(benchmark.MODELS):
            row[name] = {"solution": f"Step 1: {i} + 4 = {i + 4}.\nThe answer is: {i + j}", "is_correct": j == 4}
        rows.append(json.dumps(row))
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_every_arm_trains_on_the_same_solutions_and_trees_compute_fewest_tokens(tmp_path: Path, benchmark: Any) -> None:
    file = example_solutions(tmp_path / "examples.jsonl", benchmark, 4)
    solutions = benchmark.read_solutions(file, each=4, problems=4)
    assert len(solutions) == 16
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    settings: dict[str, object] = benchmark.SETTINGS
    settings["tag"] = " ки"
    llama = {**benchmark.QUICK_LLAMA, "vocab_size": len(tokenizer)}
    benchmark.prepare(tmp_path / "arms", solutions, tmp_path / "tokenizer", llama, seed=0)
    official = benchmark.run(sys.executable, "official.py", tmp_path / "arms", "--batch", 8)
    rows, trees = (
        benchmark.run(
            sys.executable,
            "erprm_fit.py",
            *(tmp_path / "arms", "--packing", packing, "--batch", 8),
            *("--steps", 1, "--accumulate", 1),
        )
        for packing in ("rows", "trees")
    )
    assert official["solutions"] == 8
    assert rows["tokens"] == rows["solution_tokens"]
    assert trees["tokens"] < trees["solution_tokens"]
    for result in (official, rows, trees):
        assert 0 < result["solutions"] < 16
        assert result["seconds"] > 0
        assert result["peak_mb"] > 100


def test_fifteen_solutions_are_made_of_four(tmp_path: Path, benchmark: Any) -> None:
    file = example_solutions(tmp_path / "examples.jsonl", benchmark, 2)
    solutions = benchmark.read_solutions(file, each=15, problems=2)
    assert [solution["problem"] for solution in solutions] == ["problem/0"] * 15 + ["problem/1"] * 15
    assert len({tuple(solution["steps"]) for solution in solutions[:15]}) > 4
    assert all(len(solution["labels"]) == len(solution["steps"]) for solution in solutions)
