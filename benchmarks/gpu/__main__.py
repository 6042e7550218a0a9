"""A kit for GPUs: are the kernels right and fast, is the training, and does it take the memory that was estimated?

    python -m benchmarks.gpu                          # everything, at most 15 minutes
    python -m benchmarks.gpu --parts kernels,memory   # some parts
    python -m benchmarks.gpu --device cpu             # every part at the smallest sizes: does it all run?

``make gpu`` runs the tests marked ``gpu`` first. Needs torch, lightning, transformers, torchmetrics, peft and
safetensors, and no network. The module of each part says what is measured and how:

    kernels    attention kernels against sdpa, 512 to 16k tokens a row, and the choice of ``auto``
    speed      training and scoring at 135M, 1B and 8B, beside two padded ways
    fsdp       FSDP2 on one device, and on all
    memory     the estimate's memory beside the measured

Results go into ``--out`` as JSON, and beside it as Markdown, after each part. Parts that are in that file already, of
the same machine, code and settings, are left out. A part may take half of the time that is left of ``--minutes``, the
last one all; what does not fit is said to be skipped or cut off, and the same command again does such parts. The
status is 1 if a part failed, or something was not as it should be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.gpu import fsdp, kernels, memory, speed
from benchmarks.gpu.device import machine
from benchmarks.gpu.results import CUT, DONE, FAILED, SKIPPED, Results
from benchmarks.gpu.settings import Row, Settings

PARTS: dict[str, Callable[[Settings], Iterator[Row]]] = {
    "kernels": kernels.rows,
    "speed": speed.rows,
    "fsdp": fsdp.rows,
    "memory": memory.rows,
}
LEAST_MINUTES = 1.0
"""A part is not begun with less than that left."""


def run_part(name: str, settings: Settings, results: Results) -> None:
    """Runs a part and writes its rows."""
    about = settings.described()
    if results.has(name, about):
        print(f"{name}: there already", flush=True)
        return
    started, found = time.monotonic(), []
    if settings.seconds_left < 60 * LEAST_MINUTES:
        results.add(name, about, SKIPPED, [], 0.0, "no time left")
        print(f"{name}: skipped, no time left", flush=True)
        return
    status, note = DONE, ""
    try:
        for row in PARTS[name](settings):
            found.append(row)
            print(name, *(f"{key}={value}" for key, value in row.items()), flush=True)
            if settings.seconds_left < 0:
                status, note = CUT, "no time left for the rest"
                break
    except Exception as error:  # noqa: BLE001 - the other parts go on
        traceback.print_exc()
        status, note = FAILED, f"{type(error).__name__}: {error}"
    results.add(name, about, status, found, time.monotonic() - started, note)
    print(f"{name}: {status} {note}", flush=True)


def main(given: Sequence[str] | None = None) -> int:
    """Runs the parts; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="file of JSON; Markdown goes beside it")
    arguments = parser.parse_args(given)
    if arguments.out.suffix != ".json":
        parser.error(f"--out is {str(arguments.out)!r}; the name must end in .json")
    parts = arguments.parts.split(",")
    if unknown := [name for name in parts if name not in PARTS]:
        parser.error(f"--parts has {unknown[0]!r}; it takes some of {','.join(PARTS)}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --device cpu runs every part at the smallest sizes")
    deadline = time.monotonic() + 60 * arguments.minutes
    results = Results(arguments.out, machine(torch.device(arguments.device)))
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.of(arguments.device, Path(folder))
        for name in parts:
            # No part takes more than half of the time that is left, so that none is left without.
            now = time.monotonic()
            until = deadline if name == parts[-1] else now + (deadline - now) / 2
            run_part(name, replace(settings, deadline=until), results)
    print(f"results: {arguments.out} and {arguments.out.with_suffix('.md')}", flush=True)
    if results.wrong:
        print(f"not as it should be: {', '.join(results.wrong)}", flush=True)
    return int(bool(results.wrong))


if __name__ == "__main__":
    sys.exit(main())
