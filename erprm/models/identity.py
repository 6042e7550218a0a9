"""What results were computed with: the weights as they are in memory, and the versions of the software."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import lightning as L
import torch

from erprm import __version__
from erprm.models.distributed.sharding import gathered_state_dict, is_sharded
from erprm.models.scorers import HTTPStepScorer
from erprm.models.scorers.module import ScorerModule
from erprm.steps import StepFormat

_LIBRARIES = ("torch", "lightning", "transformers", "torchmetrics", "tokenizers", "math-verify")


def model_identity(module: L.LightningModule) -> dict[str, Any]:
    """Class, path, weights and step format of a model.

    If weights are sharded, all processes call it at the same time, and the first has the answer.

    Returns:
        ``class``; ``path`` (null for a module without a ``backbone_path``); ``sha256`` of names, types, shapes and
        values of the weights, however they got there (null for a module without weights); ``step_format``: its fields
        (null for a module without one). Of a :class:`ScorerModule` they are the scorer's; where that asks a server,
        ``url`` is its address.
    """
    weights = gathered_state_dict(module) if is_sharded(module) else module.state_dict()
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        digest.update(f"{name} {weight.dtype} {list(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    scorer = module.scorer if isinstance(module, ScorerModule) else module
    step_format = getattr(scorer, "step_format", None)
    return {
        "class": f"{type(scorer).__module__}.{type(scorer).__qualname__}",
        "path": getattr(scorer, "backbone_path", None),
        **({"url": scorer.url} if isinstance(scorer, HTTPStepScorer) else {}),
        "sha256": digest.hexdigest() if weights else None,
        "step_format": step_format.to_dict() if isinstance(step_format, StepFormat) else None,
    }


def versions() -> dict[str, str]:
    """Versions of Python, this package, and the libraries that results may depend on."""
    found = {"python": platform.python_version(), "erprm": __version__}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # a vendored or renamed build
            found[library] = "unknown"
    return found
