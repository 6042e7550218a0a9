r"""Supervised fine-tuning data for a policy: prompt and completion, loss on the completion alone.

A row of the JSONL file is ``{"prompt": "<question>\n", "completion": "<steps and answer>"}``, the layout TRL calls
prompt-completion. Either may be a list of token ids in place of a text, such as those an engine has read and written.
A field ``log_probs`` may say, for each token of a completion, the logarithm of the probability it was sampled with; all
rows have it or none has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from erprm.data.batching.resumption import ResumableDataModule
from erprm.data.files.json_rows import read_json_rows
from erprm.data.packing import PackedRows, check_token_limits, pack_rows
from erprm.data.records import records_fingerprint
from erprm.runs.identity import tokenizer_fingerprint

__all__ = ["PolicyBatch", "PolicyDataModule", "PolicySample", "load_policy_samples"]


@dataclass
class PolicyBatch(PackedRows):
    """Packed rows of prompts with their completions (see :mod:`erprm.data.packing`).

    Attributes:
        predict_index: places in the flattened rows whose next token is learned ``[S]``.
        targets: those next tokens ``[S]``.
        record_ids: name of each sample of the batch, for messages.
        log_probs: with what logarithm of a probability the targets were sampled ``[S]``, if that is known.
    """

    predict_index: Tensor
    targets: Tensor
    record_ids: list[str] = field(default_factory=list)
    log_probs: Tensor | None = None


@dataclass(frozen=True)
class PolicySample:
    """Tokens of a prompt and its completion; the first ``prompt_length`` carry no loss. ``name`` is for messages.

    ``log_probs`` are those of the completion's tokens where they were sampled, if that is known.
    """

    input_ids: list[int]
    prompt_length: int
    name: str
    log_probs: list[float] | None = None


class PackedSamples(Dataset[PolicyBatch]):
    """Tokenised samples; an index is the list of the samples that share a batch."""

    def __init__(self, samples: list[PolicySample], row_tokens: int | None = None) -> None:
        """Takes tokenised samples, and the most tokens of a row."""
        self.samples = samples
        self.row_tokens = row_tokens

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: list[int]) -> PolicyBatch:
        samples = [self.samples[i] for i in index]
        rows, paths = pack_rows([sample.input_ids for sample in samples], self.row_tokens)
        predict = [path[sample.prompt_length - 1 : -1] for sample, path in zip(samples, paths, strict=True)]
        predict_index = torch.from_numpy(np.concatenate(predict))
        targets = rows.input_ids.flatten()[predict_index + 1]
        log_probs = [sample.log_probs for sample in samples if sample.log_probs is not None]
        return PolicyBatch(
            **vars(rows),
            predict_index=predict_index,
            targets=targets,
            record_ids=[sample.name for sample in samples],
            log_probs=torch.tensor([each for part in log_probs for each in part]) if log_probs else None,
        )


def load_policy_samples(path: str | Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[PolicySample]:
    """Reads and tokenises a file of prompts and completions.

    A prompt gets the tokenizer's special tokens, and a completion ends with its end-of-sequence token; token ids are
    taken as they are. Samples longer than ``max_length`` are left out, with a warning that counts them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a row lacks a field, ``log_probs`` are not one number for each token of a completion or only some
            rows have them, the tokenizer has no end-of-sequence token, or no sample is left.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError(f"tokenizer {tokenizer.name_or_path!r} has no end-of-sequence token to close completions with")
    names: list[str] = []
    texts: dict[str, list[str | list[int]]] = {"prompt": [], "completion": []}
    log_probs: list[Any] = []
    for where, row in read_json_rows(Path(path), "policy data"):
        for name, column in texts.items():
            column.append(_text_or_ids(row.get(name), f"{where}: field {name!r}", len(tokenizer)))
        log_probs.append(row.get("log_probs"))
        names.append(where)
    if not names:
        raise ValueError(f"{path}: holds no sample")
    prompt_ids = _token_ids(texts["prompt"], tokenizer, special_tokens=True)
    completion_ids = _token_ids(texts["completion"], tokenizer, special_tokens=False)
    if any(each is not None for each in log_probs):
        for name, completion, found in zip(names, completion_ids, log_probs, strict=True):
            _check_log_probs(found, len(completion), name)
    samples = [
        PolicySample([*prompt, *completion], len(prompt), name, found)
        for name, prompt, completion, found in zip(names, prompt_ids, completion_ids, log_probs, strict=True)
    ]
    kept = [sample for sample in samples if len(sample.input_ids) <= max_length]
    if not kept:
        raise ValueError(f"{path}: none of {len(samples)} sample(s) fits max_length={max_length}")
    if len(kept) < len(samples):
        rank_zero_warn(f"{path}: {len(samples) - len(kept)} of {len(samples)} sample(s) exceed max_length={max_length}")
    return kept


