"""A user's own module, in a file of the working folder, and several processes, through the installed command."""

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification

from erprm.data.records import write_records
from tests.conftest import REPOSITORY
from tests.test_documentation import blocks_of
from tests.tiny import make_record, save_tiny_llama

ONE_VALUE = """\
import torch
from transformers import AutoModelForTokenClassification

from erprm.models import ProcessRewardModel


class ValueModel(ProcessRewardModel):
    def build_backbone(self):
        return AutoModelForTokenClassification.from_pretrained(self.backbone_path, num_labels=1)

    def step_logits(self, batch):
        values = self.backbone(**self.backbone_inputs(batch)).logits
        value_S = values.flatten()[batch.tag_index]
        return torch.stack([value_S, torch.zeros_like(value_S)], dim=-1)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_tiny_llama(tmp_path / "lm")
    write_records([make_record(i, [[float(i % 2), 0.0, 1.0], [1.0]]) for i in range(30)], tmp_path / "rollouts.parquet")
    return tmp_path


def run_erprm(folder: Path, *arguments: str) -> str:
    """The script that the package installs, as a user calls it."""
    script = Path(sysconfig.get_path("scripts")) / "erprm"
    if not script.exists():
        pytest.skip("erprm is not installed here, only on the path")
    environment = {**os.environ, "ERPRM_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    finished = subprocess.run(
        [script, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout + finished.stderr


def config(folder: Path, model: dict[str, object], **trainer: object) -> str:
    text = json.dumps(
        {
            "trainer": {
                "accelerator": "cpu",
                "max_epochs": 1,
                "logger": False,
                "enable_progress_bar": False,
                "callbacks": [{"class_path": "erprm.callbacks.ExportHF", "init_args": {"output": "prm"}}],
                **trainer,
            },
            "model": model,
            "data": {"rollouts": "rollouts.parquet", "validation_fraction": 0.2, "max_tokens": 600},
        }
    )
    (folder / "fit.yaml").write_text(text, encoding="utf-8")
    return "fit.yaml"


def test_a_value_head_in_twenty_lines_trains_and_is_exported(folder: Path) -> None:
    (documented,) = [b.code for b in blocks_of(REPOSITORY / "docs/extending.md") if b.file_name == "my_prm.py"]
    for code in (ONE_VALUE, documented):
        assert len([line for line in code.splitlines() if line.strip()]) <= 20
    (folder / "my_prm.py").write_text(ONE_VALUE, encoding="utf-8")
    model: dict[str, object] = {"class_path": "my_prm.ValueModel", "init_args": {"backbone": "lm"}}
    run_erprm(folder, "fit", "--config", config(folder, model))
    before, after = load_file(folder / "lm/model.safetensors"), load_file(folder / "prm/model.safetensors")
    assert after["score.weight"].shape == (1, 32)
    assert not torch.equal(before["model.norm.weight"], after["model.norm.weight"])
    assert AutoModelForTokenClassification.from_pretrained(folder / "prm").num_labels == 1


def test_two_processes_of_the_command_train_a_sharded_value_head_by_the_documented_configuration(folder: Path) -> None:
    (text,) = [b.code for b in blocks_of(REPOSITORY / "docs/sharding.md") if b.file_name == "sharded.yaml"]
    (folder / "sharded.yaml").write_text(text, encoding="utf-8")
    (folder / "my_prm.py").write_text(ONE_VALUE, encoding="utf-8")
    model = ["--model=my_prm.ValueModel", "--model.backbone=lm"]
    run_erprm(folder, "fit", "--config", "sharded.yaml", *model)
    (checkpoint,) = folder.glob("lightning_logs/version_0/checkpoints/*.ckpt")
    assert checkpoint.is_dir()
    arguments = ["--config", "sharded.yaml", *model, "--ckpt_path", str(checkpoint), "--output", "exported"]
    assert "written to exported" in run_erprm(folder, "export", *arguments)
    at_the_end, from_checkpoint = (load_file(folder / n / "model.safetensors") for n in ("sharded-prm", "exported"))
    assert at_the_end.keys() == from_checkpoint.keys()
    for weight in at_the_end:
        assert torch.equal(at_the_end[weight], from_checkpoint[weight])
