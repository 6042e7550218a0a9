"""Tests of the files that ``test`` writes: results and candidates of a pool, and the evaluation of step labels."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from erprm.callbacks import BestOfN, StepEvaluation
from erprm.callbacks.run_table import EvaluationRecord, run_table
from erprm.cli import main
from erprm.data import ProcessRewardDataModule
from erprm.models import ProcessRewardModel, ScorerError, ScorerModule, StepScorer
from erprm.models.identity import model_identity
from erprm.steps import Solution
from tests.tiny import save_tiny_llama

POOL = [
    {
        "problem_id": "a",
        "question": "1 + 1?",
        "answer": "2",
        "level": "Level 1",
        "candidates": ["it is\nvery long\n#### 3", "short\n#### 2", "it is\nquite long\n#### 3"],
    },
    {
        "problem_id": "b",
        "question": "2 + 2?",
        "answer": "4",
        "level": "Level 2",
        "candidates": ["it is\n#### 4", "#### 4", "it is\nlonger still\nand more\n#### 5", "  "],
    },
]
LABELLED = [
    {"problem": f"q{i}?", "steps": ["good", "bad" if i % 2 else "good", "good"], "label": 1 if i % 2 else -1}
    for i in range(16)
]


class ShortIsGood:
    """No module: a rule that prefers solutions of few steps."""

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        return [torch.full((len(solution.steps),), 1.0 / len(solution.steps)) for solution in solutions]


class KnowsBadSteps:
    """A rule that knows the wrong steps; it is the more certain of right ones the later they come."""

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        return [
            torch.tensor([0.1 if step == "bad" else 0.7 + 0.1 * number for number, step in enumerate(each.steps)])
            for each in solutions
        ]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def run_test(scorer: StepScorer, folder: Path, *callbacks: L.Callback) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=folder, logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.test(ScorerModule(scorer), ProcessRewardDataModule(), verbose=False)
    return trainer


def results_of(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return results


def test_results_are_there_only_once_all_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("erprm.callbacks.best_of_n.log_figure", killed)
    pool = write(tmp_path / "pool.jsonl", POOL)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run_test(ShortIsGood(), tmp_path, BestOfN(pool, name="sums", kind="gsm8k"))
    assert not (tmp_path / "best_of_n/sums").exists()


def test_one_pass_of_any_scorer_gives_every_method_their_differences_and_groups(tmp_path: Path) -> None:
    pool = write(tmp_path / "pool.jsonl", POOL)
    trainer = run_test(ShortIsGood(), tmp_path, BestOfN(pool, name="sums", kind="gsm8k"))
    results = results_of(tmp_path / "best_of_n/sums")
    methods = results["methods"]
    assert set(methods) == {
        *(f"bon_{name}" for name in ("min", "prod", "mean", "last", "sum_logits")),
        *(f"weighted_vote_{name}" for name in ("min", "prod", "mean", "last")),
        *(f"entropic_vote_{name}" for name in ("min", "prod", "mean", "last", "sum_logits")),
        "majority", "pass", "random", "random_text",
    }  # fmt: skip
    # The smaller problem has three candidates. One at random: 1/3 and 2/4.
    assert methods["bon_min"]["n"] == [1, 2, 3]
    assert methods["random"]["mean"] == pytest.approx([5 / 12] * 3)
    # First problem: the short candidate wins whenever it is drawn, in 2 of 3 pairs. Second one: ranked right, right,
    # wrong, blank, so 5 of 6 pairs and 4 of 4 triples end with a right one.
    assert methods["bon_min"]["mean"] == pytest.approx([5 / 12, (2 / 3 + 5 / 6) / 2, 1.0])
    assert trainer.callback_metrics["sums/bon@2"].item() == pytest.approx((2 / 3 + 5 / 6) / 2)
    # Of one step each are all right candidates, so the logits of 1 add up highest for them, too.
    assert methods["bon_sum_logits"]["mean"][2] == pytest.approx(1.0)
    (difference,) = (
        each for each in results["differences"] if (each["method"], each["baseline"]) == ("bon_min", "random")
    )
    assert difference["n"] == [1, 2, 3]
    assert difference["mean"] == pytest.approx([0.0, (2 / 3 + 5 / 6) / 2 - 5 / 12, 7 / 12])
    assert difference["p_value"] == [1.0, 0.5, 0.5]  # two problems: as extreme are ++ and --
    assert {name: group["problems"] for name, group in results["groups"]["level"].items()} == {"1": 1, "2": 1}
    assert results["groups"]["level"]["1"]["methods"]["random"]["mean"] == pytest.approx([1 / 3] * 3)
    assert results["pool"] == {
        "problems": 2, "candidates": 7, "smallest": 3, "largest": 4, "distinct_texts": 7, "without_answer": 1,
        "cut_off": 0, "without_steps": 1, "too_long": 0,
    }  # fmt: skip
    hacking = results["reward_hacking"]
    assert hacking["peak"] == 3
    assert hacking["features"]["steps"]["all"]["mean"] == pytest.approx(-1.0)
    assert hacking["outscored"]["mean"][2] is None  # no wrong answer is selected, and JSON has no NaN
    assert hacking["extrapolated_peak"] is None  # three candidates show none


def test_a_peak_beyond_the_pool_is_estimated_and_shown(tmp_path: Path) -> None:
    # Longer is worse, for this scorer and in truth: of eight candidates only the three shortest are right.
    lengths = range(1, 9)
    rows = [
        {
            "problem_id": f"p{number}",
            "question": f"{number} + 1?",
            "answer": str(number + 1),
            "candidates": ["a\n" * length + f"#### {number + 1 if length < 4 else 0}" for length in lengths],
        }
        for number in range(4)
    ]
    callback, record = BestOfN(write(tmp_path / "pool.jsonl", rows), name="sums", kind="gsm8k"), EvaluationRecord()
    trainer = run_test(ShortIsGood(), tmp_path, callback, record)
    peak = results_of(tmp_path / "best_of_n/sums")["reward_hacking"]["extrapolated_peak"]
    assert peak.keys() == {"n", "low", "high", "reach"}
    assert peak["reach"] == 32
    assert callback.peak == peak
    shown = {row[0]: row[1] for row in run_table(trainer, record).rows}["sums, peak of best-of-n"]
    seen = f"n = {peak['n']}" if peak["n"] < 32 else "none up to n = 32"
    assert shown == f"{seen} [{peak['low']}, {peak['high']}], extrapolated"


def test_two_scorers_are_compared_problem_by_problem(tmp_path: Path) -> None:
    class LongIsGood(ShortIsGood):
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            return [1.0 - scores for scores in super().score_steps(solutions)]

    pool = write(tmp_path / "pool.jsonl", POOL)
    run_test(LongIsGood(), tmp_path / "long", BestOfN(pool, name="sums", kind="gsm8k"))
    folder = str(tmp_path / "long/best_of_n/sums")
    run_test(ShortIsGood(), tmp_path / "short", BestOfN(pool, name="sums", kind="gsm8k", baseline=folder))
    compared = results_of(tmp_path / "short/best_of_n/sums")["differences_to_baseline"]
    (best,) = (each for each in compared if each["method"] == "bon_min")
    # Of three, the short scorer always ends right. The long one ends wrong in the first problem; in the second, unless
    # the long wrong candidate is left out: 1 of 4 triples.
    assert (best["baseline"], best["n"]) == ("baseline bon_min", [1, 2, 3])
    assert best["mean"][0] == 0.0
    assert best["mean"][2] == pytest.approx((1 + 3 / 4) / 2)
    assert results_of(tmp_path / "long/best_of_n/sums")["differences_to_baseline"] == []


def test_a_baseline_of_another_pool_or_none_is_refused(tmp_path: Path) -> None:
    pool = write(tmp_path / "pool.jsonl", POOL)
    run_test(ShortIsGood(), tmp_path, BestOfN(pool, name="sums", kind="gsm8k"))
    folder = str(tmp_path / "best_of_n/sums")
    with pytest.raises(ValueError, match=r"baseline: .*sums holds the results of another pool"):
        run_test(ShortIsGood(), tmp_path, BestOfN(pool, name="x", kind="gsm8k", limit=1, baseline=folder))
    with pytest.raises(FileNotFoundError, match=r"baseline: .*nowhere' holds no results\.json"):
        run_test(ShortIsGood(), tmp_path, BestOfN(pool, name="x", kind="gsm8k", baseline=str(tmp_path / "nowhere")))


def test_results_name_everything_that_determines_them(tmp_path: Path) -> None:
    pool = write(tmp_path / "pool.jsonl", POOL)
    run_test(ShortIsGood(), tmp_path / "one", BestOfN(pool, name="sums", kind="gsm8k"))
    changed = write(tmp_path / "pool.jsonl", [POOL[0], {**POOL[1], "answer": "5"}])
    run_test(ShortIsGood(), tmp_path / "two", BestOfN(changed, name="sums", kind="gsm8k", aggregation="last"))
    one, two = (results_of(tmp_path / run / "best_of_n/sums")["determined_by"] for run in ("one", "two"))
    assert one["model"] == {
        "class": f"{ShortIsGood.__module__}.ShortIsGood", "path": None, "sha256": None, "step_format": None
    }  # fmt: skip
    assert {key for key in one if one[key] != two[key]} == {"pool", "aggregation"}
    assert one["pool"]["sha256"] != two["pool"]["sha256"]
    assert one["versions"]["torch"] == torch.__version__


def test_the_hash_of_a_model_is_that_of_its_weights(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path / "lm")
    one, same, other = (ProcessRewardModel.from_pretrained(folder) for _ in range(3))
    assert other.backbone is not None
    with torch.no_grad():
        next(other.backbone.parameters()).flatten()[0] += 1
    assert model_identity(one) == model_identity(same)
    assert model_identity(one)["sha256"] != model_identity(other)["sha256"]
    assert model_identity(one)["step_format"]["tag"] == " ки"


def test_every_candidate_is_in_the_file_with_the_scores_of_its_steps(tmp_path: Path) -> None:
    run_test(ShortIsGood(), tmp_path, BestOfN(write(tmp_path / "pool.jsonl", POOL), name="a/b", kind="gsm8k"))
    rows = pq.read_table(tmp_path / "best_of_n/a_b/candidates.parquet").to_pylist()
    assert [(row["problem_id"], row["candidate"], row["rank"], row["correct"]) for row in rows] == [
        ("a", 0, 2, False), ("a", 1, 1, True), ("a", 2, 3, False),
        ("b", 0, 1, True), ("b", 1, 2, True), ("b", 2, 3, False), ("b", 3, 4, False),
    ]  # fmt: skip
    assert rows[1] == {
        "problem_id": "a", "question": "1 + 1?", "gold": "2", "source": "pool", "level": "1", "subject": None,
        "candidate": 1, "text": "short\n#### 2", "steps": ["short\n#### 2"], "step_scores": [1.0],
        "score": 1.0, "rank": 1, "answer": "2", "answer_id": 1, "correct": True,
    }  # fmt: skip
    assert (rows[6]["steps"], rows[6]["score"], rows[6]["answer"], rows[6]["answer_id"]) == ([], None, None, -1)


def test_scores_that_are_not_shares_have_neither_votes_nor_logits(tmp_path: Path) -> None:
    class Logits(ShortIsGood):
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            return [scores - 5.0 for scores in super().score_steps(solutions)]

    run_test(Logits(), tmp_path, BestOfN(write(tmp_path / "pool.jsonl", POOL), name="x", kind="gsm8k", ns=[2, 3]))
    methods = results_of(tmp_path / "best_of_n/x")["methods"]
    # One candidate has two steps, of a product above 0; the others have one or three, of a product below.
    assert {name for name in methods if name.startswith(("bon", "weighted"))} == {
        "bon_min", "bon_prod", "bon_mean", "bon_last"
    }  # fmt: skip
    assert methods["bon_min"]["n"] == [2, 3]


def test_a_nan_is_refused_by_name(tmp_path: Path) -> None:
    class Broken(ShortIsGood):
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            return [
                scores.index_fill(0, torch.tensor([len(scores) - 1]), math.nan)
                for scores in super().score_steps(solutions)
            ]

    with pytest.raises(ValueError, match=r"NaN for step 1 \(from 0\) of a solution of '1 \+ 1\?'; its steps begin"):
        run_test(Broken(), tmp_path, BestOfN(write(tmp_path / "pool.jsonl", POOL), name="x", kind="gsm8k"))
    assert not (tmp_path / "best_of_n").exists()


def test_a_scorer_that_cannot_score_is_refused() -> None:
    with pytest.raises(TypeError, match=r"model\.scorer needs score_steps\(solutions\); Linear has none"):
        ScorerModule(nn.Linear(1, 1))


# Step labels -------------------------------------------------------------------------------------------------------


def test_a_scorer_that_knows_every_wrong_step_has_an_f1_of_one(tmp_path: Path) -> None:
    data = write(tmp_path / "steps.jsonl", LABELLED)
    trainer = run_test(KnowsBadSteps(), tmp_path, StepEvaluation({"mine": data}, threshold=0.5))
    results = results_of(tmp_path / "steps/steps")
    assert results["threshold"] == {"value": 0.5, "chosen_on": "given", "solutions": 0, "f1": None}
    mine = results["data"]["mine"]
    assert mine["processbench"]["f1"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert mine["first_error_accuracy"]["mean"] == 1.0
    assert mine["step_accuracy"] == {"all_steps": 1.0, "right_steps": 1.0, "wrong_steps": 1.0}
    assert mine["auroc_within_problems"] == 1.0
    # 8 solutions with 3 right steps, 8 with one right and one wrong: 40 steps, 32 of them right.
    assert (mine["labelled_steps"], mine["right_steps"]) == (40, pytest.approx(32 / 40))
    # Off by 0.3 (16 steps), 0.2 and 0.1 (8 each) and by 0.1 for 8 wrong ones.
    assert mine["calibration_error"] == pytest.approx((16 * 0.3 + 8 * 0.2 + 8 * 0.1 + 8 * 0.1) / 40, abs=1e-6)
    assert trainer.callback_metrics["steps/mine/f1"].item() == 1.0
    # The sweep ends at the highest score, below which lie right steps too.
    assert mine["sweep"]["threshold"][-1] == pytest.approx(0.9)
    assert mine["sweep"]["f1"][-1] == 0.0


def test_a_threshold_is_chosen_on_a_share_of_the_problems_which_then_do_not_count(tmp_path: Path) -> None:
    data = write(tmp_path / "steps.jsonl", LABELLED)
    run_test(KnowsBadSteps(), tmp_path, StepEvaluation({"mine": data}, threshold_share=0.5))
    results = results_of(tmp_path / "steps/steps")
    assert results["threshold"]["value"] == pytest.approx(0.4)  # in the middle of 0.1 and 0.7
    assert results["threshold"]["chosen_on"] == "50% of the problems of mine (seed 0), left out below"
    assert (results["threshold"]["solutions"], results["data"]["mine"]["solutions"]) == (8, 8)
    rows = pq.read_table(tmp_path / "steps/steps/solutions.parquet").to_pylist()
    assert sum(row["chose_threshold"] for row in rows) == 8
    assert [row["found"] for row in rows] == [row["first_error"] for row in rows] == [-1, 1] * 8
    assert rows[1]["labels"] == [1.0, 0.0]
    assert rows[1]["step_scores"] == pytest.approx([0.7, 0.1, 0.9])


def test_a_threshold_is_chosen_on_a_data_set_that_is_named(tmp_path: Path) -> None:
    data = {name: write(tmp_path / f"{name}.jsonl", LABELLED) for name in ("gsm8k", "math")}
    run_test(KnowsBadSteps(), tmp_path, StepEvaluation(data, threshold_from="gsm8k"))
    results = results_of(tmp_path / "steps/steps")
    assert (results["threshold"]["chosen_on"], results["threshold"]["f1"]) == ("gsm8k", 1.0)
    assert {name: of_data["solutions"] for name, of_data in results["data"].items()} == {"gsm8k": 16, "math": 16}


def test_a_threshold_needs_solutions_with_and_without_a_wrong_step_before_any_is_scored(tmp_path: Path) -> None:
    class Unused(KnowsBadSteps):
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            raise AssertionError("scored")

    data = write(tmp_path / "steps.jsonl", LABELLED[::2])
    with pytest.raises(ValueError, match=r"no threshold can be chosen on gsm8k: 0 of 8 solutions have a wrong step"):
        run_test(Unused(), tmp_path, StepEvaluation({"gsm8k": data}, threshold_from="gsm8k"))


def test_settings_out_of_range_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="threshold_from is 'math'; it must be one of data: gsm8k"):
        StepEvaluation({"gsm8k": "x.jsonl"}, threshold_from="math")
    with pytest.raises(ValueError, match="both threshold and threshold_from are set"):
        StepEvaluation({"gsm8k": "x.jsonl"}, threshold_from="gsm8k", threshold=0.5)
    with pytest.raises(ValueError, match=r"threshold_share is 1\.0; it must be in \(0, 1\)"):
        StepEvaluation({"gsm8k": "x.jsonl"}, threshold_share=1.0)
    with pytest.raises(ValueError, match="data names no file"):
        StepEvaluation({})
    same = [StepEvaluation({"gsm8k": write(tmp_path / "x.jsonl", LABELLED)}) for _ in range(2)]
    with pytest.raises(ValueError, match="2 StepEvaluation callbacks are named 'steps'; give each its own name"):
        run_test(KnowsBadSteps(), tmp_path, *same)


# The command -------------------------------------------------------------------------------------------------------


def test_the_command_tests_a_model_on_a_pool_and_on_step_labels_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_llama(tmp_path / "lm")
    write(tmp_path / "pool.jsonl", POOL)
    write(tmp_path / "steps.jsonl", LABELLED)
    callbacks = [
        {"class_path": "BestOfN", "init_args": {"candidates": "pool.jsonl", "name": "sums", "kind": "gsm8k"}},
        {"class_path": "StepEvaluation", "init_args": {"data": {"mine": "steps.jsonl"}, "threshold": 0.5}},
    ]
    for callback in callbacks:
        callback["class_path"] = f"erprm.callbacks.{callback['class_path']}"
    config = {
        "trainer": {"accelerator": "cpu", "logger": False, "default_root_dir": "out", "callbacks": callbacks},
        "model": {"backbone": "lm", "step_format": "er_prm"},
    }
    Path("test.yaml").write_text(json.dumps(config), encoding="utf-8")
    assert main(["test", "--config", "test.yaml"]) == 0
    assert results_of(Path("out/best_of_n/sums"))["determined_by"]["model"]["path"] == "lm"
    assert results_of(Path("out/steps/steps"))["data"]["mine"]["solutions"] == 16
    # A rule of one's own in the place of the model.
    config["model"] = {
        "class_path": "erprm.models.ScorerModule",
        "init_args": {"scorer": {"class_path": "tests.callbacks.test_evaluation_in_test.ShortIsGood"}},
    }
    Path("test.yaml").write_text(json.dumps(config), encoding="utf-8")
    assert main(["test", "--config", "test.yaml"]) == 0
    assert results_of(Path("out/best_of_n/sums"))["methods"]["bon_min"]["mean"][2] == pytest.approx(1.0)


def test_step_evaluation_names_the_solution_with_too_few_scores(tmp_path: Path) -> None:
    class OneShort(KnowsBadSteps):
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            return [scores[1:] for scores in super().score_steps(solutions)]

    labelled = write(tmp_path / "steps.jsonl", LABELLED)
    with pytest.raises(ScorerError, match=r"returned 2 scores for the 3 steps of a solution of 'q0\?'"):
        run_test(OneShort(), tmp_path, StepEvaluation({"mine": labelled}, threshold=0.5))


def test_the_command_without_anything_to_test_on_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_llama(tmp_path / "lm")
    assert main(["test", "--model.backbone=lm", "--trainer.logger=false", "--trainer.accelerator=cpu"]) != 0
    assert "data.test_rollouts is not set" in capsys.readouterr().err
