"""Names of options in the settings of models; loads nothing, so that ``--help`` is fast."""

from __future__ import annotations

from typing import Literal

Attention = Literal["auto", "sdpa", "eager", "flex_attention", "flash_attention_2"]
Dtype = Literal["float32", "bfloat16", "float16"]
