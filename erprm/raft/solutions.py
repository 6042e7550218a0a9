"""Solutions sampled from a policy, as they are stored between the stages of a round.

A row is a pool's (see :mod:`erprm.data.pools`), with the tokens beside the texts:

    {"problem_id": "gsm8k/train/0", "question": ..., "answer": "72", "source": "gsm8k", "candidates": ["...", ...],
     "prompt_ids": [...], "token_ids": [[...], ...], "finished": [true, ...]}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erprm.data.files.json_rows import read_json_rows
from erprm.data.sources import Problem
from erprm.engines.base import Engine, Sampling
from erprm.engines.prompts import PromptFormat


@dataclass(frozen=True)
class SampledProblem:
    """A problem and what a policy wrote.

    Attributes:
        problem: the question with its gold answer.
        prompt_ids: the prompt as tokens.
        candidates: text of each solution.
        token_ids: its tokens as they were generated, what ended it included.
        finished: whether it ended by itself, rather than at the token limit.
    """

    problem: Problem
    prompt_ids: list[int]
    candidates: list[str]
    token_ids: list[list[int]]
    finished: list[bool]

    def as_row(self) -> dict[str, Any]:
        """The row of a file."""
        own = {name: getattr(self, name) for name in ("candidates", "prompt_ids", "token_ids", "finished")}
        return {**asdict(self.problem), **own}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> SampledProblem:
        """Restores a problem from the output of :meth:`as_row`."""
        problem = Problem(*(row[name] for name in ("problem_id", "question", "answer", "source")))
        return cls(problem, row["prompt_ids"], row["candidates"], row["token_ids"], row["finished"])


def sample(
    engine: Engine, problems: Sequence[Problem], prompt: PromptFormat, sampling: Sampling
) -> list[SampledProblem]:
    """Samples ``sampling.n`` solutions of each problem."""
    prompts = [prompt.token_ids(problem.question, engine.tokenizer) for problem in problems]
    return [
        SampledProblem(
            problem,
            prompt_ids,
            [completion.text for completion in completions],
            [list(completion.token_ids) for completion in completions],
            [completion.finish_reason == "stop" for completion in completions],
        )
        for problem, prompt_ids, completions in zip(problems, prompts, engine.generate(prompts, sampling), strict=True)
    ]


def read_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of all files of a stage, in order."""
    for path in sorted(folder.glob("*.jsonl")):
        for _, row in read_json_rows(path, "stage"):
            yield row


def read_solutions(folder: Path) -> Iterator[SampledProblem]:
    """The solutions of a stage."""
    return map(SampledProblem.from_row, read_rows(folder))
