"""Names of layouts and of the ways to make labels for them; loads nothing, so that ``--help`` is fast."""

from __future__ import annotations

from typing import Literal

FormatName = Literal["auto", "records", "official", "math_shepherd", "prm800k", "trl", "processbench"]
TargetName = Literal["records", "trl", "official"]
ExportLabels = Literal["er", "soft", "hard"]
