"""A run of a tiny policy with random weights on problems of sums, and a scorer that likes short steps."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erprm.grpo import GrpoConfig
from erprm.raft import ProblemSet
from erprm.steps import Solution
from tests.tiny import save_tiny_llama

SCORER = {"class_path": "tests.grpo.sums.ByLength"}


class ByLength:
    """Scores each step by its number of characters, the fewer the better."""

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        return [torch.tensor([1.0 / (1.0 + len(step)) for step in each.steps]) for each in solutions]


class OfWhole:
    """A selector: it scores no steps."""

    def scores(self, problems: Sequence[Any]) -> list[list[float]]:
        return [[0.0] * len(each.candidates) for each in problems]


def make_folder(folder: Path) -> Path:
    """``policy``, ``train.jsonl`` with 3 problems and ``test.jsonl`` with 2 others."""
    save_tiny_llama(folder / "policy")
    rows = [json.dumps({"question": f"What is {n} and 4 more?", "answer": str(n + 4)}) + "\n" for n in range(5)]
    (folder / "train.jsonl").write_text("".join(rows[:3]), encoding="utf-8")
    (folder / "test.jsonl").write_text("".join(rows[3:]), encoding="utf-8")
    return folder


def make_config(folder: Path, output: str = "run", **changes: Any) -> GrpoConfig:
    """A run of 4 steps of 2 problems each, evaluated at 0, 2 and 4."""
    settings: dict[str, Any] = {
        "model": str(folder / "policy"),
        "output_dir": str(folder / output),
        "scorer": SCORER,
        "problems": ProblemSet("jsonl", str(folder / "train.jsonl")),
        "held_out": ProblemSet("jsonl", str(folder / "test.jsonl")),
        "grading": "gsm8k",
        "max_tokens": 16,
        "generations": 4,
        "steps": 4,
        "learning_rate": 1e-3,
        "evaluate_every": 2,
        "evaluation_samples": 4,
        "device": "cpu",
        "trainer": {"per_device_train_batch_size": 8, "gradient_checkpointing": False},
    }
    return GrpoConfig(**{**settings, **changes})
