"""The progress bar of scoring: beside the trainer's, and of ``erprm score``."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import rich
import torch
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from erprm.callbacks import BestOfN
from erprm.cli import main
from erprm.models import ProcessRewardModel
from erprm.scoring import listening, tell_scored
from erprm.steps import Solution
from tests.callbacks.test_best_of_n import POOL, ForeignModule, write_pool
from tests.models.adapters.checkpoints import qwen_prm, tiny_tokenizer
from tests.tiny import save_tiny_llama


class OneByOne(ForeignModule):
    """Tells of every solution that it has scored."""

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        scores = []
        for solution in solutions:
            scores += super().score_steps([solution])
            tell_scored(1)
        return scores


def evaluate(folder: Path, **settings: Any) -> None:
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=folder, logger=False, enable_model_summary=False, **settings
    )
    trainer.test(OneByOne(), DataLoader(TensorDataset(torch.ones(1, 1))), verbose=False)


@pytest.fixture
def best_of_n(tmp_path: Path) -> BestOfN:
    return BestOfN(write_pool(tmp_path / "pool.jsonl", POOL), name="sums", kind="gsm8k")


@pytest.fixture
def terminal() -> Iterator[io.StringIO]:
    """What Lightning's bar writes to a terminal."""
    yield io.StringIO()
    rich.reconfigure()  # The bar has set up rich's own console.


def test_the_trainers_bar_gets_a_line_of_solutions(tmp_path: Path, best_of_n: BestOfN, terminal: io.StringIO) -> None:
    console = {"file": terminal, "force_terminal": True, "width": 120}
    evaluate(tmp_path, callbacks=[best_of_n, RichProgressBar(console_kwargs=console)])
    assert "Scoring" in terminal.getvalue()
    assert "/6" in terminal.getvalue()


def test_a_trainer_without_a_bar_shows_none(
    tmp_path: Path, best_of_n: BestOfN, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(tmp_path, callbacks=[best_of_n], enable_progress_bar=False)
    evaluate(tmp_path, callbacks=[best_of_n, TQDMProgressBar(refresh_rate=0)])
    printed = capsys.readouterr()
    assert "Scoring" not in printed.out + printed.err


def test_a_model_tells_of_each_batch(tmp_path: Path) -> None:
    model = ProcessRewardModel.from_pretrained(save_tiny_llama(tmp_path), score_max_tokens=40)
    solutions = [Solution(f"{number} + 1?", ["one", "two"] * (number + 1)) for number in range(5)]
    told: list[int] = []
    with listening(told.append):
        model.score_steps(solutions)
    assert sum(told) == 5
    assert len(told) > 1
    model.score_steps(solutions)
    assert sum(told) == 5, "nobody listens any more"


def test_a_file_is_scored_with_a_bar_in_a_terminal_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    qwen_prm(tmp_path / "prm", tiny_tokenizer())
    rows = ['{"question": "1 + 1?", "solution": "2"}', '{"question": "2?", "solution": "3"}', "no JSON"]
    (tmp_path / "in.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    files = [str(tmp_path / name) for name in ("in.jsonl", "out.jsonl")]
    arguments = ["score", "--model", str(tmp_path / "prm"), "--jsonl", *files, "--on-error", "skip"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-m", "erprm", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as running:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        assert running.wait() == 0
    text = shown.decode()
    assert "Scoring" in text
    assert "3/3" in text
    assert main(arguments) == 0
    printed = capfd.readouterr()
    assert "Scoring" not in printed.out + printed.err


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when the other end is closed.
        return b""
