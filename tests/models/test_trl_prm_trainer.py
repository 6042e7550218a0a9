"""TRL's own PRMTrainer (experimental in 1.13.0, its last release) and this package train the same, step for step."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import transformers
from datasets import Dataset
from torch.utils.data import DataLoader

from erprm.cli import main
from erprm.data import ProcessRewardDataModule
from erprm.data.packing import StepBatch
from erprm.models import TokenClassificationRewardModel
from erprm.steps import Solution, StepFormat
from tests.tiny import save_tiny_llama

pytest.importorskip("trl", reason="needs TRL: pip install --no-deps trl==1.13.0")
prm: Any = pytest.importorskip("trl.experimental.prm")
transformers_: Any = transformers

EPOCHS = 4
LEARNING_RATE = 2e-3
# Of different lengths, some with steps in common, one that max_length cuts.
ROWS: list[dict[str, Any]] = [
    {
        "prompt": f"What is {i % 7} and 4 more?",
        "completions": [f"{i % 7} + 4 = {i % 7 + 4 + j}.\n\nCheck {j}"[: 30 - j] for j in range(1 + i % 4)],
        "labels": [(i + j) % 3 > 0 for j in range(1 + i % 4)],
    }
    for i in range(24)
]


class Noted(TokenClassificationRewardModel):
    """Notes the losses and the rows of each batch."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.losses: list[float] = []
        self.rows: list[list[int]] = []

    def training_step(self, batch: StepBatch, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(float(loss.detach()))
        self.rows.append([int(name.rpartition("(row ")[2].rstrip(")")) for name in batch.record_ids])
        return loss


class InOrder(prm.PRMTrainer):  # type: ignore[misc]
    """Takes the batches it is given, in their order."""

    batches: list[list[int]]

    def get_train_dataloader(self) -> Any:
        return DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)


def train_erprm(folder: Path, tag: str, labels: str, max_length: int) -> Noted:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    assert main(["convert", str(folder / "rows.jsonl"), str(folder / "rows.parquet")]) == 0
    torch.manual_seed(0)
    step_format = StepFormat.preset("trl", tag=tag)
    TokenClassificationRewardModel.from_pretrained(folder / "lm").save_pretrained(folder / "start")
    model = Noted(
        str(folder / "start"),
        step_format=step_format,
        optimizer=partial(torch.optim.AdamW, lr=LEARNING_RATE, weight_decay=0.0),
        scheduler=partial(torch.optim.lr_scheduler.PolynomialLR),
    )
    data = ProcessRewardDataModule(
        str(folder / "rows.parquet"),
        validation_rollouts=str(folder / "rows.parquet"),
        labels=labels,  # type: ignore[arg-type]
        max_length=max_length,
        max_tokens=160,
        cache_dir=str(folder / "cache"),
    )
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, gradient_clip_val=1.0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, data)
    return model


def train_trl(folder: Path, batches: list[list[int]], **settings: Any) -> tuple[list[float], Any]:
    trainer = InOrder(
        model=transformers_.AutoModelForTokenClassification.from_pretrained(folder / "start", num_labels=2),
        args=prm.PRMConfig(
            output_dir=str(folder / "trl"),
            max_steps=len(batches),
            learning_rate=LEARNING_RATE,
            logging_steps=1,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **settings,
        ),
        processing_class=transformers_.AutoTokenizer.from_pretrained(folder / "start"),
        train_dataset=Dataset.from_list(ROWS),
    )
    trainer.batches = batches
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], trainer.model


@pytest.mark.parametrize(
    ("tag", "labels", "max_length", "last_only"),
    [("\n", "er", 1024, False), ("\n\n", "er", 1024, False), ("\n", "outcome", 1024, True), ("\n", "er", 60, False)],
    ids=["defaults", "separator", "last step only", "max_length"],
)
def test_the_losses_are_those_of_trl(tag: str, labels: str, max_length: int, last_only: bool, tmp_path: Path) -> None:
    save_tiny_llama(tmp_path / "lm")
    model = train_erprm(tmp_path, tag, labels, min(max_length, 160))
    losses, trained = train_trl(
        tmp_path, model.rows, step_separator=tag, train_on_last_step_only=last_only, max_length=max_length
    )
    assert len(losses) == len(model.losses) > 2 * EPOCHS
    assert model.losses == pytest.approx(losses, abs=5e-5)
    assert max(losses) - min(losses) > 0.05
    assert model.backbone is not None
    found, expected = model.backbone.state_dict(), trained.state_dict()
    start = transformers_.AutoModelForTokenClassification.from_pretrained(tmp_path / "start").state_dict()
    for name, weight in expected.items():
        # AdamW takes a whole step where the gradient is nothing but a rounding: single weights may differ, not many.
        assert (found[name] - weight).norm() <= 0.01 * (weight - start[name]).norm(), name


@pytest.mark.parametrize("tag", ["\n", "\n\n", " ки"])
def test_tokens_and_places_of_labels_are_those_of_trl(tag: str, tmp_path: Path) -> None:
    save_tiny_llama(tmp_path)
    tokenizer = transformers_.AutoTokenizer.from_pretrained(tmp_path)
    encoder = StepFormat.preset("trl", tag=tag).bind(tokenizer)
    for row in ROWS:
        theirs = prm.PRMTrainer.tokenize_row(
            row, tokenizer, step_separator=tag, max_length=60, max_completion_length=None,
            train_on_last_step_only=False, is_eval=False,
        )  # fmt: skip
        ours = encoder.encode(Solution(row["prompt"], row["completions"]), max_length=60)
        labelled = [place for place, label in enumerate(theirs["labels"]) if label != -100]
        assert ours.tag_positions == labelled
        # TRL keeps a part of the step that is cut, which no label is read from.
        assert ours.input_ids == theirs["input_ids"][: len(ours.input_ids)]
        assert [theirs["labels"][place] for place in labelled] == row["labels"][: len(labelled)]
