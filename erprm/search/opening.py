"""Opens the second scorer of a cascade, for as long as a run or a server needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from erprm.models.scorers.opening import check_step_formats, named_scorer, opened_scorer
from erprm.scoring import StepScorer
from erprm.search.cascade import Cascade
from erprm.search.reading import deciding_scorer
from erprm.search.settings import GuidedSettings


@contextmanager
def opened_cascade(
    config: GuidedSettings, device: torch.device, named: Callable[[str], StepScorer] = named_scorer
) -> Iterator[Cascade | None]:
    """The cascade of some settings with its scorer ready; None if they have none.

    Args:
        config: the settings.
        device: for a scorer that is a model.
        named: what makes a scorer of its name.

    Raises:
        ValueError: if its step format is not the policy's, or its operations are limited and cannot be counted.
        FileNotFoundError: if it does not exist.
    """
    if config.cascade is None:
        yield None
        return
    scorer = config.cascade.scorer
    with opened_scorer(named(scorer) if isinstance(scorer, str) else scorer, device) as ready:
        check_step_formats(config.model, getattr(ready, "step_format", None), "cascade.scorer")
        cascade = replace(config.cascade, scorer=ready)
        deciding_scorer(cascade)
        yield cascade
