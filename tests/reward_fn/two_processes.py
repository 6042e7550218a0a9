"""One of two processes that share completions out: ``python -m tests.reward_fn.two_processes FOLDER``."""

import json
import sys
from pathlib import Path

import torch.distributed as dist

from erprm.reward_fn import ProcessReward

PROMPTS = [f"What is {i} and 4 more?" for i in range(5)]
COMPLETIONS = [f"{i} + 4 = {i + 4}.\n" * (i % 3) + f"So {i}." * (i != 3) for i in range(5)]


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    reward = ProcessReward(folder / "prm")
    # Three and two completions, and three calls of one process against one of the other.
    rewards = [reward(PROMPTS[rank::2], COMPLETIONS[rank::2]) for _ in range(3 if rank == 0 else 1)]
    gathered: list[list[list[float]]] = [[], []]
    dist.all_gather_object(gathered, rewards)
    (folder / f"rank{rank}.json").write_text(json.dumps(gathered), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
