"""Peak memory of a rollout run against its number of problems.

Run:   python benchmarks/rollout_memory.py
Needs: the package; no GPU, no network. Each run is a process of its own, with everything real but the policy, which
       gives back recorded completions: problems from a file, shards, grading, checksums, reports.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from erprm.engines.base import Prompt, TokenUsage, encode_prompt, request_seed
from erprm.rollout import Completion, RolloutConfig, Sampling, run_rollouts

RECORDED = ("so 3 \n then 4 \n #### 4", "so 3 \n then 5 \n so 6 \n #### 6", "so 1 \n #### 1")
PROBLEMS_PER_SHARD = 100


class RecordedEngine:
    """Picks a recorded completion for each request, by the request's seed."""

    name = "recorded"
    max_length = 1024

    def __init__(self) -> None:
        words = ["<unk>", "\n", "####", "so", "then", *map(str, range(10))]
        tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
        fast: Any = PreTrainedTokenizerFast
        self.tokenizer = fast(tokenizer_object=tokenizer, unk_token="<unk>")
        self.usage = TokenUsage()
        self._completions = [Completion(text, tuple(self.tokenizer(text)["input_ids"]), "stop") for text in RECORDED]

    def fingerprint(self) -> str:
        """Stands for the recorded completions."""
        return "recorded"

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """A recorded completion for each request."""
        return [self._complete(encode_prompt(self.tokenizer, prompt), sampling) for prompt in prompts]

    def _complete(self, prompt_ids: list[int], sampling: Sampling) -> list[Completion]:
        picks = (request_seed(sampling.seed, prompt_ids, k) % len(RECORDED) for k in range(sampling.n))
        made = [self._completions[pick] for pick in picks]
        self.usage.prompt += len(prompt_ids)
        self.usage.completion += sum(len(completion.token_ids) for completion in made)
        return made

    def close(self) -> None:
        """Nothing to release."""


def write_problems(path: Path, count: int) -> None:
    """Writes questions of about 300 characters."""
    choose = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            question = f"{number} " + " ".join(choose.choices("0123456789", k=150))
            file.write(json.dumps({"question": question, "answer": "4"}) + "\n")


def run(path: Path, folder: Path) -> None:
    """One run, then its peak memory on the standard output."""
    config = RolloutConfig(
        "recorded",
        str(folder),
        source="jsonl",
        path=str(path),
        grading="gsm8k",
        solutions_per_problem=1,
        completions_per_step=2,
        problems_per_shard=PROBLEMS_PER_SHARD,
    )
    with (folder.parent / "log").open("w") as log:
        run_rollouts(config, RecordedEngine(), console=Console(file=log))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Prints peak memory and time for each number of problems."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    parser.add_argument("--run", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(*arguments.run)
        return
    print("problems   shards   size of the file   peak memory   time")
    for count in arguments.problems:
        with tempfile.TemporaryDirectory() as work:
            path = Path(work, "problems.jsonl")
            write_problems(path, count)
            started = time.perf_counter()
            command = [sys.executable, __file__, "--run", str(path), str(Path(work, "run"))]
            peak = float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            seconds = time.perf_counter() - started
            size = path.stat().st_size / 1e6
        shards = -(-count // PROBLEMS_PER_SHARD)
        print(f"{count:8,}   {shards:6,}   {size:13.1f} MB   {peak:7.1f} MiB   {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
