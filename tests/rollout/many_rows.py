"""A run whose shards take a known amount of room.

Usage: python -m tests.rollout.many_rows FOLDER

Mounts a small disk over FOLDER, which takes rights that a namespace of one's own gives, runs into it until it is full,
makes it larger, and runs again. Prints what the first run failed with, and copies what the second made to FOLDER-copy.
"""

import io
import random
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from erprm.data.sources import Problem
from erprm.rollout import RolloutConfig, run_rollouts
from tests.engines.recorded_engine import RecordedEngine
from tests.rollout.conftest import make_word_tokenizer


def run(folder: Path) -> None:
    noise = random.Random(0)
    # 20 KB a shard, and noise cannot be compressed below 10 KB.
    problems = [Problem(f"p/{number}", f"{number} + 1 =", "4", noise.randbytes(5_000).hex()) for number in range(8)]
    config = RolloutConfig(
        "recorded", str(folder), solutions_per_problem=1, completions_per_step=2, problems_per_shard=2, grading="gsm8k"
    )
    run_rollouts(config, RecordedEngine(make_word_tokenizer()), problems, Console(file=io.StringIO()))


def main(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    try:
        run(folder / "run")
    except OSError as error:
        sys.stdout.write(str(error))
    subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    run(folder / "run")
    shutil.copytree(folder / "run", f"{folder}-copy")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
