"""A process reward model that a command names, loaded here or behind a URL: its settings, and opening it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from erprm.data.packing import Packing
from erprm.eta import Eta
from erprm.models import Attention, Dtype
from erprm.models.adapters.registry import AdapterSetting
from erprm.models.scorers.settings import ServedModel, is_url

if TYPE_CHECKING:
    from erprm.models.adapters import AdaptedRewardModel
    from erprm.models.scorers import HTTPStepScorer


@dataclass
class NamedModel:
    """A process reward model, and how it scores.

    Attributes:
        model: folder or hub id of a process reward model, or the URL of a server that serves one (see docs/serving.md).
        adapter: ``er_prm``, ``math_shepherd``, ``rlhflow``, ``qwen_prm``, ``trl``, ``erprm`` (saved by this package),
            or ``auto``, which asks the checkpoint's configuration; or an adapter of your own by its import path, or by
            ``class_path`` and ``init_args``.
        step_format: fields in which the checkpoint's step format differs from the adapter's.
        device: where to score, such as ``cpu`` or ``cuda:1``; ``auto`` takes the GPU if there is one.
        dtype: type of the weights.
        attn_implementation: attention kernel, as for ``model.attn_implementation``.
        max_tokens: tokens of a batch.
        row_tokens: tokens of one of its rows; by default a batch is one row.
        packing: ``trees`` reads what solutions of the same question have in common once, ``rows`` does without.
        server: how a served model is asked. ``device`` to ``packing`` are for a model that is loaded here.
    """

    model: str
    adapter: AdapterSetting = "auto"
    step_format: dict[str, str | bool | None] | None = None
    device: str = "auto"
    dtype: Dtype = "float32"
    attn_implementation: Attention = "auto"
    max_tokens: int = 4096
    row_tokens: int | None = None
    packing: Packing = "trees"
    server: ServedModel = field(default_factory=ServedModel)


def load_named(
    config: NamedModel, calibration: str | None = None, score_eta: Eta = 0.0
) -> AdaptedRewardModel | HTTPStepScorer:
    """The model, ready to score."""
    from erprm.models.adapters import AdaptedRewardModel
    from erprm.models.scorers import HTTPStepScorer
    from erprm.models.scorers.opening import device_named

    if is_url(config.model):
        return HTTPStepScorer(
            config.model,
            adapter=config.adapter,
            step_format=config.step_format,
            calibration=calibration,
            **asdict(config.server),
        )
    model = AdaptedRewardModel(
        config.model,
        config.adapter,
        config.step_format,
        dtype=config.dtype,
        attn_implementation=config.attn_implementation,
        score_max_tokens=config.max_tokens,
        score_row_tokens=config.row_tokens,
        score_packing=config.packing,
        score_eta=score_eta,
        calibration=calibration,
    )
    device = device_named(config.device)
    model.configure_model()
    return model.eval().to(device)
