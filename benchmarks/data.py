"""Speed and memory of preparing training data, on synthetic rollout records.

    python benchmarks/data.py                     # a million records, 15 solutions a problem; minutes
    python benchmarks/data.py --records 50000

Each part runs in a process of its own, and its peak memory is printed as what it adds to an empty process: ``write``
makes the Parquet file; ``tokenise`` is the first pass, which builds the cache; ``open`` opens the cache, makes labels
and split and composes the batches; ``batches`` lays batches of ``--max_tokens`` out, from the cache, in one process.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from erprm.data import ProcessRewardDataModule
from erprm.data.records import RolloutRecord, read_records, write_records
from erprm.steps import StepEncoder, StepFormat

SOLUTIONS, COMPLETIONS = 15, 8
SENTENCE = "she has more apples than he sold last week so the total of both is twice as many each day"


def synthetic_records(count: int) -> Iterator[RolloutRecord]:
    """Solutions of four steps, 15 a problem, that share their problem and some of their first steps."""
    rng, words = random.Random(0), SENTENCE.split()

    def text(length: int) -> str:
        return " ".join(rng.choice(words) for _ in range(length)) + f" {rng.randrange(1000)}."

    for number in range(count):
        if number % SOLUTIONS == 0:
            question, first_steps = text(40), [text(15) for _ in range(3)]
        steps = [rng.choice(first_steps), *(text(15) for _ in range(3))]
        rewards = [[float(rng.random() < 0.5) for _ in range(COMPLETIONS)] for _ in steps[:-1]]
        yield RolloutRecord(
            problem_id=f"synthetic/train/{number // SOLUTIONS}",
            question=question,
            answer="",
            source="synthetic",
            steps=steps,
            rewards=[*rewards, [1.0]],
            correct=True,
            policy="",
            sampling="",
            seed=number,
        )


def step_encoder() -> StepEncoder:
    """A byte-level tokenizer learned from the records' words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = [text for record in synthetic_records(300) for text in [record.question, *record.steps]]
    tokenizer.train_from_iterator([*texts, *["a ки b + c - d"] * 300], trainer)
    return StepFormat().bind(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="!"))


def data_module(folder: Path, max_tokens: int) -> ProcessRewardDataModule:
    """The data module of the benchmark."""
    return ProcessRewardDataModule(
        str(folder / "records.parquet"),
        eta=1.0,
        max_tokens=max_tokens,
        cache_dir=str(folder / "cache"),
        step_encoder=step_encoder(),
    )


def run_part(part: str, folder: Path, records: int, max_tokens: int) -> dict[str, float]:
    """Runs one part and says how many records it went through, in what time and memory."""
    data = data_module(folder, max_tokens)
    if part == "empty":
        # What every part needs before it begins: imports, and reading Parquet at all.
        list(islice(read_records(folder / "records.parquet"), 1)) if records else None
    before = time.perf_counter()
    if part == "write":
        write_records(synthetic_records(records), folder / "records.parquet")
    elif part == "tokenise":
        data.load(str(folder / "records.parquet"))
    elif part in ("open", "batches"):
        data.setup("fit")
        loader = data.train_dataloader()
        if part == "batches":
            before, records = time.perf_counter(), 0
            for batch in islice(loader, 2000):
                records += len(batch.record_ids)
    seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"records": records, "seconds": seconds, "peak_mb": peak}


def main() -> None:
    """Runs the parts one after another and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--max_tokens", type=int, default=4096)
    parser.add_argument("--work", type=Path, default=Path("~/.cache/erprm-benchmarks/data").expanduser())
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        result = run_part(arguments.part, arguments.work, arguments.records, arguments.max_tokens)
        print(json.dumps(result))
        return
    folder = arguments.work / str(arguments.records)
    folder.mkdir(parents=True, exist_ok=True)
    for cached in (folder / "cache").glob("*/*"):
        cached.unlink()
    empty = 0.0
    print(f"{'part':<10}{'records':>10}{'seconds':>10}{'records/s':>12}{'MB over an empty process':>26}")
    for part in ("write", "empty", "tokenise", "open", "batches"):
        options = [f"--work={folder}", f"--part={part}", f"--records={arguments.records}"]
        command = [sys.executable, __file__, *options, f"--max_tokens={arguments.max_tokens}"]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise SystemExit(finished.stderr)
        result = json.loads(finished.stdout.splitlines()[-1])
        if part == "empty":
            empty = result["peak_mb"]
        elif part != "write":
            rate = result["records"] / result["seconds"]
            print(f"{part:<10}{result['records']:>10.0f}{result['seconds']:>10.1f}{rate:>12.0f}", end="")
            print(f"{result['peak_mb'] - empty:>26.0f}", flush=True)


if __name__ == "__main__":
    main()
