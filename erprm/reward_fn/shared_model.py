"""One loaded model for all that name it in a process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from erprm.models import AdaptedRewardModel
from erprm.steps import Solution

_MODELS: dict[str, AdaptedRewardModel] = {}
SCORING = threading.RLock()
"""Held while a model is loaded or scores: tokenizers and models are not made for two threads at once."""


@dataclass(frozen=True)
class SharedModel:
    """A process reward model by its name: loaded when it first scores, and pickled without its weights.

    Attributes:
        path: folder or hub id of a model that :class:`erprm.models.AdaptedRewardModel` reads.
        settings: its other arguments.
        device: where it scores; by default the accelerator that this process has chosen, else the CPU.
    """

    path: str
    settings: Mapping[str, Any]
    device: str | None = None

    def check(self) -> None:
        """Reads everything but the weights.

        Raises:
            AdapterError: if it cannot be told how the model lays out steps, or there is none.
            StepFormatError: if its step format does not fit its tokenizer.
            TypeError: if a setting is unknown.
        """
        with SCORING:
            _ = self._model().step_encoder

    def score_steps(self, solutions: Sequence[Solution]) -> Sequence[Tensor]:
        """See :class:`erprm.models.StepScorer`."""
        with SCORING:
            model = self._model()
            if model.backbone is None:
                model.configure_model()
                model.eval().to(self.device or _device_of_process())
            return model.score_steps(solutions)

    def _model(self) -> AdaptedRewardModel:
        key = repr((self.path, sorted(self.settings.items()), self.device))
        if key not in _MODELS:
            _MODELS[key] = AdaptedRewardModel(self.path, **self.settings)
        return _MODELS[key]


def _device_of_process() -> torch.device:
    """The device that the process's launcher has set, where there are several."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    # A tensor tells the number of the device, too, which is another in another thread.
    return torch.device("cpu") if accelerator is None else torch.empty(0, device=accelerator).device
