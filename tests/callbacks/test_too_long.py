"""Solutions that a model cannot read, and models of which nothing says how they read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from erprm.callbacks import BestOfN, StepEvaluation
from erprm.callbacks.scoring import TooLong
from erprm.data import ProcessRewardDataModule
from erprm.models import ProcessRewardModel, ScorerModule
from erprm.steps import Solution, StepFormatError
from tests.callbacks.test_best_of_n import ForeignModule
from tests.callbacks.test_evaluation_in_test import ShortIsGood, run_test, write
from tests.tiny import save_tiny_llama

# The tiny Llama reads 512 tokens, of some two letters each.
LONG = "\n".join(["it goes on and on, as loops do"] * 80)
POOL = [
    {"problem_id": "a", "question": "1 + 1?", "answer": "2", "candidates": ["#### 3", LONG + "\n#### 2", "#### 2"]},
    {"problem_id": "b", "question": "2 + 2?", "answer": "4", "candidates": ["#### 4", "#### 5", "#### 4"]},
]
LABELLED = [
    {"problem": "q0?", "steps": ["good", "bad"], "label": 1},
    {"problem": "q1?", "steps": ["good", "good"], "label": -1},
]


class ReadsLittle(ShortIsGood):
    """A rule that says that it reads three steps."""

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        assert all(len(solution.steps) <= 3 for solution in solutions)
        return super().score_steps(solutions)

    def too_long(self, solutions: Sequence[Solution]) -> dict[int, int]:
        return {place: len(each.steps) for place, each in enumerate(solutions) if len(each.steps) > 3}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_llama(tmp_path_factory.mktemp("lm")))


def evaluate(model: L.LightningModule, folder: Path, *callbacks: L.Callback) -> None:
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=folder, logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.test(model, ProcessRewardDataModule(), verbose=False)


def results_of(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_a_candidate_that_is_too_long_is_chosen_last_and_counted(tmp_path: Path, llama: str) -> None:
    best_of_n = BestOfN(write(tmp_path / "pool.jsonl", POOL), name="sums", kind="gsm8k", samples=1)
    said = r"sums: 1 of 6 solutions are longer than the model reads: candidate 1 of problem 'a' \(\d+ tokens\); they"
    with pytest.warns(UserWarning, match=said) as warned:
        evaluate(ProcessRewardModel(llama, step_format="er_prm"), tmp_path, best_of_n)
    assert sum("longer than the model reads" in str(each.message) for each in warned) == 1
    results = results_of(tmp_path / "best_of_n/sums")
    assert results["pool"]["too_long"] == 1
    assert results["determined_by"]["too_long"] == "skip"
    row = pq.read_table(tmp_path / "best_of_n/sums/candidates.parquet").to_pylist()[1]
    assert (len(row["steps"]), row["step_scores"], row["score"], row["rank"], row["correct"]) == (80, [], None, 3, True)


def test_candidates_that_are_too_long_can_be_refused_before_training(tmp_path: Path) -> None:
    class Reader(ForeignModule):
        def too_long(self, solutions: Sequence[Solution]) -> dict[int, int]:
            return ReadsLittle().too_long(solutions)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            raise AssertionError("trained")

    stop: TooLong = "stop"
    best_of_n = BestOfN(write(tmp_path / "pool.jsonl", POOL), kind="gsm8k", too_long=stop)
    steps = StepEvaluation(
        {"mine": write(tmp_path / "steps.jsonl", [*LABELLED, _many(3), _many(4)])}, threshold=0.5, too_long=stop
    )
    for callback, said in (
        (best_of_n, r"candidate 1 of problem 'a' \(80 tokens\)\. too_long is stop; with skip they"),
        (
            steps,
            r"1 of 4 solutions are longer than the model reads: solution 3 of mine \(4 tokens\)\. too_long is stop",
        ),
    ):
        trainer = L.Trainer(
            accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, callbacks=[callback],
        )  # fmt: skip
        with pytest.raises(ValueError, match=said):
            trainer.fit(Reader(), DataLoader(TensorDataset(torch.ones(1, 1))))


def _many(steps: int) -> dict[str, Any]:
    return {"problem": f"q{steps}?", "steps": ["good"] * steps, "label": -1}


def test_labelled_solutions_that_are_too_long_are_left_out_and_counted(tmp_path: Path) -> None:
    data = write(tmp_path / "steps.jsonl", [*LABELLED, _many(4), *[_many(5) for _ in range(6)]])
    said = r"7 of 9 solutions are longer .*: solution 2 of mine \(4 tokens\), .* and 2 more; they are left out"
    with pytest.warns(UserWarning, match=said):
        run_test(ReadsLittle(), tmp_path, StepEvaluation({"mine": data}, threshold=0.5))
    mine = results_of(tmp_path / "steps/steps")["data"]["mine"]
    assert (mine["solutions"], mine["too_long"]) == (2, 7)
    assert len(pq.read_table(tmp_path / "steps/steps/solutions.parquet")) == 2


def test_data_of_which_every_solution_is_too_long_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "steps.jsonl", [_many(4)])
    with (
        pytest.warns(UserWarning, match="1 of 1 solutions are longer"),
        pytest.raises(ValueError, match="steps: every solution of mine is longer than the model's context"),
    ):
        run_test(ReadsLittle(), tmp_path, StepEvaluation({"mine": data}, threshold=0.5))


def test_a_scorer_that_reads_anything_is_asked_for_nothing() -> None:
    assert ScorerModule(ShortIsGood()).too_long([Solution("q", ["a"])]) == {}
    assert ScorerModule(ReadsLittle()).too_long([Solution("q", ["a"]), Solution("q", ["a"] * 4)]) == {1: 4}


def test_a_model_names_the_solutions_that_it_refuses(llama: str) -> None:
    model = ProcessRewardModel.from_pretrained(llama)
    solutions = [Solution("q", ["short"]), Solution("q", LONG.split("\n"))]
    ((place, tokens),) = model.too_long(solutions).items()
    assert place == 1
    with pytest.raises(ValueError, match=rf"the solution of 'q' has {tokens} tokens; the backbone reads 512"):
        model.score_steps(solutions)


def test_a_checkpoint_without_a_step_format_is_not_evaluated(tmp_path: Path, llama: str) -> None:
    pool = write(tmp_path / "pool.jsonl", POOL[1:])
    with pytest.raises(StepFormatError, match=r"holds no step_format\.json, so nothing says how it reads steps, or"):
        evaluate(ProcessRewardModel(llama), tmp_path, BestOfN(pool, kind="gsm8k"))
    ProcessRewardModel.from_pretrained(llama).save_pretrained(tmp_path / "prm")
    evaluate(ProcessRewardModel(str(tmp_path / "prm")), tmp_path, BestOfN(pool, name="x", kind="gsm8k"))
    assert (tmp_path / "best_of_n/x/results.json").is_file()
