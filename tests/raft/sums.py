"""A world of sums: a tiny policy that mostly forgets the second one, and a scorer that checks every step."""

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erprm.raft import ProblemSet, RaftConfig
from erprm.steps import Solution
from tests.rollout.conftest import WORDS, make_policy, make_word_tokenizer, teach

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


def question_of(tens: int, ones: int) -> str:
    return f"{tens} {ones} + 1 ="


def save_policy(folder: Path, **changes: Any) -> Path:
    """Writes a policy that solves a question rightly one time in three.

    To ``3 6 + 1 =`` it writes ``so 3 6 + 1 = 7``, and then ``then 7 + 1 = 8``, ``#### 8`` or, two times in three,
    ``then 7 + 1 = 7``, ``#### 7``. The choice is the same whatever the question is, so that what it learns of some
    questions holds for all.
    """
    batches: list[list[str]] = [[], [], []]
    for number, (tens, ones) in enumerate(itertools.product(range(10), range(10))):
        question, first = question_of(tens, ones), (ones + 1) % 10
        for place, second in enumerate(((first + 1) % 10, first, first)):
            text = f"{question} \n so {question} {first} \n then {first} + 1 = {second} \n #### {second} </s>"
            batches[(number + place) % 3].append(text)
    policy = make_policy(len(WORDS), **changes)
    teach(policy, batches, steps=160, learning_rate=5e-3).save_pretrained(folder)
    make_word_tokenizer().save_pretrained(folder)
    return folder


def write_problems(folder: Path) -> None:
    """``train.jsonl`` with 60 problems, ``test.jsonl`` with 20 others."""
    rows = [
        json.dumps({"question": question_of(tens, ones), "answer": str((ones + 2) % 10)}) + "\n"
        for tens, ones in itertools.product(range(10), range(10))
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
        "learning_rate": 3e-4,
        "max_tokens": 40,
        "grading": "gsm8k",
        "evaluation_samples": 8,
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
