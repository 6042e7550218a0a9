"""Identity of models: their weights as they are in memory, and the versions of the software."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import lightning as L
from torch import nn

from erprm import __version__
from erprm.models.calibration import ModelCalibration
from erprm.models.distributed.sharding import gathered_state_dict, is_sharded
from erprm.models.scorers import HTTPStepScorer
from erprm.models.scorers.module import ScorerModule
from erprm.runs.identity import class_name, described, module_fields, sha256_of, tokenizer_hash, weight_chunks
from erprm.scoring import StepScorer
from erprm.steps import StepEncoder, StepFormat

_LIBRARIES = ("torch", "lightning", "transformers", "torchmetrics", "tokenizers", "math-verify")


def model_identity(module: L.LightningModule) -> dict[str, Any]:
    """Class, path, weights, tokenizer and step format of a model.

    If weights are sharded, all processes call it at the same time, and the first has the answer.

    Returns:
        ``class``; ``path`` (null for a module without a ``backbone_path``); ``sha256`` of names, types, shapes and
        values of the weights, however they got there (null for a module without weights); ``step_format``: its fields
        (null for a module without one), with the date that a chat template prints; ``tokenizer``: hash of the
        tokenizer (for a module with a ``step_encoder``); ``score_eta``, unless it is 0; ``calibration``, where one is
        applied. Of a :class:`ScorerModule` they are the scorer's; where that asks a server, ``url`` is its address.
    """
    weights = gathered_state_dict(module) if is_sharded(module) else module.state_dict()
    scorer = module.scorer if isinstance(module, ScorerModule) else module
    encoder = getattr(scorer, "step_encoder", None)
    step_format = getattr(encoder if isinstance(encoder, StepEncoder) else scorer, "step_format", None)
    calibration = getattr(scorer, "calibration", None)
    return {
        "class": class_name(scorer),
        "path": getattr(scorer, "backbone_path", None),
        **({"url": scorer.url} if isinstance(scorer, HTTPStepScorer) else {}),
        "sha256": sha256_of(weight_chunks(weights, list)) if weights else None,
        "step_format": step_format.to_dict() if isinstance(step_format, StepFormat) else None,
        **({"tokenizer": tokenizer_hash(encoder.tokenizer)} if isinstance(encoder, StepEncoder) else {}),
        **({"score_eta": score_eta} if (score_eta := getattr(scorer, "score_eta", 0.0)) else {}),
        **({"calibration": calibration.identity()} if isinstance(calibration, ModelCalibration) else {}),
    }


def scorer_identity(scorer: StepScorer, name: str) -> dict[str, Any]:
    """Everything that determines a scorer's scores: class, weights, tokenizer and fields.

    Raises:
        IdentityError: if a field of it cannot be told apart.
    """
    identity = model_identity(ScorerModule(scorer))
    fields = module_fields(scorer, name) if isinstance(scorer, nn.Module) else described(scorer, name)
    return {**fields, **identity}


def versions() -> dict[str, str]:
    """Versions of Python, this package, and the libraries that results may depend on."""
    found = {"python": platform.python_version(), "erprm": __version__}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # a vendored or renamed build
            found[library] = "unknown"
    return found
