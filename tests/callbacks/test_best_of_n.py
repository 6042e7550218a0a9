import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from erprm.callbacks import BestOfN
from erprm.data.pools import PoolError
from erprm.grading import GradingError
from erprm.rollout.pools import PoolSampling
from erprm.steps import Solution
from tests.tiny import save_tiny_llama

# Of two problems, the first has one right candidate in three (the short one), the second two (one of them short).
POOL = [
    {
        "problem_id": "a",
        "question": "1 + 1?",
        "answer": "2",
        "candidates": ["it is\nvery long\n#### 3", "short\n#### 2", "it is\nquite long\n#### 3"],
    },
    {
        "problem_id": "b",
        "question": "2 + 2?",
        "answer": "4",
        "candidates": ["it is\n#### 4", "#### 4", "it is\nlonger still\nand more\n#### 5"],
    },
]


class ForeignModule(L.LightningModule):
    """A module that knows nothing of process rewards; it prefers solutions of few steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.calls = 0

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch).sum()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        pass

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        self.calls += 1
        return [torch.full((len(solution.steps),), 1.0 / len(solution.steps)) for solution in solutions]


def write_pool(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def run(module: L.LightningModule, folder: Path, *callbacks: L.Callback, epochs: int = 2) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        callbacks=list(callbacks),
    )
    loader: DataLoader[Any] = DataLoader(TensorDataset(torch.ones(4, 1)), collate_fn=lambda rows: rows[0][0])
    trainer.fit(module, loader, loader)
    return trainer


def test_best_of_n_in_a_foreign_module_is_the_mean_over_all_subsets(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.jsonl", POOL)
    trainer = run(ForeignModule(), tmp_path, BestOfN(pool, name="sums", kind="gsm8k", aggregation="mean"))
    logged = trainer.callback_metrics
    # Best of one is the mean accuracy: (1/3 + 2/3) / 2. Best of two, first problem: 2 of the 3 pairs hold the short,
    # right candidate; second problem: the pairs {1,2}, {1,3}, {2,3} all keep a right one. Best of three: both right.
    assert logged["sums/bon@1"].item() == pytest.approx(1 / 2)
    assert logged["sums/bon@2"].item() == pytest.approx((2 / 3 + 1) / 2)
    assert logged["sums/bon@3"].item() == pytest.approx(1.0)
    # Pass@2: 2 of 3 pairs in the first problem, every pair in the second. Majority of three: wrong, then right.
    assert logged["sums/pass@2"].item() == pytest.approx((2 / 3 + 1) / 2)
    assert logged["sums/majority@3"].item() == pytest.approx(1 / 2)
    assert logged["sums/random@3"].item() == pytest.approx(1 / 2)
    # Weights 1/2 + 1/2 for the wrong answer against 1: a tie; then 1 + 1 for the right one of the second problem.
    assert logged["sums/weighted_vote@3"].item() == pytest.approx((1 / 2 + 1) / 2)


def test_candidates_are_graded_by_a_function_of_ones_own_from_a_threshold(tmp_path: Path) -> None:
    row = {"question": "Who?", "answer": "the red cat", "candidates": ["the red cat", "the cat", "a dog"]}
    pool = write_pool(tmp_path / "pool.jsonl", [row])
    # F1 of the candidates: 1, 2 * 2 / (2 + 3) = 0.8, and 0.
    lenient = BestOfN(pool, name="lenient", kind="tests.own_graders.token_f1", ns=[1])
    keywords = {"class_path": "tests.own_graders.Keywords", "init_args": {"penalty": 0.1}}
    strict = BestOfN(pool, name="strict", kind=keywords, correct_threshold=0.7, ns=[1])  # 0.9, 2/3 - 0.1, 0
    logged = run(ForeignModule(), tmp_path, lenient, strict).callback_metrics
    assert logged["lenient/bon@1"].item() == pytest.approx(2 / 3)
    assert logged["strict/bon@1"].item() == pytest.approx(1 / 3)


def test_a_grader_that_is_not_there_is_named_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(GradingError, match=r"qa: kind: cannot import 'tests\.own_graders\.gone'"):
        run(ForeignModule(), tmp_path, BestOfN("no-such-pool.jsonl", name="qa", kind="tests.own_graders.gone"))
    with pytest.raises(ValueError, match=r"correct_threshold is 0; it must be above 0 and at most 1"):
        BestOfN("pool.jsonl", correct_threshold=0)


def test_the_sanity_check_is_skipped_and_every_epoch_evaluated(tmp_path: Path) -> None:
    module = ForeignModule()
    run(module, tmp_path, BestOfN(write_pool(tmp_path / "pool.jsonl", POOL), kind="gsm8k"), epochs=3)
    assert module.calls == 3


def test_every_n_epochs_thins_out_evaluations(tmp_path: Path) -> None:
    module = ForeignModule()
    pool = write_pool(tmp_path / "pool.jsonl", POOL)
    run(module, tmp_path, BestOfN(pool, kind="gsm8k", every_n_epochs=2), epochs=4)
    assert module.calls == 2


def test_validate_evaluates_however_seldom_training_does(tmp_path: Path) -> None:
    module = ForeignModule()
    pool = write_pool(tmp_path / "pool.jsonl", POOL)
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=tmp_path, logger=False, enable_progress_bar=False,
        callbacks=[BestOfN(pool, kind="gsm8k", every_n_epochs=2)],
    )  # fmt: skip
    trainer.validate(module, DataLoader(TensorDataset(torch.ones(1, 1))), verbose=False)
    assert module.calls == 1


def test_a_checkpoint_can_monitor_the_logged_value(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(dirpath=tmp_path / "checkpoints", monitor="sums/bon@2", mode="max")
    run(
        ForeignModule(),
        tmp_path,
        BestOfN(write_pool(tmp_path / "p.jsonl", POOL), name="sums", kind="gsm8k"),
        checkpoint,
    )
    assert checkpoint.best_model_score is not None
    assert checkpoint.best_model_score.item() == pytest.approx(5 / 6)


def test_two_instances_stand_side_by_side(tmp_path: Path) -> None:
    first = BestOfN(write_pool(tmp_path / "a.jsonl", POOL[:1]), name="a", kind="gsm8k")
    second = BestOfN(write_pool(tmp_path / "b.jsonl", POOL[1:]), name="b", kind="gsm8k")
    logged = run(ForeignModule(), tmp_path, first, second).callback_metrics
    assert logged["a/bon@1"].item() == pytest.approx(1 / 3)
    assert logged["b/bon@1"].item() == pytest.approx(2 / 3)


def test_two_instances_of_one_name_are_refused(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "a.jsonl", POOL)
    with pytest.raises(ValueError, match="2 BestOfN callbacks are named 'best_of_n'"):
        run(ForeignModule(), tmp_path, BestOfN(pool), BestOfN(pool))


def test_an_unknown_step_style_is_refused_before_the_pool_is_read() -> None:
    with pytest.raises(ValueError, match=r"step_style is 'line'; it must be one of auto, lines, .* or regex:PATTERN"):
        BestOfN("nowhere.jsonl", step_style="line")


def test_a_module_without_score_steps_is_refused(tmp_path: Path) -> None:
    class Mute(ForeignModule):
        score_steps = None  # type: ignore[assignment]

    with pytest.raises(TypeError, match="Mute has none"):
        run(Mute(), tmp_path, BestOfN(write_pool(tmp_path / "a.jsonl", POOL)))


def test_a_scorer_that_leaves_out_a_step_is_refused(tmp_path: Path) -> None:
    class Forgetful(ForeignModule):
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            return [scores[1:] for scores in super().score_steps(solutions)]

    with pytest.raises(
        ValueError, match=r"score_steps returned \d scores for the \d steps of a solution of '1 \+ 1\?'"
    ):
        run(Forgetful(), tmp_path, BestOfN(write_pool(tmp_path / "a.jsonl", POOL), kind="gsm8k"))


def test_negative_scores_rank_but_do_not_vote(tmp_path: Path) -> None:
    class Logits(ForeignModule):
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            return [scores - 5.0 for scores in super().score_steps(solutions)]

    logged = run(
        Logits(), tmp_path, BestOfN(write_pool(tmp_path / "a.jsonl", POOL), name="x", kind="gsm8k")
    ).callback_metrics
    assert logged["x/bon@3"].item() == pytest.approx(1.0)
    assert not [key for key in logged if key.startswith("x/weighted_vote")]


def test_a_blank_candidate_is_never_picked_before_a_scored_one(tmp_path: Path) -> None:
    rows = [{"question": "1 + 1?", "answer": "2", "candidates": ["  ", "#### 2"]}]
    callback = BestOfN(write_pool(tmp_path / "a.jsonl", rows), name="x", kind="gsm8k")
    assert run(ForeignModule(), tmp_path, callback).callback_metrics["x/bon@2"].item() == 1.0


def test_results_hold_intervals_and_are_written_to_the_log_folder(tmp_path: Path) -> None:
    callback = BestOfN(write_pool(tmp_path / "pool.jsonl", POOL), name="sums", kind="gsm8k")
    run(ForeignModule(), tmp_path, callback, epochs=1)
    mean, low, high = callback.results["bon"].at(1)
    # Two problems at 1/3 and 2/3: every bootstrap mean is 1/3, 1/2 or 2/3, the outer two with probability 1/4 each.
    assert (mean, low, high) == pytest.approx((1 / 2, 1 / 3, 2 / 3))
    written = json.loads((tmp_path / "best_of_n" / "sums-step=4.json").read_text(encoding="utf-8"))
    assert written["problems"] == 2
    assert written["curves"]["bon"]["n"] == [1, 2, 3]
    assert not math.isnan(written["curves"]["bon"]["low"][0])


def test_more_candidates_than_the_pool_has_are_refused(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.jsonl", POOL)
    with pytest.raises(ValueError, match=r"ns asks for 4 candidates, but a problem of .* has only 3"):
        run(ForeignModule(), tmp_path, BestOfN(pool, kind="gsm8k", ns=[1, 4]))


def test_a_pool_whose_problem_is_missing_from_the_gold_file_is_refused(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.jsonl", [{key: row[key] for key in row if key != "answer"} for row in POOL])
    gold = write_pool(tmp_path / "gold.jsonl", [{"problem_id": "a", "question": "1 + 1?", "answer": "2"}])
    with pytest.raises(PoolError, match=r"problem 'b' is not in the gold file"):
        run(ForeignModule(), tmp_path, BestOfN(pool, gold=gold, kind="gsm8k"))


def test_a_missing_pool_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"candidate pool: '.*nowhere\.jsonl' does not exist"):
        run(ForeignModule(), tmp_path, BestOfN(str(tmp_path / "nowhere.jsonl")))


def test_candidates_are_sampled_once_and_kept(tmp_path: Path) -> None:
    problems = write_pool(tmp_path / "problems.jsonl", [{"question": q, "answer": "2"} for q in ("1 + 1?", "3 - 1?")])
    sampling = PoolSampling(
        str(save_tiny_llama(tmp_path / "lm")),
        candidates=4,
        source="jsonl",
        path=problems,
        max_tokens=8,
        cache_dir=str(tmp_path / "pools"),
    )
    run(ForeignModule(), tmp_path, BestOfN(sampling, kind="gsm8k"), epochs=1)
    (pool,) = (tmp_path / "pools").iterdir()
    written = pool.stat().st_mtime_ns
    rows = [json.loads(line) for line in pool.read_text(encoding="utf-8").splitlines()]
    assert [len(row["candidates"]) for row in rows] == [4, 4]
    run(ForeignModule(), tmp_path, BestOfN(sampling, kind="gsm8k"), epochs=1)
    assert [file.stat().st_mtime_ns for file in (tmp_path / "pools").iterdir()] == [written]
