"""The difference between two folders, file by file, and readers of the files in them.

Floats of scores may differ in the sixth place, logged lines may be there twice; times are not compared.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import yaml

# Files and keys in which times or the moments of a run stand, or what it was resumed from; that they are there is
# compared. A hash is over these.
OF_ITS_TIME = {"sft.log", "fit.log", "test.log", "training.json", "scoring.json", "ablation.md", "export.json"}
KEYS_OF_ITS_TIME = {"hash", "seconds", "cpu_seconds", "peak_bytes", "costs", "cost", "ckpt_path"}


def difference(one: Path, other: Path) -> str | None:
    """The first difference between two folders; None if they are equal."""
    files = [
        {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            # Other commands may be filling a cache, so what a killed one left there stays for an hour.
            if path.is_file() and not path.is_symlink() and path.relative_to(folder).parts[0] != "cache"
        }
        for folder in (one, other)
    ]
    if files[0] != files[1]:
        return f"missing: {sorted(files[0] - files[1])[:3]}, left over: {sorted(files[1] - files[0])[:3]}"
    unlike = [name for name in sorted(files[0]) if not _same_file(one / name, other / name)]
    if not unlike:
        return None
    return f"other content: {unlike[:3]}"


def _same_file(one: Path, other: Path) -> bool:
    if one.read_bytes() == other.read_bytes() or one.name in OF_ITS_TIME or one.suffix == ".png":
        return True
    read = {".json": _json, ".jsonl": _json_lines, ".yaml": _yaml, ".parquet": _table, ".ckpt": _checkpoint,
            ".csv": _lines}  # fmt: skip
    return one.suffix in read and close(*(read[one.suffix](path) for path in (one, other)))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _json_lines(path: Path) -> Any:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _table(path: Path) -> Any:
    return pq.read_table(path).to_pylist()


def _checkpoint(path: Path) -> Any:
    saved = torch.load(path, weights_only=True)
    return {name: saved[name] for name in ("state_dict", "optimizer_states", "global_step")}


def _lines(path: Path) -> Any:
    return sorted(set(path.read_text(encoding="utf-8").splitlines()))


def close(one: Any, other: Any) -> bool:
    """Equal, but for rounding in the sixth place, and for times."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            key in KEYS_OF_ITS_TIME or close(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6) or one is other
    return bool(one == other)
