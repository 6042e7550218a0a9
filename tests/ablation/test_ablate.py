"""``erprm ablate`` on a tiny Llama, killed and continued; and what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from erprm.ablation.config import AblateConfig, Method
from erprm.ablation.runs import AblationFolder, Run, RunError
from erprm.callbacks.run_cost import Cost
from erprm.cli import main
from erprm.cli.commands import parse_settings
from erprm.rollout.pools import PoolSampling
from tests.conftest import REPOSITORY
from tests.working_folder import make_working_folder

COMMAND = ["ablate", "--fit", "fit.yaml", "--pool", "pool.jsonl", "--kind", "gsm8k", "--output_dir", "out"]
FIT = """
trainer:
  accelerator: cpu
  max_steps: 2
  logger: false
  enable_progress_bar: false
  default_root_dir: elsewhere
  callbacks:
    - class_path: erprm.callbacks.ExportHF
      init_args: {output: elsewhere}
model: {backbone: my-llama}
data: {rollouts: rollouts.parquet, validation_fraction: 0.2, max_tokens: 600, cache_dir: cache}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_working_folder(tmp_path)
    (tmp_path / "fit.yaml").write_text(FIT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_an_ablation_that_was_killed_trains_what_is_missing_and_compares_all(folder: Path) -> None:
    command = [*COMMAND, "--etas", "0,inf", "--seeds", "1", "--outcome", "false"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "erprm", *command],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )
    soft, hard = folder / "out/runs/eta-0_seed-0", folder / "out/runs/eta-inf_seed-0"
    while not (soft / "training.json").exists() and killed.poll() is None:
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not hard.exists()
    trained = (soft / "training.json").stat().st_mtime_ns
    # As if the training had been killed as it ended, and the next one before it had saved.
    (soft / ".model.lock").touch()
    (hard / "fit/lightning_logs/version_0").mkdir(parents=True)

    assert main(command) == 0
    assert (soft / "training.json").stat().st_mtime_ns == trained
    assert not (soft / ".model.lock").exists()
    assert not (hard / "fit/lightning_logs").exists()
    assert not (folder / "elsewhere").exists()
    content = json.loads((folder / "out/ablation.json").read_text(encoding="utf-8"))
    assert (content["format"], content["version"]) == ("erprm-ablation", 1)
    assert content["runs"] == [
        {"name": f"eta {eta}", "labels": "er", "eta": value, "seed": 0, "results": f"runs/eta-{eta}_seed-0/best_of_n/"
         "pool/results.json"}
        for eta, value in (("0", 0.0), ("inf", "inf"))
    ]  # fmt: skip
    for run in content["runs"]:
        results = json.loads((folder / "out" / run["results"]).read_text(encoding="utf-8"))
        (curve,) = (c for c in content["curves"] if c["name"] == run["name"] and c["aggregation"] == "mean")
        assert curve["n"] == [1, 2, 4]
        assert curve["accuracy"] == pytest.approx([results["methods"]["bon_mean"]["mean"][n - 1] for n in (1, 2, 4)])
    # Records of two solutions: rewards 3/4 and 1, and 1/4, 0 and 0, of 12 problems.
    soft_labels, hard_labels = content["label_histograms"]
    assert (soft_labels["zeros"], soft_labels["ones"], sum(soft_labels["counts"])) == (24, 12, 60)
    assert soft_labels["counts"][5] == soft_labels["counts"][15] == 12
    assert (hard_labels["zeros"], hard_labels["ones"]) == (24, 36)
    assert {(cost["name"], cost["stage"]) for cost in content["costs"]} == {
        (name, stage) for name in ("soft (eta 0)", "hard (eta inf)") for stage in ("training", "scoring", "labelling")
    }
    for cost in content["costs"]:
        if cost["stage"] != "labelling":
            assert cost["seconds"][0] > 0
            # A process that has loaded torch, and no more than a tiny model.
            assert 100e6 < cost["peak_bytes"][0] < 4e9
    assert {path.name for path in (folder / "out").glob("*.png")} == {"eta.png", "best_of_n.png", "labels.png"}
    assert "| eta inf |" in (folder / "out/ablation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["--etas", "1,x"], "etas: one of them is 'x'; it must be a number"),
        (["--etas", "1,nan"], "etas: one of them is 'nan'; it must be a number"),
        (["--etas", "2,2.0"], "etas: 2 appears twice"),
        (["--etas", "[]"], "etas: give at least one"),
        (["--seeds", "0"], "seeds is 0; it must be at least 1"),
        (["--worlds", "0"], "worlds is 0; it must be at least 1"),
        (["--step_style", "rhymes"], "step_style"),
        (["--sedes", "1"], "did you mean 'seeds'?"),
    ],
)
def test_settings_that_cannot_be_are_refused(keys: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as status:
        main([*COMMAND, *keys])
    assert status.value.code == 2
    assert message in capsys.readouterr().err


def test_a_pool_may_be_given_as_what_to_sample() -> None:
    pool = '{"model": "my-llama", "candidates": 256, "prompt": {"template": "{question}?"}}'
    settings = parse_settings(AblateConfig, ["ablate", "--fit", "fit.yaml", "--pool", pool])
    assert isinstance(settings.pool, PoolSampling)
    assert (settings.pool.candidates, settings.pool.prompt.template) == (256, "{question}?")


def test_a_pool_without_gold_is_refused_before_anything_is_trained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pool.jsonl").write_text('{"question": "1 + 1?", "candidates": ["2", "3"]}\n', encoding="utf-8")
    assert main(COMMAND) == 1
    message = capsys.readouterr().err
    assert "pool.jsonl" in message
    assert "answer" in message
    assert not (folder / "out").exists()


def test_a_fit_that_cannot_be_is_refused_with_its_own_message(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--fit.data.max_lenght", "7"]) == 1
    assert "did you mean 'max_length'?" in capsys.readouterr().err
    assert not (folder / "out").exists()


def resolved(**trainer: object) -> dict[str, Any]:
    data = {"class_path": "erprm.data.ProcessRewardDataModule", "init_args": {"labels": "er", "eta": 1.0, "seed": 7}}
    model = {"class_path": "erprm.models.ProcessRewardModel", "init_args": {"backbone": "nowhere"}}
    return {"seed_everything": 3, "trainer": {"callbacks": [], **trainer}, "model": model, "data": data}


def test_a_folder_of_another_ablation_is_refused(tmp_path: Path) -> None:
    with AblationFolder(tmp_path / "out", resolved(max_epochs=1), {"candidates": "a.jsonl"}, {"pool": "1"}):
        pass
    # Where the pool lies, and what the ablation sets itself, are no part of it.
    elsewhere = {**resolved(max_epochs=1), "seed_everything": 4}
    AblationFolder(tmp_path / "out", elsewhere, {"candidates": "b.jsonl"}, {"pool": "1"})
    with pytest.raises(ValueError, match=r"fit\.trainer\.max_epochs: 1 there, 2 now"):
        AblationFolder(tmp_path / "out", resolved(max_epochs=2), {"candidates": "a.jsonl"}, {"pool": "1"})
    with pytest.raises(ValueError, match=r"sha256\.pool: '1' there, '2' now"):
        AblationFolder(tmp_path / "out", resolved(max_epochs=1), {"candidates": "a.jsonl"}, {"pool": "2"})


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"is not empty \(thesis\.txt\) and has no manifest\.json of an ablation"):
        AblationFolder(tmp_path, resolved(), {}, {})


def test_two_processes_do_not_work_on_one_ablation(tmp_path: Path) -> None:
    held, other = AblationFolder(tmp_path, resolved(), {}, {}), AblationFolder(tmp_path, resolved(), {}, {})
    with held, pytest.raises(ValueError, match="is in use by process"):
        other.__enter__()
    with other:
        pass


def test_a_training_that_fails_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with AblationFolder(tmp_path / "out", resolved(), {}, {}) as ablation:
        (run,) = ablation.runs([Method(2.0)], 1)
        message = r"(?s)fit of eta 2, seed 0 ended with status 1; .*fit\.log ends with.*data\.rollouts is not set"
        with pytest.raises(RunError, match=message):
            ablation.make(run)
        assert not run.is_done


def test_runs_come_seed_after_seed(tmp_path: Path) -> None:
    methods = [Method(float("inf")), Method(None)]
    runs = AblationFolder(tmp_path, resolved(), {}, {}).runs(methods, 2)
    assert [run.folder.name for run in runs] == ["eta-inf_seed-0", "outcome_seed-0", "eta-inf_seed-1", "outcome_seed-1"]


@pytest.mark.slow
def test_worlds_are_trained_in_their_own_folders_and_compared(folder: Path) -> None:
    rows = (folder / "pool.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for world in (0, 1):
        (folder / f"pool-{world}.jsonl").write_text("".join(rows[world:]), encoding="utf-8")
    command = [*COMMAND, "--etas", "0", "--seeds", "1", "--outcome", "false", "--worlds", "2"]
    command[command.index("pool.jsonl")] = "pool-{world}.jsonl"
    assert main(command) == 0
    both, *worlds = [
        json.loads((folder / "out" / name / "ablation.json").read_text(encoding="utf-8"))
        for name in ("", "world-0", "world-1")
    ]
    assert (both["worlds"], both["intervals"]) == ([0, 1], "95%, over worlds")
    for number, curve in enumerate(both["curves"]):
        of_worlds = [world["curves"][number]["accuracy"] for world in worlds]
        assert curve["by_world"] == of_worlds
        assert curve["accuracy"] == pytest.approx([sum(at_n) / 2 for at_n in zip(*of_worlds, strict=True)])
    assert [run["results"] for run in both["runs"]] == [
        f"world-{world}/runs/eta-0_seed-0/best_of_n/pool/results.json" for world in (0, 1)
    ]
    assert all((folder / "out" / run["results"]).exists() for run in both["runs"])


def test_worlds_of_the_same_content_under_other_names_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for world in (0, 1):
        shutil.copy(folder / "pool.jsonl", folder / f"pool-{world}.jsonl")
    command = [*COMMAND, "--worlds", "2"]
    command[command.index("pool.jsonl")] = "pool-{world}.jsonl"
    assert main(command) == 1
    expected = "the worlds 0 and 1 read the same content (data.rollouts, model.backbone, pool)"
    assert expected in capsys.readouterr().err
    assert not (folder / "out/world-0").exists()


def test_the_cost_of_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(
        '{"seconds": 1.5, "cpu_seconds": 2.0, "peak_bytes": 3, "cuda_peak_bytes": 0}', encoding="utf-8"
    )
    assert Run(Method(1.0), 0, tmp_path).cost("training") == Cost(1.5, 2.0, 3, 0)
