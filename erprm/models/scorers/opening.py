"""Opens process reward models for scoring outside a trainer, and closes them afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from erprm.models.adapters import AdaptedRewardModel
from erprm.models.calibration import ModelCalibration
from erprm.models.scorers import HTTPStepScorer, is_url
from erprm.models.step_format_file import STEP_FORMAT_FILE, read_step_format
from erprm.steps import StepFormat

Scorer = TypeVar("Scorer")


def named_scorer(name: str, calibration: str | None = None) -> AdaptedRewardModel | HTTPStepScorer:
    """The process reward model of a folder, a hub id or a URL (see docs/serving.md), without its weights."""
    named = HTTPStepScorer if is_url(name) else AdaptedRewardModel
    return named(name, calibration=calibration)


def device_named(name: str) -> torch.device:
    """A device by its name; ``auto`` is the GPU, where there is one.

    Raises:
        ValueError: if it cannot be used on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"device is {name!r}, which cannot be used here: {error}") from error


@contextmanager
def opened_scorer(scorer: Scorer, device: torch.device) -> Iterator[Scorer]:
    """A scorer that is ready: with its weights, in evaluation mode and on a device, if it is a model.

    Afterwards it is closed, if it has a ``close`` method.

    Raises:
        ScorerError: if it is to be calibrated as another model.
    """
    if isinstance(scorer, nn.Module):
        if callable(configure := getattr(scorer, "configure_model", None)):
            configure()  # where a LightningModule loads its weights
        scorer.eval().to(device)
    try:
        if isinstance(calibration := getattr(scorer, "calibration", None), ModelCalibration):
            calibration.check(scorer)
        yield scorer
    finally:
        if callable(close := getattr(scorer, "close", None)):
            close()


def check_step_formats(policy: str, step_format: object, key: str) -> None:
    """Refuses a policy that was saved with another step format than the reward model reads.

    Without a file of a step format in the policy's folder there is nothing to compare.

    Raises:
        ValueError: naming the fields that differ, with both values.
    """
    saved = Path(policy) / STEP_FORMAT_FILE
    if not isinstance(step_format, StepFormat) or not saved.is_file():
        return
    # The date of a chat has no part in how steps are separated.
    own, theirs = (replace(each, chat_date=None).to_dict() for each in (read_step_format(saved), step_format))
    differing = [f"{name}: {own[name]!r} and {theirs[name]!r}" for name in own if own[name] != theirs[name]]
    if differing:
        raise ValueError(
            f"the step format of model {policy!r} ({STEP_FORMAT_FILE} in its folder) and that of {key} differ: "
            f"{'; '.join(differing)}. Give a reward model that was trained on the policy's format; or remove that "
            "file, if style says how the policy's solutions are split"
        )
