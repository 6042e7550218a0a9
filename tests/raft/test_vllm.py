"""RAFT with vLLM: what samples after a round are that round's weights."""

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from erprm.cli import main
from erprm.engines.transformers import TransformersEngine
from erprm.raft import run_raft
from erprm.raft.solutions import read_solutions
from erprm.rollout import Sampling, VLLMOptions
from tests.raft.sums import make_config, save_policy, write_problems

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="vLLM is not installed: it has no wheel for this interpreter or platform",
)
# Enough for this test; by default vLLM takes most of the machine's memory, and compiles for half a minute.
VLLM = VLLMOptions(arguments={"kv_cache_memory_bytes": 2**26, "enforce_eager": True})


def sft(arguments: Sequence[str], log_file: Path) -> None:
    assert main(arguments) == 0


@pytest.mark.slow  # vLLM starts twice.
def test_vllm_samples_from_the_weights_of_the_round(tmp_path: Path) -> None:
    # vLLM's attention on a CPU takes heads of 32 and more.
    save_policy(tmp_path / "policy", hidden_size=64, num_attention_heads=2, num_key_value_heads=1)
    write_problems(tmp_path)
    config = make_config(tmp_path, rounds=1, engine="vllm", device="auto", vllm=VLLM, keep_rounds=2)
    initial, after = run_raft(config, Console(file=io.StringIO()), sft)
    assert after.kl > 0.0 == initial.kl

    greedy = []
    for number, policy in ((0, tmp_path / "policy"), (1, tmp_path / "run/round-1/policy")):
        solutions = list(read_solutions(tmp_path / f"run/round-{number}/held_out/greedy"))
        engine = TransformersEngine(str(policy), device="cpu")
        how = Sampling(1, temperature=0.0, max_tokens=config.max_tokens)
        expected = engine.generate([each.prompt_ids for each in solutions], how)
        greedy.append([each.candidates for each in solutions])
        assert greedy[-1] == [[completion.text for completion in of_prompt] for of_prompt in expected]
    assert greedy[0] != greedy[1]
