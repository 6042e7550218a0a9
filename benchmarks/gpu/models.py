"""Models with random weights in the shapes of published ones, and random solutions for them.

Nothing is read from a hub: a folder gets a configuration and a tokenizer of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

from erprm.data.batching.tries import trie_order
from erprm.data.packing import Packing, StepBatch, budget_bounds, pack_solutions
from erprm.models import ProcessRewardModel

# The shapes of SmolLM2-135M, Llama-3.2-1B and Llama-3.1-8B; for the kernels four layers of the second.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 512, "tie_word_embeddings": True,
    },
    "135M": {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49_152, "tie_word_embeddings": True,
    },
    "1B": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128_256, "tie_word_embeddings": True,
    },
    "8B": {
        "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128_256, "tie_word_embeddings": False,
    },
    "four layers": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 4, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 512, "tie_word_embeddings": True,
    },
}  # fmt: skip
LONGEST = 512


def model_folder(folder: Path, shape: str) -> Path:
    """A folder with configuration and tokenizer of a shape; made where there is none."""
    path = folder / shape.replace(" ", "-")
    if not (path / "tokenizer.json").exists():
        sizes = SHAPES[shape]
        # So that what a layer adds is about as large as what it reads, at every width.
        spread = sizes["hidden_size"] ** -0.5
        config = LlamaConfig(**sizes, initializer_range=spread, max_position_embeddings=32_768)
        config.architectures = ["LlamaForCausalLM"]
        config.save_pretrained(path)
        alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({char: i for i, char in enumerate(alphabet)}, []))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        tokenizer.add_tokens([" ки", " +", " -"])
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
        ).save_pretrained(path)
    return path


class RandomWeights(ProcessRewardModel):
    """A process reward model whose weights are made on its device instead of being read; the same ones each time."""

    where = torch.device("cpu")

    def build_backbone(self) -> PreTrainedModel:
        """A causal LM with random weights."""
        where = self.where if self._trainer is None else self.trainer.strategy.root_device
        model: PreTrainedModel = random_model(
            AutoModelForCausalLM, self.backbone_path, getattr(torch, self.dtype_name), where
        )
        return model


def random_model(loader: Any, path: str | Path, dtype: torch.dtype, device: torch.device, **changes: Any) -> Any:
    """A model of transformers with random weights, made on the device."""
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(path, **changes)
    with device:
        return loader.from_config(config, dtype=dtype, attn_implementation="sdpa")


def build(path: Path, device: torch.device, **settings: Any) -> RandomWeights:
    """A process reward model on its device."""
    module = RandomWeights(str(path), scheduler=None, **settings)
    module.where = device
    module.configure_model()
    return module.to(device)


@dataclass(frozen=True)
class Sample:
    """A solution of random tokens.

    Attributes:
        ids: tokens.
        tags: places of its step tags.
        labels: label of each.
    """

    ids: npt.NDArray[np.int64]
    tags: npt.NDArray[np.int64]
    labels: npt.NDArray[np.float32]


def samples(count: int, each: int = 8, longest: int = LONGEST, seed: int = 0) -> list[Sample]:
    """Solutions of 3 to 12 steps of 15 to 40 tokens; so many of each question, which has 60 to 140 tokens.

    Half of the solutions of a question also share their first step.
    """
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        if number % each == 0:
            question, first = rng.integers(3, 250, rng.integers(60, 141)), rng.integers(3, 250, rng.integers(15, 41))
        steps = [rng.integers(3, 250, rng.integers(15, 41)) for _ in range(rng.integers(3, 13))]
        if rng.random() < 0.5:
            steps[0] = first
        ends = len(question) + np.cumsum([len(step) for step in steps])
        kept = max(1, int((ends <= longest).sum()))
        ids = np.concatenate([question, *steps[:kept]]).astype(np.int64)
        found.append(Sample(ids, ends[:kept] - 1, rng.random(kept).astype(np.float32)))
    return found


def batches(solutions: Sequence[Sample], max_tokens: int, packing: Packing) -> list[StepBatch]:
    """Packed batches, each one row, as the data module makes them."""
    ids = [solution.ids for solution in solutions]
    order, shared = trie_order(ids) if packing == "trees" else (np.arange(len(ids)), None)
    bounds = budget_bounds([len(each) for each in ids], max_tokens, order, shared)
    packed = []
    for start, stop in pairwise(bounds):
        chosen = [solutions[i] for i in order[start:stop]]
        of_batch = None if shared is None else shared[start:stop] * (np.arange(stop - start) > 0)
        packed.append(
            pack_solutions(
                [each.ids for each in chosen],
                [each.tags for each in chosen],
                [each.labels for each in chosen],
                shared=of_batch,
            )
        )
    return packed
