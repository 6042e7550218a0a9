"""Tests of behaviour specific to vLLM; test_engines.py tests what all engines have in common."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import torch

from erprm.engines.base import EngineError, Sampling, prompt_seed, request_seed
from erprm.engines.vllm import take_all_of_few_cores
from erprm.runs.child import kill_when_this_process_ends
from tests.tiny import make_llama, make_tokenizer

RUN = """
import subprocess, sys, time
from erprm.engines.vllm import take_all_of_few_cores
from erprm.runs.child import kill_when_this_process_ends
child = subprocess.Popen(["sleep", "600"])
kill_when_this_process_ends([child.pid])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_what_a_run_has_started_ends_with_it_when_it_is_killed() -> None:
    run = subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, start_new_session=True)
    assert run.stdout is not None
    child = psutil.Process(int(run.stdout.readline()))
    run.send_signal(signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 120
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_watch_that_is_called_off_kills_nothing() -> None:
    child = subprocess.Popen(["sleep", "600"])
    watch = kill_when_this_process_ends([child.pid])
    watch.kill()
    watch.communicate()
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.5)
    child.kill()
    child.wait()


def test_seeds_of_all_completions_of_a_request_fit_into_63_bits() -> None:
    seeds = [prompt_seed(run, [token]) for run in (0, 2**63 - 1) for token in range(500)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0
    assert max(seeds) < 2**62
    assert prompt_seed(3, [1, 2]) == request_seed(3, [1, 2], 0) // 2


@pytest.mark.parametrize(
    ("cores", "set_before", "arguments", "bound"),
    [
        ({0, 1}, {}, {}, "0,1"),
        ({5, 2, 7, 3}, {}, {"tensor_parallel_size": 1}, "2,3,5,7"),
        ({0}, {}, {}, None),
        (set(range(5)), {}, {}, None),
        ({0, 1}, {}, {"tensor_parallel_size": 2}, None),
        ({0, 1}, {"VLLM_CPU_OMP_THREADS_BIND": "0"}, {}, "0"),
        ({0, 1}, {"VLLM_CPU_NUM_OF_RESERVED_CPU": "1"}, {}, None),
    ],
)
def test_few_cores_are_all_taken_unless_someone_chose(
    monkeypatch: pytest.MonkeyPatch,
    cores: set[int],
    set_before: dict[str, str],
    arguments: dict[str, int],
    bound: str | None,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    for name in ("VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_NUM_OF_RESERVED_CPU"):
        # Set first, so that what is set by the function is undone, too.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in set_before.items():
        monkeypatch.setenv(name, value)
    take_all_of_few_cores(arguments)
    assert os.environ.get("VLLM_CPU_OMP_THREADS_BIND") == bound


@pytest.mark.slow
def test_a_model_whose_logits_are_no_numbers_is_named_before_anything_is_sampled(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    from erprm.engines.vllm import VLLMEngine

    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer), hidden_size=128)
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with (
        closing(VLLMEngine(str(tmp_path), gpu_memory_utilization=0.1)) as engine,
        pytest.raises(EngineError, match=f"model '{tmp_path}' gives logits that are NaN or infinite"),
    ):
        engine.generate(["What is 3 and 4 more?"], Sampling(max_tokens=8))
