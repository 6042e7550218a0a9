"""A world of sums: a tiny policy that has half learned them, and a scorer that checks each step by arithmetic."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erprm.raft import ProblemSet, RaftConfig
from erprm.steps import Solution
from tests.rollout.conftest import make_taught_policy, make_word_tokenizer

SCORER = {"class_path": "tests.raft.sums.SumScorer"}


class SumScorer:
    """1 for a step without a mistake, else 0."""

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        return [
            torch.tensor([float(is_right(solution.question, place, step)) for place, step in enumerate(solution.steps)])
            for solution in solutions
        ]


def is_right(question: str, place: int, step: str) -> bool:
    """Whether every sum in a step is right modulo 10, and the first one is that of the question."""
    sums = re.findall(r"(\d) \+ (\d) = (\d)", step)
    asked = place > 0 or f"so {question}" in step
    return asked and all((int(one) + int(other)) % 10 == int(total) for one, other, total in sums)


def save_policy(folder: Path, **changes: Any) -> Path:
    """Writes the policy: it solves ``3 + 4 =`` by ``so 3 + 4 = 7``, ``then 7 + 1 = 8``, ``#### 8``, often wrongly."""
    make_taught_policy(**changes).save_pretrained(folder)
    make_word_tokenizer().save_pretrained(folder)
    return folder


def write_problems(folder: Path) -> None:
    """``train.jsonl`` with 60 problems, ``test.jsonl`` with 20 others."""
    rows = [
        f'{{"question": "{one} + {other} =", "answer": "{(one + other + 1) % 10}"}}\n'
        for one in range(10)
        for other in range(10)
    ]
    (folder / "train.jsonl").write_text("".join(rows[:60]), encoding="utf-8")
    (folder / "test.jsonl").write_text("".join(rows[60:80]), encoding="utf-8")


def make_config(folder: Path, output: str = "run", **changes: Any) -> RaftConfig:
    """A run of two rounds of 24 problems each."""
    settings: dict[str, Any] = {
        "model": str(folder / "policy"),
        "output_dir": str(folder / output),
        "scorers": {"er": SCORER},
        "problems": ProblemSet("jsonl", str(folder / "train.jsonl")),
        "held_out": ProblemSet("jsonl", str(folder / "test.jsonl")),
        "rounds": 2,
        "prompts_per_round": 24,
        "solutions_per_problem": 8,
        "epochs": 4,
        "learning_rate": 1e-3,
        "max_tokens": 40,
        "grading": "gsm8k",
        "evaluation_samples": 2,
        "device": "cpu",
        "problems_per_part": 10,
        "sft": {
            "trainer": {
                "accelerator": "cpu",
                "devices": 1,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "log_every_n_steps": 1,
            },
            "model": {"scheduler": None},
            "data": {"max_tokens": 256, "max_length": 64},
        },
    }
    return RaftConfig(**{**settings, **changes})
