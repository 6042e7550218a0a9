"""Cost of a rollout run apart from the policy, by the number of its shards.

    python benchmarks/bookkeeping.py                          # 500, 2,000 and 8,000 shards; minutes
    python benchmarks/bookkeeping.py --shards 1000 --problems_per_shard 32

The policy is a recording: it gives every problem one solution of two steps, and every prefix one completion. So what is
timed is reading problems, tokenising, splitting, grading and writing. Each size runs in a process of its own. ``first``
and ``last`` are milliseconds a shard over the first and the last tenth of the run, the first with the grader's start;
where ``last`` grows with the number of shards, the whole grows with its square. ``again`` is the same command once
everything is there. Memory is what the run adds to a process that has imported everything.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from erprm.engines.base import Prompt, TokenUsage, encode_prompt
from erprm.rollout import Completion, RolloutConfig, Sampling, run_rollouts

SOLUTION = (
    "First there are 3 + 4 = 7 of them, which she puts into a box.\nThen 7 * 2 = 14 are in two such boxes.\n#### 14"
)
QUESTION = (
    "Number {}: a child puts three red and four blue marbles into a box, and has two such boxes. How many are there?"
)


class _Recording:
    """An engine that writes one solution, from wherever a prompt has got to in it."""

    name, max_length = "recording", 4096

    def __init__(self) -> None:
        characters = sorted(pre_tokenizers.ByteLevel.alphabet())
        bytes_alone = Tokenizer(models.BPE({character: index for index, character in enumerate(characters)}, []))
        bytes_alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bytes_alone.decoder = decoders.ByteLevel()
        self.usage = TokenUsage()
        self.call_times: list[float] = []
        self._tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_alone)
        self._solution = encode_prompt(self._tokenizer, SOLUTION)
        self._end_of_question = encode_prompt(self._tokenizer, "?")[0]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self._tokenizer

    def fingerprint(self) -> str:
        return "recording"

    def close(self) -> None:
        pass

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        self.call_times.append(time.perf_counter())
        completions = []
        for prompt in prompts:
            ids = encode_prompt(self._tokenizer, prompt)
            done = ids[::-1].index(self._end_of_question)
            rest = tuple(self._solution[done:])
            self.usage.prompt += len(ids)
            self.usage.completion += len(rest) * sampling.n
            completions.append([Completion(self._tokenizer.decode(rest), rest, "stop")] * sampling.n)
        return completions


def run(shards: int, problems_per_shard: int, folder: Path) -> dict[str, float]:
    """Runs one size twice and says what it took."""
    problems_file = folder / "problems.jsonl"
    with problems_file.open("w", encoding="utf-8") as file:
        for number in range(shards * problems_per_shard):
            file.write(json.dumps({"question": QUESTION.format(number), "answer": "14"}) + "\n")
    config = RolloutConfig(
        model="recording",
        output_dir=str(folder / "run"),
        source="jsonl",
        path=str(problems_file),
        solutions_per_problem=1,
        completions_per_step=1,
        reuse_solutions=False,
        problems_per_shard=problems_per_shard,
        grading="gsm8k",
    )
    engine, before = _Recording(), peak_mb()
    started = time.perf_counter()
    run_rollouts(config, engine, console=Console(file=io.StringIO()))
    finished = time.perf_counter()
    run_rollouts(config, engine, console=Console(file=io.StringIO()))
    again = time.perf_counter() - finished
    starts = [*engine.call_times[::2], finished]  # a shard asks once for solutions and once for completions
    tenth = max(1, shards // 10)
    files = [path for path in (folder / "run").rglob("*") if path.is_file()]
    return {
        "shards": shards,
        "files": len(files),
        "kb": sum(path.stat().st_size for path in files) / 1000,
        "before": starts[0] - started,
        "first": 1000 * (starts[tenth] - starts[0]) / tenth,
        "last": 1000 * (starts[-1] - starts[-1 - tenth]) / tenth,
        "total": finished - started,
        "again": again,
        "mb": peak_mb() - before,
    }


def peak_mb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Runs the sizes one after another and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[500, 2000, 8000])
    parser.add_argument("--problems_per_shard", type=int, default=1)
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(arguments.shards[0], arguments.problems_per_shard, Path(folder))))
        return
    header = ("shards", "files", "kB", "before, s", "first, ms", "last, ms", "total, s", "again, s", "MB grown")
    print("".join(f"{name:>11}" for name in header), flush=True)
    for shards in arguments.shards:
        options = [f"--shards={shards}", f"--problems_per_shard={arguments.problems_per_shard}", "--part"]
        finished = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=False)
        if finished.returncode:
            raise SystemExit(finished.stderr)
        values = json.loads(finished.stdout.splitlines()[-1]).values()
        print("".join(f"{value:>11,.0f}" if value >= 100 else f"{value:>11.3g}" for value in values), flush=True)


if __name__ == "__main__":
    main()
