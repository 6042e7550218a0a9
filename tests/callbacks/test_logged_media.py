"""Figures and tables: in files, in TensorBoard and in Weights & Biases, read back with their own readers."""

import csv
import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from tensorboard import plugin_util
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

from erprm.callbacks import BestOfN, StepEvaluation
from erprm.report.samples import Sample, samples_markdown
from tests.callbacks.test_best_of_n import POOL, ForeignModule, write_pool
from tests.callbacks.test_evaluation_in_test import LABELLED

# Two epochs of four optimizer steps.
STEPS = [4, 8]


def train(folder: Path, *loggers: Logger) -> None:
    best_of_n = BestOfN(write_pool(folder / "pool.jsonl", POOL), name="sums", kind="gsm8k", samples=1)
    steps = StepEvaluation({"mine": write_pool(folder / "steps.jsonl", LABELLED)}, threshold=0.5, samples=2)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=2, default_root_dir=folder, logger=list(loggers), enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, callbacks=[best_of_n, steps], log_every_n_steps=1,
    )  # fmt: skip
    loader: DataLoader[Any] = DataLoader(TensorDataset(torch.ones(4, 1)), collate_fn=lambda rows: rows[0][0])
    trainer.fit(ForeignModule(), loader, loader)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a run with TensorBoard and CSV files wrote."""
    folder = tmp_path_factory.mktemp("run")
    train(folder, TensorBoardLogger(folder, "tb", ""), CSVLogger(folder, "csv", ""))
    return folder


@pytest.fixture(scope="module")
def events(trained: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(trained / "tb"))
    accumulator.Reload()
    return accumulator


def test_tensorboard_has_the_scalars_of_every_validation_epoch(events: EventAccumulator) -> None:
    of_pool = events.Scalars("sums/bon@2")
    # Of the first problem 2 of the 3 pairs end right, of the second all.
    assert [event.value for event in of_pool] == pytest.approx([(2 / 3 + 1) / 2] * 2)
    # Half of the 16 solutions have a wrong step; scores of a third find the first step wrong in all of them.
    assert [event.value for event in events.Scalars("steps/mine/right")] == [0.0, 0.0]


def test_tensorboard_has_the_figures_of_every_validation_epoch(events: EventAccumulator) -> None:
    for name in ("sums/best_of_n", "steps/calibration"):
        images = events.Images(name)
        assert [image.step for image in images] == STEPS
        assert images[0].encoded_image_string.startswith(b"\x89PNG")
        assert min(images[0].width, images[0].height) >= 400


def test_tensorboard_has_the_table_of_solutions_of_every_validation_epoch(events: EventAccumulator) -> None:
    (first, _) = tables = events.Tensors("sums/samples/text_summary")
    assert [table.step for table in tables] == STEPS
    cells = cells_of(first.tensor_proto.string_val[0].decode())
    # The right candidate has one step, of score 1; the number of the candidate is 1 and its rank too.
    assert cells == [
        ["problem_id", "question", "gold", "answer", "correct", "candidate", "rank", "score", "steps"],
        ["a", "1 + 1?", "2", "2", "True", "1", "1", "1.000", "0  1.000  short\n#### 2"],
    ]
    assert len(cells_of(events.Tensors("steps/samples/text_summary")[0].tensor_proto.string_val[0].decode())) == 3


def cells_of(markdown: str) -> list[list[str]]:
    """What TensorBoard shows of a table: the text of its cells, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", plugin_util.markdown_to_safe_html(markdown), re.DOTALL)
    cells = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    assert not any(re.search(r"<(?!br>)", cell) for row in cells for cell in row), "only line breaks are markup"
    return [[html.unescape(cell.replace("<br>", "\n")) for cell in row] for row in cells]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>", "a | b", "*a* **b** _c_ `d`", r"\(x_1\) \| \\ \frac{1}{2}", "[a](http://b)",
        "![a](b)", "&lt;b&gt; &amp;", "# no\n- heading\n1. list", "<img src=x onerror=alert(1)>", "$a^2$ ~~b~~",
    ],
)  # fmt: skip
def test_the_text_of_a_solution_stays_text_in_the_table(text: str) -> None:
    cells = cells_of(samples_markdown([Sample({"question": text}, [text], [0.5])]))
    assert cells == [["question", "steps"], [text, f"0  0.500  {text}"]]


