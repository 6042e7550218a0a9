"""The example of GSM8K: its settings parse, and its script runs from rollouts to the report, on a tiny model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from erprm.cli import main
from tests.conftest import REPOSITORY
from tests.working_folder import make_working_folder

EXAMPLE = REPOSITORY / "examples/gsm8k"


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("rollout", ["rollout.yaml"]),
        ("fit", ["fit.yaml"]),
        ("fit", ["fit.yaml", "lora.yaml"]),
        ("test", ["test.yaml"]),
        ("raft", ["raft.yaml"]),
    ],
)
def test_the_settings_parse(command: str, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    configs = [argument for file in files for argument in ("--config", str(EXAMPLE / file))]
    with pytest.raises(SystemExit) as exit_status:
        main([command, *configs, "--print_config"])
    assert exit_status.value.code == 0
    assert capsys.readouterr().out


def run(script: Path, rung: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(script), rung],
        cwd=folder,
        env={**os.environ, "PATH": path, "ERPRM_CACHE": str(folder / "cache"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_rung_that_is_none_is_refused(tmp_path: Path) -> None:
    refused = run(EXAMPLE / "run.sh", "qwen-70b", tmp_path)
    assert refused.returncode == 2
    assert "no rung 'qwen-70b'; there are qwen-0.5b, llama-1b" in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_script_runs_and_repeats_nothing(tmp_path: Path) -> None:
    folder = make_working_folder(tmp_path)
    rows = [{"question": f"What is {i} and 4 more?", "answer": f"{i + 4}"} for i in range(12)]
    problems = folder / "twelve.jsonl"
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    example = folder / "example"
    shutil.copytree(EXAMPLE, example)
    test = (example / "test.yaml").read_text(encoding="utf-8")
    for old, new in [
        ("engine: vllm", "engine: transformers\n          device: cpu"),
        ("dtype: bfloat16", "dtype: float32"),
        ("candidates: 64", "candidates: 4"),
        ("source: gsm8k", f"source: jsonl\n          path: {problems}"),
        ("max_tokens: 512", "max_tokens: 8"),
    ]:
        assert old in test
        test = test.replace(old, new)
    (example / "test.yaml").write_text(test, encoding="utf-8")
    held_out = folder / "held_out.jsonl"
    held_out.write_text(problems.read_text(encoding="utf-8").replace("What is", "How much is"), encoding="utf-8")
    sampled = "--engine transformers --device cpu --dtype float32 --seed 0"
    variables = {
        "POLICY": str(folder / "my-llama"),
        "BASE": str(folder / "my-llama"),
        "ROLLOUT_ARGS": f"{sampled} --max_tokens 8 --source jsonl --path {problems} --limit 6"
        " --solutions_per_problem 2",
        "FIT_ARGS": "--trainer.accelerator cpu --trainer.precision 32-true --data.validation_fraction 0.3"
        " --trainer.logger false --data.max_tokens 512 --data.max_length 256",
        "TEST_ARGS": "--trainer.accelerator cpu",
        "RAFT_ARGS": f"{sampled} --max_tokens 150 --problems.source jsonl --problems.path {problems} --problems.limit 6"
        f" --held_out.source jsonl --held_out.path {held_out} --held_out.limit 6 --rounds 1 --solutions_per_problem 4"
        " --sft.trainer.accelerator cpu --sft.trainer.precision 32-true",
    }  # fmt: skip
    first = run(example / "run.sh", "own", folder, **variables)
    assert first.returncode == 0, first.stderr[-3000:]
    written = folder / "runs/gsm8k/own"
    for name in ("rollouts/summary.json", "prm/config.json", "best_of_n/gsm8k/results.json", "raft/results.md"):
        assert (written / name).is_file(), name
    assert "gsm8k" in (written / "report.html").read_text(encoding="utf-8")

    trained = (written / "prm/config.json").stat().st_mtime_ns
    again = run(example / "run.sh", "own", folder, **variables)
    assert again.returncode == 0, again.stderr[-3000:]
    assert (written / "prm/config.json").stat().st_mtime_ns == trained