def _text_or_ids(value: object, what: str, vocabulary: int) -> str | list[int]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(type(token) is int and 0 <= token < vocabulary for token in value):
        return value
    raise ValueError(f"{what} is {repr(value)[:80]}; expected a text that is not empty, or ids of tokens")


def _check_log_probs(value: object, tokens: int, where: str) -> None:
    is_list = isinstance(value, list) and all(type(each) in (int, float) and -math.inf < each <= 0.0 for each in value)
    if not is_list or len(cast(list[float], value)) != tokens:
        found = f"{len(value)} values" if is_list and isinstance(value, list) else repr(value)[:80]
        raise ValueError(
            f"{where}: field 'log_probs' is {found}; expected a finite number of at most 0 for each of the {tokens} "
            "token(s) of the completion (its end included), in every row or in none"
        )


def _token_ids(
    values: list[str | list[int]], tokenizer: PreTrainedTokenizerBase, *, special_tokens: bool
) -> list[list[int]]:
    """Tokens of each value; without the tokenizer's special tokens a text ends with that of its end."""
    texts = [value for value in values if isinstance(value, str)]
    ids_of_texts = iter(tokenizer(texts, add_special_tokens=special_tokens)["input_ids"] if texts else [])
    end = [] if special_tokens else [tokenizer.eos_token_id]
    return [[*next(ids_of_texts), *end] if isinstance(value, str) else value for value in values]


class PolicyDataModule(ResumableDataModule):
    """Prompts and completions as packed rows for training a :class:`erprm.models.PolicyModel`."""

    def __init__(
        self,
        samples: str,
        max_tokens: int = 4096,
        row_tokens: int | None = None,
        max_length: int = 1024,
        num_workers: int = 0,
        seed: int = 0,
        allow_change: bool = False,
    ) -> None:
        """Notes the settings.

        Args:
            samples: JSONL file with ``prompt`` and ``completion``.
            max_tokens: tokens of a batch: the batch size.
            row_tokens: tokens of one of its rows; by default a batch is one row (see :mod:`erprm.data.packing`).
            max_length: most tokens of one sample; longer ones are left out.
            num_workers: data-loading processes.
            seed: of the shuffles.
            allow_change: resume even if the checkpoint was trained on other data or with another tokenizer.

        Raises:
            ValueError: if ``max_length`` is not in [1, max_tokens], or ``row_tokens`` below 1.
        """
        super().__init__()
        check_token_limits(max_length, row_tokens, max_tokens)
        self.samples = samples
        self.max_tokens = max_tokens
        self.row_tokens = row_tokens
        self.max_length = max_length
        self.num_workers = num_workers
        self.seed = seed
        self.allow_change = allow_change
        self.train_set: PackedSamples

    def setup(self, stage: str) -> None:
        """Tokenises the samples with the tokenizer of the policy being trained."""
        super().setup(stage)
        samples = load_policy_samples(self.samples, self._tokenizer, self.max_length)
        self.train_set = PackedSamples(samples, self.row_tokens)

    @property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        assert self.trainer is not None
        return cast(PreTrainedTokenizerBase, self.trainer.lightning_module.tokenizer)

    def identity(self) -> dict[str, Any]:
        """Everything that determines the batches of ``fit``, the samples by a hash."""
        return {
            "hash of data.samples": records_fingerprint(self.samples)[:16],
            **{f"data.{name}": getattr(self, name) for name in ("max_tokens", "row_tokens", "max_length", "seed")},
            "hash of the tokenizer": tokenizer_fingerprint(self._tokenizer)[:16],
        }

    def train_dataloader(self) -> DataLoader[PolicyBatch]:
        """Packed batches, reshuffled each epoch."""
        lengths = [len(sample.input_ids) for sample in self.train_set.samples]
        return self.packed_loader(self.train_set, lengths)
