"""The adapters by name. A new one is a line of :data:`ADAPTERS`, and a class where its head is new."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from erprm.lookup import Setting, setting_type
from erprm.models.adapters.adapter import Adapter, LabelTokenAdapter, Qwen2ProcessRewardAdapter, TwoClassAdapter
from erprm.steps import STEP_FORMAT_PRESETS, StepFormat

AUTO, SAVED = "auto", "erprm"


def _preset(name: str) -> StepFormat:
    # TRL tokenises in pieces, which the preset does, too; the others tokenise the whole text.
    preset = STEP_FORMAT_PRESETS[name]
    return replace(preset, whole_text=not preset.standalone_pieces)


ADAPTERS: dict[str, Adapter] = {
    "er_prm": LabelTokenAdapter(_preset("er_prm"), ("llama3.1-math-prm",)),
    "math_shepherd": LabelTokenAdapter(_preset("math_shepherd"), ("math-shepherd-mistral-7b-prm",)),
    "rlhflow": LabelTokenAdapter(_preset("rlhflow"), ("llama3.1-8b-prm-mistral-data", "llama3.1-8b-prm-deepseek-data")),
    "qwen_prm": Qwen2ProcessRewardAdapter(_preset("qwen_prm")),
    "trl": TwoClassAdapter(_preset("trl")),
}
"""Adapters by name. Besides, ``erprm`` reads what this package has saved, with the step format saved beside it."""

SAVED_KINDS: tuple[type[Adapter], ...] = (LabelTokenAdapter, TwoClassAdapter, Qwen2ProcessRewardAdapter)
"""Model types that this package may have saved; the architecture tells which."""

if TYPE_CHECKING:
    AdapterSetting: TypeAlias = Setting
else:
    AdapterSetting = setting_type([AUTO, *ADAPTERS, SAVED], dict[str, Any])
