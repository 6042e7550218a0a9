"""Names that settings of models choose by; loads nothing, so that ``--help`` can list them at once."""

from __future__ import annotations

from typing import Literal

Attention = Literal["auto", "sdpa", "eager", "flex_attention", "flash_attention_2"]
Dtype = Literal["float32", "bfloat16", "float16"]
