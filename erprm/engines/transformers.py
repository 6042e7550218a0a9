"""Completions by a causal language model of ``transformers``, on a CPU or one GPU.

The loop is the package's own rather than ``model.generate``: a prompt is read once for all its completions, finished
rows leave the batch, and the token is picked by the request's own random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from erprm.engines.base import (
    Completion,
    EngineError,
    FinishReason,
    Prompt,
    Sampling,
    TokenUsage,
    check_lengths,
    decode_after,
    encode_prompt,
    request_seed,
    stop_place,
    warn_if_none_stopped,
)
from erprm.engines.model_files import BackboneError, load_model, load_tokenizer, model_path, warn_of_beside
from erprm.runs.identity import sha256_of, tokenizer_content, weight_chunks

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Finished rows are dropped once they are this share of the batch; dropping copies the cache of the others.
_DROP_SHARE = 0.1


class TransformersEngine:
    """Samples from a Hugging Face causal language model.

    Works with any decoder whose cache is attention keys and values (Llama, Mistral, Qwen, GPT-2, ...).

    Args:
        model: local folder or hub id.
        gguf_file: name of a GGUF file in it, instead of safetensors.
        batch_size: completions sampled side by side.
        device: ``auto`` (a GPU if there is one) or a torch device.
        dtype: ``auto`` (the checkpoint's own on a GPU, float32 on a CPU) or a torch dtype's name, such as ``bfloat16``.

    Raises:
        FileNotFoundError: if there is no such model.
        BackboneError: if its files are damaged, or lack weights; names what is wrong.
        ValueError: if ``dtype`` is no torch dtype, or ``batch_size`` is below 1.
    """

    def __init__(
        self,
        model: str,
        gguf_file: str | None = None,
        batch_size: int = 256,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        from transformers import AutoModelForCausalLM

        if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise ValueError(f"dtype is {dtype!r}; it must be auto or a torch dtype's name, such as bfloat16")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if dtype == "auto" and torch.device(device).type == "cpu":
            dtype = "float32"
        model = model_path(model)
        warn_of_beside(model)
        tokenizer = load_tokenizer(model, gguf_file)
        network, missing = load_model(AutoModelForCausalLM, model, gguf_file, dtype=dtype)
        if missing:
            raise BackboneError(f"the files of {model!r} lack {len(missing)} of its weights, such as {missing[0]}")
        self._set_up(network.to(device), tokenizer, model, batch_size)

    @classmethod
    def from_model(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str = "in-memory",
        batch_size: int = 256,
    ) -> TransformersEngine:
        """An engine on a model that is already in memory; the model is put into evaluation mode."""
        engine = cls.__new__(cls)
        engine._set_up(model, tokenizer, name, batch_size)
        return engine

    def _set_up(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        self.name = name
        self.usage = TokenUsage()
        self.max_length: int = model.config.get_text_config().max_position_embeddings
        self.batch_size = batch_size
        self._model: Any = model.train(False)
        self._tokenizer = tokenizer
        self._end_ids = _end_of_text_ids(model, tokenizer)
        self._stop_token_ids: dict[tuple[str, ...], frozenset[int]] = {}

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        return self._tokenizer

    def fingerprint(self) -> str:
        """SHA-256 of the weights' bytes and the tokenizer."""
        tokenizer = tokenizer_content(self._tokenizer).encode("utf-8", "surrogatepass")
        return sha256_of(chain([tokenizer], weight_chunks(self._model.state_dict(), tuple)))

    def close(self) -> None:
        """Lets go of the model."""
        self._model = None

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """See :meth:`erprm.engines.base.Engine.generate`."""
        from erprm.engines.grouped_attention import heads_grouped

        prompt_ids = [encode_prompt(self._tokenizer, prompt) for prompt in prompts]
        check_lengths(prompt_ids, self.max_length)
        # The longest first: rows of a batch need little padding, and a lack of memory shows at once.
        order = sorted(range(len(prompt_ids)), key=lambda index: -len(prompt_ids[index]))
        requests = iter([(index, k) for index in order for k in range(sampling.n)])
        completions: dict[tuple[int, int], Completion] = {}
        with heads_grouped(self._model):
            while batch := list(islice(requests, self.batch_size)):
                ids_of_batch = [prompt_ids[index] for index, _ in batch]
                ks = [k for _, k in batch]
                completions.update(zip(batch, self._complete(ids_of_batch, ks, sampling), strict=True))
        self.usage.prompt += sum(map(len, prompt_ids))
        results = [[completions[index, k] for k in range(sampling.n)] for index in range(len(prompt_ids))]
        warn_if_none_stopped(results, sampling)
        return results

    @torch.inference_mode()
    def _complete(self, prompt_ids: list[list[int]], ks: list[int], sampling: Sampling) -> list[Completion]:
        """One completion for each row; rows of one prompt stand side by side, prompts sorted from long to short."""
        rows = [_Row(ids, min(sampling.max_tokens, self.max_length - len(ids))) for ids in prompt_ids]
        uniforms_RT = _uniforms(prompt_ids, ks, sampling) if sampling.temperature > 0 else None
        active = list(range(len(rows)))
        network = _CachedModel(self._model, prompt_ids, self.max_length)
        for position in range(max(row.max_tokens for row in rows)):
            self._refuse_nonfinite(network.logits)
            uniforms_A = None if uniforms_RT is None else uniforms_RT[active, position].to(network.logits.device)
            tokens_A = pick_tokens(network.logits, sampling.temperature, sampling.top_p, uniforms_A)
            for row_number, token in zip(active, tokens_A.tolist(), strict=True):
                self._append(rows[row_number], token, sampling.stop)
            unfinished = [place for place, row_number in enumerate(active) if rows[row_number].finish_reason is None]
            if not unfinished:
                break
            if len(unfinished) <= (1 - _DROP_SHARE) * len(active):
                active = [active[place] for place in unfinished]
                tokens_A = tokens_A[unfinished]
                network.keep(unfinished)
            network.step(tokens_A)
        return [self._completion(row) for row in rows]

    def _refuse_nonfinite(self, logits_RV: Tensor) -> None:
        # The maximum is NaN where a logit is; a model may rule out single tokens by minus infinity.
        if not torch.isfinite(logits_RV.amax(-1)).all():
            raise EngineError(
                f"model {self.name!r} gives logits that are NaN or infinite: its weights are damaged, or too large for "
                f"{self._model.dtype}"
            )

    def _append(self, row: _Row, token: int, stop: tuple[str, ...]) -> None:
        if row.finish_reason is not None:
            return
        row.token_ids.append(token)
        self.usage.completion += 1
        if token in self._end_ids:
            row.finish_reason = "stop"
        elif stop and token in self._tokens_that_may_end(stop):
            text = decode_after(self._tokenizer, row.prompt_ids, row.token_ids)
            if (cut := stop_place(text, stop)) is not None:
                row.finish_reason, row.text = "stop", text[:cut]
        if row.finish_reason is None and len(row.token_ids) == row.max_tokens:
            row.finish_reason = "length"

    def _completion(self, row: _Row) -> Completion:
        assert row.finish_reason is not None
        text = row.text
        if text is None:
            ended = row.token_ids[-1] in self._end_ids
            text = decode_after(self._tokenizer, row.prompt_ids, row.token_ids[:-1] if ended else row.token_ids)
        return Completion(text, tuple(row.token_ids), row.finish_reason)

    def _tokens_that_may_end(self, stop: tuple[str, ...]) -> frozenset[int]:
        """Tokens that can bring the last character of a stop string, so that only after them the text is decoded."""
        if stop not in self._stop_token_ids:
            last_characters = {string[-1] for string in stop}
            pieces = self._tokenizer.batch_decode([[token] for token in range(len(self._tokenizer))])
            # Some tokenizers keep the space before a word out of the word's token: then any token may bring it.
            any_token = " " in last_characters
            self._stop_token_ids[stop] = frozenset(
                token
                for token, piece in enumerate(pieces)
                if any_token or "\ufffd" in piece or not last_characters.isdisjoint(piece)
            )
        return self._stop_token_ids[stop]


@dataclass
class _Row:
    """A completion while it grows."""

    prompt_ids: list[int]
    max_tokens: int
    token_ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    text: str | None = None


class _CachedModel:
    """The model with its cache, one token of every row at a time.

    Attributes:
        logits: ``[rows, vocabulary]``, float32, of the next token.
    """

    def __init__(self, model: Any, prompt_ids: list[list[int]], max_length: int) -> None:
        from erprm.engines.growing_cache import growing_cache

        self._model, self._last_position = model, max_length - 1
        self._cache = growing_cache(model.config)
        prompts, row_to_prompt = _distinct(prompt_ids)
        ids_PL, self._mask = _pad_left(prompts, model.device)
        self.logits = self._forward(ids_PL, (self._mask.cumsum(1) - 1).clamp(min=0))
        if len(prompts) < len(prompt_ids):
            self.keep(row_to_prompt)
            self.logits = self.logits[row_to_prompt]

    def _forward(self, ids: Tensor, position_ids: Tensor) -> Tensor:
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=position_ids,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def keep(self, rows: list[int]) -> None:
        """Keeps these rows, in this order; a row may be kept several times."""
        index = torch.tensor(rows, device=self._mask.device)
        self._cache.batch_select_indices(index)
        self._mask = self._mask[index]

    def step(self, tokens: Tensor) -> None:
        """Appends a token to each row and computes the logits after it."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        # Finished rows that are still in the batch may run past the context; their logits are not used.
        positions = (self._mask.sum(1, keepdim=True) - 1).clamp(max=self._last_position)
        self.logits = self._forward(tokens[:, None], positions)


def pick_tokens(logits_RV: Tensor, temperature: float, top_p: float, uniforms_R: Tensor | None) -> Tensor:
    """The next token of each row: the most likely one, or the one at a quantile of its distribution.

    Args:
        logits_RV: ``[rows, vocabulary]``.
        temperature: divides the logits; 0 takes the largest.
        top_p: mass of most likely tokens to sample from.
        uniforms_R: ``[rows]``, float64 in [0, 1): a token is the first whose cumulative probability exceeds it, so
            uniform numbers give exact samples. Not used at temperature 0.

    Returns:
        Token ids, ``[rows]``.
    """
    if temperature == 0.0 or uniforms_R is None:
        return logits_RV.argmax(-1)
    probabilities_RV = torch.softmax(logits_RV / temperature, dim=-1)
    if top_p == 1.0:
        cumulative_RV = probabilities_RV.double().cumsum(-1)
        return _quantile(cumulative_RV, uniforms_R * cumulative_RV[:, -1])
    sorted_RV, token_RV = probabilities_RV.sort(dim=-1, descending=True, stable=True)
    cumulative_RV = sorted_RV.double().cumsum(-1)
    nucleus_end_R = (cumulative_RV < top_p).sum(-1).clamp(max=cumulative_RV.shape[-1] - 1)
    nucleus_mass_R = cumulative_RV.gather(-1, nucleus_end_R[:, None])[:, 0]
    return token_RV.gather(-1, _quantile(cumulative_RV, uniforms_R * nucleus_mass_R)[:, None])[:, 0]


def _quantile(cumulative_RV: Tensor, targets_R: Tensor) -> Tensor:
    """Index of the first entry of each row above its target."""
    index_R = torch.searchsorted(cumulative_RV, targets_R[:, None], right=True)[:, 0]
    return index_R.clamp(max=cumulative_RV.shape[-1] - 1)


def _uniforms(prompt_ids: list[list[int]], ks: list[int], sampling: Sampling) -> Tensor:
    """``[rows, max_tokens]`` float64 in [0, 1): the random numbers of each request, one a position."""
    seeds = [request_seed(sampling.seed, ids, k) for ids, k in zip(prompt_ids, ks, strict=True)]
    streams = [np.random.Generator(np.random.Philox(key=seed)).random(sampling.max_tokens) for seed in seeds]
    return torch.from_numpy(np.stack(streams))


def _distinct(prompt_ids: list[list[int]]) -> tuple[list[list[int]], list[int]]:
    """The different prompts in order of first appearance, and for each row the index of its own."""
    index_of: dict[tuple[int, ...], int] = {}
    row_to_prompt = [index_of.setdefault(tuple(ids), len(index_of)) for ids in prompt_ids]
    return [list(ids) for ids in index_of], row_to_prompt


def _pad_left(prompt_ids: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids ``[prompts, longest]`` and the mask of the real ones; what fills the rest is never attended to."""
    longest = max(map(len, prompt_ids))
    ids = torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompt_ids], device=device)
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompt_ids], device=device)
    return ids, mask


def _end_of_text_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    configured: Any = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(int(token) for token in [*ids, tokenizer.eos_token_id] if token is not None)
