"""The device that is measured: its name, its speed, and time and memory of work on it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from lightning.fabric.utilities.throughput import get_available_flops

GIB = 2**30


def machine(device: torch.device) -> dict[str, Any]:
    """Device and versions, as far as results depend on them."""
    is_cuda = device.type == "cuda"
    found = {
        "device": torch.cuda.get_device_name(device) if is_cuda else "cpu",
        "devices": torch.cuda.device_count() if is_cuda else 1,
        "memory GiB": round(torch.cuda.get_device_properties(device).total_memory / GIB, 1) if is_cuda else None,
        "cuda": torch.version.cuda,
    }
    for package in ("torch", "triton", "transformers", "lightning", "peft", "flash-attn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """Speed of the product of two large square matrices, the best of some, in 10^12 operations a second."""
    size = 8192 if device.type == "cuda" else 512
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = min(seconds_of(lambda: left @ right, device) for _ in range(12))
    return 2 * size**3 / best / 1e12


def sheet_tflops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Speed on the maker's data sheet, where Lightning knows it."""
    flops = get_available_flops(device, dtype) if device.type == "cuda" else None
    return flops / 1e12 if flops else None


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds that some work takes."""
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def forget_peak(device: torch.device) -> int:
    """Begins to measure peak memory; returns the bytes in use."""
    gc.collect()
    if device.type != "cuda":
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def peak_gib(device: torch.device, before: int = 0) -> float | None:
    """The most memory in use since :func:`forget_peak`, less what was in use before, in GiB; on a CPU unknown."""
    return (torch.cuda.max_memory_allocated(device) - before) / GIB if device.type == "cuda" else None
