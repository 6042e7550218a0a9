"""Part ``fsdp``: training under FSDP2 on one device, and on all where there are several, beside training unsharded.

Each training is a process of its own (``sharded_training``), under Lightning's trainer. All processes get the same
batches, so that losses are those of a single process, within ``TOLERANCES``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.models import model_folder
from benchmarks.gpu.settings import ROOT, Row, Settings
from erprm.runs.child import kill_when_this_process_ends

TOLERANCES = {"32-true": 1e-4, "bf16-mixed": 2e-2}
SHAPES, TINY_SHAPES = ("135M", "1B"), ("tiny",)
LEAST_SECONDS = 60.0


def rows(settings: Settings) -> Iterator[Row]:
    """One for each shape, strategy and number of devices."""
    precision = "bf16-mixed" if settings.is_full else "32-true"
    for shape in SHAPES if settings.is_full else TINY_SHAPES:
        path = model_folder(settings.folder, shape)
        expected: list[float] = []
        for strategy, devices in [("auto", 1), *(("fsdp2", number) for number in settings.devices)]:
            row: Row = {"shape": shape, "precision": precision, "strategy": strategy, "devices": devices}
            told = train(settings, path, strategy, devices, precision)
            if "error" in told:
                yield {**row, "ok": False, **told}
                continue
            losses = told.pop("losses")
            expected = expected or losses
            difference = max(abs(ours - theirs) for ours, theirs in zip(losses, expected, strict=True))
            # A loss that stays is no training.
            ok = difference <= TOLERANCES[precision] and losses[-1] < losses[0]
            yield {**row, "first loss": losses[0], "last loss": losses[-1], "loss": difference, "ok": ok, **told}


def train(settings: Settings, path: Path, strategy: str, devices: int, precision: str) -> dict[str, Any]:
    """Trains in a process of its own, and returns what it told."""
    out = settings.folder / f"{path.name}-{strategy}-{devices}.json"
    out.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "benchmarks.gpu.sharded_training", str(path), "--device", settings.device.type,
        "--devices", str(devices), "--strategy", strategy, "--precision", precision, "--out", str(out),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    log = out.with_suffix(".log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    watch = kill_when_this_process_ends([-process.pid])
    try:
        process.wait(timeout=max(LEAST_SECONDS, settings.seconds_left))
    except subprocess.TimeoutExpired:
        # Processes that wait for each other would wait on.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return {"error": "no time left"}
    finally:
        watch.kill()
        watch.communicate()
    if process.returncode or not out.exists():
        told = log.read_text(encoding="utf-8", errors="replace")[-600:].strip()
        return {"error": told or f"ended with status {process.returncode}"}
    result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return result
