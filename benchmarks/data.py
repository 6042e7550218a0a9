"""Speed and memory of preparing training data, on synthetic rollout records.

    python benchmarks/data.py                     # a million records, 15 solutions a problem; minutes
    python benchmarks/data.py --records 50000

Each part runs in a process of its own. What it adds to an empty process is printed, at its peak: memory of its own, and
pages of mapped files, which the system takes back when it needs them. ``write`` makes the Parquet file; ``tokenise`` is
the first pass, which builds the cache; ``open`` opens the cache, makes labels and split and composes the batches;
``batches`` lays batches of ``--max_tokens`` out, from the cache, in one process.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
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


class PeakMemory:
    """The most memory that this process has held since: its own, and mapped files, in MB; looked at every 10 ms."""

    def __init__(self) -> None:
        """Begins to look."""
        self.own = self.mapped = 0.0
        self.look()
        threading.Thread(target=self._keep_looking, daemon=True).start()

    def _keep_looking(self) -> None:
        while True:
            time.sleep(0.01)
            self.look()

    def look(self) -> None:
        """Looks once more."""
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
        self.own = max(self.own, kilobytes["RssAnon"] / 1024)
        self.mapped = max(self.mapped, kilobytes["RssFile"] / 1024)


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
    data, memory = data_module(folder, max_tokens), PeakMemory()
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
    memory.look()
    return {"records": records, "seconds": seconds, "own": memory.own, "mapped": memory.mapped}


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
    empty: dict[str, float] = {}
    print(f"{'part':<10}{'records':>10}{'seconds':>10}{'records/s':>12}{'own MB':>10}{'mapped MB':>12}")
    for part in ("write", "empty", "tokenise", "open", "batches"):
        options = [f"--work={folder}", f"--part={part}", f"--records={arguments.records}"]
        command = [sys.executable, __file__, *options, f"--max_tokens={arguments.max_tokens}"]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise SystemExit(finished.stderr)
        result = json.loads(finished.stdout.splitlines()[-1])
        if part == "empty":
            empty = result
        elif part != "write":
            rate = result["records"] / result["seconds"]
            print(f"{part:<10}{result['records']:>10.0f}{result['seconds']:>10.1f}{rate:>12.0f}", end="")
            own, mapped = (max(0.0, result[kind] - empty[kind]) for kind in ("own", "mapped"))
            print(f"{own:>10.0f}{mapped:>12.0f}", flush=True)


if __name__ == "__main__":
    main()
