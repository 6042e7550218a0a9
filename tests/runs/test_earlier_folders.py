"""Folders of each kind that earlier versions have written are continued, or refused with both values.

What wrote them is in ``earlier_folders/README.md``.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from erprm.ablation.runs import AblationFolder
from erprm.demo.dial.recipe import QUICK
from erprm.demo.dial.world import DialWorld
from erprm.demo.stages import Demo
from erprm.demo.world import Fit
from erprm.models.scorers.scored_file import ScoredRows, score_file
from erprm.rollout.running.shards import ShardStore
from erprm.runs.folder import OutputFolderError, Parts, RunFolder, StageFolders
from erprm.steps import Solution


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    return Path(shutil.copytree(Path(__file__).parent / "earlier_folders", tmp_path / "earlier"))


def test_rollouts_go_on(earlier: Path) -> None:
    settings = {"seed": 0, "stop": ("\n",)}
    store = ShardStore(earlier / "rollout", settings, 2)
    store.begin(model_sha256="abc")
    assert [store.mark_of(shard) is not None for shard in range(2)] == [True, False]
    with pytest.raises(OutputFolderError, match="holds a rollout run with other settings:\n  seed: 0 there, 1 now"):
        ShardStore(earlier / "rollout", {**settings, "seed": 1}, 2)


def test_a_stage_of_raft_is_done(earlier: Path) -> None:
    stages = StageFolders(earlier / "raft")
    assert stages.is_done("round-1/samples", {"sampling": {"n": 4}})
    assert stages.hash_of("round-1/samples").startswith("c5f3e7d0ebbf")
    with pytest.raises(OutputFolderError, match=r"\n  sampling\.n: 4 there, 8 now"):
        stages.is_done("round-1/samples", {"sampling": {"n": 8}})


def test_a_search_goes_on(earlier: Path) -> None:
    folder = RunFolder(earlier / "search", "a search")
    folder.begin({"budgets": (16,), "decoding": {"temperature": 1.0}})
    parts = Parts(folder.path / "candidates", 1, "part-")
    assert [parts.is_done(number) for number in range(2)] == [True, False]
    assert list(parts.rows(1)) == [{"method": "beams"}]
    with pytest.raises(OutputFolderError, match=re.escape("budgets: [16] there, [17] now")):
        folder.begin({"budgets": (17,), "decoding": {"temperature": 1.0}})


class Lengths:
    def __init__(self) -> None:
        self.questions: list[str] = []

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        self.questions += [solution.question for solution in solutions]
        return [torch.tensor([len(step) / 100 for step in solution.steps]) for solution in solutions]


@pytest.mark.parametrize(("identity", "resumed"), [("this", 2), ("that", 0)])
def test_a_scored_file_goes_on_with_the_same_scorer_and_begins_anew_with_another(
    earlier: Path, identity: str, resumed: int
) -> None:
    scorer = Lengths()
    result = score_file(scorer, earlier / "in.jsonl", earlier / "out.jsonl", scorer_identity={"is": identity})
    assert result == ScoredRows(written=4, rejected=0, resumed=resumed)
    assert scorer.questions == ["q0", "q1", "q2", "q3"][resumed:]
    rows = [json.loads(line) for line in (earlier / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["step_scores"] for row in rows] == [pytest.approx([0.01, 0.02])] * 4
    assert not (earlier / ".out.jsonl.unfinished").exists()


def test_an_ablation_goes_on(earlier: Path) -> None:
    def folder(max_epochs: int) -> AblationFolder:
        resolved: dict[str, Any] = {
            "seed_everything": 3,
            "trainer": {"callbacks": [], "max_epochs": max_epochs},
            "model": {"class_path": "M", "init_args": {"backbone": "b"}},
            "data": {"class_path": "D", "init_args": {"labels": "er", "eta": 1.0, "seed": 7, "max_length": 9}},
        }
        return AblationFolder(earlier / "ablation", resolved, {"candidates": "a.jsonl", "kind": "auto"}, {"pool": "1"})

    for _ in range(2):  # the first time adds a manifest of the present kind
        with pytest.raises(OutputFolderError, match=r"\n  fit\.trainer\.max_epochs: 1 there, 2 now"):
            folder(2)
        with folder(1):
            pass
    assert (earlier / "ablation/manifest.json").exists()


class FirstStageOnly(DialWorld):
    def _base(self, random_model: Path | None, folder: Path, seed: int, fit: Fit) -> None:
        raise KeyboardInterrupt(random_model)


def test_a_demo_goes_on(earlier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with pytest.raises(OutputFolderError, match="holds a demo with other settings:\n  candidates: 8 there, 9 now"):
            Demo(earlier / "demo", DialWorld(replace(QUICK, candidates=9)), 0, Console())
        with pytest.raises(KeyboardInterrupt):
            Demo(earlier / "demo", FirstStageOnly(QUICK), 0, Console()).run()
        assert "random model: found" in capsys.readouterr().out


def test_a_demo_that_was_begun_on_a_full_disk_begins_anew(earlier: Path) -> None:
    shutil.rmtree(earlier / "demo/random_model")
    (earlier / "demo/recipe.json").write_bytes(b"")
    with pytest.raises(KeyboardInterrupt):
        Demo(earlier / "demo", FirstStageOnly(QUICK), 0, Console()).run()
    assert (earlier / "demo/random_model/config.json").exists()
