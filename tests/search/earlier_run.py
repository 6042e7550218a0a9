"""A search whose first part was written by the code of commit b8531c3, into ``run_of_b8531c3/``.

``git worktree add --detach OLD b8531c3``, copy this file to OLD/tests/search (there ``tests.engines`` is
``tests.rollout``), and in OLD run ``python -m tests.search.earlier_run FOLDER``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from erprm.search import BeamSearch, BestOfNSearch, StepRejection
from erprm.search.config import SearchConfig
from erprm.search.run import run_search
from erprm.steps import Solution

PROBLEMS = '{"question": "1 + 1 =", "answer": "7"}\n{"question": "2 + 2 =", "answer": "7"}\n'


class LongIsGood:
    """Scores by length; its settings are of the kinds that were always told apart."""

    def __init__(self, most: int = 100, name: str = "long", share: float = 0.5, label: None = None) -> None:
        self.most, self.name, self.share, self.label, self.strict = most, name, share, label, True

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        return [torch.tensor([len(step) / self.most for step in solution.steps]) for solution in solutions]


def settings(output_dir: Path, problems: Path, **changes: Any) -> SearchConfig:
    problems.write_text(PROBLEMS, encoding="utf-8")
    values: dict[str, Any] = {
        "model": "known",
        "scorer": LongIsGood(),
        "output_dir": str(output_dir),
        "source": "jsonl",
        "path": str(problems),
        "methods": {"best of N": BestOfNSearch(), "beams": BeamSearch(2, 2), "rejection": StepRejection(0.5, 3)},
        "budgets": [32],
        "max_tokens": 16,
        "max_step_tokens": 4,
        "grading": "gsm8k",
        "problems_per_part": 1,
    }
    return SearchConfig(**{**values, **changes})


if __name__ == "__main__":
    from tests.engines.known_policy import KnownPolicy
    from tests.rollout.conftest import make_word_tokenizer
    from tests.search import earlier_run
    from tests.search.conftest import two_steps

    folder = Path(sys.argv[1])
    made = earlier_run.settings(folder, folder.with_suffix(".jsonl"))
    run_search(made, KnownPolicy(two_steps, make_word_tokenizer()))
    (folder / "results.json").unlink()
    (folder / "candidates/part-00001.jsonl").unlink()
