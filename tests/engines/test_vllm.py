"""Tests of behaviour specific to vLLM; test_engines.py tests what all engines have in common."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from erprm.engines.base import prompt_seed, request_seed
from erprm.runs.child import kill_when_this_process_ends

RUN = """
import subprocess, sys, time
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
