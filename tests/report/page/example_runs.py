"""Folders of runs such as ``erprm test`` and ``erprm ablate`` write, from a pool and scores that a test makes up."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from erprm.data.pools import PoolProblem, grade_pool, pool_fingerprint
from erprm.data.sources import ClassifiedProblem
from erprm.data.step_labels import LabelledSolution
from erprm.report.candidates import write_pool_results
from erprm.report.pool_results import pool_results
from erprm.report.step_results import ScoredSolutions, step_results, write_step_results
from erprm.steps import Solution

# Two problems of four candidates; the second and third of the first one are the same text.
WRONG, RIGHT, WORSE = (f"2 + 2 = {n}.\nSo it is {n}.\n#### {n}" for n in (5, 4, 6))
TWO_AND_TWO = [WRONG, RIGHT, RIGHT, WORSE]
THREE_AND_FOUR = [f"3 + 4 = {n}.\nSo it is {n}.\n#### {n}" for n in (9, 8, 6, 5)]
# Scores by which the first problem's wrong candidate is selected, and scores by which a right one is.
FOOLED = [[0.9, 0.8], [0.7, 0.6], [0.7, 0.6], [0.1, 0.2], [0.5, 0.4], [0.4, 0.3], [0.3, 0.2], [0.2, 0.1]]
SEEING = [[0.2, 0.1], [0.9, 0.95], [0.9, 0.95], [0.1, 0.2], [0.5, 0.4], [0.4, 0.3], [0.3, 0.2], [0.2, 0.1]]


def small_pool() -> list[PoolProblem]:
    """The two problems; the second has no right candidate."""
    return [
        problem("sum/0", "What is 2 and 2?", "4", TWO_AND_TWO, level="1"),
        problem("sum/1", "What is 3 and 4?", "7", THREE_AND_FOUR, level="2"),
    ]


def problem(name: str, question: str, gold: str, candidates: Sequence[str], level: str = "") -> PoolProblem:
    return PoolProblem(ClassifiedProblem(name, question, gold, "test", level, ""), tuple(candidates))


def write_pool_run(
    run: Path, pool: Sequence[PoolProblem], scores: Sequence[Sequence[float]], name: str = "sums", kind: str = "gsm8k"
) -> Path:
    """Writes ``best_of_n/<name>`` into the folder of a run, with a score for each step of each candidate; its place."""
    graded = grade_pool(pool, kind, "lines")
    step_scores = [torch.tensor(of[: len(s.steps)]) for of, s in zip(scores, graded.solutions, strict=True)]
    smallest = min(len(entry.candidates) for entry in pool)
    ns = None if smallest <= 8 else [1, 2, 4, 8, 16, 32, smallest]
    results = {
        "name": name,
        "determined_by": {
            "model": {"class": "Scorer", "path": f"models/{run.name}", "sha256": "0123456789abcdef"},
            "pool": {"file": "pool.jsonl", "sha256": pool_fingerprint(pool), "limit": None},
            "kind": kind,
            "correct_threshold": 0.5,
            "step_style": "lines",
            "aggregation": "min",
            "versions": {"erprm": "0.1"},
        },
        **pool_results(pool, graded, step_scores, "min", ns),
    }
    folder = run / "best_of_n" / name
    write_pool_results(folder, results, pool, graded, step_scores)
    return folder


def write_step_run(run: Path, scores: Sequence[Sequence[float]], name: str = "steps") -> Path:
    """Writes ``steps/<name>``: three labelled solutions of two steps, of which the second has a wrong first step."""
    labels = [(1.0, 1.0), (0.0,), (1.0, 0.0)]
    solutions = [
        LabelledSolution(Solution(f"Question {number}?", ["One.", "Two."]), of) for number, of in enumerate(labels)
    ]
    scored = ScoredSolutions(solutions, [torch.tensor(of) for of in scores])
    results = {
        "name": name,
        "determined_by": {"model": {}, "data": {"labelled": {"file": "l.jsonl", "sha256": "ab"}}, "versions": {}},
        "threshold": {"value": 0.5, "chosen_on": "given", "solutions": 0, "f1": None},
        "data": {"labelled": step_results(scored, 0.5)},
    }
    folder = run / "steps" / name
    write_step_results(folder, results, {"labelled": scored}, 0.5, {"labelled": [False] * 3})
    return folder


def write_ablation(folder: Path, runs: dict[str, Path]) -> None:
    """Writes ``ablation.json`` for runs of a pool: name -> folder of its results, below the folder."""
    etas: dict[str, Any] = {"eta 0": 0.0, "eta 2": 2.0, "eta inf": "inf", "outcome": None}
    content = {
        "format": "erprm-ablation",
        "version": 1,
        "runs": [
            {
                "name": name,
                "labels": "er",
                "eta": etas[name],
                "seed": seed,
                "results": str((path / "results.json").relative_to(folder)),
            }
            for name, path in runs.items()
            for seed in (0, 1)
        ],
        "curves": [
            {
                "name": name,
                "eta": etas[name],
                "aggregation": aggregation,
                "n": [1, 2, 4],
                "accuracy": [0.25, 0.3 + 0.1 * place, 0.4 + 0.1 * place],
                "low": [0.2, 0.25 + 0.1 * place, 0.3 + 0.1 * place],
                "high": [0.3, 0.35 + 0.1 * place, 0.5 + 0.1 * place],
            }
            for place, name in enumerate(runs)
            for aggregation in ("min", "mean")
        ],
        "label_histograms": [
            {"name": name, "eta": etas[name], "edges": [0.0, 0.5, 1.0], "counts": [3, 5]} for name in runs
        ],
        "costs": [
            {"name": "ER, eta 2", "stage": "training", "seconds": [60.0, 64.0], "peak_bytes": [2e9, 2e9]},
            {"name": "outcome", "stage": "training", "seconds": [50.0], "peak_bytes": [None]},
        ],
    }
    (folder / "ablation.json").write_text(json.dumps(content), encoding="utf-8")


def write_training(folder: Path, eta: float | str, model: str, lr: float = 1e-5, steps: int = 4) -> Path:
    """Writes what ``erprm fit`` leaves: the loss halves with every step, best-of-2 goes from a half to all."""
    folder.mkdir(parents=True)
    config = {
        "seed_everything": 3,
        "trainer": {
            "max_epochs": 2,
            "callbacks": [{"class_path": "erprm.callbacks.ExportHF", "init_args": {"output": model, "which": "last"}}],
        },
        "model": {
            "class_path": "erprm.models.ProcessRewardModel",
            "init_args": {
                "backbone": "my-llama",
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": lr}},
            },
        },
        "data": {
            "class_path": "erprm.data.ProcessRewardDataModule",
            "init_args": {"rollouts": "rollouts", "labels": "er", "eta": eta},
        },
    }
    (folder / "resolved_config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    rows = [f"{step // 2},{step},{2.0**-step},{lr * (steps - step) / steps},," for step in range(steps)]
    rows.append(f"1,{steps - 1},,,0.75,nan")
    (folder / "metrics.csv").write_text(
        "\n".join(["epoch,step,train/loss,lr-AdamW,val/loss,val/auroc", *rows]), encoding="utf-8"
    )
    (folder / "best_of_n").mkdir()
    for epoch, right in enumerate((0.5, 1.0)):
        curve = {"n": [1, 2], "mean": [0.5, right], "low": [0.25, right - 0.25], "high": [0.75, right]}
        content = {"name": "val", "epoch": epoch, "step": 2 * epoch + 2, "curves": {"bon": curve}}
        (folder / f"best_of_n/val-step={2 * epoch + 2}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
