"""A key-value cache that grows by a token without a copy of all that came before it.

The caches of transformers 5.19 concatenate keys and values anew for each token, which takes most of the time of a small
model on a CPU.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

# Tokens to make room for at a time: each copy of the cache serves so many.
_ROOM = 64


def growing_cache(config: PreTrainedConfig) -> DynamicCache:
    """An empty cache for a model of this configuration.

    Layers of other kinds than full attention, such as sliding windows, hold little and are those of transformers.
    """
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class GrowingLayer(DynamicLayer):
    """Keys and values ``[rows, heads, tokens, dimension]`` of full attention: views of tensors with room for more."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stores: list[Tensor] = []

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Begins with no tokens."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._stores = [key_states[..., :0, :], value_states[..., :0, :]]
        self.keys, self.values = self._stores
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Appends tokens; returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if end > self._stores[0].shape[-2]:
            self._stores = [pad(store[..., :start, :], (0, 0, 0, end + _ROOM - start)) for store in self._stores]
        for store, states in zip(self._stores, (key_states, value_states), strict=True):
            store[..., start:end, :] = states
        self.keys, self.values = (store[..., :end, :] for store in self._stores)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps these rows, in this order."""
        length = self.get_seq_length()
        self._stores = [store[indices] for store in self._stores]
        self.keys, self.values = (store[..., :length, :] for store in self._stores)
