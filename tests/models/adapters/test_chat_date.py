"""Reward models whose chat template prints today's date."""

import json
import time
from pathlib import Path

import lightning as L
import pytest
import torch

from erprm.models.adapters import AdaptedRewardModel
from erprm.models.identity import scorer_identity
from erprm.models.process_reward import ProcessRewardModel
from erprm.steps import Solution, StepFormat
from tests.models.adapters.checkpoints import causal_lm, tiny_tokenizer
from tests.steps.test_chat import NO_DATE, TEMPLATE, TIME_ZONES

SOLUTION = Solution("3 + 4?", ["Step 1: 7.", "So 7"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    causal_lm(tmp_path / "published", tokenizer)
    return tmp_path / "published"


def opened(folder: Path, date: str | None = None) -> AdaptedRewardModel:
    changes = None if date is None else {"chat_date": date}
    model = AdaptedRewardModel(str(folder), adapter="rlhflow", step_format=changes)  # type: ignore[arg-type]
    model.configure_model()
    return model.eval()


def test_scores_are_the_same_on_two_days_and_another_date_has_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = []
    for zone in TIME_ZONES:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        scores.append(opened(folder).score_steps([SOLUTION])[0])
    monkeypatch.undo()
    time.tzset()
    assert torch.equal(*scores)
    (other,) = opened(folder, "2026-11-28").score_steps([SOLUTION])
    assert (other - scores[0]).abs().max() > 1e-3


def test_models_of_two_dates_have_two_identities_so_that_no_file_is_continued_with_the_other(folder: Path) -> None:
    one, other = (scorer_identity(opened(folder, date), "model") for date in (None, "2026-11-28"))
    assert (one["step_format"]["chat_date"], other["step_format"]["chat_date"]) == ("2024-07-26", "2026-11-28")
    differing = {name for name in one if one[name] != other[name]}
    assert differing == {"step_format"}


def test_another_chat_template_is_another_identity(folder: Path) -> None:
    before = scorer_identity(opened(folder), "model")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = NO_DATE
    tokenizer.save_pretrained(folder)
    after = scorer_identity(opened(folder), "model")
    assert before["tokenizer"] != after["tokenizer"]
    assert "chat_date" not in after["step_format"]


def test_the_date_is_saved_with_the_model_and_in_checkpoints(folder: Path, tmp_path: Path) -> None:
    model = ProcessRewardModel.from_pretrained(folder, step_format=StepFormat.preset("rlhflow"))
    model.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved/step_format.json").read_text(encoding="utf-8"))
    assert saved == {**StepFormat.preset("rlhflow").to_dict(), "chat_date": "2024-07-26"}
    assert ProcessRewardModel.from_pretrained(tmp_path / "saved").step_format.chat_date == "2024-07-26"
    model.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    checkpoint: dict[str, object] = {}
    model.on_save_checkpoint(checkpoint)
    assert checkpoint["step_format"] == saved
    model.on_load_checkpoint(checkpoint)
    # As an earlier release wrote it.
    model.on_load_checkpoint({**checkpoint, "step_format": StepFormat.preset("rlhflow").to_dict()})
