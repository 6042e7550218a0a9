"""A tiny Llama with random weights, its tokenizer, and rollout records for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from erprm.steps import Solution

if TYPE_CHECKING:
    from erprm.data.records import RolloutRecord

# transformers types neither its constructors nor its models closely enough for a strict type checker.
LlamaConfig: Any = transformers.LlamaConfig
LlamaForCausalLM: Any = transformers.LlamaForCausalLM
PreTrainedTokenizerFast: Any = transformers.PreTrainedTokenizerFast


def make_tokenizer(*, with_tags: bool = True, texts: Sequence[str] = (), vocabulary: int = 340) -> Any:
    """Byte-level BPE; with ``with_tags`` the texts `` ки``, `` +`` and `` -`` are one token each."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tags = ["a ки b + c - d"] * 50 if with_tags else []
    tokenizer.train_from_iterator(["Step 1: 3 = 7.\nStep 2: 15.\nThe answer is: 15\n", *tags, *texts], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|end|>"
    )


def make_llama(vocabulary: int, seed: int = 0, **changes: object) -> Any:
    """A Llama of some 50 thousand parameters."""
    torch.manual_seed(seed)
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.1,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "tie_word_embeddings": False,
    }
    return LlamaForCausalLM(LlamaConfig(**{**settings, **changes})).eval()


def save_tiny_llama(folder: Path, *, with_tags: bool = True) -> Path:
    """Writes model and tokenizer as a Hugging Face folder."""
    tokenizer = make_tokenizer(with_tags=with_tags)
    make_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def assert_same_model(one: Any, other: Any, solutions: Sequence[Solution]) -> None:
    """The same weights to the last bit, and scores but for rounding, which may depend on where they lie in memory."""
    weights, others = one.backbone.state_dict(), other.backbone.state_dict()
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name
    for scores, expected in zip(one.score_steps(solutions), other.score_steps(solutions), strict=True):
        torch.testing.assert_close(scores, expected, atol=1e-6, rtol=0.0)


def make_record(problem: int = 0, rewards: list[list[float]] | None = None, **changes: object) -> RolloutRecord:
    """A record of a small sum, with as many steps as ``rewards`` has lists."""
    from erprm.data.records import RolloutRecord  # Here: it needs pyarrow, which most that import this module do not.

    rewards = [[1.0, 0.0, 1.0, 1.0], [1.0]] if rewards is None else rewards
    fields: dict[str, object] = {
        "problem_id": f"sum/{problem}",
        "question": f"What is {problem} and 4 more?",
        "answer": str(problem + 4),
        "source": "sum",
        "steps": [f"Step {number}: {problem} = {number}." for number in range(1, len(rewards) + 1)],
        "rewards": rewards,
        "correct": rewards[-1] == [1.0],
        "policy": "tiny",
        "sampling": "{}",
        "seed": problem,
    }
    return RolloutRecord(**{**fields, **changes})  # type: ignore[arg-type]