def test_any_logger_has_the_scalars(trained: Path) -> None:
    with (trained / "csv/metrics.csv").open(encoding="utf-8") as file:
        values = [float(row["sums/bon@2"]) for row in csv.DictReader(file) if row["sums/bon@2"]]
    assert values == pytest.approx([(2 / 3 + 1) / 2] * 2)


def test_figures_and_solutions_are_files_of_the_run(trained: Path) -> None:
    of_pool, of_steps = trained / "tb/best_of_n", trained / "tb/steps"
    assert sorted(file.name for file in of_pool.iterdir()) == [
        f"sums-step={step}{ending}" for step in STEPS for ending in ("-samples.jsonl", ".json", ".png")
    ]
    assert sorted(file.name for file in of_steps.iterdir()) == [
        f"steps-step={step}{ending}" for step in STEPS for ending in ("-samples.jsonl", ".json", ".png")
    ]
    rows = [json.loads(line) for line in (of_pool / "sums-step=4-samples.jsonl").read_text().splitlines()]
    assert rows == [
        {
            "problem_id": "a", "question": "1 + 1?", "gold": "2", "answer": "2", "correct": True, "candidate": 1,
            "rank": 1, "score": 1.0, "steps": ["short\n#### 2"], "step_scores": [1.0],
        }
    ]  # fmt: skip
    rows = [json.loads(line) for line in (of_steps / "steps-step=8-samples.jsonl").read_text().splitlines()]
    # One with a wrong step, which is the second, and one without; three steps each, of a third.
    assert [(row["data"], row["question"], row["first_error"], row["found"]) for row in rows] == [
        ("mine", "q1?", 1, 0), ("mine", "q0?", -1, 0)
    ]  # fmt: skip
    results = json.loads((of_steps / "steps-step=8.json").read_text())
    assert (results["epoch"], results["step"], results["data"]["mine"]["solutions"]) == (1, 8, 16)


def test_beside_a_wrong_choice_stands_the_best_right_candidate(tmp_path: Path) -> None:
    class LongIsGood(ForeignModule):
        def score_steps(self, solutions: Any) -> list[torch.Tensor]:
            return [1.0 - scores for scores in super().score_steps(solutions)]

    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=tmp_path, logger=False, enable_progress_bar=False,
        callbacks=[BestOfN(write_pool(tmp_path / "pool.jsonl", POOL), name="x", kind="gsm8k", ns=[1])],
    )  # fmt: skip
    trainer.test(LongIsGood(), DataLoader(TensorDataset(torch.ones(1, 1))), verbose=False)
    rows = [json.loads(line) for line in (tmp_path / "best_of_n/x-step=0-samples.jsonl").read_text().splitlines()]
    # The long wrong candidates of the first problem tie; of the second, the wrong one of three steps is before the
    # right one of two.
    assert [(row["problem_id"], row["candidate"], row["rank"], row["correct"]) for row in rows] == [
        ("a", 0, 1, False), ("a", 1, 3, True), ("b", 2, 1, False), ("b", 0, 2, True)
    ]  # fmt: skip


def test_without_matplotlib_all_but_the_figures_is_there_and_it_is_said_once(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from lightning.pytorch.loggers import TensorBoardLogger
from tests.callbacks.test_logged_media import train
sys.modules["matplotlib.figure"] = None
train(Path({str(tmp_path)!r}), TensorBoardLogger({str(tmp_path)!r}, "tb", ""))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    said = "no figures are drawn: figures need matplotlib: pip install 'erprm[report]'"
    assert (done.stdout + done.stderr).count(said) == 1
    assert sorted({file.suffix for file in (tmp_path / "tb/best_of_n").iterdir()}) == [".json", ".jsonl"]
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert "sums/samples/text_summary" in events.Tags()["tensors"]
    assert events.Tags()["images"] == []


def test_weights_and_biases_has_the_figures_and_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(tmp_path, WandbLogger(save_dir=tmp_path, project="erprm"))
    wandb.finish()
    media = next(tmp_path.glob("wandb/offline-run-*/files/media"))
    for name in ("sums/best_of_n", "steps/calibration"):
        images = list((media / "images").glob(f"{name}*.png"))
        assert len(images) == 2
        assert images[0].read_bytes().startswith(b"\x89PNG")
    table = json.loads(next((media / "table/sums").glob("samples*.json")).read_text())
    assert table["columns"][-1] == "steps"
    assert table["data"] == [["a", "1 + 1?", "2", "2", True, 1, 1, 1.0, "0  1.000  short\n#### 2"]]
