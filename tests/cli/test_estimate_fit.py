from pathlib import Path
from typing import Any

import pytest

from erprm.cli import main
from erprm.data.records import write_records
from erprm.estimate.fit import _shards
from tests.tiny import make_record, save_tiny_llama


def row(output: str, name: str) -> str:
    """The value of a table's row, white space aside."""
    (line,) = (line for line in output.splitlines() if line.strip("│ ").startswith(name))
    return line.strip("│ ").split("│")[1].strip()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = save_tiny_llama(tmp_path / "lm")
    write_records([make_record(i) for i in range(10)], tmp_path / "r.parquet")
    path = tmp_path / "fit.yaml"
    path.write_text(
        f"""
seed_everything: 1
trainer:
  devices: 2
  max_epochs: 3
  accumulate_grad_batches: 2
  callbacks:
    - class_path: erprm.callbacks.ExportHF
      init_args:
        output: prm
model:
  backbone: {folder}
data:
  rollouts: {tmp_path / "r.parquet"}
  cache_dir: {tmp_path / "cache"}
  validation_fraction: 0.2
  max_tokens: 128
  max_length: 128
"""
    )
    return path


def estimate(config: Path, *arguments: str) -> int:
    return main(["estimate", "fit", "--config", str(config), *arguments])


def test_steps_and_tokens_are_those_of_the_data(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert estimate(config, "--estimate.peak_tflops=1") == 0
    output = capsys.readouterr().out
    # Two of ten problems are for validation.
    assert row(output, "solutions") == "8"
    assert "3 epoch(s) on 2 device(s)" in output
    assert "hours at 40% of 1 TFLOP/s" in output
    # Eight solutions are of the same number of tokens, or one less or more, and at most 128 of a batch.
    tokens = int(row(output, "tokens of an epoch, as laid out"))
    assert 8 * 20 < tokens < 8 * 128
    batches = -(-tokens // 128)
    assert int(row(output, "optimizer steps")) >= 3 * batches // 4


def test_hours_are_the_arithmetic_over_what_the_devices_do(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["--estimate.solutions=1000000", "--estimate.tokens_per_solution=100", "--estimate.mfu=0.5"]
    assert estimate(config, *keys, "--estimate.peak_tflops=0.001") == 0
    output = capsys.readouterr().out
    # Of the tiny Llama: 110,592 for a token, 768 for a pair; 5,050 pairs a solution; three epochs.
    operations = 3 * 1e6 * (110_592 * 100 + 768 * 5050)
    assert float(row(output, "floating-point operations")) == pytest.approx(operations, rel=0.005)
    hours = operations / (2 * 1e9 * 0.5) / 3600
    assert float(row(output, "hours").replace(",", "")) == pytest.approx(hours, rel=0.005)


def test_max_steps_ends_the_training_before_its_epochs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["--estimate.solutions=1000", "--estimate.tokens_per_solution=64"]
    # Two solutions a batch of 128 tokens, and four batches an optimizer step: 125 steps an epoch.
    assert estimate(config, *keys) == 0
    whole = capsys.readouterr().out
    assert (row(whole, "optimizer steps"), "3 epoch(s)" in whole) == ("375", True)
    assert estimate(config, *keys, "--trainer.max_steps=25") == 0
    part = capsys.readouterr().out
    assert (row(part, "optimizer steps"), "0.2 epoch(s)" in part) == ("25", True)
    operations = [float(row(output, "floating-point operations")) for output in (whole, part)]
    assert operations[0] == pytest.approx(15 * operations[1], rel=0.01)


@pytest.mark.parametrize(
    ("strategy", "shards"),
    [
        ("auto", 1),
        ("ddp", 1),
        ("fsdp2", 8),
        ("fsdp", 8),
        ({"class_path": "erprm.models.FSDP2Strategy", "init_args": {"shard_size": 2}}, 2),
        ({"class_path": "erprm.models.FSDP2Strategy"}, 8),
    ],
)
def test_weights_are_shared_by_as_many_processes_as_the_strategy_says(strategy: Any, shards: int) -> None:
    assert _shards(strategy, processes=8) == shards


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["--trainer.devices=auto"], "trainer.devices is 'auto', which depends on the machine"),
        (["--data.rollouts=nowhere.parquet"], "data.rollouts is 'nowhere.parquet', which does not exist"),
        (["--estimate.solutions=5"], "estimate.tokens_per_solution is not"),
        (["--estimate.mfu=1.5"], "estimate.mfu is 1.5; it must be in"),
        (["--estimate.mfuu=0.5"], "mfuu"),
        (["--data.max_token=64"], "did you mean 'max_tokens'?"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    config: Path, capsys: pytest.CaptureFixture[str], keys: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        estimate(config, *keys)
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
