import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from erprm.cli import main
from tests.tiny import save_tiny_llama

TRAINER = ["accelerator=cpu", "devices=1", "max_epochs=1", "logger=false", "enable_checkpointing=false",
           "enable_progress_bar=false", "enable_model_summary=false"]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_tiny_llama(tmp_path / "policy")
    rows: list[dict[str, Any]] = [{"prompt": f"What is {i}?\n", "completion": f"Step 1: {i}"} for i in range(6)]
    rows += [{"prompt": [10, 11, 12 + i], "completion": [20 + i, 21, 1]} for i in range(6)]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def sft(folder: Path, *more: str) -> int:
    export = [{"class_path": "erprm.callbacks.ExportHF", "init_args": {"output": str(folder / "tuned")}}]
    return main(
        [
            "sft",
            *(f"--trainer.{key}" for key in TRAINER),
            f"--trainer.default_root_dir={folder / 'training'}",
            f"--trainer.callbacks={json.dumps(export)}",
            f"--model.backbone={folder / 'policy'}",
            f"--data.samples={folder / 'samples.jsonl'}",
            "--data.max_tokens=128",
            "--data.max_length=64",
            *more,
        ]
    )


@pytest.mark.parametrize("more", [[], ["--model.lora.r=2"]], ids=["weights", "lora"])
def test_sft_writes_a_policy_that_transformers_loads(folder: Path, more: list[str]) -> None:
    assert (
        sft(folder, "--model.optimizer.class_path=torch.optim.AdamW", "--model.optimizer.init_args.lr=0.01", *more) == 0
    )
    before, after = (load_file(folder / name / "model.safetensors") for name in ("policy", "tuned"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    tuned: Any = AutoModelForCausalLM.from_pretrained(folder / "tuned")
    assert tuned.generate(torch.tensor([[10, 11]]), max_new_tokens=1).shape == (1, 3)


def test_a_misspelt_key_is_named_with_the_one_it_resembles(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        sft(folder, "--data.sampels=x")
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "did you mean 'samples'?" in said
    assert "erprm sft" in said
