import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from erprm.models import ProcessRewardModel
from erprm.reward_fn import ProcessReward
from tests.conftest import REPOSITORY
from tests.models.distributed.test_two_ranks import free_port
from tests.reward_fn.two_processes import COMPLETIONS, PROMPTS
from tests.tiny import save_tiny_llama


def test_two_processes_score_their_shares_as_one_process_scores_all(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path / "lm")
    ProcessRewardModel.from_pretrained(tmp_path / "lm").save_pretrained(tmp_path / "prm")
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.reward_fn.two_processes", str(tmp_path)]
    started = [
        subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, **common, "RANK": str(rank)}) for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=900) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in range(2))
    assert first == second
    expected = ProcessReward(tmp_path / "prm")(PROMPTS, COMPLETIONS)
    assert expected[3] == 0.0
    for rank, calls in enumerate(first):
        assert len(calls) == (3, 1)[rank]
        for rewards in calls:
            assert rewards == pytest.approx(expected[rank::2], abs=1e-6)
