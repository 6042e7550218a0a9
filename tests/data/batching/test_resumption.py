import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from erprm.data import ProcessRewardDataModule
from erprm.data.batching.resumption import ResumeError, check_unchanged
from erprm.data.policy import PolicyDataModule
from erprm.data.records import write_records
from erprm.models import PolicyModel, ProcessRewardModel
from erprm.steps import StepFormat
from tests.tiny import make_record, save_tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, records to train on, and the checkpoint of one batch of both kinds of training."""
    folder = tmp_path_factory.mktemp("resumption")
    lm = save_tiny_llama(folder / "lm")
    # The tokens of a text may be others there.
    save_tiny_llama(folder / "other-lm")
    tokenizer = (lm / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "other-lm/tokenizer.json").write_text(
        tokenizer.replace('"ignore_merges": false', '"ignore_merges": true')
    )
    write_records([make_record(i) for i in range(10)], folder / "rollouts.parquet")
    write_records([make_record(i + 1) for i in range(10)], folder / "other.parquet")
    rows = [{"prompt": f"What is {i}?\n", "completion": f"Step 1: {i} = {i}."} for i in range(10)]
    (folder / "policy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[1:]), encoding="utf-8")
    train(folder, "prm").save_checkpoint(folder / "prm.ckpt")
    train(folder, "policy").save_checkpoint(folder / "policy.ckpt")
    return folder


def train(
    folder: Path, kind: str, checkpoint: Path | None = None, model: dict[str, Any] | None = None, **data: Any
) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=2 if checkpoint else 1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    settings = {"backbone": str(folder / "lm"), **(model or {})}
    if kind == "prm":
        files = {"rollouts": str(folder / "rollouts.parquet"), "cache_dir": str(folder / "cache")}
        limits = {"max_tokens": 100, "max_length": 100, "validation_fraction": 0.2}
        trainer.fit(
            ProcessRewardModel(**settings), ProcessRewardDataModule(**{**files, **limits, **data}), ckpt_path=checkpoint
        )
    else:
        defaults = {"samples": str(folder / "policy.jsonl"), "max_tokens": 100, "max_length": 100}
        trainer.fit(PolicyModel(**settings), PolicyDataModule(**{**defaults, **data}), ckpt_path=checkpoint)
    return trainer


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("prm", {"rollouts": "other.parquet"}, r"hash of data\.rollouts: '[0-9a-f]{16}' -> '[0-9a-f]{16}'"),
        ("prm", {"eta": 2.0}, r"data\.eta: 1\.0 -> 2\.0"),
        ("prm", {"labels": "hard"}, r"data\.labels: 'er' -> 'hard', data\.eta: 1\.0 -> None"),
        ("prm", {"validation_fraction": 0.4}, r"data\.validation_fraction: 0\.2 -> 0\.4"),
        ("prm", {"seed": 3}, r"data\.seed: 0 -> 3"),
        ("prm", {"model": {"step_format": StepFormat(separator=" ")}}, r"step_format\.separator: '' -> ' '"),
        ("prm", {"model": {"tokenizer": "other-lm"}}, r"hash of the tokenizer: '[0-9a-f]{16}' -> '[0-9a-f]{16}'"),
        ("policy", {"samples": "other.jsonl"}, r"hash of data\.samples: '[0-9a-f]{16}' -> '[0-9a-f]{16}'"),
        ("policy", {"model": {"tokenizer": "other-lm"}}, r"hash of the tokenizer: "),
    ],
)
def test_a_resumption_with_something_else_is_refused_with_both_values_unless_that_is_allowed(
    folder: Path, kind: str, changes: dict[str, Any], message: str
) -> None:
    def in_folder(value: Any) -> Any:
        return str(folder / value) if isinstance(value, str) and "other" in value else value

    model = {name: in_folder(value) for name, value in changes.get("model", {}).items()}
    data = {name: in_folder(value) for name, value in changes.items() if name != "model"}
    with pytest.raises(ResumeError, match=rf"trained with other settings \(checkpoint -> now\): {message}"):
        train(folder, kind, folder / f"{kind}.ckpt", model, **data)
    with pytest.warns(UserWarning, match=rf"{message}.*going on, since data\.allow_change is true"):
        trainer = train(folder, kind, folder / f"{kind}.ckpt", model, **data, allow_change=True)
    assert trainer.global_step == 2


def test_settings_that_only_one_side_knows_are_not_compared() -> None:
    check_unchanged({"gone": 1, "kept": 2}, {"kept": 2, "new": None}, allow_change=False)
    with pytest.raises(ResumeError, match="kept: 2 -> 3"):
        check_unchanged({"gone": 1, "kept": 2}, {"kept": 3}, allow_change=False)
