"""Every command, told by a signal to stop in the middle of its work: what it says, its exit status, what is left."""

import functools
import json
import logging
import os
import pkgutil
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from erprm.cli import COMMANDS, main
from erprm.runs.signals import STOPPING
from tests.working_folder import make_working_folder


def callback(name: str, /, **settings: str) -> str:
    return "--trainer.callbacks=" + json.dumps([{"class_path": f"erprm.callbacks.{name}", "init_args": settings}])


CPU = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
FIT = [*CPU, "--model.backbone=my-llama", "--data.rollouts=rollouts.parquet", "--data.cache_dir=cache"]
POLICY = ["--model=my-llama", "--source=jsonl", "--path=problems.jsonl", "--max_tokens=8", "--device=cpu"]
POOL = {"candidates": "pool.jsonl", "name": "p", "kind": "gsm8k"}
SETS = [f"--{key}={{source: jsonl, path: {key}.jsonl}}" for key in ("problems", "held_out")]
ONE_SEARCH = ["--methods={n: best_of_n}", "--max_step_tokens=8"]
CONTINUES, BEGINS_AGAIN = "the same command continues the run", "the same command begins again"
SAVED = "to go on, resume with --ckpt_path="

# A command: its arguments, a function that it calls in the middle of its work, and how it says to go on.
WORK: dict[str, tuple[list[str], str, str]] = {
    "fit": (
        [*FIT, "--trainer.max_steps=2", "--trainer.default_root_dir=fit", "--ckpt_path=last"],
        "erprm.models.process_reward:ProcessRewardModel.training_step",
        SAVED,
    ),
    "validate": (
        [*FIT, "--model.step_format=er_prm", "--data.validation_fraction=0.5"],
        "erprm.models.process_reward:ProcessRewardModel.validation_step",
        BEGINS_AGAIN,
    ),
    "test": (
        [*CPU, "--model.backbone=prm", callback("BestOfN", **POOL), "--trainer.default_root_dir=test"],
        "erprm.models.process_reward:ProcessRewardModel.score_steps",
        BEGINS_AGAIN,
    ),
    "predict": (
        [
            *CPU,
            "--model.backbone=prm",
            "--data.predict_solutions=solutions.jsonl",
            callback("StepScoreWriter", output="predicted.jsonl"),
        ],
        "erprm.models.process_reward:ProcessRewardModel.score_steps",
        BEGINS_AGAIN,
    ),
    "sft": (
        [
            *CPU,
            "--model.backbone=my-llama",
            "--data.samples=samples.jsonl",
            "--trainer.max_steps=2",
            "--trainer.default_root_dir=sft",
            "--ckpt_path=last",
        ],
        "erprm.models.policy:PolicyModel.training_step",
        SAVED,
    ),
    "rollout": (
        [*POLICY, "--output_dir=sampled", "--grading=gsm8k", "--completions_per_step=2"],
        "erprm.engines.transformers:TransformersEngine.generate",
        CONTINUES,
    ),
    "raft": (
        [
            *("--model=my-llama", "--output_dir=raft", "--max_tokens=8", "--device=cpu", "--grading=gsm8k", *SETS),
            *("--rounds=1", "--solutions_per_problem=2", "--evaluation_samples=1", "--selector=random"),
        ],
        "erprm.engines.transformers:TransformersEngine.generate",
        CONTINUES,
    ),
    "grpo": (
        [
            *("--model=my-llama", "--output_dir=grpo", "--scorer=prm", "--max_tokens=8", "--device=cpu", *SETS),
            *("--grading=gsm8k", "--generations=2", "--steps=1", "--evaluation_samples=1"),
            "--trainer={per_device_train_batch_size: 2, gradient_checkpointing: false}",
        ],
        "erprm.engines.transformers:TransformersEngine.generate",
        CONTINUES,
    ),
    "search": (
        [*POLICY, "--scorer=prm", "--output_dir=searched", "--grading=gsm8k", "--budgets=[16]", *ONE_SEARCH],
        "erprm.engines.transformers:TransformersEngine.generate",
        CONTINUES,
    ),
    "serve": (
        ["--policy=my-llama", "--scorer=prm", "--port=0", "--device=cpu"],
        "erprm.cli.serve:tell",
        "what ran was finished",
    ),
    "score": (
        ["--model=prm", "--jsonl", "solutions.jsonl", "scored.jsonl"],
        "erprm.models.process_reward:ProcessRewardModel.score_steps",
        CONTINUES,
    ),
    "calibrate": (
        ["--model=prm", "--data=rollouts.parquet", "--method=isotonic", "--folds=2"],
        "erprm.models.process_reward:ProcessRewardModel.score_steps",
        BEGINS_AGAIN,
    ),
    "ablate": (
        ["--fit=fit.yaml", "--pool=pool.jsonl", "--kind=gsm8k", "--output_dir=ablation", "--etas=0", "--seeds=1"],
        "erprm.ablation.runs:output_of_command",
        CONTINUES,
    ),
    "convert": (["rollouts.parquet", "trl.jsonl"], "erprm.data.formats.exporting:Exporter._row", BEGINS_AGAIN),
    "merge": (["merged", "part-0", "part-1"], "erprm.rollout.running.reports:_adopt_all", BEGINS_AGAIN),
    "data": (["stats", "rollouts.parquet"], "erprm.data.statistics:DataStatistics.add", BEGINS_AGAIN),
    "export": (
        ["--model.backbone=my-llama", "--ckpt_path=whole.ckpt", "--output=exported"],
        "erprm.models.checkpoint_weights:load_weights",
        BEGINS_AGAIN,
    ),
    "choose-eta": (
        ["tested/best_of_n/p", "--folds=2"],
        "erprm.report.candidates:read_scored_pool",
        BEGINS_AGAIN,
    ),
    "report": (["tested", "--out=report.html"], "erprm.report.page.document:write_document", BEGINS_AGAIN),
    "estimate": (["fit", "--config=fit.yaml", "--estimate.processes=1"], "erprm.estimate.fit:_epoch", BEGINS_AGAIN),
    "demo": (["--quick", "--output_dir=demo"], "erprm.demo.dial.base:BaseModel.training_step", CONTINUES),
}
# Run to the end by other tests.
NOT_GONE_ON = {"serve", "ablate", "demo", "raft", "validate", "test", "predict"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_working_folder(tmp_path_factory.mktemp("signals"))
    held_out = '{"question": "What is 5 less than 9?", "answer": "4"}\n'
    (folder / "held_out.jsonl").write_text(held_out, encoding="utf-8")
    rows = [f'{{"prompt": "What is {i}?", "completion": "{i}."}}\n' for i in range(8)]
    (folder / "samples.jsonl").write_text("".join(rows), encoding="utf-8")
    data = {"rollouts": str(folder / "rollouts.parquet"), "cache_dir": "cache"}
    fit = {"trainer": {"accelerator": "cpu"}, "model": {"backbone": "my-llama"}, "data": data}
    (folder / "fit.yaml").write_text(json.dumps(fit), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", *FIT, "--trainer.max_steps=1", "--trainer.default_root_dir=trained"]) == 0
        (checkpoint,) = folder.glob("trained/**/*.ckpt")
        checkpoint.rename(folder / "whole.ckpt")
        assert main(["test", *WORK["test"][0], "--trainer.default_root_dir=tested"]) == 0
        for part in ("0", "1"):
            split = [f"--shard={part}/2", f"--output_dir=part-{part}", "--problems_per_shard=1"]
            assert main(["rollout", *WORK["rollout"][0], *split]) == 0
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(prepared, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(autouse=True)
def _hears_interrupts() -> Iterator[None]:
    """A background job of a shell ignores the interrupt key, and so would these tests."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


def status_of(arguments: Sequence[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def send_when_called(patch: pytest.MonkeyPatch, place: str, number: int) -> None:
    """Sends this process a signal when a function is first called."""
    module, _, path = place.partition(":")
    owner, _, name = path.rpartition(".")
    holder = pkgutil.resolve_name(f"{module}:{owner}")
    function = getattr(holder, name)
    sent: list[int] = []

    @functools.wraps(function)
    def sending(*arguments: Any, **settings: Any) -> Any:
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return function(*arguments, **settings)

    patch.setattr(holder, name, sending)


def test_every_command_is_stopped_here() -> None:
    # One only copies a file, the other runs commands that are here.
    assert set(WORK) == set(COMMANDS) - {"init", "quickstart"}


@pytest.mark.parametrize("number", sorted(STOPPING), ids=lambda number: number.name)
@pytest.mark.parametrize("command", WORK)
def test_a_signal_ends_a_command_which_says_how_to_go_on_and_goes_on(
    command: str,
    number: signal.Signals,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    arguments, place, going_on = WORK[command]
    caplog.set_level(logging.INFO, "lightning.pytorch")  # A demo in this process has made it quiet.
    handlers = {each: signal.getsignal(each) for each in STOPPING}
    with pytest.MonkeyPatch.context() as patch:
        send_when_called(patch, place, number)
        assert status_of([command, *arguments]) == 128 + number
    assert {each: signal.getsignal(each) for each in STOPPING} == handlers
    error = capfd.readouterr().err
    assert "Traceback" not in error
    if going_on == SAVED:
        (said,) = (message for message in caplog.messages if going_on in message)
        assert said.startswith(f"{number.name}: saved step 1 to ")
        assert Path(said.rpartition("=")[2]).is_file()
    else:
        name = f"{command} {arguments[0]}" if command in ("data", "estimate") else command
        what = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
        assert error.splitlines()[-1] == f"erprm {name}: {what}; {going_on}"
    if number == signal.SIGTERM and command not in NOT_GONE_ON:
        assert status_of([command, *arguments]) == 0


def test_a_signal_before_a_training_has_begun_says_that_nothing_was_saved(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        send_when_called(patch, "erprm.data.datamodule:ProcessRewardDataModule.setup", signal.SIGTERM)
        assert status_of(["fit", *WORK["fit"][0]]) == 128 + signal.SIGTERM
    assert (
        capfd.readouterr()
        .err.splitlines()[-1]
        .endswith("; nothing was saved; --ckpt_path=last continues from the newest checkpoint, if any")
    )
    assert not list(folder.glob("fit/*.ckpt"))


def test_a_second_signal_does_not_wait_for_the_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "erprm.models.process_reward:ProcessRewardModel.training_step"
    send_when_called(monkeypatch, place, signal.SIGINT)
    send_when_called(monkeypatch, place, signal.SIGTERM)
    # The inner one is that of the interrupt key, so this is the second.
    assert status_of(["fit", *WORK["fit"][0]]) == 128 + signal.SIGINT
    assert not list(folder.glob("fit/*.ckpt"))


def test_a_signal_that_a_process_was_started_to_ignore_stays_ignored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    send_when_called(monkeypatch, WORK["fit"][1], signal.SIGINT)
    assert status_of(["fit", *WORK["fit"][0]]) == 0
