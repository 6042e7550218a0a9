"""Tiny policies: real Llamas with random weights, and tokenizers made here."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor

from erprm.engines.transformers import TransformersEngine

# transformers types neither its constructors nor what a tokenizer returns closely enough for a strict type checker.
LlamaForCausalLM: Any = transformers.LlamaForCausalLM
PreTrainedTokenizerFast: Any = transformers.PreTrainedTokenizerFast

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "\n", *"0123456789", "+", "=", "####", "so", "then"]


def make_word_tokenizer() -> Any:
    """One token a word; decoding joins words with a space; a begin-of-text token goes before a text."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n|\d"), "isolated"),
            pre_tokenizers.Split(Regex(r" +"), "removed"),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def make_byte_tokenizer() -> Any:
    """Byte-level BPE with so few merges that most characters beyond ASCII are several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Step 1: 3 + 4 = 7.\n\nStep 2: so 7 + 8 = 15.\n\nThe answer is: 15\n"] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def make_policy(vocabulary: int, seed: int = 0, context: int = 64, **changes: Any) -> Any:
    """A random Llama with logits far enough apart that a distribution is not flat."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
        "initializer_range": 0.15,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    config = transformers.LlamaConfig(**{**settings, **changes})
    return LlamaForCausalLM(config).eval()


def teach(policy: Any, batches: Sequence[list[str]], *, steps: int, learning_rate: float) -> Any:
    """Trains a policy on batches of texts, each of one length: a batch a step, and again from the first."""
    tokenizer = make_word_tokenizer()
    ids_of = [torch.tensor(tokenizer(batch)["input_ids"]) for batch in batches]
    optimizer = torch.optim.AdamW(policy.parameters(), lr=learning_rate)
    for ids in itertools.islice(itertools.cycle(ids_of), steps):
        optimizer.zero_grad()
        policy(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return policy.eval()


def make_taught_policy(**changes: Any) -> Any:
    """A policy that writes solutions of three steps, with digits that are right now and then."""
    solutions = []
    for one, other in itertools.product(range(10), range(10)):
        total = (one + other) % 10
        first, second = f"so {one} + {other} = {total}", f"then {total} + 1 = {(total + 1) % 10}"
        solutions.append(f"{one} + {other} = \n {first} \n {second} \n #### {(total + 1) % 10} \n so </s>")
    return teach(make_policy(len(WORDS), **changes), [solutions], steps=90, learning_rate=3e-3)


def chance_of_counts(counts: Tensor, expected: Tensor) -> float:
    """The chance of counts as far from those expected as these, or farther, by Pearson's chi-square test.

    Where nothing is expected, nothing may be counted. Cells in which fewer than five are expected are taken as one.
    """
    assert counts[expected == 0].sum() == 0
    rare = expected < 5
    counts, expected = (torch.cat([each[~rare], each[rare].sum()[None]]).double() for each in (counts, expected))
    cells = expected > 0
    degrees = int(cells.sum()) - 1
    assert degrees >= 1
    chi_square = ((counts - expected)[cells] ** 2 / expected[cells]).sum()
    return float(torch.special.gammaincc(torch.tensor(degrees / 2, dtype=torch.float64), chi_square / 2))


@pytest.fixture(scope="session")
def word_tokenizer() -> Any:
    return make_word_tokenizer()


@pytest.fixture(scope="session")
def byte_tokenizer() -> Any:
    return make_byte_tokenizer()


@pytest.fixture(scope="session")
def policy() -> Any:
    return make_policy(len(WORDS))


@pytest.fixture
def engine(policy: Any, word_tokenizer: Any) -> TransformersEngine:
    return TransformersEngine.from_model(policy, word_tokenizer, name="tiny", batch_size=16)
