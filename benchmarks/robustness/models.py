"""Model folders that a command reads, damaged at random in one file.

Held, as for inputs: the command ends in time, with at most five lines and no traceback; or the damage did no harm.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from benchmarks.robustness.inputs import OF_BYTES, OTHERS, cut, flipped
from benchmarks.robustness.workplace import COMMANDS, Row, Workplace, no_plain_end


def models(place: Workplace, name: str, count: int, rng: random.Random) -> Row:
    """Has a model read whose folder is damaged in one file."""
    row = Row("models", name)
    folder = {"score": "prm", "fit": "my-llama", "rollout": "policy"}[name]
    arguments = [*COMMANDS[name], *(["--trainer.max_steps=1"] if name == "fit" else [])]
    files = sorted(path.name for path in (place.inputs / folder).iterdir() if path.is_file())
    for number in range(count):
        place.clean()
        file = place.work / folder / files[number % len(files)]
        place.make_room(file)
        how = _damage_model_file(place.inputs / folder / file.name, file, number // len(files), rng)
        ended = place.run(arguments)
        fault = no_plain_end(ended) if ended.status else None
        row.seconds = max(row.seconds, ended.seconds)
        row.add(fault and f"{file.name}, {how}: {fault}")
    return row


def _damage_model_file(whole: Path, file: Path, number: int, rng: random.Random) -> str:
    """Writes a damaged file in the place of one; returns how."""
    content = whole.read_bytes()
    how = rng.choice(("missing", "a folder", "other", "other", "bytes", "inside", "inside", "inside"))
    if how == "a folder":
        file.mkdir()
    elif how == "other":
        how = rng.choice(sorted(OTHERS))
        file.write_bytes(OTHERS[how])
    elif how == "bytes":
        how = rng.choice(sorted(OF_BYTES))
        file.write_bytes(OF_BYTES[how](content, rng))
    elif how == "inside" and file.suffix == ".json":
        read = json.loads(content)
        how = _change_inside(read, rng)
        file.write_text(json.dumps(read), encoding="utf-8")
    elif how == "inside" and file.suffix == ".safetensors":
        weights = load_file(whole)
        name = rng.choice(sorted(weights))
        how = f"{name} " + rng.choice(("missing", "NaN", "of another shape", "of whole numbers", "in the header"))
        if how.endswith("header"):
            size = int.from_bytes(content[:8], "little")
            file.write_bytes(content[:8] + flipped(content[8 : 8 + size], rng) + content[8 + size :])
        else:
            weight = weights.pop(name)
            changed = {"NaN": weight * math.nan, "shape": weight[..., :-1].contiguous(), "numbers": weight.int()}
            weights |= {name: changed[how.split()[-1]]} if how.split()[-1] in changed else {}
            save_file(weights, file, metadata={"format": "pt"})
    elif how != "missing":
        file.write_bytes(cut(content, rng))
    return how


def _change_inside(read: Any, rng: random.Random) -> str:
    """Changes a value somewhere in what was read of a JSON file; returns which, and to what."""
    path = []
    while isinstance(read, dict | list) and read:
        key: Any = rng.choice(sorted(read)) if isinstance(read, dict) else rng.randrange(len(read))
        path.append(str(key))
        below = read[key]
        if not (isinstance(below, dict | list) and below and rng.random() < 0.8):
            value = rng.choice((None, True, -1, 0, 10**12, 0.5, "", "no such", [], {}, ["x"], {"x": 1}))
            read[key] = value
            return f"{'.'.join(path)[-60:]}: {value!r}"
        read = below
    return "unchanged"
