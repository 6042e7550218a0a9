"""Tensors from what users have: tensors, numpy arrays, or lists of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Numbers: TypeAlias = Tensor | npt.NDArray[Any] | Sequence[Any]
"""A tensor, a numpy array, or lists of numbers, nested as deep as there are axes."""


@overload
def as_tensor(values: Numbers, name: str) -> Tensor: ...
@overload
def as_tensor(values: None, name: str) -> None: ...
@overload
def as_tensor(values: Numbers | None, name: str) -> Tensor | None: ...
def as_tensor(values: Numbers | None, name: str) -> Tensor | None:
    """A tensor as it is, or a new one of the same numbers: Python's floats become float64, its integers int64.

    Args:
        values: the numbers; None stays None.
        name: of the argument, for the message.

    Raises:
        ValueError: if rows have different lengths, or something is no number.
    """
    if values is None or isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is not an array of numbers ({error})") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds {array.dtype}; it must be a tensor, a numpy array or lists of numbers")
    return torch.from_numpy(np.ascontiguousarray(array))
